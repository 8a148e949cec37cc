"""What the writer does beside alarms, each at its own time: watch over the receiver itself, end exercises, tidy up.

A chore is asked when it is due (monotonic ms); when its time has come it acts inside the writer's transaction, through
the turn: it may make something stand or end (a fault of a node, a site, the receiver), and write to the store. It must
be quick, for alarms wait meanwhile, and what it keeps in memory must be readable again after a failed transaction.
"""

from typing import TYPE_CHECKING, Any, Protocol

from sqlalchemy import Connection

if TYPE_CHECKING:
    from bongsu.receiver.books import Books
    from bongsu.receiver.turn import Turn


class Chore(Protocol):
    """One such task. All calls come from the writer's thread."""

    def load(self, conn: Connection) -> None:
        """Read anew what it keeps in memory: at the start, after a failed transaction, after somebody else's commit."""

    def note(self, item: object) -> None:
        """Something was put into the writer's queue that is no message; take it if it is meant for this chore."""

    def due_ms(self) -> int | None:
        """When `act` is to be called next (monotonic ms); None: not before something changes."""

    def act(self, conn: Connection, turn: "Turn") -> None:
        """Its time has come: do it, in the writer's transaction. `due_ms` must be later afterwards."""


def make_chores(books: "Books", conn: Connection) -> list[Chore]:
    """The chores of a receiver, in the order in which they act."""
    from bongsu.receiver.aftermath import Aftermath
    from bongsu.receiver.cluster import Presence
    from bongsu.receiver.exercises import LetGo
    from bongsu.receiver.own_faults import OwnFaults
    from bongsu.receiver.upkeep import Upkeep

    makers: tuple[Any, ...] = (LetGo, Aftermath, OwnFaults, Upkeep, Presence)
    made: list[Chore] = [
        books.exercises,
        books.beat_alarms,
        books.clock_watch,
        books.silent_sites,
        *(maker(books) for maker in makers),
    ]
    for chore in made:
        chore.load(conn)
    return made
