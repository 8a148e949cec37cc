"""Power cuts on the virtual board: each flash write can be torn, littlefs and NVS are read afterwards."""

import random

import pytest

from bongsu.errors import BongsuError
from bongsu.sim.board import VirtualBoard
from tests.board_parts import MakeBoard, output
from tests.board_parts import make_board as make_board  # noqa: PLC0414  # a fixture: used by its name

_OLD = b"o" * 700
_NEW = b"n" * 700

_REPLACE = """
import os, time
time.sleep(1)
with open("/state.tmp", "wb") as file:
    file.write(b"n" * 700)
os.rename("/state.tmp", "/state.bin")
print("replaced")
"""


def _writes(board: VirtualBoard) -> int:
    """Flash writes of one whole run."""
    before = board.flash_writes
    output(board, 10)
    board.power_off()
    return board.flash_writes - before


def test_temp_and_rename_survives_a_cut_at_every_write(make_board: MakeBoard) -> None:
    count = _writes(make_board(_REPLACE, files={"/state.bin": _OLD}))
    assert count > 3
    outcomes = []
    for n in range(1, count + 1):
        board = make_board(_REPLACE, files={"/state.bin": _OLD}, seed=n)
        board.cut_power_after_writes(n)
        output(board, 10)
        assert not board.powered
        outcomes.append(board.read_file("/state.bin"))
        assert outcomes[-1] in (_OLD, _NEW)
        board.close()
    assert outcomes[0] == _OLD and outcomes[-1] in (_OLD, _NEW)


def test_writing_in_place_is_torn(make_board: MakeBoard) -> None:
    """The cut is real: a file that is appended to and flushed piece by piece is found half-written."""
    source = """
import time
time.sleep(1)
with open("/log.txt", "wb") as file:
    for i in range(20):
        file.write(b"%04d" % i * 16)
        file.flush()
"""
    board = make_board(source)
    board.cut_power_after_writes(12)
    output(board, 10)
    assert not board.powered
    assert 0 < len(board.read_file("/log.txt")) < 1280
    board.power_on()  # and it boots again
    assert board.reset_causes == ["power_on", "power_on"]


_NVS = """
import esp32, time
nvs = esp32.NVS("bongsu")
time.sleep(1)
nvs.set_i32("a", 1)
nvs.commit()
nvs.set_i32("a", 2)
time.sleep(1)
print("pending")
time.sleep(1000)
"""


def test_nvs_is_durable_at_commit_and_open_before(make_board: MakeBoard) -> None:
    found = set()
    for seed in range(8):
        board = make_board(_NVS, seed=seed)
        assert output(board, 5) == ["pending"]
        board.power_off()
        assert board.nvs() == {"a": 1}
        board.write_files({"/main.py": b"import esp32\nprint(esp32.NVS('bongsu').get_i32('a'))"})
        found.update(output(board, 1))
        board.close()
    assert found == {"1", "2"}


def test_a_cut_at_a_commit_leaves_the_old_or_the_new(make_board: MakeBoard) -> None:
    found = set()
    for seed in range(8):
        board = make_board(_NVS, seed=seed)
        board.cut_power_after_writes(1)
        output(board, 10)
        assert not board.powered
        found.add(str(board.nvs().get("a")))
        board.close()
    assert found == {"None", "1"}


def test_files_go_in_and_out(make_board: MakeBoard) -> None:
    content = random.Random(1).randbytes(20000)
    board = make_board("pass", files={"/lib/deep/er/data.bin": content})
    assert board.list_files() == ["/lib/deep/er/data.bin", "/main.py"]
    assert board.read_file("/lib/deep/er/data.bin") == content
    with pytest.raises(BongsuError, match="ENOENT"):
        board.read_file("/nowhere")
    board.power_on()
    with pytest.raises(BongsuError, match="running board"):
        board.read_file("/main.py")


def test_littlefs_of_others_reads_the_image(make_board: MakeBoard) -> None:
    littlefs = pytest.importorskip("littlefs", reason="littlefs-python is not installed here")
    board = make_board("print('x')", files={"/a/b.txt": b"hello"})
    context = littlefs.UserContext(len(board.image.path.read_bytes()))
    context.buffer[:] = board.image.path.read_bytes()
    files = littlefs.LittleFS(context=context, block_size=4096, block_count=512, mount=True)
    with files.open("/a/b.txt", "rb") as file:
        assert file.read() == b"hello"
