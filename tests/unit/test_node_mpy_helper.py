"""The MicroPython helper itself: what it returns, and that a failing program fails the test."""

import pytest

from tests import mpy


def test_run_returns_what_was_printed() -> None:
    assert mpy.run("import sys; print(sys.implementation.name)") == "micropython\n"


def test_run_fails_on_an_exception() -> None:
    with pytest.raises(mpy.MpyError, match="ZeroDivisionError"):
        mpy.run("1 // 0")


def test_server_answers_many_calls_and_keeps_prints_apart() -> None:
    with mpy.Server("def handle(x):\n    print('log', x)\n    return [x, x + 1]\n") as server:
        assert [server.call(i) for i in range(200)] == [[i, i + 1] for i in range(200)]
        assert server.printed[:2] == ["log 0", "log 1"]


def test_server_reports_an_exception_and_lives_on() -> None:
    with mpy.Server("def handle(x):\n    return 1 // x\n") as server:
        with pytest.raises(mpy.MpyError, match="ZeroDivisionError"):
            server.call(0)
        assert server.call(1) == 1


def test_server_reports_its_death() -> None:
    with mpy.Server("raise SystemExit(3)\n") as server, pytest.raises(mpy.MpyError, match="ended"):
        server.call(0)
