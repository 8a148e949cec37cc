"""The files of a broker of one's own: what `bongsu broker config` writes, for NATS server, Mosquitto and EMQX.

The texts are made by pure functions (broker_nats, broker_mosquitto, broker_emqx); here are the certificates, the salts
and the layout of the folder. The same registry gives the same files, so that nothing is written, and no broker told,
without a reason.
"""

import ipaddress
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from bongsu.receiver import broker_emqx, broker_mosquitto, broker_nats, certificates
from bongsu.receiver.broker_access import Access
from bongsu.receiver.broker_files import BrokerFilesError
from bongsu.receiver.broker_nats import Member
from bongsu.receiver.keys import MasterKey

Kind = Literal["nats", "mosquitto", "emqx"]
KINDS: tuple[Kind, ...] = ("nats", "mosquitto", "emqx")
MQTT_PORT, ROUTE_PORT = 8883, 6222
_CERT, _KEY, _CA = "server.crt", "server.key", "ca.crt"
_Files = dict[str, str | bytes]


@dataclass(frozen=True)
class Wanted:
    """What is to be written. `host`, `port`: where a single broker listens; `members`: of a NATS cluster, with their
    addresses; `names`: further names and addresses for the certificate; `placed`: the folder of the files on the
    broker's machine ("": the broker is started in it).
    """

    kind: Kind
    host: str = "0.0.0.0"
    port: int = MQTT_PORT
    members: tuple[Member, ...] = ()
    names: tuple[str, ...] = ()
    tls: bool = True
    placed: str = ""
    max_store_mb: int = 512

    @property
    def folder(self) -> str:
        """`placed`, with its last "/"."""
        return self.placed.rstrip("/") + "/" if self.placed else ""


def make_files(wanted: Wanted, users: list[Access], master: MasterKey, ca_dir: Path, out: Path) -> _Files:
    """Name below `out` -> content. Certificates that are in `out` and still fit are kept. Raises BrokerFilesError,
    FieldError.
    """
    if wanted.members:
        made: _Files = {}
        for member in wanted.members:
            certs = _certificates(wanted, ca_dir, out / member.name, (member.host, *wanted.names))
            made |= {f"{member.name}/{name}": data for name, data in certs.items()}
            made[f"{member.name}/nats.conf"] = _nats(wanted, users, _cluster(wanted, member, master))
        return made
    certs = _certificates(wanted, ca_dir, out, (wanted.host, *wanted.names))
    return {**certs, **_SINGLE[wanted.kind](wanted, users, master)}


def _nats(wanted: Wanted, users: list[Access], cluster: broker_nats.Cluster | None) -> str:
    me = cluster.me if cluster is not None else Member("bongsu", wanted.host, wanted.port, 0)
    folder = wanted.folder
    place = broker_nats.Place(me.host, me.port, f"{folder}store", f"{folder}nats.log", _tls(wanted))
    return broker_nats.configuration(me.name, place, users, max_store_mb=wanted.max_store_mb, cluster=cluster)


def _cluster(wanted: Wanted, me: Member, master: MasterKey) -> broker_nats.Cluster:
    ca = f"{wanted.folder}{_CA}" if wanted.tls else None
    return broker_nats.Cluster(wanted.members, me, master.derive_text("broker-route"), ca)


def _nats_files(wanted: Wanted, users: list[Access], _master: MasterKey) -> _Files:
    return {"nats.conf": _nats(wanted, users, None)}


def _mosquitto_files(wanted: Wanted, users: list[Access], master: MasterKey) -> _Files:
    conf = broker_mosquitto.configuration(
        wanted.host, wanted.port, _tls(wanted), folder=wanted.folder, max_store_mb=wanted.max_store_mb
    )
    return {
        broker_mosquitto.ACL: broker_mosquitto.acl(users),
        broker_mosquitto.PASSWORDS: broker_mosquitto.passwords(users, _salts(users, master)),
        broker_mosquitto.CONF: conf,
    }


