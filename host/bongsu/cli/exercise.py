"""`bongsu exercise`."""

import click

from bongsu.cli import output
from bongsu.cli.context import Installation, actor, data_option, json_option, now_ms, pass_installation
from bongsu.cli.incident import ID_MAX
from bongsu.cli.seen import Seen, seen_option

_LIST = ["id", "site", "units", "running", "begins_ms", "ends_ms", "ended_ms", "begun_by", "note"]


@click.group()
@data_option
def exercise() -> None:
    """Exercises: while one runs, an alarm of its units asks the operator first.

    Nobody answers for 60 s: it is dispatched. Alarms of all other units are dispatched as ever.
    """


@exercise.command()
@click.argument("site_id", metavar="SITE")
@click.option("--units", required=True, metavar="UNIT,...", help="The units that take part.")
@click.option("--minutes", type=click.IntRange(1, 240), required=True, help="It ends by itself after so long.")
@click.option("--note", default="", help="What it is for.")
@click.option("--by", help="Who begins it (default: the user who runs this).")
@data_option
@json_option
@pass_installation
def start(
    installation: Installation, site_id: str, units: str, minutes: int, note: str, by: str | None, json_wanted: bool
) -> None:
    """Begin an exercise. Refused for a unit whose alarm is open: that one is real."""
    from bongsu.receiver import exercises, fields

    who = fields.words("--by", by, 100) if by is not None else actor()
    named = tuple(unit for unit in units.split(",") if unit.strip())
    with installation.writing() as conn:
        begun_ms = now_ms()
        number = exercises.start(
            conn, site_id=site_id, units=named, minutes=minutes, note=note, by=who, now_ms=begun_ms
        )
        (row,) = [
            one for one in exercises.list_exercises(conn, only_running=True, now_ms=begun_ms) if one["id"] == number
        ]
    text = f"Exercise {number} runs until {output.when(row['ends_ms'])}: {', '.join(row['units'])}"
    output.done(f"{text}\nEnd it earlier: bongsu exercise end {number}", row, json_wanted=json_wanted)


@exercise.command("list")
@click.option("--running", "only_running", is_flag=True, help="Only those that run now.")
@data_option
@json_option
@pass_installation
def list_(installation: Installation, only_running: bool, json_wanted: bool) -> None:
    """List exercises, newest first."""
    from bongsu.receiver import exercises

    with installation.reading() as conn:
        rows = exercises.list_exercises(conn, only_running=only_running, now_ms=now_ms())
    output.show_list(rows, _LIST, json_wanted=json_wanted, empty="No exercises.")


@exercise.command()
@click.argument("number", metavar="NUMBER", type=click.IntRange(1, ID_MAX))
@click.option("--by", help="Who ends it (default: the user who runs this).")
@data_option
@json_option
@pass_installation
def end(installation: Installation, number: int, by: str | None, json_wanted: bool) -> None:
    """End an exercise now: from now on alarms of its units are real."""
    from bongsu.receiver import exercises, fields

    who = fields.words("--by", by, 100) if by is not None else actor()
    with installation.writing() as conn:
        exercises.end(conn, number, by=who, now_ms=now_ms())
    output.done(f"Exercise {number} is over", {"exercise": number, "ended_by": who}, json_wanted=json_wanted)


@exercise.command()
@click.argument("incident_id", metavar="INCIDENT", type=click.IntRange(1, ID_MAX))
@click.argument("what", type=click.Choice(["real", "drill"]))
@seen_option
@click.option("--by", help="Who answers (default: the user who runs this).")
@data_option
@json_option
@pass_installation
def answer(
    installation: Installation, incident_id: int, what: str, seen: Seen, by: str | None, json_wanted: bool
) -> None:
    """Say whether an alarm is real or belongs to the exercise.

    Real: it is dispatched now. A drill: it is closed as a test and never dispatched; another alarm of the unit asks
    again. Refused if a newer event came in since you looked, and once it was dispatched.
    """
    from bongsu.receiver import desk, fields

    who = fields.words("--by", by, 80) if by is not None else actor()
    with installation.writing("outbox") as conn:
        desk.answer_exercise(conn, incident_id, real=what == "real", **seen.named(), by=who, now_ms=now_ms())
    done = "is real: it is dispatched now" if what == "real" else "is a drill: closed as a test"
    row = {"incident": incident_id, "answer": what, "by": who}
    output.done(f"Incident {incident_id} {done}", row, json_wanted=json_wanted)
