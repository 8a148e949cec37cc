"""Backup and restore: nothing is lost on the way, nothing that is damaged is taken, nothing half-made is left."""

import os
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import insert, select, text, update

from bongsu.receiver import audit, backup, restore, sealed_file, settle
from bongsu.receiver.backup import BackupError, make_backup
from bongsu.receiver.backup_reading import check_backup
from bongsu.receiver.config import load
from bongsu.receiver.identity import identity
from bongsu.receiver.incidents import AS_OF_BACKUP
from bongsu.receiver.keys import MASTER_KEY_NAME, KeyFault, MasterKey, load_master, usable_keys
from bongsu.receiver.restore import RestoreError, Target, restore_backup
from bongsu.receiver.sealed_file import Passphrase, PrivateKey, Recipient, SealedFileError
from bongsu.receiver.store import Store, open_store, schema
from bongsu_wire import kinds
from tests.receiver_parts import Desk, Market, desk

WORDS = Passphrase("six words nobody will ever guess")


@pytest.fixture(autouse=True)
def cheap_passphrases(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sealed_file, "SCRYPT_N", 2**12)


def _rows(store: Store) -> dict[str, list[tuple[Any, ...]]]:
    with store.read() as conn:
        return {t.name: sorted((tuple(r) for r in conn.execute(select(t))), key=repr) for t in backup.copied_tables()}


def _busy(room: Desk) -> None:
    """Something in most tables: an alarm in progress, one that is closed, a fault, refused and late things."""
    room.event(0, 1)
    room.end_all()
    room.event(0, 2, kinds.RESTORE)
    room.event(1, 1, kinds.ALARM, kinds.SMOKE)
    room.event(1, 2, kinds.FAULT, 0, detail=1)
    node = room.nodes[0]
    room.arrive((node.id, node.event(1)[:-1] + b"x"))
    room.pass_time(2000)


def _make(room: Desk, out: Path, locks: list[Any] | None = None, **more: Any) -> backup.Summary:
    with_key = more.pop("with_master_key", False)
    master = load_master(room.data / MASTER_KEY_NAME)
    return make_backup(room.store, room.data, master, out, locks or [WORDS], with_master_key=with_key, version="0",
                       now_ms=room.clock.now_ms(), **more)  # fmt: skip


def _target(folder: Path, engine: str, server: Any, **more: Any) -> Target:
    url = "sqlite" if engine == "sqlite" else server.create(migrated=False)
    return Target(folder, url, **more)


def _restore(source: Path, target: Target, room: Desk, **more: Any) -> restore.Restored:
    raw = more.pop("master_raw", (room.data / MASTER_KEY_NAME).read_bytes())
    now_ms = more.pop("now_ms", room.clock.now_ms() + 60_000)
    return restore_backup(source, WORDS, target, master_raw=raw, actor="test", now_ms=now_ms, **more)


SETTLED = ("receiver", "audit", "meta", "change", "console_session", "incident", "delivery", "command")


@pytest.mark.parametrize("engine", ["sqlite", "postgresql"])
def test_every_row_comes_back_on_either_engine(tmp_path: Path, engine: str, postgres: Any) -> None:
    with desk(tmp_path, units=3) as room:
        _busy(room)
        summary = _make(room, tmp_path / "b")
        before = _rows(room.store)
        _restore(tmp_path / "b", _target(tmp_path / "new", engine, postgres), room)
    assert (tmp_path / "b").stat().st_mode & 0o777 == 0o600
    store = open_store(load(tmp_path / "new" / "receiver.toml").store_url)
    try:
        after = _rows(store)
        with store.read() as conn:
            master = load_master(tmp_path / "new" / MASTER_KEY_NAME)
            assert len(usable_keys(conn, master, 0)) == 3
            receivers = len(conn.execute(select(schema.receiver)).all())
            assert not audit.verify(conn, audit.chain_key(master)).faults
        identity(store, tmp_path / "new", 1)  # as a start does: it is the restored row, and no further one
        with store.read() as conn:
            assert len(conn.execute(select(schema.receiver)).all()) == receivers
    finally:
        store.close()
    assert store.is_sqlite == (engine == "sqlite")
    assert {n: rows for n, rows in after.items() if n not in SETTLED} == {
        n: rows for n, rows in before.items() if n not in SETTLED
    }
    assert summary.tables["event"] == len(before["event"]) == 4
    assert len(after["incident"]) == len(before["incident"]) + 1  # the fault that tells of the restore
    assert len(after["delivery"]) == len(before["delivery"])
    assert {p.name for p in (tmp_path / "new" / "ca").iterdir()} == {"ca.key", "ca.crt", "server.key", "server.crt"}


