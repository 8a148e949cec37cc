"""A site that falls silent as a whole is one fault; who stays away when it is back gets a fault of its own."""

from collections import Counter
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from bongsu.receiver import desk as acts
from bongsu.receiver.mqtt_edge import LinkChanged
from bongsu.receiver.silent_site import SITE_SILENT, SiteWatch
from bongsu.receiver.store import schema
from bongsu_wire import topics
from tests.receiver_parts import SITE, Desk, desk

GRACE_MS = 180_000
UNITS = 5


def beat(d: Desk, *numbers: int) -> None:
    """Heartbeats of these nodes arrive now."""
    frames = []
    for i in numbers:
        node = d.nodes[i]
        frames.append((topics.up_beats(node.id), node.heartbeat(d.clock.now_ms() - 1_000, 1_000)))
    d.arrive_on(frames)


def live(d: Desk, seconds: int, *alive: int) -> None:
    """Time passes; these nodes send their heartbeats every 45 s, each at its own second."""
    for second in range(seconds):
        due = [i for i in alive if (second + 9 * i) % 45 == 0]
        if due:
            beat(d, *due)
        d.pass_time(1_000)


def faults(d: Desk) -> dict[str, bool]:
    """Subjects of fault incidents, and whether each still stands."""
    return {i.subject: i.restored_ms is None for i in d.rows(schema.incident) if i.class_ == "fault"}


def test_a_power_cut_is_one_fault_which_ends_when_the_power_is_back(tmp_path: Path) -> None:
    with desk(tmp_path, units=UNITS) as d:
        live(d, 90, *range(UNITS))
        live(d, 199)
        assert faults(d) == {f"site:{SITE}": True}
        (incident,) = d.rows(schema.incident)
        assert incident.snapshot["active"] == {"supervision": [SITE_SILENT]}
        assert incident.snapshot["site"]["id"] == SITE
        live(d, 400)
        assert faults(d) == {f"site:{SITE}": True}, "nodes that follow add nothing"
        live(d, 400, *range(UNITS))
        assert faults(d) == {f"site:{SITE}": False}
        assert d.rows(schema.delivery) == []


def test_a_short_power_cut_gives_no_fault_at_all(tmp_path: Path) -> None:
    with desk(tmp_path, units=UNITS) as d:
        live(d, 90, *range(UNITS))
        live(d, 60)
        live(d, 300, *range(UNITS))
        assert faults(d) == {}


def test_who_stays_away_after_the_grace_gets_a_fault_of_its_own(tmp_path: Path) -> None:
    with desk(tmp_path, units=UNITS) as d:
        live(d, 90, *range(UNITS))
        live(d, 250)
        live(d, 170, 0, 1, 2, 3)
        assert faults(d) == {f"site:{SITE}": False}
        live(d, 60, 0, 1, 2, 3)
        assert faults(d) == {f"site:{SITE}": False, f"node:{d.nodes[4].id}": True}
        live(d, 60, *range(UNITS))
        assert faults(d) == {f"site:{SITE}": False, f"node:{d.nodes[4].id}": False}


def test_nodes_that_fall_silent_one_after_the_other_are_faults_of_their_own_within_200_s(tmp_path: Path) -> None:
    with desk(tmp_path, units=UNITS) as d:
        live(d, 90, *range(UNITS))
        for left in (4, 3, 2):
            live(d, 120, *range(left))
        live(d, 80, 0, 1)
        assert faults(d) == {f"node:{d.nodes[i].id}": True for i in (4, 3, 2)}


def test_two_nodes_are_no_site(tmp_path: Path) -> None:
    with desk(tmp_path, units=2) as d:
        live(d, 90, 0, 1)
        live(d, 199)
        assert faults(d) == {f"node:{node.id}": True for node in d.nodes}


def test_a_site_where_one_node_lives_on_elsewhere_is_still_one_fault(tmp_path: Path) -> None:
    """One in five has another way to the receiver: four of five is the configured share."""
    with desk(tmp_path, units=UNITS) as d:
        live(d, 90, *range(UNITS))
        live(d, 199, 0)
        assert faults(d) == {f"site:{SITE}": True}


def test_our_own_outage_is_no_silent_site(tmp_path: Path) -> None:
    with desk(tmp_path, units=UNITS) as d:
        live(d, 90, *range(UNITS))
        d.writer.turn([LinkChanged(False)])
        live(d, 400)
        d.writer.turn([LinkChanged(True)])
        live(d, 300, *range(UNITS))
        assert faults(d) == {f"receiver:{d.writer.books.settings.sender}": False}


