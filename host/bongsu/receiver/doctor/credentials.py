"""What the channels log in with: is it there, for this user only, and one that somebody chose? Nothing goes over any
network for it, and no finding repeats a secret.
"""

import os
import shlex
import stat
from collections.abc import Iterator
from pathlib import Path

from sqlalchemy import Connection, select

from bongsu.receiver import responders
from bongsu.receiver.config import Config
from bongsu.receiver.doctor.finding import FAIL, OK, WARN, Finding, Findings, safely, some
from bongsu.receiver.keys import KeyFault, MasterKey
from bongsu.receiver.store import schema

# What stands in examples, and what a machine tries first.
_DEFAULTS = frozenset(
    ("admin", "changeme", "default", "example", "guest", "password", "passwd", "public", "secret", "test", "token",
     "yoursecret", "yourtoken", "yourpassword", "insertyourtokenhere", "todo")
)  # fmt: skip
_GATEWAY = "sms gateway"
_SHORT = 8
_READ_MAX = 4096
# A signing secret of random bytes has many different ones: 24 bytes with fewer than 12 come once in 10^15.
_FEW_BYTES = 12


def files(config: Config) -> Findings:
    """The files that receiver.toml names: the gateway's token, the passwords of broker and database, the console's
    token.
    """
    failing = set()
    for check, name in _named(config):
        for finding in _file(check, config.path(name)):
            if finding.level == FAIL:
                failing.add(check)
            yield finding
    if config.sms is not None and _GATEWAY not in failing:
        yield from safely(_GATEWAY, lambda: _gateway(config))


def _named(config: Config) -> Iterator[tuple[str, str]]:
    """(What it is for, name) of each."""
    named = (
        (_GATEWAY, config.sms.token_file if config.sms is not None else None),
        ("broker", config.broker.password_file),
        ("store", config.store.password_file),
        ("console", config.console.token_file),
    )
    return ((check, name) for check, name in named if name is not None)


def _file(check: str, path: Path) -> Findings:
    try:
        about = path.stat()
        with path.open("rb") as file:
            text = file.read(_READ_MAX).decode("utf-8", "replace").strip()
    except OSError as err:
        step = "Put its secret there, on the first line: chmod 600 it."
        yield Finding(FAIL, check, f"cannot read {path}: {err.strerror}", step)
        return
    if stat.S_IMODE(about.st_mode) & 0o077:
        step = f"Run: chmod 600 {shlex.quote(str(path))}; others may have seen it: take a new one."
        yield Finding(FAIL, check, f"{path} may be read by other users", step)
        return
    if about.st_uid not in (0, os.geteuid()):
        step = f"Run: sudo chown {os.geteuid()} {shlex.quote(str(path))}"
        yield Finding(WARN, check, f"{path} belongs to another user (uid {about.st_uid})", step)
    yield _chosen(check, path, text)


def _chosen(check: str, path: Path, text: str) -> Finding:
    """Is the secret one that nobody guesses?"""
    plain = "".join(char for char in text.lower() if char.isalpha())
    if not text:
        return Finding(FAIL, check, f"{path} is empty", "Put its secret on the first line.")
    if plain in _DEFAULTS or len(set(text)) == 1:
        return Finding(FAIL, check, f"{path} holds an example's or a default secret", "Take one of your own.")
    if len(text) < _SHORT:
        return Finding(WARN, check, f"{path} holds a secret of less than {_SHORT} letters", "Take a longer one.")
    return Finding(OK, check, f"{path.name} is there, and for this user only")


def _gateway(config: Config) -> Findings:
    """The gateway's settings fit together. Raises SmsConfigError if they do not."""
    from bongsu.channels.wiring import sms_gateway

    assert config.sms is not None
    sms_gateway(config, config.sms)
    bare = [
        name
        for name, value in config.sms.headers.items()
        if name.lower() in ("authorization", "x-api-key") and "{token}" not in value
    ]
    if bare:
        what = f"the header {bare[0]} in receiver.toml holds its secret itself"
        yield Finding(WARN, _GATEWAY, what, "Put it into a file: [sms] token_file, and {token} in the header.")
    elif config.sms.token_file is None:
        what = "it has no token_file: whoever reaches it may send"
        yield Finding(WARN, _GATEWAY, what, "If it asks for a token: [sms] token_file = ...")


def signing(conn: Connection, master: MasterKey) -> Findings:
    """The secrets by which reports to responders are signed: do they open, and are they random?"""
    table = schema.responder.c
    closed, weak, sound = [], [], 0
    for row in conn.execute(select(table.id, table.secret_wrapped).order_by(table.id)):
        try:
            secret = master.unwrap(row.secret_wrapped, responders.secret_purpose(row.id)).decode()
            raw = responders.secret_bytes(secret)
        except (KeyFault, responders.SecretFault, UnicodeDecodeError):
            closed.append(row.id)
            continue
        if len(set(raw)) < _FEW_BYTES:
            weak.append(row.id)
        else:
            sound += 1
    if closed:
        step = "Put back the master.key of this database, or add them anew: bongsu responder add --help"
        yield Finding(FAIL, "responders", f"the signing secrets of {some(closed)} do not open", step)
    if weak:
        step = "Agree on a new one with them: bongsu responder remove, then add"
        yield Finding(WARN, "responders", f"the signing secrets of {some(weak)} are not random", step)
    if sound:
        yield Finding(OK, "responders", f"{sound} signing secrets open, and are random")
