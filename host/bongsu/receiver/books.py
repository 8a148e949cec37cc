"""Everything that the writer keeps in memory, read from the store in one place, so that after a failed transaction it
can be read again.
"""

import random
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, func, select

from bongsu.receiver.air.intake import Intake
from bongsu.receiver.audit import chain_key
from bongsu.receiver.beat_alarms import BeatAlarms
from bongsu.receiver.casebook import Casebook
from bongsu.receiver.chores import Rests, make_chores
from bongsu.receiver.clock import Clock
from bongsu.receiver.clock_watch import ClockWatch
from bongsu.receiver.config import Config, RetentionConfig
from bongsu.receiver.delivery_policy import Policy
from bongsu.receiver.directory import KEY_DAMAGED, SECRET_DAMAGED, Damage, Directory
from bongsu.receiver.downlink import Downlink
from bongsu.receiver.exercises import Exercises
from bongsu.receiver.incidents import FAULT
from bongsu.receiver.jobs import Lease
from bongsu.receiver.keys import MasterKey
from bongsu.receiver.liveness import Liveness
from bongsu.receiver.orders import Orders
from bongsu.receiver.outbox import Outbox
from bongsu.receiver.rows import batched
from bongsu.receiver.sightings import AHEAD_MS, Sightings
from bongsu.receiver.silent_site import SilentSites
from bongsu.receiver.state import Vitals
from bongsu.receiver.store import schema
from bongsu.receiver.store.changes import News
from bongsu.receiver.walk_tests import WalkTests

_IN_SERVICE = ("active", "old")
# Topics of changes that say nothing of the registry; and those that, as a whole, mean the whole registry.
_NOT_REGISTRY = frozenset(("event", "incident", "delivery", "command", "operator", "receiver", "other"))
_WHOLE = ("all", "node", "unit", "contact", "site", "responder", "duty")
_AT_ONCE = 300
# Reading more nodes than this takes longer than an alarm should wait (86,221 take seconds).
READ_ASIDE = 2_000
# Source of faults of stored secrets; the receiver's own incident names the responder.
SECRETS = "secrets"
# Source of the fault that the receiver's own way to the broker is cut.
LINK = "link"


@dataclass(frozen=True, slots=True)
class Settings:
    """What the data path is told: times in ms."""

    sender: int
    texted: bool
    silent_after_ms: int
    startup_grace_ms: int
    lease_ms: int
    policy: Policy
    silent_site_share: float = 0.8
    retention: RetentionConfig = RetentionConfig()
    data_dir: Path | None = None

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
            silent_site_share=supervision.silent_site_share,
            retention=config.retention,
            data_dir=config.data_dir,
        )


@dataclass(slots=True)
class Taken:
    """What was taken in: incidents that others closed, and all of which something changed. `wants_directory`: the
    registry is to be read whole, aside.
    """

    closed: set[int] = field(default_factory=set)
    changed: set[int] = field(default_factory=set)
    wants_directory: bool = False


