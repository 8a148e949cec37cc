"""`bongsu init`: a whole data folder with tight rights, or nothing; its CA and certificate are what nodes need."""

import datetime as dt
import errno
import os
import ssl
import stat
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec

from bongsu.receiver import certificates, init_data
from bongsu.receiver.config import load
from bongsu.receiver.fields import FieldError
from tests.registry_parts import NOW_MS, bongsu, new_store

NOW = dt.datetime.fromtimestamp(NOW_MS / 1000, dt.UTC)


@pytest.mark.sqlite
def test_makes_a_whole_folder_with_tight_rights(tmp_path: Path) -> None:
    old = os.umask(0)
    try:
        assert bongsu("init", "--data", tmp_path / "d").code == 0
    finally:
        os.umask(old)
    rights = {
        p.relative_to(tmp_path): stat.S_IMODE(p.stat().st_mode) for p in [tmp_path / "d", *(tmp_path / "d").rglob("*")]
    }
    assert {r for p, r in rights.items() if (tmp_path / p).is_dir()} == {0o700}
    assert {r for p, r in rights.items() if (tmp_path / p).is_file()} == {0o600}
    assert len((tmp_path / "d" / "master.key").read_bytes()) == 32
    assert load(tmp_path / "d" / "receiver.toml").broker.host == "127.0.0.1"
    with new_store(tmp_path / "d") as store, store.read() as conn:
        sender, ceiling = conn.exec_driver_sql("SELECT sender, counter_ceiling FROM receiver").one()
    assert 1 <= sender <= 65535 and ceiling == 0
    assert [p.name for p in tmp_path.iterdir()] == ["d"]


def test_named_hosts_open_the_broker_to_the_network(tmp_path: Path) -> None:
    assert bongsu("init", "--data", tmp_path / "d", "--host", "192.0.2.7").code == 0
    assert load(tmp_path / "d" / "receiver.toml").broker.host == "0.0.0.0"


def test_the_next_command_can_be_pasted(tmp_path: Path) -> None:
    folder = tmp_path / "my market"
    missing = bongsu("site", "list", "--data", folder)
    assert f"bongsu init --data '{folder}'" in missing.err
    assert f"bongsu --data '{folder}' site add" in bongsu("init", "--data", folder).out


@pytest.mark.parametrize("content", [["receiver.toml"], ["letter.txt"]])
def test_overwrites_nothing(tmp_path: Path, content: list[str]) -> None:
    for name in content:
        (tmp_path / name).write_text("mine")
    ran = bongsu("init", "--data", tmp_path)
    assert ran.code == 1 and "nothing was changed" in ran.err and "next:" in ran.err
    assert [p.name for p in tmp_path.iterdir()] == content and (tmp_path / content[0]).read_text() == "mine"


def test_fills_an_empty_folder(tmp_path: Path) -> None:
    (tmp_path / "d").mkdir()
    assert bongsu("init", "--data", tmp_path / "d").code == 0


def test_a_file_in_the_way(tmp_path: Path) -> None:
    (tmp_path / "d").write_text("")
    assert bongsu("init", "--data", tmp_path / "d").code == 1
    assert bongsu("init", "--data", tmp_path / "d" / "deeper").code == 1


def test_wrong_host_leaves_nothing(tmp_path: Path) -> None:
    ran = bongsu("init", "--data", tmp_path / "d", "--host", "not a host")
    assert ran.code == 2 and "neither a name nor an IP address" in ran.err
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EROFS, errno.EACCES])
def test_failing_disk_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    def failing(_fd: int) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(init_data.os, "fsync", failing)
    ran = bongsu("init", "--data", tmp_path / "d")
    assert ran.code == 1 and os.strerror(number) in ran.err
    assert list(tmp_path.iterdir()) == []


def test_of_two_at_once_one_wins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The other one finishes while this one is about to rename: nothing of the winner is touched."""
    rename = os.rename

    def after_the_other(source: Path, target: Path) -> None:
        monkeypatch.setattr(init_data.os, "rename", rename)
        init_data.init_data(tmp_path / "d", now_ms=NOW_MS)
        (tmp_path / "d" / "winner").write_text("")
        rename(source, target)

    monkeypatch.setattr(init_data.os, "rename", after_the_other)
    ran = bongsu("init", "--data", tmp_path / "d")
    assert ran.code == 1 and "already" in ran.err
    assert (tmp_path / "d" / "winner").exists() and [p.name for p in tmp_path.iterdir()] == ["d"]


def test_ca_and_server_certificate() -> None:
    ca = certificates.make_ca(NOW)
    server = certificates.make_server(ca, ("broker.example", "192.0.2.7"))
    assert isinstance(ca.key.curve, ec.SECP256R1) and isinstance(server.key.curve, ec.SECP256R1)
    assert ca.cert.not_valid_after_utc - NOW > dt.timedelta(days=15 * 366)
    assert server.cert.not_valid_before_utc == ca.cert.not_valid_before_utc <= NOW
    server.cert.verify_directly_issued_by(ca.cert)
    names = server.cert.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.DNSName) == ["bongsu-broker", "localhost", "broker.example"]
    assert [str(a) for a in names.get_values_for_type(x509.IPAddress)] == ["127.0.0.1", "192.0.2.7"]
    assert ca.cert.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    assert certificates.der_of_pem(ca.cert_pem())


def test_a_renewed_certificate_starts_with_the_ca() -> None:
    ca = certificates.make_ca(NOW)
    assert certificates.make_server(ca).cert.not_valid_before_utc == ca.cert.not_valid_before_utc


def _handshake(tmp_path: Path, name: str) -> str | None:
    """A TLS handshake in memory with the written certificates; returns the version agreed."""
    made = tmp_path / "d"
    server_context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server_context.load_cert_chain(made / "ca" / "server.crt", made / "ca" / "server.key")
    server_context.maximum_version = ssl.TLSVersion.TLSv1_2
    client_context = ssl.create_default_context(cafile=made / "ca" / "ca.crt")
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    server = server_context.wrap_bio(to_server, to_client, server_side=True)
    client = client_context.wrap_bio(to_client, to_server, server_hostname=name)
    for _ in range(4):
        for side in (client, server):
            try:
                side.do_handshake()
            except ssl.SSLWantReadError:
                continue
    return client.version()


def test_tls_with_the_written_files(tmp_path: Path) -> None:
    assert bongsu("init", "--data", tmp_path / "d").code == 0
    for name in ("bongsu-broker", "localhost", "127.0.0.1"):
        assert _handshake(tmp_path, name) == "TLSv1.2"
    with pytest.raises(ssl.SSLCertVerificationError):
        _handshake(tmp_path, "elsewhere.example")


@pytest.mark.parametrize("host", ["", "a b", "-x", "x..y", "x" * 64, "1.2.3.4.5", "*.example"])
def test_wrong_hosts(host: str) -> None:
    with pytest.raises(FieldError):
        certificates.make_server(certificates.make_ca(NOW), (host,))
