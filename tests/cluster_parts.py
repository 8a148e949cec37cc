"""Several receivers on one PostgreSQL for tests: their writers alone, with one clock that stands and no network."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from sqlalchemy import select

from bongsu.receiver import identity
from bongsu.receiver.clock import SetClock
from bongsu.receiver.store import open_store, schema
from tests.postgres_parts import Server
from tests.receiver_parts import Desk, Market, make_market


class Desks:
    """Writers of several receivers; any of them may die and come back."""

    def __init__(self, folder: Path, server: Server, units: int, count: int) -> None:
        self.url = server.create()
        self.market: Market = make_market(folder / "data", units, store_url=self.url)
        self.clock = SetClock(1_800_000_000_000)
        store = open_store(self.url)
        with store.write() as conn:
            for _ in range(count - 1):
                identity.add(conn, self.clock.now_ms())
            self.senders = list(conn.execute(select(schema.receiver.c.sender)).scalars())
        store.close()
        self.desks = [Desk(self.market, self.clock, sender) for sender in self.senders]
        for desk in self.desks[1:]:
            desk.nodes = self.desks[0].nodes  # the very same frames reach all of them

    def kill(self, i: int) -> None:
        """One of them is gone, without a word."""
        self.desks[i].close()

    def restart(self, i: int) -> None:
        """And comes back."""
        nodes = self.desks[0].nodes
        self.desks[i] = Desk(self.market, self.clock, self.senders[i])
        self.desks[i].nodes = nodes

    def close(self) -> None:
        """Close all."""
        for desk in self.desks:
            desk.close()


@contextmanager
def desks(folder: Path, server: Server, units: int = 2, count: int = 2) -> Iterator[Desks]:
    """Several receivers, set up and taken down."""
    made = Desks(folder, server, units, count)
    try:
        yield made
    finally:
        made.close()
