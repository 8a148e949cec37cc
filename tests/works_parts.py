"""A market at work for boards that are to be fitted: receiver, station and phone as processes, shops without nodes; and
`bongsu device commission` as a process, which may be killed.
"""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sqlalchemy import select

from bongsu.receiver import registry
from bongsu.receiver.store import open_store, schema
from tests import postgres_parts
from tests.image_parts import whole
from tests.receiver_parts import SECRET, SITE, Child, ask, make_market
from tests.rig_parts import SSID

ROOT = Path(__file__).resolve().parents[1]
# A whole run takes 20 s here; this only ends what hangs.
DEADLINE_S = 300.0


@dataclass(frozen=True)
class Ran:
    """What a command printed, and its exit code (-9: killed)."""

    code: int
    out: str
    err: str

    @property
    def row(self) -> dict[str, Any]:
        """What it printed as JSON."""
        found: dict[str, Any] = json.loads(self.out)
        return found


class Works:
    """`data`: the market's folder. Units u-0, u-1, ... with an owner and a deputy each; no nodes."""

    def __init__(self, folder: Path, shops: int) -> None:
        self._children: list[Child] = []
        self.folder = folder
        secret = folder / "secret"
        secret.write_text(SECRET)
        self.station = self._child("sim", "station", "--quiet", "--secret-file", secret)
        self.phone = self._child("sim", "phone", "--quiet")
        ports = [int(c.wait_for("ready port=").rpartition("=")[2]) for c in (self.station, self.phone)]
        self._station_port, self._phone_port = ports
        station = f"http://127.0.0.1:{ports[0]}"
        urls = {
            "station-0": f"{station}/station",
            "centre-0": f"{station}/centre",
            "sms": f"http://127.0.0.1:{ports[1]}",
        }
        market = make_market(folder / "data", 0, tls=True, urls=urls)
        self.data = market.data
        self._add_shops(shops)
        self.receiver = self._child("--data", self.data, "receiver", "run", "--log-format", "json")
        self.receiver.wait_for("receiver.ready")
        self.image = folder / "small.bin"
        self.image.write_bytes(whole())

    def _child(self, *args: object) -> Child:
        child = Child(*args)
        self._children.append(child)
        return child

    def _add_shops(self, count: int) -> None:
        store = open_store(postgres_parts.store_url(self.data))
        with store.write() as conn:
            for i in range(count):
                unit = f"u-{i}"
                registry.add_unit(conn, site_id=SITE, unit_id=unit, name=f"가게 {i}", place="1층", now_ms=1)
                for role, prefix in (("owner", "1234"), ("deputy", "5678")):
                    person = f"{role}-{i}"
                    number = f"010-{prefix}-{i:04d}"
                    registry.add_contact(conn, contact_id=person, name=person, number=number, lang="ko", now_ms=1)
                    registry.assign_contact(conn, contact_id=person, site_id=SITE, unit_id=unit, role=role)
        store.close()

    # -- what the installer types

    def start(self, *args: object, before: Sequence[str] = ()) -> "subprocess.Popen[str]":
        """Begin a command of bongsu. `before`: a program that starts it."""
        return subprocess.Popen(
            [*before, sys.executable, "-m", "bongsu.cli", "--data", str(self.data), *(str(a) for a in args)],
            env={**os.environ, "XDG_STATE_HOME": str(self.folder), "XDG_RUNTIME_DIR": str(self.folder)},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            encoding="utf-8",
            start_new_session=True,
        )

    def run(self, *args: object, kill_after_s: float | None = None, before: Sequence[str] = ()) -> Ran:
        """Carry it out, or kill it (SIGKILL) after a while."""
        process = self.start(*args, before=before)
        try:
            out, err = process.communicate(timeout=kill_after_s if kill_after_s is not None else DEADLINE_S)
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGKILL)  # to it alone, as the kernel's own killer does
            out, err = process.communicate()
            assert kill_after_s is not None, f"{args} hangs:\n{out}\n{err}"
        return Ran(process.returncode, out, err)

    def words(self, url: str, unit: str, *more: object, wifi: str = SSID) -> tuple[object, ...]:
        """`bongsu device commission` of a board, with the small image and --json."""
        words = ("device", "commission", "--port", url, "--unit", f"{SITE}/{unit}", "--board", "esp32-devkitc")
        return (*words, "--image", self.image, "--wifi", wifi, "--json", *more)

    def commission(self, url: str, unit: str, *more: object, **how: Any) -> Ran:
        """That, carried out."""
        return self.run(*self.words(url, unit, *more), **how)

    # -- what came of it

    def texts(self, unit: str) -> list[str]:
        """Texts that the unit's owner got."""
        owner = f"+82101234{int(unit.removeprefix('u-')):04d}"
        return [text["text"] for text in ask(self._phone_port, "/received")["texts"] if text["to"] == owner]

    def reports(self) -> list[dict[str, Any]]:
        """Reports that station and centre got."""
        found: list[dict[str, Any]] = ask(self._station_port, "/received")["reports"]
        return found

    def rows(self, table: Any) -> list[Any]:
        """All rows of a table, by its key."""
        store = open_store(postgres_parts.store_url(self.data))
        try:
            with store.read() as conn:
                return list(conn.execute(select(table).order_by(*table.primary_key.columns)))
        finally:
            store.close()

    def keys(self, node_id: str) -> list[tuple[int, str]]:
        """(epoch, state) of a node's keys."""
        return [(k.epoch, k.state) for k in self.rows(schema.node_key) if k.node_id == node_id]

    def close(self) -> None:
        """End everything."""
        for child in reversed(self._children):
            child.stop()


@contextmanager
def works(folder: Path, shops: int = 1) -> Iterator[Works]:
    """Works, set up and taken down."""
    made = Works.__new__(Works)
    try:
        made.__init__(folder, shops)  # type: ignore[misc]
        yield made
    finally:
        made.close()
