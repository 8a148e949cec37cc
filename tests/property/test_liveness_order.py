"""Promise 5: whatever happens in whatever order, nobody who is silent hides behind somebody who was heard later."""

from hypothesis import given
from hypothesis import strategies as st

from bongsu.receiver.liveness import Liveness

SILENT_MS = 180_000
NODES = st.sampled_from("abcdef")
STEPS = st.lists(
    st.one_of(
        st.tuples(st.sampled_from(["watch", "seen", "forget", "told", "back"]), NODES),
        st.tuples(st.just("elsewhere"), NODES, st.integers(0, SILENT_MS)),
        st.tuples(st.just("pass"), st.integers(1, SILENT_MS)),
        st.tuples(st.just("up"), st.none() | st.integers(0, 2 * SILENT_MS)),
        st.tuples(st.sampled_from(["down", "unstored", "expire"])),
    ),
    max_size=40,
)


def step(one: Liveness, now_ms: int, what: str, *args: object) -> None:
    found: dict[str, object] = {
        "watch": lambda node: one.watch(node, now_ms),
        "seen": lambda node: one.seen(node, now_ms),
        "forget": one.forget,
        "told": lambda node: one.told(node, True, now_ms),
        "back": lambda node: one.told(node, False, now_ms),
        "elsewhere": lambda node, ago_ms: one.heard_elsewhere(node, now_ms - ago_ms),
        "up": lambda grace_ms: one.link_up(now_ms, grace_ms),
        "down": lambda: one.link_down(now_ms),
        "unstored": lambda: one.unstored(set(), now_ms),
        "expire": lambda: one.expire(now_ms),
    }
    found[what](*args)  # type: ignore[operator]


@given(STEPS)
def test_the_order_is_that_of_the_times_and_nobody_overdue_is_left(steps: list[tuple[str, object]]) -> None:
    one, now_ms = Liveness(SILENT_MS), 1_000_000
    for what, *args in steps:
        if what == "pass":
            now_ms += int(str(args[0]))
            continue
        step(one, now_ms, what, *args)
        times = one.seen_in_order()
        assert times == sorted(times)
    one.expire(now_ms)
    if not one.is_down:
        assert all(now_ms - seen_ms < SILENT_MS for seen_ms in one.seen_in_order())


def test_a_node_that_another_receiver_heard_does_not_hide_one_that_nobody_heard() -> None:
    one = Liveness(SILENT_MS)
    one.watch("heard", 0)
    one.watch("silent", 10_000)
    assert one.expire(SILENT_MS) == (["heard"], False)
    one.heard_elsewhere("heard", 160_000)
    assert one.due_ms() == 10_000 + SILENT_MS
    assert one.expire(200_000) == (["silent"], False)
