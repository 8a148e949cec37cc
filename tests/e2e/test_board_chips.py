"""The firmware, as bytecode as on a real board, on every board of boards/: each with its own chip, pins and sensors."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from bongsu.install import boards
from bongsu.install.application import application
from bongsu.install.bundle import Bundle
from bongsu.sim.board import VirtualBoard
from bongsu.sim.console import Console
from bongsu.sim.rig import rig

NODE = "a0b1c2d3e4f5"
HOT_C = 75.0


def settings(board: boards.Board) -> dict[str, object]:
    """As provisioning writes them, with a broker that does not answer."""
    return {
        "v": 1,
        "node": NODE,
        "role": board.role,
        "broker": {"ip": "127.0.0.1", "port": 9, "tls": False, "client_id": "c" * 22},
        "board": board.name,
        "pins": board.pins,
        "sensors": list(board.sensors),
    }


@contextmanager
def running(folder: Path, board: boards.Board) -> Iterator[VirtualBoard]:
    """The board in clean air, on, without a network."""
    console = Console(rig._image(board), lambda data: None, lambda cause: None)
    with VirtualBoard(folder / "board", node_id=NODE, speed=16, console=console) as b:
        b.image.format([])
        b.write_files({file.path: file.content for file in application().files})
        b.provision(Bundle(NODE, 1, bytes(range(16)), settings(board), b""))
        b.set_wifi(False)
        b.set_values(temp_c=24.0, smoke_od=0.0)
        b.power_on()
        yield b


@pytest.mark.parametrize("kind", boards.board_names())
def test_a_board_senses_and_sounds_with_its_own_pins(tmp_path: Path, kind: str) -> None:
    board = boards.load_board(kind)
    with running(tmp_path, board) as b:
        line = b.wait_log(" I node ", 20)
        assert line.fields == {"role": board.role, "chip": board.chip.name.upper()}
        heap = b.wait_log(" I heap ", 5)
        assert int(heap.fields["used"]) > 0 and int(heap.fields["free"]) > 0
        b.wait_log("sample temp_dk=2972", 20)
        b.set_values(temp_c=HOT_C)
        alarm = b.wait_log(" W alarm ", 20)
        assert alarm.fields["phen"] == "heat"
        assert b.pins()[board.pins["siren"]] == 1 and board.pins["lamp"] in b.pins()
        assert not [line for line in b.log_lines if line.tag in ("fault", "sensor", "task", "config")]


@pytest.mark.parametrize("kind", ["esp32-devkitc", "esp32-c3-devkitm-1", "esp32-s3-devkitc-1", "esp32-c6-devkitc-1"])
def test_a_smoke_head_that_touches_the_supply_is_a_fault_and_no_fire(tmp_path: Path, kind: str) -> None:
    """A C3's converter ends at 2.5 V, where the head still measures."""
    with running(tmp_path, boards.load_board(kind)) as b:
        b.wait_log("sample temp_dk=2972", 20)
        b.set_sensor_fault("smoke", "short")
        fault = b.wait_log(" E sensor ", 20)
        assert fault.fields == {"name": "smoke_sensor", "why": "short"}
        assert not [line for line in b.log_lines if line.tag in ("alarm", "prealarm", "hold")]
