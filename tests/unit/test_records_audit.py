"""The audit: every command that changes something leaves its row, and a row that another hand touches shows."""

import importlib
import json
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import click
import pytest
from sqlalchemy import delete, insert, select, text, update

from bongsu.cli.main import COMMANDS
from bongsu.receiver import audit, audit_seen
from bongsu.receiver.keys import MasterKey
from bongsu.receiver.store import Store, schema
from tests.receiver_parts import desk
from tests.registry_parts import NODE, bongsu, fill, new_store, open_incident

KEY = audit.chain_key(MasterKey(bytes(32)))

# Every command there is: those that only read or make files elsewhere, ...
READS = {
    "init", "site list", "site show", "unit list", "unit show", "contact list", "node list", "node show",
    "responder list", "responder show", "duty list", "duty now", "receiver list", "receiver unit", "broker config",
    "incident list", "incident show", "incident export", "operator list", "exercise list", "audit list", "audit verify",
    "audit export", "backup verify", "backup keygen", "retention show", "doctor", "export", "demo", "sim",
    "board list", "board show", "board check", "board new",
    "air now", "air advisories", "air export", "air levels", "detect replay", "detect plot",
    "device flash", "device label", "device list", "device show", "device logs", "device console", "completion",
    "device record",
}  # fmt: skip
# ... those that wait for a receiver, or make another installation (tested elsewhere), ...
ELSEWHERE = {
    "device commission",
    "device provision",
    "receiver run",
    "restore",
    "node order",
    "node set",
    "device identify",
    "device rotate-key",
    "receiver retire",
    "exercise answer",
    "incident verify",
}
# ... and those that write, in an order in which they work ({...}: paths of the test).
WRITES = (
    "site add hannae --name 한내시장",
    "site edit hannae --name 한내",
    "air table hannae who --advise-at very_bad",
    "unit add hannae/a-07 --name Rice",
    "unit add hannae/a-08 --name Fish",
    "unit edit hannae/a-07 --name Cakes",
    "unit bulk --site hannae --set floor=2",
    "contact add c-1 --name N --phone 010-1234-5678",
    "contact add c-2 --name M --phone 010-1234-5679",
    "contact add c-3 --name O --phone 010-1234-5670",
    "contact assign c-1 hannae/a-07",
    "contact edit c-1 --name P",
    "contact show c-1 --unmask",
    "contact merge c-2 c-1",
    "contact unassign c-1 hannae/a-07 --force",
    "contact remove c-3",
    "duty add night --contact c-1",
    "duty remove night",
    "contact erase c-1",
    "responder add fire-119 --kind station --name Station --url http://127.0.0.1:9/",
    "responder edit fire-119 --name S",
    "responder remove fire-119 --force",
    "node add a0b1c2d3e4f5 --unit hannae/a-07",
    "node add a0b1c2d3e4f6",
    "node edit a0b1c2d3e4f5 --label ceiling",
    "node assign a0b1c2d3e4f5 hannae/a-08",
    "node move a0b1c2d3e4f5 hannae/a-07",
    "node unassign a0b1c2d3e4f5",
    "node provision a0b1c2d3e4f5 --out {tmp}/bundle --broker-ip 127.0.0.1",
    "device set a0b1c2d3e4f6 --unit hannae/a-08 --label door",
    "device replace a0b1c2d3e4f5 a0b1c2d3e4f8",
    "device retire a0b1c2d3e4f8 --yes",
    "node add a0b1c2d3e4f9",
    "node retire a0b1c2d3e4f9",
    "node remove a0b1c2d3e4f6",
    "unit merge hannae/a-08 hannae/a-07",
    "unit remove hannae/a-07",
    "import {tmp}/shops.csv --site hannae",
    "node bulk {tmp}/moves.csv",
    "operator add ann --password-file {tmp}/words",
    "operator password ann --password-file {tmp}/words",
    "operator edit ann --role viewer",
    "operator disable ann",
    "operator enable ann",
    "exercise start hannae --units b-01 --minutes 10",
    "exercise end 1",
    "incident ack 1 --seen 0",
    "incident close 1 --seen 0 --still-standing --disposition fire",
    "backup --out {tmp}/b --passphrase-file {tmp}/words",
    "retention run",
    "site add other --name Other",
    "site remove other",
)


def _leaves(command: click.Command, name: str) -> Iterator[str]:
    if isinstance(command, click.Group) and name != "sim":
        if command.invoke_without_command:
            yield name
        context = click.Context(command)  # a group of the lazy kind knows its commands by its functions only
        for word in command.list_commands(context):
            one = command.get_command(context, word)
            assert one is not None
            yield from _leaves(one, f"{name} {word}")
    else:
        yield name


def _commands() -> set[str]:
    return {
        leaf
        for name, (module, attribute, _) in COMMANDS.items()
        for leaf in _leaves(getattr(importlib.import_module(module), attribute), name)
    }


def test_every_command_is_known_here() -> None:
    """A new command is put where it belongs, so that none writes without a trace."""
    writes = {
        next(c for c in _commands() if f"{line} ".startswith(f"{c} ") and _is_longest(c, line)) for line in WRITES
    }
    writes.add("contact show")  # with --unmask
    assert _commands() == READS & _commands() | ELSEWHERE | writes


