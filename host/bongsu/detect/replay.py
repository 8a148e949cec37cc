"""Runs a recording through the node's detection code, under CPython or MicroPython."""

import json
import subprocess
import tempfile
from array import array
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bongsu.detect import on_node
from bongsu.detect.recordings import Recording
from bongsu.errors import BongsuError
from bongsu.resources import resources
from bongsu.sim import micropython
from bongsu.sim.track import Track
from bongsu_wire import kinds

STEP_MS = 250
ZERO_C_DK = 2732  # 0 degC, as the node's drivers and limits round it
INTERPRETERS = ("cpython", "micropython")
_TIMEOUT_S = 600.0
# What stands for a column's sensor: its type in node.json and its quantity. Nothing is decided by pm25_ug.
SENSORS: Mapping[str, tuple[str, int]] = {
    "temp_c": ("ntc", kinds.Q_TEMP_DK),
    "smoke_od_per_m": ("smoke_head", kinds.Q_SMOKE_E4),
    "rh_pct": ("sht4x", kinds.Q_HUMIDITY_HALF),
    "co_ppm": ("mq7", kinds.Q_CO_DPPM),
    "gas_index": ("mq2", kinds.Q_GAS_INDEX),
}
# A node's whole numbers back to the recording's units: quantity -> (name in results, units per one, offset, text).
_SHOWN = {
    kinds.Q_TEMP_DK: ("temp_c", 10.0, ZERO_C_DK, "{:.1f} degC"),
    kinds.Q_SMOKE_E4: ("smoke_od_per_m", 10_000.0, 0.0, "smoke {:.4f}/m"),
    kinds.Q_HUMIDITY_HALF: ("rh_pct", 2.0, 0.0, "{:.1f} % RH"),
    kinds.Q_CO_DPPM: ("co_ppm", 10.0, 0.0, "CO {:.1f} ppm"),
    kinds.Q_GAS_INDEX: ("gas_index", 1.0, 0.0, "gas {:.0f}"),
    kinds.Q_HEAD: ("head", 1.0, 0.0, "head {:.0f}"),
}


@dataclass(frozen=True)
class Decision:
    """What the node decided. t_s: in the recording's time; kind: name of kinds.EVENT_NAMES; phenomena: their names;
    reason: of an alarm the criterion's name, of a fault the fault's; held_ms: how long it had held, None if it is not
    said; values: as the node saw them (filtered), in the recording's units.
    """

    t_s: float
    kind: str
    phenomena: tuple[str, ...]
    reason: str
    held_ms: int | None
    values: Mapping[str, float]

    def as_row(self) -> dict[str, Any]:
        """For JSON."""
        row: dict[str, Any] = {"t_s": self.t_s, "kind": self.kind, "phenomena": list(self.phenomena)}
        return row | {"reason": self.reason, "held_ms": self.held_ms, "values": dict(self.values)}

    def text(self) -> str:
        """On one line."""
        by_name = {name: form for name, _, _, form in _SHOWN.values()}
        held = "" if self.held_ms is None else f", held {self.held_ms / 1000:.2f} s"
        values = ", ".join(by_name[name].format(value) for name, value in self.values.items())
        why = ": ".join(["+".join(self.phenomena), self.reason] if self.phenomena else [self.reason])
        return f"{self.t_s:9.2f} s  {self.kind:<11}  {why}{held}; {values or 'no values'}"


@dataclass(frozen=True)
class Replayed:
    """A recording's decisions, in order, under `limits` (order of limits.NAMES)."""

    recording: Recording
    limits: tuple[int, ...]
    decisions: tuple[Decision, ...]

    @property
    def alarm_s(self) -> float | None:
        """Time of the first alarm."""
        return next((d.t_s for d in self.decisions if d.kind == "alarm"), None)

    @property
    def delay_s(self) -> float | None:
        """First alarm after (+) or before (-) the earliest photoelectric alarm in the same place, in s."""
        theirs = self.recording.first_photoelectric_s
        return None if theirs is None or self.alarm_s is None else self.alarm_s - theirs


