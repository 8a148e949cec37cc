"""The supervisor: crashes and hangs are logged, counted and cured; the watchdog is fed only if all tasks checked in."""

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from bongsu_node import supervisor
from bongsu_node.supervisor import TICK_MS, Supervisor
from tests import mpy

Beat = Callable[[], None]
Make = Callable[[Beat], Awaitable[None]]


class World:
    """Virtual time: the test calls step(), the tasks only yield."""

    def __init__(self) -> None:
        self.fed = 0
        self.lines: list[str] = []
        self.failed: list[str] = []
        self.starts = 0
        self.supervisor = Supervisor(self._feed, self._log, lambda: 0, lambda a, b: a - b, self.failed.append)

    def _feed(self) -> None:
        self.fed += 1

    def _log(self, level: str, tag: str, text: str) -> None:
        self.lines.append(f"{level} {tag} {text}")

    async def pass_s(self, seconds: float) -> int:
        """Let time pass; returns how often the watchdog was fed."""
        before = self.fed
        for _ in range(round(seconds * 1000 / TICK_MS)):
            await asyncio.sleep(0)
            await asyncio.sleep(0)
            self.supervisor.step(TICK_MS)
        return self.fed - before

    def counted(self, make: Make) -> Make:
        async def start(beat: Beat) -> None:
            self.starts += 1
            await make(beat)

        return start


async def _well(beat: Beat) -> None:
    while True:
        beat()
        await asyncio.sleep(0)


async def _hangs(beat: Beat) -> None:
    beat()
    await asyncio.Event().wait()


async def _crashes(beat: Beat) -> None:
    raise ValueError("a bug")


async def _ends(beat: Beat) -> None:
    beat()


def run(story: Callable[[World], Awaitable[None]]) -> World:
    world = World()

    async def main() -> None:
        await story(world)
        for job in world.supervisor._jobs:
            job.task.cancel()

    asyncio.run(main())
    return world


def test_all_well_is_fed_at_every_look() -> None:
    async def story(w: World) -> None:
        w.supervisor.start("a", _well, 1_000)
        w.supervisor.start("b", _well, 1_000, essential=True)
        assert await w.pass_s(60) == 60_000 // TICK_MS

    assert run(story).supervisor.restarts == 0


@pytest.mark.parametrize(("make", "err"), [(_crashes, "ValueError('a_bug')"), (_ends, "ended")])
def test_a_crash_is_logged_counted_and_restarted_with_growing_pauses(make: Make, err: str) -> None:
    async def story(w: World) -> None:
        w.supervisor.start("link", w.counted(make), 1_000)
        assert await w.pass_s(0.5) == 2  # a crash does not cost the watchdog its food
        assert w.starts == 2  # the first restart comes at once
        await w.pass_s(60)
        assert w.starts in (6, 7, 8)  # after 1, 2, 5, 10, 30 s
        await w.pass_s(600)
        assert w.starts <= 20

    world = run(story)
    assert world.lines[0] == f"E task name=link state=crashed err={err}"
    assert world.supervisor.restarts == len(world.failed) >= 15
    assert set(world.failed) == {"link"}


def test_an_essential_task_is_restarted_within_a_second() -> None:
    async def story(w: World) -> None:
        w.supervisor.start("watch", w.counted(_crashes), 1_000, essential=True)
        await w.pass_s(10)
        assert w.starts >= 9

    run(story)


def test_an_essential_task_that_only_crashes_starves_the_watchdog_in_the_end() -> None:
    async def story(w: World) -> None:
        w.supervisor.start("watch", _crashes, 1_000, essential=True)
        await w.pass_s(60)
        assert await w.pass_s(30) == 0

    run(story)


def test_a_link_task_that_hangs_is_restarted_and_the_node_is_not() -> None:
    async def story(w: World) -> None:
        w.supervisor.start("mqtt", w.counted(_hangs), 10_000)
        w.supervisor.start("watch", _well, 1_000, essential=True)
        assert await w.pass_s(120) == 120_000 // TICK_MS
        assert 3 <= w.starts <= 11

    world = run(story)
    assert world.lines[0] == "E task name=mqtt state=crashed err=hung"


