"""How a receiver reaches a broker that is not its own: addresses, TLS, and the login that it has there."""

import ssl
from pathlib import Path
from urllib.parse import urlsplit

from bongsu.errors import BongsuError
from bongsu.receiver.broker_access import receiver_password, receiver_user
from bongsu.receiver.config import BrokerConfig, Config
from bongsu.receiver.keys import MasterKey
from bongsu.receiver.mqtt_edge import BrokerLogin

_PORTS = {"mqtt": 1883, "mqtts": 8883}


class BrokerLinkError(BongsuError):
    """A file that the way to the broker needs cannot be read."""


def addresses(config: BrokerConfig) -> list[tuple[str, int]]:
    """(host, port) of each address of an external broker, the preferred one first."""
    parts = [urlsplit(url) for url in config.urls]
    return [(p.hostname or "", p.port or _PORTS[p.scheme]) for p in parts]


def uses_tls(config: BrokerConfig) -> bool:
    """Whether an external broker is reached by TLS (all of its addresses are)."""
    return any(urlsplit(url).scheme == "mqtts" for url in config.urls)


def external_login(config: Config, master: MasterKey, sender: int, client_id: str) -> BrokerLogin:
    """The receiver's login: what the settings name, else its own, which `bongsu broker config` gives to the broker.
    Raises BrokerLinkError.
    """
    broker = config.broker
    tls = None
    if uses_tls(broker):
        tls = client_tls(config.path(broker.ca_file) if broker.ca_file else None)
    user, password = receiver_user(sender), receiver_password(master, sender)
    if broker.user is not None:
        user, password = broker.user, ""
    if broker.password_file is not None:
        password = _password(config.path(broker.password_file))
    (host, port), *more = addresses(broker)
    return BrokerLogin(host, port, user, password, client_id, tls, tuple(more))


def client_tls(ca_file: Path | None) -> ssl.SSLContext:
    """TLS that trusts this CA (None: the system's). Raises BrokerLinkError."""
    try:
        context = ssl.create_default_context(cafile=str(ca_file) if ca_file is not None else None)
    except (OSError, ssl.SSLError) as err:
        raise BrokerLinkError(
            f"cannot read the certificate {ca_file}: {err}", "Name the broker's CA by [broker] ca_file, in PEM form."
        ) from None
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    return context


def _password(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError):
        raise BrokerLinkError(
            f"cannot read [broker] password_file {path}", "Name the file that holds the broker's password."
        ) from None
