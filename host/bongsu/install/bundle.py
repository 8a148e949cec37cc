"""The bundle: what one provisioning puts onto one board: node.json, ca.der, ident.json (folder 0700, files 0600)."""

import json
import os
import shutil
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec

from bongsu.errors import BongsuError

KEY_LEN = 16


class BundleError(BongsuError):
    """A bundle cannot be written or read."""


class _Ident(msgspec.Struct, forbid_unknown_fields=True):
    v: int
    node: str
    key_epoch: int
    key: str


@dataclass(frozen=True)
class Bundle:
    """Node id (12 hex digits), key epoch (1..255), key (16 bytes), node.json's content and the CA certificate (DER).

    `node_json` holds the Wi-Fi and broker passwords, so the repr shows neither it nor the key.
    """

    node_id: str
    key_epoch: int
    key: bytes = field(repr=False)
    node_json: dict[str, Any] = field(repr=False)
    ca_der: bytes = field(repr=False)

    def save(self, folder: Path) -> None:
        """Write the folder, whole or not at all. Raises BundleError if it exists with something in it, or cannot be
        written.
        """
        ident = {"v": 1, "node": self.node_id, "key_epoch": self.key_epoch, "key": self.key.hex()}
        contents = {
            "node.json": json_bytes(self.node_json),
            "ca.der": self.ca_der,
            "ident.json": json_bytes(ident),
        }
        try:
            folder.parent.mkdir(parents=True, exist_ok=True)
            _write_whole(folder, contents)
        except OSError as err:
            raise BundleError(
                f"cannot write the bundle {folder}: {err.strerror}",
                "Name a new folder by --out, in a place where you may write.",
            ) from None

    @staticmethod
    def load(folder: Path) -> "Bundle":
        """Read what `save` wrote. Raises BundleError, which never repeats the content."""
        try:
            node_json = json.loads((folder / "node.json").read_text(encoding="utf-8"))
            ident = msgspec.json.decode((folder / "ident.json").read_bytes(), type=_Ident)
            ca_der = (folder / "ca.der").read_bytes()
            key = bytes.fromhex(ident.key)
        except OSError as err:
            raise BundleError(
                f"cannot read the bundle {folder}: {err.strerror}",
                "Name the folder that `bongsu node provision` wrote.",
            ) from None
        except (ValueError, msgspec.DecodeError):
            raise BundleError(f"the bundle {folder} is damaged", "Make a new one: bongsu node provision") from None
        if (
            ident.v != 1
            or len(key) != KEY_LEN
            or not isinstance(node_json, dict)
            or node_json.get("node") != ident.node
        ):
            raise BundleError(f"the bundle {folder} does not fit together", "Make a new one: bongsu node provision")
        return Bundle(ident.node, ident.key_epoch, key, node_json, ca_der)


def json_bytes(value: dict[str, Any]) -> bytes:
    """A document as it goes onto a board, always the same for the same values."""
    return json.dumps(value, ensure_ascii=False, indent=1).encode()


def _write_whole(folder: Path, contents: dict[str, bytes]) -> None:
    # rename() replaces an empty folder and refuses one that holds something.
    made = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=folder.parent))
    try:
        for name, data in contents.items():
            fd = os.open(made / name, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            with os.fdopen(fd, "wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
        os.rename(made, folder)
    except BaseException:
        shutil.rmtree(made, ignore_errors=True)
        raise
