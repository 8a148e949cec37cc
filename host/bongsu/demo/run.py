"""The demo from beginning to end: quiet air, a fire in one shop, a lighter in another, the restore, the verdict."""

import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from bongsu.demo import market, verdict
from bongsu.demo.stage import Say, Stage
from bongsu.demo.story import Story, in_order
from bongsu.errors import BongsuError
from bongsu.sim import scenarios

# Board seconds.
_LEAD_S = 8.0  # quiet air before the ignition
_FIRE_OUT_S = 80.0  # the fire is put out so long after its ignition
_CLEAR_S = 8.0
_QUIET_AFTER_S = 600.0
_LIGHTER_AFTER_S = 30.0  # after the ignition
_STORY_MOST_S = 200.0  # ignition to restore, at most
# Wall seconds.
_CONNECT_MOST_S = 30.0
_SPARE_S = 15.0
_TELL_MOST_S = 10.0  # restore to the last delivery
_LOOK_S = 0.25


class Ended(KeyboardInterrupt):
    """The system asked the demo to end (SIGTERM, SIGHUP)."""


def run(say: Say, *, speed: float, keep: bool) -> int:
    """Play the demo; returns the exit code: 0 only if every check of the verdict holds. Raises BongsuError."""
    started_s = time.time()
    with _ending_by_signal():
        say("Bongsu demo: two markets, eight shops, one fire, one lighter")
        say(f"  boards run {speed:g} times as fast as the wall: what a board measures is marked (board)")
        say("")
        stage = Stage(say, speed)
        try:
            code = _play(say, stage, speed, started_s)
            if keep:
                _stay(say, stage)
            return code
        finally:
            _close(stage)


def _play(say: Say, stage: Stage, speed: float, started_s: float) -> int:
    stage.set_up()
    story = Story(started_s)
    units = {s.address for s in market.SHOPS}
    say("")
    try:
        _pump(say, stage, story, lambda: story.facts.seen >= units, _CONNECT_MOST_S, "all eight boards")
    except _TooLate:
        raise _not_connected(stage, units - story.facts.seen) from None
    say(story.say(time.time(), "all 8 shops", "connected", "over TLS, first heartbeats seen; quiet air"))
    _ignite(stage, story)
    say(story.say(time.time(), market.shop(market.FIRE_UNIT).name, "fire", _fire_text()))
    try:
        _pump(say, stage, story, lambda: _told_all(story), _STORY_MOST_S / speed + _SPARE_S, "the restore's reports")
        missing = ""
    except _TooLate as late:
        missing = str(late)
    return _judge(say, stage, story, missing, started_s)


class _TooLate(Exception):
    pass


def _pump(say: Say, stage: Stage, story: Story, done: Callable[[], bool], most_s: float, what: str) -> None:
    """Tell lines as they come until `done`. Raises _TooLate, and BongsuError if a part has died."""
    end = time.monotonic() + most_s
    while not done():
        left = end - time.monotonic()
        if left <= 0:
            raise _TooLate(f"{what} did not come in {most_s:.0f} s")
        lines = in_order(stage.next_lines(min(left, _LOOK_S)))
        if not lines or any(line.name == "ended" for line in lines):
            stage.check_alive()
        for line in lines:
            for text in story.take(line):
                say(text)


def _not_connected(stage: Stage, missing: set[str]) -> BongsuError:
    first = sorted(missing)[0]
    said = "\n".join(f"    {line.text}" for line in stage.boards[first].log_lines[-5:])
    return BongsuError(
        f"not connected after {_CONNECT_MOST_S:.0f} s: {', '.join(sorted(missing))}; {first} said last:\n{said}",
        "Run it again when this machine has less to do, or slower: bongsu demo --speed 2",
    )


