"""From chip to decision: one sensor a file, then filter, channel and judge.

A sensor is anything with:
- quantities: kinds.Q_* of what it gives; values: as many whole numbers of 16 bits, the same list always (0xFFFF: none)
- period_ms: how often there are new ones
- poll(now) -> bool: called four times a second with ticks in ms; never blocks for more than 15 ms. True: `values` are
  new. Raises SensorError where there is no usable value
- warming: it is warming up or burning in: no values, and no fault

and its file has make(hw, s): the sensor that the entry `s` of the settings describes, on the chip's parts `hw`
(hardware.Hardware).
"""


class SensorError(Exception):
    """A sensor gave no usable value. `why`: one word.

    "nak" (no answer), "bus" (a line of the bus is held), "crc", "range" (a value that cannot be, a failed self-test),
    "open", "short", "absent" (another chip answers), "stuck" (not one count of change in 48 h), "silent" (nothing new
    is coming), "reset" (the chip lost its configuration).
    """

    def __init__(self, why: str) -> None:
        super().__init__(why)
        self.why = why
