"""The console's parts by themselves: limits, sessions, passwords, pulse, words, feed, the shared picture."""

import asyncio
import socket
import threading
from pathlib import Path
from typing import Any

import msgspec
import pytest

from bongsu.console import operators, sessions
from bongsu.console.board import WAITING_MAX, Board
from bongsu.console.limits import NAME_TRIES, PAIR_TRIES, WINDOW_S, Limits
from bongsu.console.pulse import SILENT_S, STALE_S, Pulse
from bongsu.console.words import load_words
from bongsu.receiver.config import Config, ConfigError, load
from bongsu.receiver.feed import Feed
from bongsu.receiver.fields import FieldError
from bongsu.receiver.registry import RegistryError
from bongsu.receiver.web import WebProcess
from bongsu_wire import kinds
from tests.console_parts import PASSWORD, password_hash
from tests.receiver_parts import Desk, desk

IDLE_S, LENGTH_S = 600, 3600


# ---- limits


def test_a_few_tries_then_a_wait_and_then_again() -> None:
    limits = Limits()
    assert [limits.attempt("desk1", "a", float(i)) for i in range(PAIR_TRIES)] == [0.0] * PAIR_TRIES
    assert limits.attempt("desk1", "a", 10.0) == pytest.approx(WINDOW_S - 10)
    assert limits.attempt("desk2", "a", 10.0) == 0.0, "others log in from there meanwhile"
    assert limits.attempt("desk1", "b", 10.0) == 0.0, "and this person from elsewhere"
    assert limits.attempt("desk1", "a", WINDOW_S + 0.1) == 0.0


def test_many_addresses_do_not_help_and_being_right_counts_nothing() -> None:
    limits = Limits()
    waits = [limits.attempt("desk1", f"address-{i}", 0.0) for i in range(NAME_TRIES + 1)]
    assert waits[:-1] == [0.0] * NAME_TRIES and waits[-1] > 0
    limits = Limits()
    for _ in range(10 * NAME_TRIES):
        assert limits.attempt("desk1", "a", 0.0) == 0.0
        limits.succeeded("desk1", "a", 0.0)


def test_strangers_do_not_shut_out_who_logged_in_from_there_lately() -> None:
    limits = Limits()
    limits.attempt("desk1", "192.0.2.1", 0.0)
    limits.succeeded("desk1", "192.0.2.1", 0.0)
    for i in range(NAME_TRIES):
        assert limits.attempt("desk1", f"198.51.100.{i}", 1.0) == 0.0
    assert limits.attempt("desk1", "203.0.113.1", 2.0) > 0
    assert limits.attempt("desk1", "192.0.2.1", 2.0) == 0.0


def test_addresses_of_one_v6_network_count_as_one() -> None:
    limits = Limits()
    waits = [limits.attempt("desk1", f"2001:db8:1:2::{i:x}", 0.0) for i in range(PAIR_TRIES + 1)]
    assert waits[:-1] == [0.0] * PAIR_TRIES and waits[-1] > 0
    assert limits.attempt("desk1", "2001:db8:1:3::1", 0.0) == 0.0


def test_a_flood_of_names_takes_bounded_memory() -> None:
    limits = Limits()
    for i in range(30_000):
        limits.attempt(f"n{i}", f"a{i}", 0.0)
    assert len(limits._tries) <= 10_000


# ---- passwords and sessions


def test_passwords() -> None:
    assert password_hash().startswith("$argon2id$")
    assert operators.is_right(password_hash(), PASSWORD)
    assert not operators.is_right(password_hash(), PASSWORD + "x")
    assert not operators.is_right(None, "nobody has this password"), "not even with the stand-in's own words"
    assert not operators.is_right("not a hash", PASSWORD)
    for bad in ("short", "x" * 201):
        with pytest.raises(FieldError):
            operators.checked_password(bad)


@pytest.fixture
def one(tmp_path: Path) -> Any:
    with desk(tmp_path) as made:
        with made.store.write() as conn:
            _add(conn, "desk1", 1000)
        yield made


def _add(conn: Any, name: str, now_ms: int) -> None:
    operators.add_operator(
        conn,
        name=name,
        full_name="",
        role="operator",
        lang="ko",
        password_hash=password_hash(),
        actor="t",
        now_ms=now_ms,
    )


def _begin(made: Desk, now_ms: int) -> str:
    with made.store.write() as conn:
        return sessions.begin(conn, "desk1", now_ms=now_ms, length_s=LENGTH_S, idle_s=IDLE_S)


def _good(made: Desk, token: str, now_ms: int) -> bool:
    key = sessions.key_of(token)
    with made.store.read() as conn:
        return key in sessions.find(conn, {key}, now_ms=now_ms, idle_s=IDLE_S)


