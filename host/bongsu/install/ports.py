"""Serial ports at hand: found by USB id, opened for us alone, and what to do when one does not open.

A port is named by a device file or by any URL that pyserial knows (`socket://`, `rfc2217://`: remote rigs).
"""

import errno
import fcntl
import getpass
import grp
import hashlib
import os
import socket
import stat
import tempfile
import termios
import threading
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from urllib.parse import urlsplit

import serial
from serial.tools import list_ports

from bongsu.errors import BongsuError, UsageFault
from bongsu.install.boards import all_boards

# Of the log and of the ROM loader, on every chip that Bongsu runs on.
CONSOLE_BAUD = 115_200

_BUSY = (errno.EBUSY, errno.EAGAIN)
_FORBIDDEN = (errno.EACCES, errno.EPERM)
_GROUP_MAY = stat.S_IRGRP | stat.S_IWGRP
_ABSENT = (errno.ENOENT, errno.ENODEV, errno.ENXIO)
_GONE = (errno.EIO, errno.EPIPE, errno.ECONNRESET, errno.ECONNABORTED, errno.EBADF)
_UNREACHABLE = (errno.EHOSTUNREACH, errno.ENETUNREACH, errno.ETIMEDOUT)
# What pyserial says, without an error number, of a device or a peer that has gone while the port was open.
_GONE_WORDS = ("disconnected", "reader thread died", "device reports", "failed (select)")
_NETWORK = ("socket", "rfc2217")
_ONE_CLIENT = (
    "It serves one client at a time: close the other one, then run this again. "
    "A plain socket is named socket://HOST:PORT, one with control lines rfc2217://HOST:PORT."
)
_NO_RFC2217 = "does not seem to support RFC2217"


class PortError(BongsuError):
    """A port cannot be found, opened or kept."""


class PortBusy(PortError):
    """Somebody else has the port, maybe only for a moment."""


class PortUrlError(PortError, UsageFault):
    """What was named can never be a port."""


@dataclass(frozen=True)
class Port:
    """`url`: device file or pyserial URL; `title`: what it says of itself; `usb`: "vid:pid" in lower case hex."""

    url: str
    title: str
    usb: str | None = None
    serial_number: str | None = None

    def __str__(self) -> str:
        known = (
            self.title,
            self.usb and f"USB {self.usb}",
            self.serial_number and f"serial number {self.serial_number}",
        )
        words = ", ".join(word for word in known if word)
        return f"{self.url} ({words})" if words else self.url


def usb_ids() -> frozenset[str]:
    """The USB ids ("vid:pid") of all boards: of their USB bridges, and of chips that have USB themselves."""
    boards, _ = all_boards()
    return frozenset(usb for board in boards for usb in (*board.usb, *board.chip.usb))


def found(ids: Collection[str] | None = None) -> list[Port]:
    """The ports behind these USB ids (default: those of all boards), in the order of their names."""
    wanted = usb_ids() if ids is None else ids
    return [port for port in _usb_ports() if port.usb in wanted]


def pick(url: str | None) -> Port:
    """The port that is named, or the only one that there is. Raises PortError, which lists those there are."""
    if url is not None:
        return _named(url)
    ports = found()
    if len(ports) == 1:
        return ports[0]
    if ports:
        raise PortError(
            f"{len(ports)} ports could be the board's: " + "; ".join(map(str, ports)), "Name one of them by --port."
        )
    others = _usb_ports()
    seen = " Other USB ports, which --port takes too: " + "; ".join(map(str, others)) + "." if others else ""
    raise PortError(
        "no board was found on a USB port",
        "Plug it in by a cable that carries data (many only charge), or name its port by --port." + seen,
    )


def open_serial(url: str, *, baudrate: int = CONSOLE_BAUD, timeout_s: float = 1.0) -> serial.SerialBase:
    """The open port, ours alone if it is a device file. `timeout_s` bounds each read. Raises PortError."""
    check_url(url)
    try:
        return serial.serial_for_url(url, baudrate=baudrate, timeout=timeout_s, exclusive=True)
    except (OSError, ValueError) as err:  # SerialException is an OSError
        raise explain(url, err, opening=True) from None


