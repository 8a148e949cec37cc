"""Flashing a board on the rig with the real esptool: from a blank chip, and through what goes wrong on benches.

What is about resets goes over rfc2217://, which carries the control lines; the rest goes over the rig's plain socket,
where somebody presses the buttons, for that is quicker.
"""

import json
import random
import signal
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from bongsu.install.boards import load_board
from tests.image_parts import real_image, whole
from tests.registry_parts import Ran, bongsu, bongsu_process
from tests.rig_parts import MAC, Rig, rig

BOARD = "esp32-devkitc"
OFFSET = 0x1000
# Some blocks of 16 KB on the line, for it cannot be compressed.
LARGE = whole(body=random.Random(1).randbytes(150_000))


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("XDG_CACHE_HOME", "XDG_STATE_HOME", "XDG_RUNTIME_DIR"):
        (tmp_path / name).mkdir()
        monkeypatch.setenv(name, str(tmp_path / name))


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Rig]:
    """A blank board."""
    with rig(tmp_path) as bench:
        yield bench


@pytest.fixture
def image(tmp_path: Path) -> Path:
    path = tmp_path / "own.bin"
    path.write_bytes(LARGE)
    return path


def flash(bench: Rig, image: Path, *words: str, board: str = BOARD) -> Ran:
    """Over the socket, with BOOT and EN pressed."""
    bench.say(reset="download")
    return bongsu("device", "flash", "--port", bench.bare_url, "--board", board, "--image", image, *words)


def chip(bench: Rig) -> bytes:
    return (bench.folder / "chip.bin").read_bytes()


def holds(bench: Rig, image: bytes, offset: int = OFFSET) -> bool:
    """The image, and nothing else."""
    return chip(bench) == (b"\xff" * offset + image).ljust(len(chip(bench)), b"\xff")


def begins_with(bench: Rig, image: bytes) -> bool:
    """The image; a board that runs has made itself a file system since."""
    return chip(bench)[: OFFSET + len(image)] == b"\xff" * OFFSET + image


def until_it_runs(bench: Rig) -> None:
    """The reset is esptool's last act; the chip waits a moment for its boot strap."""
    while bench.mode != "running":
        assert bench.mode in ("reset", "running")


def test_a_blank_board_is_flashed_and_runs(bench: Rig) -> None:
    assert bench.mode == "blank"
    done = bongsu("device", "flash", "--port", bench.url, "--image", real_image(), "--json")
    assert done.code == 0, done.err
    said = json.loads(done.out)
    assert (said["mac"], said["chip"], said["board"], said["pin"]) == (MAC, "esp32", BOARD, "board")
    assert begins_with(bench, real_image().read_bytes())
    until_it_runs(bench)
    assert "Erase the flash (takes up to two minutes): done in " in done.err


@pytest.mark.parametrize("board", ["esp32-s3-devkitc-1", "esp32-c3-devkitm-1", "esp32-c6-devkitc-1"])
def test_the_other_chips(board: str, tmp_path: Path) -> None:
    kind = load_board(board)
    path = tmp_path / "own.bin"
    path.write_bytes(whole(kind.chip.name))
    with rig(tmp_path, board=board) as bench:
        done = flash(bench, path, board=board)
        assert done.code == 0, done.err
        assert done.out.startswith(f"Flashed {MAC} on ")
        assert done.out.endswith("Press EN (RST) to start it: a socket cannot\n")
        assert holds(bench, path.read_bytes(), kind.chip.image_offset)
        bench.say(reset="run")
        until_it_runs(bench)


def test_what_was_on_the_flash_is_gone_or_kept(tmp_path: Path, image: Path) -> None:
    layout = load_board(BOARD).flash
    with rig(tmp_path, flashed=True) as bench:
        bench.say(power="off")
        with (bench.folder / "chip.bin").open("r+b") as flash_file:
            flash_file.seek(layout.vfs_offset)
            flash_file.write(b"files" * 2000)
        (bench.folder / "nvs.bin").write_bytes(b"a key")
        before = chip(bench)
        files = slice(layout.vfs_offset, layout.vfs_offset + layout.vfs_size)
        bench.say(power="on")
        assert flash(bench, image, "--keep").code == 0
        bench.say(power="off")
        assert chip(bench)[files] == before[files]
        assert chip(bench)[OFFSET : OFFSET + 0x8000] == LARGE[:0x8000]
        assert chip(bench)[0xF000 : OFFSET + len(LARGE)] == LARGE[0xE000:]
        assert (bench.folder / "nvs.bin").read_bytes() == b"a key"
        bench.say(power="on")
        assert flash(bench, image).code == 0
        bench.say(power="off")
        assert holds(bench, LARGE)
        assert not (bench.folder / "nvs.bin").exists()


