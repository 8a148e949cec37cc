"""`bongsu node`."""

import ipaddress
from pathlib import Path
from typing import TYPE_CHECKING

import click

from bongsu.cli import node_changes, node_set, order
from bongsu.cli.context import Installation, actor, data_option, json_option, now_ms, pass_installation
from bongsu.cli.output import done, show_list, show_one
from bongsu.errors import BongsuError, UsageFault

if TYPE_CHECKING:
    from bongsu.install.boards import Board, Entry
    from bongsu.receiver.config import BrokerConfig
    from bongsu.receiver.provision import BrokerAddress

# WPA2: a passphrase has 8 to 63 characters; an SSID at most 32 bytes.
PSK_MIN, PSK_MAX, SSID_MAX = 8, 63, 32


@click.group()
@data_option
def node() -> None:
    """Boards, named by their MAC (12 hex digits)."""


node.add_command(order.order)
node.add_command(node_set.set_)
for _command in node_changes.COMMANDS:
    node.add_command(_command)
node.add_command(node_changes.move, "assign")


def _known_board(_ctx: click.Context, _param: click.Parameter, name: str) -> str:
    from bongsu.install.boards import board_names

    if name not in board_names():
        raise UsageFault(f"there is no board {name!r}", "Known boards: " + ", ".join(board_names()))
    return name


@node.command()
@click.argument("node_id", metavar="MAC")
@click.option("--unit", "address", metavar="SITE/UNIT", help="The unit in which it hangs.")
@click.option("--label", default="", help="Where in the unit it hangs.")
@data_option
@json_option
@pass_installation
def add(installation: Installation, node_id: str, address: str | None, label: str, json_wanted: bool) -> None:
    """Register a board."""
    from bongsu.receiver import fields, registry

    unit = fields.unit_address(address) if address is not None else None
    with installation.writing() as conn:
        made = registry.add_node(conn, node_id=node_id, unit=unit, label=label, now_ms=now_ms())
    done(f"Added node {made}\nNext: bongsu node provision {made} --out DIR", {"node": made}, json_wanted=json_wanted)


@node.command("list")
@click.option("--site", "site_id", help="Only this site's.")
@data_option
@json_option
@pass_installation
def list_(installation: Installation, site_id: str | None, json_wanted: bool) -> None:
    """List nodes: unit, key epoch, last seen."""
    from bongsu.receiver import registry

    with installation.reading() as conn:
        if site_id is not None:
            registry.require_site(conn, site_id)
        rows = registry.list_nodes(conn, site_id=site_id)
    columns = ["node", "unit", "label", "state", "epoch", "last_seen_ms", "silent"]
    show_list(rows, columns, json_wanted=json_wanted, empty="No nodes yet.")


@node.command()
@click.argument("node_id", metavar="MAC")
@data_option
@json_option
@pass_installation
def show(installation: Installation, node_id: str, json_wanted: bool) -> None:
    """Show a node with its keys' states and its last heartbeat."""
    from bongsu.receiver import fields, registry

    with installation.reading() as conn:
        row = registry.show_node(conn, fields.node_id(node_id))
    show_one(row, json_wanted=json_wanted)


@node.command()
@click.argument("node_id", metavar="MAC")
@data_option
@json_option
@pass_installation
def retire(installation: Installation, node_id: str, json_wanted: bool) -> None:
    """Take a node out of service: nothing that it sends is accepted any more. Its open incidents stay open."""
    retire_named(installation, node_id, json_wanted)


def retire_named(installation: Installation, node_id: str, json_wanted: bool) -> None:
    """What `bongsu node retire` and `bongsu device retire` do."""
    from bongsu.receiver import fields, registry

    retired = fields.node_id(node_id)
    with installation.writing() as conn:
        still_open = registry.retire_node(conn, node_id=retired)
        registry.audit(conn, actor=actor(), action="node.retire", subject=f"node:{retired}", detail="", now_ms=now_ms())
    stays = "".join(f"\nIncident {i} stays open. Next: bongsu incident show {i}" for i in still_open)
    row = {"node": retired, "open_incidents": still_open}
    done(f"Retired node {retired}{stays}", row, json_wanted=json_wanted)