def test_an_outage_of_ours_gives_silent_nodes_the_whole_time_again(tmp_path: Path) -> None:
    with desk(tmp_path, units=UNITS) as d:
        live(d, 90, *range(UNITS))
        live(d, 250)
        live(d, 60, 0, 1, 2, 3)  # the site is back but for node 4
        d.writer.turn([LinkChanged(False)])
        live(d, 400)
        d.writer.turn([LinkChanged(True)])
        live(d, 100, *range(4))
        beat(d, 4)
        live(d, 200, *range(UNITS))
        assert not [subject for subject in faults(d) if subject.startswith("node:")]


def test_a_failed_transaction_tells_of_the_site_again(tmp_path: Path) -> None:
    with desk(tmp_path, units=UNITS) as d:
        live(d, 90, *range(UNITS))
        live(d, 178)
        d.writer.books.casebook.save = broken(d.writer.books.casebook.save)  # type: ignore[method-assign]
        live(d, 30)
        assert faults(d) == {f"site:{SITE}": True}


def test_closing_a_silent_sites_fault_does_not_hide_its_nodes(tmp_path: Path) -> None:
    with desk(tmp_path, units=UNITS) as d:
        live(d, 90, *range(UNITS))
        live(d, 250)
        with d.store.write() as conn:
            acts.close(
                conn, 1, disposition="unknown", note="", by="op", now_ms=d.clock.now_ms(), seen_event_id=None,
                still_standing=True,
            )  # fmt: skip
        live(d, 170, 0, 1, 2, 3)
        assert list(faults(d)) == [f"site:{SITE}"], "they had no time to come back"
        live(d, 60, 0, 1, 2, 3)
        assert faults(d) == {f"site:{SITE}": True, f"node:{d.nodes[4].id}": True}


def broken(save):  # type: ignore[no-untyped-def]
    """Fails once, as a full disk does."""
    left = [True]

    def once(*args, **kwargs):  # type: ignore[no-untyped-def]
        if left.pop() if left else False:
            raise RuntimeError("the disk is full")
        return save(*args, **kwargs)

    return once


# ---- the pure part


@given(
    nodes=st.integers(1, 40),
    gone=st.integers(0, 40),
    share=st.floats(0.51, 1.0),
)
def test_either_the_site_or_each_node_is_told_never_both_never_none(nodes: int, gone: int, share: float) -> None:
    gone = min(gone, nodes)
    watch = SiteWatch(share, GRACE_MS)
    away = [f"n{i}" for i in range(gone)]
    missing, alive = Counter({"s": gone}), Counter({"s": nodes - gone})
    verdict = watch.fallen([(node, "s") for node in away], missing, alive)
    whole = gone >= 3 and gone >= share * nodes
    assert verdict.begin == (["s"] if whole else [])
    assert verdict.own == ([] if whole else away)
    assert watch.covered() == (set(away) if whole else set())


@given(back=st.integers(0, 10))
def test_after_the_grace_everybody_is_either_back_or_told(back: int) -> None:
    watch = SiteWatch(0.8, GRACE_MS)
    away = {f"n{i}" for i in range(10)}
    watch.fallen([(node, "s") for node in away], Counter({"s": 10}), Counter())
    silent = {f"n{i}" for i in range(back, 10)}
    counts = Counter({"s": len(silent)}), Counter({"s": back})
    first = watch.look(0, silent, *counts, link_down=False)
    assert first.end == (["s"] if back > 2 else []) and not first.own
    then = watch.look(GRACE_MS, silent, *counts, link_down=False)
    assert set(then.own) == (silent if back > 2 else set())
    assert watch.standing == ([] if back > 2 else ["s"])


def test_power_that_goes_again_in_the_grace_is_one_fault_again() -> None:
    watch = SiteWatch(0.8, GRACE_MS)
    away = {f"n{i}" for i in range(10)}
    watch.fallen([(node, "s") for node in away], Counter({"s": 10}), Counter())
    assert watch.look(0, set(), Counter(), Counter({"s": 10}), link_down=False).end == ["s"]
    watch.fallen([(node, "s") for node in away], Counter({"s": 10}), Counter())
    verdict = watch.look(GRACE_MS, away, Counter({"s": 10}), Counter(), link_down=False)
    assert (verdict.begin, verdict.own) == (["s"], [])
