"""A sealed file: a stream under AES-256-GCM in chunks, opened by a passphrase or by a private key.

    magic | length of the header (4) | header (JSON) | chunk | chunk | ... | last chunk

A fresh content key seals the chunks; the header holds it wrapped, once for every way to open it ("slots"). The nonce of
a chunk is its number and whether it is the last one, and the header's hash is its associated data: chunks that were
changed, put in another order, left out or cut off do not open.
"""

import hashlib
import json
import secrets
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import IO, Any

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from cryptography.hazmat.primitives.kdf.scrypt import Scrypt

from bongsu.errors import BongsuError

MAGIC = b"BONGSU BACKUP 1\n"
CHUNK = 64 * 1024
_TAG = 16
_HEADER_MAX = 64 * 1024
# scrypt (RFC 7914) with 128 MiB of memory; what a file may ask of who opens it lies between the bounds.
SCRYPT_N = 2**17
_SCRYPT_N_MIN, _SCRYPT_N_MAX = 2**12, 2**20
_PASSPHRASE, _KEY = "passphrase", "x25519"
PASSPHRASE_MIN = 8
_NEXT_DAMAGED = "Use another copy of this backup, or an older one."
# A key without a nonce of its own seals one thing only.
_ONCE = bytes(12)


class SealedFileError(BongsuError):
    """The file is no backup, is damaged, or does not open with what was given."""


@dataclass(frozen=True)
class Passphrase:
    """Opens by a passphrase."""

    text: str = field(repr=False)

    def wrap(self, content_key: bytes) -> dict[str, Any]:
        """The slot for it."""
        salt = secrets.token_bytes(16)
        sealed = AESGCM(self._key(salt, SCRYPT_N)).encrypt(_ONCE, content_key, _PASSPHRASE.encode())
        return {"kind": _PASSPHRASE, "salt": salt.hex(), "n": SCRYPT_N, "wrapped": sealed.hex()}

    def unwrap(self, slot: dict[str, Any]) -> bytes | None:
        """The content key; None if the slot is none of this kind. Raises InvalidTag for a wrong passphrase."""
        if slot["kind"] != _PASSPHRASE:
            return None
        n = int(slot["n"])
        if not _SCRYPT_N_MIN <= n <= _SCRYPT_N_MAX or n & (n - 1):
            raise ValueError("scrypt cost")
        key = self._key(bytes.fromhex(slot["salt"]), n)
        return AESGCM(key).decrypt(_ONCE, bytes.fromhex(slot["wrapped"]), _PASSPHRASE.encode())

    def _key(self, salt: bytes, n: int) -> bytes:
        return Scrypt(salt=salt, length=32, n=n, r=8, p=1).derive(self.text.encode())


@dataclass(frozen=True)
class Recipient:
    """Seals for the holder of a private key; who seals needs no secret."""

    public: bytes

    def wrap(self, content_key: bytes) -> dict[str, Any]:
        """The slot for it."""
        once = X25519PrivateKey.generate()
        mine = once.public_key().public_bytes(serialization.Encoding.Raw, serialization.PublicFormat.Raw)
        shared = once.exchange(X25519PublicKey.from_public_bytes(self.public))
        sealed = AESGCM(_shared_key(shared, mine, self.public)).encrypt(_ONCE, content_key, _KEY.encode())
        return {"kind": _KEY, "for": self.public.hex(), "once": mine.hex(), "wrapped": sealed.hex()}


@dataclass(frozen=True)
class PrivateKey:
    """Opens what was sealed for its public key."""

    raw: bytes = field(repr=False)

    @property
    def public(self) -> bytes:
        """Its public key."""
        made = X25519PrivateKey.from_private_bytes(self.raw).public_key()
        return made.public_bytes(serialization.Encoding.Raw, serialization.PublicFormat.Raw)

    def unwrap(self, slot: dict[str, Any]) -> bytes | None:
        """The content key; None if the slot is for another one."""
        if slot["kind"] != _KEY or slot["for"] != self.public.hex():
            return None
        once = bytes.fromhex(slot["once"])
        shared = X25519PrivateKey.from_private_bytes(self.raw).exchange(X25519PublicKey.from_public_bytes(once))
        key = _shared_key(shared, once, self.public)
        return AESGCM(key).decrypt(_ONCE, bytes.fromhex(slot["wrapped"]), _KEY.encode())


def _shared_key(shared: bytes, once: bytes, public: bytes) -> bytes:
    return HKDF(hashes.SHA256(), 32, salt=once + public, info=b"bongsu backup").derive(shared)


