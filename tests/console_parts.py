"""The console for tests: people who may log in, and a plain HTTP client that behaves as the page does."""

import json
import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import requests
from sqlalchemy import select

from bongsu.console import operators
from bongsu.receiver.config import load
from bongsu.receiver.store import open_store, schema
from tests.receiver_parts import DEADLINE_S, Hall

PASSWORD = "only for tests"
CHROMIUM = "/usr/bin/chromium"
ARGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
needs_browser = pytest.mark.skipif(not os.access(CHROMIUM, os.X_OK), reason=f"there is no {CHROMIUM}")


@cache
def password_hash() -> str:
    """Made once: it takes 0.1 s."""
    return operators.hash_password(PASSWORD)


def add_people(data: Path, **roles: str) -> None:
    """Add operators by name and role, all with PASSWORD."""
    change(
        data,
        lambda conn: [
            operators.add_operator(
                conn,
                name=name,
                full_name=f"{role} {name}",
                role=role,
                lang="en",
                password_hash=password_hash(),
                actor="test",
                now_ms=1,
            )
            for name, role in roles.items()
        ],
    )


def change(data: Path, work: Callable[[Any], Any]) -> Any:
    """Do this in a writing transaction on the data folder's store."""
    store = open_store(load(data / "receiver.toml").store_url)
    try:
        with store.write() as conn:
            return work(conn)
    finally:
        store.close()


def audited(data: Path) -> list[tuple[str, str]]:
    """(who, what) of the audit, oldest first."""
    table = schema.audit.c
    return list(
        change(
            data,
            lambda conn: [
                (r.actor, r.action) for r in conn.execute(select(table.actor, table.action).order_by(table.id))
            ],
        )
    )


def address_of(hall: Hall, since: int = 0) -> str:
    """Where the console of a hall is served: without the last "/"."""
    line = hall.receiver.wait_for("console.ready", since=since)
    return str(json.loads(line)["url"]).rstrip("/")


class Client:
    """What the page does, without a browser."""

    def __init__(self, address: str, *, verify: str | bool = True) -> None:
        self.address = address
        self.http = requests.Session()
        self.http.trust_env = False
        self.http.verify = verify
        self.token = ""

    def login(self, name: str, password: str = PASSWORD) -> requests.Response:
        """Fill in the login form."""
        form = self.get("/api/login").json()
        answer = self.post("/api/login", {"name": name, "password": password}, token=form["token"])
        if answer.ok:
            self.token = self.get("/api/me").json()["token"]
        return answer

    def get(self, path: str, **more: Any) -> requests.Response:
        """GET."""
        return self.http.get(self.address + path, timeout=DEADLINE_S, allow_redirects=False, **more)

    def post(self, path: str, content: Any, *, token: str | None = None, **headers: str) -> requests.Response:
        """POST as JSON, with this session's token or another."""
        sent = {"x-bongsu-token": self.token if token is None else token, **headers}
        return self.http.post(self.address + path, json=content, headers=sent, timeout=DEADLINE_S)

    def events(self, timeout_s: float = DEADLINE_S) -> Iterator[tuple[str, dict[str, Any]]]:
        """(name, content) of what the stream brings."""
        with self.get("/api/stream", stream=True) as answer:
            assert answer.status_code == 200, answer.text
            name = ""
            for line in answer.iter_lines(chunk_size=None):
                if line.startswith(b"event: "):
                    name = line[7:].decode()
                elif line.startswith(b"data: "):
                    yield name, json.loads(line[6:])

    def close(self) -> None:
        """End its connections."""
        self.http.close()


@contextmanager
def logged_in(address: str, name: str, **more: Any) -> Iterator[Client]:
    """A client that somebody logged in with."""
    client = Client(address, **more)
    try:
        assert client.login(name).ok
        yield client
    finally:
        client.close()


def alarm(hall: Hall, i: int) -> int:
    """Node i alarms; returns the incident's id once it is committed."""
    number = hall.nodes[i].alarm()
    assert hall.nodes[i].wait_receipt(number, DEADLINE_S)
    subject = f"unit:hannae/u-{i}"
    table = schema.incident.c
    query = select(table.id).where(table.subject == subject, table.state == "open", table.class_ == "fire")
    return int(change(hall.data, lambda conn: conn.execute(query).scalar_one()))


def until(look: Callable[[], Any], timeout_s: float = DEADLINE_S, every_s: float = 0.02) -> Any:
    """What `look` finds, once it finds something; fails when time is over."""
    pause, left_s = threading.Event(), timeout_s
    while not (found := look()):
        assert left_s > 0, "it did not come about"
        pause.wait(every_s)
        left_s -= every_s
    return found
