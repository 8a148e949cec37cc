"""Alarm state, siren and the response: siren first, then journal, then link; restarts resume; silence ends."""

from pathlib import Path
from typing import Any

import pytest

from bongsu_node import flashfile
from bongsu_node.alarm.journal import Journal
from bongsu_node.alarm.response import Response
from bongsu_node.alarm.siren import Siren
from bongsu_node.alarm.state import SILENCE_MS, AlarmState
from bongsu_node.upkeep.faults import Faults
from bongsu_wire import kinds, payload
from tests.sensing_parts import state_of

PERIOD = 1 << 30


def ticks_diff(a: int, b: int) -> int:
    return ((a - b + (PERIOD >> 1)) & (PERIOD - 1)) - (PERIOD >> 1)


def state() -> AlarmState:
    return AlarmState((kinds.HEAT, kinds.SMOKE), ticks_diff)


def raised(alarms: AlarmState, bit: int, event: int, criterion: int = kinds.CRIT_HEAT_FIXED) -> None:
    p = state_of(alarms, bit)
    p.begin(0)
    p.event, p.criterion = event, criterion


# -- state


def test_phenomena_are_independent() -> None:
    alarms = state()
    raised(alarms, kinds.SMOKE, 4)
    assert (alarms.active, alarms.newest_event) == (kinds.SMOKE, 4)
    raised(alarms, kinds.HEAT, 7)
    assert (alarms.active, alarms.newest_event) == (kinds.HEAT | kinds.SMOKE, 7)


def quiet_samples(alarms: AlarmState, start: int, samples: int) -> list[int]:
    p = state_of(alarms, kinds.HEAT)
    return [n for n in range(samples) if p.step((start + n * 250) % PERIOD, False, True)]


@pytest.mark.parametrize("start", [0, PERIOD - 30_000])
def test_restore_takes_60_s_below_the_hysteresis(start: int) -> None:
    alarms = state()
    raised(alarms, kinds.HEAT, 1)
    assert quiet_samples(alarms, start, 240) == []
    p = state_of(alarms, kinds.HEAT)
    # Between hysteresis and threshold: neither an alarm nor quiet.
    assert p.step((start + 240 * 250) % PERIOD, False, False) is False
    assert quiet_samples(alarms, start + 241 * 250, 300) == [240]
    assert alarms.active == 0


def test_a_rise_before_the_restore_is_the_same_alarm() -> None:
    alarms = state()
    raised(alarms, kinds.HEAT, 1)
    assert quiet_samples(alarms, 0, 100) == []
    assert state_of(alarms, kinds.HEAT).step(25_000, True, False) is False


def test_a_silent_sensor_is_no_quiet() -> None:
    alarms = state()
    raised(alarms, kinds.HEAT, 1)
    p = state_of(alarms, kinds.HEAT)
    assert p.step(0, False, True) is False
    for n in range(1, 1000):
        p.missed(n * 250)
    assert quiet_samples(alarms, 250_000, 238) == []  # the 250 s count as 0.5 s


def test_silence_lasts_ten_minutes_and_a_new_alarm_ends_it() -> None:
    alarms = state()
    assert not alarms.silence(0)
    assert not alarms.silenced(0)
    raised(alarms, kinds.HEAT, 1)
    since = PERIOD - 1000
    assert alarms.silence(since)
    assert alarms.silenced((since + SILENCE_MS - 1) % PERIOD)
    assert not alarms.silenced((since + SILENCE_MS) % PERIOD)
    assert not alarms.silenced((since + SILENCE_MS + 5) % PERIOD)
    assert alarms.silence(0)
    alarms.end_silence()
    assert not alarms.silenced(1)
    assert SILENCE_MS <= 600_000


def test_silence_does_not_outlive_its_alarm() -> None:
    alarms = state()
    raised(alarms, kinds.HEAT, 1)
    alarms.silence(0)
    state_of(alarms, kinds.HEAT).end()
    assert not alarms.silenced(1)


# -- restart


def event(number: int, kind: int, phenomena: int, count: int = 1) -> payload.Event:
    return payload.Event(number, kind, phenomena, criterion=kinds.CRIT_SMOKE_FIXED, count=count)


def test_the_state_comes_back_after_a_restart() -> None:
    alarms = state()
    raised(alarms, kinds.SMOKE, 0x01020304, kinds.CRIT_SMOKE_FIXED)
    again = state()
    assert again.resume(alarms.pack(0x0102), ()) == 0x0102
    assert (again.active, again.newest_event) == (kinds.SMOKE, 0x01020304)
    assert state_of(again, kinds.SMOKE).criterion == kinds.CRIT_SMOKE_FIXED
    # Still hot: the same alarm, no new event.
    assert state_of(again, kinds.SMOKE).step(0, True, False) is False


