"""What the writer does beside alarms, each at its own time: watch over the receiver itself, end exercises and walk
tests, tidy up.

A chore is asked when it is due (monotonic ms); when its time has come it acts inside the writer's transaction, through
the turn: it may make something stand or end (a fault of a node, a site, the receiver), and write to the store. It must
be quick, for alarms wait meanwhile, and what it keeps in memory must be readable again after a failed transaction.
"""

from typing import TYPE_CHECKING, Any, Protocol

from sqlalchemy import Connection
from sqlalchemy.exc import DataError, DBAPIError, IntegrityError, ProgrammingError

from bongsu.receiver.store.engine import StoreError

if TYPE_CHECKING:
    from bongsu.receiver.books import Books
    from bongsu.receiver.turn import Turn

# What the database says about a statement, not about itself.
_OWN_FAULTS = (IntegrityError, DataError, ProgrammingError)
# A chore that failed rests for so long; twice as long each further time.
_REST_MS, _REST_MAX_MS = 5_000, 600_000


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


class Rests:
    """Chores that failed by a fault of their own rest for a while, each time longer: a fault of this program must not
    hold up alarms. A store that fails is no chore's fault.
    """

    def __init__(self) -> None:
        self._until: dict[int, tuple[int, int]] = {}

    def __bool__(self) -> bool:
        return bool(self._until)

    def due_ms(self, chore: Chore) -> int | None:
        """When the chore is to act next (monotonic ms), its rest included."""
        due_ms = chore.due_ms()
        if due_ms is None or not self._until:
            return due_ms
        return max(due_ms, self._until.get(id(chore), (due_ms, 0))[0])

    def act(self, chore: Chore, conn: Connection, turn: "Turn", mono_ms: int) -> None:
        """Let it act. Raises what it raises: its transaction must be given up, for it may have done half of it."""
        try:
            chore.act(conn, turn)
        except Exception as err:
            if not is_of_store(err):
                times = self._until.get(id(chore), (0, 0))[1]
                self._until[id(chore)] = (mono_ms + min(_REST_MS << min(times, 16), _REST_MAX_MS), times + 1)
            raise
        if self._until:
            self._until.pop(id(chore), None)


def is_of_store(err: Exception) -> bool:
    """Is the store itself the cause (it is away, full, too slow), rather than what it was asked?"""
    return isinstance(err, StoreError) or (isinstance(err, DBAPIError) and not isinstance(err, _OWN_FAULTS))


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
        books.walk_tests,
        books.beat_alarms,
        books.clock_watch,
        books.silent_sites,
        *(maker(books) for maker in makers),
        books.air,
    ]
    for chore in made:
        chore.load(conn)
    return made
