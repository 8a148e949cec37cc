"""Records for other hands: incidents with their events and deliveries, and the audit, as CSV or as JSON lines. Phone
numbers are masked.
"""

import csv
import datetime as dt
import json
import os
import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TextIO

from sqlalchemy import Connection, select

from bongsu.errors import BongsuError
from bongsu.receiver import desk
from bongsu.receiver.store import schema

Row = dict[str, Any]
_PAGE = 200
# One table: a row is an incident, one of its events, or one of its deliveries ("what").
COLUMNS = (
    "incident", "what", "id", "at_ms", "class", "subject", "site", "name", "place", "state", "round", "kind",
    "phenomena", "criterion", "readings", "node", "purpose", "channel", "recipient", "attempts", "accepted_ms",
    "delivered_ms", "ack_ms", "ack_by", "closed_ms", "closed_by", "disposition", "note", "history",
)  # fmt: skip


def incident_rows(
    conn: Connection, *, site_id: str | None = None, from_ms: int | None = None, until_ms: int | None = None
) -> Iterator[Row]:
    """Incidents opened in this time, oldest first, each followed by its events and its deliveries."""
    table = schema.incident
    last = 0
    while True:
        query = select(table.c.id).where(table.c.id > last).order_by(table.c.id).limit(_PAGE)
        if from_ms is not None:
            query = query.where(table.c.opened_ms >= from_ms)
        if until_ms is not None:
            query = query.where(table.c.opened_ms < until_ms)
        if site_id is not None:
            query = query.where(table.c.subject.like(f"unit:{site_id}/%") | (table.c.subject == f"site:{site_id}"))
        ids = list(conn.execute(query).scalars())
        if not ids:
            return
        for incident_id in ids:
            yield from _incident(desk.show_incident(conn, incident_id))
        last = ids[-1]


def _incident(shown: Row) -> Iterator[Row]:
    number = shown["id"]
    yield {**shown, "incident": number, "what": "incident", "at_ms": shown["opened_ms"]}
    for event in shown["events"]:
        yield {**event, "incident": number, "what": "event", "id": event["event"], "at_ms": event["received_ms"]}
    for delivery in shown["deliveries"]:
        at_ms = delivery.get("created_ms")
        yield {**delivery, "incident": number, "what": "delivery", "at_ms": at_ms}


def write_table(out: Path | None, rows: Iterable[Row], columns: Sequence[str], *, as_json: bool) -> int:
    """Write rows into a new file (None: standard output); returns how many. Raises BongsuError."""
    count = 0
    with _opened(out) as file:
        if not as_json:
            if out is not None:
                file.write("\ufeff")  # so that spreadsheets take it for UTF-8
            csv.writer(file).writerow([_title(c) for c in columns])
        for row in rows:
            count += 1
            if as_json:
                file.write(json.dumps({c: row.get(c) for c in columns}, ensure_ascii=False) + "\n")
            else:
                csv.writer(file).writerow([_cell(c, row.get(c)) for c in columns])
    return count


@contextmanager
def _opened(out: Path | None) -> Iterator[TextIO]:
    if out is None:
        yield sys.stdout
        return
    try:
        fd = os.open(out, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        raise BongsuError(f"{out} is there already; it was not overwritten", "Name another file.") from None
    except OSError as err:
        raise BongsuError(f"cannot write {out}: {err.strerror}", "Name a file that can be written.") from None
    try:
        with os.fdopen(fd, "w", encoding="utf-8", newline="") as file:
            yield file
    except BaseException:
        out.unlink(missing_ok=True)
        raise


def _title(column: str) -> str:
    return f"{column[:-3]}_utc" if column.endswith("_ms") else column


def _cell(column: str, value: Any) -> Any:
    if value is None:
        return ""
    if column.endswith("_ms"):
        return dt.datetime.fromtimestamp(value / 1000, dt.UTC).isoformat(" ", "milliseconds")
    if isinstance(value, dict | list):
        return json.dumps(value, ensure_ascii=False)
    if isinstance(value, str) and value[:1] in tuple("=+-@\t\r\n＝＋－＠"):
        return f"'{value}"  # a spreadsheet would take it for a formula
    return value
