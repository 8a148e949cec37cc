"""Promise 2 between node and receiver: over a lossy, delayed, breaking transport that delivers single bytes, an event
leaves the node's journal exactly when the receiver has committed it, and no counter is used for two frames. The real
client and uplink run on MicroPython in virtual time."""

import json
from pathlib import Path

from tests import mpy

DATA = Path(__file__).parents[1] / "data"
SEEDS = 100


def test_every_event_is_committed_before_it_leaves_the_journal_and_no_counter_repeats() -> None:
    out = mpy.run(DATA / "link_storm.py", "1", str(SEEDS), paths=[DATA])
    results = [json.loads(line) for line in out.splitlines()]
    assert len(results) == SEEDS
    bad = [r for r in results if r["wrong"] or r["left"] or r["committed"] != r["events"]]
    assert not bad, bad[:3]
    # The storms were storms: there was something to lose, and something to refuse.
    assert sum(r["events"] for r in results) > 10 * SEEDS
    assert sum(r["refused"] for r in results) > 4 * SEEDS
