"""Filters between a sensor and its detector. Integers only; no allocation."""


class Median3:
    """The median of the last three values: a single wild one has no effect."""

    def __init__(self) -> None:
        self._empty = True
        self._a = 0
        self._b = 0

    def update(self, value: int) -> int:
        """Take a value, return the median of it and the two before it (the first: as if it had always been there)."""
        a = self._a
        b = self._b
        if self._empty:
            self._empty = False
            a = b = value
        self._a = b
        self._b = value
        if a > b:
            a, b = b, a
        return a if value < a else b if value > b else value
