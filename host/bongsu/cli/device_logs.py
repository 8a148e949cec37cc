"""`bongsu device logs`: what a board says on its serial line, parsed."""

import json

import click

from bongsu.cli.context import data_option, json_option
from bongsu.cli.output import printable
from bongsu.install.node_log import LEVELS, LogLine

_LEVEL_NAMES = {"info": "I", "warn": "W", "error": "E"}


@click.command()
@click.option("--port", "url", help="The board's port (default: the only one): a device file, or any pyserial URL.")
@click.option("--level", type=click.Choice(list(_LEVEL_NAMES)), help="Only lines of this level or worse.")
@click.option("--tag", "tags", multiple=True, help="Only lines with this tag; repeatable.")
@click.option("--seconds", type=click.FloatRange(0.1), help="End after this long (else: by Ctrl-C).")
@data_option
@json_option
def logs(url: str | None, level: str | None, tags: tuple[str, ...], seconds: float | None, json_wanted: bool) -> None:
    """Follow the log of the board on a port. The board is not reset, and nothing is sent to it.

    A line that is none of the node's log, such as a traceback, is shown unless --tag is given. With --json each line is
    one object: at_ms (UTC), ticks_ms (of the board), level, tag, fields, text.

    \b
    Examples:
      bongsu device logs
      bongsu device logs --port /dev/ttyUSB0 --level warn
      bongsu device logs --port rfc2217://192.0.2.7:4000 --tag link --seconds 60 --json
    """
    from bongsu.install import port_report, ports

    port = ports.pick(url).url
    least = LEVELS.index(_LEVEL_NAMES[level]) if level else 0
    with ports.PortLock(port), ports.open_serial(port, timeout_s=port_report.READ_S) as line:
        for said in port_report.follow(line, port, seconds):
            if _wanted(said, least, tags):
                click.echo(_as_object(said) if json_wanted else printable(said.text))


def _wanted(line: LogLine, least: int, tags: tuple[str, ...]) -> bool:
    if tags and line.tag not in tags:
        return False
    return not line.level or LEVELS.index(line.level) >= least


def _as_object(line: LogLine) -> str:
    row = {
        "at_ms": round(line.wall_s * 1000),
        "ticks_ms": line.ticks_ms,
        "level": line.level or None,
        "tag": line.tag or None,
        "fields": line.fields,
        "text": line.text,
    }
    return json.dumps(row, ensure_ascii=False)
