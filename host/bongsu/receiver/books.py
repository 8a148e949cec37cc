"""Everything that the writer keeps in memory, read from the store in one place, so that after a failed transaction it
can be read again.
"""

import random
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, select

from bongsu.receiver.casebook import Casebook
from bongsu.receiver.chores import make_chores
from bongsu.receiver.clock import Clock
from bongsu.receiver.config import Config
from bongsu.receiver.delivery_policy import Policy
from bongsu.receiver.directory import KEY_DAMAGED, SECRET_DAMAGED, Damage, Directory
from bongsu.receiver.downlink import Downlink
from bongsu.receiver.exercises import Exercises
from bongsu.receiver.incidents import FAULT
from bongsu.receiver.keys import MasterKey
from bongsu.receiver.liveness import Liveness
from bongsu.receiver.orders import Orders
from bongsu.receiver.jobs import Lease
from bongsu.receiver.outbox import Outbox
from bongsu.receiver.sightings import Sightings
from bongsu.receiver.state import Vitals
from bongsu.receiver.store import schema

_IN_SERVICE = ("active", "old")
# Source of faults of stored secrets; the receiver's own incident names the responder.
SECRETS = "secrets"


@dataclass(frozen=True, slots=True)
class Settings:
    """What the data path is told: times in ms."""

    sender: int
    texted: bool
    silent_after_ms: int
    startup_grace_ms: int
    lease_ms: int
    policy: Policy

    @staticmethod
    def of(config: Config, sender: int) -> "Settings":
        """From receiver.toml."""
        dispatch, supervision = config.dispatch, config.supervision
        policy = Policy(
            retry_first_ms=round(dispatch.retry_first_s * 1000),
            retry_cap_ms=round(dispatch.retry_cap_s * 1000),
            sms_within_ms=round(dispatch.escalate_after_s * 1000),
        )
        return Settings(
            sender=sender,
            texted=config.sms is not None,
            silent_after_ms=supervision.silent_after_s * 1000,
            startup_grace_ms=supervision.startup_grace_s * 1000,
            lease_ms=round(dispatch.lease_s * 1000),
            policy=policy,
        )


class Books:
    """The data path's memory."""

    def __init__(self, conn: Connection, settings: Settings, master: MasterKey, clock: Clock) -> None:
        self.settings, self._master, self.clock = settings, master, clock
        self.vitals = Vitals()
        self.directory = Directory.load(conn, master, clock.now_ms())
        self.directory.require_some()
        self.lease = Lease(clock, settings.lease_ms)
        self.casebook = Casebook(conn)
        self.outbox = Outbox(
            conn,
            clock=clock,
            lease=self.lease,
            policy=settings.policy,
            chance=random.random,
            secret_of=self._responder_secret,
            alone=conn.dialect.name == "sqlite",
        )
        self.downlink = Downlink(conn, settings.sender)
        self.sightings = Sightings(conn)
        self.orders = Orders(conn)
        self.liveness = Liveness(settings.silent_after_ms)
        self.liveness.link_down(clock.mono_ms())  # until the broker answers
        self._watch(conn)
        self.look_for_damage()
        self.exercises = Exercises(self)
        self.chores = make_chores(self, conn)

    def chores_due_ms(self) -> int | None:
        """When the first chore is due (monotonic ms)."""
        return min((due for chore in self.chores if (due := chore.due_ms()) is not None), default=None)

    def look_for_damage(self) -> None:
        """Compare which secrets are damaged with which faults say so: `damage_begins`, `damage_ends`."""
        told = {
            Damage(name, subject.partition(":")[2] if name == KEY_DAMAGED else source.partition(":")[2])
            for (subject, class_), case in self.casebook.cases.items()
            if class_ == FAULT
            for source, names in case.incident.active.items()
            for name in names
            if name in (KEY_DAMAGED, SECRET_DAMAGED)
        }
        self.damage_begins, self.damage_ends = self.directory.damaged - told, told - self.directory.damaged

    def _responder_secret(self, responder_id: str) -> str | None:
        return self.directory.responder_secret(responder_id)  # of the directory as it is then

    def _watch(self, conn: Connection) -> None:
        """Watch over every node that has spoken under a key of its own and is not retired."""
        live = schema.node_live.c
        silent = set(conn.execute(select(live.node_id).where(live.silent)).scalars())
        in_service = set()
        for node in self.directory.nodes.values():
            if any(key.state in _IN_SERVICE for key in node.keys.values()):
                in_service.add(node.id)
                self.liveness.watch(node.id, self.clock.mono_ms(), silent=node.id in silent)
        for gone in self.liveness.watched() - in_service:
            self.liveness.forget(gone)

    def refresh(self, conn: Connection) -> set[int]:
        """Somebody else committed something: read the registry, the open incidents and the commands anew. Returns the
        incidents that were closed meanwhile.
        """
        self.directory = Directory.load(conn, self._master, self.clock.now_ms())
        self._watch(conn)
        closed = self.casebook.load_open(conn)
        if closed:
            self.outbox.give_up(conn, closed)
        self.orders.load(conn)
        self.look_for_damage()
        for chore in self.chores:
            chore.load(conn)
        return closed

    def reload(self, conn: Connection) -> None:
        """A transaction failed: what stands in memory may never have been stored."""
        self.directory = Directory.load(conn, self._master, self.clock.now_ms())
        self.casebook.load(conn)
        self.outbox.load(conn)
        self.downlink.load(conn)
        self.sightings.load(conn)
        self.orders.load(conn)
        live = schema.node_live.c
        silent = set(conn.execute(select(live.node_id).where(live.silent)).scalars())
        self.liveness.unstored(silent, self.clock.mono_ms())
        self._watch(conn)
        self.look_for_damage()
        for chore in self.chores:
            chore.load(conn)

    def silent_snapshot(self, node_id: str) -> dict[str, Any]:
        """The snapshot of a node for a fault that the receiver found by itself."""
        node = self.directory.nodes.get(node_id)
        return self.directory.snapshot(node) if node is not None else {}
