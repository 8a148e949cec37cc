"""`bongsu broker`."""

from pathlib import Path
from typing import TYPE_CHECKING

import click

from bongsu.cli.context import Installation, data_option, json_option, pass_installation
from bongsu.cli.output import done
from bongsu.errors import UsageFault

if TYPE_CHECKING:
    from bongsu.receiver.broker_config import Kind, Wanted
    from bongsu.receiver.broker_nats import Member

_LOOPBACK = ("127.0.0.1", "::1", "localhost")
_MEMBERS_MIN, _MEMBERS_MAX = 3, 5


@click.group()
@data_option
def broker() -> None:
    """An MQTT broker of your own, instead of the one that the receiver starts."""


@broker.command()
@click.argument("kind", type=click.Choice(["nats", "mosquitto", "emqx"]))
@click.option("--out", type=click.Path(path_type=Path), required=True, help="The folder for the files.")
@click.option("--listen", metavar="ADDRESS:PORT", default="0.0.0.0:8883", show_default=True)
@click.option("--host", "names", multiple=True, help="A name or address under which it is reached (repeatable).")
@click.option(
    "--cluster",
    "members",
    metavar="NAME=ADDRESS[:PORT[:ROUTE_PORT]]",
    multiple=True,
    help="A member of a NATS cluster (three times, or five).",
)
@click.option("--placed", default="", help="The files' folder on the broker's machine (default: it is started in it).")
@click.option("--plain", is_flag=True, help="Without TLS; on loopback only.")
@click.option("--max-store-mb", type=click.IntRange(16, 65536), default=512, show_default=True)
@click.option("--reload", "pid_file", type=click.Path(path_type=Path), help="Then send SIGHUP to the PID in this file.")
@data_option
@json_option
@pass_installation
def config(
    installation: Installation,
    kind: str,
    out: Path,
    listen: str,
    names: tuple[str, ...],
    members: tuple[str, ...],
    placed: str,
    plain: bool,
    max_store_mb: int,
    pid_file: Path | None,
    json_wanted: bool,
) -> None:
    """Write the broker's configuration: one user a node and one a receiver, each bound to its own topics.

    Run it again after nodes or receivers were added or retired; one run for any number of them. Files that did not
    change are not touched, and sessions go on over a reload. The files hold secrets: 0600, and for the broker's user
    only.

    \b
    nats       nats.conf; with --cluster one folder a member
    mosquitto  mosquitto.conf, passwords (salted hashes), acl
    emqx       emqx-bongsu.conf, users.csv (salted hashes), acl.conf; written after its documentation, not tried.
               A running EMQX imports users.csv by its dashboard; take retired nodes out there.
    """
    from bongsu.receiver import broker_config, broker_files
    from bongsu.receiver.broker_access import read_accesses

    if kind == "emqx" and pid_file is not None:
        raise UsageFault("EMQX takes no SIGHUP", f"Import {out}/users.csv in its dashboard, or by its API.")
    host, port = _address(listen, "--listen")
    wanted = broker_config.Wanted(
        kind=_kind(kind, members),
        host=host,
        port=port,
        members=tuple(_member(text) for text in members),
        names=names,
        tls=not plain,
        placed=placed,
        max_store_mb=max_store_mb,
    )
    _check(wanted)
    ca_dir = installation.config().data_dir / "ca"
    with installation.reading() as conn:
        users = read_accesses(conn, installation.master())
    files = broker_config.make_files(wanted, users, installation.master(), ca_dir, out)
    written = broker_files.write_files(out, files)
    told = broker_files.reload(pid_file) if pid_file is not None and written else None
    settings = broker_config.settings(wanted)
    text = f"{out}: {len(users)} users; written: {', '.join(written) or 'nothing, all is as it was'}"
    if told is not None:
        text += f"\nTold process {told} to read them."
    row = {"out": str(out), "users": len(users), "written": written, "told": told, "settings": settings}
    done(f"{text}\nreceiver.toml:\n\n{settings}", row, json_wanted=json_wanted)


def _kind(kind: str, members: tuple[str, ...]) -> "Kind":
    if members and kind != "nats":
        raise UsageFault(f"--cluster is for nats, not for {kind}", "Write one configuration a member, or use nats.")
    return kind  # type: ignore[return-value]  # click lets these only through


def _check(wanted: "Wanted") -> None:
    hosts = [m.host for m in wanted.members] or [wanted.host]
    if not wanted.tls and any(host not in _LOOPBACK for host in hosts):
        raise UsageFault("--plain is for loopback only", "Leave it out: the certificates are made for you.")
    if wanted.members and len(wanted.members) not in (_MEMBERS_MIN, _MEMBERS_MAX):
        raise UsageFault("a cluster has three members, or five", "Name each of them: --cluster n1=192.0.2.11")
    if len({m.name for m in wanted.members}) != len(wanted.members):
        raise UsageFault("two members of the cluster have one name", "Give each a name of its own.")


def _member(text: str) -> "Member":
    """NAME=ADDRESS[:PORT[:ROUTE_PORT]]; an IPv6 address in brackets."""
    from bongsu.receiver.broker_config import MQTT_PORT, ROUTE_PORT
    from bongsu.receiver.broker_nats import Member
    from bongsu.receiver.fields import slug

    name, sign, place = text.partition("=")
    if not sign:
        raise UsageFault(f"{text!r} is no member", "Write --cluster n1=192.0.2.11")
    host, ports = _split(place)
    if not host or len(ports) > 2:
        raise UsageFault(f"{place!r} is no address", "Write --cluster n1=192.0.2.11:8883:6222")
    numbers = [_port(p, "--cluster") for p in ports]
    port, route = [*numbers, *(MQTT_PORT, ROUTE_PORT)[len(numbers) :]]
    return Member(slug("member", name), host, port, route)


def _address(text: str, option: str) -> tuple[str, int]:
    host, ports = _split(text)
    if not host or len(ports) != 1:
        raise UsageFault(f"{option}: {text!r} is not ADDRESS:PORT", f"Write {option} 0.0.0.0:8883")
    return host, _port(ports[0], option)


def _split(text: str) -> tuple[str, list[str]]:
    if text.startswith("["):
        host, _, rest = text[1:].partition("]")
        return host, rest.split(":")[1:]
    host, *ports = text.split(":")
    return host, ports


def _port(text: str, option: str) -> int:
    if not text.isascii() or not text.isdigit() or not 1 <= int(text) <= 65535:
        raise UsageFault(f"{option}: {text!r} is no port", "A port is 1 to 65535.")
    return int(text)
