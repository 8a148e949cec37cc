"""`bongsu device flash`: what it decides before it touches a board, what it says, and with which exit code it ends."""

import hashlib
import json
import shlex
from pathlib import Path
from typing import Any

import pytest

from bongsu.errors import Interrupted
from bongsu.install import boards, esptool, flash, ports
from bongsu.install.esptool_output import ChipFound, FlashError
from bongsu.install.flash import Flashed, FlashPlan
from tests.image_parts import whole
from tests.registry_parts import bongsu

PORT = "rfc2217://rig:4000"
BOARD = "esp32-devkitc"
FOUND = ChipFound("esp32", "a0b1c2d3e4f5", 4, "ESP32-D0WD-V3 (revision v3.1)")


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A user of its own, without boards plugged in."""
    for name in ("XDG_CACHE_HOME", "XDG_STATE_HOME", "XDG_RUNTIME_DIR"):
        (tmp_path / name).mkdir()
        monkeypatch.setenv(name, str(tmp_path / name))
    monkeypatch.setattr(ports, "_usb_ports", lambda: [])
    return tmp_path


@pytest.fixture
def image(tmp_path: Path) -> Path:
    path = tmp_path / "own.bin"
    path.write_bytes(whole())
    return path


@pytest.fixture
def ran(monkeypatch: pytest.MonkeyPatch) -> list[FlashPlan]:
    """Plans that were run; no board is touched."""
    plans: list[FlashPlan] = []

    def run(plan: FlashPlan, progress: flash.Progress) -> Flashed:
        plans.append(plan)
        for step in ("identify", "write", "verify"):
            progress(step, 0, 1)
            progress(step, 1, 1)
        return Flashed(plan.image.name, plan.image.sha256, FOUND.mac, 61_234, FOUND.chip, FOUND.flash_mb)

    monkeypatch.setattr(flash, "run", run)
    return plans


@pytest.fixture
def planned(monkeypatch: pytest.MonkeyPatch) -> list[FlashPlan]:
    """Plans that were made."""
    plans: list[FlashPlan] = []
    make = flash.plan

    def plan(*args: Any, **more: Any) -> FlashPlan:
        plans.append(make(*args, **more))
        return plans[-1]

    monkeypatch.setattr(flash, "plan", plan)
    return plans


def test_a_board_is_flashed(image: Path, ran: list[FlashPlan]) -> None:
    done = bongsu("device", "flash", "--port", PORT, "--board", BOARD, "--image", image)
    assert done.code == 0
    assert done.out == f"Flashed a0b1c2d3e4f5 on {PORT}: own.bin, in 61.2 s\n"
    assert f"warning: {image} is your own image" in done.err
    assert "Identify the chip ...\nIdentify the chip: done in" in done.err
    assert [(plan.port, plan.board, plan.erase, plan.baud) for plan in ran] == [(PORT, BOARD, True, 460_800)]


def test_for_scripts(image: Path, ran: list[FlashPlan]) -> None:
    done = bongsu("device", "flash", "--port", PORT, "--board", BOARD, "--image", image, "--keep", "--json")
    assert json.loads(done.out) == {
        "port": PORT, "board": BOARD, "image": "own.bin", "sha256": hashlib.sha256(whole()).hexdigest(), "pin": "own",
        "bytes": len(whole()) - 0x6000, "erase": False, "chip": "esp32", "flash_mb": 4, "mac": "a0b1c2d3e4f5",
        "took_ms": 61_234,
    }  # fmt: skip


def test_the_dry_run_says_the_plan_that_is_run(image: Path, ran: list[FlashPlan], planned: list[FlashPlan]) -> None:
    """Both make the plan by one call, and what is run is that very object."""
    words = ("device", "flash", "--port", PORT, "--board", BOARD, "--image", image, "--baud", "921600")
    said = bongsu(*words, "--dry-run")
    as_json = json.loads(bongsu(*words, "--dry-run", "--json").out)
    assert ran == []
    bongsu(*words)
    assert len(planned) == 3 and planned[0] == planned[1] == planned[2]
    assert ran[0] is planned[2]
    for number, step in enumerate(ran[0].steps, 1):
        assert f"{number}. {step.words}:\n   {shlex.join(step.argv)}\n" in said.out
    assert as_json == flash.as_row(ran[0])
    assert [step["argv"] for step in as_json["steps"]] == [list(step.argv) for step in ran[0].steps]


def test_a_dry_run_touches_no_port(image: Path) -> None:
    """Where the board is named; nothing is behind this URL."""
    assert bongsu("device", "flash", "--port", PORT, "--board", BOARD, "--image", image, "--dry-run").code == 0


def test_the_board_is_found_by_its_chip(image: Path, ran: list[FlashPlan], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(esptool, "identify", lambda url: FOUND)
    assert bongsu("device", "flash", "--port", PORT, "--image", image).code == 0
    assert (ran[0].chip, ran[0].found) == ("esp32", FOUND)
    said = bongsu("device", "flash", "--port", PORT, "--image", image, "--dry-run").out
    assert "Chip: ESP32-D0WD-V3 (revision v3.1), 4 MB of flash, MAC a0b1c2d3e4f5" in said


def test_the_image_is_refused_before_the_board_is_touched(image: Path, ran: list[FlashPlan]) -> None:
    image.write_bytes(whole("esp32s3"))
    done = bongsu("device", "flash", "--port", PORT, "--board", BOARD, "--image", image)
    assert (done.code, ran) == (1, [])
    assert "the image is for ESP32-S3, and this board has ESP32" in done.err
    assert "  next: " in done.err


def test_an_unpinned_image_is_said_to_be_so(
    image: Path, ran: list[FlashPlan], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    text = boards.board_path(BOARD).read_text().replace("sha256 =", "# sha256 =")
    (tmp_path / "boards").mkdir()
    (tmp_path / "boards" / "mine.toml").write_text(text.replace(f'name = "{BOARD}"', 'name = "mine"'))
    monkeypatch.setenv("BONGSU_BOARDS", str(tmp_path / "boards"))
    named = tmp_path / "ESP32_GENERIC-20250415-v1.25.0.bin"
    named.write_bytes(image.read_bytes())
    words = ("device", "flash", "--port", PORT, "--board", "mine", "--image", named)
    first = bongsu(*words)
    assert first.code == 0
    assert "is unpinned: mine has no SHA-256 for it" in first.err and ran[0].image.sha256 in first.err
    assert "unpinned" not in bongsu(*words).err
    named.write_bytes(whole(body=b"another " * 50))
    other = bongsu(*words)
    assert other.code == 1
    assert "not the file that was used first" in other.err
    assert len(ran) == 2


def test_a_socket_cannot_restart_the_board(image: Path, ran: list[FlashPlan]) -> None:
    done = bongsu("device", "flash", "--port", "socket://rig:1", "--board", BOARD, "--image", image)
    assert "Press EN (RST) to start it" in done.out


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        (["--board", BOARD], 1, "no board was found on a USB port"),
        (["--board", "nodemcu", "--port", PORT], 1, "there is no board 'nodemcu'"),
        (["--port", "/dev/ttyUSB77"], 1, "there is no such port"),
        (["--port", "telepathy://board"], 2, "is no port"),
        (["--port", PORT, "--board", BOARD, "--image", "none.bin"], 1, "cannot read the image none.bin"),
        (["--baud", "1"], 2, "--baud"),
    ],
)
def test_errors(ran: list[FlashPlan], words: list[str], code: int, message: str) -> None:
    done = bongsu("device", "flash", *words)
    assert (done.code, ran) == (code, [])
    assert message in done.err


def test_a_failure_in_flashing_ends_with_its_next_step(image: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def run(plan: FlashPlan, progress: flash.Progress) -> Flashed:
        progress("write", 10, 100)
        raise FlashError(f"{PORT}: no chip answers", "Hold BOOT.")

    monkeypatch.setattr(flash, "run", run)
    done = bongsu("device", "flash", "--port", PORT, "--board", BOARD, "--image", image)
    assert done.code == 1
    assert done.err.endswith(f"Write the image ...\nbongsu: {PORT}: no chip answers\n  next: Hold BOOT.\n")


def test_ctrl_c_in_flashing_says_that_the_board_is_empty(image: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def run(plan: FlashPlan, progress: flash.Progress) -> Flashed:
        raise Interrupted(f"{PORT}: the flash is erased: nothing runs on the board now", "Run this again.")

    monkeypatch.setattr(flash, "run", run)
    done = bongsu("device", "flash", "--port", PORT, "--board", BOARD, "--image", image)
    assert done.code == 130
    assert done.err.endswith("interrupted: " + f"{PORT}: the flash is erased: nothing runs on the board now\n"
                             "  next: Run this again.\n")  # fmt: skip


def test_help_has_examples() -> None:
    assert "flash  " in bongsu("device", "--help").out
    text = bongsu("device", "flash", "--help").out
    assert "Examples:" in text and "bongsu device flash --port rfc2217://bench:4000" in text