def _is_longest(command: str, line: str) -> bool:
    return max((c for c in _commands() if f"{line} ".startswith(f"{c} ")), key=len) == command


def _count(data: Path) -> int:
    conn = sqlite3.connect(data / "bongsu.db")
    (count,) = conn.execute("SELECT count(*) FROM audit").fetchone()
    conn.close()
    return int(count)


def test_every_command_that_writes_leaves_a_row(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = tmp_path / "m"
    monkeypatch.setenv("BONGSU_DATA", str(data))
    (tmp_path / "words").write_text("six words nobody will guess\n")
    (tmp_path / "words").chmod(0o600)
    (tmp_path / "shops.csv").write_text(
        "unit,name,place,owner,owner_phone,node\nb-01,B,1,O,010-1234-5670,a0b1c2d3e4f7\nb-02,C,1,O,010-1234-5670,\n"
    )
    (tmp_path / "moves.csv").write_text("node,unit\na0b1c2d3e4f7,hannae/b-02\n")
    assert bongsu("init").code == 0
    for line in WRITES:
        if line == "incident ack 1 --seen 0":
            _an_incident(data)
        before = _count(data)
        ran = bongsu(*(word.replace("{tmp}", str(tmp_path)) for word in line.split()))
        assert ran.code == 0, f"{line}: {ran.err}"
        assert _count(data) > before, line
    verdict = json.loads(bongsu("audit", "verify", "--json").out)
    assert verdict["whole"] and verdict["not_sealed_yet"] == 0
    listed = bongsu("audit", "list", "--json", "--limit", "1000").out
    rows = json.loads(listed)
    assert all(row["actor"] and row["action"] for row in rows)
    assert "1234" not in json.dumps([row["detail"] for row in rows])
    actions = {row["action"] for row in rows}
    assert {"phone.unmasked", "contact.erase", "incident.ack", "incident.close", "backup"} <= actions
    out = tmp_path / "audit.csv"
    assert bongsu("audit", "export", "--out", out, "--since", "1d").code == 0
    assert len(out.read_text(encoding="utf-8-sig").splitlines()) == len(rows) + 1
    assert out.stat().st_mode & 0o777 == 0o600


def _an_incident(data: Path) -> None:
    from bongsu.receiver.store import open_store

    store = open_store(f"sqlite:///{data / 'bongsu.db'}")
    open_incident(store, subject="unit:hannae/b-01", last_event=None)
    store.close()


# ---- the chain


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with new_store(tmp_path) as made:
        fill(made)
        with made.write() as conn:
            for i in range(20):
                audit.write(conn, actor="x", action="test", subject=f"node:{NODE}", detail=f"{i}", now_ms=i)
            assert audit.seal(conn, KEY) == 20
        yield made


def _faults(store: Store) -> list[str]:
    with store.read() as conn:
        return audit.verify(conn, KEY).faults


@pytest.mark.parametrize(
    "deed",
    [
        update(schema.audit).where(schema.audit.c.id == 7).values(detail="other"),
        update(schema.audit).where(schema.audit.c.id == 7).values(actor="y"),
        update(schema.audit).where(schema.audit.c.id == 20).values(at_ms=99),
        update(schema.audit).where(schema.audit.c.id == 7).values(chain=None),
        delete(schema.audit).where(schema.audit.c.id == 1),
        delete(schema.audit).where(schema.audit.c.id == 7),
        delete(schema.audit).where(schema.audit.c.id == 20),
        delete(schema.audit).where(schema.audit.c.id > 5),
        delete(schema.meta).where(schema.meta.c.key == audit.HEAD),
        update(schema.meta).where(schema.meta.c.key == audit.HEAD).values(value='{"id":3,"chain":"00","mac":"00"}'),
        insert(schema.audit).values(id=0, at_ms=1, actor="x", action="y", subject="", detail=""),
        text("UPDATE audit SET id = 100 WHERE id = 7"),
    ],
)
def test_what_another_hand_did_shows(store: Store, deed: object) -> None:
    assert not _faults(store)
    with store.write() as conn:
        conn.execute(deed)  # type: ignore[call-overload]
    assert _faults(store)
    with store.write() as conn:
        audit.write(conn, actor="x", action="later", subject="", detail="", now_ms=99)
        audit.seal(conn, KEY)
    assert _faults(store)  # nor does going on cover it up


def test_another_key_does_not_do(store: Store) -> None:
    other = audit.chain_key(MasterKey(bytes(31) + b"x"))
    with store.read() as conn:
        assert audit.verify(conn, other).faults
    with store.write() as conn:
        audit.write(conn, actor="x", action="later", subject="", detail="", now_ms=99)
        assert audit.seal(conn, other) == 0


def test_rows_that_are_not_sealed_yet_are_no_fault(store: Store) -> None:
    with store.write() as conn:
        audit.write(conn, actor="x", action="new", subject="", detail="", now_ms=99)
    with store.read() as conn:
        verdict = audit.verify(conn, KEY)
    assert (verdict.unsealed, verdict.faults) == (1, [])
    with store.write() as conn:
        assert audit.seal(conn, KEY) == 1
    assert not _faults(store)


def test_what_is_erased_on_purpose_is_sealed_anew(store: Store) -> None:
    with store.write() as conn:
        audit.rewrite(conn, KEY, {5: {"detail": "erased"}, 9: {"detail": "erased"}})
    assert not _faults(store)
    with store.read() as conn:
        details = list(conn.execute(select(schema.audit.c.detail).order_by(schema.audit.c.id)).scalars())
    assert details[4] == details[8] == "erased" and details[5] == "5"


# ---- the head, kept outside of the database


def _broken_in(data: Path, *deeds: str) -> None:
    conn = sqlite3.connect(data / "bongsu.db")
    for deed in deeds:
        conn.execute(deed)
    conn.commit()
    conn.close()


NO_HEAD = (
    "UPDATE audit SET actor = 'somebody else' WHERE id = 1",
    "UPDATE audit SET chain = NULL",
    "DELETE FROM meta WHERE key IN ('audit_head', 'audit_anchor')",
)


@pytest.mark.sqlite
@pytest.mark.parametrize("sealed", [0, 2])
def test_without_its_head_a_chain_is_not_begun_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, sealed: int
) -> None:
    data = tmp_path / "m"
    monkeypatch.setenv("BONGSU_DATA", str(data))
    assert bongsu("init").code == 0
    for i in range(sealed):
        assert bongsu("site", "add", f"s-{i}", "--name", "S").code == 0
    assert bongsu("audit", "verify").code == 0
    _broken_in(data, *NO_HEAD)
    assert bongsu("audit", "verify").code == 1
    ran = bongsu("site", "add", "later", "--name", "S")
    assert ran.code == 0 and "not sealed" in ran.err
    verdict = json.loads(bongsu("audit", "verify", "--json").out)
    assert "taken away" in verdict["faults"][0]
    conn = sqlite3.connect(data / "bongsu.db")
    assert conn.execute("SELECT count(*) FROM audit WHERE chain IS NOT NULL").fetchone() == (0,)
    conn.close()
    found = json.loads(bongsu("doctor", "--json").out)
    found = found if isinstance(found, list) else found["findings"]
    assert [one["level"] for one in found if one["check"] == "audit"] == ["fail"]


