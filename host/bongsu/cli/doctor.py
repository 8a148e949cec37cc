"""`bongsu doctor`."""

from itertools import chain

import click

from bongsu.cli.context import Installation, data_option, json_option, now_ms, pass_installation


@click.command()
@click.option("--offline", is_flag=True, help="Connect to nothing beyond this machine: no responder, no gateway.")
@json_option
@data_option
@pass_installation
def doctor(installation: Installation, offline: bool, json_wanted: bool) -> int:
    """Look at the receiver and everything that it needs; say of each thing whether it is well, and if not what to do.

    Nothing is changed, and nobody is told. Exit code 1 if something keeps alarms from getting through.

    It looks at the data folder, credentials, master key, disk, certificates, clock, receiver, database, registry,
    audit, broker and responders, and at the serial ports of this machine.

    \b
    Examples:
      bongsu doctor
      bongsu doctor --offline --json
    """
    from bongsu.cli.output import as_json
    from bongsu.receiver.doctor import FAIL, OK, WARN, examine, serial_ports
    from bongsu.receiver.doctor.finding import safely

    found = []
    findings = examine(installation.data, now_ms(), offline=offline)
    for finding in chain(findings, safely("serial ports", serial_ports.look)):
        found.append(finding)
        if not json_wanted:
            click.echo(f"{finding.level:<4}  {finding.check}: {finding.what}")
            if finding.next:
                click.echo(f"      next: {finding.next}")
    counts = {level: sum(f.level == level for f in found) for level in (OK, WARN, FAIL)}
    if json_wanted:
        rows = [{"level": f.level, "check": f.check, "what": f.what, "next": f.next} for f in found]
        click.echo(as_json(rows))
    else:
        click.echo(f"{counts[OK]} well, {counts[WARN]} to look at, {counts[FAIL]} failing")
    return 1 if counts[FAIL] else 0