def check_url(url: str) -> None:
    """Raises PortUrlError for what can never be a port; whether it is there, only opening it shows."""
    if url and "://" not in url:
        return
    try:
        serial.serial_for_url(url, do_not_open=True)  # knows the schemes
        about = urlsplit(url)
        sound = url and (about.scheme not in _NETWORK or (about.hostname and about.port))
    except ValueError:
        sound = False
    except serial.SerialException:  # hwgrep:// looks for its port at once
        raise PortError(f"{url}: there is no such port", _ports_there_are()) from None
    if not sound:
        raise PortUrlError(
            f"{url or 'an empty name'} is no port",
            "A port is a device file (/dev/ttyUSB0), rfc2217://HOST:PORT or socket://HOST:PORT.",
        )


def explain(url: str, err: BaseException, *, opening: bool = False) -> PortError:
    """What an error of pyserial (or of the system) on this port means, with the next step. `opening`: it came before a
    byte did.
    """
    if isinstance(err, PortError):
        return err
    chain = tuple(_chain(err))
    number, text = next((n for n in map(_errno, chain) if n), 0), str(err)
    if number in _BUSY:
        step = "Close what has it open (a terminal, another bongsu), then run this again."
        return PortBusy(f"{url} is in use" + holders(url), step)
    if number in _GONE or any(words in text for words in _GONE_WORDS):
        return closed_at_once(url) if opening and "://" in url else gone(url)
    if _NO_RFC2217 in text:
        return PortBusy(f"{url} is in use, or what listens there is no RFC 2217 server", _ONE_CLIENT)
    if any(isinstance(one, socket.gaierror) for one in chain):
        return PortError(f"{url}: there is no such host", "Check the host's name.")
    if number in _UNREACHABLE or any(isinstance(one, TimeoutError) for one in chain):
        return PortError(f"{url}: the host does not answer", "Check the host's name and the network.")
    return _unopened(url, number, text)


def _errno(err: BaseException) -> int:
    if isinstance(err, OSError) and not isinstance(err, socket.gaierror):  # which has numbers of its own
        return err.errno or 0
    return int(err.args[0]) if isinstance(err, termios.error) else 0


def _unopened(url: str, number: int, text: str) -> PortError:
    if number in _FORBIDDEN:
        return PortError(f"{url}: no permission to open it", how_to_open(url))
    if number in _ABSENT:
        return PortError(f"{url}: there is no such port", _ports_there_are())
    if number == errno.ENOTTY:
        return PortError(f"{url} is not a serial port", _ports_there_are())
    if number == errno.ECONNREFUSED:
        step = "Start the rig or the port server, and check host and port."
        return PortError(f"{url}: nothing listens there", step)
    return PortError(f"{url}: {text}", "Unplug the board, plug it in again, and run this again.")


def closed_at_once(url: str) -> PortBusy:
    """A port server that hung up before a byte came: it serves another client, or its board is not there."""
    said = "is in use, or its board is unplugged: the other side closed the connection at once"
    return PortBusy(f"{url} {said}", f"Is the board's cable in, at the other side? {_ONE_CLIENT}")


def gone(url: str) -> PortError:
    """A port that was open, and is no more."""
    if "://" in url:
        return PortError(f"{url}: the connection was lost", "Check the rig and the network, then run this again.")
    step = "Plug it in again (another cable, if it was not you), then run this again."
    return PortError(f"{url}: the board was unplugged", step)


def _chain(err: BaseException | None) -> Iterator[BaseException]:
    """An error and those that it was raised from: pyserial puts the system's error number there."""
    while err is not None:
        yield err
        err = err.__cause__ or err.__context__


def how_to_open(url: str) -> str:
    """Which command lets this user open a device file."""
    try:
        about = os.stat(url)
        group = grp.getgrgid(about.st_gid)
        name, member = group.gr_name, getpass.getuser() in group.gr_mem
        helps = about.st_gid != 0 and about.st_mode & _GROUP_MAY == _GROUP_MAY
    except (OSError, KeyError):
        name, member, helps = "dialout", False, True  # the owner of serial ports on Debian and its kin
    if not helps:
        return f"Make it yours until it is plugged in anew: sudo chown $USER {url} (for good: a udev rule)"
    if member:
        return f"You are in its group since you logged in: log in again, or run: newgrp {name}"
    return f"Join its group, and log in again: sudo usermod -aG {name} $USER"