def replay(recording: Recording, limits: Sequence[int], interpreter: str = "cpython") -> Replayed:
    """The recording through the node's code, sampled 4 times a second with straight lines between its rows. Raises
    BongsuError if nothing in it can be judged, or MicroPython fails.
    """
    head, rows = request(recording.track, limits, recording.name)
    found = on_node.Run(head).go(rows) if interpreter == "cpython" else _on_micropython(head, rows)
    decisions = tuple(decision(row, recording.track.start_s) for row in found)
    return Replayed(recording, tuple(limits), decisions)


def request(track: Track, limits: Sequence[int], name: str, start: int = 0) -> tuple[dict[str, Any], "array[int]"]:
    """Head and rows of on_node for a track; `start`: ticks of its first row."""
    columns = judged(track)
    if not columns:
        raise BongsuError(f"{name}: no column that a node decides by", f"It needs one of {', '.join(SENSORS)}.")
    head = {
        "sensors": [[SENSORS[column][0], [SENSORS[column][1]], STEP_MS] for column in columns],
        "limits": list(limits),
        "start": start,
    }
    return head, pack(track.node_samples(columns, STEP_MS / 1000))


def judged(track: Track) -> list[str]:
    """Those columns of a track that a node decides by."""
    return [column for column in SENSORS if column in track.columns]


def pack(samples: Iterable[Sequence[int]]) -> "array[int]":
    """Rows of on_node, STEP_MS apart."""
    rows = array("H")
    for values in samples:
        rows.append(STEP_MS)
        rows.extend([value if value <= on_node.MOST else on_node.MOST for value in values])
    if rows:
        rows[0] = 0
    return rows


def decision(row: Sequence[Any], start_s: float) -> Decision:
    """Of a decision as on_node gives it."""
    ms, kind, bits, code, held_ms, seen = row
    names = kinds.FAULT_NAMES if kind in (kinds.FAULT, kinds.FAULT_CLEAR) else kinds.CRITERION_NAMES
    values = {}
    for quantity, value in seen:
        if quantity in _SHOWN and value != on_node.DEAD:
            name, scale, offset, _ = _SHOWN[quantity]
            values[name] = round((value - offset) / scale, 4)
    phenomena = tuple(name for bit, name in kinds.PHENOMENON_NAMES.items() if bits & bit)
    held = None if held_ms < 0 else held_ms
    return Decision(start_s + ms / 1000, kinds.EVENT_NAMES[kind], phenomena, names[code], held, values)


def mpy_environment() -> dict[str, str]:
    """The environment in which MicroPython imports the firmware, and on_node."""
    environment = micropython.environment()
    paths = [str(Path(on_node.__file__).parent), str(resources().firmware), environment["MICROPYPATH"]]
    return environment | {"MICROPYPATH": ":".join(paths)}


def run_mpy(*args: str) -> list[str]:
    """Run MicroPython with `args`; the lines it printed, without the last one, "end ...". Raises BongsuError."""
    try:
        done = subprocess.run(
            micropython.command("-X", "heapsize=64m", *args),
            env=mpy_environment(),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            timeout=_TIMEOUT_S,
            check=False,
        )
    except subprocess.TimeoutExpired:
        step = "Replay it with --interpreter cpython."
        raise BongsuError(f"MicroPython took more than {_TIMEOUT_S:g} s", step) from None
    lines = done.stdout.splitlines()
    if not lines or not lines[-1].startswith("end"):
        raise BongsuError(f"the detection failed under MicroPython: {done.stdout.strip()[-800:]}")
    return lines[:-1]


def _on_micropython(head: Mapping[str, Any], rows: "array[int]") -> list[Any]:
    """on_node as a program of its own under MicroPython."""
    with tempfile.TemporaryDirectory(prefix="bongsu-replay-") as folder:
        path = Path(folder) / "rows"
        path.write_bytes(json.dumps(head).encode() + b"\n" + rows.tobytes())
        return [json.loads(line) for line in run_mpy(on_node.__file__, str(path))]