Lock = Passphrase | Recipient
Opener = Passphrase | PrivateKey


def _nonce(number: int, last: bool) -> bytes:
    return number.to_bytes(11, "big") + bytes([last])


class SealedWriter:
    """Seals what is written into a file that is open for writing. `close` writes the last chunk, and not the file's
    end: syncing and closing it is left to the caller.
    """

    def __init__(self, file: IO[bytes], locks: list[Lock], about: dict[str, Any]) -> None:
        content_key = AESGCM.generate_key(256)
        header = json.dumps({**about, "slots": [lock.wrap(content_key) for lock in locks]}).encode()
        file.write(MAGIC + len(header).to_bytes(4, "big") + header)
        self._file, self._gcm, self._bound = file, AESGCM(content_key), hashlib.sha256(header).digest()
        self._waiting = bytearray()
        self._number = 0

    def write(self, data: bytes) -> None:
        """More of the stream."""
        self._waiting += data
        while len(self._waiting) > CHUNK:  # one chunk at least is left for the end
            self._seal(bytes(self._waiting[:CHUNK]), last=False)
            del self._waiting[:CHUNK]

    def close(self) -> None:
        """The stream ends here."""
        self._seal(bytes(self._waiting), last=True)

    def _seal(self, plain: bytes, last: bool) -> None:
        self._file.write(self._gcm.encrypt(_nonce(self._number, last), plain, self._bound))
        self._number += 1


class SealedReader:
    """Opens a sealed file. Raises SealedFileError, here or while reading; what was read before is authentic, and the
    stream is whole once `read` has returned b"".
    """

    def __init__(self, file: IO[bytes], opener: Opener) -> None:
        header = read_header(file)
        content_key = _open_slots(header, opener)
        self._file, self._gcm, self._bound = file, AESGCM(content_key), hashlib.sha256(header).digest()
        self._number = 0
        self._ahead = file.read(CHUNK + _TAG)

    def read(self) -> bytes:
        """The next piece of the stream; b"" at its end."""
        while True:
            sealed = self._ahead
            if not sealed:
                if not self._number:
                    raise damaged("it ends after its header")
                return b""
            self._ahead = self._file.read(CHUNK + _TAG)
            try:
                plain = self._gcm.decrypt(_nonce(self._number, not self._ahead), sealed, self._bound)
            except (InvalidTag, ValueError):
                raise damaged(f"its part {self._number + 1} was changed, or its end is missing") from None
            self._number += 1
            if plain:
                return plain


def damaged(what: str) -> SealedFileError:
    return SealedFileError(f"the backup is damaged: {what}", _NEXT_DAMAGED)


def read_header(file: IO[bytes]) -> bytes:
    """The header of a sealed file, as bytes. Raises SealedFileError."""
    start = file.read(len(MAGIC) + 4)
    length = int.from_bytes(start[len(MAGIC) :], "big")
    if start[: len(MAGIC)] != MAGIC or not 0 < length <= _HEADER_MAX:
        raise SealedFileError("this file is no backup of Bongsu", "Name a file that `bongsu backup` made.")
    header = file.read(length)
    if len(header) != length:
        raise damaged("it ends in its header")
    return header


def about(header: bytes) -> dict[str, Any]:
    """What a header says openly. Not authentic before the first chunk was read."""
    try:
        found = json.loads(header)
        slots = found["slots"]
        if not isinstance(slots, list) or not all(isinstance(slot, dict) for slot in slots):
            raise TypeError
    except (KeyError, TypeError, ValueError, RecursionError):
        raise damaged("its header cannot be read") from None
    return dict(found)


def needs_passphrase(header: bytes) -> bool:
    """Does a passphrase open it?"""
    return any(slot.get("kind") == _PASSPHRASE for slot in about(header)["slots"])


def _open_slots(header: bytes, opener: Opener) -> bytes:
    unwrap: Callable[[dict[str, Any]], bytes | None] = opener.unwrap
    for slot in about(header)["slots"]:
        try:
            found = unwrap(slot)
        except InvalidTag:
            continue
        except (AttributeError, KeyError, TypeError, ValueError, OverflowError):
            raise damaged("its header cannot be read") from None
        if found is not None:
            return found
    if isinstance(opener, Passphrase):
        raise SealedFileError("the backup does not open with this passphrase", "Give the one with which it was made.")
    raise SealedFileError("the backup was not made for this key", "Give the private key of one that it was made for.")
