"""PostgreSQL as the store: which URLs are allowed, how long it may stay silent, what its errors mean to a person.

Writing transactions take one advisory lock first, so that they come one after the other, as SQLite's do: whoever holds
it sees everything that was committed before, and nobody overwrites anybody. Who stands still while holding it (a frozen
process, a cut cable) is thrown out by the server after seconds.
"""

import ipaddress
import select
from collections.abc import Callable
from pathlib import Path
from typing import Any

from sqlalchemy import URL, Connection, Engine, event, text
from sqlalchemy.exc import DisconnectionError

DRIVER = "postgresql+psycopg"
# The name of the password's file in a URL's query; never given to the driver.
PASSWORD_FILE = "bongsu_password_file"
# Any number will do, but it must stay the same for ever: "bongsu" in ASCII.
_LOCK = 0x626F6E677375
# Where commits are announced; the payload is the receiver's sender number, or "0".
CHANNEL = "bongsu_changed"
LOCK_SQL = f"SELECT pg_advisory_xact_lock({_LOCK})"
# Transactions take milliseconds. Who is idle inside one for so long has stopped; the others wait no longer than that.
IDLE_MS = 5_000
_READ_SQL = "SET LOCAL idle_in_transaction_session_timeout = '10min'"
LOCK_MS = 8_000
STATEMENT_MS = 20_000
CONNECT_S = 4
# The driver waits for an answer of the server without end: a watch of its own cuts the line after so long.
SILENCE_S = 12.0
_TCP = {
    "keepalives": 1,
    "keepalives_idle": 5,
    "keepalives_interval": 2,
    "keepalives_count": 3,
    "tcp_user_timeout": 8000,
}
_SERVER = {
    "idle_in_transaction_session_timeout": IDLE_MS,
    "lock_timeout": LOCK_MS,
    "statement_timeout": STATEMENT_MS,
    "tcp_keepalives_idle": 5,
    "tcp_keepalives_interval": 2,
    "tcp_keepalives_count": 3,
    "tcp_user_timeout": 8000,
}
_TLS_MODE = "verify-full"


def problem(url: URL) -> str | None:
    """What is wrong with a PostgreSQL URL; None if nothing is."""
    if url.drivername != DRIVER:
        return f"{url.drivername} is not supported, PostgreSQL is {DRIVER}://"
    if url.password is not None or "password" in url.query:
        return "it holds a password; put it into a file and name that by [store] password_file"
    if not url.database:
        return "it names no database"
    if not is_local(url) and url.query.get("sslmode", _TLS_MODE) != _TLS_MODE:
        return f"off this machine the database needs TLS: sslmode={_TLS_MODE} (which is the default)"
    return None


def is_local(url: URL) -> bool:
    """Is the server on this machine: a loopback address, or a socket's folder?"""
    named = url.host or url.query.get("host", "")
    hosts = [named] if isinstance(named, str) else list(named)
    return all(_is_local(one) for host in hosts for one in host.split(","))


def _is_local(host: str) -> bool:
    if host in ("", "localhost") or host.startswith("/"):
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


def place(url: URL) -> str:
    """A database for people: host:port/name."""
    port = f":{url.port}" if url.port else ""
    return f"{url.host or 'this machine'}{port}/{url.database}"


def options(url: URL) -> tuple[URL, dict[str, Any]]:
    """(URL for the driver, arguments of create_engine). Raises OSError, UnicodeDecodeError: the password's file."""
    arguments: dict[str, Any] = {
        "connect_timeout": CONNECT_S,
        "application_name": "bongsu",
        "options": " ".join(f"-c {name}={value}" for name, value in _SERVER.items()),
        **_TCP,
    }
    name = url.query.get(PASSWORD_FILE)
    if name is not None:
        arguments["password"] = Path(str(name)).read_text(encoding="utf-8").strip()
    if not is_local(url):
        arguments["sslmode"] = _TLS_MODE
        if "sslrootcert" not in url.query:
            arguments["sslrootcert"] = "system"
    return url.difference_update_query([PASSWORD_FILE]), {
        "connect_args": arguments,
        "pool_size": 2,
        "max_overflow": 20,
        "isolation_level": "READ COMMITTED",
    }


