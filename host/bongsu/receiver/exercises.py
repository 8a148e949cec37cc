"""Exercises: for a while, alarms of the listed units ask the operator before they are dispatched (DESIGN section 7).

Every other unit's alarm stays what it is. An exercise ends by itself, at the latest after four hours; it stands in the
store, so a restart changes nothing.
"""

from typing import TYPE_CHECKING, Any

from sqlalchemy import Connection, insert, select, update

from bongsu.receiver import fields, incidents, registry
from bongsu.receiver.registry import RegistryError, Row
from bongsu.receiver.store import changes, schema

if TYPE_CHECKING:
    from bongsu.receiver.books import Books
    from bongsu.receiver.turn import Turn

# DESIGN section 7; the store's CHECK says the same.
MAX_MINUTES = 240
NOTE_MAX = 200
_MINUTE_MS = 60_000
_BY_TIME = "time"


def start(
    conn: Connection, *, site_id: str, units: tuple[str, ...], minutes: int, note: str, by: str, now_ms: int
) -> int:
    """Begin an exercise of these units of a site, for `minutes` (1 to MAX_MINUTES); returns its number.

    Raises FieldError, and RegistryError for an unknown unit, one that takes part in another exercise, and one whose
    alarm is open: that was real, and must not be taken for a drill.
    """
    site = fields.slug("site id", site_id)
    registry.require_site(conn, site)
    wanted = sorted({fields.slug("unit id", unit.partition("/")[2] or unit) for unit in units})
    if not wanted:
        raise fields.FieldError("empty", "no unit takes part", "Name them: --units a-07,a-08")
    if not 1 <= minutes <= MAX_MINUTES:
        raise fields.FieldError(
            "bad_minutes", f"an exercise lasts 1 to {MAX_MINUTES} minutes, not {minutes}", "Begin another one later."
        )
    text = fields.words("note", note, NOTE_MAX, required=False)
    for unit in wanted:
        registry.require_unit(conn, site, unit)
    _refuse_busy(conn, site, wanted, now_ms)
    row = {"site_id": site, "note": text, "begun_by": by[:100], "begins_ms": now_ms}
    made = conn.execute(insert(schema.exercise).values(**row, ends_ms=now_ms + minutes * _MINUTE_MS))
    (number,) = made.inserted_primary_key or (0,)
    conn.execute(insert(schema.exercise_unit), [{"exercise_id": number, "unit_id": unit} for unit in wanted])
    _noted(conn, number, "exercise.start", by, f"{site}: {', '.join(wanted)}; {minutes} min", now_ms)
    return int(number)


def _refuse_busy(conn: Connection, site: str, units: list[str], now_ms: int) -> None:
    for one in list_exercises(conn, only_running=True, now_ms=now_ms):
        both = sorted(set(units) & set(one["units"])) if one["site"] == site else []
        if both:
            raise RegistryError(
                f"{site}/{both[0]} takes part in exercise {one['id']} already",
                f"End that one first: bongsu exercise end {one['id']}",
            )
    c = schema.incident.c
    subjects = [f"unit:{site}/{unit}" for unit in units]
    query = select(c.id, c.subject).where(c.state == "open", c.class_.in_(incidents.DISPATCHED))
    still_open = conn.execute(query.where(c.subject.in_(subjects)).order_by(c.id)).first()
    if still_open is not None:
        raise RegistryError(
            f"{still_open.subject.partition(':')[2]} has an open alarm (incident {still_open.id})",
            f"Close it first: bongsu incident show {still_open.id}",
        )


def _noted(conn: Connection, number: int, action: str, by: str, detail: str, now_ms: int) -> None:
    changes.note(conn, "exercise", number)
    registry.audit(conn, actor=by, action=action, subject=f"exercise:{number}", detail=detail, now_ms=now_ms)


def list_exercises(conn: Connection, *, only_running: bool = False, now_ms: int) -> list[Row]:
    """Exercises, newest first: id, site, units, note, begun_by, begins_ms, ends_ms, ended_ms, ended_by, running."""
    table, unit = schema.exercise, schema.exercise_unit
    query = select(table).order_by(table.c.id.desc())
    if only_running:
        query = query.where(table.c.ended_ms.is_(None), table.c.ends_ms > now_ms)
    found = [dict(row._mapping) for row in conn.execute(query)]
    units: dict[int, list[str]] = {}
    listed = select(unit).join(table, table.c.id == unit.c.exercise_id).order_by(unit.c.unit_id)
    if only_running:
        listed = listed.where(table.c.ended_ms.is_(None))
    for row in conn.execute(listed):
        units.setdefault(row.exercise_id, []).append(row.unit_id)
    return [
        {
            "id": one["id"],
            "site": one["site_id"],
            "units": units.get(one["id"], []),
            "note": one["note"],
            "begun_by": one["begun_by"],
            "begins_ms": one["begins_ms"],
            "ends_ms": one["ends_ms"],
            "ended_ms": one["ended_ms"],
            "ended_by": one["ended_by"],
            "running": one["ended_ms"] is None and one["ends_ms"] > now_ms,
        }
        for one in found
    ]


