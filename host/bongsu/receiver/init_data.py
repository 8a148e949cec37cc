"""A new data folder: made beside its place and renamed into it, so that it is there whole or not at all."""

import datetime as dt
import errno
import fcntl
import json
import os
import secrets
import shutil
import socket
import tempfile
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from sqlalchemy import Connection, insert, select

from bongsu.errors import BongsuError
from bongsu.receiver import audit, audit_seen, certificates
from bongsu.receiver.config import CONFIG_NAME, load
from bongsu.receiver.identity import ID_NAME
from bongsu.receiver.keys import MASTER_KEY_LEN, MASTER_KEY_NAME, MasterKey
from bongsu.receiver.store import open_store, schema

DATABASE_NAME = "bongsu.db"
_TEMP_PREFIX = ".bongsu-init-"
_PASSWORD_NAME = "database.password"
# A value of `meta` that only the installation's master key opens: so a further receiver is refused with another one.
MASTER_CHECK = "master_check"
_SQLITE_SETTING = 'url = "sqlite:///bongsu.db"'

CONFIG_TEXT = """\
# Settings of the Bongsu receiver. Paths are relative to this file's folder; times are seconds. A receiver reads them
# when it starts.

[store]
# The database. This SQLite file is the embedded default.
url = "sqlite:///bongsu.db"

[broker]
# "embedded": the receiver starts a broker of its own. "external": it uses the MQTT broker at `url`.
mode = "embedded"
# Where nodes connect. 127.0.0.1 is for trying out on one machine; 0.0.0.0 lets nodes in from the network. Port 0 lets
# the system pick one (it then stands in run/broker.port).
host = "{host}"
port = 8883
# TLS may be switched off on loopback only.
tls = true
# How much the broker may store, in MB.
max_store_mb = 512
# For mode = "external":
# url = "mqtts://broker.example:8883"
# user = "bongsu"
# password_file = "broker.password"

[supervision]
# A node that has not been seen for so long is a fault (60 to 190).
silent_after_s = 180
# If so large a share of a site's nodes falls silent together, that is one fault of the site.
silent_site_share = 0.8
# Free space below which the disk is a fault, and a worse one; days before a certificate's end.
disk_low_percent = 10.0
disk_low_mb = 1024
disk_full_mb = 200
certificate_days = 30

[dispatch]
# One delivery: time-out of a request, longest pause between two tries, and when the next contact is told if nobody was
# reached.
request_timeout_s = 3.0
retry_cap_s = 60.0
escalate_after_s = 60.0

[console]
# The centre's screen, in a browser: make a user by `bongsu operator add NAME`. Addresses other than 127.0.0.1 are
# served by https only, with ca/server.crt unless cert_file and key_file name another certificate.
enabled = true
host = "127.0.0.1"
port = 8443
# Sessions end after so long, and when no page was open for so long.
session_s = 43200
session_idle_s = 1800
# A file whose text lets other machines read /healthz and /metrics (Authorization: Bearer ...).
# token_file = "console.token"

# How many days records are kept: alarms with their incidents and messages, and the audit, for a year at least.
# [retention]
# alarms_days = 1095
# faults_days = 365
# tests_days = 90
# audit_days = 1825

# The gateway for text messages. Without this section owners are not texted.
# [sms]
# url = "https://sms.example/send"
# status_url = "https://sms.example/status/{{ref}}"
# token_file = "sms.token"
# headers = {{ authorization = "Bearer {{token}}" }}
# body = {{ to = "{{phone}}", text = "{{text}}", key = "{{key}}" }}
"""


class InitError(BongsuError):
    """The data folder cannot be made; nothing was left in its place."""


def init_data(
    folder: Path,
    *,
    now_ms: int,
    hosts: tuple[str, ...] = (),
    store_url: str | None = None,
    store_password: Path | None = None,
) -> None:
    """Make a data folder: CA, server certificate, master key, settings, database with a sender number for this
    receiver.

    `hosts`: further names and addresses of the broker, for its certificate; `store_url`: an empty PostgreSQL database
    in place of a SQLite file in the folder, and `store_password` the file with its user's password, of which a copy is
    made. Raises InitError, for example if the folder holds something; StoreError.
    """
    database = None if store_url is None else (store_url, store_password)
    make_folder(folder, lambda made: _fill(made, now_ms, hosts, database))


def make_folder(folder: Path, fill: Callable[[Path], None]) -> None:
    """Make a data folder whole or not at all; `fill` puts into it what belongs there."""
    target = Path(os.path.abspath(folder))
    _refuse_used(target)
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        made, lock = _new_beside(target.parent)
    except OSError as err:
        raise _failed(target, err) from None
    try:
        try:
            fill(made)
            os.fsync(lock)
            os.rename(made, target)  # replaces an empty folder, refuses one that holds something
            _sync_folder(target.parent)
        finally:
            os.close(lock)
    except OSError as err:
        shutil.rmtree(made, ignore_errors=True)
        _refuse_used(target)
        raise _failed(target, err) from None
    except BaseException:
        shutil.rmtree(made, ignore_errors=True)
        raise


