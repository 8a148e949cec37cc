"""The replay window accepts each counter at most once, whatever the order, and never one that is too old to tell."""

from hypothesis import given
from hypothesis import strategies as st

from bongsu.receiver.window import WIDTH, Verdict, judge

_COUNTERS = st.lists(st.one_of(st.integers(1, 200), st.integers(1, 2**32 - 1)), max_size=80)


@given(_COUNTERS)
def test_each_counter_is_new_once_and_the_bitmap_stays_in_its_column(counters: list[int]) -> None:
    high, bitmap, accepted = 0, 0, set()
    for counter in counters:
        newest = max(accepted, default=0)
        high, bitmap, verdict = judge(high, bitmap, counter)
        if newest - counter >= WIDTH:
            assert verdict is Verdict.STALE
        else:
            assert verdict is (Verdict.DUPLICATE if counter in accepted else Verdict.NEW)
            accepted.add(counter)
        assert high == max(accepted) and 0 <= bitmap < 2**63
