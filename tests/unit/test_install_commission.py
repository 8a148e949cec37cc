"""Commissioning as a sequence of steps: resumed wherever it was ended, each step looking at board and store; with the
real store and the receiver's writer, and a bench that is told what happens.
"""

from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import update

from bongsu.errors import BongsuError
from bongsu.install.commission import CommissionError, Outcome
from bongsu.receiver import commissioning, registry
from bongsu.receiver.store import schema
from bongsu.receiver.writer import Wake
from tests.commission_parts import NEW, Board, FakeBench, Killed, Shop, shop
from tests.receiver_parts import SITE

STEPS = list(commissioning.STEPS)
# How many transactions a whole run has, at least.
CALLS = 28


def states(outcome: Outcome) -> dict[str, str]:
    return {step.name: step.state for step in outcome.steps}


def record(s: Shop) -> dict[str, Any]:
    with s.desk.store.read() as conn:
        return commissioning.records(conn, node_id=NEW)[0]


def test_a_blank_board_goes_through_all_steps_and_one_text_is_sent(tmp_path: Path) -> None:
    with shop(tmp_path) as s:
        bench = FakeBench(s, label_file="label.png")
        out = s.run(bench, label="ceiling")
        assert out.error is None and out.done and list(states(out)) == STEPS
        assert set(states(out).values()) == {"done"}
        row = record(s)
        assert (row["done_ms"] is not None, row["left"], row["unit"]) == (True, [], f"{SITE}/u-1")
        assert (row["image"], row["rssi_dbm"], row["key_epoch"]) == ("mp.bin", -61, 1)
        assert row["round_trip_ms"] >= 0 and row["walk_test"]["outcome"] == "texted"
        assert row["steps"]["measure"]["said"].startswith("RSSI -61 dBm (good), round trip ")
        assert "text to contact:owner-1 accepted" in row["steps"]["walk_test"]["said"]
        assert all(step["took_ms"] >= 0 and step["at_ms"] > 0 for step in row["steps"].values())
        assert s.deliveries() == [("sms", "contact:owner-1", "accepted")]
        with s.desk.store.read() as conn:
            node = registry.list_nodes(conn, NEW)[0]
        assert (node["unit"], node["label"], node["state"]) == (f"{SITE}/u-1", "ceiling", "provisioned")
        said = [(st.step, st.state) for st in s.statuses]
        assert said[0] == ("find", "working") and said[-1] == ("record", "done")
        assert any(st.total == 2 and st.step == "flash" for st in s.statuses)


def test_run_again_it_does_nothing_and_sends_nothing(tmp_path: Path) -> None:
    with shop(tmp_path) as s:
        bench = FakeBench(s)
        assert s.run(bench).done
        before = record(s)
        bench.acts.clear()
        out = s.run(bench)
        assert out.done and out.record == before["id"]
        assert states(out) == {
            "find": "done",
            **dict.fromkeys(STEPS[1:], "already"),
            "label": "left",
        }
        assert bench.acts == ["provision 0 False"] and record(s) == before
        assert len(s.records()) == 1 and len(s.deliveries()) == 1 and s.keys() == [(1, "active")]


@pytest.mark.parametrize("step", [*STEPS[:2], "provision", "label"])
@pytest.mark.parametrize("when", ["before", "after"])
def test_killed_at_a_step_of_the_bench_the_next_run_finishes(tmp_path: Path, step: str, when: str) -> None:
    with shop(tmp_path) as s:
        bench = FakeBench(s, kill=(step, when))
        with pytest.raises(Killed):
            s.run(bench)
        bench.kill = None
        assert s.run(bench).done
        assert [r.done_ms is not None for r in s.records()] == [True]
        assert s.keys() == [(1, "active")] and len(s.deliveries()) == 1
        assert bench.acts.count("flash") == 1


