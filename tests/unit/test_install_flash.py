"""Flashing: the plan is what runs, the chip is looked at before anything is erased, and how far it is is told."""

import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from bongsu.errors import BongsuError, Interrupted
from bongsu.install import esptool, flash
from bongsu.install.boards import Image, load_board
from bongsu.install.esptool_output import ChipFound, Erasing, FlashError, chip_found, event, failure, plain
from bongsu.install.flash import FlashPlan, board_for, run
from bongsu.install.image import ImageError
from bongsu.install.image_store import ImageStore
from bongsu.install.ports import PortError, PortLock
from tests.image_parts import REAL_NAME, REAL_SHA256, whole

BOARD = load_board("esp32-devkitc")
PORT = "rfc2217://rig:4000"
RECORDED = Path(__file__).parents[1] / "data" / "esptool" / "5.6.0"
SIZE = 1_702_240  # of the image of the recordings

Steps = list[tuple[str, int, int]]


def recorded(what: str) -> list[str]:
    return [plain(line) for line in (RECORDED / f"{what}.txt").read_text().replace("PORT", PORT).split("\n")]


class Esptool:
    """In esptool's place: plays `outputs` one after the other; a number says that it failed with that exit code."""

    def __init__(self, *outputs: str | tuple[str, int]) -> None:
        self._outputs = list(outputs)
        self.called: list[tuple[str, ...]] = []

    def run(self, url: str, argv: Sequence[str], listen: Callable[[str], None]) -> list[str]:
        self.called.append(tuple(argv))
        output = self._outputs.pop(0)
        what, code = output if isinstance(output, tuple) else (output, 0)
        lines = recorded(what)
        for line in lines:
            listen(line)
        if code:
            raise failure(url, lines, code)
        return lines


@pytest.fixture
def play(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[..., Esptool]:
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))

    def play(*outputs: str | tuple[str, int]) -> Esptool:
        player = Esptool(*outputs)
        monkeypatch.setattr(esptool, "run", player.run)
        return player

    return play


@pytest.fixture
def store(tmp_path: Path) -> ImageStore:
    return ImageStore(tmp_path / "cache", tmp_path / "images.json")


def plan_for(
    store: ImageStore,
    tmp_path: Path,
    *,
    port: str = PORT,
    keep: bool = False,
    baud: int | None = None,
    found: ChipFound | None = None,
) -> FlashPlan:
    """For an image as large as that of the recordings."""
    path = tmp_path / "own.bin"
    path.write_bytes(whole().ljust(SIZE, b"\xff"))
    file = store.named(BOARD, path)
    return flash.plan(port, BOARD, file, store.pieces(file, keep=keep), erase=not keep, baud=baud, found=found)


def quiet(step: str, done: int, total: int) -> None:
    pass


# -- the plan


def test_the_plan(store: ImageStore, tmp_path: Path) -> None:
    plan = plan_for(store, tmp_path)
    program = (sys.executable, "-m", "esptool")
    resets = ("--before", "default-reset", "--after")
    kept = ("--flash-mode", "keep", "--flash-freq", "keep", "--flash-size", "keep")
    image = str(tmp_path / "own.bin")
    assert [step.argv for step in plan.steps] == [
        (*program, "--chip", "auto", "--port", PORT, "--baud", "115200", *resets, "hard-reset", "flash-id"),
        (*program, "--chip", "esp32", "--port", PORT, "--baud", "460800", *resets, "no-reset-stub",
         "write-flash", *kept, "--erase-all", "0x1000", image),
        (*program, "--chip", "esp32", "--port", PORT, "--baud", "460800", *resets, "hard-reset",
         "verify-flash", *kept, "0x1000", image),
    ]  # fmt: skip
    assert [step.words for step in plan.steps] == [
        "Identify the chip: an ESP32 with at least 4 MB of flash, or nothing is written",
        "Erase the whole flash, keys and files too, then write 1,702,240 bytes at 0x1000",
        "Compare the flash with the file, and restart the board",
    ]


def test_a_chip_that_is_known_already_is_not_asked_again(
    play: Callable[..., Esptool], store: ImageStore, tmp_path: Path
) -> None:
    chip = chip_found(recorded("chip_esp32"))
    plan = plan_for(store, tmp_path, found=chip)
    assert [step.name for step in plan.steps] == ["write", "verify"]
    play("write", "verify")
    assert run(plan, quiet).mac == chip.mac
    with pytest.raises(FlashError, match="not the ESP32 of esp32-devkitc; nothing was written"):
        plan_for(store, tmp_path, found=chip_found(recorded("chip_esp32s3")))


def test_to_keep_what_is_stored_is_to_write_around_it(store: ImageStore, tmp_path: Path) -> None:
    plan = plan_for(store, tmp_path, keep=True)
    for step in plan.steps[1:]:
        assert step.argv[-4::2] == ("0x1000", "0xf000")
        assert "--erase-all" not in step.argv
    assert plan.size == SIZE - 0x6000
    assert plan.steps[1].words == "Write 1,677,664 bytes at 0x1000, 0xf000; keys and files stay"


