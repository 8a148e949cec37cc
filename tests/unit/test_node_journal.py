"""The journal: order, ages, the rule for a full one, torn files, failing flash, and a power cut at every write."""

import os
from pathlib import Path
from typing import Any

import pytest

from bongsu_node import flashfile
from bongsu_node.alarm.journal import Journal
from bongsu_wire import kinds, payload
from tests import mpy

PROGRAM = Path(__file__).resolve().parents[1] / "data" / "node_flash.py"


class NoNumber(Exception):
    """What an NVS that refuses ends in."""


class Node:
    """Numbers, uptime and log for a journal in a folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = str(folder / "journal")
        self.now_ms = 0
        self.number = 0
        self.refuses = False
        self.lines: list[str] = []

    def next_number(self) -> int:
        if self.refuses:
            raise NoNumber
        self.number += 1
        return self.number

    def journal(self, *, epoch: int = 1, capacity: int = 32) -> Journal:
        def log(level: str, tag: str, text: str = "") -> None:
            self.lines.append(f"{level} {tag} {text}")

        return Journal(self.folder, epoch, self.next_number, lambda: self.now_ms, log, capacity)

    def event(self, kind: int, phenomena: int = 0, detail: int = 0) -> payload.Event:
        number = self.next_number()
        return payload.Event(number, kind, phenomena, temp_dk=3300 + number, detail=detail)

    def files(self) -> list[str]:
        return sorted(os.listdir(self.folder))


@pytest.fixture
def node(tmp_path: Path) -> Node:
    return Node(tmp_path)


def kinds_of(journal: Journal) -> list[str]:
    return [kinds.EVENT_NAMES[e.kind] for e in journal.events()]


def test_alarms_go_first_then_by_number(node: Node) -> None:
    journal = node.journal()
    for kind in (kinds.TEST, kinds.ALARM, kinds.FAULT, kinds.ALARM):
        journal.add(node.event(kind))
    assert journal.pending() == [2, 4, 1, 3]
    assert journal.depth == 4
    assert journal.holds_alarm()
    assert node.lines == [f"I journal event={n} stored" for n in (1, 2, 3, 4)]


def test_ages_grow_and_are_unknown_after_a_restart(node: Node) -> None:
    journal = node.journal()
    node.now_ms = 5_000
    data = journal.add(node.event(kinds.ALARM, kinds.HEAT))
    node.now_ms = 12_345
    assert payload.decode_event(journal.entry(1)).age_ms == 7_345
    node.now_ms = 5_000 + (60 * 86_400_000)
    assert payload.decode_event(journal.entry(1)).age_ms == payload.AGE_UNKNOWN - 1
    again = node.journal()
    assert again.pending() == [1]
    assert payload.decode_event(again.entry(1)).age_ms == payload.AGE_UNKNOWN
    assert payload.event_content(again.entry(1)) == payload.event_content(data)


def test_a_receipt_ends_an_entry_for_good(node: Node) -> None:
    journal = node.journal()
    journal.add(node.event(kinds.ALARM, kinds.HEAT))
    journal.remove(1)
    journal.remove(1)
    journal.remove(77)
    assert journal.depth == 0 and node.files() == [] and not journal.holds_alarm()
    with pytest.raises(KeyError):
        journal.entry(1)


def test_a_full_journal_gives_up_tests_prealarms_restores_outdated_faults_in_this_order(node: Node) -> None:
    journal = node.journal(capacity=6)
    for kind, detail in (
        (kinds.FAULT, kinds.FAULT_HEAT_SENSOR),
        (kinds.RESTORE, 0),
        (kinds.PREALARM, 0),
        (kinds.TEST, 0),
        (kinds.FAULT_CLEAR, kinds.FAULT_HEAT_SENSOR),
        (kinds.FAULT, kinds.FAULT_STORAGE),
    ):
        journal.add(node.event(kind, detail=detail))
    alarm, clear, fault = "alarm", "fault_clear", "fault"
    seen = []
    for phenomenon in (kinds.HEAT, kinds.SMOKE, kinds.CO, kinds.GAS):
        journal.add(node.event(kinds.ALARM, phenomenon))
        seen.append(kinds_of(journal))
    assert seen == [
        [fault, "restore", "prealarm", clear, fault, alarm],
        [fault, "restore", clear, fault, alarm, alarm],
        [fault, clear, fault, alarm, alarm, alarm],
        [clear, fault, alarm, alarm, alarm, alarm],  # the fault that its clear made outdated
    ]
    # Nothing more may go: one entry a phenomenon and a fault stay, even beyond the capacity.
    journal.add(node.event(kinds.ALARM, kinds.AIR))
    assert kinds_of(journal) == [clear, fault] + [alarm] * 5
    assert len(node.files()) == 7


def test_what_goes_first_does_not_even_enter(node: Node) -> None:
    journal = node.journal(capacity=3)
    for _ in range(3):
        journal.add(node.event(kinds.RESTORE))
    journal.add(node.event(kinds.TEST))
    assert kinds_of(journal) == ["restore"] * 3
    assert len(node.files()) == 3


def test_alarms_are_merged_per_phenomenon_under_a_fresh_number(node: Node) -> None:
    journal = node.journal(capacity=4)
    for phenomenon in (kinds.HEAT, kinds.SMOKE, kinds.HEAT, kinds.HEAT):
        journal.add(node.event(kinds.ALARM, phenomenon))
    node.now_ms = 1_000
    journal.add(node.event(kinds.ALARM, kinds.SMOKE))
    events = journal.events()
    assert [(e.number, e.phenomena, e.count) for e in events] == [
        (2, kinds.SMOKE, 1),
        (5, kinds.SMOKE, 1),
        (6, kinds.HEAT, 3),  # 1, 3 and 4; a sent event may not change, so it has a new number
    ]
    assert events[2].temp_dk == 3304  # the newest one's values
    assert payload.decode_event(journal.entry(6)).age_ms == 1_000
    assert node.files() == ["01-00000002", "01-00000005", "01-00000006"]


def test_no_alarm_is_ever_dropped(node: Node) -> None:
    journal = node.journal(capacity=8)
    added = 0
    for n in range(400):
        kind = kinds.ALARM if n % 3 else (kinds.TEST, kinds.FAULT, kinds.FAULT_CLEAR, kinds.RESTORE)[n % 4]
        added += kind == kinds.ALARM
        phenomenon = (kinds.HEAT, kinds.SMOKE)[n % 2]
        detail = 1 + n % 3 if kind in (kinds.FAULT, kinds.FAULT_CLEAR) else 0
        journal.add(node.event(kind, phenomenon if kind == kinds.ALARM else 0, detail=detail))
        assert journal.depth <= 8
    counts = [e.count for e in journal.events() if e.kind == kinds.ALARM]
    # A count ends at 255 on the wire; 266 alarms in two phenomena stay below it.
    assert sum(counts) == added
    assert [e.number for e in node.journal(capacity=8).events()] == [e.number for e in journal.events()]


def test_torn_and_damaged_files_are_ignored_and_removed(node: Node) -> None:
    journal = node.journal()
    journal.add(node.event(kinds.ALARM, kinds.HEAT))
    journal.add(node.event(kinds.ALARM, kinds.SMOKE))
    whole = Path(node.folder, "01-00000002").read_bytes()
    Path(node.folder, "01-00000002").write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    Path(node.folder, "01-00000003.tmp").write_bytes(whole[:9])
    Path(node.folder, "01-00000004").write_bytes(b"")
    Path(node.folder, "strange").write_bytes(b"x" * 100)
    again = node.journal()
    assert again.pending() == [1]
    assert again.damaged == 3
    assert node.files() == ["01-00000001"]


def test_events_of_an_earlier_key_epoch_take_fresh_numbers(node: Node) -> None:
    journal = node.journal(epoch=1)
    for _ in range(3):
        journal.add(node.event(kinds.ALARM, kinds.HEAT))
    node.number = 1  # provisioned anew: numbers begin again, and those of the old events come up once more
    again = node.journal(epoch=2)
    assert [(e.number, e.temp_dk) for e in again.events()] == [(2, 3301), (3, 3302), (4, 3303)]
    assert node.files() == ["02-00000002", "02-00000003", "02-00000004"]
    assert node.journal(epoch=2).pending() == [2, 3, 4]


def test_events_of_an_earlier_epoch_wait_while_nvs_has_no_numbers(node: Node) -> None:
    node.journal(epoch=1).add(node.event(kinds.ALARM, kinds.HEAT))
    node.refuses = True
    again = node.journal(epoch=2)
    assert again.failed and again.pending() == [] and again.holds_alarm()
    assert node.files() == ["01-00000001"]
    again.retry()
    assert again.failed and node.files() == ["01-00000001"]
    node.refuses = False
    assert [e.number for e in again.retry()] == [2]
    assert not again.failed and again.pending() == [2]
    assert payload.decode_event(again.entry(2)).age_ms == payload.AGE_UNKNOWN
    assert node.files() == ["02-00000002"]


def test_an_event_without_a_number_waits_on_flash_and_keeps_its_age(node: Node) -> None:
    journal = node.journal()
    node.refuses = True
    node.now_ms = 1_000
    for kind in (kinds.FAULT, kinds.ALARM, kinds.RESTORE):
        journal.add(payload.Event(0, kind, kinds.HEAT))
    assert journal.depth == 3 and journal.pending() == []
    assert node.files() == ["00-00000001", "00-00000002", "00-00000003"]
    assert node.journal().depth == 3  # a restart finds them, still without numbers
    node.refuses = False
    node.number = 40
    node.now_ms = 9_000
    assert [(e.number, e.kind) for e in journal.retry()] == [
        (41, kinds.FAULT),
        (42, kinds.ALARM),
        (43, kinds.RESTORE),
    ]
    assert journal.pending() == [42, 41, 43]
    assert payload.decode_event(journal.entry(42)).age_ms == 8_000
    assert node.files() == ["01-00000029", "01-0000002a", "01-0000002b"]


def test_waiting_events_are_bounded_and_no_alarm_is_lost(node: Node) -> None:
    journal = node.journal(capacity=6)
    node.refuses = True
    for _ in range(50):
        for kind in (kinds.ALARM, kinds.RESTORE):
            for phenomenon in (kinds.HEAT, kinds.SMOKE):
                journal.add(payload.Event(0, kind, phenomenon))
    assert journal.depth == len(node.files()) == 6
    node.refuses = False
    events = journal.retry()
    assert sum(e.count for e in events if e.kind == kinds.ALARM) == 100
    assert [e.kind for e in events][-2:] == [kinds.RESTORE] * 2
    assert len(node.files()) == 6


def test_a_full_journal_that_gets_no_number_to_merge_under_holds_one_more(node: Node) -> None:
    journal = node.journal(capacity=2)
    events = [node.event(kinds.ALARM, kinds.HEAT) for _ in range(4)]
    node.refuses = True
    for event in events[:3]:
        journal.add(event)
    assert journal.pending() == [1, 2, 3] and journal.failed
    assert len(node.files()) == 3
    node.refuses = False
    journal.retry()
    journal.add(events[3])
    assert [(e.number, e.count) for e in journal.events()] == [(5, 4)]


@pytest.mark.parametrize("error", [OSError(5), RuntimeError("flash"), MemoryError()])
def test_a_file_system_in_a_bad_way_never_raises(node: Node, monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
    node.journal(epoch=1).add(node.event(kinds.ALARM, kinds.HEAT))

    def refuse(*_: object) -> Any:
        raise error

    for place, name in ((os, "listdir"), (os, "remove"), (flashfile, "open"), (flashfile, "make_folder")):
        with monkeypatch.context() as broken:
            broken.setattr(place, name, refuse, raising=False)
            journal = node.journal(epoch=2)
            number = node.next_number()
            journal.add(payload.Event(number, kinds.ALARM, kinds.SMOKE))
            assert number in journal.pending()
            journal.remove(number)
            journal.retry()


def test_a_failing_flash_keeps_the_event_in_ram_and_is_tried_again(node: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    journal = node.journal()

    def refuse(path: str, data: bytes) -> None:
        raise OSError(5)

    with monkeypatch.context() as broken:
        broken.setattr(flashfile, "write", refuse)
        journal.add(node.event(kinds.ALARM, kinds.HEAT))
        assert journal.failed and journal.pending() == [1]
        assert "stored" not in "".join(node.lines)
        journal.retry()
        assert journal.failed
    journal.retry()
    assert not journal.failed
    assert node.files() == ["01-00000001"]


def test_a_file_that_cannot_be_removed_is_said_and_does_not_stay_pending(
    node: Node, monkeypatch: pytest.MonkeyPatch
) -> None:
    journal = node.journal()
    journal.add(node.event(kinds.ALARM, kinds.HEAT))

    def refuse(path: str) -> None:
        raise OSError(5)

    with monkeypatch.context() as broken:
        broken.setattr(os, "remove", refuse)
        journal.remove(1)
    assert journal.failed and journal.depth == 0


def test_an_event_that_is_not_valid_is_refused_whole(node: Node) -> None:
    journal = node.journal()
    event: Any = node.event(kinds.ALARM)
    event.kind = 15
    with pytest.raises(ValueError, match="unknown"):
        journal.add(event)
    assert journal.depth == 0


@pytest.mark.parametrize("seed", [1, 2])
def test_power_cut_at_every_write(seed: int) -> None:
    """On littlefs under MicroPython, at whichever write: what add() stored is found again, nothing half-written is."""
    printed = mpy.run(PROGRAM, str(seed))
    cuts = int(printed.split("cuts=")[1])
    assert cuts > 50
