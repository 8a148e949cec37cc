"""The control socket: commands tell a running receiver that they committed something. It is a hint, never needed for
correctness.
"""

import os
import socket
from pathlib import Path
from typing import Literal

SOCKET_NAME = "control.sock"

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
