"""A connection that a fleet holds: a node's own, or a gateway's with many nodes behind it."""

import asyncio
import ssl
from dataclasses import dataclass, field

from bongsu.sim.fleet_line import Line
from bongsu.sim.fleet_node import FleetNode
from bongsu_node.link.backoff import Backoff


@dataclass(frozen=True)
class Broker:
    """`addresses`: (host, port), tried in turn; `tls`: None for a plain connection; `name`: that its certificate must
    bear.
    """

    addresses: tuple[tuple[str, int], ...]
    tls: ssl.SSLContext | None = None
    name: str | None = None


@dataclass
class Carrier:
    """A connection to be held. `hello`: client id, user, password (secret)."""

    hello: tuple[str, str, str] = field(repr=False)
    nodes: list[FleetNode]
    gateway: bool = False
    line: Line | None = None
    powered: bool = True
    down_s: float | None = None
    tries: int = 0
    up_s: float = 0.0
    backoff: Backoff = field(default_factory=Backoff)
    retry: asyncio.TimerHandle | None = None
    dialling: asyncio.Task[None] | None = None
    by_topic: dict[bytes, FleetNode] = field(default_factory=dict)

    @property
    def up(self) -> bool:
        """Can frames go out?"""
        return self.line is not None and self.line.up
