"""Button, commands, memory gate, log lines."""

from types import SimpleNamespace
from typing import Any

import pytest

from bongsu_node import log
from bongsu_node.upkeep import health
from bongsu_node.upkeep.button import LONG, SHORT, Button
from bongsu_node.upkeep.commands import Commands
from bongsu_node.upkeep.health import TLS_NEEDS_KB, TlsRoom
from bongsu_wire import kinds, payload


def presses(levels: list[tuple[int, bool]]) -> list[tuple[int, int]]:
    button = Button(lambda a, b: a - b)
    found = [(now, button.step(now, pressed)) for now, pressed in levels]
    return [(now, what) for now, what in found if what]


def held(start: int, ms: int) -> list[tuple[int, bool]]:
    return [(t, start <= t < start + ms) for t in range(0, start + ms + 500, 50)]


def test_short_press_long_press_and_a_button_that_hangs() -> None:
    assert presses(held(100, 150)) == [(250, SHORT)]
    assert presses(held(100, 1_950)) == [(2_050, SHORT)]
    assert presses(held(100, 3_000)) == [(2_100, LONG)]
    assert presses([(t, True) for t in range(0, 600_000, 50)]) == [(2_000, LONG)]
    assert presses(held(100, 150) + [(t + 1_000, p) for t, p in held(100, 150)]) == [(250, SHORT), (1_250, SHORT)]
    assert presses([(0, False), (50, True), (60, False)]) == []  # a bounce


class Desk:
    def __init__(self) -> None:
        self.calls: list[Any] = []
        self.sounding = True

    def test(self, criterion: int) -> None:
        self.calls.append(("test", criterion))

    def silence(self) -> bool:
        self.calls.append("silence")
        return self.sounding

    def identify(self, now: int) -> None:
        self.calls.append(("identify", now))

    def reset(self) -> bool:
        self.calls.append("reset")
        return False

    def set_profile(self, args: bytes) -> bool:
        self.calls.append(("profile", args))
        return args == b"good"

    def rotate_key(self, args: bytes) -> bool:
        self.calls.append(("key", args))
        return args == b"good"


def commands(desk: Desk, safe_mode: bool = False) -> tuple[Commands, list[str]]:
    lines: list[str] = []
    log = lambda level, tag, text: lines.append(text)  # noqa: E731
    return Commands(desk, desk, desk.reset, desk.set_profile, desk.rotate_key, safe_mode, lambda: 77, log), lines


def obey(c: Commands, code: int, args: bytes = b"") -> int:
    return c.obey(payload.Command(code, 1, args), SimpleNamespace(sender=3))


def test_commands_do_what_they_say() -> None:
    desk = Desk()
    c, lines = commands(desk)
    assert obey(c, kinds.CMD_TEST) == kinds.ANSWER_DONE
    assert obey(c, kinds.CMD_IDENTIFY) == kinds.ANSWER_DONE
    assert obey(c, kinds.CMD_SILENCE) == kinds.ANSWER_DONE
    assert obey(c, kinds.CMD_RESET) == kinds.ANSWER_REFUSED
    desk.sounding = False
    assert obey(c, kinds.CMD_SILENCE) == kinds.ANSWER_REFUSED
    assert desk.calls == [("test", kinds.CRIT_NONE), ("identify", 77), "silence", "reset", "silence"]
    assert lines[0] == "name=test sender=3 answer=done"
    assert obey(c, kinds.CMD_SET_PARAMETER, b"good") == kinds.ANSWER_DONE
    assert obey(c, kinds.CMD_SET_PARAMETER, b"bad") == kinds.ANSWER_REFUSED
    assert obey(c, kinds.CMD_ROTATE_KEY, b"good") == kinds.ANSWER_DONE
    assert obey(c, kinds.CMD_ROTATE_KEY, b"bad") == kinds.ANSWER_REFUSED
    assert desk.calls[-2:] == [("key", b"good"), ("key", b"bad")]


@pytest.mark.parametrize("code", [kinds.CMD_EVACUATE, kinds.CMD_UPDATE, 99])
def test_what_it_cannot_do_it_says(code: int) -> None:
    desk = Desk()
    assert obey(commands(desk)[0], code) == kinds.ANSWER_UNSUPPORTED
    assert desk.calls == []


def test_safe_mode_takes_only_silence() -> None:
    desk = Desk()
    c, _ = commands(desk, safe_mode=True)
    answers = [obey(c, code, b"good") for code in (1, 2, 4, 5, 7, kinds.CMD_SILENCE)]
    assert answers == [kinds.ANSWER_REFUSED] * 5 + [kinds.ANSWER_DONE]
    assert desk.calls == ["silence"]


def test_tls_waits_for_memory_but_not_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    collections: list[None] = []
    monkeypatch.setattr(health.gc, "collect", lambda: collections.append(None))  # CPython takes long over each
    now, free, lines = [0], [100], []
    room = TlsRoom(lambda: free[0], lambda: now[0], lambda a, b: a - b, lambda level, tag, text: lines.append(text))
    assert room.enough()
    free[0] = TLS_NEEDS_KB - 1
    first = None
    for t in range(50, 60_000, 50):
        now[0] = t
        if room.enough():
            first = t
            break
    assert first is not None and 20_000 <= first <= 30_000
    assert lines == ["idf_kb=35 needs_kb=36"]
    assert 4 <= len(collections) <= 6  # each time that it looks, every 5 s
    now[0] += 9_000  # the TCP connection took so long, and then dial() asks whether the handshake may block
    assert room.enough()
    now[0] += 4_000
    assert not room.enough()
    free[0] = TLS_NEEDS_KB
    now[0] += 5_000
    assert room.enough()


def test_a_dial_without_the_memory_gets_to_its_handshake(monkeypatch: pytest.MonkeyPatch) -> None:
    """mqtt.py asks before it dials, dial() once more before the handshake: a node that is short of memory for good must
    not be turned away there each time.
    """
    monkeypatch.setattr(health.gc, "collect", lambda: None)
    now, handshakes = 0, []
    room = TlsRoom(lambda: 20, lambda: now, lambda a, b: a - b, lambda level, tag, text: None)
    for now in range(0, 120_000, 50):
        if room.enough() and room.enough():
            handshakes.append(now)
    assert handshakes and handshakes[0] <= 30_000
    apart = [b - a for a, b in zip(handshakes, handshakes[1:], strict=False) if b - a > 50]
    assert apart and min(apart) >= 20_000


def test_log_lines_have_one_form() -> None:
    lines: list[str] = []
    write = log.make(lambda: 1234, lines.append)
    write("W", "mqtt", why="refused by peer", state="down")
    write("I", "sent", counter=9, event=4)
    write("I", "receipt", after_ms=81, event=4)
    write("I", "hold", "phen=heat state=start held_ms=0")
    write("E", "task", "name=x state=crashed", err="y")
    assert lines == [
        "1234 W mqtt state=down why=refused_by_peer",
        "1234 I sent event=4 counter=9",
        "1234 I receipt event=4 after_ms=81",
        "1234 I hold phen=heat state=start held_ms=0",
        "1234 E task name=x state=crashed err=y",
    ]
