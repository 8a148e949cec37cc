"""The clock: the latest of build, provisioning and saved time at boot; set by receipts, backwards too; saved rarely."""

from pathlib import Path

import pytest

from bongsu_node import flashfile, version
from bongsu_node.clock import SAVE_EVERY_S, Clock
from bongsu_wire.payload import AGE_UNKNOWN

PERIOD = 1 << 30
BUILD = 1_700_000_000
PROVISIONED = 1_750_000_000


class Board:
    def __init__(self, folder: Path, ticks: int = 0) -> None:
        self.path = str(folder / "clock")
        self.ticks = ticks
        self.rtc: list[int] = []

    def boot(self, build: int = BUILD, provisioned: int = PROVISIONED) -> Clock:
        def diff(a: int, b: int) -> int:
            return ((a - b + (PERIOD >> 1)) & (PERIOD - 1)) - (PERIOD >> 1)

        return Clock(lambda: self.ticks, diff, self.rtc.append, self.path, build, provisioned)

    def pass_s(self, seconds: int, clock: Clock) -> None:
        while seconds > 0:
            step = min(seconds, 86_400)
            self.ticks = (self.ticks + step * 1000) % PERIOD
            clock.uptime_ms()
            seconds -= step


@pytest.fixture
def board(tmp_path: Path) -> Board:
    return Board(tmp_path, PERIOD - 5_000)


def test_at_boot_it_is_the_latest_that_is_known(board: Board) -> None:
    assert board.boot().now_s() == PROVISIONED
    assert board.boot(build=PROVISIONED + 5).now_s() == PROVISIONED + 5
    clock = board.boot()
    clock.server_time((PROVISIONED + 1000) * 1000 + 500)
    assert board.boot().now_s() == PROVISIONED + 1000
    assert board.rtc == [PROVISIONED, PROVISIONED + 5, PROVISIONED, PROVISIONED + 1000, PROVISIONED + 1000]


def test_it_runs_over_the_wrap_of_the_ticks(board: Board) -> None:
    clock = board.boot()
    board.pass_s(40 * 86_400, clock)
    assert clock.uptime_ms() == 40 * 86_400_000
    assert clock.now_s() == PROVISIONED + 40 * 86_400


def test_a_receipt_sets_it_backwards_and_the_saved_time_follows(board: Board) -> None:
    clock = board.boot()
    ahead = PROVISIONED + 10 * 365 * 86_400
    clock.server_time(ahead * 1000)
    assert board.boot().now_s() == ahead
    clock.server_time((PROVISIONED + 60) * 1000)
    assert clock.now_s() == PROVISIONED + 60
    assert board.boot().now_s() == PROVISIONED + 60


def test_it_is_saved_rarely(board: Board, monkeypatch: pytest.MonkeyPatch) -> None:
    writes = []
    real = flashfile.write
    monkeypatch.setattr(flashfile, "write", lambda path, data: (writes.append(path), real(path, data)))
    clock = board.boot()
    for n in range(2 * 24 * 60):  # a receipt a minute for two days
        board.pass_s(60, clock)
        clock.server_time((PROVISIONED + 60 * n) * 1000 + n % 997)
    assert 7 <= len(writes) <= 2 * 86_400 // SAVE_EVERY_S + 1
    before = len(writes)
    for _ in range(24):  # and without receipts, by its own count
        board.pass_s(3600, clock)
        clock.save()
    assert len(writes) - before == 4


def test_the_echo_is_the_newest_server_time_and_its_age(board: Board) -> None:
    clock = board.boot()
    assert clock.echo() == (0, AGE_UNKNOWN)
    clock.server_time(1_800_000_000_123)
    board.pass_s(7, clock)
    assert clock.echo() == (1_800_000_000_123, 7_000)
    assert board.boot().echo() == (0, AGE_UNKNOWN)


def test_the_rtc_is_not_rewritten_for_jitter(board: Board) -> None:
    clock = board.boot()
    clock.server_time((PROVISIONED + 1) * 1000)
    assert len(board.rtc) == 1
    clock.server_time((PROVISIONED + 9) * 1000)
    assert board.rtc[1:] == [PROVISIONED + 9]


def test_a_flash_that_refuses_is_said(board: Board, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = board.boot()
    with monkeypatch.context() as broken:

        def refuse(path: str, data: bytes) -> None:
            raise OSError(28)

        broken.setattr(flashfile, "write", refuse)
        clock.server_time(PROVISIONED * 1000)
        assert clock.failed
    clock.save()
    assert not clock.failed


def test_the_build_time_is_one() -> None:
    assert 1_780_000_000 < version.BUILD_S < 2_000_000_000
