"""`bongsu incident`."""

from pathlib import Path
from typing import Any

import click

from bongsu.cli import minutes, output
from bongsu.cli.context import Installation, actor, data_option, json_option, now_ms, pass_installation
from bongsu.cli.seen import Seen, seen_option
from bongsu.cli.times import TIME

DISPOSITIONS = ("fire", "cooking", "steam", "dust", "insect", "device_fault", "test", "unknown")
# The largest number that the store holds.
ID_MAX = 2**63 - 1
_LIST = [
    "id",
    "class",
    "subject",
    "name",
    "place",
    "phase",
    "standing",
    "since_ms",
    "round",
    "verified",
    "held_until_ms",
    "last_event",
    "ack_by",
    "disposition",
]
_EVENTS = ["event", "node", "kind", "phenomena", "criterion", "event_ms", "received_ms", "readings"]
_DELIVERIES = [
    "id",
    "purpose",
    "channel",
    "recipient",
    "state",
    "attempts",
    "accepted_ms",
    "delivered_ms",
    "last_error",
]


@click.group()
@data_option
def incident() -> None:
    """Incidents: what happened, who took it on, how it ended."""


@incident.command("list")
@click.option("--open", "only_open", is_flag=True, help="Only those that are not closed.")
@click.option("--site", "site_id", help="Only this site's.")
@click.option("--limit", type=click.IntRange(1, 100_000), default=100, show_default=True)
@data_option
@json_option
@pass_installation
def list_(installation: Installation, only_open: bool, site_id: str | None, limit: int, json_wanted: bool) -> None:
    """List incidents, newest first."""
    from bongsu.receiver import desk, registry

    with installation.reading() as conn:
        if site_id is not None:
            registry.require_site(conn, site_id)
        rows = desk.list_incidents(conn, only_open=only_open, site_id=site_id, limit=limit)
    output.show_list(rows, _LIST, json_wanted=json_wanted, empty="No incidents.")


@incident.command()
@click.argument("incident_id", metavar="ID", type=click.IntRange(1, ID_MAX))
@data_option
@json_option
@pass_installation
def show(installation: Installation, incident_id: int, json_wanted: bool) -> None:
    """Show an incident with its contacts, events and deliveries."""
    from bongsu.channels import texts
    from bongsu.receiver import desk

    with installation.reading() as conn:
        row = desk.show_incident(conn, incident_id)
    if json_wanted:
        click.echo(output.as_json(row))
        return
    for event in row["events"]:
        event["readings"] = texts.readings_shown(event["readings"], event["criterion"])
    before = minutes.shown(row["events"])
    wanted = {"events": _EVENTS, "deliveries": _DELIVERIES}
    for name, columns in wanted.items():
        row[name] = [{c: thing[c] for c in columns} for thing in row[name]]
    click.echo(output.record(_for_people(row)) + before)
    if row["asks"] == "exercise":
        click.echo(f"\nIts unit is in an exercise; at {output.when(row['held_until_ms'])} it goes out unless you say:")
        click.echo(f"bongsu exercise answer {incident_id} --seen {row['seen']} drill|real")
    elif row["asks"] == "verify":
        click.echo(f"\nNot verified; it goes out at {output.when(row['held_until_ms'])}, or now:")
        click.echo(f"bongsu incident verify {incident_id} --seen {row['seen']}")
    if row["state"] == "open" and row["ack_ms"] is None:
        click.echo(f"\nAcknowledge: bongsu incident ack {incident_id} --seen {row['seen']}")
    if row["state"] == "open":
        click.echo(f"Close: bongsu incident close {incident_id} --seen {row['seen']} --disposition ...")


def _for_people(row: dict[str, Any]) -> dict[str, Any]:
    """The row with its alarms, owner, exercise and deliveries as a line each; what says nothing is left out."""
    shown = dict(row)
    for name in ("first_alarm", "last_alarm"):
        shown[name] = _alarm_line(row[name])
    if row["last_alarm"] == row["first_alarm"]:
        del shown["last_alarm"]
    exercise = row["exercise"]
    if exercise is not None:
        shown["exercise"] = f"{exercise['id']} {exercise['note']}".strip()
    shown["delivery_states"] = [
        f"{purpose} by {channel}: " + ", ".join(f"{n} {state}" for state, n in states.items())
        for purpose, channels in row["delivery_states"].items()
        for channel, states in channels.items()
    ]
    dull = ("opened_ms", "verified_ms", "verified_by", "held_until_ms", "asks", "exercise", "duty", "unassigned")
    return {k: v for k, v in shown.items() if k not in dull or (v and k != "opened_ms")}


