"""Promises 1, 2, 3 and 6 over the whole path: whatever breaks between the sensor and the fire station, an alarm ends as
exactly one incident, one dispatch and one text.

Real parts throughout: firmware under MicroPython, TLS, NATS, the receiver, station and phone, each its own process.
"""

import json
import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from bongsu.errors import BongsuError
from tests.path_parts import UNITS, Town, go_on, stop, town

RESTORE = "bongsu.fire.restore"


@contextmanager
def link_frozen(t: Town, unit: str) -> Iterator[None]:
    """Nothing passes for a while; connections survive."""
    t.links[unit].freeze()
    yield
    t.links[unit].restore()


@contextmanager
def link_cut(t: Town, unit: str) -> Iterator[None]:
    """Connections never recover; new ones hang."""
    t.links[unit].cut()
    yield
    t.links[unit].restore()


@contextmanager
def wifi_away(t: Town, unit: str) -> Iterator[None]:
    """The access point is gone."""
    t.boards[unit].set_wifi(False)
    yield
    t.boards[unit].set_wifi(True)


@contextmanager
def broker_frozen(t: Town, unit: str) -> Iterator[None]:
    """The broker takes bytes and answers nothing, until the node has given it up."""
    mark = t.boards[unit].mark()
    stop(t.broker_pid)
    try:
        yield
        t.boards[unit].wait_log("mqtt state=down", 20, since=mark)
    finally:
        go_on(t.broker_pid)


@contextmanager
def broker_killed(t: Town, unit: str) -> Iterator[None]:
    """The broker dies as the alarm is raised; the receiver starts it again."""
    yield
    os.kill(t.broker_pid, signal.SIGKILL)


@contextmanager
def receiver_killed(t: Town, unit: str) -> Iterator[None]:
    """The receiver dies, its broker with it, before the alarm; it comes back after it."""
    t.kill_receiver()
    yield
    t.start_receiver()


@contextmanager
def station_down(t: Town, unit: str) -> Iterator[None]:
    """The station closes the connection without an answer, then answers garbage, then twice."""
    t.tell_peer("station", "faults", mode="down", n=2)
    yield
    t.tell_peer("station", "faults", mode="twice", n=1)


@contextmanager
def board_killed(t: Town, unit: str) -> Iterator[None]:
    """The shop's power fails with the alarm, and comes back."""
    yield
    t.boards[unit].power_off()
    t.boards[unit].power_on()


FAULTS: tuple[Callable[[Town, str], object], ...] = (
    link_frozen,
    link_cut,
    wifi_away,
    broker_frozen,
    broker_killed,
    receiver_killed,
    station_down,
    board_killed,
)


def _live_through(t: Town, unit: str, fault: Callable[..., object]) -> None:
    board = t.boards[unit]
    mark = board.mark()
    with fault(t, unit):  # type: ignore[attr-defined]
        t.burn(unit)
        board.wait_log("W alarm event=", 20, since=mark)
    name = getattr(fault, "__name__", "")
    t.until(lambda: t.reports(unit), f"{name}: {unit} was not dispatched")


def _alarmed_once(t: Town, unit: str) -> None:
    assert len(t.reports(unit)) == 1, f"{unit} was dispatched more than once"
    assert len(t.reports(unit, path="/centre")) == 1


def test_alarm_survives_every_break_on_its_way() -> None:
    with town() as t:
        for unit, fault in zip(UNITS, FAULTS, strict=True):
            _live_through(t, unit, fault)
        for unit in UNITS:
            _alarmed_once(t, unit)
            t.until(lambda u=unit: t.texts(u), f"the owner of {unit} was not texted")  # type: ignore[misc]
            assert len(t.texts(unit)) == 1
        assert t.fires() == dict.fromkeys(UNITS, 1)
        t.clear(*UNITS)
        for unit in UNITS:
            t.until(lambda u=unit: t.reports(u, RESTORE), f"the restore of {unit} did not come")  # type: ignore[misc]
            _alarmed_once(t, unit)
        assert t.fires() == dict.fromkeys(UNITS, 1), "a restore closes nothing"


