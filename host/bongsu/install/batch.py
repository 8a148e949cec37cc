"""Many boards by a list: which board goes where, several ports at a time, and what is done and what is not.

The list is a CSV or Excel file: unit (address, number or name), and if wanted mac, sensors, profile, label. A row that
names a MAC is that board's; a board that was begun with goes on where it was; every other takes the next row that is
free.
"""

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from sqlalchemy import Connection

from bongsu.errors import BongsuError, Interrupted
from bongsu.install import profiles, sensors
from bongsu.install.commission import CommissionError, Outcome, Place
from bongsu.receiver import commissioning, csv_file, excel_file, fields, unit_search
from bongsu.receiver.registry_base import NAME_MAX
from bongsu.receiver.shop_list import Fault, Form, Line

FORM = Form(
    columns={
        "unit": ("호", "호수", "점포번호", "번호", "site/unit", "점포"),
        "mac": ("node", "기기", "단말", "단말기", "노드"),
        "sensors": ("센서",),
        "profile": ("프로파일", "감지 설정"),
        "label": ("기기 위치", "단말 위치", "노드 위치", "node_label"),
    },
    required=("unit",),
)


class BatchError(BongsuError):
    """The list is wrong, or not everything in it is done."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """A row of the list. node_id: None: whichever board comes."""

    line: int
    place: Place
    node_id: str | None = None


@dataclass(slots=True)
class Plan:
    """The list, read and checked; nothing is begun if it has faults."""

    rows: list[Wanted] = field(default_factory=list)
    faults: list[Fault] = field(default_factory=list)


def read(conn: Connection, data: bytes, *, sheet: str | None = None, site_id: str | None = None) -> Plan:
    """Read a list, each of its faults named. `site_id`: where its units are sought."""
    book = excel_file.is_workbook(data)
    lines, faults = excel_file.parse(data, sheet, FORM) if book else csv_file.parse(data, FORM)
    plan = Plan(faults=list(faults))
    seen: dict[str, int] = {}
    for line in lines:
        if (row := _row(conn, line, site_id, plan.faults)) is None:
            continue
        if row.node_id is not None and row.node_id in seen:
            said = f"node {row.node_id} is in line {seen[row.node_id]} already"
            plan.faults.append(Fault(line.number, "mac", "duplicate_node", said))
        seen.setdefault(row.node_id or "", line.number)
        plan.rows.append(row)
    return plan


def _row(conn: Connection, line: Line, site_id: str | None, faults: list[Fault]) -> Wanted | None:
    at = "unit"
    try:
        unit = unit_search.find_unit(conn, line.values["unit"], site_id)
        at = "mac"
        mac = line.values["mac"].strip()
        node_id = fields.listed_node_id(mac) if mac else None
        at = "sensors"
        fitted = tuple(text.strip() for text in line.values["sensors"].replace("\n", ";").split(";") if text.strip())
        for text in fitted:
            sensors.parse(text)
        at = "profile"
        profile = line.values["profile"].strip() or None
        if profile is not None:
            profiles.profile(profile)
        at = "label"
        label = fields.words("label", line.values["label"], NAME_MAX, required=False)
    except BongsuError as err:
        faults.append(Fault(line.number, at, getattr(err, "code", f"bad_{at}"), f"{err.message}. {err.next_step}"))
        return None
    return Wanted(line.number, Place(unit, label, fitted, profile), node_id)


def done_rows(conn: Connection, rows: Sequence[Wanted]) -> dict[int, str]:
    """Which lines of the list are done, and by which node: what an earlier run did is not done again."""
    left = commissioning.done_nodes(conn)
    done: dict[int, str] = {}
    for row in sorted(rows, key=lambda row: row.node_id is None):  # who is named takes no other's place
        there = left.get(row.place.address, [])
        node = row.node_id if row.node_id is not None else next(iter(there), None)
        if node in there:
            there.remove(node)
            done[row.line] = node
    return done


class Roster:
    """Who takes which row. From any thread."""

    def __init__(self, rows: Sequence[Wanted], done: dict[int, str]) -> None:
        self._rows = list(rows)
        self._taken: dict[int, str] = dict(done)
        self._at: dict[str, str] = {}  # the port at which a node is worked on
        self._lock = threading.Lock()
        self.before = frozenset(done)  # lines that were done when it was made

    def assign(self, node_id: str, unit: str | None, port: str = "") -> Place:
        """The place of the board at this port. `unit`: where it belongs already. Raises CommissionError if the list has
        none, or the board is worked on at another port until that is left.
        """
        with self._lock:
            if (other := self._at.get(node_id, port)) != port:
                raise CommissionError(
                    f"board {node_id} is being worked on at {other}",
                    "A board with two sockets? Unplug one. Two boards of one MAC? Only one of them can be in service.",
                )
            row = self._row_of(node_id, unit)
            self._taken[row.line] = node_id
            self._at[node_id] = port
        return row.place

    def leave(self, port: str) -> None:
        """The work at this port has ended."""
        with self._lock:
            self._at = {node_id: at for node_id, at in self._at.items() if at != port}

    def _row_of(self, node_id: str, unit: str | None) -> Wanted:
        mine = [r for r in self._rows if self._taken.get(r.line) == node_id or r.node_id == node_id]
        if mine:
            return mine[0]
        free = self._free()
        if unit is not None:
            here = [row for row in free if row.place.address == unit]
            if not here:
                raise CommissionError(
                    f"board {node_id} belongs to unit {unit}, of which nothing in the list is left to be done",
                    "Take another board, or put its row into the list.",
                )
            return here[0]
        if not free:
            raise CommissionError(f"nothing in the list is left for board {node_id}", "Everything has its board.")
        return free[0]

    def _free(self) -> list[Wanted]:
        return [row for row in self._rows if row.line not in self._taken and row.node_id is None]

    def is_left(self) -> bool:
        """Is there a row without a board?"""
        with self._lock:
            return any(row.line not in self._taken for row in self._rows)

    def taken(self) -> dict[int, str]:
        """The node by line, also of rows in which it failed."""
        with self._lock:
            return dict(self._taken)


Work = Callable[[str], Outcome]


class Crew:
    """One at each port, all at a time. `stop` ends it early; whoever works must look at it. `on_stop`: says so."""

    def __init__(
        self,
        work: Work,
        next_board: Callable[[str], bool],
        stop: threading.Event,
        on_stop: Callable[[], None] = lambda: None,
    ) -> None:
        self._work, self._next_board, self.stop, self._on_stop = work, next_board, stop, on_stop
        self._lock = threading.Lock()
        self.outcomes: list[Outcome] = []
        self.ended = False  # nobody works any more
        self._broken: list[BaseException] = []

    def run(self, ports: Sequence[str]) -> list[Outcome]:
        """Work at these ports: a board at each, and another as long as `next_board(port)`, which waits for one, says
        True. Returns how it ended, board by board. A KeyboardInterrupt sets `stop`, and is raised once all have ended;
        a second one is raised at once. `outcomes` has what was done until then.
        """
        threads = [
            threading.Thread(target=self._keep_on, args=(port,), name=f"port {port}", daemon=True) for port in ports
        ]
        try:
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
        except KeyboardInterrupt:
            self.stop.set()
            self._on_stop()
            for thread in threads:
                if thread.ident is not None:  # it was started
                    thread.join()
            self.ended = True
            raise
        self.ended = True
        if self._broken:
            raise self._broken[0]
        return self.outcomes

    def _keep_on(self, port: str) -> None:
        try:
            while not self.stop.is_set():
                outcome = self._work(port)
                with self._lock:
                    self.outcomes.append(outcome)
                if not self._next_board(port):
                    return
        except Interrupted as err:  # of `stop`, and it leaves something
            with self._lock:
                self.outcomes.append(Outcome(port, error=BongsuError(err.message, err.next_step)))
        except KeyboardInterrupt:
            return  # of `stop`
        except BaseException as err:
            with self._lock:
                self._broken.append(err)