@node.command()
@click.argument("node_id", metavar="MAC")
@click.option("--out", type=click.Path(path_type=Path), required=True, help="A new folder for the bundle.")
@click.option("--broker-ip", help="The broker's IP address as nodes see it (default: [broker] in receiver.toml).")
@click.option("--broker-port", type=click.IntRange(1, 65535), help="Its port (default: [broker] in receiver.toml).")
@click.option("--board", "board_name", default="esp32-devkitc", show_default=True, callback=_known_board)
@click.option(
    "--profile",
    callback=node_set.known_profile,
    help="Of its detector (default: what it was told; a new one: by its site's kind).",
)
@click.option(
    "--wifi", metavar="SSID=FILE", multiple=True, help="A Wi-Fi network and the file that holds its passphrase."
)
@click.option(
    "--sensor",
    "sensor_texts",
    metavar="TYPE[,KEY=VALUE...]",
    multiple=True,
    help="A sensor beyond the board's own, e.g. sht4x or mq7,pin=35,load_ohm=10000,adc_permille=600 (default: as it"
    " was told before).",
)
@click.option("--only-sensors", is_flag=True, help="Those of --sensor alone, and not the board's own.")
@click.option(
    "--reading-s",
    type=click.IntRange(0, 3600),
    help="Seconds between its readings of the air, 0: none (default: as before; at first 0).",
)
@data_option
@json_option
@pass_installation
def provision(
    installation: Installation,
    node_id: str,
    out: Path,
    broker_ip: str | None,
    broker_port: int | None,
    board_name: str,
    profile: str | None,
    wifi: tuple[str, ...],
    sensor_texts: tuple[str, ...],
    only_sensors: bool,
    reading_s: int | None,
    json_wanted: bool,
) -> None:
    """Make a new key and key epoch for a node, and write the bundle for its board.

    The former key stays valid until 24 hours after the new one's first frame. The bundle holds secrets: delete it when
    it is on the board.
    """
    from bongsu.install.boards import load_board
    from bongsu.receiver import fields, fitting
    from bongsu.receiver.provision import provision_node

    provisioned = fields.node_id(node_id)
    board = load_board(board_name)
    wish = fitting.Wish(_sensors(board, sensor_texts, only_sensors), only_sensors, reading_s)
    config = installation.config()
    broker = _broker_address(installation, config.broker, broker_ip, broker_port)
    networks = [_network(text) for text in wifi]
    _require_new(out)
    # Committed before it is written: a key without a bundle does no harm, a bundle without a key would lock its node
    # out.
    with installation.writing() as conn:
        bundle = provision_node(
            conn,
            installation.master(),
            node_id=provisioned,
            broker=broker,
            board=board,
            wish=wish,
            wifi=networks,
            ca_der=_ca_der(installation, config.broker),
            actor=actor(),
            now_ms=now_ms(),
            profile=profile,
        )
    bundle.save(out)
    row = {"node": bundle.node_id, "epoch": bundle.key_epoch, "bundle": str(out)}
    done(f"Wrote {out}: node {bundle.node_id}, key epoch {bundle.key_epoch}", row, json_wanted=json_wanted)


def _sensors(board: "Board", texts: tuple[str, ...], only: bool) -> "list[Entry]":
    """The entries of --sensor, if they fit this board. Raises UsageFault."""
    from bongsu.install import sensors

    if only and not texts:
        raise UsageFault("--only-sensors leaves none", "Name them: --sensor TYPE[,KEY=VALUE...]")
    try:
        more = [sensors.parse(text) for text in texts]
        if more:
            sensors.fit(board, [*([] if only else board.sensors), *more])
    except sensors.SensorError as err:
        raise UsageFault(err.message, err.next_step) from None
    return more


def _require_new(out: Path) -> None:
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise BongsuError(f"{out} is there already", "Name a new folder by --out.")


def _broker_address(
    installation: Installation, broker: "BrokerConfig", ip: str | None, port: int | None
) -> "BrokerAddress":
    """Where nodes find the broker: as named, else as receiver.toml has it, if that is an address that nodes can use."""
    from bongsu.receiver.certificates import BROKER_NAME
    from bongsu.receiver.provision import BrokerAddress

    places, tls, name = [(broker.host, broker.port)], broker.tls, BROKER_NAME
    if broker.mode == "external":
        from bongsu.receiver.broker_link import addresses, uses_tls

        places, tls = addresses(broker), uses_tls(broker)
        name = broker.server_hostname or (places[0][0] if broker.ca_file else BROKER_NAME)
    elif broker.port == 0 and port is None:
        places = [(broker.host, _running_port(installation))]
    if ip is not None:
        places = [(ip, places[0][1])]
    elif port is not None:
        places = [(host, port) for host, _ in places]
    found = [(_node_ip(host, UsageFault if ip is not None else BongsuError), known) for host, known in places]
    (first, first_port), *more = found
    return BrokerAddress(first, port if port is not None else first_port, tls, name, tuple(more))


def _node_ip(host: str, fault: type[BongsuError]) -> str:
    """An address as a node takes it. A name in receiver.toml is right, but not for nodes."""
    try:
        found = ipaddress.ip_address(host)
    except ValueError:
        raise fault(f"the broker's address {host} is no IP address", "Name it: --broker-ip 192.0.2.10") from None
    if found.is_unspecified:
        raise fault(f"nodes cannot connect to {found}", "Name this machine's address: --broker-ip 192.0.2.10")
    return str(found)


def _running_port(installation: Installation) -> int:
    try:
        return int((installation.data / "run" / "broker.port").read_text())
    except (OSError, ValueError):
        raise BongsuError(
            "the broker's port is picked when the receiver starts, and it does not run", "Name it: --broker-port 8883"
        ) from None


def _network(text: str) -> dict[str, str]:
    ssid, sign, name = text.partition("=")
    if not sign or not 0 < len(ssid.encode()) <= SSID_MAX:
        raise click.BadParameter("write SSID=FILE; an SSID has 1 to 32 bytes", param_hint="--wifi")
    try:
        psk = Path(name).read_text(encoding="utf-8").rstrip("\r\n")
    except (OSError, UnicodeDecodeError):
        raise BongsuError(
            f"cannot read the Wi-Fi passphrase from {name}", "Name a text file: --wifi SSID=FILE"
        ) from None
    if not PSK_MIN <= len(psk) <= PSK_MAX:
        raise BongsuError(
            f"the passphrase in {name} has {len(psk)} characters, not {PSK_MIN} to {PSK_MAX}", "Correct the file."
        )
    return {"ssid": ssid, "psk": psk}


def _ca_der(installation: Installation, broker: "BrokerConfig") -> bytes:
    """The CA that the node trusts: of an external broker the one that [broker] ca_file names, else our own."""
    from bongsu.receiver.certificates import der_of_pem

    path, step = installation.data / "ca" / "ca.crt", "Restore the folder ca/ from the backup."
    if broker.mode == "external" and broker.ca_file is not None:
        path, step = installation.data / broker.ca_file, "Name the broker's CA by [broker] ca_file, in PEM form."
    try:
        return der_of_pem(path.read_bytes())
    except (OSError, ValueError):
        raise BongsuError(f"cannot read the CA certificate {path}", step) from None
