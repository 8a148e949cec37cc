"""What esptool prints, as typed values: which chip it found, how far it is, and what its failures mean.

The forms are those of esptool 5 (5.0 to 5.6) with its output in a pipe: one line per step and per block written.
"""

import re
import socket
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import serial

from bongsu.errors import BongsuError
from bongsu.install import ports

# 5.0 draws and colours even where nobody sees it.
_ESCAPES = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")
_FIELD = re.compile(r"^(Chip type|Features|MAC|BASE MAC|Detected flash size):\s+(.+?)\s*$")
_CONNECTED = re.compile(r"^Connected to (ESP32[A-Z0-9-]*) on ")
_WRITING = re.compile(r"^Writing at (0x[0-9a-f]+)")
_ERROR = re.compile(r"A (?:fatal|serial exception) error occurred: *(.*)")
# As Python writes an OSError, and pyserial a termios.error within one of its own. Below 0: a name server's.
_SYSTEM = re.compile(r"\[Errno (-?\d+)\]|\((\d+), '")
_SIZE = re.compile(r"^(\d+)MB$")

# What to press; the names are those on Espressif's boards, with those that other makers print.
PRESS = "Hold BOOT (IO0), press EN (RST) once, let go of BOOT, then run this again."
RIGHT_BOARD = "Name the right board by --board, or plug the right one in."
_WIRING = "Check the cable, and that nothing else hangs on the chip's serial pins."
_POWER = "Check the board's power (another cable, another port), then run this again."
_SLOWER = "Run this again at a lower speed (--baud 115200), by a short cable without a hub."
_BROKEN = "Run this again with --baud 115200; if it stays so, the flash is broken: use another board."
_LOCKED = "Secure boot or flash encryption is on: it takes only its owner's programs. Use another board."
_INSTALL = 'Install a version that is known here: pip install "esptool>=5,<6"'
_DISTURBED = "the line to the board is disturbed"
_DIFFERS = "the flash does not hold what was written"


class FlashError(BongsuError):
    """The board cannot be flashed; nothing runs on it until flashing has succeeded, if it had begun."""


class FlashDiffers(FlashError):
    """The flash holds something else than the file."""


@dataclass(frozen=True)
class ChipFound:
    """The chip behind a port. `chip`: its name for esptool ("esp32s3"); `mac`: 12 lower hex digits, the node id;
    `flash_mb`: None if the flash does not tell; `title`: type and revision in words.
    """

    chip: str
    mac: str
    flash_mb: int | None
    title: str
    features: tuple[str, ...] = ()


@dataclass(frozen=True)
class Erasing:
    """The whole flash is being erased; nothing tells how far that is. `done`: it was."""

    done: bool


@dataclass(frozen=True)
class WritingAt:
    """All that goes below this address of the flash is written."""

    address: int


@dataclass(frozen=True)
class Beginning:
    """A piece is begun with: from now on the flash is not what it was."""


Event = Erasing | WritingAt | Beginning


def plain(line: str) -> str:
    """A line without what moves a cursor or colours it."""
    return _ESCAPES.sub("", line).rstrip()


def event(line: str) -> Event | None:
    """What a line says of the progress."""
    if writing := _WRITING.match(line):
        return WritingAt(int(writing[1], 16))
    if line.startswith("Erasing flash memory"):
        return Erasing(done=False)
    if line.startswith("Compressed "):
        return Beginning()
    return Erasing(done=True) if line.startswith("Flash memory erased successfully") else None


def chip_found(lines: Iterable[str]) -> ChipFound:
    """The chip, from the output of `flash-id`. Raises FlashError if it is not told."""
    lines = tuple(lines)
    fields = {found[1]: found[2] for line in lines if (found := _FIELD.match(line))}
    names = [found[1] for line in lines if (found := _CONNECTED.match(line))]
    # A chip with 802.15.4 prints its 8-byte address as "MAC"; Wi-Fi has the base one.
    mac = re.sub("[^0-9a-f]", "", fields.get("BASE MAC", fields.get("MAC", "")).lower())
    if not names or len(mac) != 12:
        raise FlashError(
            "esptool does not say which chip it found",
            _INSTALL,
        )
    size = _SIZE.match(fields.get("Detected flash size", ""))
    return ChipFound(
        chip=names[0].replace("-", "").lower(),
        mac=mac,
        flash_mb=int(size[1]) if size else None,
        title=fields.get("Chip type", names[0]),
        features=tuple(fields.get("Features", "").split(", ")),
    )