def _failed(target: Path, err: OSError) -> InitError:
    full = err.errno == errno.ENOSPC
    next_step = (
        "Free some space and run it again." if full else "Name a folder by --data in a place where you may write."
    )
    return InitError(f"cannot make {target}: {err.strerror}", next_step)


def _refuse_used(target: Path) -> None:
    if target.is_symlink() or (target.exists() and not target.is_dir()):
        raise InitError(f"{target} is not a folder", "Name another folder by --data.")
    try:
        used = target.is_dir() and any(target.iterdir())
    except OSError as err:
        raise _failed(target, err) from None
    if used and (target / CONFIG_NAME).exists():
        raise InitError(
            f"{target} is a data folder already; nothing was changed",
            "Use it as it is, or name another folder by --data.",
        )
    if used:
        raise InitError(f"{target} is not empty; nothing was changed", "Name a new or empty folder by --data.")


def _fill(made: Path, now_ms: int, hosts: tuple[str, ...], database: tuple[str, Path | None] | None) -> None:
    ca = certificates.make_ca(dt.datetime.fromtimestamp(now_ms / 1000, dt.UTC))
    server = certificates.make_server(ca, hosts)
    (made / "ca").mkdir(mode=0o700)
    write_private(made / "ca" / "ca.key", ca.key_pem())
    write_private(made / "ca" / "ca.crt", ca.cert_pem())
    write_private(made / "ca" / "server.key", server.key_pem())
    write_private(made / "ca" / "server.crt", server.cert_pem())
    master_key = secrets.token_bytes(MASTER_KEY_LEN)
    write_private(made / MASTER_KEY_NAME, master_key)
    settings = CONFIG_TEXT.format(host="0.0.0.0" if hosts else "127.0.0.1")
    if database is None:
        write_private(made / DATABASE_NAME, b"")
    else:
        settings = settings.replace(_SQLITE_SETTING, _database_settings(made, *database), 1)
    write_private(made / CONFIG_NAME, settings.encode())
    store = open_store(load(made / CONFIG_NAME).store_url)
    try:
        with store.write() as conn:
            _refuse_taken(conn)
            values = new_receiver(now_ms)
            conn.execute(
                insert(schema.meta).values(key=MASTER_CHECK, value=MasterKey(master_key).wrap(b"", MASTER_CHECK).hex())
            )
            if database is not None:
                write_private(made / ID_NAME, f"{values['mqtt_client_id']}\n".encode())
            conn.execute(insert(schema.receiver).values(values))
            audit.begin_chain(conn, audit.chain_key(MasterKey(master_key)))
        audit_seen.keep(made, 0)
    finally:
        store.close()


def _database_settings(made: Path, url: str, password: Path | None) -> str:
    text = f"url = {json.dumps(url)}"  # a JSON string is a TOML string
    if password is not None:
        write_private(made / _PASSWORD_NAME, password.read_bytes())
        text += f'\npassword_file = "{_PASSWORD_NAME}"'
    return text


def _refuse_taken(conn: Connection) -> None:
    """A database that receivers use already has a master key of its own."""
    if conn.execute(select(schema.receiver.c.sender).limit(1)).first() is not None:
        raise InitError(
            "the database belongs to an installation already; nothing was changed",
            "For a further receiver of it: bongsu init --join SETTINGS; else name an empty database.",
        )


def new_receiver(now_ms: int) -> dict[str, object]:
    """Values of a new receiver's row. Its sender number is random, so that it is a fresh one after any restore of older
    data.
    """
    return {
        "sender": 1 + secrets.randbelow(65535),
        "name": socket.gethostname()[:100],
        "mqtt_client_id": f"r-{secrets.token_urlsafe(16)}",
        "counter_ceiling": 0,
        "created_ms": now_ms,
    }


def write_private(path: Path, data: bytes) -> None:
    """A new file for this user only, on the disk when this returns."""
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def _sync_folder(folder: Path) -> None:
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def _new_beside(parent: Path) -> tuple[Path, int]:
    """A new temporary folder and the descriptor that holds its lock; what a killed `init` left there is removed."""
    gate = os.open(parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(gate, fcntl.LOCK_EX)  # so that nobody takes a folder for left over before its maker has locked it
        for path in parent.glob(f"{_TEMP_PREFIX}*"):
            _remove_left_over(path)
        made = Path(tempfile.mkdtemp(prefix=_TEMP_PREFIX, dir=parent))
        lock = os.open(made, os.O_RDONLY | os.O_DIRECTORY)
        fcntl.flock(lock, fcntl.LOCK_EX)
    finally:
        os.close(gate)
    return made, lock


def _remove_left_over(path: Path) -> None:
    """Remove a temporary folder unless its maker still lives, which is to say, holds its lock."""
    with suppress(OSError):
        fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            shutil.rmtree(path, ignore_errors=True)
        finally:
            os.close(fd)
