"""A virtual board that runs a few lines of MicroPython instead of the firmware."""

import dataclasses
import math
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from bongsu.sim.board import VirtualBoard

NODE = "a0b1c2d3e4f5"
KEY = bytes(range(16))
EPOCH = 1
PINS = {"i2c_sda": 21, "i2c_scl": 22, "smoke_adc": 34, "siren": 25, "lamp": 26, "button": 27}
MakeBoard = Callable[..., VirtualBoard]


@pytest.fixture
def make_board(tmp_path: Path) -> Iterator[MakeBoard]:
    """make_board(main, files, **options of VirtualBoard): a board with `main` as its main.py, off, discrete by
    default."""
    boards: list[VirtualBoard] = []

    def make(main: str, files: dict[str, bytes] | None = None, **options: Any) -> VirtualBoard:
        options.setdefault("speed", math.inf)
        board = VirtualBoard(tmp_path / f"board{len(boards)}", node_id=NODE, **options)
        boards.append(board)
        board.write_files({"/main.py": main.encode(), **(files or {})})
        return board

    yield make
    for board in boards:
        board.close()


def output(board: VirtualBoard, seconds: float = 10.0, since: int | None = None) -> list[str]:
    """Power a discrete board on (if it is off) and let `seconds` pass; the lines it printed meanwhile, or from mark
    `since` on: an order may be answered before this looks.
    """
    start = board.mark() if since is None else since
    board.power_on()
    board.run_for(seconds)
    return [line.text for line in board.log_lines[start:] if not line.text.startswith((">>>", "MicroPython"))]


@dataclasses.dataclass
class Bundle:
    """What the board needs of a bundle."""

    key_epoch: int
    key: bytes
    node_json: dict[str, Any]
    ca_der: bytes


def bundle(broker: dict[str, Any] | None = None, ca_der: bytes = b"") -> Bundle:
    """A bundle for NODE with key KEY; `broker` adds to node.json's, or replaces what it says."""
    node = {
        "v": 1,
        "node": NODE,
        "site": "hannae",
        "unit": "a-07",
        "wifi": [{"ssid": "market", "psk": "secret12"}],
        "broker": {
            "ip": "127.0.0.1",
            "port": 1,
            "tls": False,
            "server_hostname": "bongsu-broker",
            "user": f"n-{NODE}",
            "password": "x",
            "client_id": "c" * 22,
            **(broker or {}),
        },
        "board": "esp32-devkitc",
        "pins": PINS,
        "smoke_head": {"mv_clean": 400, "uv_per_e4": 1000},
        "heartbeat_s": 45,
        "provisioned_s": 1_780_000_000,
    }
    return Bundle(EPOCH, KEY, node, ca_der)
