"""DTR and RTS of the serial port, and the two transistors by which every devkit makes them reset its chip.

Source: Espressif, ESP32-DevKitC V4 schematic, "USB-UART": EN is low while RTS is active and DTR is not; IO0 is low
while DTR is active and RTS is not; with both active, or none, neither is pulled.
"""

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class Straps:
    """The two pins as the chip sees them. `passing`: both lines are active, as they are for a moment on the way from a
    reset to the boot strap where a host moves one after the other."""

    enabled: bool
    boot_high: bool
    passing: bool


def straps(dtr: bool, rts: bool) -> Straps:
    """What the control lines make of the pins."""
    return Straps(enabled=not (rts and not dtr), boot_high=not (dtr and not rts), passing=dtr and rts)


class ControlLines:
    """A serial port as pyserial's PortManager wants one: settings, of which only the control lines and the rate do
    anything. `changed` is called after each change of DTR or RTS, `purge` when the host throws away what it has not yet
    read."""

    cts = dsr = ri = cd = False
    bytesize, parity, stopbits = 8, "N", 1
    xonxoff = rtscts = break_condition = False

    def __init__(self, changed: Callable[[], None], purge: Callable[[], None]) -> None:
        self.baudrate = 115_200
        self.reset_input_buffer = purge
        self._changed = changed
        self._dtr = self._rts = False

    def reset_output_buffer(self) -> None:
        """What the host sent is with the chip already."""

    @property
    def dtr(self) -> bool:
        """Data terminal ready."""
        return self._dtr

    @dtr.setter
    def dtr(self, active: bool) -> None:
        self._dtr = active
        self._changed()

    @property
    def rts(self) -> bool:
        """Request to send."""
        return self._rts

    @rts.setter
    def rts(self, active: bool) -> None:
        self._rts = active
        self._changed()

    def release(self) -> None:
        """Nobody has the port open: both fall at once, which resets nothing."""
        self._dtr = self._rts = False
        self._changed()

    @property
    def straps(self) -> Straps:
        """What they make of the chip's pins."""
        return straps(self._dtr, self._rts)
