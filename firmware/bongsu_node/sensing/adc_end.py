"""An ADC that ends below the supply: what is at its end may be at the supply as well, and is taken for it, since a wire
that touches the supply must not look like smoke.
"""

_SUPPLY_UV = 3_300_000


class EndingAdc:
    """`adc`: a machine.ADC; `ends_uv`: from there on it cannot tell one voltage from another."""

    def __init__(self, adc, ends_uv: int) -> None:
        self._adc = adc
        self._ends_uv = ends_uv

    def read_uv(self) -> int:
        """Microvolt. Raises OSError as the chip does."""
        uv = self._adc.read_uv()
        return uv if uv < self._ends_uv else _SUPPLY_UV
