"""`bongsu sim fleet`: a city of nodes in one process."""

import asyncio
import json
import resource
import signal
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from bongsu.cli.context import Installation, data_option, json_option, now_ms, pass_installation
from bongsu.errors import BongsuError, UsageFault

if TYPE_CHECKING:
    from bongsu.sim.fleet_carrier import Broker
    from bongsu.sim.fleet_plan import Plan
    from bongsu.sim.fleet_roll import Login, Member

# Beside the connections: the program's own files.
_SPARE_FILES = 64


@click.command()
@click.option("--nodes", type=click.IntRange(1), help="How many nodes (default: all that are provisioned).")
@click.option(
    "--connections", type=click.IntRange(1), default=10_000, show_default=True, help="At most so many connections."
)
@click.option("--gateways", type=click.IntRange(1), help="Of these so many are gateways (default: one for 500 nodes).")
@click.option("--gateway-user", help="A broker login that may carry the frames of all nodes, for a test bench.")
@click.option("--gateway-password-file", type=click.Path(path_type=Path), help="Its password.")
@click.option("--bundles", type=click.Path(path_type=Path, exists=True, file_okay=False), help="A folder of bundles.")
@click.option("--broker", "brokers", metavar="HOST:PORT", multiple=True, help="Another address than the configured.")
@click.option("--seconds", type=click.FloatRange(min=0.1), help="End after this long (else: by Ctrl-C).")
@click.option("--fires-per-minute", "fires", metavar="RATE[@T[+S]]", multiple=True, help="From T s, for S s.")
@click.option("--storm", "storms", metavar="K@T", multiple=True, help="K nodes alarm at once, after T s.")
@click.option("--cut", "cuts", metavar="SITE@T+S", multiple=True, help="A site's power is cut after T s, for S s.")
@click.option("--reconnect", "reconnects", type=float, metavar="T", multiple=True, help="All connections break.")
@click.option("--misbehave", metavar="KIND:SHARE", multiple=True, help="duplicates, replays, garbage or slow.")
@click.option(
    "--fire-s", type=click.FloatRange(0), default=60.0, show_default=True, help="A fire's length; 0: endless."
)
@click.option(
    "--back-within", type=click.FloatRange(0), default=30.0, show_default=True, help="After a cut, s: all boards boot."
)
@click.option("--connect-rate", type=click.FloatRange(1), default=1000.0, show_default=True, help="At first, a second.")
@click.option("--seed", type=int, default=0, show_default=True, help="Who burns, who misbehaves, who is back when.")
@click.option("--alarms", "alarms_path", type=click.Path(path_type=Path), help="Write each alarm as a JSON line.")
@data_option
@json_option
@pass_installation
def fleet(installation: Installation, /, **options: Any) -> int:
    """Run many nodes without boards: real keys, frames and MQTT connections, alarms kept until their receipt.

    Works on an installation's data folder, as its nodes; so never on one whose real nodes are in service. Nodes beyond
    --connections are carried by gateways, whose login must be allowed to speak for them: a test bench has one, no
    installation does. T and S count in seconds from the moment when all connections are up. Exit code 1 if an alarm
    got no receipt.
    """
    members, broker = _members(installation, options)
    plan = _plan(options, members)
    _raise_file_limit(options["connections"])
    report = asyncio.run(_run(members, broker, plan, options, _runs_folder(installation, options)))
    if options["json_wanted"]:
        click.echo(json.dumps(report))
    else:
        _print_report(report)
    return 1 if report["events"]["waiting"] else 0


def _runs_folder(installation: Installation, options: dict[str, Any]) -> Path:
    bundles: Path | None = options["bundles"]
    return bundles if bundles is not None else installation.data


def _members(installation: Installation, options: dict[str, Any]) -> "tuple[list[Member], Broker]":
    from bongsu.sim import fleet_roll

    if options["bundles"] is not None:
        members, broker = fleet_roll.of_bundles(options["bundles"])
    else:
        broker = fleet_roll.broker_of(installation.config())
        with installation.reading() as conn:
            members = fleet_roll.of_store(conn, installation.master(), now_ms(), options["connections"])
    wanted = options["nodes"] or len(members)
    if wanted > len(members) or not members:
        raise BongsuError(
            f"there are {len(members)} provisioned nodes, not {wanted or 'any'}",
            "Provision more: bongsu node provision",
        )
    return members[:wanted], _addressed(broker, options["brokers"])


