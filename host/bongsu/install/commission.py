"""One board from its box into service, step by step:

    find -> flash -> register -> provision -> measure -> walk test -> label -> record

Every step looks at the board and at the store whether it is done already, and trusts no note of an earlier run: a run
that was ended anywhere is finished by running it again. What the steps do is given: the bench (board and serial port)
and the desk (the store), so this file holds the order of things and nothing else.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Protocol

from bongsu.errors import BongsuError, of_system
from bongsu.install import measuring, walk_test
from bongsu.install.provision_words import TAKEN_OVER
from bongsu.install.waiting import Waiting
from bongsu.receiver.commissioning import ALREADY, DONE, FAILED, LEFT, STEPS
from bongsu.receiver.commissioning_desk import CommissioningDesk

# (what is done now, how much of how much; 0 of 0: nobody knows)
Tell = Callable[[str, int, int], None]
WORKING = "working"
# What shows on the board and in the registry; what else a closed record says of it stays true.
_LOOKED_AT = ("flash", "register", "provision")
Row = dict[str, Any]


class CommissionError(BongsuError):
    """A board cannot be brought into service; the next run goes on from here."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where a board goes. label: where in the unit it hangs; sensors, profile: as of `device provision`."""

    unit: tuple[str, str]
    label: str = ""
    sensors: tuple[str, ...] = ()
    profile: str | None = None

    @property
    def address(self) -> str:
        """ "site/unit"."""
        return "/".join(self.unit)


# Which place a board gets: by its MAC, and by the unit ("site/unit") in which it is already. Raises CommissionError.
Assign = Callable[[str, str | None], Place]


@dataclass(frozen=True, slots=True)
class Found:
    """The board at the port. node_id: its MAC; board: of boards/; title: what people call it."""

    node_id: str
    board: str
    title: str


@dataclass(frozen=True, slots=True)
class Flashed:
    """What is on the board. known_by: what is to be said of the image's origin; already: it was there; left: it was not
    looked at, as was wished.
    """

    image: str
    image_sha256: str
    known_by: str = ""
    already: bool = False
    left: bool = False


@dataclass(frozen=True, slots=True)
class Settled:
    """What provisioning did. taken_over: the board had a key that the store does not know; already: nothing had to be
    copied or made.
    """

    epoch: int
    app_sha256: str
    bytes_copied: int
    new_key: bool
    taken_over: bool = False

    @property
    def already(self) -> bool:
        """Was it all there?"""
        return not self.bytes_copied and not self.new_key


class Bench(Protocol):
    """One port and the board behind it."""

    def find(self, tell: Tell) -> Found:
        """Who is there? Raises PortError, and what a wrong board raises."""

    def flash(self, found: Found, tell: Tell) -> Flashed:
        """Have MicroPython on it, unless this very image is there."""

    def check(self, found: Found, place: Place) -> None:
        """Raise what would hinder `provision`, before anything is done to the board."""

    def provision(self, found: Found, place: Place, tell: Tell) -> Settled:
        """Application, settings and key; until the receiver heard its first heartbeat."""

    def label(self, found: Found, desk: CommissioningDesk) -> str | None:
        """Make its label; returns where it is, None if none is wished."""


@dataclass(frozen=True, slots=True)
class Wish:
    """What the installer chose."""

    walk: walk_test.Wish = field(default_factory=walk_test.Wish)
    again: bool = False  # measure and test once more, in a record of its own, what is done already


@dataclass(frozen=True, slots=True)
class Status:
    """What a port's line says now. state: "working", or how the step ended; said: words for people."""

    port: str
    step: str
    state: str
    said: str = ""
    done: int = 0
    total: int = 0
    node_id: str | None = None
    unit: str | None = None

    @property
    def works(self) -> bool:
        """Is the step under way?"""
        return self.state == WORKING


@dataclass(slots=True)
class Did:
    """How a step ended, for the record."""

    state: str
    said: str = ""
    facts: dict[str, object] = field(default_factory=dict)


