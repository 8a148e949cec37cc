"""The minute before an alarm against a node that has its key and means harm, or is broken: whatever parts it sends, in
whatever order, the receiver neither stops nor grows without bound, what it gave a receipt for is what it shows, and the
first word about a row stands.
"""

import random
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from bongsu.receiver import histories
from bongsu.receiver.histories import Minute
from bongsu.receiver.store import schema
from bongsu_wire import kinds, measured
from tests.history_parts import QUANTITIES, minute, part, parts
from tests.receiver_parts import Desk, desk

FRAMES = 10_000
_GROUP = 250
_EVENTS_OF_IT = 40


def _hostile(chance: random.Random) -> measured.History | None:
    """Any part that the wire can carry; now and then one of a true minute."""
    number = chance.randrange(1, _EVENTS_OF_IT)
    if chance.random() < 0.5:
        whole = minute(seed=chance.choice((0, 0, 0, 1)))
        first = chance.randrange(len(whole))
        return part(number, first, chance.randrange(1, min(27, len(whole) - first) + 1), whole)
    columns = chance.sample(range(1, 256), chance.choice((1, 1, 2, 3, 16)))
    rows = chance.randrange(1, measured.history_rows(len(columns)) + 1)
    first = chance.randrange(0, 256)
    if first + rows > 255:
        return None
    values = [chance.randrange(0x10000) for _ in range(rows * len(columns))]
    return measured.History(
        number, chance.randrange(0x10000), chance.randrange(first + rows, 256), first, columns, values
    )


def _garbage(chance: random.Random) -> bytes:
    """A payload under the node's own key that may be no history at all."""
    made = bytearray(measured.encode_history(part(chance.randrange(1, 9), 0, 5)))
    for _ in range(chance.randrange(1, 4)):
        made[chance.randrange(len(made))] = chance.randrange(256)
    return bytes(made[: chance.randrange(len(made) + 1)] if chance.random() < 0.3 else made)


def test_a_node_that_means_harm(tmp_path: Path) -> None:
    chance = random.Random(4)
    with desk(tmp_path, 2) as d:
        bad, good = d.nodes
        d.event(1, 1)
        d.arrive(*[(good.id, good.history(one)) for one in parts(1)])
        sent: dict[int, measured.History] = {}
        for _ in range(FRAMES // _GROUP):
            frames = []
            while len(frames) < _GROUP:
                if chance.random() < 0.2:
                    frames.append((bad.id, bad.seal(kinds.UP_HISTORY, _garbage(chance))))
                elif (one := _hostile(chance)) is not None:
                    frames.append((bad.id, bad.history(one)))
                    sent[bad.counter] = one
            acked = len(d.edge.acked)
            d.arrive(*frames)
            assert len(d.edge.acked) - acked == _GROUP  # the broker keeps none of it
        kept = [r for r in d.rows(schema.event_history) if r.node_id == bad.id]
        assert 0 < len(kept) <= histories.PARTS_MAX
        assert all(sum(r.number == n for r in kept) <= 255 for n in {r.number for r in kept})
        d.pass_time(6_000)
        refused = {r.reason for r in d.rows(schema.refused_frame)}
        assert refused == {"payload", "history_contradicts"}
        _what_was_receipted_is_there(d, sent)
        d.event(0, 1_000)  # it can still raise an alarm, and the other's minute is whole
        assert d.receipts(0)[-1].numbers == [1_000]
        with d.store.read() as conn:
            (whole,) = histories.minutes_of(conn, [(good.id, 1, 1)]).values()
        assert whole.rows == minute()


def _what_was_receipted_is_there(d: Desk, sent: dict[int, measured.History]) -> None:
    """Each receipt without numbers is the proof of one part: its rows are what the store shows, if none was evicted."""
    bad = d.nodes[0].id
    with d.store.read() as conn:
        shown = histories.minutes_of(conn, [(bad, 1, number) for number in range(1, 1_000)])
    proven = [sent[r.answers] for r in d.receipts(0) if not r.numbers and r.answers in sent]
    assert proven
    for one in proven:
        known = shown[bad, 1, one.number]
        columns = len(one.quantities)
        rows = [tuple(one.values[at : at + columns]) for at in range(0, len(one.values), columns)]
        assert known.rows[one.first : one.first + len(rows)] == rows


@st.composite
def _cuts(draw: st.DrawFn) -> list[measured.History]:
    """A minute cut into parts that cover it, with overlaps, in any order, some of them twice."""
    whole = minute(draw(st.integers(1, 60)))
    most = measured.history_rows(len(QUANTITIES))
    made, at = [], 0
    while at < len(whole):
        first = max(0, at - draw(st.integers(0, 5)))
        rows = draw(st.integers(at - first + 1, max(at - first + 1, min(most, len(whole) - first))))
        made.append(part(1, first, min(rows, most, len(whole) - first), whole))
        at = max(at + 1, made[-1].first + len(made[-1].values) // len(QUANTITIES))
    return draw(st.permutations(made + draw(st.lists(st.sampled_from(made), max_size=3))))


@given(_cuts())
@settings(max_examples=300, deadline=None)
def test_in_any_order_with_overlaps_the_minute_is_whole(made: list[measured.History]) -> None:
    together = Minute.of(made[0])
    for one in made:
        assert together.says(measured.decode_history(measured.encode_history(one))) is not None
        together.put(one)
        assert together.says(one) is False
    assert together.rows == minute(len(together.rows))


@given(st.lists(st.integers(0, 59), min_size=1, max_size=60), st.randoms(use_true_random=False))
@settings(max_examples=200, deadline=None)
def test_the_first_word_about_a_row_stands(firsts: list[int], chance: random.Random) -> None:
    together = Minute.of(part(1, 0, 1))
    for first in firsts:
        before = list(together.rows)
        seed = chance.randrange(3)
        one = part(1, first, min(5, 60 - first), minute(seed=seed))
        together.put(one)
        assert all(old is None or old == new for old, new in zip(before, together.rows, strict=True))