def test_power_cut_between_journal_and_state() -> None:
    idle = state().pack(0)
    again = state()
    again.resume(idle, [event(5, kinds.ALARM, kinds.SMOKE)])
    assert (again.active, again.newest_event) == (kinds.SMOKE, 5)

    before = state()
    raised(before, kinds.SMOKE, 5)
    again = state()
    again.resume(before.pack(0), [event(5, kinds.ALARM, kinds.SMOKE), event(6, kinds.RESTORE, kinds.SMOKE)])
    assert again.active == 0


def test_an_old_alarm_that_waits_for_its_receipt_does_not_sound_again() -> None:
    """Its restore was receipted first and has left the journal; or it is what merged old alarms have become."""
    alarms = state()
    raised(alarms, kinds.HEAT, 5)
    state_of(alarms, kinds.HEAT).end()
    state_of(alarms, kinds.HEAT).event = 6
    again = state()
    again.resume(alarms.pack(0), [event(5, kinds.ALARM, kinds.HEAT), event(9, kinds.ALARM, kinds.HEAT, count=3)])
    assert again.active == 0


@pytest.mark.parametrize("saved", [None, b"", b"\x01", b"\x02\x00\x00\x00", b"\x01\x00\x00\x09abc"])
def test_a_lost_state_is_made_up_for_by_the_journal(saved: bytes | None) -> None:
    again = state()
    assert again.resume(saved, [event(3, kinds.ALARM, kinds.HEAT)]) == 0
    assert again.active == kinds.HEAT


# -- siren and lamp


class Outputs:
    def __init__(self) -> None:
        self.siren = self.lamp = -1
        self.order: list[str] = []
        self.show = Siren(self._siren, self._lamp, ticks_diff)

    def _siren(self, level: int) -> None:
        self.siren = level
        self.order.append("siren" if level else "quiet")

    def _lamp(self, level: int) -> None:
        self.lamp = level


def lamp_over(out: Outputs, now: int, alarm: bool, silenced: bool, known: bool, ms: int = 4_000) -> list[int]:
    levels = []
    for t in range(now, now + ms, 50):
        out.show.show(t % PERIOD, alarm, silenced, known)
        levels.append(out.lamp)
    return levels


def test_the_lamp_tells_whether_the_centre_knows() -> None:
    out = Outputs()
    assert set(lamp_over(out, 0, False, False, False)) == {0} and out.siren == 0
    blinking = lamp_over(out, 0, True, False, False)
    assert set(blinking) == {0, 1} and out.siren == 1
    assert sum(a != b for a, b in zip(blinking, blinking[1:], strict=False)) == 7  # once a second, on and off
    assert set(lamp_over(out, 0, True, False, True)) == {1} and out.siren == 1
    assert set(lamp_over(out, 0, True, True, True)) == {1} and out.siren == 0


def test_identify_flickers_for_half_a_minute_and_the_test_chirps_for_a_second() -> None:
    out = Outputs()
    start = PERIOD - 500
    out.show.identify(start)
    out.show.chirp(start)
    assert set(lamp_over(out, start, False, False, False, 900)) == {0, 1} and out.siren == 1
    assert set(lamp_over(out, start + 1_000, False, False, False, 28_900)) == {0, 1} and out.siren == 0
    assert set(lamp_over(out, start + 30_000, False, False, False)) == {0}


# -- response


class Identity:
    epoch = 1

    def __init__(self) -> None:
        self.number = 0
        self.broken = False

    def next_event_number(self) -> int:
        if self.broken:
            raise OSError(5)
        self.number += 1
        return self.number


class Desk:
    """A response with its parts, and what happened in which order."""

    def __init__(self, folder: Path, provisioned: bool = True) -> None:
        self.out = Outputs()
        self.order = self.out.order
        self.identity = Identity() if provisioned else None
        self.lines: list[str] = []
        self.alarms = state()
        number = self.identity.next_event_number if self.identity else None
        self.journal = Journal(str(folder / "j"), 1, number, lambda: 0, self.log) if provisioned else None
        self.response = Response(
            self.alarms, self.out.show, self.identity, self.journal, self.save, lambda: 0, self.log
        )
        self.response.wake = lambda: self.order.append("link")
        self.response.readings = lambda: {"temp_dk": 3400, "smoke_e4": 5, "rssi_dbm": -60}
        self.response.faults = Faults(0, self.response.fault, self.save)

    def log(self, level: str, tag: str, text: str = "") -> None:
        self.lines.append(f"{level} {tag} {text}")
        if text.endswith("stored"):
            self.order.append("journal")

    def save(self) -> None:
        self.order.append("state")

    def alarm(self) -> None:
        p = state_of(self.alarms, kinds.HEAT)
        p.begin(0)
        self.response.alarm((p,), kinds.HEAT, kinds.CRIT_HEAT_FIXED, 5000)


