"""Provisioning a board over its serial line: the application, the settings and the key go onto it, and the receiver
hears its first heartbeat under that key.

Every step looks at the board and the store, never at a record of an earlier run: a run that was killed anywhere is
finished by running it again.
"""

import hashlib
import hmac
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

from bongsu.errors import BongsuError
from bongsu.install.link import BoardLink

Role = Literal["node", "gateway"]
# (step, done, total): of "application" in bytes that go over the line, of "heartbeat" in s that it may take, else 0 or
# 1 of 1.
Progress = Callable[[str, int, int], None]
STEPS = ("service", "format", "application", "settings", "key", "restart", "heartbeat")
HEARTBEAT_WAIT_S = 120.0


class ProvisionError(BongsuError):
    """A board cannot be provisioned; what was on it before is whole, or the next run goes on from here."""


@dataclass(frozen=True, slots=True)
class Network:
    """A Wi-Fi network. passphrase: of WPA2 or WPA3, None: an open network."""

    ssid: str
    passphrase: str | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True)
class Request:
    """What provisioning was told. node_id: the MAC that the board must have, None: whatever it has; board: None: what
    it was before, else the one that is known with its chip; wifi: None: the networks that the board has; profile,
    sensors (texts as of --sensor), only_sensors, reading_s: as `node provision`; unit and label: a board that is not
    registered is registered there; wait_s: how long the first heartbeat is waited for, 0: not at all.
    """

    node_id: str | None = None
    board: str | None = None
    wifi: tuple[Network, ...] | None = None
    role: Role | None = None
    profile: str | None = None
    sensors: tuple[str, ...] = ()
    only_sensors: bool = False
    reading_s: int | None = None
    unit: tuple[str, str] | None = None
    label: str = ""
    wait_s: float = HEARTBEAT_WAIT_S


@dataclass(frozen=True, slots=True)
class Provisioned:
    """What came of it. epoch: the key's; new_key: made by this run; registered: by this run; reformatted: its file
    system was damaged; bytes_copied: files that went over the line, `copied` of `files` of the application and the
    settings; app_hash: of the whole application; machine, micropython: as the board says; took_ms: wall time;
    heard_ms: when the receiver heard it (UTC), None: not waited for; rssi_dbm: of that heartbeat, if it said so.
    """

    node_id: str
    board: str
    epoch: int
    new_key: bool
    registered: bool
    reformatted: bool
    bytes_copied: int
    copied: int
    files: int
    app_hash: str
    machine: str
    micropython: str
    took_ms: int
    heard_ms: int | None = None
    rssi_dbm: int | None = None


@dataclass(frozen=True, slots=True)
class Identity:
    """The key on a board: its epoch, and a proof of which one it is that does not tell it: SHA-256 over `nonce` and the
    key. proof: b"" if the board cannot compute it.
    """

    epoch: int
    nonce: bytes
    proof: bytes

    def is_of(self, key: bytes) -> bool:
        """Whether the board has this very key."""
        return hmac.compare_digest(self.proof, hashlib.sha256(self.nonce + key).digest())


@dataclass(frozen=True, slots=True)
class Orders:
    """What the store says that the board gets. key: 16 bytes, None: the one that it has stays; node_json: without
    Wi-Fi; registered: this made it a node.
    """

    epoch: int
    key: bytes | None = field(repr=False)
    node_json: dict[str, Any] = field(repr=False)
    ca_der: bytes = field(repr=False)
    board: str
    registered: bool


@dataclass(frozen=True, slots=True)
class Heard:
    """A heartbeat that the receiver took. at_ms: UTC."""

    at_ms: int
    rssi_dbm: int | None


class Registry(Protocol):
    """The store, as provisioning sees it (receiver.enrolment.Enrolment)."""

    def check(self, node_id: str, request: Request) -> None:
        """Raise what would hinder `settle`, before anything is done to the board."""

    def settle(self, node_id: str, request: Request, board: str, identity: Identity | None) -> Orders:
        """One transaction: register, keep the settings, make a key unless `identity` (what is on the board, None: no
        usable one) is the newest.
        """

    def heard(self, node_id: str, epoch: int, since_ms: int) -> Heard | None:
        """The node's newest authentic heartbeat under `epoch` at or after `since_ms` (UTC), None: none yet."""


def provision(
    link: BoardLink, registry: Registry, request: Request, progress: Progress = lambda step, done, total: None
) -> Provisioned:
    """Provision the board behind an open link. Raises LinkError, ProvisionError, RegistryError and other BongsuError,
    none of which holds a secret.
    """
    raise NotImplementedError
