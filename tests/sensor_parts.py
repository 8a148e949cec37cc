"""Sensor drivers on both interpreters: the checks of sensor_bench, and single measurements for property tests."""

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from tests import mpy, sensor_bench

HERE = Path(__file__).parent
# The shims' time, os and socket are no part of this: so they come last.
_PATHS = f"import sys\nsys.path.append({str(HERE)!r})\nsys.path.append({str(mpy.SHIMS)!r})\nimport sensor_bench\n"
INTERPRETERS = ("cpython", "micropython")
CHECKS = tuple(sensor_bench.CHECKS)


def run_check(name: str, sensor: str, on: str) -> None:
    """One of CHECKS for the sensor of this type. Raises AssertionError (MpyError is one)."""
    if on == "cpython":
        sensor_bench.check(name, sensor)
    else:
        mpy.run(_PATHS + f"sensor_bench.check({name!r}, {sensor!r})\n")


@contextlib.contextmanager
def measuring(on: str, sensor: str) -> Iterator[Callable[..., Any]]:
    """A function that measures the air given by keyword: the driver's values, or the word of its error."""
    if on == "cpython":
        sensor_bench._benches.pop(sensor, None)
        yield lambda **air: sensor_bench.measure(sensor, air)
        return
    handle = f"def handle(air):\n    return sensor_bench.measure({sensor!r}, air)\n"
    with mpy.Server(_PATHS + handle) as server:
        yield lambda **air: server.call(air)


class SmallInt(int):
    """An integer that an ESP32 holds without a heap object: an operation that leaves +-2^30 raises."""

    def __new__(cls, value: int) -> "SmallInt":
        assert -(1 << 30) <= value < 1 << 30, value
        return super().__new__(cls, value)


def _small(name: str) -> Callable[..., SmallInt]:
    operation = getattr(int, name)
    return lambda self, *others: SmallInt(operation(self, *others))


for _name in ("add", "sub", "mul", "floordiv", "mod", "lshift", "rshift", "and", "or", "xor"):
    setattr(SmallInt, f"__{_name}__", _small(f"__{_name}__"))
    setattr(SmallInt, f"__r{_name}__", _small(f"__r{_name}__"))
for _name in ("neg", "abs"):
    setattr(SmallInt, f"__{_name}__", _small(f"__{_name}__"))
