"""From chip to decision: one sensor a file, then the filter and the detector."""


class SensorError(Exception):
    """A sensor gave no usable value. `why`: "nak", "range", "open", "short", "absent"."""

    def __init__(self, why: str) -> None:
        super().__init__(why)
        self.why = why
