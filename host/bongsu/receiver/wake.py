"""The control socket: commands tell a running receiver that they committed something. It is a hint, never needed for
correctness.
"""

import os
import socket
from pathlib import Path
from typing import Any, Literal

import msgspec

SOCKET_NAME = "control.sock"

# Answered with the receiver's state (receiver/state.py) as JSON.
STATE_WANTED = b"state"

Topic = Literal["registry", "outbox"]


def notify(data_dir: Path, topic: Topic) -> bool:
    """Tell the receiver of this data folder; True if one took it. Never raises and never waits."""
    try:
        folder = os.open(data_dir, os.O_RDONLY | os.O_DIRECTORY)
    except OSError:
        return False
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:
            sender.setblocking(False)
            # By way of the folder's descriptor: a socket's address holds only 107 bytes, a folder's path may be longer.
            sender.sendto(topic.encode(), f"/proc/self/fd/{folder}/{SOCKET_NAME}")
    except OSError:
        return False
    finally:
        os.close(folder)
    return True


class NoAnswer(Exception):
    """A receiver runs and says nothing."""


def ask_state(data_dir: Path, timeout_s: float = 3.0) -> dict[str, Any] | None:
    """The state of the receiver of this data folder; None if none runs. Raises NoAnswer if one runs and hangs."""
    try:
        folder = os.open(data_dir, os.O_RDONLY | os.O_DIRECTORY)
    except OSError:
        return None
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as asker:
            asker.settimeout(timeout_s)
            asker.bind("")  # the kernel gives it a name, to which the answer goes
            try:
                asker.sendto(STATE_WANTED, f"/proc/self/fd/{folder}/{SOCKET_NAME}")
            except TimeoutError:
                raise NoAnswer from None
            except OSError:
                return None
            try:
                found: dict[str, Any] = msgspec.json.decode(asker.recv(256 * 1024))
            except (TimeoutError, msgspec.DecodeError):
                raise NoAnswer from None
            return found
    finally:
        os.close(folder)