def prepare(engine: Engine, is_reading: Callable[[Connection], bool]) -> None:
    """Every transaction that is not a reading one waits for its turn first; errors say nothing of the rows."""

    def on_begin(conn: Connection) -> None:
        # Who only reads holds up nobody, and may look at what was read for a while (a city's registry: seconds).
        conn.exec_driver_sql(_READ_SQL if is_reading(conn) else LOCK_SQL)

    def on_error(context: Any) -> None:
        # "DETAIL: Failing row contains (...)" would bring phone numbers into messages and logs.
        original = context.original_exception
        if original.args and "\n" in str(original.args[0]):
            first = str(original.args[0]).partition("\n")[0]
            original.args = (first, *original.args[1:])
            made = context.sqlalchemy_exception
            if made is not None and made.args:
                made.args = (f"({type(original).__module__}.{type(original).__name__}) {first}", *made.args[1:])

    def on_checkout(driver: Any, _record: Any, _proxy: Any) -> None:
        # The server speaks unasked when it ends the line: after its restart the first transaction works all the same.
        # (A ping would wait for a server that is frozen.)
        if select.select([driver.fileno()], [], [], 0)[0]:
            raise DisconnectionError

    event.listen(engine, "begin", on_begin)
    event.listen(engine, "checkout", on_checkout)
    event.listen(engine, "handle_error", on_error)


def patient(conn: Connection) -> None:
    """This transaction may take its time (a migration)."""
    for name in ("statement_timeout", "idle_in_transaction_session_timeout"):
        conn.execute(text(f"SET LOCAL {name} = 0"))


# (mark in the driver's text, what is wrong, next step), the first that fits.
CAUSES = (
    (
        "password authentication failed",
        "the database refuses the password",
        "Put the right one into the file that [store] password_file names.",
    ),
    (
        "no password supplied",
        "the database asks for a password",
        "Put it into a file (0600) and name that by [store] password_file.",
    ),
    ("pg_hba.conf", "the database server lets this user not in from here", "Add a line to its pg_hba.conf."),
    (
        "certificate",
        "the database server's certificate is refused",
        "Check sslrootcert in [store] url, and that the certificate names this host.",
    ),
    ("SSL", "TLS with the database server failed", "Check that it speaks TLS, and sslrootcert in [store] url."),
    ('role "', "the database does not know this user", "Correct the user in [store] url, or create the role."),
    ('database "', "there is no such database", "Create it (createdb), or correct [store] url."),
    (
        "Connection refused",
        "the database server does not answer",
        "Check that it runs, and host and port in [store] url.",
    ),
    ("translate host name", "the database server's name is not known", "Correct the host in [store] url."),
    ("timeout expired", "the database server does not answer in time", "Check that it runs and can be reached."),
    ("No space left", "the disk of the database server is full", "Free some space; nothing of this change was kept."),
    (
        "read-only transaction",
        "the database cannot be written: it is read-only",
        "Name the primary server in [store] url, not a standby.",
    ),
    ("recovery", "the database server is recovering", "Wait until it is up."),
    ("starting up", "the database server is starting", "Wait until it is up."),
    ("shutting down", "the database server is shutting down", "Start it again."),
    (
        "lock timeout",
        "another program holds the store's write lock",
        "Try again; if it stays, look at pg_stat_activity.",
    ),
    ("statement timeout", "the database took too long", "Look at its load; nothing of this change was kept."),
    ("idle-in-transaction", "the database ended a transaction that stood still", "Try again."),
    ("terminating connection", "the database server ended the connection", "Try again."),
    ("closed the connection", "the database server ended the connection", "Try again."),
    ("connection is lost", "the database server ended the connection", "Try again."),
    ("connection is closed", "the database server ended the connection", "Try again."),
    ("server closed", "the database server ended the connection", "Try again."),
    ("consuming input failed", "the connection to the database server broke", "Check the network and the server."),
    ("connection failed", "no connection to the database server", "Check [store] url, and that the server runs."),
    ("clients already", "the database server has no place for more connections", "Raise its max_connections."),
    ("connection slots", "the database server has no place for more connections", "Raise its max_connections."),
    ("permission denied", "the database user may not do this", "Make it the owner of the database."),
)
