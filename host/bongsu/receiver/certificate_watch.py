"""How long the certificates of the installation last, and whether they fit key, CA and name."""

import datetime as dt
import ssl
from collections.abc import Iterable
from pathlib import Path

from bongsu.receiver.certificates import BROKER_NAME
from bongsu.receiver.state import CertificateState

CERTIFICATE, EXPIRING, BAD = "certificate", "certificate_expiring", "certificate_bad"
_DAY_S = 86_400


def look(folder: Path, now_ms: int) -> list[CertificateState]:
    """The CA and the broker's server certificate in the data folder's ca/."""
    return [_look_ca(folder / "ca.crt", now_ms), _look_server(folder, now_ms)]


def peer(what: str, not_after: str, now_ms: int) -> CertificateState:
    """A certificate that another side showed, by its end as Python's ssl tells it ("Jan  5 09:34:43 2027 GMT")."""
    return {"what": what, "days": _days(ssl.cert_time_to_seconds(not_after), now_ms), "problem": ""}


def faults(found: Iterable[CertificateState], days: int) -> tuple[str, ...]:
    """Which faults stand. `days`: how long before its end a certificate is to be renewed. Pure."""
    seen = list(found)
    names = []
    if any(c["days"] is not None and c["days"] <= days for c in seen):
        names.append(EXPIRING)
    if any(c["problem"] for c in seen):
        names.append(BAD)
    return tuple(names)


def _days(end_s: float, now_ms: int) -> float:
    return round((end_s - now_ms / 1000) / _DAY_S, 2)


def _look_ca(path: Path, now_ms: int) -> CertificateState:
    from cryptography import x509  # only now: it costs tens of ms, and this runs in a thread that has time

    try:
        cert = x509.load_pem_x509_certificate(path.read_bytes())
    except (OSError, ValueError) as err:
        return {"what": "ca", "days": None, "problem": _unreadable(path, err)}
    return _state("ca", cert.not_valid_before_utc, cert.not_valid_after_utc, now_ms, "")


def _look_server(folder: Path, now_ms: int) -> CertificateState:
    from cryptography import x509

    path = folder / "server.crt"
    try:
        cert = x509.load_pem_x509_certificate(path.read_bytes())
        problem = _server_problem(folder, cert)
    except (OSError, ValueError) as err:
        return {"what": "server", "days": None, "problem": _unreadable(path, err)}
    return _state("server", cert.not_valid_before_utc, cert.not_valid_after_utc, now_ms, problem)


def _server_problem(folder: Path, cert: object) -> str:
    from cryptography import x509
    from cryptography.exceptions import InvalidSignature

    assert isinstance(cert, x509.Certificate)
    try:
        ssl.create_default_context(ssl.Purpose.CLIENT_AUTH).load_cert_chain(
            folder / "server.crt", folder / "server.key"
        )
    except OSError:  # ssl.SSLError is one
        return "it does not belong to server.key"
    try:
        cert.verify_directly_issued_by(x509.load_pem_x509_certificate((folder / "ca.crt").read_bytes()))
    except (InvalidSignature, ValueError, TypeError, OSError):
        return "it was not made by ca.crt"
    try:
        names = cert.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return f"it does not name {BROKER_NAME}, which nodes ask for"
    named = BROKER_NAME in names.get_values_for_type(x509.DNSName)
    return "" if named else f"it does not name {BROKER_NAME}, which nodes ask for"


def _state(what: str, start: dt.datetime, end: dt.datetime, now_ms: int, problem: str) -> CertificateState:
    if start.timestamp() > now_ms / 1000:
        problem = problem or "it is not valid yet: is the clock right?"
    return {"what": what, "days": _days(end.timestamp(), now_ms), "problem": problem}


def _unreadable(path: Path, err: Exception) -> str:
    return f"{path.name} cannot be read: {err.strerror if isinstance(err, OSError) else 'it is no certificate'}"
