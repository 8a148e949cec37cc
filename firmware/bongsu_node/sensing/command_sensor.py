"""Sensors on I2C that are told commands and have no registers: Sensirion's, and the particle sensor."""

from bongsu_node.sensing import SensorError
from bongsu_node.sensing.i2c_sensor import I2cSensor, word_of


class CommandSensor(I2cSensor):
    """As I2cSensor, with plain transfers. Each raises SensorError "nak" or "bus"."""

    def _command(self, now: int, state: int, data) -> None:
        """Send a command and go to `state`."""
        self._write(data)
        self._at = now
        self._state = state

    def _write(self, data) -> None:
        try:
            self._i2c.writeto(self._address, data)
        except OSError as e:
            raise SensorError(word_of(e)) from None

    def _read(self, buffer) -> None:
        try:
            self._i2c.readfrom_into(self._address, buffer)
        except OSError as e:
            raise SensorError(word_of(e)) from None