@pytest.mark.parametrize("engine", ["sqlite", "postgresql"])
def test_numbers_once_given_are_not_given_again(tmp_path: Path, engine: str, postgres: Any) -> None:
    with desk(tmp_path) as room:
        room.event(0, 1)
        with room.store.write() as conn:
            conn.execute(insert(schema.exercise).values(id=41, site_id="hannae", begun_by="x", begins_ms=0, ends_ms=1))
            conn.execute(schema.exercise.delete())
            if not room.store.is_sqlite:
                conn.execute(text("SELECT setval(pg_get_serial_sequence('exercise', 'id'), 41)"))
        _make(room, tmp_path / "b")
        _restore(tmp_path / "b", _target(tmp_path / "new", engine, postgres), room)
    store = open_store(load(tmp_path / "new" / "receiver.toml").store_url)
    try:
        with store.write() as conn:
            values = {"site_id": "hannae", "begun_by": "x", "begins_ms": 0, "ends_ms": 1}
            made = conn.execute(insert(schema.exercise).values(values).returning(schema.exercise.c.id)).scalar_one()
    finally:
        store.close()
    assert made == 42


def test_boards_of_ones_own_come_back(tmp_path: Path) -> None:
    """Nodes that were made for such a board can be provisioned again."""
    with desk(tmp_path, units=1) as room:
        (room.data / "boards" / "chips").mkdir(parents=True)
        for name in ("mine.toml", "chips/esp32x.toml"):
            (room.data / "boards" / name).write_text(name)
        _make(room, tmp_path / "b")
        _restore(tmp_path / "b", Target(tmp_path / "new", "sqlite"), room)
    for name in ("mine.toml", "chips/esp32x.toml"):
        assert (tmp_path / "new" / "boards" / name).read_text() == name


def test_the_restored_receiver_has_a_fresh_sender_and_the_past_is_settled(tmp_path: Path) -> None:
    with desk(tmp_path, units=2) as room:
        room.event(0, 1)
        with room.store.read() as conn:
            old = conn.execute(select(schema.receiver.c.sender)).scalar_one()
            client = conn.execute(select(schema.receiver.c.mqtt_client_id)).scalar_one()
        _make(room, tmp_path / "b")
        done = _restore(tmp_path / "b", Target(tmp_path / "young", "sqlite"), room)
        late_ms = room.clock.now_ms() + settle.RESEND_WITHIN_MS + 1000
        late = _restore(tmp_path / "b", Target(tmp_path / "old", "sqlite"), room, now_ms=late_ms)
        made_ms = room.clock.now_ms()
    assert done.settled.retired == [old] and done.sender != old
    assert (done.settled.resent, done.settled.held) == (2, [])
    assert late.settled.resent == 0 and len(late.settled.held) == 2 and late.settled.held_incidents == [1]
    store = open_store(load(tmp_path / "old" / "receiver.toml").store_url)
    try:
        with store.read() as conn:
            receivers = {r.sender: r for r in conn.execute(select(schema.receiver))}
            assert receivers[old].retired_ms == late_ms and receivers[late.sender].retired_ms is None
            assert receivers[late.sender].mqtt_client_id != client
            states = conn.execute(select(schema.delivery.c.state, schema.delivery.c.last_error)).all()
            assert {tuple(s) for s in states} == {("failed", settle.HELD_ERROR)}
            fault = conn.execute(select(schema.incident).where(schema.incident.c.id == late.settled.fault)).one()
            assert fault.snapshot["active"] == {"restore": ["restored_from_backup", "messages_held"]}
            alarm = conn.execute(select(schema.incident).where(schema.incident.c.id == 1)).one()
            assert alarm.state == "open" and alarm.snapshot[AS_OF_BACKUP] == made_ms
    finally:
        store.close()


