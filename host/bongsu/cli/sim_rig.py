"""`bongsu sim rig`: one virtual board behind a serial port on the network."""

import contextlib
import signal
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click

from bongsu.errors import UsageFault


@click.command()
@click.option(
    "--state", type=click.Path(path_type=Path, file_okay=False), help="Keep flash and NVS here (else: forgotten)."
)
@click.option("--mac", default="a0b1c2d3e4f5", show_default=True, help="The chip's MAC, 12 hex digits.")
@click.option("--board", default="esp32-devkitc", show_default=True, help="Which board (bongsu board list).")
@click.option("--speed", type=click.FloatRange(0.1, 20), default=1.0, show_default=True, help="Board s per wall s.")
@click.option("--wifi", multiple=True, metavar="SSID[=PSK]", help="A network on the air (default: an open one).")
@click.option(
    "--sensor",
    "sensor_texts",
    multiple=True,
    metavar="TYPE[,KEY=VALUE...]",
    help="A sensor beyond the board's own, as of bongsu node provision.",
)
@click.option("--only-sensors", is_flag=True, help="Those of --sensor alone, and not the board's own.")
@click.option("--flashed", is_flag=True, help="A new chip already holds MicroPython (else it is blank).")
@click.option("--off", is_flag=True, help="Without power at first.")
@click.option("--seed", type=int, default=0, show_default=True, help="Of what is random on the board.")
@click.option("--port", type=click.IntRange(0, 65535), default=0, help="Its port on loopback (default: a free one).")
def rig(
    state: Path | None,
    board: str,
    wifi: tuple[str, ...],
    sensor_texts: tuple[str, ...],
    only_sensors: bool,
    flashed: bool,
    off: bool,
    **options: Any,
) -> None:
    """One virtual board with its serial port, for whatever talks to a board.

    Its first line is "ready url=rfc2217://127.0.0.1:PORT bare=socket://127.0.0.1:PORT". The first carries DTR and RTS,
    so that esptool and mpremote reset the board as a devkit's. It takes orders on stdin, a JSON object a line, and
    answers each with one; it ends when stdin does.

    \b
    {"power": "on"|"off"}           {"reset": "run"|"download"}      {"cable": "pull"|"plug"}
    {"air": {"temp_c": 70}}         {"scenario": "fire.csv"}         {"press": [27, 100]}
    {"wifi": "up"|"down"|"stuck"}   {"networks": [["ssid", "psk" or null, -60]]}
    {"sensor": {"lm75": "nak"}}     {"fault": {"busy": true}}        {"cut_after_writes": 3}
    {"state": true}                 {"flashed": true}                {"press": [null, 100]}: the board's own button

    \b
    Faults; an order names all that there are from now on, {} heals the board:
    busy, full: true                the port is somebody else's; the file system is full
    bytes_per_s: 11520              a line as slow as at 115,200 baud
    silent, wrong_md5: true         drop_every: 100                  wrong_chip: "esp32s3"
    unplug_after_bytes: 5000        unplug_after_blocks: 3           flash_fails_from: 1048576

    \b
    Example:
      bongsu sim rig --state /tmp/board --flashed
      mpremote connect rfc2217://127.0.0.1:PORT exec "import os; print(os.uname())"
    """
    with contextlib.ExitStack() as stack:
        if state is None:
            state = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="bongsu-rig-")))
        stack.enter_context(_ended_by_signal())
        options |= {"board": board, "sensors": _sensors(board, sensor_texts, only_sensors)}
        options |= {"networks": [_network(text) for text in wifi]} if wifi else {}
        _run(state, flashed, off, options)


def _run(state: Path, flashed: bool, off: bool, options: dict[str, Any]) -> None:
    from bongsu.sim.rig.orders import Orders
    from bongsu.sim.rig.rig import Rig

    new = not (state / "chip.bin").exists()
    with Rig(state, **options) as made:
        if flashed and new:
            made.flashed()
        made.power(not off)
        orders = Orders(made)
        click.echo(f"ready url={made.url} bare={made.bare_url}")
        with contextlib.suppress(KeyboardInterrupt):
            for line in sys.stdin:
                click.echo(orders.obey(line))


def _sensors(board: str, texts: tuple[str, ...], only: bool) -> list[dict[str, Any]] | None:
    """What hangs on the board; None: what it usually carries."""
    from bongsu.cli import outfit
    from bongsu.install import sensors
    from bongsu.install.boards import load_board

    known = load_board(board)
    more = outfit.sensors_of(known, texts, only)
    return sensors.fit(known, [*([] if only else known.sensors), *more]) if more else None


def _network(text: str) -> tuple[str, str | None, int]:
    ssid, _, psk = text.partition("=")
    if not ssid:
        raise UsageFault(f"no SSID in {text!r}", "Give --wifi SSID, or --wifi SSID=PSK.")
    return (ssid, psk or None, -55)


@contextlib.contextmanager
def _ended_by_signal() -> Iterator[None]:
    """SIGTERM ends it as Ctrl-C does."""

    def end(_number: int, _frame: Any) -> None:
        raise KeyboardInterrupt

    old = signal.signal(signal.SIGTERM, end)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, old)