def failure(url: str, lines: Sequence[str], code: int) -> BongsuError:
    """What esptool's end with this exit code means. `lines`: all that it said."""
    said = _last_words(lines)
    if port := _of_the_port(url, lines, said):
        return port
    for pattern, message, step in _FAILURES:
        if found := re.search(pattern, said, re.IGNORECASE):
            kind = FlashDiffers if message is _DIFFERS else FlashError
            return kind(f"{url}: " + message.format(*found.groups()), step)
    if code < 0:
        return FlashError(f"esptool was ended by signal {-code}", "Run this again.")
    return FlashError(
        f"{url}: esptool failed: {said or f'exit code {code}'}", f"Run this again; if it stays so: {PRESS}"
    )


def _last_words(lines: Sequence[str]) -> str:
    text = "\n".join(lines)
    found = _ERROR.search(text)
    if found is None:
        return next((line.strip() for line in reversed(lines) if line.strip(" ╰─╯│")), "")
    return " ".join(text[found.start() :].split())


def _of_the_port(url: str, lines: Sequence[str], said: str) -> BongsuError | None:
    """If it is about the port: that it cannot be opened, or that it is gone."""
    serial_error = said.startswith("A serial exception") or "Could not open" in said
    if any(_CONNECTED.match(line) for line in lines):
        # Then it tries to open the port anew for some seconds; why that failed does not matter.
        return ports.gone(url) if serial_error or "Lost connection, retrying..." in lines else None
    if said.startswith("Serial port "):  # it ends without a word if the other side hangs up while it opens the port
        return ports.closed_at_once(url)
    if not serial_error:
        return None
    found = _SYSTEM.search(said)
    number = int(found[1] or found[2]) if found else 0
    cause = OSError(number, said) if number > 0 else socket.gaierror(number, said) if number else _of_pyserial(said)
    # That a socket is closed shows when it is first read.
    opening = url.lower().startswith("socket:") or not any(line.startswith("Connecting") for line in lines)
    return ports.explain(url, cause, opening=opening)


def _of_pyserial(said: str) -> serial.SerialException:
    return serial.SerialException(re.sub(r"^A (?:fatal|serial exception) error occurred: *", "", said))


# (what esptool says, what it means, the next step); the first that fits counts.
_FAILURES = (
    (r"This chip is (\S+), not (\S+)\. Wrong chip", "the chip is an {0}, not an {1}", RIGHT_BOARD),
    (r"Wrong boot mode detected", "the chip was reset, but started its program instead of its loader", PRESS),
    (r"Download mode successfully detected", "the chip waits, but hears nothing: the line to it is cut", _WIRING),
    (r"Failed to connect to", "no chip answers", f"{PRESS} If it stays so: another cable, and power for the board."),
    (r"Failed to set baud rate (\d+)", "the port cannot do {0} baud", _SLOWER),
    (r"will not fit in|larger than detected flash size", "the image is larger than the board's flash", RIGHT_BOARD),
    (r"Secure Download Mode|Secure Boot|Flash encryption", "the chip is locked by its fuses", _LOCKED),
    (r"Guru Meditation", "the chip crashed while it was written", _POWER),
    (r"serial data|transfer stopped|noise|Invalid SLIP|Only got|doesn't match request", _DISTURBED, _SLOWER),
    (r"Bad data (?:length|checksum)|format of the received message", _DISTURBED, _SLOWER),
    (r"MD5 of file does not match|is empty|Verification failed", _DIFFERS, _BROKEN),
    (r"Failed SPI operation|Unable to verify flash chip", "the flash refuses to be written", _BROKEN),
    (r"Failed to .*result was|No more data|stopped responding|Failed to start stub flasher", _DISTURBED, _SLOWER),
    (r"No module named", "esptool is not installed", _INSTALL),
)