def test_the_speed_is_the_boards_or_the_given_one_or_that_of_a_socket(store: ImageStore, tmp_path: Path) -> None:
    assert plan_for(store, tmp_path, baud=921_600).baud == 921_600
    plan = plan_for(store, tmp_path, port="socket://rig:1", baud=921_600)
    assert (plan.baud, plan.resets) == (115_200, False)  # what is behind it has one speed
    assert all(step.argv[7:9] == ("--baud", "115200") for step in plan.steps)


# -- what runs


def test_what_runs_is_the_plan(play: Callable[..., Esptool], store: ImageStore, tmp_path: Path) -> None:
    player = play("chip_esp32", "write", "verify")
    plan = plan_for(store, tmp_path)
    flashed = run(plan, quiet)
    assert player.called == [step.argv for step in plan.steps]
    assert (flashed.mac, flashed.chip, flashed.flash_mb) == ("a0b1c2d3e4f5", "esp32", 4)
    assert (flashed.image_name, flashed.image_sha256) == ("own.bin", plan.image.sha256)


def test_how_far_it_is_is_told(play: Callable[..., Esptool], store: ImageStore, tmp_path: Path) -> None:
    play("chip_esp32", "write", "verify")
    steps: Steps = []
    run(plan_for(store, tmp_path), lambda *step: steps.append(step))
    assert steps[:4] == [("identify", 0, 1), ("identify", 1, 1), ("erase", 0, 0), ("erase", 1, 1)]
    assert steps[-2:] == [("verify", 0, 1), ("verify", 1, 1)]
    written = steps[4:-2]
    assert {(step, total) for step, _, total in written} == {("write", SIZE)}
    done = [done for _, done, _ in written]
    assert done == sorted(set(done)) and done[0] == 0xFB50 and done[-1] == SIZE


def test_of_several_pieces_the_sum_is_told(play: Callable[..., Esptool], store: ImageStore, tmp_path: Path) -> None:
    play("chip_esp32", "write_pieces", "verify")
    steps: Steps = []
    plan = plan_for(store, tmp_path, keep=True)
    run(plan, lambda *step: steps.append(step))
    done = [done for step, done, _ in steps if step == "write"]
    assert done == sorted(done)
    assert 0x8000 in done  # the first is written
    assert done[-1] == plan.size == SIZE - 0x6000


@pytest.mark.parametrize("chip", ["esp32s3", "esp32c3", "esp32c6"])
def test_another_chip_is_refused_before_anything_is_erased(
    play: Callable[..., Esptool], store: ImageStore, tmp_path: Path, chip: str
) -> None:
    player = play(f"chip_{chip}")
    with pytest.raises(FlashError, match="not the ESP32 of esp32-devkitc; nothing was written") as e:
        run(plan_for(store, tmp_path), quiet)
    assert len(player.called) == 1
    assert "--board" in e.value.next_step


def test_a_smaller_flash_is_refused_before_anything_is_erased(
    play: Callable[..., Esptool], store: ImageStore, tmp_path: Path
) -> None:
    player = play("chip_esp32")
    plan = replace(plan_for(store, tmp_path), flash_mb=8)
    with pytest.raises(FlashError, match="4 MB of flash, not the 8 MB of esp32-devkitc; nothing was written"):
        run(plan, quiet)
    assert len(player.called) == 1


def test_a_file_that_changed_meanwhile_is_not_written(
    play: Callable[..., Esptool], store: ImageStore, tmp_path: Path
) -> None:
    player = play()
    plan = plan_for(store, tmp_path)
    plan.image.path.write_bytes(b"another")
    with pytest.raises(ImageError, match="has changed meanwhile"):
        run(plan, quiet)
    plan.image.path.unlink()
    with pytest.raises(ImageError, match="cannot read .*own.bin"):
        run(plan, quiet)
    assert player.called == []


@pytest.mark.parametrize(
    ("outputs", "kind", "message", "step"),
    [
        ([("silent", 2)], FlashError, f"{PORT}: no chip answers", "Hold BOOT (IO0), press EN (RST) once"),
        ([("busy", 2)], PortError, f"{PORT} is in use", "Close what has it open"),
        (
            ["chip_esp32", ("unplugged", 1)],
            FlashError,
            "the connection was lost (582,023 of 1,702,240 bytes were written)",
            "run this again. It begins anew then.",
        ),
        (["chip_esp32", ("flash_fails", 2)], FlashError, "refuses to be written (104,645 of", "use another board"),
        (
            ["chip_esp32", ("wrong_md5", 2)],
            FlashError,
            "does not hold what was written (1,702,240 of 1,702,240 bytes were written)",
            "--baud 115200",
        ),
        (
            ["chip_esp32", "write", ("differs", 2)],
            FlashError,
            "does not hold what was written (all is written, but not compared with the file)",
            "--baud 115200",
        ),
        (["chip_esp32", ("too_small", 2)], FlashError, "larger than the board's flash (nothing was erased)", "--board"),
    ],
)
def test_a_failure_says_how_far_it_came_and_what_is_next(
    play: Callable[..., Esptool],
    store: ImageStore,
    tmp_path: Path,
    outputs: list[str | tuple[str, int]],
    kind: type[BongsuError],
    message: str,
    step: str,
) -> None:
    play(*outputs)
    with pytest.raises(kind) as e:
        run(plan_for(store, tmp_path), quiet)
    assert message in e.value.message
    assert step in e.value.next_step