def test_the_next_alarm_of_an_open_incident_is_told_again(tmp_path: Path) -> None:
    """It may have been closed after the backup: then this is another fire."""
    with desk(tmp_path) as room:
        room.event(0, 1)
        room.end_all()
        _make(room, tmp_path / "b")
        _restore(tmp_path / "b", Target(tmp_path / "new", "sqlite"), room)
        nodes = room.nodes
    again = Desk(Market(tmp_path / "new", []))
    try:
        assert again.jobs == []  # what was delivered stays delivered
        again.nodes = nodes
        again.event(0, 1)  # a repeat: known
        assert len(again.rows(schema.event)) == 1 and again.jobs == []
        again.event(0, 2)
        assert {d.round for d in again.rows(schema.delivery)} == {1, 2}
        assert len(again.jobs) == 2
        again.event(0, 3)
        assert len(again.jobs) == 2  # and then not once more
    finally:
        again.close()


# ---- what is refused


def _damaged(data: bytes, at: int) -> bytes:
    return data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :]


def test_every_changed_or_missing_byte_is_found(tmp_path: Path) -> None:
    with desk(tmp_path) as room:
        _make(room, tmp_path / "b", with_master_key=True)
    whole = (tmp_path / "b").read_bytes()
    bad = tmp_path / "bad"
    places = [*range(0, 40), *range(40, len(whole), 97), len(whole) - 1]
    for data in (
        *(_damaged(whole, at) for at in places),
        *(whole[:n] for n in range(0, len(whole), 211)),
        whole + b"x",
    ):
        bad.write_bytes(data)
        with pytest.raises(SealedFileError):
            check_backup(bad, WORDS)
    assert check_backup(tmp_path / "b", WORDS).summary.with_master_key


def test_chunks_in_another_order_are_refused(tmp_path: Path) -> None:
    with (tmp_path / "f").open("wb") as file:
        writer = sealed_file.SealedWriter(file, [WORDS], {})
        writer.write(os.urandom(5 * sealed_file.CHUNK))
        writer.close()
    data = (tmp_path / "f").read_bytes()
    part = sealed_file.CHUNK + 16
    start = len(data) - 5 * part
    swapped = (
        data[:start] + data[start + part : start + 2 * part] + data[start : start + part] + data[start + 2 * part :]
    )
    for wrong in (swapped, data[: start + 3 * part], data[:start] + data[start + part :]):
        (tmp_path / "f").write_bytes(wrong)
        with (tmp_path / "f").open("rb") as file, pytest.raises(SealedFileError):
            reader = sealed_file.SealedReader(file, WORDS)
            while reader.read():
                pass


def test_only_the_right_passphrase_or_key_opens(tmp_path: Path) -> None:
    key, other = PrivateKey(os.urandom(32)), PrivateKey(os.urandom(32))
    with desk(tmp_path) as room:
        _make(room, tmp_path / "b", [WORDS, Recipient(key.public)])
    for opener in (WORDS, key):
        check_backup(tmp_path / "b", opener)
    for wrong in (Passphrase("six words nobody will ever guess!"), other):
        with pytest.raises(SealedFileError):
            check_backup(tmp_path / "b", wrong)
    content = (tmp_path / "b").read_bytes()
    # Long enough that chance does not put them into a sealed file: three bytes it does, once in a while.
    assert b"1234-5678" not in content and b"+821012345678" not in content and "한내시장".encode() not in content
    assert "six words" not in repr(WORDS) and key.raw.hex() not in repr(key)


def test_a_stranger_with_the_public_key_cannot_make_one(tmp_path: Path) -> None:
    key = PrivateKey(os.urandom(32))
    with desk(tmp_path) as room:
        forger = MasterKey(os.urandom(32))
        make_backup(room.store, room.data, forger, tmp_path / "b", [Recipient(key.public)], with_master_key=False,
                    version="0", now_ms=1)  # fmt: skip
        with pytest.raises(BackupError, match="master key"):
            check_backup(tmp_path / "b", key, load_master(room.data / MASTER_KEY_NAME))


