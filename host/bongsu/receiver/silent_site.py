"""A site that falls silent as a whole is one fault, not one a node: its power is cut, or its network is down.

When the first node of a site has been silent for long enough to be a fault, the others have missed heartbeats as well
if they went with it. So nothing need be held back: either (nearly) all of the site's living nodes are found missing at
that moment, and the site's fault stands for them, or the node gets a fault of its own. Nodes with a silence fault of
their own from before do not count. When enough nodes are back, the site's fault ends; who is still missing after a
grace gets a fault of its own, or, if it is (nearly) all again, the site does.
"""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any

from sqlalchemy import Connection

from bongsu.receiver.casebook import Signal
from bongsu.receiver.incidents import FAULT

if TYPE_CHECKING:
    from bongsu.receiver.books import Books
    from bongsu.receiver.turn import Turn

SITE_SILENT = "site_silent"
SOURCE = "supervision"
# Fewer nodes than this are no site to speak of: each is a fault of its own.
LEAST = 3
# A node that was not heard for silent_after less this went with the others: a heartbeat's 45 s, and some.
WINDOW_MS = 60_000
LOOK_MS = 5_000


@dataclass(slots=True)
class _Outage:
    """A site that is, or just was, silent. `covered`: nodes found silent without a fault of their own. `grace_ms`: when
    they get one (monotonic); None while the site's fault stands.
    """

    covered: set[str] = field(default_factory=set)
    grace_ms: int | None = None


@dataclass(frozen=True, slots=True)
class Verdict:
    """What is to be done: sites whose fault begins or ends, nodes that get a fault of their own."""

    begin: list[str]
    end: list[str]
    own: list[str]


class SiteWatch:
    """Pure: monotonic times in ms and who is missing are arguments."""

    def __init__(self, share: float, grace_ms: int) -> None:
        self._share, self._grace_ms = share, grace_ms
        self._outages: dict[str, _Outage] = {}

    @property
    def standing(self) -> list[str]:
        """Sites whose fault stands."""
        return sorted(site for site, outage in list(self._outages.items()) if outage.grace_ms is None)

    def resume(self, standing: set[str], silent: set[str], now_ms: int) -> None:
        """These sites' faults stand in the store: after a restart, a failed transaction, or when somebody closed one.

        Who was silent under a fault that was closed is looked at again after the grace: nothing else tells of them.
        `silent`: all nodes found silent (after a failed transaction, of which the store knows).
        """
        for site in set(self.standing) - standing:
            outage = self._outages[site]
            outage.covered &= silent
            outage.grace_ms = now_ms + self._grace_ms
            if not outage.covered:
                del self._outages[site]
        for site in standing:
            self._outages.setdefault(site, _Outage()).grace_ms = None

    def fallen(self, nodes: Iterable[tuple[str, str | None]], missing: Counter[str], alive: Counter[str]) -> Verdict:
        """These nodes ((id, site)) have been found silent. By site: `missing` counts nodes not heard for nearly as
        long, these among them, without faults of their own; `alive` those that are heard.
        """
        begin: list[str] = []
        own: list[str] = []
        for node, site in nodes:
            if site is None:
                own.append(node)
            elif site in self._outages:
                self._outages[site].covered.add(node)
            elif self._is_whole(missing[site], alive[site]):
                self._outages[site] = _Outage({node})
                begin.append(site)
            else:
                own.append(node)
        return Verdict(begin, [], own)

    def look(
        self, now_ms: int, silent: set[str], missing: Counter[str], alive: Counter[str], link_down: bool
    ) -> Verdict:
        """What became of the outages. `silent`: all nodes found silent; the counts as for `fallen`."""
        verdict = Verdict([], [], [])
        for site, outage in list(self._outages.items()):
            outage.covered &= silent
            if link_down:  # nobody can be heard: afterwards everybody gets the whole time again
                if outage.grace_ms is not None:
                    outage.grace_ms = now_ms + self._grace_ms
            elif outage.grace_ms is None:
                if not self._is_whole(missing[site], alive[site]):
                    outage.grace_ms = now_ms + self._grace_ms
                    verdict.end.append(site)
            elif now_ms >= outage.grace_ms or not outage.covered:
                self._after_grace(site, outage, self._is_whole(missing[site], alive[site]), verdict)
        return verdict

    def _after_grace(self, site: str, outage: _Outage, whole: bool, verdict: Verdict) -> None:
        if whole and outage.covered:
            outage.grace_ms = None
            verdict.begin.append(site)
        else:
            del self._outages[site]
            verdict.own.extend(sorted(outage.covered))

    def busy(self) -> bool:
        """Is there anything to look at?"""
        return bool(self._outages)

    def covered(self) -> set[str]:
        """Nodes that are silent without a fault of their own."""
        return {node for outage in self._outages.values() for node in outage.covered}

    def _is_whole(self, missing: int, alive: int) -> bool:
        return missing >= LEAST and missing >= self._share * (missing + alive)


