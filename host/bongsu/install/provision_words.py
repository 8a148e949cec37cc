"""Provisioning in words: what it is told, what it asks of the store, and what comes of it."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

from bongsu.errors import BongsuError
from bongsu.install.boards import Board
from bongsu.install.on_board import Identity

Role = Literal["node", "gateway"]
# (step, done, total): of "application" bytes that go over the line, of "heartbeat" s that it may take, else 0 or 1 of
# 1. Behind "heartbeat" may stand what the node complains of meanwhile: "heartbeat: ...".
Progress = Callable[[str, int, int], None]
STEPS = ("compile", "service", "format", "application", "settings", "key", "restart", "heartbeat")
HEARTBEAT_WAIT_S = 120.0
NAME_A_NETWORK = "Name it: --wifi SSID=FILE (FILE holds the passphrase), or --wifi SSID for an open one."
TAKEN_OVER = (
    "had a key that this data folder does not know: it was in service under another one, or under a later state of this"
    " one, and is heard there no more"
)


class ProvisionError(BongsuError):
    """A board cannot be provisioned. What was on it before is whole, or the next run goes on from here."""


@dataclass(frozen=True, slots=True)
class Network:
    """A Wi-Fi network. passphrase: of WPA2 or WPA3, None: an open network."""

    ssid: str
    passphrase: str | None = field(default=None, repr=False)

    def entry(self) -> dict[str, str]:
        """As node.json has it."""
        return {"ssid": self.ssid, **({"psk": self.passphrase} if self.passphrase else {})}


@dataclass(frozen=True, slots=True)
class Request:
    """What provisioning was told.

    node_id: the MAC that the board must have, None: whatever it has; board: name or file, None: what it was before, or
    the only one with its chip; wifi: None: the networks that the board has; role: None: its board's; profile, sensors
    (texts as of --sensor), only_sensors, reading_s: as `bongsu node provision` takes them; unit, label: a board that is
    not registered is registered there; wait_s: how long the first heartbeat is waited for, 0: not at all.
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
    system was damaged; bytes_copied: content that went over the line, of `copied` of `files` files; app_hash: of the
    whole application; machine, micropython: as the board says; took_ms: wall time; taken_over: it had a key that the
    store does not know; heard_ms: when its first heartbeat was found at the receiver (UTC), None: not waited for;
    rssi_dbm: of that heartbeat, if it says so.
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
    taken_over: bool
    heard_ms: int | None
    rssi_dbm: int | None


@dataclass(frozen=True, slots=True)
class Orders:
    """What the store says that the board gets. key: 16 bytes, None: the one that it has stays; node_json: without
    Wi-Fi; registered: this made it a node; taken_over: the board has a usable key that the store never made.
    """

    epoch: int
    key: bytes | None = field(repr=False)
    node_json: dict[str, Any] = field(repr=False)
    ca_der: bytes = field(repr=False)
    registered: bool
    taken_over: bool = False


@dataclass(frozen=True, slots=True)
class Beat:
    """The newest heartbeat of a node under one key. counter: the highest uplink counter that was taken under that key;
    rssi_dbm: None: it does not say.
    """

    counter: int
    rssi_dbm: int | None


class Registry(Protocol):
    """The store, as provisioning sees it (receiver.enrolment.Enrolment)."""

    def board(self, request: Request, chip: str, before: str | None) -> Board:
        """Which board it is. `chip`: as it says; `before`: as what it was provisioned."""

    def check(self, node_id: str, request: Request, board: Board) -> None:
        """Raise what would hinder `settle`, before anything is done to the board."""

    def settle(self, node_id: str, request: Request, board: Board, identity: Identity | None) -> Orders:
        """One transaction: register, keep the settings, make a key unless `identity` (what is on the board, None: no
        usable one) is the newest.
        """

    def beat(self, node_id: str, epoch: int) -> Beat | None:
        """The node's newest heartbeat under this key, None: none yet."""

    def unheard(self) -> str:
        """Why nobody would hear it, as far as is known; "" else."""
