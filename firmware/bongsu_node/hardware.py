"""What the sensors get of the chip. Their drivers are made of it once, at the start; the app forgets it then."""

import time

import machine

from bongsu_node import chip

_I2C_HZ = 100_000
_I2C_TIMEOUT_US = 50_000  # a part that holds the bus must not hold the sampling
_UART_BUFFER = 256  # a second of a particle sensor's frames is 32 bytes


class Hardware:
    """The chip's parts as sensors are handed them. `pins`: of node.json."""

    ticks_diff = staticmethod(time.ticks_diff)
    ticks_add = staticmethod(time.ticks_add)

    def __init__(self, pins) -> None:
        self._pins = pins
        self._bus = None

    def i2c(self):
        """The one I2C bus, shared by all sensors on it."""
        if self._bus is None:
            scl, sda = machine.Pin(self._pins["i2c_scl"]), machine.Pin(self._pins["i2c_sda"])
            self._bus = machine.I2C(0, scl=scl, sda=sda, freq=_I2C_HZ, timeout=_I2C_TIMEOUT_US)
        return self._bus

    def adc(self, pin: int):
        """An analogue input, up to 3.1 V; what is above the end of the chip's ADC reads as the supply."""
        adc = machine.ADC(machine.Pin(pin), atten=machine.ADC.ATTN_11DB)
        ends_uv = chip.adc_ends_uv()
        if not ends_uv:
            return adc
        from bongsu_node.sensing.adc_end import EndingAdc

        return EndingAdc(adc, ends_uv)

    def pin_out(self, pin: int):
        """A digital output, low at first."""
        return machine.Pin(pin, machine.Pin.OUT, value=0)

    def onewire(self, pin: int):
        """A 1-Wire bus (module onewire of the ESP32 image)."""
        import onewire

        return onewire.OneWire(machine.Pin(pin))

    def uart(self, rx: int, tx, baud: int):
        """A serial port that returns at once from read(); `tx` None: nothing is sent."""
        if tx is None:
            return machine.UART(chip.uart(), baudrate=baud, rx=rx, timeout=0, rxbuf=_UART_BUFFER)
        return machine.UART(chip.uart(), baudrate=baud, rx=rx, tx=tx, timeout=0, rxbuf=_UART_BUFFER)
