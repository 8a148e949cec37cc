"""The transactional outbox: deliveries that are not done yet, their leases and their next times.

The writer owns it. What stands here in memory stands in the store as well; a delivery goes out only after it was
committed under this receiver's lease, and what becomes of it is written only while that lease holds (fencing): a
receiver that was asleep for too long changes nothing. All tries of a delivery carry one idempotency key.
"""

import heapq
from collections.abc import Callable, Collection
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

from sqlalchemy import ColumnElement, Connection, bindparam, func, select, update

from bongsu.channels.base import Message, Outcome
from bongsu.receiver import delivery_policy, rows
from bongsu.receiver.casebook import Body, Planned, Told
from bongsu.receiver.clock import Clock
from bongsu.receiver.delivery_policy import TEST, WEBHOOK, After, Chance, Delivery, Policy
from bongsu.receiver.jobs import CHECK, SEND, Done, Job, Lease
from bongsu.receiver.rows import batched
from bongsu.receiver.store import changes, schema

Fields = dict[str, Any]
_DETAIL_MAX = 300
_CLAIM_AT_ONCE = 500
# What waits for its next try is left to the receiver that tried it last, unless that one is gone.
_OTHERS_FIRST_MS = 1_000
_LEASE_OVER_MS = 50
# A lease that ends later than its length and this from now was written before the clock was set back: it is over.
LEASE_AHEAD_MS = 5_000
# In place of a secret that there is not: no form of one, so the channel refuses to sign with it, and says why.
_NO_SECRET = "-"
# Of a message whose incident was closed: about ten minutes.
_LAST_POLLS = 60
_WAITING = ("pending", "sent")
_URGENT = (delivery_policy.ALARM, delivery_policy.ESCALATION)
# What a finished job writes; the times of what was reached before stay.
_RESULT = ("state", "attempts", "next_at_ms", "lease_token", "lease_until_ms", "ref", "last_error")
_REACHED = {"sent_ms": "sent", "accepted_ms": "accepted", "delivered_ms": "delivered"}


class Relay(Protocol):
    """Who carries out jobs."""

    def take(self, jobs: list[Job]) -> None:
        """Begin these; each ends as a Done in the writer's queue. From any thread; never waits."""


@dataclass(slots=True)
class Open:
    """A delivery that is not done: what the policy knows, what is sent, and when it was planned (monotonic ms).

    `under_way`: the relay has it; `sending`: and hands it over (rather than asks about it); `away`: another receiver
    has it, as far as is known. `void`: it is not to be tried again once it comes back.
    """

    delivery: Delivery
    key: str
    told: Told
    body: Body
    since_ms: int
    polls: int = 0
    under_way: bool = False
    sending: bool = False
    away: bool = False
    void: bool = False
    due_ms: int | None = None
    escalated: bool = False


@dataclass(slots=True)
class Late:
    """A delivery that took too long or was refused: the next one is to be told."""

    open: Open
    why: str


@dataclass(slots=True)
class Settled:
    """What was written about a finished job, for the log and for the incident."""

    open: Open
    after: After
    outcome: Outcome
    done: bool


@dataclass(slots=True)
class _Written:
    results: list[Fields] = field(default_factory=list)
    attempts: list[Fields] = field(default_factory=list)


def _last_try(one: Open, after: After, action: str) -> After:
    """The outcome for a message that nobody waits for any more: it is not tried again. What was sent is asked about
    for a while still, for it is good to know whether it arrived.
    """
    if after.wait_ms is None or (after.state == "sent" and one.polls < _LAST_POLLS):
        return after
    return replace(after, state="cancelled" if action == SEND else "failed", wait_ms=None)


