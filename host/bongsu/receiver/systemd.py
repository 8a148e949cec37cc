"""Talking to systemd: ready, status, watchdog and stopping by its notify socket; and the unit file.

The protocol is a datagram of NAME=value lines to the socket that NOTIFY_SOCKET names (sd_notify(3)): a path, or "@" and
a name in the abstract namespace.
"""

import os
import shutil
import socket
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

from bongsu.errors import BongsuError

UNIT_NAME = "bongsu-receiver.service"
WATCHDOG_S = 30


class Notifier:
    """The way to systemd; does nothing where there is none. Never waits, never raises."""

    def __init__(self, environ: Any = os.environ) -> None:
        self._socket: socket.socket | None = None
        self._status = ""
        address = environ.get("NOTIFY_SOCKET", "")
        # Whether systemd watches this very process.
        self.watched = bool(environ.get("WATCHDOG_USEC")) and environ.get("WATCHDOG_PID", str(os.getpid())) == str(
            os.getpid()
        )
        if address[:1] not in ("/", "@"):
            return
        made = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC)
        made.setblocking(False)
        try:
            made.connect("\0" + address[1:] if address[0] == "@" else address)
        except OSError:
            made.close()
            return
        self._socket = made

    def _send(self, *lines: str) -> None:
        if self._socket is not None:
            with suppress(OSError):
                self._socket.send("\n".join(lines).encode(), socket.MSG_DONTWAIT | socket.MSG_NOSIGNAL)

    def ready(self) -> None:
        """The parts run."""
        self._send("READY=1")

    def alive(self) -> None:
        """Feed the watchdog."""
        if self.watched:
            self._send("WATCHDOG=1")

    def status(self, text: str) -> None:
        """One line for `systemctl status`."""
        if text != self._status:
            self._status = text
            self._send(f"STATUS={text}")

    def stopping(self) -> None:
        """The end begins."""
        self._send("STOPPING=1")

    def close(self) -> None:
        """No more."""
        if self._socket is not None:
            self._socket.close()


_UNIT = """\
# Written by `bongsu receiver unit`. Install:
#   useradd --system --home-dir {data} --shell /usr/sbin/nologin {user}
#   bongsu receiver unit --out /etc/systemd/system/{name}
#   systemctl daemon-reload && systemctl enable --now {name}
[Unit]
Description=Bongsu fire alarm receiver
After=network-online.target time-sync.target
Wants=network-online.target
StartLimitIntervalSec=0

[Service]
Type=notify
NotifyAccess=main
ExecStart={command} --data {data} receiver run --log-format json
User={user}
Group={user}
{state}UMask=0077
# An alarm receiver is never given up: each end is followed by another start.
Restart=always
RestartSec=1
TimeoutStartSec=120
TimeoutStopSec=30
WatchdogSec={watchdog}
KillMode=mixed
# One file descriptor a connected node.
LimitNOFILE=200000
OOMScoreAdjust=-900

# What it never needs, it may not do.
NoNewPrivileges=yes
CapabilityBoundingSet=
AmbientCapabilities=
ProtectSystem=strict
ProtectHome={home}
{writable}PrivateTmp=yes
PrivateDevices=yes
ProtectClock=yes
ProtectHostname=yes
ProtectKernelTunables=yes
ProtectKernelModules=yes
ProtectKernelLogs=yes
ProtectControlGroups=yes
ProtectProc=invisible
RestrictAddressFamilies=AF_UNIX AF_INET AF_INET6 AF_NETLINK
RestrictNamespaces=yes
RestrictRealtime=yes
RestrictSUIDSGID=yes
LockPersonality=yes
RemoveIPC=yes
SystemCallArchitectures=native
SystemCallFilter=@system-service
SystemCallErrorNumber=EPERM

[Install]
WantedBy=multi-user.target
"""


def unit(data_dir: Path, user: str, command: str | None = None) -> str:
    """The unit file's text. `command`: the `bongsu` that it starts (default: this one). Raises BongsuError."""
    started = command or _this_command()
    for what, text in (("data folder", str(data_dir)), ("user", user), ("command", started)):
        if any(c.isspace() or c in "%\"'\\$;" for c in text):
            raise BongsuError(
                f"the {what} {text!r} holds a character that a unit file cannot take",
                "Use a path or a name without spaces and quotes.",
            )
    parent, folder = str(data_dir.parent), data_dir.name
    own = parent == "/var/lib"
    inside_home = data_dir.parts[:2] in (("/", "home"), ("/", "root"))
    return _UNIT.format(
        name=UNIT_NAME,
        data=data_dir,
        user=user,
        command=started,
        watchdog=WATCHDOG_S,
        state=f"StateDirectory={folder}\nStateDirectoryMode=0700\n" if own else "",
        home="no" if inside_home or _in_home(started) else "yes",
        writable="" if own else f"ReadWritePaths={data_dir}\n",
    )


def _in_home(path: str) -> bool:
    return Path(path).parts[:2] in (("/", "home"), ("/", "root"))


def _this_command() -> str:
    beside = Path(sys.executable).parent / "bongsu"
    found = str(beside) if beside.is_file() else shutil.which("bongsu")
    if found is None:
        raise BongsuError("the command bongsu is not installed beside this Python", "Run: pip install bongsu")
    return found