def test_siren_then_journal_then_state_then_link(tmp_path: Path) -> None:
    desk = Desk(tmp_path)
    desk.alarm()
    assert desk.order == ["siren", "journal", "state", "link"]
    assert desk.out.lamp == 1
    assert desk.lines[0] == ("W alarm event=1 phen=heat criterion=heat_fixed held_ms=5000 temp_dk=3400 smoke_e4=5")
    assert desk.lines[1] == "I journal event=1 stored"
    assert desk.journal is not None
    (e,) = desk.journal.events()
    assert (e.kind, e.phenomena, e.criterion, e.sustained_ms) == (kinds.ALARM, kinds.HEAT, kinds.CRIT_HEAT_FIXED, 5000)
    assert (e.temp_dk, e.smoke_e4, e.rssi_dbm, e.count) == (3400, 5, -60, 1)


def test_a_failing_flash_stops_neither_siren_nor_link(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(path: str, data: bytes) -> None:
        raise OSError(28)

    monkeypatch.setattr(flashfile, "write", refuse)
    desk = Desk(tmp_path)
    desk.alarm()
    assert desk.order == ["siren", "state", "link"]
    assert desk.journal is not None
    assert desk.journal.failed and desk.journal.pending() == [1]


def test_a_failing_number_store_stops_neither(tmp_path: Path) -> None:
    desk = Desk(tmp_path)
    assert desk.identity is not None
    desk.identity.broken = True
    desk.alarm()
    assert desk.order == ["siren", "state", "link"]
    assert desk.response.broken
    assert desk.journal is not None
    # The link has nothing to send yet; the lamp must not say that the centre knows.
    assert desk.journal.pending() == [] and desk.journal.holds_alarm() and desk.journal.depth == 1


def test_an_alarm_without_a_number_is_reported_once_there_is_one(tmp_path: Path) -> None:
    desk = Desk(tmp_path)
    assert desk.identity is not None and desk.journal is not None
    desk.identity.broken = True
    desk.alarm()
    desk.response.look_after()
    assert desk.journal.pending() == [] and desk.alarms.newest_event == 0
    desk.identity.broken = False
    desk.order.clear()
    desk.response.look_after()
    assert desk.order == ["state", "link"]
    assert desk.journal.pending() == [1] and desk.alarms.newest_event == 1
    (e,) = desk.journal.events()
    assert (e.kind, e.phenomena, e.temp_dk, e.sustained_ms) == (kinds.ALARM, kinds.HEAT, 3400, 5000)
    assert not desk.journal.failed
    desk.response.look_after()
    assert desk.order == ["state", "link"]  # once


def test_an_alarm_that_is_over_before_there_is_a_number_is_reported_with_its_restore(tmp_path: Path) -> None:
    desk = Desk(tmp_path)
    assert desk.identity is not None and desk.journal is not None
    desk.identity.number = 70
    desk.identity.broken = True
    desk.alarm()
    assert desk.response.reset(lambda bit: None, lambda bit: False)
    saved = desk.alarms.pack(0)
    desk.identity.broken = False
    desk.response.look_after()
    assert [(e.number, e.kind) for e in desk.journal.events()] == [(71, kinds.ALARM), (72, kinds.RESTORE)]
    # Whichever state a restart finds, and whether or not the restore still waits for its receipt: quiet.
    for state_file, events in ((saved, desk.journal.events()), (desk.alarms.pack(0), desk.journal.events()[:1])):
        again = state()
        again.resume(state_file, events)
        assert again.active == 0


def test_an_alarm_without_a_number_outlives_a_restart(tmp_path: Path) -> None:
    desk = Desk(tmp_path)
    assert desk.identity is not None
    desk.identity.broken = True
    desk.alarm()
    again = Desk(tmp_path)
    assert again.journal is not None
    again.alarms.resume(desk.alarms.pack(0), again.journal.events())
    assert again.journal.pending() == [1]
    assert again.alarms.active == kinds.HEAT and again.alarms.newest_event == 1


def test_a_crash_in_the_readings_stops_neither(tmp_path: Path) -> None:
    desk = Desk(tmp_path)
    calls = iter([{"temp_dk": 3400}])
    desk.response.readings = lambda: next(calls)
    desk.alarm()
    assert desk.order == ["siren", "journal", "state", "link"] and desk.response.broken
    assert desk.journal is not None
    assert [(e.kind, e.temp_dk) for e in desk.journal.events()] == [(kinds.ALARM, payload.U16_UNKNOWN)]


def test_an_unprovisioned_node_sounds_and_keeps_nothing(tmp_path: Path) -> None:
    desk = Desk(tmp_path, provisioned=False)
    desk.alarm()
    assert desk.order == ["siren", "state", "link"]
    assert "event=0" in desk.lines[0]


def test_a_new_alarm_overrides_the_silence(tmp_path: Path) -> None:
    desk = Desk(tmp_path)
    desk.alarm()
    assert desk.response.silence()
    assert desk.alarms.silenced(1)
    desk.response.alarm((state_of(desk.alarms, kinds.SMOKE),), kinds.SMOKE, kinds.CRIT_SMOKE_FIXED, 5000)
    assert not desk.alarms.silenced(1)


def test_a_fusion_is_one_event_of_both_phenomena_and_each_restores_by_itself(tmp_path: Path) -> None:
    desk = Desk(tmp_path)
    states = desk.alarms.phenomena
    for one in states:
        one.begin(0)
    desk.response.alarm(states, kinds.HEAT | kinds.SMOKE, kinds.CRIT_FUSION, 5250)
    state_of(desk.alarms, kinds.HEAT).end()
    desk.response.restored(state_of(desk.alarms, kinds.HEAT))
    assert desk.journal is not None
    told = [(e.kind, e.phenomena, e.criterion) for e in desk.journal.events()]
    assert told == [
        (kinds.ALARM, kinds.HEAT | kinds.SMOKE, kinds.CRIT_FUSION),
        (kinds.RESTORE, kinds.HEAT, kinds.CRIT_FUSION),
    ]
    again = state()
    again.resume(None, desk.journal.events())
    assert again.active == kinds.SMOKE and state_of(again, kinds.SMOKE).event == 1


def test_a_prealarm_sounds_nothing_and_changes_no_state(tmp_path: Path) -> None:
    desk = Desk(tmp_path)
    desk.response.prealarm(kinds.SMOKE)
    assert desk.order == ["journal", "link"] and desk.alarms.active == 0
    assert desk.journal is not None
    assert [(e.kind, e.criterion) for e in desk.journal.events()] == [(kinds.PREALARM, kinds.CRIT_SMALL)]


def test_the_minute_before_an_alarm_is_remembered_and_cannot_stop_it(tmp_path: Path) -> None:
    desk = Desk(tmp_path)
    remembered: list[int] = []
    desk.response.remember = remembered.append
    desk.alarm()
    assert remembered == [1]

    def fail(number: int) -> None:
        raise MemoryError

    desk.response.remember = fail
    desk.order.clear()
    desk.response.alarm((state_of(desk.alarms, kinds.SMOKE),), kinds.SMOKE, kinds.CRIT_SMOKE_FIXED, 5000)
    assert desk.order == ["siren", "journal", "state", "link"]


def test_test_event_and_its_chirp(tmp_path: Path) -> None:
    desk = Desk(tmp_path)
    desk.response.test(kinds.CRIT_BUTTON)
    desk.out.show.show(10, False, False, False)
    assert desk.out.siren == 1
    assert desk.journal is not None
    assert [(e.kind, e.criterion) for e in desk.journal.events()] == [(kinds.TEST, kinds.CRIT_BUTTON)]


def test_reset_waits_for_the_cause_to_be_over(tmp_path: Path) -> None:
    desk = Desk(tmp_path)
    desk.alarm()
    ended: list[int] = []
    assert not desk.response.reset(ended.append, lambda bit: True)
    assert desk.alarms.active and not ended
    assert desk.response.reset(ended.append, lambda bit: False)
    assert not desk.alarms.active
    assert ended == [kinds.HEAT]  # another phenomenon's rise is not touched
    assert desk.journal is not None
    assert [e.kind for e in desk.journal.events()] == [kinds.ALARM, kinds.RESTORE]


def test_faults_are_told_once_and_cleared_once(tmp_path: Path) -> None:
    desk = Desk(tmp_path)
    faults: Any = desk.response.faults
    for stands in (False, True, True, False, False):
        faults.set(kinds.FAULT_STORAGE, stands)
    assert desk.journal is not None
    assert [(e.kind, e.detail) for e in desk.journal.events()] == [
        (kinds.FAULT, kinds.FAULT_STORAGE),
        (kinds.FAULT_CLEAR, kinds.FAULT_STORAGE),
    ]
    assert faults.bits == 0
    faults.set(kinds.FAULT_HEAT_SENSOR, True)
    assert faults.bits == 1 << (kinds.FAULT_HEAT_SENSOR - 1)
    assert "W fault event=3 code=heat_sensor" in desk.lines
    # Known from before the restart: not told again.
    again = Faults(faults.bits, desk.response.fault, desk.save)
    again.set(kinds.FAULT_HEAT_SENSOR, True)
    assert len(desk.journal.events()) == 3
