"""Lists of boards: read with every fault named, given out so that what was begun goes on, and worked on at several
ports at a time.
"""

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import update

from bongsu.errors import Interrupted
from bongsu.install.batch import Crew, Plan, Roster, done_rows, read
from bongsu.install.commission import CommissionError, Outcome
from bongsu.receiver import commissioning, registry
from bongsu.receiver.store import Store, schema
from tests.registry_parts import NODE, NOW_MS, fill, new_store

OTHER = "a0b1c2d3e400"


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with new_store(tmp_path) as made:
        fill(made)
        yield made


def plan_of(store: Store, *lines: str, header: str = "unit,mac,sensors,profile,label", site: str | None = None) -> Plan:
    with store.read() as conn:
        return read(conn, "\n".join((header, *lines)).encode(), site_id=site)


def test_units_are_named_by_address_number_or_name(store: Store) -> None:
    plan = plan_of(
        store, "hannae/a-07,a0:b1:c2:d3:e4:f5,sht4x; mq2,home,ceiling", "A-08,,,,", "떡집,,,,", site="hannae"
    )
    assert plan.faults == []
    first, second, third = plan.rows
    assert (first.place.address, first.node_id, first.place.label) == ("hannae/a-07", NODE, "ceiling")
    assert (first.place.sensors, first.place.profile) == (("sht4x", "mq2"), "home")
    assert (second.place.address, second.node_id, third.place.address) == ("hannae/a-08", None, "hannae/a-07")


def test_korean_headers_and_excel_sheets_do_as_well(store: Store) -> None:
    import io

    import openpyxl

    book = openpyxl.Workbook()
    sheet = book.active
    assert sheet is not None
    for row in (["호수", "기기", "단말 위치"], ["a-07", NODE, "천장"]):
        sheet.append(row)
    out = io.BytesIO()
    book.save(out)
    with store.read() as conn:
        plan = read(conn, out.getvalue(), site_id="hannae")
    (row,) = plan.rows
    assert (row.place.address, row.node_id, row.place.label) == ("hannae/a-07", NODE, "천장")


def test_every_fault_is_named_with_its_line_and_column(store: Store) -> None:
    plan = plan_of(
        store,
        "hannae/z-99,,,,",
        f"a-07,{NODE},,,",
        "a-08,12,,,",
        "a-08,,thermo,,",
        "a-08,,,sauna,",
        f"a-08,{NODE},,,",
        f"a-08,,,,{'x' * 200}",
    )
    assert [(f.line, f.column) for f in plan.faults] == [
        (2, "unit"),
        (4, "mac"),
        (5, "sensors"),
        (6, "profile"),
        (7, "mac"),
        (8, "label"),
    ]
    assert "in line 3 already" in plan.faults[4].message
    assert plan_of(store, "a-07,,", header="unit,mac,colour").faults[0].code == "unknown_column"


def test_what_an_earlier_run_did_is_done(store: Store) -> None:
    plan = plan_of(store, "a-07,,,,", f"a-07,{OTHER},,,", "a-08,,,,", "a-07,,,,")
    with store.write() as conn:
        registry.add_node(conn, node_id=OTHER, unit=("hannae", "a-07"), label="", now_ms=NOW_MS)
        for node in (NODE, OTHER):
            how = {"board": "x", "installer": "kim", "version": "1", "now_ms": NOW_MS}
            commissioning.begin(conn, node, unit=("hannae", "a-07"), **how)
        assert done_rows(conn, plan.rows) == {}
        conn.execute(update(schema.commissioning).values(done_ms=NOW_MS))
        assert done_rows(conn, plan.rows) == {3: OTHER, 2: NODE}


