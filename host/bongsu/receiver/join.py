"""A further receiver of an installation: its own data folder on the same database, with the same master key and CA."""

import datetime as dt
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from sqlalchemy import Connection, select

from bongsu.receiver import audit_seen, certificates, identity
from bongsu.receiver.config import CONFIG_NAME, Config, load
from bongsu.receiver.init_data import MASTER_CHECK, InitError, make_folder, write_private
from bongsu.receiver.keys import MASTER_KEY_NAME, KeyFault, MasterKey, load_master
from bongsu.receiver.store import Store, open_store, schema


def join(
    folder: Path, *, settings: Path, master_key: Path, ca: Path, hosts: tuple[str, ...] = (), now_ms: int
) -> list[str]:
    """Make a data folder for a further receiver. `settings`: another one's receiver.toml (it holds no secret);
    `master_key`: a copy of its master.key; `ca`: a folder with its ca.crt, and ca.key if this receiver is to have a
    certificate of its own for `hosts`.

    Returns names of files that the settings name and that must still be copied: no password is copied unasked. Raises
    InitError, KeyFault, ConfigError, StoreError; nothing is left then.
    """
    config = load(settings)
    if config.store_url.startswith("sqlite"):
        raise InitError(
            f"{settings} names a SQLite database, which belongs to one receiver",
            "Several receivers need PostgreSQL: bongsu init --database postgresql+psycopg://...",
        )
    master = load_master(master_key)
    store = open_store(config.store_url, migrate=False)
    try:
        with store.read() as conn:
            _check_master(conn, master, master_key)
        make_folder(folder, lambda made: _fill(made, store, settings, master_key, ca, hosts, now_ms))
    finally:
        store.close()
    return _missing(folder, config)


def _check_master(conn: Connection, master: MasterKey, name: Path) -> None:
    check = conn.execute(select(schema.meta.c.value).where(schema.meta.c.key == MASTER_CHECK)).scalar_one_or_none()
    try:
        if check is not None:
            master.unwrap(bytes.fromhex(check), MASTER_CHECK)
    except KeyFault:
        raise KeyFault(
            f"{name} is not the master key of this database", "Copy master.key from a receiver that uses it."
        ) from None


def _fill(
    made: Path,
    store: Store,
    settings: Path,
    master_key: Path,
    ca: Path,
    hosts: tuple[str, ...],
    now_ms: int,
) -> None:
    write_private(made / CONFIG_NAME, settings.read_bytes())
    write_private(made / MASTER_KEY_NAME, master_key.read_bytes())
    audit_seen.keep(made, 0)  # the audit's chain has begun long since: a missing head is a fault here too
    (made / "ca").mkdir(mode=0o700)
    write_private(made / "ca" / "ca.crt", (ca / "ca.crt").read_bytes())
    if (ca / "ca.key").exists():
        pair = _pair(ca)
        write_private(made / "ca" / "ca.key", pair.key_pem())
        server = certificates.make_server(pair, hosts)
        write_private(made / "ca" / "server.key", server.key_pem())
        write_private(made / "ca" / "server.crt", server.cert_pem())
    with store.write() as conn:  # last: a row for a folder that is not there would be a receiver that never speaks
        identity.write_id(made, identity.add(conn, now_ms))


def _pair(ca: Path) -> certificates.Pair:
    try:
        key = load_pem_private_key((ca / "ca.key").read_bytes(), None)
        cert = x509.load_pem_x509_certificate((ca / "ca.crt").read_bytes())
    except ValueError as err:
        raise InitError(f"the CA in {ca} cannot be read: {err}", "Copy ca.key and ca.crt from a receiver.") from None
    if not isinstance(key, ec.EllipticCurvePrivateKey) or cert.not_valid_after_utc < dt.datetime.now(dt.UTC):
        raise InitError(f"the CA in {ca} is not one that bongsu made", "Copy ca.key and ca.crt from a receiver.")
    return certificates.Pair(key, cert)


def _named(config: Config) -> list[str]:
    """Files that the settings name."""
    names = [config.store.password_file, config.broker.password_file, config.broker.ca_file]
    if config.sms is not None:
        names.append(config.sms.token_file)
    return [name for name in names if name is not None]


def _missing(folder: Path, config: Config) -> list[str]:
    return [name for name in _named(config) if not (folder / name).is_file()]