def test_a_loop_that_was_blocked_is_no_tasks_fault() -> None:
    """The arithmetic of a TLS handshake takes a chip seconds, and a slow one many: until then nobody can check in."""

    async def story(w: World) -> None:
        w.supervisor.start("panel", w.counted(_well), 10_000)
        w.supervisor.start("watch", _well, 5_000, essential=True)
        assert await w.pass_s(1) == 4
        w.supervisor.step(25_000)
        assert await w.pass_s(1) == 4
        assert (w.starts, w.supervisor.restarts, w.failed) == (1, 0, [])

    run(story)


def test_a_loop_that_is_blocked_most_of_the_time_is_said() -> None:
    """Every task checks in, and the node samples once in eight seconds: a fire would be found minutes late."""

    async def story(w: World) -> None:
        w.supervisor.start("watch", _well, 5_000, essential=True)
        for _ in range(20):
            assert await w.pass_s(0.25) == 1
            w.supervisor.step(8_000)
        assert w.failed == ["loop"] * len(w.failed) and 1 <= len(w.failed) <= 3
        assert w.supervisor.restarts == len(w.failed) and w.supervisor.since_failure_ms < 60_000
        assert set(w.lines) == {"E task name=loop state=blocked"}

    run(story)


@pytest.mark.parametrize(("blocked_ms", "pause_s"), [(25_000, 30), (2_500, 1), (5_000, 2)])
def test_handshakes_that_fail_again_and_again_are_no_blocked_loop(blocked_ms: int, pause_s: int) -> None:
    async def story(w: World) -> None:
        w.supervisor.start("watch", _well, 5_000, essential=True)
        for doubled in range(100):
            w.supervisor.step(blocked_ms)
            await w.pass_s(min(pause_s << doubled, 30))
        assert w.failed == []

    run(story)


def test_an_essential_task_that_hangs_starves_the_watchdog() -> None:
    async def story(w: World) -> None:
        w.supervisor.start("watch", w.counted(_hangs), 5_000, essential=True)
        w.supervisor.start("mqtt", _well, 5_000)
        assert await w.pass_s(5) > 0
        assert await w.pass_s(30) <= 1
        assert w.starts == 1

    run(story)


def test_a_task_that_cannot_be_cancelled_starves_it_too() -> None:
    over = asyncio.Event()

    async def stubborn(beat: Beat) -> None:
        while not over.is_set():
            try:
                await over.wait()
            except asyncio.CancelledError:
                continue

    async def story(w: World) -> None:
        w.supervisor.start("mqtt", stubborn, 5_000)
        await w.pass_s(11)
        assert await w.pass_s(30) == 0
        over.set()

    run(story)


def test_a_task_that_ran_long_starts_again_at_the_shortest_pause() -> None:
    fail = asyncio.Event()

    async def later(beat: Beat) -> None:
        while not fail.is_set():
            beat()
            await asyncio.sleep(0)
        fail.clear()
        raise ValueError

    async def story(w: World) -> None:
        w.supervisor.start("mqtt", w.counted(later), 5_000)
        for n in range(1, 12):
            await w.pass_s(700)
            fail.set()
            await w.pass_s(1)
            assert w.starts == n + 1

    run(story)


def test_pauses_are_capped() -> None:
    assert max(supervisor._PAUSES_MS) == 60_000


PROGRAM = """
import asyncio, time
from bongsu_node.supervisor import Supervisor

fed = 0
starts = []
def feed():
    global fed
    fed += 1

async def well(beat):
    while True:
        beat()
        await asyncio.sleep_ms(5)

async def crashes(beat):
    starts.append("crash")
    await asyncio.sleep_ms(1)
    1 // 0

async def hangs(beat):
    starts.append("hang")
    await asyncio.Event().wait()

async def main():
    failed = asyncio.Event()
    def on_failure(name):
        if starts.count("crash") >= 2 and starts.count("hang") >= 2:
            failed.set()
    s = Supervisor(feed, lambda *a: print(*a), time.ticks_ms, time.ticks_diff, on_failure)
    s.start("well", well, 1000, essential=True)
    s.start("bad", crashes, 1000)
    s.start("stuck", hangs, 300)
    task = asyncio.create_task(s.run())
    await asyncio.wait_for(failed.wait(), 20)
    task.cancel()
    print("fed", fed > 1, "restarts", s.restarts >= 4)

asyncio.run(main())
"""


def test_under_micropython() -> None:
    printed = mpy.run(PROGRAM)
    assert "fed True restarts True" in printed
    assert "E task name=bad state=crashed err=ZeroDivisionError" in printed
    assert "E task name=stuck state=crashed err=hung" in printed
    assert "Traceback" in printed  # a crash leaves its trace on the serial line