@pytest.mark.sqlite
def test_a_chain_that_was_put_back_shows_and_a_restore_puts_it_back_knowingly(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = tmp_path / "m"
    monkeypatch.setenv("BONGSU_DATA", str(data))
    assert bongsu("init").code == 0
    assert bongsu("site", "add", "s-1", "--name", "S").code == 0
    (tmp_path / "words").write_text("six words nobody will guess\n")
    (tmp_path / "words").chmod(0o600)
    made = bongsu("backup", "--out", tmp_path / "b", "--passphrase-file", tmp_path / "words", "--with-master-key")
    assert made.code == 0
    old = sqlite3.connect(data / "bongsu.db")
    (head,) = old.execute("SELECT value FROM meta WHERE key = 'audit_head'").fetchone()
    (last,) = old.execute("SELECT max(id) FROM audit").fetchone()
    old.close()
    for i in (2, 3):
        assert bongsu("site", "add", f"s-{i}", "--name", "S").code == 0
    assert (data / "audit.head").stat().st_mode & 0o777 == 0o600
    _broken_in(
        data, f"DELETE FROM audit WHERE id > {last}", f"UPDATE meta SET value = '{head}' WHERE key = 'audit_head'"
    )
    assert bongsu("audit", "verify").code == 1
    assert bongsu("site", "add", "s-4", "--name", "S").code == 0
    assert "older state" in bongsu("audit", "verify").out
    restored = tmp_path / "r"
    ran = bongsu("restore", tmp_path / "b", "--data", restored, "--passphrase-file", tmp_path / "words")
    assert ran.code == 0, ran.err
    monkeypatch.setenv("BONGSU_DATA", str(restored))
    assert bongsu("audit", "verify").code == 0


def test_the_receiver_raises_a_fault_of_its_own_and_seals_nothing(tmp_path: Path) -> None:
    with desk(tmp_path) as room:
        room.pass_time(6_000)
        key = room.writer.books.audit_key
        with room.store.write() as conn:
            audit.write(conn, actor="x", action="y", subject="", detail="", now_ms=1)
        room.pass_time(6_000)
        room.pass_time(6_000)
        assert (audit_seen.read(room.data) or 0) > 0
        with room.store.write() as conn:
            conn.execute(delete(schema.meta).where(schema.meta.c.key == audit.HEAD))
            conn.execute(update(schema.audit).values(chain=None))
        room.pass_time(6_000)
        room.pass_time(6_000)
        standing = [r for r in room.rows(schema.incident) if r.subject.startswith("receiver:")]
        assert [r.snapshot["active"].get("audit") for r in standing] == [["audit_broken"]]
        assert not [r for r in room.rows(schema.audit) if r.chain is not None]
        with room.store.read() as conn:
            assert audit.verify(conn, key, room.data).faults
