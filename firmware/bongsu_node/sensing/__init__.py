"""From chip to decision: one sensor a file, then the filter and the detector."""


class SensorError(Exception):
    """A sensor gave no usable value. `why`: one word.

    "nak" (no answer), "bus" (a line of the bus is held), "crc", "range" (a value that cannot be, a failed self-test),
    "open", "short", "absent" (another chip answers), "stuck" (not one count of change in 48 h), "silent" (nothing new
    is coming), "reset" (the chip lost its configuration).
    """

    def __init__(self, why: str) -> None:
        super().__init__(why)
        self.why = why
