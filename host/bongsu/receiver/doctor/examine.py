"""All checks in their order: from what nothing works without, outward."""

from pathlib import Path
from typing import Any

from sqlalchemy import select

from bongsu.errors import BongsuError
from bongsu.receiver import audit
from bongsu.receiver.config import CONFIG_NAME, Config, load
from bongsu.receiver.doctor import credentials, machine, network, registry, running
from bongsu.receiver.doctor.finding import FAIL, OK, Finding, Findings, safely
from bongsu.receiver.keys import MASTER_KEY_NAME, load_master
from bongsu.receiver.store import Store, open_store, require_database, schema


def examine(folder: Path, now_ms: int, *, offline: bool = False) -> Findings:
    """The findings on the installation in this data folder, as they are made. `now_ms`: UTC; offline: nothing beyond
    this machine is connected to.
    """
    if not folder.is_dir():
        yield Finding(
            FAIL, "data folder", f"there is no folder {folder}", "Name it by --data, or make it: bongsu init --data DIR"
        )
        return
    try:
        config = load(folder / CONFIG_NAME)
    except BongsuError as err:
        yield Finding(FAIL, "settings", err.message, err.next_step)
        return
    yield Finding(OK, "settings", f"{CONFIG_NAME} is valid")
    yield from safely("data folder", lambda: machine.rights(config))
    yield from safely("master key", lambda: machine.master_key(config))
    yield from safely("disk", lambda: machine.disks(config))
    yield from safely("certificates", lambda: machine.certificates(config, now_ms))
    yield from safely("clock", machine.clock)
    yield from running.other_user(folder)
    state, told = running.ask(folder)
    yield from told
    yield from safely("credentials", lambda: credentials.files(config))
    try:
        require_database(config.store_url)
        store = open_store(config.store_url, migrate=False)
    except BongsuError as err:
        yield Finding(FAIL, "store", err.message, err.next_step)
        return
    try:
        yield from _with_store(config, store, state, now_ms, offline)
    finally:
        store.close()


def _with_store(config: Config, store: Store, state: dict[str, Any] | None, now_ms: int, offline: bool) -> Findings:
    yield from safely("store", lambda: registry.whole(store))
    yield from safely("store", lambda: _registry(config, store, now_ms))
    yield from safely("audit", lambda: _audit(config, store))
    yield from safely("responders", lambda: _signing(config, store))
    if config.broker.mode == "embedded" or not offline:
        yield from safely("broker", lambda: _broker(config, store, state))
    if offline:
        yield Finding(OK, "responders", "not asked whether they can be reached (--offline)")
        return

    def peers() -> Findings:
        with store.read() as conn:
            rows = registry.responders(conn)
        yield from network.peers(rows, config, now_ms)

    yield from safely("responders", peers)


def _signing(config: Config, store: Store) -> Findings:
    master = load_master(config.data_dir / MASTER_KEY_NAME)
    with store.read() as conn:
        yield from credentials.signing(conn, master)


def _registry(config: Config, store: Store, now_ms: int) -> Findings:
    with store.read() as conn:
        yield from registry.backup(conn, now_ms)
        yield from registry.clock(conn, now_ms)
        yield from machine.time_zones(registry.zones(conn))
        yield from registry.nodes(conn)
        yield from registry.keys(conn, now_ms)
        yield from registry.people(conn, config.sms is not None)
        yield from registry.coverage(conn)
        yield from registry.accepted(conn, now_ms)
        yield from registry.deliveries(conn, now_ms)
        yield from registry.refused(conn, now_ms)


def _audit(config: Config, store: Store) -> Findings:
    key = audit.chain_key(load_master(config.data_dir / MASTER_KEY_NAME))
    with store.read() as conn:
        found = audit.verify(conn, key, config.data_dir)
    if found.faults:
        yield Finding(FAIL, "audit", found.faults[0], "Keep a copy of the database, and see: bongsu audit verify")
    else:
        yield Finding(OK, "audit", f"{found.rows} rows, whole")


def _broker(config: Config, store: Store, state: dict[str, Any] | None) -> Findings:
    if config.broker.mode == "embedded":
        yield from network.embedded_broker(config, running=state is not None)
        return
    with store.read() as conn:
        table = schema.receiver.c
        query = select(table.sender).where(table.retired_ms.is_(None)).order_by(table.created_ms.desc())
        sender = state["sender"] if state is not None else conn.execute(query).scalar()
    if sender is None:
        yield Finding(FAIL, "broker", "the store names no receiver", "Start the receiver once.")
        return
    yield from network.external_broker(config, load_master(config.data_dir / MASTER_KEY_NAME), int(sender))
