"""Node keys: epochs, their life, and the wrapping under the master key."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import select, update

from bongsu.receiver import keys, registry
from bongsu.receiver.store import Store, schema
from tests.registry_parts import NODE, NOW_MS, fill, new_store

MASTER = keys.MasterKey(bytes(range(32)))
DAY_MS = 24 * 3600 * 1000


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with new_store(tmp_path) as made:
        fill(made)
        yield made


def _make(store: Store, count: int) -> list[keys.NodeKey]:
    with store.write() as conn:
        return [keys.make_node_key(conn, MASTER, NODE, NOW_MS) for _ in range(count)]


def _states(store: Store, now_ms: int = NOW_MS) -> dict[int, str]:
    with store.read() as conn:
        return {k.epoch: k.state for k in keys.usable_keys(conn, MASTER, now_ms)}


def _activate(store: Store, epoch: int, now_ms: int = NOW_MS) -> bool:
    with store.write() as conn:
        return keys.activate(conn, NODE, epoch, now_ms)


def test_epochs_count_up_and_keys_differ(store: Store) -> None:
    made = _make(store, 3)
    assert [k.epoch for k in made] == [1, 2, 3]
    assert len({k.key for k in made}) == 3 and all(len(k.key) == 16 for k in made)


def test_stored_keys_open_again(store: Store) -> None:
    made = _make(store, 2)
    with store.read() as conn:
        assert {k.epoch: k.key for k in keys.usable_keys(conn, MASTER, NOW_MS, NODE)} == {k.epoch: k.key for k in made}


def test_keys_are_not_stored_in_clear(store: Store) -> None:
    made = _make(store, 1)[0]
    with store.read() as conn:
        wrapped = conn.execute(select(schema.node_key.c.wrapped)).scalar_one()
    assert made.key not in wrapped


def test_life_of_a_key(store: Store) -> None:
    _make(store, 1)
    assert _activate(store, 1) and _states(store) == {1: "active"}
    assert not _activate(store, 1)  # every later frame: nothing changes
    _make(store, 1)
    assert _states(store) == {1: "active", 2: "pending"}
    assert _activate(store, 2) and _states(store) == {1: "old", 2: "active"}
    assert _states(store, NOW_MS + DAY_MS - 1) == {1: "old", 2: "active"}
    assert _states(store, NOW_MS + DAY_MS) == {2: "active"}
    assert not _activate(store, 1)  # an old key never becomes active again
    with store.write() as conn:
        assert keys.expire_old(conn, NOW_MS + DAY_MS) == 1
        assert keys.expire_old(conn, NOW_MS + DAY_MS) == 0


def test_of_several_provisionings_the_one_that_speaks_counts(store: Store) -> None:
    _make(store, 3)
    assert _activate(store, 2)
    assert _states(store) == {2: "active", 3: "pending"}  # the earlier one is void, the later one may still come
    assert not _activate(store, 1)
    assert _activate(store, 3) and _states(store) == {2: "old", 3: "active"}


def test_no_epoch_after_255(store: Store) -> None:
    _make(store, 1)
    with store.write() as conn:
        conn.execute(update(schema.node_key).values(epoch=255))
    with pytest.raises(keys.KeyFault, match="all 255 key epochs"):
        _make(store, 1)


def test_retired_node_has_no_keys_and_no_login(store: Store) -> None:
    _make(store, 2)
    _activate(store, 1)
    with store.write() as conn:
        keys.ensure_broker_login(conn, MASTER, NODE, NOW_MS)
        keys.retire_node_keys(conn, NODE)
        assert keys.broker_logins(conn, MASTER) == []
    assert _states(store) == {}
    assert _make(store, 1)[0].epoch == 3  # an epoch is never used twice


def test_login_is_kept_over_provisionings(store: Store) -> None:
    with store.write() as conn:
        first = keys.ensure_broker_login(conn, MASTER, NODE, NOW_MS)
        assert keys.ensure_broker_login(conn, MASTER, NODE, NOW_MS + 1) == first
    assert first.username == f"n-{NODE}" and len(first.client_id) >= 22


def test_nothing_secret_in_reprs(store: Store) -> None:
    key = _make(store, 1)[0]
    with store.write() as conn:
        login = keys.ensure_broker_login(conn, MASTER, NODE, NOW_MS)
    assert repr(key.key) not in repr(key) and key.key.hex() not in repr(key)
    assert login.password not in repr(login) and login.client_id not in repr(login)
    assert repr(MASTER) == "MasterKey(hidden)"


def test_row_moved_to_another_node_does_not_open(store: Store) -> None:
    _make(store, 2)
    with store.write() as conn:
        table = schema.node_key
        second = conn.execute(select(table.c.wrapped).where(table.c.epoch == 2)).scalar_one()
        conn.execute(update(table).where(table.c.epoch == 1).values(wrapped=second))
    with pytest.raises(keys.KeyFault, match="does not open"), store.read() as conn:
        keys.usable_keys(conn, MASTER, NOW_MS)


@pytest.mark.parametrize(
    ("data", "mode", "says"),
    [(b"x" * 31, 0o600, "31 bytes"), (b"x" * 32, 0o644, "other users"), (None, 0, "cannot read")],
)
def test_master_key_file(tmp_path: Path, data: bytes | None, mode: int, says: str) -> None:
    path = tmp_path / "master.key"
    if data is not None:
        path.write_bytes(data)
        path.chmod(mode)
    with pytest.raises(keys.KeyFault, match=says):
        keys.load_master(path)


def test_one_damaged_broker_login_keeps_no_other_out(store: Store) -> None:
    other = "a0b1c2d3e4f0"
    with store.write() as conn:
        registry.add_node(conn, node_id=other, unit=None, label="", now_ms=NOW_MS)
        for node in (NODE, other):
            keys.ensure_broker_login(conn, MASTER, node, NOW_MS)
        bad = schema.node_broker.c.node_id == NODE
        conn.execute(update(schema.node_broker).where(bad).values(password_wrapped=b"damaged"))
        assert [login.node_id for login in keys.broker_logins(conn, MASTER)] == [other]
        with pytest.raises(keys.KeyFault):
            keys.broker_logins(conn, MASTER, NODE)