@pytest.mark.parametrize("call", range(1, CALLS + 1))
def test_killed_after_any_transaction_the_next_run_finishes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: int
) -> None:
    """The process ends once its n-th transaction is over."""
    with shop(tmp_path) as s:
        bench = FakeBench(s)
        office = s.office()
        left = [call]

        def ending(name: str, whole: Any) -> Any:
            def act(*args: Any, **more: Any) -> Any:
                left[0] -= 1
                found = whole(*args, **more)
                if left[0] == 0:
                    raise Killed
                return found

            return act

        acts = ("check", "register", "begin", "note", "finish", "last", "record", "order", "order_state")
        for name in (*acts, "begin_walk_test", "walk_test"):
            monkeypatch.setattr(office, name, ending(name, getattr(office, name)))
        monkeypatch.setattr(s, "office", lambda: office)
        with pytest.raises(Killed):
            s.run(bench)
        monkeypatch.undo()
        s.desk.pass_time(1_000)
        assert s.run(bench).done
        assert [r.done_ms is not None for r in s.records()] == [True]
        assert s.keys() == [(1, "active")]
        assert s.deliveries() == [("sms", "contact:owner-1", "accepted")]


def test_a_failed_step_is_told_and_noted_and_nothing_after_it_is_done(tmp_path: Path) -> None:
    with shop(tmp_path) as s:
        bench = FakeBench(s, fail={"flash": CommissionError("the chip is an ESP32-S3", "Take the right board.")})
        out = s.run(bench)
        assert not out.done and out.failed_step == "flash" and out.error is not None
        assert out.error.next_step == "Take the right board."
        assert record(s)["steps"]["flash"]["said"] == "the chip is an ESP32-S3"
        assert record(s)["left"][0] == "flash" and record(s)["done_ms"] is None
        with s.desk.store.read() as conn, pytest.raises(BongsuError, match="not registered"):
            registry.get_node(conn, NEW)
        assert s.keys() == [] and s.deliveries() == []
        bench.fail = {"flash": OSError(28, "No space left on device", "/cache/mp.bin")}
        out = s.run(bench)
        assert out.error is not None and out.error.message == "/cache/mp.bin: No space left on device"
        bench.fail = {"flash": OSError(28, "No space left on device")}  # as write() has it
        out = s.run(bench)
        assert out.error is not None and out.error.message == "this machine's disk: No space left on device"
        assert "Free some space on this machine" in out.error.next_step and "goes on" in out.error.next_step
        bench.fail.clear()
        assert s.run(bench).done and len(s.records()) == 1


@pytest.mark.parametrize("what", ["unit", "retired", "elsewhere", "board"])
def test_what_is_wrong_from_the_start_leaves_no_trace(tmp_path: Path, what: str) -> None:
    with shop(tmp_path) as s:
        bench, unit = FakeBench(s), "u-1"
        if what == "unit":
            unit = "u-9"
        elif what == "board":
            bench.fail["check"] = CommissionError("wrong", "")
        else:
            with s.desk.store.write() as conn:
                registry.add_node(conn, node_id=NEW, unit=(SITE, "u-0"), label="", now_ms=1)
                if what == "retired":
                    registry.retire_node(conn, node_id=NEW)
        out = s.run(bench, unit=unit)
        said = {"unit": "no unit", "retired": "is retired", "elsewhere": "belongs to unit hannae/u-0", "board": "wrong"}
        assert out.error is not None and said[what] in out.error.message and out.failed_step == "find"
        assert s.records() == [] and bench.acts == [] and s.keys() == []
        if what == "elsewhere":
            assert "bongsu node move a0b1c2ffff01 hannae/u-1" in out.error.next_step


def test_a_board_that_was_registered_before_gets_its_unit_and_label(tmp_path: Path) -> None:
    with shop(tmp_path) as s:
        with s.desk.store.write() as conn:
            registry.add_node(conn, node_id=NEW, unit=None, label="", now_ms=1)
        assert states(s.run(FakeBench(s), label="door"))["register"] == "done"
        with s.desk.store.read() as conn:
            node = registry.list_nodes(conn, NEW)[0]
        assert (node["unit"], node["label"]) == (f"{SITE}/u-1", "door")


def test_the_button_is_waited_for_and_then_given_up(tmp_path: Path) -> None:
    with shop(tmp_path) as s:
        bench = FakeBench(s)
        out = s.run(bench, walk={"auto": False, "minutes": 1})
        assert out.error is not None and "nobody pressed the test button" in out.error.message
        assert record(s)["left"] == ["walk_test", "label", "record"] and s.deliveries() == []
        assert any("press the node's test button" in st.said for st in s.statuses)
        s.presses.add(NEW)
        out = s.run(bench, walk={"auto": False, "minutes": 1})
        assert out.done and states(out)["measure"] == "already"
        assert s.deliveries() == [("sms", "contact:owner-1", "accepted")]