class Books:
    """The data path's memory."""

    def __init__(self, conn: Connection, settings: Settings, master: MasterKey, clock: Clock) -> None:
        self.settings, self._master, self.clock = settings, master, clock
        self.audit_key = chain_key(master)
        self.alone = conn.dialect.name == "sqlite"
        self.vitals = Vitals()
        self.directory = Directory.load(conn, master, clock.now_ms())
        self.directory.require_some()
        self.lease = Lease(clock, settings.lease_ms)
        self.lease.token = f"{settings.sender}-{self.lease.token}"  # one process a receiver: an earlier one is gone
        self.casebook = Casebook(conn)
        self.outbox = Outbox(
            conn,
            clock=clock,
            lease=self.lease,
            policy=settings.policy,
            chance=random.random,
            secret_of=self._responder_secret,
            alone=self.alone,
        )
        self.downlink = Downlink(conn, settings.sender)
        self.sightings = Sightings(conn)
        self.orders = Orders(conn)
        self.liveness = Liveness(settings.silent_after_ms)
        self.liveness.link_down(clock.mono_ms())  # until the broker answers
        self._watch(conn)
        self._look_for_link_fault()
        self.look_for_damage()
        self.clock_watch = ClockWatch(self, sqlite=conn.dialect.name == "sqlite")
        self.silent_sites = SilentSites(self)
        self.exercises = Exercises(self)
        self.walk_tests = WalkTests(self)
        self.beat_alarms = BeatAlarms(self)
        self.air = Intake(self, conn)
        self.rests = Rests()
        self.chores = make_chores(self, conn)

    def chores_due_ms(self) -> int | None:
        """When the first chore is due (monotonic ms)."""
        dues = (self.rests.due_ms(chore) for chore in self.chores)
        return min((due for due in dues if due is not None), default=None)

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

    def _look_for_link_fault(self) -> None:
        case = self.casebook.cases.get((self.downlink.subject, FAULT))
        self.liveness.link_fault_stands(case is not None and LINK in case.incident.active)

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

    def unheard(self, conn: Connection, nodes: list[str]) -> list[str]:
        """Those of these silent nodes that no other receiver has heard either."""
        if self.alone or not nodes:
            return nodes
        live, now_ms, mono_ms = schema.node_live.c, self.clock.now_ms(), self.clock.mono_ms()
        since_ms = now_ms - self.settings.silent_after_ms
        heard = select(live.node_id, live.last_seen_ms).where(
            live.node_id.in_(nodes), live.last_seen_ms > since_ms, live.last_seen_ms <= now_ms + AHEAD_MS
        )
        seen = {r.node_id: r.last_seen_ms for r in conn.execute(heard)}
        for node_id, seen_ms in sorted(seen.items(), key=lambda item: -int(item[1])):
            self.liveness.heard_elsewhere(node_id, mono_ms - max(0, now_ms - seen_ms))
        return [node_id for node_id in nodes if node_id not in seen]

    def take_in(self, conn: Connection, news: News) -> Taken:
        """Somebody else committed something: read again what it says, and no more."""
        taken = Taken()
        if not news:
            return taken
        self._take_in_incidents(conn, news, taken)
        registry = news.topics.keys() - _NOT_REGISTRY
        if registry:
            taken.wants_directory = self._take_in_registry(conn, news)
        if news.topics.keys() & {"command", "all"}:
            self.orders.load(conn)
        if registry or taken.closed:
            self.look_for_damage()
            for chore in self.chores:
                chore.load(conn)
        return taken

    def _take_in_registry(self, conn: Connection, news: News) -> bool:
        """Returns True if the registry must be read whole and is too large to be read while alarms wait."""
        if not news.is_all_of(*_WHOLE):
            self.directory.take_in(conn, self._master, self.clock.now_ms(), news)
            for some in batched(sorted(news.ids("node")), _AT_ONCE):
                self._watch_some(conn, some)
            return False
        if conn.execute(select(func.count()).select_from(schema.node)).scalar_one() > READ_ASIDE:
            return True
        self.put_directory(conn, self.load_directory(conn))
        return False

    def load_directory(self, conn: Connection) -> Directory:
        """The registry, read whole. Touches nothing of the books: from any thread."""
        return Directory.load(conn, self._master, self.clock.now_ms())

    def put_directory(self, conn: Connection, directory: Directory) -> None:
        """From now on this is the registry."""
        self.directory = directory
        self.orders.load(conn)  # for keys that are given to nodes
        self._watch(conn)
        self.look_for_damage()

    def _take_in_incidents(self, conn: Connection, news: News, taken: Taken) -> None:
        if news.topics.keys() & {"event", "incident", "delivery", "all"}:
            self.casebook.take_in_events(conn)
        if news.is_all_of("incident", "all"):
            taken.changed.update(self.casebook.by_id)
            taken.closed = self.casebook.load_open(conn)
            taken.changed.update(self.casebook.by_id)
        else:
            ids = sorted(map(int, news.ids("incident")))
            taken.closed = self.casebook.take_in(conn, ids)
            taken.changed.update(ids)
        if news.is_all_of("delivery", "all"):
            taken.changed |= self.outbox.take_in_all(conn)
        else:
            taken.changed |= self.outbox.take_in(conn, set(map(int, news.ids("delivery"))))
        if taken.closed:
            self.outbox.give_up(conn, taken.closed)

    def _watch_some(self, conn: Connection, nodes: Sequence[str]) -> None:
        live, mono_ms = schema.node_live.c, self.clock.mono_ms()
        found = conn.execute(select(live.node_id, live.silent).where(live.node_id.in_(nodes)))
        silent = {r.node_id: r.silent for r in found}
        for node_id in nodes:
            node = self.directory.nodes.get(node_id)
            if node is not None and any(key.state in _IN_SERVICE for key in node.keys.values()):
                self.liveness.watch(node_id, mono_ms, silent=silent.get(node_id, False))
                self.liveness.told(node_id, silent.get(node_id, False), mono_ms)
            else:
                self.liveness.forget(node_id)

    def reload(self, conn: Connection) -> None:
        """A transaction failed: what stands in memory may never have been stored. Not so the registry, which others
        write: what changed in it is taken in as ever.
        """
        self.casebook.load(conn)
        self.outbox.load(conn)
        self.downlink.load(conn)
        self.sightings.load(conn)
        self.orders.load(conn)
        live = schema.node_live.c
        silent = set(conn.execute(select(live.node_id).where(live.silent)).scalars())
        self.liveness.unstored(silent, self.clock.mono_ms())
        self._look_for_link_fault()
        self._watch(conn)
        self.look_for_damage()
        for chore in self.chores:
            chore.load(conn)

    def silent_snapshot(self, node_id: str) -> dict[str, Any]:
        """The snapshot of a node for a fault that the receiver found by itself."""
        node = self.directory.nodes.get(node_id)
        return self.directory.snapshot(node) if node is not None else {}