def test_who_is_named_and_what_was_begun_goes_before_the_next_free_row(store: Store) -> None:
    plan = plan_of(store, "a-07,,,,", f"a-08,{OTHER},,,", "a-08,,,,label")
    roster = Roster(plan.rows, {})
    assert roster.assign(OTHER, None).address == "hannae/a-08"
    assert roster.assign(NODE, "hannae/a-08").label == "label"
    assert roster.assign(NODE, None).label == "label"  # the same board once more
    with pytest.raises(CommissionError, match="belongs to unit hannae/b-01"):
        roster.assign("a0b1c2d3e401", "hannae/b-01")
    assert roster.is_left()
    assert roster.assign("a0b1c2d3e402", None).address == "hannae/a-07"
    assert not roster.is_left() and roster.taken() == {2: "a0b1c2d3e402", 3: OTHER, 4: NODE}
    with pytest.raises(CommissionError, match="nothing in the list is left"):
        roster.assign("a0b1c2d3e403", None)


def test_one_board_is_worked_on_at_one_port_only(store: Store) -> None:
    """A board with two sockets is at two ports, and so are two boards of one MAC: each would undo the other's work."""
    roster = Roster(plan_of(store, "a-07,,,,", "a-08,,,,").rows, {})
    roster.assign(NODE, None, "p0")
    with pytest.raises(CommissionError, match=f"{NODE} is being worked on at p0"):
        roster.assign(NODE, None, "p1")
    assert roster.assign(NODE, None, "p0").address == "hannae/a-07"
    roster.leave("p1")
    with pytest.raises(CommissionError, match="at p0"):
        roster.assign(NODE, None, "p1")
    roster.leave("p0")
    assert roster.assign(NODE, None, "p1").address == "hannae/a-07" and len(roster.taken()) == 1


def test_zeros_in_a_list_are_no_board(store: Store) -> None:
    """They stand for "not known yet", as in every other list; a row without a MAC takes any board."""
    assert [fault.code for fault in plan_of(store, "a-07,00:00:00:00:00:00,,,").faults] == ["bad_node"]


def test_ports_work_at_a_time_and_each_takes_the_next_board(store: Store) -> None:
    together = threading.Barrier(3, timeout=10)
    boards = {"p0": 2, "p1": 1, "p2": 1}
    done: list[str] = []

    def work(port: str) -> Outcome:
        if port not in done:
            together.wait()  # all three are at work
        done.append(port)
        return Outcome(port)

    def next_board(port: str) -> bool:
        boards[port] -= 1
        return boards[port] > 0

    outcomes = Crew(work, next_board, threading.Event()).run(list(boards))
    assert sorted(o.port for o in outcomes) == ["p0", "p0", "p1", "p2"]


def test_one_that_breaks_does_not_stop_the_others_and_is_told(store: Store) -> None:
    done: list[str] = []

    def work(port: str) -> Outcome:
        if port == "p0":
            raise RuntimeError("a fault of this program")
        done.append(port)
        return Outcome(port)

    with pytest.raises(RuntimeError, match="a fault of this program"):
        Crew(work, lambda port: False, threading.Event()).run(["p0", "p1"])
    assert done == ["p1"]


def test_what_ctrl_c_leaves_at_a_port_is_in_the_outcomes() -> None:
    """A board that is empty now, say."""

    def work(port: str) -> Outcome:
        raise Interrupted("p0: the flash is erased", "Run this again.")

    (left,) = Crew(work, lambda port: True, threading.Event()).run(["p0"])
    assert left.port == "p0" and left.error is not None and left.error.next_step == "Run this again."


def test_ctrl_c_ends_all_before_it_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    stop, begun, ended = threading.Event(), threading.Event(), []

    def work(port: str) -> Outcome:
        begun.set()
        stop.wait(10)
        ended.append(port)
        raise KeyboardInterrupt

    whole, first = threading.Thread.join, [True]

    def join(thread: threading.Thread, timeout: float | None = None) -> None:
        if first[0] and thread.name.startswith("port "):
            first[0] = False
            assert begun.wait(10)
            raise KeyboardInterrupt
        whole(thread, timeout)

    monkeypatch.setattr(threading.Thread, "join", join)
    said: list[bool] = []
    with pytest.raises(KeyboardInterrupt):
        Crew(work, lambda port: False, stop, lambda: said.append(stop.is_set())).run(["p0", "p1"])
    assert sorted(ended) == ["p0", "p1"] and said == [True]