def _ports_there_are() -> str:
    ports = "; ".join(map(str, _usb_ports()))
    return (
        f"Ports that are there: {ports}."
        if ports
        else "No USB port is there: plug the board in by a cable that carries data."
    )


def holders(url: str) -> str:
    """Who has this device file open, as far as one may see it: " by picocom (process 123)"."""
    names = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            if folder.name != str(os.getpid()) and any(
                os.path.samefile(fd, url) for fd in (folder / "fd").iterdir() if os.readlink(fd).startswith("/dev/")
            ):
                names.append(f"{(folder / 'comm').read_text().strip()} (process {folder.name})")
        except OSError:  # another user's process, or one that has just ended
            continue
    return " by " + ", ".join(names) if names else ""


def _usb_ports() -> list[Port]:
    ports = sorted(list_ports.comports(), key=lambda port: port.device)
    return [
        Port(port.device, port.description or "", f"{port.vid:04x}:{port.pid:04x}", port.serial_number)
        for port in ports
        if port.vid is not None and port.pid is not None
    ]


def _named(url: str) -> Port:
    check_url(url)
    if "://" in url:
        return Port(url, "")
    try:
        mode = os.stat(url).st_mode
    except OSError as err:
        raise explain(url, err) from None
    if not stat.S_ISCHR(mode):
        raise PortError(f"{url} is not a serial port", _ports_there_are())
    return next((port for port in _usb_ports() if os.path.samefile(port.url, url)), Port(url, ""))


class PortLock:
    """One bongsu a port, as long as the `with` lasts: `flash` and `commission` open and close it several times, and no
    other may slip in between. The thread that has it can take it again, for a step that runs within another.

    Raises PortError, which names the other's process. The lock goes with the process, however that ends.
    """

    _held: dict[Path, "_Held"] = {}
    _gate = threading.Lock()

    def __init__(self, url: str, folder: Path | None = None) -> None:
        self._url = url
        self._path = (folder or runtime_folder()) / f"port-{_port_name(url)}.lock"

    def __enter__(self) -> "PortLock":
        with self._gate:
            held = self._held.get(self._path)
            if held is not None and held.thread != threading.get_ident():
                raise self._taken("")
            self._held[self._path] = held = held or _Held(self._lock(), threading.get_ident())
            held.times += 1
        return self

    def __exit__(
        self, _kind: type[BaseException] | None, _err: BaseException | None, _at: TracebackType | None
    ) -> None:
        with self._gate:
            held = self._held[self._path]
            held.times -= 1
            if not held.times:
                del self._held[self._path]
                os.close(held.fd)  # the file stays: removing it could take it from under one that waits to lock it

    def _lock(self) -> int:
        fd = os.open(self._path, os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            other = os.read(fd, 20).decode(errors="replace")
            os.close(fd)
            raise self._taken(f" (process {other})" if other else "") from None
        os.ftruncate(fd, 0)
        os.write(fd, str(os.getpid()).encode())
        return fd

    def _taken(self, who: str) -> PortError:
        return PortError(
            f"another bongsu works on {self._url}{who}", "Wait until it is done, or stop it, then run this again."
        )


@dataclass
class _Held:
    """A lock that this process has: its file, the thread that took it, and how often."""

    fd: int
    thread: int
    times: int = 0


def runtime_folder() -> Path:
    """The folder for locks, ours alone. Raises PortError if another user has taken its name."""
    given = os.environ.get("XDG_RUNTIME_DIR")
    if given and Path(given).is_dir():
        folder = Path(given) / "bongsu"
    else:
        folder = Path(tempfile.gettempdir()) / f"bongsu-{os.getuid()}"
    folder.mkdir(mode=0o700, exist_ok=True)
    about = folder.lstat()
    if not stat.S_ISDIR(about.st_mode) or about.st_uid != os.getuid():
        raise PortError(f"{folder} belongs to another user", "Name a folder of your own by XDG_RUNTIME_DIR.")
    return folder


def _port_name(url: str) -> str:
    """One name for one port: links (/dev/serial/by-id/...) are followed, options of URLs do not count."""
    one = url.split("?", maxsplit=1)[0].lower() if "://" in url else os.path.realpath(url)
    return hashlib.sha256(one.encode()).hexdigest()[:16]