@dataclass(slots=True)
class StepTaken:
    """A step in the report; ms."""

    name: str
    state: str
    took_ms: int
    said: str


@dataclass(slots=True)
class Outcome:
    """How it ended at one port. error: what stopped it; record: its number in the store."""

    port: str
    node_id: str | None = None
    unit: str | None = None
    board: str | None = None
    record: int | None = None
    steps: list[StepTaken] = field(default_factory=list)
    error: BongsuError | None = None
    took_ms: int = 0

    @property
    def done(self) -> bool:
        """In service, with its record."""
        return self.error is None and bool(self.steps) and self.steps[-1].name == STEPS[-1]

    @property
    def failed_step(self) -> str | None:
        """At which step it stopped."""
        return self.steps[-1].name if self.error is not None and self.steps else None


class Commissioning:
    """One run at one port. show: what to say meanwhile."""

    def __init__(
        self,
        port: str,
        bench: Bench,
        desk: CommissioningDesk,
        assign: Assign,
        wish: Wish,
        show: Callable[[Status], None] = lambda status: None,
        waiting: Waiting | None = None,
    ) -> None:
        self._bench, self._desk, self._assign, self._wish, self._show = bench, desk, assign, wish, show
        self._waiting = waiting or Waiting()
        self._out = Outcome(port)
        self._step = STEPS[0]
        self._found: Found
        self._place: Place
        self._closed: Row | None = None  # the record of a board that is in service already: nothing is noted then
        self._as_before = False

    def run(self) -> Outcome:
        """Take the steps. What stops it is in the outcome, and in the record: it raises only what is a fault of this
        program, and KeyboardInterrupt.
        """
        begun = time.monotonic()
        try:
            if not self._take("find", self._find):
                return self._out
            steps = {
                "flash": self._flash,
                "register": self._register,
                "provision": self._provision,
                "measure": self._measure,
                "walk_test": self._walk_test,
                "label": self._label,
                "record": self._finish,
            }
            for name, act in steps.items():
                if not self._take(name, act):
                    break
        finally:
            self._out.took_ms = _since(begun)
        return self._out

    # ---- one step

    def _take(self, name: str, act: Callable[[], Did]) -> bool:
        """Take a step, note it, say it; False if it failed."""
        begun = time.monotonic()
        self._step = name
        self._tell("", 0, 0)
        try:
            did = act()
            self._note(name, did, _since(begun))
        except (BongsuError, OSError) as err:
            did = self._failed(name, as_error(err), _since(begun))
        took_ms = _since(begun)
        self._out.steps.append(StepTaken(name, did.state, took_ms, did.said))
        self._show(self._status(did.state, did.said))
        return did.state != FAILED

    def _failed(self, name: str, err: BongsuError, took_ms: int) -> Did:
        self._out.error = err
        did = Did(FAILED, err.message)
        try:
            self._note(name, did, took_ms)
        except BongsuError:
            pass  # the store is what failed, perhaps; the error is told
        return did

    def _note(self, name: str, did: Did, took_ms: int) -> None:
        if self._closed is not None and name in _LOOKED_AT and did.state not in (ALREADY, LEFT):
            self._open()  # it is not as its record says: this is another commissioning
        if self._out.record is not None and self._closed is None and name != STEPS[-1]:
            self._desk.note(self._out.record, name, did.state, took_ms=took_ms, said=did.said, **did.facts)

    def _open(self) -> None:
        """Begin the record, or carry on the one that is open."""
        self._closed = None
        self._out.record = self._desk.begin(self._found.node_id, self._place.unit, self._found.board)
        for step in self._out.steps:
            self._desk.note(self._out.record, step.name, step.state, took_ms=step.took_ms, said=step.said)

    def _tell(self, said: str, done: int, total: int) -> None:
        self._show(self._status(WORKING, said, done, total))

    def _status(self, state: str, said: str, done: int = 0, total: int = 0) -> Status:
        out = self._out
        return Status(out.port, self._step, state, said, done, total, out.node_id, out.unit)

    # ---- the steps

    @property
    def _number(self) -> int:
        assert self._out.record is not None  # since the board was found
        return self._out.record

    def _find(self) -> Did:
        found = self._found = self._bench.find(self._tell)
        out = self._out
        out.node_id, out.board = found.node_id, found.board
        place = self._place = self._assign(found.node_id, self._desk.unit_of(found.node_id))
        out.unit = place.address
        self._desk.check(found.node_id, place.unit)
        self._bench.check(found, place)
        last = self._desk.last(found.node_id)
        if last is not None and self._is_enough(last):
            self._closed, out.record = last, last["id"]
        else:
            self._open()
        return Did(DONE, f"{found.title}, {found.node_id}")

    def _is_enough(self, last: Row) -> bool:
        """Is the board in service there, and everything in its record that is wished now?"""
        if not last["done_ms"] or last["unit"] != self._place.address or self._wish.again:
            return False
        return self._wish.walk.skip or last["steps"]["walk_test"]["state"] != LEFT

    def _flash(self) -> Did:
        flashed = self._bench.flash(self._found, self._tell)
        state = LEFT if flashed.left else ALREADY if flashed.already else DONE
        facts: dict[str, object] = {}
        if not flashed.left:
            facts = {"image": flashed.image[:100], "image_sha256": flashed.image_sha256}
        return Did(state, ", ".join(part for part in (flashed.image, flashed.known_by) if part), facts)

    def _register(self) -> Did:
        made = self._desk.register(self._found.node_id, self._place.unit, self._place.label)
        return Did(DONE if made else ALREADY, self._place.address)

    def _provision(self) -> Did:
        settled = self._bench.provision(self._found, self._place, self._tell)
        self._as_before = settled.already
        what = f"{settled.bytes_copied // 1000} kB copied, key epoch {settled.epoch}"
        if settled.taken_over:
            what += f"; it {TAKEN_OVER}"
        facts: dict[str, object] = {"app_sha256": settled.app_sha256, "key_epoch": settled.epoch}
        return Did(ALREADY if settled.already else DONE, what, facts)

    def _measure(self) -> Did:
        before = self._desk.record(self._number)
        known = before["steps"].get("measure", {})
        if known.get("state") == DONE and self._as_before:
            return Did(ALREADY, known["said"])
        found = measuring.measure(self._desk, self._found.node_id, self._tell, self._waiting)
        return Did(DONE, found.words(), {"rssi_dbm": found.rssi_dbm, "round_trip_ms": found.round_trip_ms})

    def _walk_test(self) -> Did:
        if self._wish.walk.skip:
            return Did(LEFT, "left out")
        if self._closed is not None:
            return Did(ALREADY, self._closed["steps"]["walk_test"]["said"])
        known = self._desk.record(self._number)["walk_test"]
        tested = walk_test.carry_out(
            self._desk, self._number, self._found.node_id, known, self._wish.walk, self._tell, self._waiting
        )
        return Did(ALREADY if tested.already else DONE, tested.said)

    def _label(self) -> Did:
        made = self._bench.label(self._found, self._desk)
        return Did(LEFT, "none wished") if made is None else Did(DONE, made)

    def _finish(self) -> Did:
        if self._closed is not None:
            return Did(ALREADY, f"record {self._number}")
        self._desk.finish(self._number)
        return Did(DONE, f"record {self._number}")


def as_error(err: BongsuError | OSError) -> BongsuError:
    """An error as people see it."""
    if isinstance(err, BongsuError):
        return err
    told = of_system(err)
    return CommissionError(told.message, f"{told.next_step} It goes on from here then.")


def _since(begun_s: float) -> int:
    return round((time.monotonic() - begun_s) * 1000)