def _emqx_files(wanted: Wanted, users: list[Access], master: MasterKey) -> _Files:
    receivers = [access for access in users if not access.user.startswith("n-")]
    return {
        broker_emqx.ACL: broker_emqx.acl(receivers),
        broker_emqx.USERS: broker_emqx.users_csv(users, _salts(users, master)),
        broker_emqx.CONF: broker_emqx.configuration(wanted.host, wanted.port, _tls(wanted), folder=wanted.folder),
    }


_SINGLE: dict[Kind, Callable[[Wanted, list[Access], MasterKey], _Files]] = {
    "nats": _nats_files,
    "mosquitto": _mosquitto_files,
    "emqx": _emqx_files,
}


def _salts(users: list[Access], master: MasterKey) -> list[bytes]:
    """One a password; derived, so that an unchanged registry gives unchanged files."""
    return [master.derive(f"broker-salt:{access.user}:{access.password}") for access in users]


def _tls(wanted: Wanted) -> tuple[str, str] | None:
    return (wanted.folder + _CERT, wanted.folder + _KEY) if wanted.tls else None


# ---- certificates


def _certificates(wanted: Wanted, ca_dir: Path, out: Path, hosts: tuple[str, ...]) -> _Files:
    if not wanted.tls:
        return {}
    names = tuple(host for host in hosts if not _is_unspecified(host))
    ca = _load_ca(ca_dir)
    kept = _kept(out, ca, names)
    if kept is None:
        pair = certificates.make_server(ca, names, peer=bool(wanted.members))
        kept = {_CERT: pair.cert_pem(), _KEY: pair.key_pem()}
    return {**kept, _CA: ca.cert_pem()}


def _is_unspecified(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_unspecified
    except ValueError:
        return False


def _kept(out: Path, ca: certificates.Pair, names: tuple[str, ...]) -> _Files | None:
    """The certificate and key that are there, if our CA signed them for all these names."""
    try:
        made: _Files = {_CERT: (out / _CERT).read_bytes(), _KEY: (out / _KEY).read_bytes()}
        cert = x509.load_pem_x509_certificate((out / _CERT).read_bytes())
        cert.verify_directly_issued_by(ca.cert)
        found = cert.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except (OSError, ValueError, TypeError, InvalidSignature, x509.ExtensionNotFound):
        return None
    held = {str(value) for kind in (x509.DNSName, x509.IPAddress) for value in found.get_values_for_type(kind)}
    return made if held.issuperset(name.lower() for name in names) else None


def _load_ca(ca_dir: Path) -> certificates.Pair:
    try:
        key = load_pem_private_key((ca_dir / "ca.key").read_bytes(), None)
        cert = x509.load_pem_x509_certificate((ca_dir / "ca.crt").read_bytes())
    except (OSError, ValueError) as err:
        raise BrokerFilesError(
            f"cannot read the CA in {ca_dir}: {err}", "Restore the folder ca/ from the backup."
        ) from None
    assert isinstance(key, ec.EllipticCurvePrivateKey)
    return certificates.Pair(key, cert)


# ---- what the receivers' settings have to say


def settings(wanted: Wanted) -> str:
    """The section [broker] of receiver.toml that goes with the files."""
    scheme = "mqtts" if wanted.tls else "mqtt"
    places = [(m.host, m.port) for m in wanted.members] or [(_reached(wanted), wanted.port)]
    urls = [f'"{scheme}://{f"[{host}]" if ":" in host else host}:{port}"' for host, port in places]
    url = urls[0] if len(urls) == 1 else "[" + ", ".join(urls) + "]"
    lines = ["[broker]", 'mode = "external"', f"url = {url}"]
    if wanted.tls:
        lines += ['ca_file = "ca/ca.crt"', f'server_hostname = "{certificates.BROKER_NAME}"']
    return "\n".join(lines)


def _reached(wanted: Wanted) -> str:
    return next(iter(wanted.names), "HOST") if _is_unspecified(wanted.host) else wanted.host
