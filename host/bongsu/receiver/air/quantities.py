"""The quantities of readings: names and units for people, and how the wire's whole numbers become them."""

from dataclasses import dataclass

from bongsu_wire import kinds


@dataclass(frozen=True, slots=True)
class Quantity:
    """`code`: kinds.Q_*; a value in `unit` is (wire value - `zero`) / `steps`; `digits` after the point are shown."""

    code: int
    name: str
    unit: str
    steps: int
    zero: int = 0

    @property
    def digits(self) -> int:
        """How many digits after the point the wire's steps are worth."""
        return 0 if self.steps == 1 else 4 if self.steps == 10_000 else 1

    def value(self, wire: float) -> float:
        """A wire value in `unit`."""
        return (wire - self.zero) / self.steps

    def wire(self, value: float) -> float:
        """A value in `unit` on the wire's scale, not rounded."""
        return value * self.steps + self.zero

    def text(self, wire: float) -> str:
        """ "12.3 ug/m3"."""
        return f"{self.value(wire):.{self.digits}f} {self.unit}".removesuffix(" 1")


# In the order in which people see them. Scales: bongsu_wire.kinds; 0 degC is 2732 dK, as the node rounds it.
QUANTITIES = (
    Quantity(kinds.Q_PM25_DUG, "pm25", "ug/m3", 10),
    Quantity(kinds.Q_PM10_DUG, "pm10", "ug/m3", 10),
    Quantity(kinds.Q_CO2_PPM, "co2", "ppm", 1),
    Quantity(kinds.Q_CO_DPPM, "co", "ppm", 10),
    Quantity(kinds.Q_VOC_INDEX, "voc_index", "1", 1),
    Quantity(kinds.Q_TEMP_DK, "temperature", "degC", 10, 2732),
    Quantity(kinds.Q_HUMIDITY_HALF, "humidity", "%", 2),
    Quantity(kinds.Q_PM1_DUG, "pm1", "ug/m3", 10),
    Quantity(kinds.Q_GAS_INDEX, "gas_index", "1", 1),
    Quantity(kinds.Q_SMOKE_E4, "smoke", "1/m", 10_000),
    Quantity(kinds.Q_PRESSURE_DHPA, "pressure", "hPa", 10),
    Quantity(kinds.Q_GAS_HOHM, "gas_resistance", "kohm", 10),
    Quantity(kinds.Q_HEAD, "head", "1", 1),
)
BY_CODE = {q.code: q for q in QUANTITIES}
BY_NAME = {q.name: q for q in QUANTITIES}
