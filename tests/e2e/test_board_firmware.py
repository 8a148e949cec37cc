"""The firmware, as bytecode as on a real board, without a network: hold, alarm, journal, watchdog, power cuts."""

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from bongsu.resources import resources
from bongsu.sim.board import VirtualBoard
from bongsu.sim.serial_log import LogLine
from tests.board_parts import NODE, PINS, bundle

HOT_C = 62.0
QUIET = (21.0, 0.0)


@pytest.fixture
def boards(tmp_path: Path) -> Iterator[Any]:
    """boards(): a provisioned, discrete board with the firmware, off, without Wi-Fi."""
    made: list[VirtualBoard] = []

    def make(**options: Any) -> VirtualBoard:
        board = VirtualBoard(tmp_path / str(len(made)), node_id=NODE, speed=math.inf, **options)
        made.append(board)
        board.flash(resources().firmware, mpy=True)
        board.provision(bundle())
        board.set_wifi(False)
        return board

    yield make
    for board in made:
        board.close()


def _tagged(board: VirtualBoard, tag: str, since: int = 0) -> list[LogLine]:
    return [line for line in board.log_lines[since:] if line.tag == tag]


def _step(at_s: float, for_s: float, temp_c: float = QUIET[0], smoke: float = 0.0) -> list[tuple[float, float, float]]:
    """Quiet, then `temp_c` and `smoke` for a while, then quiet again, with edges of 0 s."""
    end = at_s + for_s
    return [(0, *QUIET), (at_s, *QUIET), (at_s, temp_c, smoke), (end, temp_c, smoke), (end, *QUIET)]


def test_it_boots_and_samples(boards: Any) -> None:
    board = boards()
    board.power_on()
    board.run_for(65)
    (boot,) = _tagged(board, "boot")
    assert boot.fields["cause"]
    samples = _tagged(board, "sample")
    assert 5 <= len(samples) <= 8
    assert {line.fields["temp_dk"] for line in samples[1:]} == {
        "2942"
    }  # 21.0 degC; the first is before its first value
    assert {line.fields["smoke_e4"] for line in samples} == {"0"}
    assert not _tagged(board, "task") and not _tagged(board, "alarm")


@pytest.mark.parametrize("phase_s", [0.0, 0.07, 0.13, 0.2])
@pytest.mark.parametrize("phenomenon", ["heat", "smoke"])
def test_4_9_s_raise_nothing_and_more_raise_the_alarm(boards: Any, phase_s: float, phenomenon: str) -> None:
    value = {"temp_c": HOT_C} if phenomenon == "heat" else {"smoke": 0.2}
    start = 20 + phase_s
    board = boards()
    board.set_scenario([*_step(start, 4.9, **value), *[(t + 20, *v) for t, *v in _step(start, 30, **value)][1:]])
    board.power_on()
    board.run_for(start + 10)
    assert not _tagged(board, "alarm")
    assert [line.fields["state"] for line in _tagged(board, "hold")] == ["start", "broken"]
    board.run_for(20)
    (alarm,) = _tagged(board, "alarm")
    assert alarm.fields["phen"] == phenomenon
    assert 5000 <= int(alarm.fields["held_ms"]) < 5500
    # sampling and filter take at most one sample each, then the hold
    assert 5.0 <= (alarm.ticks_ms or 0) / 1000 - (start + 20) <= 5.75
    assert board.pins()[PINS["siren"]] == 1


def test_half_an_hour_without_wifi_ends_no_task_and_resets_nothing(boards: Any) -> None:
    board = boards()
    board.power_on()
    board.run_for(1800)
    assert board.reset_causes == ["power_on"]
    assert not _tagged(board, "task")
    assert len(_tagged(board, "sample")) >= 170
    assert board.scans == 0


def test_a_radio_without_memory_is_asked_again(boards: Any) -> None:
    board = boards()
    board.set_wifi(True)
    board.set_idf_heap_free(5_000)
    board.power_on()
    board.run_for(75)
    off = _tagged(board, "link")
    assert off and all("0x0101" in line.fields["err"] for line in off)
    board.set_idf_heap_free(49_000)
    since = board.mark()
    board.run_for(75)
    assert not _tagged(board, "link", since)
    assert [line.fields["state"] for line in _tagged(board, "wifi", since)] == ["up"]
    assert not _tagged(board, "task")


def test_the_alarm_is_in_the_journal_after_a_power_cut(boards: Any) -> None:
    board = boards()
    board.set_scenario(_step(20, 20, temp_c=HOT_C))
    board.power_on()
    board.run_for(30)
    (alarm,) = _tagged(board, "alarm")
    (stored,) = [line for line in _tagged(board, "journal") if line.fields.get("event") == alarm.fields["event"]]
    assert stored.index > alarm.index
    board.power_off()
    assert [path for path in board.list_files() if path.startswith("/journal/")]
    mark = board.mark()
    board.power_on()
    board.run_for(20)
    assert len(_tagged(board, "boot", mark)) == 1
    assert board.failed_file is None


@pytest.mark.parametrize("half", [0, 1])  # two tests of half the writes share two processors
def test_power_cut_at_each_flash_write_of_an_alarm(boards: Any, half: int) -> None:
    """Whatever write it was: the board boots again, the alarm is in the journal or raised anew, no number comes
    twice."""
    whole = boards()
    whole.set_scenario(_step(20, 300, temp_c=HOT_C))
    whole.power_on()
    whole.run_for(19)
    before = whole.flash_writes
    whole.run_for(11)
    writes = whole.flash_writes - before
    assert writes > 3
    for n in range(1 + half, writes + 1, 2):
        board = boards(seed=n)
        board.set_scenario(_step(20, 300, temp_c=HOT_C))
        board.power_on()
        board.run_for(19)
        board.cut_power_after_writes(n)
        board.run_for(30)
        assert not board.powered
        first = [line.fields["event"] for line in _tagged(board, "alarm")]
        mark = board.mark()
        board.power_on()
        board.run_for(20)
        assert board.failed_file is None and board.reset_causes == ["power_on", "power_on"]
        again = [line.fields["event"] for line in _tagged(board, "alarm", mark)]
        board.power_off()
        assert [path for path in board.list_files() if path.startswith("/journal/")], n
        assert not set(first) & set(again), n
        board.close()
