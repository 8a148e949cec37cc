"""`bongsu device commission`."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

import click

from bongsu.cli import commission_report, commission_run, outfit
from bongsu.cli.commission_run import Job
from bongsu.cli.context import Installation, actor, data_option, json_option, pass_installation
from bongsu.cli.device_label import day_of_fitting
from bongsu.cli.imports import read_list, show_faults
from bongsu.cli.output import as_json, counted
from bongsu.errors import Interrupted, UsageFault

if TYPE_CHECKING:
    from bongsu.install.commission import Place
    from bongsu.receiver.enrolment import Enrolment
    from bongsu.receiver.shop_list import Fault


@click.command()
@click.option(
    "--port",
    "ports",
    multiple=True,
    help="Device file or URL (rfc2217://HOST:PORT, socket://HOST:PORT); several: "
    "with --batch. Default: the only board's; with --batch all that are there.",
)
@click.option("--unit", "unit_text", metavar="UNIT", help="Where it goes: SITE/UNIT, its number, or its name.")
@click.option("--site", "site_id", help="Where numbers and names of units are sought.")
@click.option("--qr", "qr", metavar="TEXT", help="What a label's QR code says, in place of --unit.")
@click.option("--label", default="", help="Where in the unit it hangs.")
@click.option("--board", "board_name", help="Kind of board (bongsu board list); else what it was, or by its chip.")
@click.option("--image", type=click.Path(path_type=Path, dir_okay=False), help="A file instead of the board's image.")
@click.option("--baud", type=click.IntRange(9_600, 3_000_000), help="Speed of writing, bit/s; else the board's.")
@click.option("--skip-flash", is_flag=True, help="Leave MicroPython on it as it is.")
@outfit.options
@click.option("--auto", is_flag=True, help="The receiver orders the walk test: nobody need press the button.")
@click.option(
    "--minutes", type=click.IntRange(1, 15), default=5, show_default=True, help="How long the button is waited for."
)
@click.option("--skip-walk-test", is_flag=True, help="Leave it out; the record says so.")
@click.option("--label-out", type=click.Path(path_type=Path), help="Its label: FILE.png, FILE.pdf, FILE.ql, a folder.")
@click.option("--label-size", default="62", show_default=True, help="Tape: 62 (mm, continuous) or 29x90.")
@click.option("--font", type=click.Path(path_type=Path), help="Font file of the label (default: this machine's).")
@click.option("--batch", "batch_file", type=click.Path(path_type=Path, dir_okay=False), help="A list: many boards.")
@click.option("--sheet", help="Sheet of an Excel workbook that has several.")
@click.option("--installer", help="Who does it (default: the user who runs this).")
@click.option("--again", is_flag=True, help="Measure and test once more what is in service, in a record of its own.")
@data_option
@json_option
@pass_installation
def commission(
    installation: Installation,
    ports: tuple[str, ...],
    unit_text: str | None,
    site_id: str | None,
    qr: str | None,
    label: str,
    board_name: str | None,
    image: Path | None,
    baud: int | None,
    skip_flash: bool,
    broker_ip: str | None,
    broker_port: int | None,
    profile: str | None,
    wifi: tuple[str, ...],
    sensor_texts: tuple[str, ...],
    only_sensors: bool,
    reading_s: int | None,
    auto: bool,
    minutes: int,
    skip_walk_test: bool,
    label_out: Path | None,
    label_size: str,
    font: Path | None,
    batch_file: Path | None,
    sheet: str | None,
    installer: str | None,
    again: bool,
    json_wanted: bool,
) -> None:
    """Take a board from its box into service: find it, flash MicroPython, register it in its unit, provision it,
    measure its Wi-Fi and the way to the receiver, walk test, label, record. The receiver must be running.

    A run that was broken off, by whatever, is run again and goes on from where the board and the store are. What is
    done already is not done again, and says so.

    The walk test: press the node's test button, and the unit's first contact gets one text, marked as an exercise;
    responders get nothing. With --auto the receiver orders the test.

    With --batch a list (CSV or Excel) says which boards go where: columns unit, and if wanted mac, sensors, profile,
    label. A line a port; at a USB port the next board is waited for. What is not done at the end is listed, and done
    by running it again.

    \b
    Examples:
      bongsu device commission --unit hannae/a-07 --wifi market=wifi.txt
      bongsu device commission --unit 떡집 --wifi market=wifi.txt --label-out labels/
      bongsu device commission --qr bongsu:1::hannae/a-07 --wifi lab --auto
      bongsu device commission --batch shops.xlsx --site hannae --wifi market=wifi.txt --auto
    """
    from bongsu.install import label_file, walk_test
    from bongsu.install.bench import Kit, Labels
    from bongsu.install.commission import Place, Wish
    from bongsu.install.label import size_of
    from bongsu.install.provision import Request
    from bongsu.receiver import fields

    outfit.parsed_sensors(sensor_texts, only_sensors)
    if sum(given is not None for given in (unit_text, qr, batch_file)) != 1:
        raise click.UsageError("Say where it goes: --unit, --qr or --batch.")
    if batch_file is None and len(ports) > 1:
        raise click.UsageError("Several ports need a list that says which board goes where: --batch FILE.")
    if label_out is not None:
        label_file.check(label_out)
    who = fields.words("--installer", installer, 100) if installer is not None else actor()
    request = Request(
        wifi=tuple(outfit.networks(wifi)) or None,
        profile=profile,
        sensors=sensor_texts,
        only_sensors=only_sensors,
        reading_s=reading_s,
    )
    wish = Wish(walk_test.Wish(auto=auto, minutes=minutes, skip=skip_walk_test), again=again)
    enrolment = outfit.enrolment(installation, broker_ip, broker_port)
    kit = Kit(
        data=installation.data,
        registry=enrolment,
        request=request,
        labels=Labels(label_out, size_of(label_size), font, together=_is_one_file(label_out, batch_file)),
        board=board_name,
        image=image,
        baud=baud,
        leave=skip_flash,
    )
    job = Job(installation, kit, wish, who)
    if batch_file is not None:
        _many(job, enrolment, list(ports), batch_file, sheet, site_id, json_wanted)
    else:
        unit, node_id = _where(installation, unit_text, qr, site_id)
        _one(job, enrolment, ports[0] if ports else None, Place(unit, label), node_id, json_wanted)


def _is_one_file(label_out: Path | None, batch_file: Path | None) -> bool:
    """Do the labels of a list go into one file? Raises UsageFault for one that takes only one label."""
    if batch_file is None or label_out is None or label_out.is_dir() or not label_out.suffix:
        return False
    if label_out.suffix.lower() == ".png":
        raise UsageFault(f"{label_out} takes one label only", "Name a folder, or a .pdf: --label-out labels.pdf")
    return True


def _where(
    installation: Installation, text: str | None, qr: str | None, site_id: str | None
) -> tuple[tuple[str, str], str | None]:
    """The unit, and the node that the label names."""
    from bongsu.install.label import parse_qr
    from bongsu.receiver import unit_search

    if qr is not None:
        scanned = parse_qr(qr)
        if scanned.unit is None:
            raise click.UsageError("The label names no unit: name it by --unit.")
        return scanned.unit, scanned.node_id
    with installation.reading() as conn:
        return unit_search.find_unit(conn, text or "", site_id), None


def _one(
    job: Job, enrolment: "Enrolment", port: str | None, place: "Place", node_id: str | None, json_wanted: bool
) -> None:
    from bongsu.install import ports

    url = ports.pick(port).url
    outfit.require_way(enrolment, url)
    outcome = commission_run.one(job, url, place, node_id)
    if json_wanted:
        click.echo(as_json(commission_report.outcome_row(outcome)))
    elif outcome.steps:
        click.echo(commission_report.outcome_text(outcome))
    if outcome.error is not None:
        raise outcome.error


def _save_labels(job: Job, nodes: list[str]) -> None:
    """Those of all nodes of the list that are done, also by earlier runs, in one file."""
    from bongsu.receiver import label_words

    if job.kit.labels.together:
        with job.installation.reading() as conn:
            texts = [label_words.of_node(conn, node, day_of_fitting(conn, node)) for node in nodes]
        job.kit.labels.save_all(texts)


def _refuse(file: Path, faults: "Sequence[Fault]", json_wanted: bool) -> NoReturn:
    from bongsu.install.batch import BatchError

    if json_wanted:
        click.echo(as_json(commission_report.faults_row(faults)))
    else:
        show_faults(faults)
    raise BatchError(f"{file}: {counted(len(faults), 'fault')}, nothing was begun", "Correct the lines named above.")


def _many(
    job: Job,
    enrolment: "Enrolment",
    named: list[str],
    file: Path,
    sheet: str | None,
    site_id: str | None,
    json_wanted: bool,
) -> None:
    from bongsu.install import batch, ports
    from bongsu.install.batch import BatchError

    data = read_list(file)
    with job.installation.reading() as conn:
        plan = batch.read(conn, data, sheet=sheet, site_id=site_id)
    if plan.faults:
        _refuse(file, plan.faults, json_wanted)
    urls = [ports.pick(url).url for url in named] or [port.url for port in ports.found()]
    if not urls:
        ports.pick(None)  # says what to do
    for url in urls:
        outfit.require_way(enrolment, url)
    ran = commission_run.many(job, list(dict.fromkeys(urls)), plan)
    outcomes, taken = ran.outcomes, ran.roster.taken()
    rows = commission_report.list_rows(plan.rows, taken, ran.roster.before, outcomes)
    lost = commission_report.strays(taken, outcomes)
    if json_wanted:
        boards = [commission_report.outcome_row(outcome) for outcome in outcomes]
        done = all(row["done"] for row in rows)
        click.echo(as_json({"done": done, "rows": rows, "boards": boards, "faults": []}))
    else:
        click.echo(commission_report.list_text(rows, lost))
    _save_labels(job, [row["node"] for row in rows if row["done"]])
    if left := [row for row in rows if not row["done"]]:
        said, step = f"{len(left)} of {len(rows)} are not done", "Run it again: what is done is not done again."
        raise Interrupted(said, step) if ran.stopped else BatchError(said, step)
