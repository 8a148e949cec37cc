"""Shared by the store, registry and command tests: a store with one market in it, and the command itself."""

import io
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from unittest.mock import patch

from sqlalchemy import insert

from bongsu.cli.errors import run
from bongsu.cli.main import cli
from bongsu.receiver import registry
from bongsu.receiver.store import Store, open_store, schema
from tests import postgres_parts

NOW_MS = 1_772_000_000_000
NODE = "a0b1c2d3e4f5"


@dataclass(frozen=True)
class Ran:
    """What a command printed, and its exit code."""

    code: int
    out: str
    err: str


def bongsu(*args: object) -> Ran:
    """Run the command in this process, through the same error handler as the real one."""
    out, err = io.StringIO(), io.StringIO()
    words = [str(a) for a in args]
    with redirect_stdout(out), redirect_stderr(err):
        code = run(lambda: cli.main(words, prog_name="bongsu", standalone_mode=False))
    return Ran(code, out.getvalue(), err.getvalue())


def bongsu_process(*args: object, **more: object) -> "subprocess.Popen[str]":
    """Start the command as a process of its own."""
    return subprocess.Popen(
        [sys.executable, "-m", "bongsu.cli", *(str(a) for a in args)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        encoding="utf-8",
        **more,  # type: ignore[call-overload]
    )


def on_this_engine(folder: Path) -> list[str]:
    """Options of `bongsu init` by which the folder's store is of this run's engine, the one of `new_store(folder)`."""
    url = postgres_parts.store_url(folder)
    return [] if url.startswith("sqlite") else ["--database", url]


@contextmanager
def new_store(folder: Path) -> Iterator[Store]:
    """A migrated store in `folder`."""
    store = open_store(postgres_parts.store_url(folder))
    try:
        yield store
    finally:
        store.close()


def fill(store: Store) -> None:
    """One market, two shops, one owner, one node in the first shop."""
    with store.write() as conn:
        registry.add_site(
            conn, site_id="hannae", name="한내시장", kind="market", address="한내로 12", tz="Asia/Seoul", now_ms=NOW_MS
        )
        registry.add_unit(conn, site_id="hannae", unit_id="a-07", name="봉수 떡집", place="A동 7호", now_ms=NOW_MS)
        registry.add_unit(conn, site_id="hannae", unit_id="a-08", name="Fish", place="A 8", now_ms=NOW_MS)
        registry.add_contact(conn, contact_id="owner-1", name="Owner", number="010-1234-5678", lang="ko", now_ms=NOW_MS)
        registry.assign_contact(conn, contact_id="owner-1", site_id="hannae", unit_id="a-07", role="owner")
        registry.add_node(conn, node_id=NODE, unit=("hannae", "a-07"), label="", now_ms=NOW_MS)


def open_incident(
    store: Store, *, subject: str = "unit:hannae/a-07", class_: str = "fire", last_event: int | None = 7
) -> int:
    """An open incident with one pending, one accepted delivery and the snapshot's contacts; returns its id."""
    with store.write() as conn:
        made = conn.execute(
            insert(schema.incident).values(
                subject=subject,
                class_=class_,
                state="open",
                round=1,
                opened_ms=NOW_MS,
                last_event_ms=NOW_MS,
                last_event_id=last_event,
                snapshot={
                    "unit": {"name": "봉수 떡집", "place": "A동 7호"},
                    "contacts": [{"name": "Owner", "phone": "+821012345678", "role": "owner"}],
                    "active": {NODE: ["heat"]},
                },
            )
        )
        incident_id = int(made.inserted_primary_key[0])
        for seq, state in enumerate(("pending", "accepted")):
            conn.execute(insert(schema.delivery).values(delivery_values(incident_id, seq, state)))
    return incident_id


def delivery_values(incident_id: int, seq: int, state: str) -> dict[str, object]:
    """A delivery's row."""
    return {
        "idempotency_key": f"key-{incident_id}-{seq}",
        "incident_id": incident_id,
        "round": 1,
        "seq": seq,
        "purpose": "alarm",
        "channel": "webhook",
        "recipient": "responder:119",
        "target": {"url": "http://127.0.0.1:1/"},
        "body": {"owner_phone": "+821012345678"},
        "state": state,
        "next_at_ms": NOW_MS,
        "created_ms": NOW_MS,
    }


def without_environment() -> "patch.dict[str]":  # type: ignore[type-arg]
    """BONGSU_DATA must not reach a test."""
    return patch.dict(os.environ, {"BONGSU_DATA": ""})