def _ignite(stage: Stage, story: Story) -> None:
    fire = scenarios.load_fire(market.FIRE_NAME, market.FIRE_STATION)
    points = scenarios.fire_then_clear(fire, out_s=_FIRE_OUT_S, clear_s=_CLEAR_S, quiet_s=_QUIET_AFTER_S)
    board = stage.boards[market.FIRE_UNIT]
    story.facts.ignition_board_s = board.now_s + _LEAD_S
    board.set_scenario(points, start_s=story.facts.ignition_board_s)
    other = stage.boards[market.LIGHTER_UNIT]
    quiet = scenarios.quiet_air(_QUIET_AFTER_S, seed=len(stage.boards))
    flame = scenarios.with_lighter(quiet, at_s=_LEAD_S + _LIGHTER_AFTER_S)
    other.set_scenario(flame, start_s=other.now_s)
    story.burning = True


def _fire_text() -> str:
    return f"recorded house fire NIST {market.FIRE_NAME} begins in {_LEAD_S:.0f} s (board)"


def _told_all(story: Story) -> bool:
    facts = story.facts
    wanted = ("responder:station", "responder:centre")
    texted = any(who.startswith("contact:") and why == "restore" for who, why in facts.done)
    return texted and all((who, "restore") in facts.done for who in wanted)


def _judge(say: Say, stage: Stage, story: Story, missing: str, started_s: float) -> int:
    facts = story.facts
    reports, texts = stage.received("station")["reports"], stage.received("phone")["texts"]
    found = verdict.checks(facts, reports, texts, stage.incidents())
    if missing:
        found.append(verdict.Check(False, missing))
    for title, lines in (
        ("What people got to read", verdict.messages(reports, texts)),
        ("How long it took", _delays(story)),
        ("Was it right?", [f"{'ok  ' if c.ok else 'FAIL'}  {c.text}" for c in found]),
    ):
        say("")
        say(title)
        for line in lines:
            say(f"  {line}")
    good = all(check.ok for check in found)
    say("")
    say(f"{'Demo passed' if good else 'Demo FAILED'} after {time.time() - started_s:.0f} s.")
    return 0 if good else 1


def _delays(story: Story) -> list[str]:
    rows = verdict.table(story.facts)
    wide = max(len(step) for step, _, _ in rows)
    lines = [f"{step:<{wide}}  {delay:>8}  {clock} time" for step, delay, clock in rows]
    photo_s = scenarios.load_fire(market.FIRE_NAME, market.FIRE_STATION).first_photoelectric_s
    if photo_s is not None and story.facts.alarm_board_s is not None:
        ours_s = story.facts.alarm_board_s - story.facts.ignition_board_s
        lines.append(
            f"Alarm {ours_s:.0f} s after ignition; NIST's photoelectric smoke alarm at that place: {photo_s:.0f} s."
        )
    return lines


def _stay(say: Say, stage: Stage) -> None:
    """--keep: until Ctrl-C."""
    data = stage.data
    say("")
    say(f"Still running, until Ctrl-C. The data folder is {data}")
    say("Try, in another terminal:")
    say(f"  export BONGSU_DATA={data}")
    for command in (
        "incident list",
        "incident show 1",
        "incident close 1 --seen EVENT --disposition fire   (EVENT: as `incident show 1` says)",
        "node list",
        "unit list",
    ):
        say(f"  bongsu {command}")
    try:
        while True:
            line = stage.next_line(_LOOK_S)
            if line is None:
                stage.check_alive()
    except KeyboardInterrupt:
        say("")
        say("Ending.")


@contextmanager
def _ending_by_signal() -> Iterator[None]:
    def end(_number: int, _frame: object) -> None:
        raise Ended

    old = {number: signal.signal(number, end) for number in (signal.SIGTERM, signal.SIGHUP)}
    try:
        yield
    finally:
        for number, handler in old.items():
            signal.signal(number, handler)


def _close(stage: Stage) -> None:
    """Take the stage down; another Ctrl-C does not stop that half-way."""
    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    old = {number: signal.signal(number, signal.SIG_IGN) for number in numbers}
    try:
        stage.close()
    finally:
        for number, handler in old.items():
            signal.signal(number, handler)
