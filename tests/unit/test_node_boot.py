"""boot.py and main.py: Ctrl-C at any moment of the three seconds, once or again and again, leaves no node running."""

import sys
import time
from collections.abc import Iterator
from types import ModuleType
from typing import Any

import pytest

from bongsu.resources import resources

FIRMWARE = resources().firmware
BOOT, MAIN = ((FIRMWARE / name).read_text() for name in ("boot.py", "main.py"))
STARTED = "started"


@pytest.fixture
def chip(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """What was done: STARTED, "reset"."""
    done: list[str] = []
    machine, app = ModuleType("machine"), ModuleType("bongsu_node.app")
    machine.reset = lambda: done.append("reset")  # type: ignore[attr-defined]
    app.main = lambda: done.append(STARTED)  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "machine", machine)
    monkeypatch.setitem(sys.modules, "bongsu_node.app", app)
    monkeypatch.setattr("bongsu_node.app", app, raising=False)
    monkeypatch.setattr(time, "sleep", lambda seconds: None)
    yield done


def start(monkeypatch: pytest.MonkeyPatch, interrupt: str) -> None:
    """boot.py, then main.py in the same namespace, as on the chip; `interrupt`: what Ctrl-C breaks off."""
    slept: list[int] = []

    def sleep_ms(ms: int) -> None:
        slept.append(ms)
        if interrupt == "sleep":
            raise KeyboardInterrupt

    def say(text: str) -> None:
        if interrupt == "print":
            raise KeyboardInterrupt
        if interrupt == "broken line":
            raise OSError(5)

    monkeypatch.setattr(time, "sleep_ms", sleep_ms, raising=False)
    scope: dict[str, Any] = {"__name__": "__main__", "print": say}
    boot = BOOT
    if interrupt == "handler":  # a second one, while the first is dealt with
        for line in ("service_mode = False", "pass"):
            boot = boot.replace(line, "raise KeyboardInterrupt")
    elif interrupt == "import":
        boot = BOOT.replace("import time", "raise KeyboardInterrupt")
    try:
        exec(compile(boot, "boot.py", "exec"), scope)
    except KeyboardInterrupt:
        pass  # the interpreter shows it, and goes on to main.py
    assert interrupt in ("print", "import", "broken line") or slept == [3000]
    exec(compile(MAIN, "main.py", "exec"), scope)


def test_without_ctrl_c_the_node_starts(monkeypatch: pytest.MonkeyPatch, chip: list[str]) -> None:
    start(monkeypatch, "")
    assert chip == [STARTED, "reset"]


def test_what_else_goes_wrong_there_is_no_service(monkeypatch: pytest.MonkeyPatch, chip: list[str]) -> None:
    start(monkeypatch, "broken line")
    assert chip == [STARTED, "reset"]


@pytest.mark.parametrize("interrupt", ["import", "print", "sleep", "handler"])
def test_ctrl_c_at_any_moment_is_service(monkeypatch: pytest.MonkeyPatch, chip: list[str], interrupt: str) -> None:
    start(monkeypatch, interrupt)
    assert chip == []


def test_ctrl_c_after_the_window_ends_in_the_repl(monkeypatch: pytest.MonkeyPatch, chip: list[str]) -> None:
    """Before the watchdog runs, nothing catches it: main.py ends."""

    def interrupted() -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(sys.modules["bongsu_node.app"], "main", interrupted)
    with pytest.raises(KeyboardInterrupt):
        start(monkeypatch, "")
    assert chip == []
