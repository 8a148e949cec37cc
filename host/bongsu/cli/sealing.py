"""Passphrases and keys of backups: from files or typed in, never from the command line or the environment."""

import stat
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from bongsu.errors import BongsuError

if TYPE_CHECKING:
    from bongsu.receiver.sealed_file import Lock, Opener

PUBLIC_PREFIX, PRIVATE_PREFIX = "bongsu-backup-public-", "bongsu-backup-private-"
_MASTER_KEY_MAX = 1024


def secret_file(path: Path, what: str) -> bytes:
    """The content of a file that only its owner may read. Raises BongsuError."""
    try:
        mode = path.stat().st_mode
        data = path.read_bytes()
    except OSError as err:
        raise BongsuError(f"cannot read {what} {path}: {err.strerror}", "Name a file that can be read.") from None
    if stat.S_ISREG(mode) and stat.S_IMODE(mode) & 0o077:
        raise BongsuError(f"{what} {path} may be read by other users", f"Run: chmod 600 {path}")
    return data


def _passphrase(data: bytes, where: str) -> str:
    from bongsu.receiver.sealed_file import PASSPHRASE_MIN

    try:
        words = data.decode().rstrip("\r\n")
    except UnicodeDecodeError:
        raise BongsuError(f"the passphrase {where} is not UTF-8", "Save it as UTF-8.") from None
    if len(words) < PASSPHRASE_MIN:
        raise BongsuError(
            f"the passphrase {where} has fewer than {PASSPHRASE_MIN} characters", "Take a longer one: six words."
        )
    return words


def _typed(confirm: bool) -> str:
    if not sys.stdin.isatty():
        raise BongsuError("no passphrase is given", "Name a file: --passphrase-file FILE; or run it in a terminal.")
    words = click.prompt("Passphrase", hide_input=True, confirmation_prompt=confirm, err=True)
    return _passphrase(str(words).encode(), "typed in")


def locks(passphrase_file: Path | None, recipients: tuple[Path, ...]) -> "list[Lock]":
    """How a new backup is closed: by a passphrase, for recipients, or both; typed in if nothing is named."""
    from bongsu.receiver.sealed_file import Passphrase, Recipient

    made: list[Lock] = []
    if passphrase_file is not None:
        made.append(Passphrase(_passphrase(secret_file(passphrase_file, "the passphrase"), f"in {passphrase_file}")))
    for path in recipients:
        try:
            text = path.read_text(encoding="ascii")
        except (OSError, UnicodeDecodeError):
            raise BongsuError(f"cannot read the public key {path}", "Make a pair: bongsu backup keygen") from None
        made.append(Recipient(_key(text, PUBLIC_PREFIX, path)))
    return made or [Passphrase(_typed(confirm=True))]


def opener(header: bytes, passphrase_file: Path | None, key_file: Path | None) -> "Opener":
    """How a backup is opened."""
    from bongsu.receiver.sealed_file import Passphrase, PrivateKey, needs_passphrase

    if key_file is not None:
        data = secret_file(key_file, "the private key")
        return PrivateKey(_key(data.decode("ascii", "replace"), PRIVATE_PREFIX, key_file))
    if passphrase_file is not None:
        return Passphrase(_passphrase(secret_file(passphrase_file, "the passphrase"), f"in {passphrase_file}"))
    if not needs_passphrase(header):
        raise BongsuError("the backup was made for a key", "Name the private key: --key FILE")
    return Passphrase(_typed(confirm=False))


def _key(text: str, prefix: str, path: Path) -> bytes:
    words = [line.strip() for line in text.splitlines() if line.strip() and not line.startswith("#")]
    try:
        if len(words) != 1 or not words[0].startswith(prefix):
            raise ValueError
        raw = bytes.fromhex(words[0].removeprefix(prefix))
        if len(raw) != 32:
            raise ValueError
    except ValueError:
        raise BongsuError(f"{path} holds no key of the form {prefix}...", "Make a pair: bongsu backup keygen") from None
    return raw