def test_power_cut_at_each_flash_write_of_an_alarm() -> None:
    """Eight shops, each losing power at another write; twice, so that the writes of one alarm and its receipt are all
    hit. How many those are is read from the boards, not assumed.
    """
    with town() as t:
        writes = _writes_of_an_alarm(t)
        rounds = -(-writes // len(UNITS))
        for nth in range(rounds):
            first = 1 + nth * len(UNITS)
            _cut_round(t, {unit: first + i for i, unit in enumerate(UNITS)}, closed_before=nth + 1)


def _writes_of_an_alarm(t: Town) -> int:
    """Flash writes from the fire to the receipt, in a shop whose power stays; and the air clear again."""
    unit, board = UNITS[0], t.boards[UNITS[0]]
    before, mark = board.flash_writes, board.mark()
    t.burn(unit)
    board.wait_log("receipt event=", 20, since=mark)
    t.until(lambda: board.flash_writes > before, "flash writes are not counted")
    writes = board.flash_writes - before
    t.clear(*UNITS)
    t.until(lambda: t.reports(unit, RESTORE), "no restore")
    _close_all(t)
    return writes


def _cut_round(t: Town, cut_at: dict[str, int], *, closed_before: int) -> None:
    reports_before = {unit: len(t.reports(unit)) for unit in UNITS}
    restores_before = {unit: len(t.reports(unit, RESTORE)) for unit in UNITS}
    for unit, writes in cut_at.items():
        t.boards[unit].cut_power_after_writes(writes)
    t.burn(*UNITS)

    def dispatched() -> bool:
        for unit in UNITS:
            if not t.boards[unit].powered:
                t.boards[unit].power_on()
        return all(len(t.reports(unit)) > reports_before[unit] for unit in UNITS)

    t.until(dispatched, f"not every shop was dispatched; power was cut at {cut_at}")
    for unit in UNITS:
        assert len(t.reports(unit)) == reports_before[unit] + 1, f"{unit}, cut at {cut_at[unit]}: dispatched twice"
    assert t.fires() == dict.fromkeys(UNITS, 1)
    t.clear(*UNITS)

    def restored() -> bool:
        for unit in UNITS:
            if not t.boards[unit].powered:
                t.boards[unit].power_on()
        return all(len(t.reports(unit, RESTORE)) > restores_before[unit] for unit in UNITS)

    t.until(restored, f"not every shop was restored; power was cut at {cut_at}")
    for unit in UNITS:
        assert len(t.reports(unit)) == reports_before[unit] + 1, f"{unit}, cut at {cut_at[unit]}: dispatched late again"
    _close_all(t)


def _close_all(t: Town) -> None:
    for incident in t.incidents():
        if incident["state"] == "open":
            seen = str(incident["last_event"] or 0)
            close = ("incident", "close", str(incident["id"]), "--seen", seen, "--disposition", "test")
            t.command(*close, "--still-standing", shown=None)


def test_orders_reach_the_node_and_its_answer_comes_back() -> None:
    with town() as t:
        unit = UNITS[0]
        board, node = t.boards[unit], t.boards[unit].node_id

        def order(name: str) -> str:
            return json.loads(t.command("node", "order", node, name, "--json", "--wait", "20", shown=None))["result"]

        mark = board.mark()
        assert order("test") == "done"
        board.wait_log("I test event=", 5, since=mark)
        t.until(lambda: any(i["class"] == "exercise" for i in t.incidents()), "the test is not recorded")
        assert order("identify") == "done"
        t.burn(unit)
        board.wait_log("W alarm event=", 20, since=mark)
        assert order("silence") == "done"
        with pytest.raises(BongsuError, match="refused"):
            order("reset")  # it burns
        t.clear(unit)
        board.wait_log(r"sample temp_dk=294\d smoke_e4=\d\b|sample temp_dk=294\d smoke_e4=1\d\b", 10, since=mark)
        t.until(lambda: _reset_done(order), "the alarm was not reset")
        assert len(t.reports(unit)) == 1, "the fire is dispatched, the test is not"


def _reset_done(order: Callable[[str], str]) -> bool:
    try:
        return order("reset") == "done"
    except BongsuError:
        return False
