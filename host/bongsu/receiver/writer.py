"""The one writer: takes what comes from a queue, in groups, and commits each group as one transaction.

Whatever waits when a turn begins forms the group; nobody waits for company but finished deliveries, which are in no
hurry. Only after the commit is a message acknowledged, a receipt sent, a request made. If a transaction fails, nothing
of it counts: the books are read anew, the broker brings the messages again, and the nodes keep their alarms meanwhile.

On PostgreSQL there may be several receivers. Each transaction waits for its turn, takes in what others committed since
(`change`), works, and tells in the same transaction what it changed (cluster.py hears of others' commits at once).
"""

import queue
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from typing import Any, Protocol

from sqlalchemy import Connection, update
from sqlalchemy.exc import DataError, DBAPIError, IntegrityError, ProgrammingError

from bongsu.errors import BongsuError
from bongsu.receiver.books import Books, Settings
from bongsu.receiver.clock import Clock
from bongsu.receiver.directory import Directory
from bongsu.receiver.histories import may_be_history
from bongsu.receiver.inbox import GROUP_MAX, Inbox
from bongsu.receiver.jobs import Done, Job
from bongsu.receiver.keys import MasterKey
from bongsu.receiver.log import Log, Seldom
from bongsu.receiver.mqtt_edge import Arrived, BeatsWait, LinkChanged
from bongsu.receiver.own_faults import Standing
from bongsu.receiver.reasons import CHORE_FAILED
from bongsu.receiver.sightings import SLICE_PAUSE_MS, WRITE_EVERY_MS
from bongsu.receiver.store import Store, changes, schema
from bongsu.receiver.store.checkpoint import leave_to_checkpointer
from bongsu.receiver.store.engine import DISK_IS_FULL, StoreError, explain
from bongsu.receiver.turn import Turn

_SIGHTINGS_LATE_MS = 1_000
_STORE_PAUSE_S = 1.0
_HELD_MAX = 20_000
# What the database says about a statement, not about itself.
_OWN_FAULTS = (IntegrityError, DataError, ProgrammingError)
# At the end: how long requests under way may take to come back.
_DRAIN_S = 4.0


@dataclass(slots=True)
class Wake:
    """Another process committed something ("registry" or "outbox")."""

    topic: str


@dataclass(slots=True)
class _Fresh:
    """The registry, read whole aside, as it was at a position of the changes."""

    directory: Directory
    position: int


@dataclass(slots=True)
class Stop:
    """Finish what is there, then end."""


class Edge(Protocol):
    """The way to the broker."""

    def ack(self, message: Arrived) -> None:
        """The message is done with."""

    def publish(self, topic: str, data: bytes) -> None:
        """Send a frame down."""

    def take_beats(self, most: int) -> list[Arrived]:
        """Heartbeats that wait, at most so many."""


