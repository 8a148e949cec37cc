"""What provisioning is told on the command line: the same for a bundle (`bongsu node provision`) and for a board at
hand (`bongsu device provision`, `commission`).
"""

import ipaddress
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from bongsu.cli.context import Installation, actor, now_ms
from bongsu.cli.node_set import known_profile
from bongsu.errors import BongsuError, UsageFault

if TYPE_CHECKING:
    from bongsu.install.boards import Board, Entry
    from bongsu.install.provision_words import Network
    from bongsu.receiver.config import BrokerConfig
    from bongsu.receiver.enrolment import Enrolment
    from bongsu.receiver.provision import BrokerAddress

# WPA2 and WPA3: a passphrase has 8 to 63 characters; an SSID at most 32 bytes.
PSK_MIN, PSK_MAX, SSID_MAX = 8, 63, 32
NETWORKS_MOST = 8  # bongsu_node.config
_Command = TypeVar("_Command", bound=Callable[..., Any])

_OPTIONS = (
    click.option("--broker-ip", help="The broker's IP address as nodes see it (default: [broker] in receiver.toml)."),
    click.option("--broker-port", type=click.IntRange(1, 65535), help="Its port (default: [broker] in receiver.toml)."),
    click.option(
        "--profile",
        callback=known_profile,
        help="Of its detector (default: what it was told; a new one: by its site's kind).",
    ),
    click.option(
        "--wifi",
        metavar="SSID[=FILE]",
        multiple=True,
        help="A Wi-Fi network, and the file that holds its passphrase (WPA2 or WPA3, whichever it offers); -: ask for"
        " it; no file: an open network. Several: the node tries them in this order.",
    ),
    click.option(
        "--sensor",
        "sensor_texts",
        metavar="TYPE[,KEY=VALUE...]",
        multiple=True,
        help="A sensor beyond the board's own, e.g. sht4x or mq7,pin=35,load_ohm=10000,adc_permille=600 (default: as it"
        " was told before).",
    ),
    click.option("--only-sensors", is_flag=True, help="Those of --sensor alone, and not the board's own."),
    click.option(
        "--reading-s",
        type=click.IntRange(0, 3600),
        help="Seconds between its readings of the air, 0: none (default: as before; at first 0).",
    ),
)


def options(command: _Command) -> _Command:
    """The options that all of them have."""
    for option in reversed(_OPTIONS):
        command = option(command)
    return command


def enrolment(installation: Installation, broker_ip: str | None, broker_port: int | None) -> "Enrolment":
    """The store's side of provisioning a board at hand. Raises BongsuError."""
    from bongsu.receiver.enrolment import Enrolment

    config = installation.config()
    return Enrolment(
        reading=installation.reading,
        writing=installation.writing,
        trying=lambda: installation.trying(True),
        master=installation.master(),
        broker=broker_address(installation, config.broker, broker_ip, broker_port),
        ca_der=ca_der(installation, config.broker),
        data=installation.data,
        alone=config.store_url.startswith("sqlite"),
        actor=actor(),
        now_ms=now_ms,
    )


def parsed_sensors(texts: Sequence[str], only: bool) -> "list[Entry]":
    """The entries of --sensor. Raises UsageFault."""
    from bongsu.install import sensors

    if only and not texts:
        raise UsageFault("--only-sensors leaves none", "Name them: --sensor TYPE[,KEY=VALUE...]")
    try:
        return [sensors.parse(text) for text in texts]
    except sensors.SensorError as err:
        raise UsageFault(err.message, err.next_step) from None


def sensors_of(board: "Board", texts: Sequence[str], only: bool) -> "list[Entry]":
    """The entries of --sensor, if they fit this board. Raises UsageFault."""
    from bongsu.install import sensors

    more = parsed_sensors(texts, only)
    try:
        if more:
            sensors.fit(board, [*([] if only else board.sensors), *more])
    except sensors.SensorError as err:
        raise UsageFault(err.message, err.next_step) from None
    return more


def require_way(enrolment: "Enrolment", url: str) -> None:
    """Raise BongsuError if a board on this port could never find the broker: one of copper that is plugged in here
    would look for 127.0.0.1 in itself. Behind a URL there may be a virtual one, which would not.
    """
    broker = enrolment.broker
    if "://" in url or not all(ipaddress.ip_address(ip).is_loopback for ip, _ in ((broker.ip, 0), *broker.more)):
        return
    raise BongsuError(
        f"the board on {url} would look for the broker at {broker.ip}, which is the board itself",
        'Let nodes in: host = "0.0.0.0" in [broker] of receiver.toml, start the receiver again,'
        " and name this machine's address in their network: --broker-ip 192.0.2.10",
    )


def broker_address(
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


def networks(texts: Sequence[str]) -> "list[Network]":
    """The networks of --wifi. Raises BongsuError, which repeats no passphrase."""
    if len(texts) > NETWORKS_MOST:
        raise UsageFault(f"{len(texts)} networks are too many", f"A node takes {NETWORKS_MOST}.")
    return [_network(text) for text in texts]


def _network(text: str) -> "Network":
    from bongsu.install.provision_words import Network

    ssid, sign, name = text.partition("=")
    if not 0 < len(ssid.encode()) <= SSID_MAX or (sign and not name):
        raise click.BadParameter("write SSID=FILE, or SSID; an SSID has 1 to 32 bytes", param_hint="--wifi")
    return Network(ssid, _passphrase(ssid, name) if sign else None)


def _passphrase(ssid: str, name: str) -> str:
    if name == "-":
        psk, where, step = _asked(ssid), f"the passphrase of {ssid}", "Type it again."
    else:
        psk, where, step = _read(name), f"the passphrase in {name}", "Correct the file."
    if not PSK_MIN <= len(psk) <= PSK_MAX:
        raise BongsuError(f"{where} has {len(psk)} characters, not {PSK_MIN} to {PSK_MAX}", step)
    return psk


def _asked(ssid: str) -> str:
    """From the terminal, unseen; else a line of what is piped in."""
    if sys.stdin.isatty():
        answer: str = click.prompt(f"Passphrase of {ssid}", hide_input=True, err=True)
        return answer
    return sys.stdin.readline().rstrip("\r\n")


def _read(name: str) -> str:
    try:
        return Path(name).read_text(encoding="utf-8").rstrip("\r\n")
    except (OSError, UnicodeDecodeError):
        raise BongsuError(
            f"cannot read the Wi-Fi passphrase from {name}", "Name a text file: --wifi SSID=FILE"
        ) from None


def ca_der(installation: Installation, broker: "BrokerConfig") -> bytes:
    """The CA that the node trusts: of an external broker the one that [broker] ca_file names, else our own."""
    from bongsu.receiver.certificates import der_of_pem

    path, step = installation.data / "ca" / "ca.crt", "Restore the folder ca/ from the backup."
    if broker.mode == "external" and broker.ca_file is not None:
        path, step = installation.data / broker.ca_file, "Name the broker's CA by [broker] ca_file, in PEM form."
    try:
        return der_of_pem(path.read_bytes())
    except (OSError, ValueError):
        raise BongsuError(f"cannot read the CA certificate {path}", step) from None
