"""Looks at something slow every so often, in a thread of its own, so that what hangs there holds up nobody."""

import threading
import time
from collections.abc import Callable
from typing import Generic, TypeVar

Found = TypeVar("Found")


class Lookout(Generic[Found]):
    """`look` is called at once and then every `every_s`; `found` is what it returned last (at first: `first`)."""

    def __init__(self, look: Callable[[], Found], first: Found, every_s: float) -> None:
        self._look, self._every_s = look, every_s
        self.found = first
        self._looked_s = time.monotonic()
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._run, name="lookout", daemon=True)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    @property
    def hangs(self) -> bool:
        """True if nothing was found for three times as long as it should take."""
        return time.monotonic() - self._looked_s > 3 * self._every_s

    def _run(self) -> None:
        while not self._end.is_set():
            self.found = self._look()
            self._looked_s = time.monotonic()
            self._end.wait(self._every_s)

    def close(self) -> None:
        """End; a look that hangs is left to itself."""
        self._end.set()
        self._thread.join(1.0)
