"""Pauses between tries that grow to a cap and are spread by chance, so that a market's nodes do not all come back in
the same second."""

import os


class Backoff:
    """`first_ms`, `cap_ms`: the longest pause after the first failure, and ever. Each pause lies between half of its
    longest and its longest."""

    def __init__(self, first_ms: int = 1_000, cap_ms: int = 30_000) -> None:
        self._first_ms = first_ms
        self._cap_ms = cap_ms
        self._failures = 0

    def reset(self) -> None:
        """The last try held: the next pause is a short one."""
        self._failures = 0

    def next_ms(self) -> int:
        """Length of the next pause, in ms."""
        longest = min(self._cap_ms, self._first_ms << min(self._failures, 10))
        self._failures += 1
        return longest // 2 + (longest - longest // 2) * os.urandom(1)[0] // 255
