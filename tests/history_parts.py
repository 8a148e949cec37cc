"""The minute before an alarm, for tests: a node's table of it, cut into parts as a node would."""

from collections.abc import Sequence

from bongsu_wire import kinds, measured

QUANTITIES = (kinds.Q_TEMP_DK, kinds.Q_SMOKE_E4, kinds.Q_HUMIDITY_HALF, kinds.Q_CO_DPPM)
ROWS = 60


def minute(rows: int = ROWS, seed: int = 0) -> list[tuple[int, ...]]:
    """A row a second: temperature rises by 0.5 K from 20.0 degC, smoke by 0.002/m; 40 % humidity; no CO sensor."""
    return [(2932 + seed + 5 * i, 20 * i, 80, measured.UNKNOWN) for i in range(rows)]


def part(
    number: int,
    first: int,
    rows: int,
    table: Sequence[tuple[int, ...]] | None = None,
    quantities: Sequence[int] = QUANTITIES,
) -> measured.History:
    """Rows `first` to `first` + `rows` of a minute before event `number`."""
    whole = minute() if table is None else table
    values = [value for row in whole[first : first + rows] for value in row]
    return measured.History(number, 1000, len(whole), first, list(quantities), values)


def parts(number: int, table: Sequence[tuple[int, ...]] | None = None) -> list[measured.History]:
    """All of it, each part as full as it can be."""
    whole = minute() if table is None else table
    most = measured.history_rows(len(QUANTITIES))
    return [part(number, at, min(most, len(whole) - at), whole) for at in range(0, len(whole), most)]