class Outbox:
    """Deliveries that are not done, by id and by line."""

    def __init__(
        self,
        conn: Connection,
        *,
        clock: Clock,
        lease: Lease,
        policy: Policy,
        chance: Chance,
        secret_of: Callable[[str], str | None],
        alone: bool,
    ) -> None:
        self._clock, self._lease, self._policy, self._chance = clock, lease, policy, chance
        self._secret_of, self._alone = secret_of, alone
        self._open: dict[int, Open] = {}
        self._lines: dict[tuple[int, str, str], list[int]] = {}
        self._due: list[tuple[int, int]] = []
        self._late: list[tuple[int, int]] = []
        self._under_way = 0
        self._renew_at_ms = 0
        table = schema.delivery
        mine = (table.c.id == bindparam("key_id"), table.c.lease_token == bindparam("key_token"))
        set_: Fields = {name: bindparam(name, type_=table.c[name].type) for name in _RESULT}
        set_ |= {name: func.coalesce(bindparam(name, type_=table.c[name].type), table.c[name]) for name in _REACHED}
        self._write_result = rows.Compiled(update(table).where(*mine).values(set_), conn)
        self._write_attempt = rows.insert_into(schema.delivery_attempt, conn, without=("id",))
        self.load(conn)

    # ---- what is there

    def load(self, conn: Connection) -> None:
        """Read what is not done. What was under way is tried again: at once where this receiver is the only one (then
        whoever held the lease is gone), else when the lease ends.
        """
        self._open.clear()
        self._lines.clear()
        self._due.clear()
        self._late.clear()
        self._under_way = 0
        now_ms, mono_ms = self._clock.now_ms(), self._clock.mono_ms()
        table = schema.delivery
        waiting = table.c.state.in_(_WAITING)
        opened = select(schema.incident.c.id).where(schema.incident.c.state == "open")
        if self._alone:
            held = update(table).where(waiting, table.c.lease_token.is_not(None))
            conn.execute(held.values(lease_token=None, lease_until_ms=None, next_at_ms=now_ms))
            over = (table.c.purpose != TEST) | (table.c.created_ms < now_ms - delivery_policy.TEST_WITHIN_MS)
            stale = update(table).where(table.c.state == "pending", table.c.incident_id.not_in(opened), over)
            conn.execute(stale.values(state="cancelled", lease_token=None, lease_until_ms=None))
        for row in conn.execute(select(table).where(waiting).order_by(table.c.id)):
            one = self._known(row, now_ms, mono_ms)
            self._follow(one, row, now_ms, mono_ms, 0)
            if self._is_left_over(row.lease_token):
                one.away = False
                self._schedule(one, mono_ms)
        if not self._alone:  # reading only: what is of no use any more is cancelled when its time comes
            still = set(conn.execute(opened).scalars())
            for one in self._open.values():
                one.void = not self._is_waited_for(one, one.delivery.incident_id in still)

    def take_in_all(self, conn: Connection) -> set[int]:
        """As `take_in`, of whatever is not done."""
        table = schema.delivery
        waiting = conn.execute(select(table.c.id).where(table.c.state.in_(_WAITING))).scalars()
        return self.take_in(conn, set(waiting).union(self._open))

    def take_in(self, conn: Connection, ids: Collection[int]) -> set[int]:
        """Others wrote about these deliveries: have them as the store has them. Returns whose incidents they are."""
        if not ids:
            return set()
        table = schema.delivery
        now_ms, mono_ms = self._clock.now_ms(), self._clock.mono_ms()
        found: dict[int, Any] = {}
        for some in batched(sorted(ids), _CLAIM_AT_ONCE):
            found.update({row.id: row for row in conn.execute(select(table).where(table.c.id.in_(some)))})
        for delivery_id in sorted(ids):
            row, one = found.get(delivery_id), self._open.get(delivery_id)
            if row is not None and row.state in _WAITING:
                self._take_row(row, now_ms, mono_ms)
            elif one is not None:
                self._let_go(one)
                self._drop(one)
                self._wake_line(one.delivery.line)
        return {row.incident_id for row in found.values()}

    def _take_row(self, row: Any, now_ms: int, mono_ms: int) -> None:
        one = self._open.get(row.id)
        if one is None:
            one = self._known(row, now_ms, mono_ms)
        elif one.under_way and row.lease_token == self._lease.token:
            return
        self._let_go(one)
        was_away = one.away
        one.delivery = replace(one.delivery, state=row.state, attempts=row.attempts, ref=row.ref)
        one.escalated = row.escalated
        self._follow(one, row, now_ms, mono_ms, _OTHERS_FIRST_MS)
        if was_away and not one.away:  # what waits in its line behind it may go
            self._wake_line(one.delivery.line)

    def _is_waited_for(self, one: Open, incident_open: bool) -> bool:
        """Is it of use still?"""
        if one.delivery.purpose == TEST:
            return self._clock.mono_ms() - one.since_ms < delivery_policy.TEST_WITHIN_MS
        return incident_open

    def _let_go(self, one: Open) -> None:
        """What the relay still does with it is of no interest any more."""
        if one.under_way:
            one.under_way = one.sending = False
            self._under_way -= 1

    def _known(self, row: Any, now_ms: int, mono_ms: int) -> Open:
        """A delivery of the store, from now on in memory."""
        d = Delivery(
            row.id, row.incident_id, row.round, row.seq, row.purpose, row.channel, row.recipient, row.state,
            row.attempts, row.ref
        )  # fmt: skip
        told = Told(row.channel, row.target, row.target.get("lang", "ko"))
        body = row.body if isinstance(row.body, str) else rows.prepared(row.body)
        planned_ago_ms = max(0, now_ms - row.created_ms)
        one = Open(d, row.idempotency_key, told, body, mono_ms - planned_ago_ms, escalated=row.escalated)
        self._add(one)
        return one

    def _follow(self, one: Open, row: Any, now_ms: int, mono_ms: int, after_ms: int) -> None:
        """Look at it when its lease ends, or (`after_ms` after whoever had it last) when its time comes."""
        until_ms = row.lease_until_ms
        if until_ms is not None:  # one that ends later than any can was written before the clock was set back
            until_ms = min(until_ms, now_ms + self._lease.length_ms)
        one.away = until_ms is not None and row.lease_token != self._lease.token
        next_ms = row.next_at_ms + after_ms if until_ms is None else until_ms + _LEASE_OVER_MS
        self._schedule(one, mono_ms + min(max(0, next_ms - now_ms), self._policy.retry_cap_ms))

    def _is_left_over(self, lease_token: str | None) -> bool:
        """Was it under way in an earlier process of this very receiver?"""
        mine = self._lease.token
        return lease_token not in (None, mine) and str(lease_token).partition("-")[0] == mine.partition("-")[0]

    def _unheld(self) -> ColumnElement[bool]:
        """In SQL: no other receiver has it under way (what this one has, memory says)."""
        mine = schema.delivery.c.lease_token.startswith(self._lease.token.partition("-")[0] + "-")
        until, now_ms = schema.delivery.c.lease_until_ms, self._clock.now_ms()
        return until.is_(None) | (until < now_ms) | (until > now_ms + self._lease.length_ms + LEASE_AHEAD_MS) | mine

    def _add(self, one: Open) -> None:
        d = one.delivery
        self._open[d.id] = one
        self._lines.setdefault(d.line, []).append(d.id)
        if delivery_policy.escalates(d) and not one.escalated:
            heapq.heappush(self._late, (one.since_ms + self._policy.within_ms(d.channel), d.id))

    def _schedule(self, one: Open, mono_ms: int) -> None:
        one.due_ms = mono_ms
        heapq.heappush(self._due, (mono_ms, one.delivery.id))

    def _drop(self, one: Open) -> None:
        d = one.delivery
        del self._open[d.id]
        line = self._lines[d.line]
        line.remove(d.id)
        if not line:
            del self._lines[d.line]

    def __len__(self) -> int:
        return len(self._open)

    @property
    def under_way(self) -> int:
        """How many jobs the relay has."""
        return self._under_way

    def oldest_alarm_ms(self) -> int | None:
        """When the oldest alarm that nobody has accepted yet was planned (monotonic ms). From any thread."""
        waiting = (one for one in list(self._open.values()) if one.delivery.purpose in _URGENT)
        return min((one.since_ms for one in waiting if one.delivery.state == "pending"), default=None)

    def due_ms(self) -> int | None:
        """When `work` is to be called next (monotonic ms); None: not before something changes."""
        times = [heap[0][0] for heap in (self._due, self._late) if heap]
        if self._under_way:
            times.append(self._renew_at_ms)
        return min(times, default=None)

    # ---- new deliveries

    def admit(self, planned: list[Planned]) -> list[Job]:
        """Take in deliveries that are being stored; marks those that go out at once (`leased`) and returns their jobs,
        to be handed over after the commit.
        """
        jobs = []
        for p in planned:
            one = Open(p.delivery, p.key, p.told, p.body, self._clock.mono_ms())
            self._add(one)
            if self._free(one):
                p.leased = True
                jobs.append(self._begin(one, SEND))
        return jobs

    def _free(self, one: Open) -> bool:
        """May it go now? One at a time in its line, and a restore only after what came before."""
        line = [self._open[i] for i in self._lines[one.delivery.line]]
        if any(other.sending or (other.away and other.delivery.state == "pending") for other in line):
            return False
        return delivery_policy.may_go(one.delivery, [o.delivery for o in line if o is not one])

    def _begin(self, one: Open, action: str) -> Job:
        one.under_way, one.sending, one.due_ms, one.away = True, action == SEND, None, False
        self._under_way += 1
        if self._under_way == 1:
            self._renew_at_ms = self._clock.mono_ms() + self._lease.length_ms // 3
        d = one.delivery
        if d.channel == WEBHOOK:
            secret = self._secret_of(d.recipient.removeprefix("responder:")) or _NO_SECRET
            target = {"url": one.told.target["url"], "secret": secret}
        else:
            target = {"phone": one.told.target["phone"]}
        body: Any = one.body  # the channel sends a prepared JSON object as it is
        message = Message(d.id, one.key, d.purpose, target, body, one.told.lang)
        return Job(d.id, d.channel, action, message, d.ref)

    # ---- time

    def take_due(self, conn: Connection, belied: Callable[[set[int]], set[int]]) -> list[Job]:
        """Claim what is due now and may go; also renews the lease on what is under way. `belied`: which of these walk
        tests' incidents have an alarm beside them by now, so that their text says "no fire" to nobody any more.
        """
        mono_ms = self._clock.mono_ms()
        ready: list[Open] = []
        while self._due and self._due[0][0] <= mono_ms:
            due_ms, delivery_id = heapq.heappop(self._due)
            one = self._open.get(delivery_id)
            if one is not None and one.due_ms == due_ms and not one.under_way:
                one.due_ms = None  # what may not go yet is due again when its line moves on
                one.away = False
                ready.append(one)
        tests = [one for one in ready if one.delivery.purpose == TEST]
        gone = belied({one.delivery.incident_id for one in tests}) if tests else ()
        for one in tests:
            one.void = one.void or one.delivery.incident_id in gone
        self._cancel(conn, [one for one in ready if one.void and one.delivery.state == "pending"])
        ready = [one for one in ready if one.delivery.id in self._open and self._free(one)]
        claimed = self._claim(conn, [one.delivery.id for one in ready])
        jobs = []
        for one in ready:
            if one.delivery.id in claimed and self._free(one):
                jobs.append(self._begin(one, CHECK if one.delivery.state == "sent" else SEND))
        self.take_in(conn, {one.delivery.id for one in ready} - claimed)  # another receiver has them
        if self._under_way and mono_ms >= self._renew_at_ms:
            self._renew(conn)
        return jobs

    def _claim(self, conn: Connection, ids: list[int]) -> set[int]:
        if not ids:
            return set()
        token, until_ms = self._lease.renew()
        table = schema.delivery
        claimed: set[int] = set()
        for some in batched(ids, _CLAIM_AT_ONCE):
            claim = update(table).where(table.c.id.in_(some), table.c.state.in_(_WAITING), self._unheld())
            claimed.update(
                conn.execute(claim.values(lease_token=token, lease_until_ms=until_ms).returning(table.c.id)).scalars()
            )
        return claimed

    def _renew(self, conn: Connection) -> None:
        token, until_ms = self._lease.renew()
        table = schema.delivery
        mine = (table.c.lease_token == token, table.c.state.in_(_WAITING))
        conn.execute(update(table).where(*mine).values(lease_until_ms=until_ms))
        self._renew_at_ms = self._clock.mono_ms() + self._lease.length_ms // 3

    def take_late(self) -> list[Late]:
        """Deliveries whose time is over: each is returned once."""
        mono_ms = self._clock.mono_ms()
        found = []
        while self._late and self._late[0][0] <= mono_ms:
            one = self._open.get(heapq.heappop(self._late)[1])
            if one is not None and not one.escalated:
                found.append(Late(one, "no answer in time"))
        return found

    def mark_escalated(self, conn: Connection, late: list[Late]) -> None:
        """Write down that the next one was told in place of these (they go on all the same)."""
        table = schema.delivery
        for one in late:
            one.open.escalated = True
        ids = [one.open.delivery.id for one in late]
        conn.execute(update(table).where(table.c.id.in_(ids)).values(escalated=True))
        changes.note(conn, "delivery", *ids)

    def release(self, conn: Connection) -> None:
        """This process ends: what it still has under way may be taken by the next one at once."""
        table = schema.delivery
        mine = (table.c.lease_token == self._lease.token, table.c.state.in_(_WAITING))
        values = {"lease_token": None, "lease_until_ms": None, "next_at_ms": self._clock.now_ms()}
        given_back = conn.execute(update(table).where(*mine).values(values).returning(table.c.id)).scalars().all()
        if given_back:
            changes.note(conn, "delivery", *given_back)

    # ---- ends

    def settle(self, conn: Connection, finished: list[Done], is_open: Callable[[int], bool]) -> list[Settled]:
        """Write what became of jobs. `is_open`: is that incident still open? A lost lease changes nothing."""
        settled: list[Settled] = []
        written = _Written()
        for done in finished:
            one = self._open.get(done.delivery_id)
            if one is None or not one.under_way:
                continue  # its incident was closed meanwhile
            one.under_way = one.sending = False
            self._under_way -= 1
            settled.append(self._judge(one, done, written, is_open(one.delivery.incident_id)))
        touched = self._write_result.run(conn, written.results)
        self._write_attempt.run(conn, written.attempts)
        if touched != len(written.results):
            self._forget_lost(conn, settled)
        if settled:
            changes.note(conn, "delivery", *(s.open.delivery.id for s in settled))
        return settled

    def _judge(self, one: Open, done: Done, written: _Written, incident_open: bool) -> Settled:
        d, outcome = one.delivery, done.outcome
        if done.action == SEND:
            after = delivery_policy.after_send(
                self._policy, d, outcome.state, ref=outcome.ref, asked_ms=outcome.retry_after_ms, chance=self._chance
            )
            attempts, one.polls = d.attempts + 1, 0
        else:
            after = delivery_policy.after_check(self._policy, d, outcome.state, polls=one.polls, chance=self._chance)
            attempts, one.polls = d.attempts, one.polls + 1
        reached = after.wait_ms is None
        if one.void or not self._is_waited_for(one, incident_open):
            after = _last_try(one, after, done.action)
        one.delivery = replace(d, state=after.state, attempts=attempts, ref=after.ref)
        if after.wait_ms is None:
            self._drop(one)
        else:
            self._schedule(one, self._clock.mono_ms() + after.wait_ms)
        self._note(written, one, done, after, self._clock.now_ms())
        return Settled(one, after, outcome, reached)

    def _note(self, written: _Written, one: Open, done: Done, after: After, now_ms: int) -> None:
        d = one.delivery
        good = after.state in ("accepted", "sent", "delivered")
        row = {
            "key_id": d.id,
            "key_token": self._lease.token,
            "state": after.state,
            "attempts": d.attempts,
            "next_at_ms": now_ms + (after.wait_ms or 0),
            "lease_token": None,
            "lease_until_ms": None,
            "ref": d.ref,
            "last_error": None if good else done.outcome.detail[:_DETAIL_MAX],
            **{name: now_ms if state == after.state else None for name, state in _REACHED.items()},
        }
        written.results.append(row)
        if done.action == SEND or after.state != "sent":  # asking and hearing "not yet" is no try
            written.attempts.append(
                {
                    "delivery_id": d.id,
                    "at_ms": now_ms - done.took_ms,
                    "took_ms": done.took_ms,
                    "outcome": done.outcome.state,
                    "detail": done.outcome.detail[:_DETAIL_MAX],
                }
            )

    def _forget_lost(self, conn: Connection, settled: list[Settled]) -> None:
        """Some rows were no longer ours: what the store says about them holds."""
        ids = [s.open.delivery.id for s in settled]
        c = schema.delivery.c
        query = select(c.id, c.state, c.attempts, c.lease_token).where(c.id.in_(ids))
        now = {r.id: (r.state, r.attempts, r.lease_token) for r in conn.execute(query)}
        for s in list(settled):
            d = s.open.delivery
            if now.get(d.id) != (s.after.state, d.attempts, None):
                if d.id in self._open:
                    self._drop(s.open)
                settled.remove(s)
                self.take_in(conn, [d.id])

    def next_in_line(self, settled: list[Settled]) -> None:
        """Lines that became free: what waits in them is due now."""
        for s in settled:
            self._wake_line(s.open.delivery.line)

    def _wake_line(self, line: tuple[int, str, str]) -> None:
        for delivery_id in self._lines.get(line, ()):
            one = self._open[delivery_id]
            if not one.under_way and one.due_ms is None:
                self._schedule(one, self._clock.mono_ms())

    def give_up(self, conn: Connection, incident_ids: set[int], purpose: str | None = None) -> None:
        """These incidents were closed (or, with `purpose`, such a message is no longer true): nothing more goes out."""
        gone = [
            one
            for one in self._open.values()
            if one.delivery.incident_id in incident_ids and purpose in (None, one.delivery.purpose)
        ]
        for one in gone:
            one.void = True
        self._cancel(conn, [o for o in gone if o.delivery.state == "pending" and not o.under_way and not o.away])

    def _cancel(self, conn: Connection, idle: list[Open]) -> None:
        """These do not go out any more; one that another receiver has under way meanwhile stays that one's."""
        if not idle:
            return
        table = schema.delivery
        ids = [one.delivery.id for one in idle]
        waiting = update(table).where(table.c.id.in_(ids), table.c.state == "pending", self._unheld())
        conn.execute(waiting.values(state="cancelled", lease_token=None, lease_until_ms=None))
        changes.note(conn, "delivery", *ids)
        for one in idle:
            self._drop(one)
