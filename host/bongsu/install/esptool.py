"""esptool as a program of its own: started, listened to, and stopped with us, so that the port is free in every case.

It is never imported: its licence is the GPL.
"""

import os
import re
import selectors
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from bongsu.install.esptool_output import PRESS, ChipFound, FlashError, chip_found, failure, plain
from bongsu.install.ports import CONSOLE_BAUD, PortBusy, PortLock
from bongsu.receiver.child import bound_to_us

PROGRAM = (sys.executable, "-m", "esptool")

# Erasing a whole flash may take 120 s by esptool's own reckoning, and nothing is said meanwhile.
SILENCE_S = 180.0
STOP_S = 3.0  # from SIGINT to SIGKILL
BUSY_S = 5.0
_PAUSE_S = 0.2
_READ_BYTES = 65536
# Ten times as fast over the network; its sitecustomize.py says why.
_QUICK_SERIAL = Path(__file__).with_name("quick_serial")
# Its settings by environment are not ours (ESPTOOL_CFGFILE is: resets of unusual boards), nor are colours.
_NOT_OURS = re.compile(r"ESPTOOL_(?!CFGFILE$)|ESPRESSIF_IDE_WS|FORCE_COLOR|TTY_")

Listener = Callable[[str], None]


def command(
    url: str, *words: str, chip: str = "auto", baud: int = CONSOLE_BAUD, after: str = "hard-reset"
) -> tuple[str, ...]:
    """esptool's command line. `words`: its command with arguments; `baud`: after the first contact."""
    return (
        *PROGRAM, "--chip", chip, "--port", url, "--baud", str(baud),
        "--before", "default-reset", "--after", after, *words,
    )  # fmt: skip


def identify(port_url: str, *, baud: int = CONSOLE_BAUD) -> ChipFound:
    """The chip behind a port; it is reset, and runs its program again. Raises FlashError, PortError."""
    with PortLock(port_url):
        return chip_found(run(port_url, identifying(port_url, baud=baud), lambda line: None))


def identifying(url: str, *, baud: int = CONSOLE_BAUD) -> tuple[str, ...]:
    """The command line that chip_found() reads the output of."""
    return command(url, "flash-id", baud=baud)


def run(url: str, argv: Sequence[str], listen: Listener) -> list[str]:
    """Run it to its end; `listen` gets each line as it comes. Returns all lines. Raises FlashError, PortError.

    A port that is in use is tried again for a moment: who had it may be ending, and a port server may not have noticed
    yet that its client has gone.
    """
    deadline = time.monotonic() + BUSY_S
    while True:
        try:
            return _run(url, argv, listen)
        except PortBusy:
            if time.monotonic() > deadline:
                raise
        time.sleep(_PAUSE_S)


def _run(url: str, argv: Sequence[str], listen: Listener) -> list[str]:
    process = subprocess.Popen(
        bound_to_us(list(argv)),
        env=_environment(url),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        bufsize=0,
        process_group=0,  # Ctrl-C comes to us, and we stop it
    )
    lines = []
    with process:
        try:
            for line in _lines(process):
                lines.append(line)
                listen(line)
            code = process.wait(STOP_S)
        except BaseException:
            _stop(process)
            raise
    if code:
        raise failure(url, lines, code)
    return lines


def _environment(url: str) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not _NOT_OURS.match(name)}
    if url.lower().startswith("rfc2217://"):
        kept["PYTHONPATH"] = os.pathsep.join(filter(None, (str(_QUICK_SERIAL), kept.get("PYTHONPATH"))))
    return {**kept, "NO_COLOR": "1", "TERM": "dumb", "PYTHONIOENCODING": "utf-8:replace", "PYTHONUNBUFFERED": "1"}


def _lines(process: "subprocess.Popen[bytes]") -> Iterator[str]:
    """Its lines as they come. Raises FlashError if nothing comes for too long."""
    assert process.stdout is not None
    rest = b""
    with selectors.DefaultSelector() as selector:
        selector.register(process.stdout, selectors.EVENT_READ)
        while selector.select(SILENCE_S):
            data = os.read(process.stdout.fileno(), _READ_BYTES)
            *whole, rest = re.split(rb"[\r\n]+", rest + data)
            yield from (plain(line.decode(errors="replace")) for line in whole)
            if not data:
                break
        else:
            raise FlashError("esptool said nothing for three minutes", PRESS)
    if rest:
        yield plain(rest.decode(errors="replace"))


def _stop(process: "subprocess.Popen[bytes]") -> None:
    """End it, gently first: it closes the port either way."""
    process.send_signal(signal.SIGINT)
    try:
        process.wait(STOP_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