def test_a_session_ends_when_idle_and_at_its_end_and_the_store_does_not_hold_its_token(one: Desk) -> None:
    token = _begin(one, 2000)
    with one.store.read() as conn:
        dump = str(list(conn.exec_driver_sql("SELECT * FROM console_session")))
    assert token not in dump and len(token) >= 43  # 256 bits
    assert _good(one, token, 2000 + IDLE_S * 1000 - 1)
    assert not _good(one, token, 2000 + IDLE_S * 1000)
    for minute in range(0, 60, 5):  # in use all the time
        with one.store.write() as conn:
            sessions.touch(conn, {sessions.key_of(token)}, 2000 + minute * 60_000)
    assert _good(one, token, 2000 + LENGTH_S * 1000 - 1)
    assert not _good(one, token, 2000 + LENGTH_S * 1000)


@pytest.mark.parametrize("act", ["password", "disable"])
def test_a_session_ends_with_the_password_and_with_being_shut_out(one: Desk, act: str) -> None:
    token = _begin(one, 2000)
    with one.store.write() as conn:
        if act == "password":
            operators.set_password(conn, name="desk1", password_hash=password_hash(), actor="t", now_ms=3000)
        else:
            operators.set_disabled(conn, name="desk1", disabled=True, actor="t", now_ms=3000)
    assert not _good(one, token, 3000)
    if act == "disable":
        with one.store.write() as conn:
            operators.set_disabled(conn, name="desk1", disabled=False, actor="t", now_ms=4000)
        assert not _good(one, token, 4000), "an old session does not come back"


def test_a_name_is_given_once_and_only_somebody_can_be_changed(one: Desk) -> None:
    with pytest.raises(RegistryError), one.store.write() as conn:
        _add(conn, "DESK1", 2000)
    with pytest.raises(RegistryError), one.store.write() as conn:
        operators.set_password(conn, name="nobody", password_hash="x", actor="t", now_ms=1)


# ---- is it live?


def _state(at_ms: int, *reasons: str) -> dict[str, Any]:
    return {"at_ms": at_ms, "reasons": [{"name": name, "what": name, "next": ""} for name in reasons]}


def test_live_only_while_the_receiver_is_heard_and_moves() -> None:
    pulse = Pulse()
    assert not pulse.shown(0.0, None)["live"]
    pulse.heard(_state(1), 10.0)
    assert pulse.shown(10.0 + SILENT_S, None)["live"]
    assert not pulse.shown(10.1 + SILENT_S, None)["live"]
    for second in range(1, 8):  # it speaks, but says the same over and over
        pulse.heard(_state(1), 10.0 + second)
    assert not pulse.shown(10.1 + max(STALE_S, 7), None)["live"]


def test_a_receiver_in_trouble_says_so_and_a_store_that_fails_is_not_live() -> None:
    pulse = Pulse()
    pulse.heard(_state(1, "canary_lost"), 0.0)
    shown = pulse.shown(0.0, None)
    assert shown["live"] and [t["name"] for t in shown["trouble"]] == ["canary_lost"]
    pulse.heard(_state(2, "store_failed"), 1.0)
    assert not pulse.shown(1.0, None)["live"]
    pulse.heard(_state(3), 2.0)
    assert not pulse.shown(2.0, {"name": "store", "what": "", "next": ""})["live"]


def test_words_are_whole() -> None:
    words = load_words()
    page = "".join(p.read_text() for p in (Path(operators.__file__).parent / "static").glob("*.js"))
    import re

    used = set(re.findall(r'\bui\("(\w+)"', page))
    assert used and not used - set(words["ui"])
    assert "innerHTML" not in page and "insertAdjacentHTML" not in page and "document.write" not in page


# ---- the feed


def test_a_full_feed_neither_waits_nor_raises_and_says_so_afterwards() -> None:
    feed = Feed()
    theirs = feed.open()
    done = threading.Event()

    def flood() -> None:
        for i in range(5000):
            feed.tick({"at_ms": i})
        done.set()

    thread = threading.Thread(target=flood, daemon=True)
    thread.start()
    assert done.wait(5.0), "the writer would have waited for the console"
    theirs.setblocking(False)
    taken = 0
    try:
        while theirs.recv(1 << 17):
            taken += 1
    except BlockingIOError:
        pass
    assert 0 < taken < 5000
    feed.tick({"at_ms": 1})
    assert msgspec.json.decode(theirs.recv(1 << 17)) == {"state": {"at_ms": 1}, "missed": True}
    feed.tick({"at_ms": 2})
    assert "missed" not in msgspec.json.decode(theirs.recv(1 << 17))
    theirs.close()
    feed.changed({1})  # nobody is there
    feed.close()
    feed.changed({1})
    thread.join(5)