def _alarm_line(alarm: dict[str, Any] | None) -> str | None:
    """ "heat, heat_fixed: temperature 67 degC (event 7, a0b1c2d3e4f5)"."""
    if alarm is None:
        return None
    values = ", ".join(f"{name} {value}" for name, value in alarm["values"].items())
    what = f"{alarm['phenomena']}, {alarm['criterion']}" + (f": {values}" if values else "")
    return f"{what} (event {alarm['event']}, {alarm['node']})"


@incident.command()
@click.argument("incident_id", metavar="ID", type=click.IntRange(1, ID_MAX))
@seen_option
@click.option("--by", help="Who acknowledges (default: the user who runs this).")
@data_option
@json_option
@pass_installation
def ack(installation: Installation, incident_id: int, seen: Seen, by: str | None, json_wanted: bool) -> None:
    """Take an incident on. Refused if a newer event came in since you looked."""
    from bongsu.receiver import desk, fields

    who = fields.words("--by", by, 100) if by is not None else actor()
    with installation.writing("outbox") as conn:
        desk.acknowledge(conn, incident_id, **seen.named(), by=who, now_ms=now_ms())
    row = {"incident": incident_id, "ack_by": who, "seen": str(seen)}
    output.done(f"Incident {incident_id} is acknowledged by {who}", row, json_wanted=json_wanted)


@incident.command()
@click.argument("incident_id", metavar="ID", type=click.IntRange(1, ID_MAX))
@seen_option
@click.option("--by", help="Who says so (default: the user who runs this).")
@data_option
@json_option
@pass_installation
def verify(installation: Installation, incident_id: int, seen: Seen, by: str | None, json_wanted: bool) -> None:
    """Say that an alarm is real. What the site's policy holds back goes out at once.

    Refused if a newer event came in since you looked.
    """
    from bongsu.receiver import desk, fields

    who = fields.words("--by", by, 80) if by is not None else actor()
    with installation.writing("outbox") as conn:
        desk.verify(conn, incident_id, **seen.named(), by=who, now_ms=now_ms())
    row = {"incident": incident_id, "verified_by": who, "seen": str(seen)}
    output.done(f"Incident {incident_id} is verified by {who}", row, json_wanted=json_wanted)


@incident.command()
@click.argument("incident_id", metavar="ID", type=click.IntRange(1, ID_MAX))
@click.option("--disposition", type=click.Choice(DISPOSITIONS), required=True, help="What it was.")
@click.option("--note", default="", help="Anything else worth keeping.")
@seen_option
@click.option("--still-standing", is_flag=True, help="Close it although its alarm or fault has not ended.")
@click.option("--by", help="Who closes it (default: the user who runs this).")
@data_option
@json_option
@pass_installation
def close(
    installation: Installation,
    incident_id: int,
    disposition: str,
    note: str,
    seen: Seen,
    still_standing: bool,
    by: str | None,
    json_wanted: bool,
) -> None:
    """End an incident and say what it was. Messages that have not been sent yet are cancelled.

    Refused if a newer event came in since you looked, and while the alarm still stands.
    """
    from bongsu.receiver import desk, fields

    who = fields.words("--by", by, 100) if by is not None else actor()
    checked_note = fields.words("--note", note, 1000, required=False)
    with installation.writing("outbox") as conn:
        cancelled = desk.close(
            conn,
            incident_id,
            disposition=disposition,
            note=checked_note,
            by=who,
            now_ms=now_ms(),
            **seen.named(),
            still_standing=still_standing,
        )
    row = {"incident": incident_id, "disposition": disposition, "cancelled_deliveries": cancelled}
    text = f"Incident {incident_id} is closed: {disposition}" + (
        f"; {cancelled} messages were cancelled" if cancelled else ""
    )
    output.done(text, row, json_wanted=json_wanted)


@incident.command()
@click.option("--out", type=click.Path(path_type=Path, dir_okay=False), help="A new file; else standard output.")
@click.option("--site", "site_id", help="Only this site's.")
@click.option("--from", "from_ms", type=TIME, help="Opened from this time on: 2026-03-01, or 365d ago.")
@click.option("--to", "until_ms", type=TIME, help="Opened before this time.")
@data_option
@json_option
@pass_installation
def export(
    installation: Installation,
    out: Path | None,
    site_id: str | None,
    from_ms: int | None,
    until_ms: int | None,
    json_wanted: bool,
) -> None:
    """Write incidents with their events and deliveries as CSV (UTF-8, times in UTC), or with --json as one JSON object
    a line. Phone numbers are masked.
    """
    from bongsu.receiver import records, registry

    with installation.reading() as conn:
        if site_id is not None:
            registry.require_site(conn, site_id)
        rows = records.incident_rows(conn, site_id=site_id, from_ms=from_ms, until_ms=until_ms)
        records.write_table(out, rows, records.COLUMNS, as_json=json_wanted)