@pytest.mark.parametrize(
    ("at", "keep", "left"),
    [
        ("identify", False, None),
        ("Configuring flash size", False, None),
        ("Erasing flash memory", False, "while the flash was erased: nothing runs on the board now"),
        ("Compressed 1702240", False, "the flash is erased: nothing runs"),
        ("Compressed 1702240", True, "the first bytes were being written: nothing runs"),
        ("Writing at 0x0001a8c5", False, "104,645 of 1,702,240 bytes were written: nothing runs"),
        ("verify", False, "all is written, but not compared with the file: nothing runs"),
    ],
)
def test_ctrl_c_says_what_it_leaves(
    store: ImageStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, at: str, keep: bool, left: str | None
) -> None:
    """And nothing more than "interrupted" where the board is as it was."""
    plan = plan_for(store, tmp_path, keep=keep)
    names = iter(step.name for step in plan.steps)

    def esptool_run(url: str, argv: object, listen: Callable[[str], None]) -> list[str]:
        if (name := next(names)) == at:
            raise KeyboardInterrupt
        lines = recorded({"identify": "chip_esp32"}.get(name, name))
        for line in lines:
            if line.startswith(at):
                listen(line)
                raise KeyboardInterrupt
            if not (keep and isinstance(event(line), Erasing)):
                listen(line)
        return lines

    monkeypatch.setattr(flash.esptool, "run", esptool_run)
    with pytest.raises(KeyboardInterrupt) as stopped:
        run(plan, quiet)
    if left is None:
        assert type(stopped.value) is KeyboardInterrupt
    else:
        assert isinstance(stopped.value, Interrupted)
        assert PORT in stopped.value.message and left in stopped.value.message
        assert stopped.value.next_step == "Run this again: it begins anew."


@pytest.mark.parametrize("outputs", [["chip_esp32", "write", "verify"], [("silent", 2)]])
def test_the_port_is_ours_alone_and_free_afterwards(
    play: Callable[..., Esptool], store: ImageStore, tmp_path: Path, outputs: list[str | tuple[str, int]]
) -> None:
    play(*outputs)
    held: list[bool] = []
    lock = PortLock(PORT)
    try:
        run(plan_for(store, tmp_path), lambda *step: held.append(lock._path in PortLock._held))
    except FlashError:
        pass
    assert all(held) and held
    assert lock._path not in PortLock._held


# -- which board, where nobody names one


def found(chip: str, flash_mb: int | None = 4) -> ChipFound:
    return replace(chip_found(recorded("chip_esp32")), chip=chip, flash_mb=flash_mb)


SMALL = replace(BOARD, name="small", flash_mb=2)
LARGE = replace(BOARD, name="large", flash_mb=16)
OTHER = replace(BOARD, name="other", image=Image(url=BOARD.image.url.replace("GENERIC", "GENERIC-SPIRAM")))


def test_boards_that_take_the_same_image_are_one_to_flash() -> None:
    assert board_for(found("esp32"), [SMALL, BOARD, LARGE]) == BOARD
    assert board_for(found("esp32", 16), [SMALL, BOARD, LARGE]) == LARGE
    assert board_for(found("esp32", None), [BOARD]) == BOARD


def test_boards_that_take_different_images_must_be_named() -> None:
    with pytest.raises(FlashError, match="2 boards have an ESP32, .*: esp32-devkitc, other") as e:
        board_for(found("esp32"), [BOARD, OTHER])
    assert "--board" in e.value.next_step
    assert board_for(found("esp32"), [BOARD, OTHER], own_image=True) in (BOARD, OTHER)


def test_a_chip_that_no_board_has() -> None:
    with pytest.raises(FlashError, match="no board is known with an ESP32-H2 and 4 MB of flash"):
        board_for(found("esp32h2"), [BOARD])
    with pytest.raises(FlashError, match="no board is known with an ESP32 and 2 MB of flash"):
        board_for(found("esp32", 2), [BOARD])


def test_names_of_the_recordings() -> None:
    """The boards that ship take the images whose forms these tests have."""
    assert (BOARD.image.file, BOARD.image.sha256) == (REAL_NAME, REAL_SHA256)


# -- what is there already


def test_a_board_is_asked_whether_it_holds_the_image(
    store: ImageStore, tmp_path: Path, play: Callable[..., Esptool]
) -> None:
    todo = plan_for(store, tmp_path, keep=True)
    player = play("verify", ("differs", 2))
    assert flash.holds(todo)
    assert not flash.holds(todo)
    assert player.called == [todo.steps[-1].argv] * 2


def test_a_board_that_cannot_be_asked_is_no_board_without_it(
    store: ImageStore, tmp_path: Path, play: Callable[..., Esptool]
) -> None:
    play(("silent", 2))
    with pytest.raises(FlashError, match="no chip answers"):
        flash.holds(plan_for(store, tmp_path, keep=True))
