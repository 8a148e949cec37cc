"""The command `bongsu`: its groups, loaded when they are used, so that each command starts fast."""

import sys
from pathlib import Path

import click

from bongsu.cli.context import DATA_ENV, Installation, default_data
from bongsu.cli.errors import run
from bongsu.cli.lazy import Commands, lazy_group
from bongsu.release import this_version

COMMANDS: Commands = {
    "init": ("bongsu.cli.init", "init", "Make a data folder: certificates, master key, settings, database."),
    "site": ("bongsu.cli.site", "site", "Markets and blocks of homes."),
    "unit": ("bongsu.cli.unit", "unit", "Shops and homes."),
    "contact": ("bongsu.cli.contact", "contact", "Owners and deputies."),
    "node": ("bongsu.cli.node", "node", "Nodes in the registry: register, provision, retire."),
    "board": ("bongsu.cli.board", "board", "Kinds of boards: list, show, check, new."),
    "device": ("bongsu.cli.device", "device", "Boards at hand: flash, provision, commission, and day two."),
    "responder": ("bongsu.cli.responder", "responder", "Fire stations and control centres."),
    "import": ("bongsu.cli.imports", "import_shops", "Read a market's shop list from a CSV or Excel file."),
    "export": ("bongsu.cli.exports", "export_shops", "Write a market's shop list as CSV or Excel."),
    "duty": ("bongsu.cli.duty", "duty", "Duty rosters: who is texted at once beside the owner, and when."),
    "receiver": ("bongsu.cli.receiver", "receiver", "Run the alarm receiver."),
    "broker": ("bongsu.cli.broker", "broker", "Files for an MQTT broker of your own."),
    "incident": ("bongsu.cli.incident", "incident", "Incidents: list, show, acknowledge, verify, close."),
    "air": ("bongsu.cli.air", "air", "Air quality: now, advisories, export, levels."),
    "operator": ("bongsu.cli.operator", "operator_", "People who may use the centre's screen."),
    "exercise": ("bongsu.cli.exercise", "exercise", "Exercises: alarms that ask first whether they are a drill."),
    "audit": ("bongsu.cli.audit", "audit", "Who did what: list, verify, export."),
    "backup": ("bongsu.cli.backup", "backup", "Back the installation up, while the receiver runs."),
    "restore": ("bongsu.cli.restore", "restore", "Restore a backup."),
    "retention": ("bongsu.cli.retention", "retention", "How long records are kept."),
    "doctor": ("bongsu.cli.doctor", "doctor", "Is everything well? Each finding with its fix."),
    "detect": ("bongsu.cli.detect", "detect", "Recordings through the node's detection: replay, plot."),
    "completion": ("bongsu.cli.completion", "completion", "Shell completion: bash, zsh, fish."),
    "sim": ("bongsu.cli.sim", "sim", "Virtual boards and peers for trying out."),
    "demo": ("bongsu.cli.demo", "demo", "A fire in a market, from the sensor to the fire station."),
}

EPILOG = """\b
Examples:
  bongsu demo
  bongsu init --data market --host 192.0.2.10
  bongsu --data market site add hannae --name "한내시장" --address "한내로 12"
  bongsu --data market import shops.csv --site hannae --dry-run
  bongsu --data market device commission --unit hannae/a-07
  bongsu --data market device list
  bongsu --data market receiver run
  bongsu --data market incident list --json

\b
Exit codes: 0 done; 1 failed (the last line says what to do next); 2 wrong usage: a
command, option or value that can never be right; 130 interrupted.
"""


@click.group(cls=lazy_group(COMMANDS), epilog=EPILOG, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(this_version(), prog_name="bongsu")
@click.option(
    "--data", type=click.Path(path_type=Path), help=f"Data folder (else {DATA_ENV}, else ~/.local/share/bongsu)."
)
@click.pass_context
def cli(ctx: click.Context, data: Path | None) -> None:
    """Bongsu: wireless fire alarm for traditional markets and homes."""
    ctx.obj = Installation(data if data is not None else default_data())


def main() -> None:
    """Entry point of the command; ends the process with its exit code."""
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")  # a terminal without Korean shows codes instead of failing
    sys.exit(run(lambda: cli.main(prog_name="bongsu", standalone_mode=False)))
