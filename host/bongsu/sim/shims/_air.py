"""What is in the air around the board, by name, as time goes on: held by the host, or of the scenario, or quiet."""

import _board

# Quiet air. co2_ppm, pressure_hpa and voc are in no scenario; voc: 1 = the usual air of a place.
_QUIET = {
    "temp_c": 21.0,
    "smoke_od": 0.0,
    "rh_pct": 45.0,
    "co_ppm": 0.0,
    "gas_index": 100.0,
    "pm25_ug": 8.0,
    "co2_ppm": 450.0,
    "pressure_hpa": 1013.0,
    "voc": 1.0,
}
_COLUMNS = {"smoke_od_per_m": "smoke_od"}

_times = []  # ms of board time, in order
_columns = {}  # name -> values at these times


def load(lines):
    """Take a scenario: an iterator of CSV lines, the first a header `t_s,...` with scenario_csv's columns. Line by
    line: the heap that the firmware leaves may have no room for the whole text in one piece.
    """
    _times.clear()
    _columns.clear()
    names = [_COLUMNS.get(name, name) for name in next(lines).strip().split(",")[1:]]
    for name in names:
        _columns[name] = []
    for line in lines:
        fields = line.split(",")
        if len(fields) == len(names) + 1:
            _times.append(int(float(fields[0]) * 1000))
            for name, field in zip(names, fields[1:]):  # noqa: B905 - MicroPython has no strict
                _columns[name].append(float(field))


def seen(name):
    """The value of `name` now."""
    fixed = _board.state["air"].get(name)
    if fixed is not None:
        return fixed
    values = _columns.get(name)
    return _between(values) if values else _QUIET[name]


def _between(values):
    """The scenario's value now: straight lines between its points; two points at one time are a step."""
    now = _board.vt_us() // 1000
    low, high = 0, len(_times)
    while low < high:
        middle = (low + high) // 2
        if _times[middle] <= now:
            low = middle + 1
        else:
            high = middle
    if low == 0:
        return values[0]
    if low == len(_times):
        return values[-1]
    before, after = _times[low - 1], _times[low]
    return values[low - 1] + (values[low] - values[low - 1]) * (now - before) / (after - before)
