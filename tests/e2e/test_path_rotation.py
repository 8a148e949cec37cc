"""A node's key is changed over the air, with fires and power cuts in between: every alarm counts once, under one key or
the other, and no node is locked out.
"""

import json
from typing import Any

import pytest
from sqlalchemy import select

from bongsu.errors import BongsuError
from bongsu.receiver.config import load
from bongsu.receiver.store import open_store, schema
from tests.path_parts import UNITS, Town, town

SOME = UNITS[:3]
PLAIN: dict[str, tuple[str, ...]] = dict.fromkeys(SOME, ())


def rotate(t: Town, *args: str) -> Any:
    return json.loads(t.command("device", "rotate-key", *args, "--json", shown=None))


def epochs(t: Town, unit: str) -> list[int]:
    """Key epochs of the node's alarms, oldest first."""
    store = open_store(load(t.data / "receiver.toml").store_url)
    try:
        with store.read() as conn:
            c = schema.event.c
            mine = (c.node_id == t.boards[unit].node_id, c.kind == "alarm")
            return list(conn.execute(select(c.epoch).where(*mine).order_by(c.id)).scalars())
    finally:
        store.close()


def end_fire(t: Town, *units: str) -> None:
    t.clear(*units)
    for unit in units:
        t.until(lambda unit=unit: t.reports(unit, "bongsu.fire.restore"), "no restore")  # type: ignore[misc]


def test_a_site_s_keys_are_changed_one_by_one_and_a_fire_first_goes_home_under_the_old_one() -> None:
    with town(PLAIN) as t:
        burning, node = SOME[0], t.boards[SOME[0]].node_id
        t.burn(burning)
        t.until(lambda: t.reports(burning), "not dispatched")
        with pytest.raises(BongsuError, match="1 of 1"):  # it has the key, and waits for the end of the alarm
            rotate(t, node, "--wait", "20")
        assert rotate(t, node, "--wait", "0")["result"] == "given"
        mark = t.boards[burning].mark()
        end_fire(t, burning)
        rows = rotate(t, "--site", burning.partition("/")[0], "--wait", "60")
        assert {row["result"] for row in rows} == {"active"} and len(rows) == len(SOME)
        assert {row["epoch"] for row in rows} == {2}, "the one that was under way was not begun anew"
        t.boards[burning].wait_log("I key state=changed", 1, since=mark)
        t.burn(*SOME)
        t.until(lambda: all(len(t.reports(unit)) == 1 + (unit == burning) for unit in SOME), "not dispatched")
        assert [sorted(set(epochs(t, unit))) for unit in SOME] == [[1, 2], [2], [2]]


def test_power_cut_at_each_write_of_a_change() -> None:
    with town(PLAIN) as t:
        board = t.boards[SOME[0]]
        t.until(lambda: active(t, SOME[0]), "the first change")  # once the node has been heard
        before = board.flash_writes
        assert rotate(t, board.node_id, "--wait", "60")["result"] == "active"
        writes = board.flash_writes - before
        assert writes >= 6
        # The first two are those of the command; should they be lost, it is given again, and that is waited for long.
        for first in range(3, writes + 1, len(SOME)):
            for i, unit in enumerate(SOME):
                t.boards[unit].cut_power_after_writes(first + i)
                assert rotate(t, t.boards[unit].node_id, "--wait", "0")["result"] in ("asked", "given")
            for unit in SOME:
                t.until(lambda unit=unit: active(t, unit), f"{unit} did not change its key; cut near {first}")  # type: ignore[misc]
        # A change may have needed fewer writes than were counted to its cut: then that comes with the alarm's.
        t.boards[SOME[1]].cut_power_after_writes(1)
        t.burn(*SOME)
        t.until(lambda: all(powered(t, unit) and len(t.reports(unit)) == 1 for unit in SOME), "not dispatched")
        for unit in SOME:
            assert epochs(t, unit)[0] == t.boards[unit].nvs()["ident"][1]  # type: ignore[index]


def powered(t: Town, unit: str) -> bool:
    board = t.boards[unit]
    if not board.powered:
        board.power_on()
    return True


def active(t: Town, unit: str) -> bool:
    powered(t, unit)
    try:
        return bool(rotate(t, t.boards[unit].node_id, "--wait", "2")["result"] == "active")
    except BongsuError:
        return False