# -- what is refused before anything is erased


def test_a_wrong_chip(tmp_path: Path, image: Path) -> None:
    with rig(tmp_path, flashed=True, board="esp32-s3-devkitc-1") as bench:
        bench.say(power="off")
        before = chip(bench)
        bench.say(power="on")
        done = flash(bench, image)
        assert done.code == 1
        assert "the chip is an ESP32-S3" in done.err and "nothing was written" in done.err
        assert "  next: Name the right board by --board" in done.err
        bench.say(reset="run")
        until_it_runs(bench)  # as it did before
        bench.say(power="off")
        offset = load_board("esp32-s3-devkitc-1").flash.vfs_offset
        assert chip(bench)[:offset] == before[:offset]


def test_a_wrong_image(bench: Rig, image: Path) -> None:
    """Before the board is even asked."""
    image.write_bytes(whole("esp32s3"))
    bench.say(fault={"busy": True})
    done = flash(bench, image)
    assert done.code == 1
    assert "the image is for ESP32-S3, and this board has ESP32" in done.err


def test_a_damaged_image(bench: Rig, image: Path) -> None:
    image.write_bytes(LARGE[:-1])
    done = flash(bench, image)
    assert done.code == 1
    assert "the image is damaged: its program: it ends too early" in done.err
    assert not chip(bench).strip(b"\xff")


# -- what goes wrong on the line


def test_the_cable_is_pulled_in_mid_write(bench: Rig, image: Path) -> None:
    bench.say(fault={"unplug_after_blocks": 4})
    words = ("device", "flash", "--port", bench.url, "--board", BOARD, "--image", image)
    done = bongsu(*words)
    assert done.code == 1
    assert f"{bench.url}: the connection was lost (" in done.err and "bytes were written)" in done.err
    assert "run this again. It begins anew then." in done.err
    assert not esptools()
    bench.say(cable="plug")
    assert bongsu(*words).code == 0
    assert begins_with(bench, LARGE)
    until_it_runs(bench)


def test_no_answer(bench: Rig, image: Path) -> None:
    bench.say(fault={"silent": True})
    done = flash(bench, image)
    assert done.code == 1
    assert (
        f"bongsu: {bench.bare_url}: no chip answers\n  next: Hold BOOT (IO0), press EN (RST) once, let go" in done.err
    )
    bench.say(fault={})
    assert flash(bench, image).code == 0


@pytest.mark.parametrize("port", ["url", "bare_url"])
def test_the_port_is_in_use(bench: Rig, image: Path, port: str) -> None:
    bench.say(fault={"busy": True})
    done = bongsu("device", "flash", "--port", getattr(bench, port), "--board", BOARD, "--image", image)
    assert done.code == 1
    assert "is in use" in done.err and "close the other one" in done.err


def test_a_flash_that_cannot_be_written(bench: Rig, image: Path) -> None:
    bench.say(fault={"flash_fails_from": 0x20000})
    done = flash(bench, image)
    assert done.code == 1
    assert "the flash refuses to be written" in done.err and "use another board" in done.err


def test_bytes_are_lost(bench: Rig, image: Path) -> None:
    bench.say(fault={"drop_every": 10_000})
    done = flash(bench, image)
    assert done.code == 1
    assert "the line to the board is disturbed" in done.err and "--baud 115200" in done.err


def test_a_flash_that_holds_something_else(bench: Rig, image: Path) -> None:
    bench.say(fault={"wrong_md5": True})
    done = flash(bench, image)
    assert done.code == 1
    assert "the flash does not hold what was written" in done.err


# -- when we are ended


def esptools() -> list[psutil.Process]:
    """esptool's processes that we started."""
    return [p for p in psutil.Process().children(recursive=True) if "esptool" in p.cmdline()]


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGKILL])
def test_ended_in_mid_write_the_port_is_free_and_a_second_run_succeeds(
    bench: Rig, image: Path, how: signal.Signals
) -> None:
    bench.say(fault={"bytes_per_s": 20_000}, reset="download")  # 8 s for the image
    ours = bongsu_process("device", "flash", "--port", bench.bare_url, "--board", BOARD, "--image", image, "--json")
    assert ours.stderr is not None
    while "Write the image" not in ours.stderr.readline():
        assert ours.poll() is None
    started = esptools()
    assert started
    ours.send_signal(how)
    ours.communicate()
    assert ours.returncode == (130 if how == signal.SIGINT else -signal.SIGKILL)
    _, alive = psutil.wait_procs(started, timeout=10)
    assert not alive
    bench.say(fault={})
    assert flash(bench, image).code == 0
    assert holds(bench, LARGE)