class SilentSites:
    """The chore, and what the turn asks before it calls nodes silent."""

    def __init__(self, books: "Books") -> None:
        settings = books.settings
        self._books = books
        self._watch = SiteWatch(settings.silent_site_share, settings.silent_after_ms)
        self._look_ms: int | None = None
        self._counted = -1
        self._watched: Counter[str] = Counter()

    @property
    def standing(self) -> list[str]:
        """Sites whose fault stands."""
        return self._watch.standing

    def load(self, conn: Connection) -> None:
        """Which sites' faults stand; nodes may have moved."""
        self._counted = -1
        cases = self._books.casebook.cases
        self._watch.resume(
            {
                subject.removeprefix("site:")
                for (subject, class_), case in cases.items()
                if class_ == FAULT and SITE_SILENT in case.incident.active.get(SOURCE, ())
            },
            self._books.liveness.silent,
            self._books.clock.mono_ms(),
        )

    def note(self, item: object) -> None:
        """Nothing is put for it."""

    def due_ms(self) -> int | None:
        """Every few seconds, while a site is silent or was just now."""
        if not self._watch.busy():
            return None
        if self._look_ms is None:
            self._look_ms = self._books.clock.mono_ms() + LOOK_MS
        return self._look_ms

    def sift(self, turn: "Turn", fallen: list[str]) -> list[str]:
        """Those of the nodes just found silent that get a fault of their own."""
        if not fallen:
            return []
        nodes = [(node, self._site(node)) for node in fallen]
        verdict = self._watch.fallen(nodes, *self._count(fallen))
        self._tell(turn, verdict)
        return verdict.own

    def act(self, conn: Connection, turn: "Turn") -> None:
        """Look at the sites."""
        self._look_ms = None
        liveness = self._books.liveness
        missing, alive = self._count()
        verdict = self._watch.look(self._books.clock.mono_ms(), liveness.silent, missing, alive, liveness.is_down)
        self._tell(turn, verdict)
        turn.call_silent(conn, verdict.own)

    def _tell(self, turn: "Turn", verdict: Verdict) -> None:
        now_ms = self._books.clock.now_ms()
        for site in verdict.begin:
            turn.say("warn", "site.silent", site=site)
            turn.stand(f"site:{site}", Signal(SOURCE, (SITE_SILENT,), now_ms), partial(self._snapshot, site))
        for site in verdict.end:
            turn.end(f"site:{site}", Signal(SOURCE, (SITE_SILENT,), now_ms))

    def _snapshot(self, site: str) -> dict[str, Any]:
        node = next((n for n in self._books.directory.nodes.values() if n.site_id == site), None)
        return {"site": self._books.directory.snapshot(node)["site"]} if node is not None else {}

    def _site(self, node: str) -> str | None:
        entry = self._books.directory.nodes.get(node)
        return entry.site_id if entry is not None else None

    def _count(self, fallen: Iterable[str] = ()) -> tuple[Counter[str], Counter[str]]:
        """(missing, alive) nodes by site. `fallen`: found silent just now."""
        liveness = self._books.liveness
        heard_by_ms = self._books.clock.mono_ms() - self._books.settings.silent_after_ms + WINDOW_MS
        gone = {*fallen, *self._watch.covered()}
        missing = self._by_site({*gone, *liveness.not_heard_since(heard_by_ms)})
        with_own_fault = self._by_site(liveness.silent - gone)
        alive = Counter(self._all_watched())
        alive.subtract(missing)
        alive.subtract(with_own_fault)
        return missing, alive

    def _by_site(self, nodes: Iterable[str]) -> Counter[str]:
        entries = self._books.directory.nodes
        sites = (entries[node].site_id for node in nodes if node in entries)
        return Counter(site for site in sites if site is not None)

    def _all_watched(self) -> Counter[str]:
        """Watched nodes by site, counted anew only if there are others than before: a city has many."""
        if self._counted != self._books.liveness.generation:
            self._counted = self._books.liveness.generation
            self._watched = self._by_site(self._books.liveness.watched())
        return self._watched