def test_nothing_is_overwritten_and_nothing_written_before_it_is_checked(tmp_path: Path) -> None:
    with desk(tmp_path) as room:
        _make(room, tmp_path / "b")
        with pytest.raises(BackupError, match="there already"):
            _make(room, tmp_path / "b")
        used = tmp_path / "used"
        used.mkdir()
        (used / "mine.txt").write_text("mine")
        with pytest.raises(RestoreError, match="not empty"):
            _restore(tmp_path / "b", Target(used, "sqlite"), room)
        for raw, error in ((None, RestoreError), (os.urandom(32), BackupError), (b"short", KeyFault)):
            with pytest.raises(error):
                _restore(tmp_path / "b", Target(tmp_path / "new", "sqlite"), room, master_raw=raw)
        (tmp_path / "bad").write_bytes((tmp_path / "b").read_bytes()[:-1])
        with pytest.raises(SealedFileError):
            _restore(tmp_path / "bad", Target(tmp_path / "new", "sqlite"), room)
        assert not (tmp_path / "new").exists()
        done = _restore(tmp_path / "b", Target(used, "sqlite", force=True), room)
    assert done.kept is not None and (done.kept / "mine.txt").read_text() == "mine"
    assert (used / "receiver.toml").exists()
    assert not [p for p in tmp_path.iterdir() if p.name.startswith(".")]


def test_a_full_disk_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with desk(tmp_path) as room:
        _make(room, tmp_path / "b")

        def full(fd: int) -> None:
            raise OSError(28, "No space left on device")

        monkeypatch.setattr(os, "fsync", full)
        before = sorted(tmp_path.iterdir())
        with pytest.raises(BackupError, match="No space left"):
            _make(room, tmp_path / "c")
        with pytest.raises(RestoreError, match="No space left"):
            _restore(tmp_path / "b", Target(tmp_path / "new", "sqlite"), room)
    assert sorted(tmp_path.iterdir()) == before


def test_a_backup_is_of_one_moment_and_holds_up_no_writer(tmp_path: Path) -> None:
    """Alarms are committed while it reads: it holds none of them, and they do not wait for it."""
    with desk(tmp_path, units=4) as room:
        room.event(0, 1)
        seen: list[str] = []

        def meanwhile(table: str, _count: int) -> None:
            if len(seen) < 3:
                seen.append(table)
                room.event(len(seen), 1)  # in the same thread: a backup in the way would never let it go on

        summary = _make(room, tmp_path / "b", progress=meanwhile)
        assert len(room.rows(schema.event)) == 4 and len(room.rows(schema.incident)) == 4
        assert (summary.tables["event"], summary.tables["incident"]) == (1, 1)
        checked = check_backup(tmp_path / "b", WORDS)
    assert checked.summary.tables == summary.tables


def test_a_database_in_use_is_refused(tmp_path: Path, postgres: Any) -> None:
    with desk(tmp_path) as room:
        _make(room, tmp_path / "b")
        url = postgres.create(migrated=False)
        _restore(tmp_path / "b", Target(tmp_path / "one", url), room)
        with pytest.raises(RestoreError, match="not empty"):
            _restore(tmp_path / "b", Target(tmp_path / "two", url), room)
        store = open_store(url)
        try:
            now_ms = room.clock.now_ms()
            with store.write() as conn:
                conn.execute(update(schema.receiver).values(last_seen_ms=now_ms))
            with pytest.raises(RestoreError, match="receivers run"):
                _restore(tmp_path / "b", Target(tmp_path / "two", url, force=True), room, now_ms=now_ms + 1000)
            assert not (tmp_path / "two").exists()
            _restore(tmp_path / "b", Target(tmp_path / "two", url, force=True), room, now_ms=now_ms + 100_000)
        finally:
            store.close()


@pytest.mark.parametrize(
    "toml",
    [
        "store = { url = 'postgresql://x/y' }\n",
        "[store]\nurl = 'postgresql://x/y'\n",
        "store.url = 'postgresql://x/y'\n",
    ],
)
def test_however_the_settings_are_written_no_store_is_chosen_silently(tmp_path: Path, toml: str) -> None:
    with pytest.raises(restore.RestoreError, match="no database is named"):
        restore._settings(toml.encode(), Target(tmp_path))
    for other in (
        b"[ store ]\nurl = 'sqlite:///a'\n",
        b"[broker]\nport = 1\n",
        b"[store]\nurl = 'sqlite:///a'\n[sms]\n",
    ):
        try:
            made = restore._settings(other, Target(tmp_path))
        except restore.RestoreError:
            continue  # refused, before anything is written
        assert "bongsu.db" in made
