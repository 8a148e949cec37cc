"""The one picture of what is open that all pages share, and who gets told when it changes.

It is read from the store once for everybody: when the receiver says that something was committed, and twice a second
in any case (a command, or another receiver, may have been at work); while no page is open, not at all. A page gets the
whole picture first, then changes. Who does not take his messages is let go and not waited for: his page comes back by
itself and gets the whole anew.
"""

import asyncio
import secrets
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import msgspec

from bongsu.console import views
from bongsu.console.views import View
from bongsu.errors import BongsuError
from bongsu.receiver.log import Log, Seldom
from bongsu.receiver.store import Store

LOOK_S = 0.5
# Between two looks, whatever is told: three times what the last one took, so that the alarms that cause them get the
# machine. Both below the second within which an alarm is to be seen.
_REST_MIN_S, _REST_MAX_S = 0.1, 0.6
# Reading in pieces of so many: the first alarms of many are shown before the last is read.
_READ_AT_ONCE = 50
# Messages that may wait for one page: two a second in bad times, so some ten seconds.
WAITING_MAX = 64
_STORE = {"name": "store", "what": "the console cannot read the store", "next": "Look at the receiver's log."}


class Page:
    """One open page: what waits to be sent to it. `gone` is called when it must go."""

    def __init__(self, session_key: str, first: bytes, gone: Callable[[], object]) -> None:
        self.session_key, self.gone = session_key, gone
        self.waiting: asyncio.Queue[bytes] = asyncio.Queue(WAITING_MAX)
        self.waiting.put_nowait(first)

    def put(self, data: bytes) -> None:
        """Send this when it can take it; if too much waits already, let the page go."""
        try:
            self.waiting.put_nowait(data)
        except asyncio.QueueFull:
            self.gone()


class Board:
    """The picture. Everything but the reading happens on the event loop."""

    def __init__(self, store: Store, log: Log) -> None:
        self._store, self._log, self._seldom = store, log, Seldom()
        self._reader = ThreadPoolExecutor(1, thread_name_prefix="board")
        self._signatures: dict[int, views.Signature] = {}
        self.views: dict[int, View] = {}
        self._counts: dict[str, int] = {}
        self._wake = asyncio.Event()
        self._looking = asyncio.Lock()
        self._boot, self._number = secrets.token_hex(4), 0
        self._snapshot: bytes | None = None
        self.pages: set[Page] = set()
        self.fault: dict[str, str] | None = None

    def wake(self) -> None:
        """Look at once."""
        self._wake.set()

    async def run(self) -> None:
        """Keep the picture up to date, for ever."""
        while True:
            try:
                await asyncio.wait_for(self._wake.wait(), LOOK_S)
            except TimeoutError:
                pass
            self._wake.clear()
            if self.pages:
                begun_s = time.monotonic()
                await self.look()
                await asyncio.sleep(min(_REST_MAX_S, max(_REST_MIN_S, 3 * (time.monotonic() - begun_s))))

    async def fresh(self) -> None:
        """Before a page joins: have a picture that is true now."""
        if not self.pages:
            await self.look()

    async def look(self) -> None:
        """Read what changed and tell the pages."""
        async with self._looking:
            await self._look()

    async def _look(self) -> None:
        loop = asyncio.get_running_loop()
        try:
            found = await loop.run_in_executor(self._reader, self._read_open)
            self._forget(found)
            wanted = [i for i, signature in found.signatures.items() if self._signatures.get(i) != signature]
            for start in range(0, len(wanted), _READ_AT_ONCE):
                some = wanted[start : start + _READ_AT_ONCE]
                made = await loop.run_in_executor(self._reader, self._read, some)
                self._signatures.update({i: found.signatures[i] for i in some})
                self._show({i: v for i, v in made.items() if v["state"] == "open"})
            self.fault = None
        except BongsuError as err:
            self._trouble(err.message)
        except Exception as err:  # a fault of this program: the page says that it is not live, and the next look comes
            self._trouble(repr(err))

    def _trouble(self, what: str) -> None:
        self.fault = _STORE
        if self._seldom.due("store", round(time.monotonic() * 1000)):
            self._log.error("console.store", what=what)

    def _read_open(self) -> views.Open:
        with self._store.read() as conn:
            return views.open_now(conn)

    def _read(self, ids: list[int]) -> dict[int, View]:
        with self._store.read() as conn:
            return {one: views.view(conn, one) for one in ids}

    # ---- telling

    def _forget(self, found: views.Open) -> None:
        gone = [i for i in self._signatures if i not in found.signatures]
        for one in gone:
            self._signatures.pop(one)
            self.views.pop(one, None)
        if gone or found.counts != self._counts:
            self._counts = found.counts
            self._tell("change", {"incidents": [], "gone": gone, "counts": self._counts})

    def _show(self, made: dict[int, View]) -> None:
        if made:
            self.views.update(made)
            self._tell("change", {"incidents": list(made.values()), "gone": [], "counts": self._counts})

    def _tell(self, name: str, content: dict[str, Any]) -> None:
        self._number += 1
        self._snapshot = None
        data = self._message(name, {**content, "now_ms": _now_ms()})
        for page in list(self.pages):
            page.put(data)

    def _message(self, name: str, content: dict[str, Any], *, numbered: bool = True) -> bytes:
        content = {**content, "number": self._number, "boot": self._boot}
        head = f"id: {self._boot}-{self._number}\n" if numbered else ""
        return f"{head}event: {name}\ndata: ".encode() + msgspec.json.encode(content) + b"\n\n"

    def keep_alive(self, state: dict[str, Any]) -> None:
        """Tell the pages, once a second, how things are."""
        data = self._message("state", {**state, "now_ms": _now_ms()}, numbered=False)
        for page in list(self.pages):
            page.put(data)

    # ---- pages

    def join(self, session_key: str, state: dict[str, Any], gone: Callable[[], object]) -> Page:
        """A page comes: it gets the whole picture first, and every change after it."""
        if self._snapshot is None:
            content = {"incidents": list(self.views.values()), "counts": self._counts}
            self._snapshot = self._message("snapshot", content)
        page = Page(session_key, self._snapshot, gone)
        page.put(self._message("state", {**state, "now_ms": _now_ms()}, numbered=False))
        self.pages.add(page)
        self.wake()  # for what happened since the picture was made
        return page

    def leave(self, page: Page) -> None:
        """A page goes."""
        self.pages.discard(page)

    def let_all_go(self) -> None:
        """Every page goes."""
        for page in list(self.pages):
            page.gone()

    def close(self) -> None:
        """The end."""
        self.let_all_go()
        self._reader.shutdown(wait=False)


def _now_ms() -> int:
    return time.time_ns() // 1_000_000
