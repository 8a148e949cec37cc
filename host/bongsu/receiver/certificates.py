"""The installation's own CA and its broker's server certificate (ECDSA P-256, TLS 1.2 on the nodes).

A node without a clock takes its certificates' start for "now" at the earliest: so a server certificate starts when its
CA starts, also a renewed one (FACTS 6, DESIGN section 6), and the CA lasts longer than the hardware.
"""

import datetime as dt
import ipaddress
import secrets

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from bongsu.receiver.fields import FieldError

CA_YEARS = 20
# What nodes ask for: they connect by IP address, and check this name.
BROKER_NAME = "bongsu-broker"
_ALWAYS_NAMED = (BROKER_NAME, "localhost", "127.0.0.1")
# The clock of the machine that makes it may be ahead: of a node's, and of its own once that is set right.
_BACKDATED = dt.timedelta(days=1)


class Pair:
    """A private key with its certificate."""

    def __init__(self, key: ec.EllipticCurvePrivateKey, cert: x509.Certificate) -> None:
        self.key = key
        self.cert = cert

    def key_pem(self) -> bytes:
        """The private key, PEM (PKCS 8), not encrypted: for a file with mode 0600."""
        return self.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())

    def cert_pem(self) -> bytes:
        """The certificate, PEM."""
        return self.cert.public_bytes(Encoding.PEM)


def make_ca(now: dt.datetime) -> Pair:
    """A new CA, valid from a day before `now` (aware, UTC) for CA_YEARS."""
    key = ec.generate_private_key(ec.SECP256R1())
    start = now.replace(microsecond=0) - _BACKDATED
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, f"Bongsu CA {secrets.token_hex(4)}")])
    end = start + dt.timedelta(days=round(CA_YEARS * 365.25))
    usage = _key_usage(signs_certificates=True)
    builder = _builder(name, name, key.public_key(), start, end)
    builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
    builder = builder.add_extension(usage, critical=True)
    return Pair(key, builder.sign(key, hashes.SHA256()))


def make_server(ca: Pair, hosts: tuple[str, ...] = (), *, peer: bool = False) -> Pair:
    """A server certificate for the broker: as long as its CA, for BROKER_NAME, localhost, 127.0.0.1 and `hosts` (names
    or addresses). `peer`: it proves a member of a cluster to the others, too.

    Raises FieldError for a host that is neither.
    """
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, BROKER_NAME)])
    start, end = ca.cert.not_valid_before_utc, ca.cert.not_valid_after_utc
    names = list(dict.fromkeys((*_ALWAYS_NAMED, *hosts)))
    builder = _builder(name, ca.cert.subject, key.public_key(), start, end)
    builder = builder.add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
    builder = builder.add_extension(_key_usage(signs_certificates=False), critical=True)
    uses = [ExtendedKeyUsageOID.SERVER_AUTH, *([ExtendedKeyUsageOID.CLIENT_AUTH] if peer else [])]
    builder = builder.add_extension(x509.ExtendedKeyUsage(uses), critical=False)
    builder = builder.add_extension(x509.SubjectAlternativeName([_general_name(n) for n in names]), critical=False)
    issuer = ca.cert.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value
    builder = builder.add_extension(
        x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(issuer), critical=False
    )
    return Pair(key, builder.sign(ca.key, hashes.SHA256()))


def _builder(
    subject: x509.Name, issuer: x509.Name, public: ec.EllipticCurvePublicKey, start: dt.datetime, end: dt.datetime
) -> x509.CertificateBuilder:
    builder = x509.CertificateBuilder().subject_name(subject).issuer_name(issuer).public_key(public)
    builder = builder.serial_number(x509.random_serial_number()).not_valid_before(start).not_valid_after(end)
    return builder.add_extension(x509.SubjectKeyIdentifier.from_public_key(public), critical=False)


def _key_usage(*, signs_certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not signs_certificates,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=signs_certificates,
        crl_sign=signs_certificates,
        encipher_only=False,
        decipher_only=False,
    )


def _general_name(host: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(host))
    except ValueError:
        pass
    labels = host.rstrip(".").split(".")
    if len(host) > 253 or not all(_is_label(label) for label in labels) or labels[-1].isdigit():
        raise FieldError(
            "bad_host", "a host is neither a name nor an IP address", "Write --host broker.example or --host 192.0.2.7."
        )
    return x509.DNSName(host.rstrip(".").lower())


def _is_label(text: str) -> bool:
    plain = text.replace("-", "a")
    return (
        0 < len(text) <= 63
        and plain.isascii()
        and plain.isalnum()
        and not text.startswith("-")
        and not text.endswith("-")
    )


def der_of_pem(pem: bytes) -> bytes:
    """A certificate's DER, as boards take it."""
    return x509.load_pem_x509_certificate(pem).public_bytes(Encoding.DER)