class Writer:
    """The writer. `put` may be called from any thread; `edge` and `relay` are set before `start`."""

    edge: Edge

    def __init__(self, store: Store, settings: Settings, master: MasterKey, clock: Clock, log: Log) -> None:
        self._clock, self._log = clock, log
        self.inbox = Inbox()
        self.put = self.inbox.put
        self._store_of, self._sender = store, settings.sender
        self._conn = store.engine.connect()
        self._seldom = Seldom()
        self._told_id: int | None = None
        self._fresh: _Fresh | None = None
        self._aside: threading.Thread | None = None
        self._aside_again = False
        self._others_changed: set[int] = set()
        self._held: dict[tuple[str, bytes], Arrived] = {}
        self.take_jobs: Callable[[list[Job]], None] = lambda jobs: None
        self._write_sightings_at_ms: int | None = None
        self._stopping = False
        self._link_back = False
        self._stale = False
        self._was_up = False
        self._chores_fail = False
        self._known_nodes: set[str] = set()
        # For who watches over this thread: its turns (and looks at a store that is away), and the last commit (UTC ms).
        self.turns = 0
        self.committed_ms: int | None = None
        self.store_ok = True
        # How often the disk was full and then had room again.
        self.disk_freed = 0
        self._failed_s = 0.0
        try:
            leave_to_checkpointer(self._conn)
            with self._reading() as conn:
                self._data_version, self._position = self._version(), changes.position(conn)
                self.books = Books(conn, settings, master, clock)
        except BaseException:
            self._conn.close()
            raise
        self._thread = threading.Thread(target=self._run, name="writer", daemon=True)
        self.failed: BaseException | None = None
        self.on_failure: Callable[[], None] = lambda: None
        self.on_committed: Callable[[set[int]], None] = lambda incident_ids: None

    def start(self, edge: Edge, take_jobs: Callable[[list[Job]], None]) -> None:
        """Begin to work. `take_jobs`: the relay."""
        self.edge, self.take_jobs = edge, take_jobs
        self._thread.start()

    def stop(self) -> None:
        """Finish what was put before, wait for requests under way, and end."""
        self.put(Stop())
        self._thread.join()

    @property
    def waiting(self) -> int:
        """How long the queue is."""
        return len(self.inbox)

    def close(self) -> None:
        """Let go of the store; for a writer that was never started."""
        self._conn.close()

    # ---- the loop

    def _run(self) -> None:
        try:
            while not self._stopping:
                self.turn(self._gather(self._wait_s()))
                self.turns += 1
            self._drain()
        except BaseException as err:
            self.failed = err
            self._log.error("writer.failed", error=repr(err))
            self.on_failure()
        finally:
            self._conn.close()

    def _wait_s(self) -> float | None:
        due = self._due_ms()
        return None if due is None else max(0.0, (due - self._clock.mono_ms()) / 1000)

    def _due_ms(self) -> int | None:
        books = self.books
        dues = (books.outbox.due_ms(), books.liveness.due_ms(), books.chores_due_ms(), self._write_sightings_at_ms)
        return min((d for d in dues if d is not None), default=None)

    def _gather(self, timeout_s: float | None) -> list[Any]:
        """What makes the next turn; [] if the time was over first."""
        return self.inbox.gather(timeout_s, self.edge.take_beats)

    # ---- one turn

    def turn(self, items: list[Any]) -> None:
        """Carry out one turn: all of it, or none of it, or (if one message spoils it) each message by itself."""
        arrived = [item for item in items if type(item) is Arrived]
        others = [item for item in items if type(item) is not Arrived]
        try:
            self._attempt(arrived, others)
        except Exception as err:
            if not self._store_failed(err, arrived):
                self._log.error("writer.fault", error=repr(err), messages=len(arrived))
                self._read_anew()
                self._one_by_one(arrived)
        if bool(self.books.rests) != self._chores_fail:
            self._chores_fail = not self._chores_fail
            self.put(Standing("chores", (CHORE_FAILED,) if self._chores_fail else ()))

    def _one_by_one(self, arrived: list[Arrived]) -> None:
        """A fault of this program must not hold up every alarm: only the message that brings it about is left."""
        if not arrived:
            self._pause()  # what is due brings it about: no haste
            self._put_back()
        for message in arrived:
            try:
                self._attempt([message], [], only_messages=True)
            except Exception as err:
                if self._store_failed(err, [message]):
                    continue
                self._log.error("frame.fault", topic=message.topic, error=repr(err))
                self._read_anew()
                self.edge.ack(message)  # the node keeps it, for it gets no receipt

    def _attempt(self, arrived: list[Arrived], others: list[Any], only_messages: bool = False) -> None:
        for item in others:
            self._note(item)
        if self._stale or self._fresh is not None or self._version() != self._data_version:
            with self._transaction() as conn:
                self._keep_up(conn)
        turn = Turn(self.books, self._log)
        turn.verify(arrived)
        finished = [item for item in others if type(item) is Done]
        if finished or self._due() or turn.needs_store() or self._link_back:
            self._store(turn, finished, only_messages)
        turn.committed()
        self._carry_out(turn, arrived)

    def _note(self, item: Any) -> None:
        if type(item) is LinkChanged:
            mono_ms = self._clock.mono_ms()
            if item.up:
                grace_ms = None if self._was_up else self.books.settings.startup_grace_ms
                self._was_up = True
                self._link_back = self.books.liveness.link_up(mono_ms, grace_ms) or self._link_back
            else:
                self.books.liveness.link_down(mono_ms)
        elif type(item) is Wake:
            self._stale = True
        elif type(item) is _Fresh:
            self._fresh = item
        elif type(item) is Stop:
            self._stopping = True
        else:
            for chore in self.books.chores:
                chore.note(item)

    def _due(self) -> bool:
        mono_ms, due = self._clock.mono_ms(), self._due_ms()
        return (due is not None and due <= mono_ms) or self.books.orders.ready(mono_ms)

    def _store(self, turn: Turn, finished: list[Done], only_messages: bool) -> None:
        books = self.books
        with self._transaction() as conn:
            # Again, now that nobody else can write: an incident that was closed a moment ago must not be written over.
            self._keep_up(conn)
            books.clock_watch.shift(conn)
            turn.write(conn)
            if not only_messages:
                self._store_due(conn, turn, finished)
            turn.save(conn)
            if not only_messages:
                self._store_sightings(conn, turn)
        books.clock_watch.shifted()
        books.beat_alarms.committed()
        books.air.committed()
        self._link_back = self._link_back and only_messages
        self.committed_ms = self._clock.now_ms()

    def _store_due(self, conn: Connection, turn: Turn, finished: list[Done]) -> None:
        turn.settle(conn, finished)
        turn.escalate(conn, self.books.outbox.take_late())
        turn.supervise(conn, self._link_back)
        turn.do_chores(conn)
        turn.take_due(conn)

    def _store_sightings(self, conn: Connection, turn: Turn) -> None:
        if self._write_sightings_at_ms is None:
            return
        # Not in an alarm's transaction, unless it has been put off for long.
        wait_ms = _SIGHTINGS_LATE_MS if turn.has_events else 0
        if self._clock.mono_ms() < self._write_sightings_at_ms + wait_ms:
            return
        self.books.sightings.write(conn, self._clock.now_ms())
        turn.after.wrote_sightings = True
        if self.books.orders.unanswered():
            self.books.orders.expire(conn, self._clock.now_ms())

    def _carry_out(self, turn: Turn, arrived: list[Arrived]) -> None:
        """After the commit: first the requests, then the receipts, then the rest."""
        after, edge = turn.after, self.edge
        self.take_jobs(after.jobs)
        for topic, data in after.frames:
            edge.publish(topic, data)
        for message in arrived:
            edge.ack(message)
        if changed := after.changed_incidents | self._others_changed:
            self._others_changed = set()
            self.on_committed(changed)
        self._log_turn(turn)
        sightings = self.books.sightings
        if after.wrote_sightings:
            more = sightings.more_than_a_slice()
            sightings.written()
            self._write_sightings_at_ms = self._clock.mono_ms() + SLICE_PAUSE_MS if more else None
        if self._write_sightings_at_ms is None and (sightings.waiting() or self.books.orders.unanswered()):
            self._write_sightings_at_ms = self._clock.mono_ms() + WRITE_EVERY_MS

    def _log_turn(self, turn: Turn) -> None:
        now_ms = self._clock.now_ms()
        for level, event, fields in turn.after.lines:
            if event == "event.committed":
                fields["commit_ms"] = now_ms - fields.pop("received_ms")
            self.books.vitals.happened(event, fields)
            (self._log.warning if level == "warn" else self._log.info)(event, **fields)
        for node_id, _ in turn.after.seen:
            if node_id not in self._known_nodes:
                self._known_nodes.add(node_id)
                self._log.info("node.seen", node=node_id)
        for refusal in turn.refused:
            self.books.vitals.refused[refusal.reason] += 1
            times = self._seldom.due(f"{refusal.node}:{refusal.reason}", self._clock.mono_ms())
            if times:
                self._log.warning("frame.refused", node=refusal.node or None, reason=refusal.reason, times=times)

    # ---- the store

    @contextmanager
    def _transaction(self) -> Iterator[Connection]:
        conn = self._conn
        with conn.begin():
            changes.begin(conn)
            yield conn
            # On SQLite this process is the only one that keeps a copy; of what is read aside meanwhile it has to know.
            if not self._store_of.is_sqlite or self._aside is not None:
                self._told_id = changes.store(conn, self._clock.now_ms(), self._sender)
        if self._told_id is not None:
            self._position, self._told_id = self._told_id, None

    def _reading(self) -> AbstractContextManager[Connection]:
        """For reading everything, which takes a while in a city: on PostgreSQL nobody else waits for it."""
        return self._transaction() if self._store_of.is_sqlite else self._store_of.read()

    def _version(self) -> int:
        """Changes when another process commits (SQLite); costs microseconds, and no transaction."""
        if self._conn.dialect.name != "sqlite":
            return 0
        driver: Any = self._conn.connection.dbapi_connection
        return int(driver.execute("PRAGMA data_version").fetchone()[0])

    def _keep_up(self, conn: Connection) -> None:
        """Take in what another process committed. In a transaction: no commit can slip in behind it."""
        version, alone = self._version(), self._store_of.is_sqlite
        if self._fresh is not None:
            self._put_fresh(conn, self._fresh)
        if alone and version == self._data_version:
            self._stale = False
            return
        news = changes.read(conn, self._position)
        if alone and not news:
            news.topics["all"] = None  # somebody who tells nothing of it
        taken = self.books.take_in(conn, news)
        if taken.wants_directory:
            self._read_aside()
        for incident_id in sorted(taken.closed):
            self._log.info("incident.closed", incident=incident_id)
        self._others_changed |= taken.changed
        self._position, self._data_version, self._stale = news.last_id, version, False

    def _put_fresh(self, conn: Connection, fresh: _Fresh) -> None:
        """The registry that was read aside, and what changed in it since."""
        again, self._fresh, self._aside, self._aside_again = self._aside_again, None, None, False
        self.books.put_directory(conn, fresh.directory)
        if self.books.take_in(conn, changes.read(conn, fresh.position)).wants_directory or again:
            self._read_aside()
        self._log.info("registry.read", nodes=len(fresh.directory.nodes))

    def _read_aside(self) -> None:
        """Read the registry in another thread: alarms go on with what is known."""
        self._aside_again = self._aside is not None
        if self._aside is None:
            self._aside = threading.Thread(target=self._read_directory, name="registry", daemon=True)
            self._aside.start()

    def _read_directory(self) -> None:
        while not self._stopping:
            try:
                with self._store_of.read() as conn:
                    self.put(_Fresh(position=changes.position(conn), directory=self.books.load_directory(conn)))
                return
            except Exception as err:  # whatever it is: nobody else would ever read what changed
                what, step = (err.message, err.next_step) if isinstance(err, BongsuError) else (repr(err), "")
                self._log.warning("registry.not_read", what=what, next=step)
                time.sleep(_STORE_PAUSE_S)

    def _read_anew(self) -> None:
        with self._reading() as conn:
            self.books.reload(conn)
        self._stale = True

    def _hold(self, arrived: list[Arrived]) -> None:
        """Keep events that nobody was told of until the store is back: the broker brings them again, but in its own
        time. Minutes before alarms, which nodes send until they have their receipt, must not take their place.
        """
        for message in arrived:
            if message.qos and len(self._held) < _HELD_MAX and not may_be_history(message.data):
                self._held[message.topic, message.data] = message

    def _store_failed(self, err: Exception, arrived: list[Arrived]) -> bool:
        """True if the store is the cause; then this returns when it works again. Nothing of the turn was acknowledged:
        the events that came are tried again then, and the broker and the nodes bring them again as well.
        """
        if isinstance(err, StoreError):
            what, step = err.message, err.next_step
        elif isinstance(err, DBAPIError) and not isinstance(err, _OWN_FAULTS):
            what, step = explain(str(err.orig)) or (str(err.orig), "Look at the disk and the database.")
        else:
            return False
        if self._seldom.due("store", self._clock.mono_ms()):
            self._log.error("store.failed", what=what, next=step)
        self.store_ok = False
        self._hold(arrived)
        if time.monotonic() - self._failed_s < _STORE_PAUSE_S:
            self._pause()  # a little could be written, and then no more
        self._failed_s = time.monotonic()
        while not self._stopping:
            try:
                self._probe()
                self._read_anew()
                self.store_ok = True
                self.disk_freed += what.startswith(DISK_IS_FULL)
                break
            except (BongsuError, DBAPIError):
                self._pause()
        self._put_back()
        return True

    def _probe(self) -> None:
        """Write a little: a full disk can still be read, and every turn would fail again at once."""
        with self._store_of.write() as conn:
            mine = schema.receiver.c.sender == self._sender
            conn.execute(update(schema.receiver).where(mine).values(sender=self._sender))
            changes.note(conn, "receiver", self._sender)

    def _put_back(self) -> None:
        """What was kept meanwhile is tried again."""
        held, self._held = list(self._held.values()), {}
        for message in held:
            self.put(message)

    def _pause(self) -> None:
        """Wait before the store is tried again. Events are kept, the rest comes again; a stop is obeyed."""
        self.turns += 1
        end_s = time.monotonic() + _STORE_PAUSE_S
        while not self._stopping and time.monotonic() < end_s:
            try:
                item = self.inbox.get(max(0.0, end_s - time.monotonic()))
            except queue.Empty:
                return
            if type(item) is BeatsWait:
                self.edge.take_beats(GROUP_MAX)
            elif type(item) is Arrived:
                self._hold([item])
            else:
                self._note(item)

    def _drain(self) -> None:
        """The end: take in what requests under way bring, give the leases back."""
        end_ms = self._clock.mono_ms() + round(_DRAIN_S * 1000)
        while self.books.outbox.under_way and self._clock.mono_ms() < end_ms:
            items = self._gather(0.1)
            if items:
                self.turn(items)
        with self._transaction() as conn:
            self.books.sightings.write(conn, self._clock.now_ms(), most=None)
            self.books.air.write_all(conn)
            self.books.outbox.release(conn)
