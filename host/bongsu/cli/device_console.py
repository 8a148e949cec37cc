"""`bongsu device console`: a terminal on a board's serial line."""

import os
import sys

import click

from bongsu.cli.context import data_option
from bongsu.errors import BongsuError


@click.command()
@click.option("--port", "url", help="The board's port (default: the only one): a device file, or any pyserial URL.")
@data_option
def console(url: str | None) -> None:
    """Talk to the board on a port: what is typed goes to it, what it says is shown. Ctrl-] leaves.

    \b
    Ctrl-C  stops the node's program, and MicroPython's prompt comes. The node senses nothing
            then, and its watchdog restarts the board 30 s later, whatever is typed;
            Ctrl-C within the 3 s after a reset ("for service") comes before the watchdog.
    Ctrl-D  at the prompt: start the program anew.

    \b
    Examples:
      bongsu device console
      bongsu device console --port socket://192.0.2.7:4000
    """
    from bongsu.install import console_line, ports

    if not (sys.stdin.isatty() and sys.stdout.isatty()):
        raise BongsuError("the console needs a terminal", "For scripts there is: bongsu device logs --json")
    port = ports.pick(url).url
    with ports.PortLock(port), ports.open_serial(port, timeout_s=console_line.READ_S) as line:
        click.echo(f"{port}: Ctrl-] leaves. Ctrl-C stops the node: its watchdog then restarts it in 30 s.", err=True)
        keyboard, screen = sys.stdin.fileno(), sys.stdout.fileno()
        try:
            with console_line.RawTerminal(keyboard):
                stopped = console_line.join(line, port, keyboard, screen)
        finally:
            os.write(screen, b"\r\n")
    if stopped:
        click.echo("The node may stand still now: press its reset button, or look: bongsu device logs", err=True)