def test_a_text_that_does_not_arrive_leaves_the_walk_test_to_be_done(tmp_path: Path) -> None:
    with shop(tmp_path) as s:
        bench = FakeBench(s)
        s.text = "retry"
        out = s.run(bench)
        assert out.error is not None and "the text to contact:owner-1 is pending (retry)" in out.error.message
        assert "[sms] in receiver.toml" in out.error.next_step  # it is the gateway that refuses it, not the phone
        assert record(s)["left"] == ["walk_test", "label", "record"]
        s.text = "accepted"
        assert s.run(bench).done
        assert s.deliveries() == [("sms", "contact:owner-1", "accepted")]  # the same text arrived


def test_nobody_to_be_texted_is_said_and_is_enough(tmp_path: Path) -> None:
    with shop(tmp_path, urls={"station-0": "http://127.0.0.1:9/s"}) as s:
        assert s.run(FakeBench(s)).done
        assert (
            record(s)["steps"]["walk_test"]["said"] == "received as event 1; no text: [sms] is not set in receiver.toml"
        )
    (tmp_path / "2").mkdir()
    with shop(tmp_path / "2") as s:
        with s.desk.store.write() as conn:
            conn.execute(schema.unit_contact.delete())
        s.desk.writer.turn([Wake("registry")])
        assert s.run(FakeBench(s)).done
        assert record(s)["steps"]["walk_test"]["said"] == "received as event 1; no text: the unit has no contact"


def test_a_node_that_does_not_answer_is_not_measured(tmp_path: Path) -> None:
    with shop(tmp_path) as s:
        bench = FakeBench(s)
        s.deaf = True
        out = s.run(bench)
        assert out.failed_step == "measure" and out.error is not None
        assert "has not answered an order within 75 s" in out.error.message
        s.deaf = False
        assert s.run(bench).done


def test_what_is_left_out_is_in_the_record_and_can_be_done_later(tmp_path: Path) -> None:
    with shop(tmp_path) as s:
        bench = FakeBench(s)
        out = s.run(bench, walk={"skip": True})
        assert out.done and states(out)["walk_test"] == "left" and s.deliveries() == []
        assert record(s)["steps"]["walk_test"] | {"at_ms": 0, "took_ms": 0} == {
            "state": "left",
            "said": "left out",
            "at_ms": 0,
            "took_ms": 0,
        }
        out = s.run(bench)
        assert out.done and len(s.records()) == 2 and len(s.deliveries()) == 1


def test_again_is_another_record_with_its_own_walk_test(tmp_path: Path) -> None:
    with shop(tmp_path) as s:
        bench = FakeBench(s)
        assert s.run(bench).done
        out = s.run(bench, again=True)
        assert out.done and len(s.records()) == 2 and len(s.deliveries()) == 2
        assert states(out)["flash"] == "already" and s.keys() == [(1, "active")]


def test_a_board_in_service_that_has_lost_something_is_commissioned_anew(tmp_path: Path) -> None:
    with shop(tmp_path) as s:
        bench = FakeBench(s)
        assert s.run(bench).done
        bench.board = Board()  # blank
        out = s.run(bench)
        assert out.done and len(s.records()) == 2 and len(s.deliveries()) == 2
        assert s.keys() == [(1, "old"), (2, "active")]
        assert list(record(s)["steps"]) == STEPS


def test_a_clock_of_an_open_alarm_stops_the_walk_test(tmp_path: Path) -> None:
    with shop(tmp_path) as s:
        with s.desk.store.write() as conn:
            conn.execute(update(schema.node).values(unit_id="u-1"))  # the unit's first node is in alarm
        s.desk.writer.turn([Wake("registry")])
        s.desk.event(0, 1)
        out = s.run(FakeBench(s))
        assert out.failed_step == "walk_test" and out.error is not None and "is open (incident 1)" in out.error.message