def _addressed(broker: "Broker", named: tuple[str, ...]) -> "Broker":
    from bongsu.sim.fleet_carrier import Broker

    addresses = []
    for text in named:
        host, _, port = text.rpartition(":")
        if not host or not port.isdigit():
            raise UsageFault(f"{text!r} is not HOST:PORT", "For example 127.0.0.1:1883.")
        addresses.append((host, int(port)))
    return Broker(tuple(addresses), broker.tls, broker.name) if addresses else broker


def _plan(options: dict[str, Any], members: "list[Member]") -> "Plan":
    from bongsu.sim import fleet_plan

    cuts = tuple(map(fleet_plan.cut, options["cuts"]))
    sites = {member.site for member in members}
    for cut in cuts:
        if cut.site not in sites:
            raise BongsuError(f"no node of this fleet is in {cut.site!r}", f"Its sites: {', '.join(sorted(sites)[:9])}")
    return fleet_plan.Plan(
        fires=tuple(map(fleet_plan.fires, options["fires"])),
        storms=tuple(map(fleet_plan.storm, options["storms"])),
        cuts=cuts,
        reconnects=options["reconnects"],
        misbehave=dict(map(fleet_plan.misbehaviour, options["misbehave"])),
        fire_s=options["fire_s"],
        back_within_s=options["back_within"],
    )


def _raise_file_limit(connections: int) -> None:
    """Each connection is an open file."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = connections + _SPARE_FILES
    if soft >= wanted or soft == resource.RLIM_INFINITY:
        return
    if hard != resource.RLIM_INFINITY and hard < wanted:
        raise BongsuError(
            f"{connections} connections need {wanted} open files; this user may have {hard}",
            f"Lower --connections, or raise the limit: ulimit -Hn {wanted}",
        )
    resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def _gateway(options: dict[str, Any]) -> "Login | None":
    from bongsu.sim.fleet_roll import Login

    user, path = options["gateway_user"], options["gateway_password_file"]
    if user is None:
        return None
    try:
        password = path.read_text(encoding="utf-8").strip() if path is not None else ""
    except (OSError, UnicodeDecodeError):
        raise BongsuError(f"cannot read --gateway-password-file {path}", "Name the file with the password.") from None
    return Login(user, password, "gw-")


async def _run(
    members: "list[Member]", broker: "Broker", plan: "Plan", options: dict[str, Any], runs: Path
) -> dict[str, Any]:
    from bongsu.sim import fleet_roll
    from bongsu.sim.fleet import Fleet

    path: Path | None = options["alarms_path"]
    log = path.open("a", encoding="utf-8") if path is not None else None

    def note(node: str, number: int, raised_s: float, receipted_s: float) -> None:
        if log is not None:
            log.write(json.dumps({"node": node, "number": number, "raised": raised_s, "receipt": receipted_s}) + "\n")
            log.flush()

    first = fleet_roll.next_run(runs)
    carriers = fleet_roll.carriers(members, options["connections"], _gateway(options), first, options["gateways"])
    made = Fleet(
        broker,
        carriers,
        plan,
        seed=options["seed"],
        connects_per_s=options["connect_rate"],
        say=lambda line: click.echo(line, err=options["json_wanted"]),
        note=note,
    )
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, made.stop)
    try:
        return await made.run(options["seconds"])
    finally:
        if log is not None:
            log.close()


def _print_report(report: dict[str, Any]) -> None:
    events, receipt, back = report["events"], report["alarm_receipt_ms"], report["reconnect_s"]
    failed = sum(report["connections"]["failed"].values())
    click.echo(
        f"{report['nodes']} nodes on {report['carriers']} connections for {report['seconds']} s\n"
        f"heartbeats  {report['heartbeats']['sent']} sent, {report['heartbeats']['answered']} answered\n"
        f"events      {events['raised']} raised, {events['receipted']} receipted, {events['waiting']} without receipt\n"
        f"receipts    p50 {receipt['p50']} ms, p99 {receipt['p99']} ms, slowest {receipt['max']} ms (alarms)\n"
        f"connections {report['connections']['made']} made, {report['connections']['lost']} lost, "
        f"{failed} tries failed; back after p50 {back['p50']} s, max {back['max']} s\n"
        f"this process {report['cpu_percent']} % of a core, {report['rss_mib']} MiB"
    )