def test_a_storm_of_commits_is_one_hint() -> None:
    feed = Feed()
    theirs = feed.open()
    for i in range(1, 200):
        feed.changed({i})
    theirs.setblocking(False)
    assert msgspec.json.decode(theirs.recv(1 << 17)) == {"changed": {"incident": [1]}}
    with pytest.raises(BlockingIOError):  # 199 calls take no 0.2 s
        theirs.recv(1 << 17)
    feed.close()
    theirs.close()


def test_the_end_of_the_feed_is_heard() -> None:
    feed = Feed()
    theirs = feed.open()
    feed.close()
    theirs.settimeout(5)
    assert theirs.recv(10) == b""
    theirs.close()


def test_a_console_that_cannot_start_is_tried_again_later_and_later(tmp_path: Path) -> None:
    from tests.receiver_parts import make_market

    market = make_market(tmp_path / "data", 1, console=True)
    taken = socket.socket()
    try:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        toml = market.data / "receiver.toml"
        toml.write_text(toml.read_text().replace("enabled = true", f"enabled = true\nport = {port}"))
        lines: list[tuple[str, dict[str, Any]]] = []
        said = threading.Condition()

        class Lines:
            form = "json"

            def error(self, event: str, /, **fields: Any) -> None:
                with said:
                    lines.append((event, fields))
                    said.notify_all()

        web = WebProcess(load(toml), Feed(), lambda: {"at_ms": 1}, Lines())  # type: ignore[arg-type]
        web.start()
        with said:
            assert said.wait_for(lambda: len(lines) >= 2, 30), lines
        web.close()
        assert [fields["again_s"] for _, fields in lines[:2]] == [0.0, 1.0]
    finally:
        taken.close()


# ---- the picture


def _run(board: Board, *work: Any) -> None:
    async def all_of_it() -> None:
        for one in work:
            result = one()
            if asyncio.iscoroutine(result):
                await result
        board.close()

    asyncio.run(all_of_it())


def test_only_what_changed_is_read_again_and_a_closed_incident_goes(one: Desk) -> None:
    board = Board(one.store, one.log)
    read: list[list[int]] = []
    original = board._read
    board._read = lambda ids: (read.append(ids), original(ids))[1]  # type: ignore[method-assign]
    page: list[Any] = []
    from bongsu.receiver import desk as acts

    def close() -> None:
        with one.store.write() as conn:
            acts.close(conn, 1, disposition="dust", note="", by="desk1", now_ms=1, seen_event_id=1, still_standing=True)

    _run(
        board,
        lambda: page.append(board.join("k", {}, lambda: None)),
        board.look,
        lambda: one.event(0, 1, kinds.ALARM),
        board.look,
        board.look,
        close,
        board.look,
    )
    assert read == [[1]]
    told = []
    while not page[0].waiting.empty():
        data = page[0].waiting.get_nowait()
        name = data.split(b"event: ")[1].split(b"\n")[0].decode()
        told.append((name, msgspec.json.decode(data.split(b"data: ")[1])))
    assert [name for name, _ in told] == ["snapshot", "state", "change", "change", "change"]
    assert [c["number"] for _, c in told] == [0, 0, 1, 2, 3]
    assert [[i["id"] for i in c["incidents"]] for _, c in told[2:4]] == [[], [1]]
    assert told[-1][1]["gone"] == [1] and board.views == {}


def test_a_page_that_takes_nothing_is_let_go_and_holds_bounded_memory(one: Desk) -> None:
    board = Board(one.store, one.log)
    gone: list[int] = []

    def flood() -> None:
        page = board.join("k", {}, lambda: gone.append(1))
        for _ in range(10 * WAITING_MAX):
            board.keep_alive({})
        assert page.waiting.qsize() == WAITING_MAX

    _run(board, flood)
    assert gone


def test_a_store_that_cannot_be_read_is_told(one: Desk) -> None:
    board = Board(one.store, one.log)

    def fail() -> Any:
        raise RuntimeError("no")

    original = board._read_open
    board._read_open = fail  # type: ignore[method-assign]
    faults: list[Any] = []
    _run(
        board,
        board.look,
        lambda: faults.append(board.fault),
        lambda: setattr(board, "_read_open", original),
        board.look,
        lambda: faults.append(board.fault),
    )
    assert faults[0]["name"] == "store" and faults[1] is None


# ---- settings


def test_off_loopback_the_console_needs_tls(tmp_path: Path) -> None:
    file = tmp_path / "receiver.toml"
    file.write_text('[console]\nhost = "0.0.0.0"\ntls = false\n')
    with pytest.raises(ConfigError, match="tls"):
        load(file)
    file.write_text('[console]\nhost = "0.0.0.0"\n')
    assert load(file).console.uses_tls
    assert not Config().console.uses_tls
    file.write_text('[console]\ncert_file = "x"\n')
    with pytest.raises(ConfigError, match="belong together"):
        load(file)