def end(conn: Connection, number: int, *, by: str, now_ms: int) -> None:
    """End an exercise early. What an alarm of it asks already is still asked. Raises RegistryError."""
    table = schema.exercise
    row = conn.execute(select(table).where(table.c.id == number)).first()
    if row is None:
        raise RegistryError(f"there is no exercise {number}", "See them: bongsu exercise list")
    if row.ended_ms is not None or row.ends_ms <= now_ms or not _close(conn, number, by, now_ms):
        raise RegistryError(f"exercise {number} is over already", "See them: bongsu exercise list")


def _close(conn: Connection, number: int, by: str, now_ms: int) -> bool:
    """True if nobody else ended it before."""
    table = schema.exercise
    mine = update(table).where(table.c.id == number, table.c.ended_ms.is_(None))
    if conn.execute(mine.values(ended_ms=now_ms, ended_by=by[:100])).rowcount != 1:
        return False
    _noted(conn, number, "exercise.end", by, "", now_ms)
    return True


def shift(conn: Connection, by_ms: int) -> None:
    """The clock was set by `by_ms` (ms): exercises and held alarms keep the time that they have left."""
    exercise, incident = schema.exercise, schema.incident
    moved: dict[str, Any] = {
        "begins_ms": exercise.c.begins_ms + by_ms,
        "ends_ms": exercise.c.ends_ms + by_ms,
    }
    running = update(exercise).where(exercise.c.ended_ms.is_(None)).values(moved).returning(exercise.c.id)
    held = update(incident).where(incident.c.state == "open", incident.c.held_until_ms > 0)
    later: dict[str, Any] = {"held_until_ms": incident.c.held_until_ms + by_ms}
    for topic, found in (("exercise", running), ("incident", held.values(later).returning(incident.c.id))):
        ids = list(conn.execute(found).scalars())
        if ids:
            changes.note(conn, topic, *ids)


class Exercises:
    """Which units take part in an exercise now; ends it when its time is over. A chore of the writer."""

    def __init__(self, books: "Books") -> None:
        self._clock = books.clock
        self._units: dict[tuple[str, str], int] = {}
        self._ends: dict[int, tuple[int, int]] = {}  # id -> (ends_ms as stored, end by the monotonic clock)

    def of(self, site_id: str | None, unit_id: str | None) -> int | None:
        """The exercise that this unit is part of at this moment."""
        if not self._units or site_id is None or unit_id is None:
            return None
        number = self._units.get((site_id, unit_id))
        if number is None or self._ends[number][1] <= self._clock.mono_ms():
            return None
        return number

    def load(self, conn: Connection) -> None:
        """Read the exercises that have not ended. None lasts longer than it may, whatever was done to the clock."""
        now_ms, mono_ms = self._clock.now_ms(), self._clock.mono_ms()
        table, unit = schema.exercise, schema.exercise_unit
        before, self._ends, self._units = self._ends, {}, {}
        for row in conn.execute(select(table).where(table.c.ended_ms.is_(None))):
            known = before.get(row.id)
            left_ms = min(row.ends_ms - now_ms, row.ends_ms - row.begins_ms)
            stays = known is not None and known[0] == row.ends_ms
            self._ends[row.id] = known if stays and known else (row.ends_ms, mono_ms + left_ms)
        if self._ends:
            listed = select(unit.c.exercise_id, unit.c.unit_id, table.c.site_id).join(
                table, table.c.id == unit.c.exercise_id
            )
            for row in conn.execute(listed.where(unit.c.exercise_id.in_(self._ends))):
                self._units[row.site_id, row.unit_id] = row.exercise_id

    def note(self, item: object) -> None:
        """Nothing is meant for it."""

    def due_ms(self) -> int | None:
        """When the first one ends (monotonic ms)."""
        return min((mono_ms for _, mono_ms in self._ends.values()), default=None)

    def act(self, conn: Connection, turn: "Turn") -> None:
        """End those whose time is over."""
        mono_ms = self._clock.mono_ms()
        for number in [n for n, (_, end_ms) in self._ends.items() if end_ms <= mono_ms]:
            del self._ends[number]
            self._units = {unit: n for unit, n in self._units.items() if n != number}
            if _close(conn, number, _BY_TIME, self._clock.now_ms()):
                turn.say("info", "exercise.ended", exercise=number)


class LetGo:
    """Lets go what was held back when its time is over, or when a person said so. A chore of the writer."""

    def __init__(self, books: "Books") -> None:
        self._books = books

    def load(self, conn: Connection) -> None:
        """The casebook reads the incidents."""

    def note(self, item: object) -> None:
        """Nothing is meant for it."""

    def due_ms(self) -> int | None:
        """When the first one is due (monotonic ms)."""
        clock = self._books.clock
        return self._books.casebook.unsettled.due_ms(clock.now_ms(), clock.mono_ms())

    def act(self, conn: Connection, turn: "Turn") -> None:
        """Tell the responders."""
        books = self._books
        for incident_id in books.casebook.unsettled.take_due(books.clock.now_ms(), books.clock.mono_ms()):
            case = books.casebook.by_id.get(incident_id)
            if case is not None:
                turn.release(conn, case)
