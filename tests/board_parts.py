"""A virtual board that runs a few lines of MicroPython instead of the firmware."""

import math
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from bongsu.sim.board import VirtualBoard

NODE = "a0b1c2d3e4f5"
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


def output(board: VirtualBoard, seconds: float = 10.0) -> list[str]:
    """Power a discrete board on (if it is off) and let `seconds` pass; the lines it printed meanwhile."""
    start = board.mark()
    board.power_on()
    board.run_for(seconds)
    return [line.text for line in board.log_lines[start:] if not line.text.startswith((">>>", "MicroPython"))]
