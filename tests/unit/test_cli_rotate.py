"""`bongsu device rotate-key` as typed, without a receiver: what is asked, what is said, and how it exits."""

import json
import time
from pathlib import Path

import pytest
from sqlalchemy import update

from bongsu.receiver.config import load
from bongsu.receiver.keys import MASTER_KEY_NAME, load_master, make_node_key
from bongsu.receiver.store import open_store, schema
from bongsu_wire import kinds
from tests.registry_parts import bongsu, on_this_engine

NODES = ("a0b1c2d3e4f5", "a0b1c2d3e4f6", "a0b1c2d3e4f7")


@pytest.fixture
def data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Three nodes in one shop: one in service, one silent, one never heard."""
    folder = tmp_path / "data"
    monkeypatch.setenv("BONGSU_DATA", str(folder))
    assert bongsu("init", *on_this_engine(folder)).code == 0
    assert bongsu("site", "add", "hannae", "--name", "M").code == 0
    assert bongsu("unit", "add", "hannae/a-07", "--name", "S").code == 0
    for node in NODES:
        assert bongsu("node", "add", node, "--unit", "hannae/a-07").code == 0
    store = open_store(load(folder / "receiver.toml").store_url)
    try:
        with store.write() as conn:
            for node in NODES:
                make_node_key(conn, load_master(folder / MASTER_KEY_NAME), node, 1)
            key, live = schema.node_key, schema.node_live
            conn.execute(update(schema.node).values(state="provisioned"))
            conn.execute(update(key).where(key.c.node_id != NODES[2]).values(state="active", activated_ms=1))
            conn.execute(update(live).where(live.c.node_id == NODES[1]).values(silent=True, silent_since_ms=1))
    finally:
        store.close()
    return folder


def test_one_is_asked_once(data: Path) -> None:
    asked = bongsu("device", "rotate-key", NODES[0], "--wait", "0", "--json")
    assert asked.code == 0
    row = json.loads(asked.out)
    assert (row["node"], row["epoch"], row["result"]) == (NODES[0], 2, "asked")
    again = bongsu("device", "rotate-key", NODES[0], "--wait", "0")
    assert again.code == 0 and again.out == f"Node {NODES[0]} {row['what']}.\n"
    shown = bongsu("audit", "list", "--json").out
    assert shown.count("rotate_key; epoch 2") == 1


def test_waiting_in_vain_is_a_failure_that_says_where_it_stands(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(time, "sleep", lambda seconds: None)
    ran = bongsu("device", "rotate-key", NODES[0], "--wait", "0.01")
    assert ran.code == 1 and "has not answered yet" in ran.out
    assert "1 of 1 do not speak under another key yet" in ran.err and "Run it again" in ran.err


def test_a_site_is_asked_one_by_one_and_the_silent_are_left_out(data: Path) -> None:
    ran = bongsu("device", "rotate-key", "--site", "hannae", "--wait", "0", "--json")
    assert ran.code == 1  # one is silent
    assert [(row["node"], row["result"]) for row in json.loads(ran.out)] == [(NODES[0], "asked"), (NODES[1], "silent")]
    table = bongsu("device", "rotate-key", "--site", "hannae", "--wait", "0")
    assert table.out.splitlines()[0].split() == ["NODE", "EPOCH", "RESULT", "WHAT"]


def test_what_hinders_one_of_several_hinders_no_other(data: Path) -> None:
    ran = bongsu("device", "rotate-key", NODES[2], NODES[0], "--wait", "0", "--json")
    rows = {row["node"]: row for row in json.loads(ran.out)}
    assert ran.code == 1 and rows[NODES[0]]["result"] == "asked"
    assert rows[NODES[2]]["result"] == "not_asked" and "not been heard" in rows[NODES[2]]["what"]


@pytest.mark.parametrize(
    ("answer", "said", "step"),
    [
        (kinds.ANSWER_UNSUPPORTED, "knows no such command", "Bring the firmware"),
        (kinds.ANSWER_REFUSED, "refused, and keeps its key", "Is the receiver older than this command"),
        (kinds.ANSWER_FAILED, "could not store the key", "Run it again: it goes on where it stands."),
    ],
)
def test_what_is_next_is_what_helps(
    data: Path, monkeypatch: pytest.MonkeyPatch, answer: int, said: str, step: str
) -> None:
    """To run it again helps neither with old firmware nor with an old receiver."""

    def answered(_seconds: float) -> None:
        store = open_store(load(data / "receiver.toml").store_url)
        try:
            with store.write() as conn:
                conn.execute(update(schema.command).values(state="answered", result=answer, answered_ms=1))
        finally:
            store.close()

    monkeypatch.setattr(time, "sleep", answered)
    ran = bongsu("device", "rotate-key", NODES[0])
    assert ran.code == 1 and said in ran.out
    assert step in ran.err and ("Run it again" in ran.err) == (answer == kinds.ANSWER_FAILED)


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        ((), 2, "Name nodes by their MAC"),
        ((NODES[0], "--site", "hannae"), 2, "Name nodes by their MAC"),
        (("nonsense",), 2, "nonsense"),
        (("a0b1c2d3e4ff",), 1, "not registered"),
        ((NODES[2],), 1, "Provision it"),
        (("--site", "nowhere"), 1, "nowhere"),
    ],
)
def test_wrong_words(data: Path, words: tuple[str, ...], code: int, said: str) -> None:
    ran = bongsu("device", "rotate-key", *words)
    assert ran.code == code and said in ran.err
