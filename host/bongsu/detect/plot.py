"""Draws a recording with the node's limits and decisions, one panel a quantity. Needs matplotlib: bongsu[plot]."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bongsu.detect import on_node
from bongsu.detect.recordings import Recording
from bongsu.detect.replay import SENSORS, ZERO_C_DK, Decision, decision, judged, request
from bongsu.errors import BongsuError, UsageFault
from bongsu.sim.track import NODE_UNITS
from bongsu_node.sensing import at
from bongsu_node.sensing.channel_co import LEVELS

FORMATS = (".png", ".svg", ".pdf")
# Fonts with Korean letters, as Debian, macOS and Windows call them.
_KOREAN = (
    "NanumGothic",
    "NanumSquareRound",
    "Noto Sans CJK KR",
    "Noto Sans KR",
    "Apple SD Gothic Neo",
    "Malgun Gothic",
)
_TITLES = {
    "temp_c": "temperature, °C",
    "smoke_od_per_m": "optical density, 1/m",
    "rh_pct": "relative humidity, %",
    "co_ppm": "CO, ppm",
    "gas_index": "gas index (100 = clean air)",
}
_CURVE, _LIMIT, _SMALL, _BASE = "#1f4e79", "#b3261e", "#e0a100", "#4a7c3a"
_MARKS = {
    "alarm": ("#b3261e", "-"),
    "prealarm": ("#e0a100", "--"),
    "restore": ("#4a7c3a", "-"),
    "fault": ("#6a3d9a", ":"),
    "fault_clear": ("#6a3d9a", ":"),
}
_NO_DATE = {".png": None, ".svg": {"Date": None}, ".pdf": {"CreationDate": None}}
_PAPER = {"facecolor": "white", "edgecolor": "none", "alpha": 0.8, "pad": 0.8}  # under text that lines would cross
_EVERY_MS = 1_000  # between two points of what the node had in mind
_LABEL_EM = 0.014  # of the axis' width: two labels closer than this would touch
_TALLEST = 4.0  # times the limit: a fire goes far beyond it, and the limit must stay visible


@dataclass
class _Mind:
    """What the node had in mind, by second: baseline and the small-change threshold of heat, in its units."""

    t_s: list[float] = field(default_factory=list)
    baseline: list[float] = field(default_factory=list)
    heat_low: list[float] = field(default_factory=list)


def check_out(path: Path) -> None:
    """Raises UsageFault for a format that cannot be written, BongsuError without matplotlib."""
    if path.suffix.lower() not in FORMATS:
        raise UsageFault(f"--out {path}: a plot is {', '.join(FORMATS)}", "Name a file with one of these endings.")
    _matplotlib()


def _matplotlib() -> Any:
    try:
        import matplotlib
    except ImportError:
        raise BongsuError("plots need matplotlib, which is not installed", "pip install 'bongsu[plot]'") from None
    matplotlib.use("Agg")
    return matplotlib


def draw(recording: Recording, limits: Sequence[int], path: Path, *, profile: str = "") -> list[Decision]:
    """Write a plot of the recording under `limits` to `path`; its decisions. Raises BongsuError."""
    matplotlib = _matplotlib()
    from matplotlib.figure import Figure

    columns = judged(recording.track)
    decisions, mind = _run(recording, limits)
    with matplotlib.rc_context(_style(matplotlib)):
        longest = max([len(_name(one)) for one in decisions], default=0)
        figure = Figure(figsize=(10, 1.1 + 0.062 * longest + 1.9 * len(columns)), layout="constrained")
        panels = figure.subplots(len(columns), 1, sharex=True, squeeze=False)[:, 0]
        for panel, column in zip(panels, columns, strict=True):
            _panel(panel, column, recording, limits, mind)
            _mark(panel, recording, decisions)
        beside = "; grey: commercial alarms in the same place" if recording.alarms_s else ""
        panels[-1].set_xlabel(f"time, s{beside}")
        _name_marks(panels[0], recording, decisions)
        title = f"{recording.name}: {recording.source}"
        figure.suptitle(f"{title} (profile {profile})" if profile else title, fontsize=11)
        # Without a date in it the same plot is the same file.
        figure.savefig(path, dpi=130, metadata=_NO_DATE[path.suffix.lower()])
    return decisions


def _style(matplotlib: Any) -> dict[str, Any]:
    from matplotlib import font_manager

    there = {font.name for font in font_manager.fontManager.ttflist}
    family = [name for name in _KOREAN if name in there][:1]
    return {
        "font.family": ["DejaVu Sans", *family],
        "font.size": 9,
        "axes.spines.top": False,
        "axes.spines.right": False,
        "axes.unicode_minus": False,
        "svg.hashsalt": "bongsu",
    }


def _run(recording: Recording, limits: Sequence[int]) -> tuple[list[Decision], _Mind]:
    """Decisions, and what the node had in mind."""
    head, rows = request(recording.track, limits, recording.name)
    run = on_node.Run(head)
    mind = _Mind()
    start_s = recording.track.start_s
    heat = next((c for c in run.outfit.judge.channels if c.quantity == SENSORS["temp_c"][1]), None)
    smoke = run.outfit.smoke

    def look(now: on_node.Run) -> None:
        if now.ms % _EVERY_MS:
            return
        mind.t_s.append(start_s + now.ms / 1000)
        mind.baseline.append(float(smoke.baseline.level_e4) if smoke else 0.0)
        mind.heat_low.append(float(heat._trend.low) if heat else 0.0)

    found = run.go(rows, look)
    return [decision(row, start_s) for row in found], mind


def _shown(column: str, value: float) -> float:
    """A number of the node in the column's unit."""
    _, scale, _ = NODE_UNITS[column]
    return (value - (ZERO_C_DK if column == "temp_c" else 0)) / scale


def _panel(panel: Any, column: str, recording: Recording, limits: Sequence[int], mind: _Mind) -> None:
    """One quantity: its curve, and what it is judged by."""
    track = recording.track
    values = track.columns[column]
    panel.plot(track.t_s, values, color=_CURVE, linewidth=1.3, zorder=3)
    panel.set_ylabel(_TITLES[column])
    panel.margins(x=0)
    panel.set_xlim(track.start_s, max(track.end_s, track.start_s + 1))
    criteria: dict[str, Callable[[Any, Sequence[int], _Mind], float]] = {
        "temp_c": _heat,
        "smoke_od_per_m": _smoke,
        "rh_pct": _humidity,
        "co_ppm": _co,
        "gas_index": _gas,
    }
    limit = criteria[column](panel, limits, mind)
    low, high = min(values), max(values)
    zero = low if column == "temp_c" else 0.0
    top = min(high, zero + _TALLEST * (limit - zero))
    if column == "rh_pct":
        panel.set_ylim(0, 105)
    else:
        panel.set_ylim(low - 3 if column == "temp_c" else 0, max(top, limit) * 1.1)
    if top < high:
        note = f"the curve goes on to {high:.3g}"
        panel.annotate(note, (1, 1), xycoords="axes fraction", ha="right", va="top", fontsize=7, color=_CURVE)


def _line(panel: Any, y: float, text: str, color: str = _LIMIT) -> None:
    panel.axhline(y, color=color, linewidth=0.9, linestyle=(0, (6, 3)), zorder=2)
    _label(panel, y, text, color)


def _label(panel: Any, y: float, text: str, color: str) -> None:
    """Text on a line at `y`, if that is within the panel."""
    panel.annotate(
        text,
        (0.004, y),
        xycoords=("axes fraction", "data"),
        xytext=(0, 3),
        textcoords="offset points",
        fontsize=7,
        color=color,
        annotation_clip=True,
        zorder=8,
        bbox=_PAPER,
    )


def _heat(panel: Any, limits: Sequence[int], mind: _Mind) -> float:
    fixed = _shown("temp_c", limits[at.HEAT_ALARM])
    _line(panel, fixed, f"fixed {fixed:.1f} °C")
    small = limits[at.HEAT_SMALL]
    lower = [_shown("temp_c", low) for low in mind.heat_low]
    upper = [_shown("temp_c", low + small) for low in mind.heat_low]
    panel.fill_between(mind.t_s, lower, upper, color=_SMALL, alpha=0.3, linewidth=0, zorder=1)
    rate = f"; rate of rise {limits[at.HEAT_RISE] / 10:g} K/min" if limits[at.HEAT_RISE] else ""
    _say(panel, f"band: up to a small change, {small / 10:g} K above the lowest of 2 min{rate}")
    return fixed


def _smoke(panel: Any, limits: Sequence[int], mind: _Mind) -> float:
    scale = 10_000.0
    base = [value / scale for value in mind.baseline]
    small = [(value + limits[at.SMOKE_SMALL]) / scale for value in mind.baseline]
    full = [(value + limits[at.SMOKE_ALARM]) / scale for value in mind.baseline]
    panel.fill_between(mind.t_s, base, small, color=_SMALL, alpha=0.3, linewidth=0, zorder=1)
    panel.plot(mind.t_s, full, color=_LIMIT, linewidth=0.9, linestyle=(0, (6, 3)), zorder=2)
    panel.plot(mind.t_s, base, color=_BASE, linewidth=1.2, zorder=2)
    _label(panel, full[0], f"fixed {limits[at.SMOKE_ALARM] / scale:g}/m above the baseline", _LIMIT)
    if limits[at.SMOKE_LONG]:
        long = [(value + limits[at.SMOKE_LONG]) / scale for value in mind.baseline]
        panel.plot(mind.t_s, long, color=_LIMIT, linewidth=0.9, linestyle=(0, (2, 3)), zorder=2)
        _label(panel, long[0], f"{limits[at.SMOKE_LONG] / scale:g}/m for {limits[at.SMOKE_LONG_S]} s", _LIMIT)
    rise = f"; rise {limits[at.SMOKE_RISE] / scale:g}/m in 30 s" if limits[at.SMOKE_RISE] else ""
    _say(panel, f"green: baseline; band: up to a small change, {limits[at.SMOKE_SMALL] / scale:g}/m{rise}")
    return max(full)


def _humidity(panel: Any, limits: Sequence[int], mind: _Mind) -> float:
    steam = limits[at.STEAM_RH] / 2
    if steam <= 100:
        _line(panel, steam, f"smoke may be steam from {steam:g} %", _SMALL)
    _say(panel, f"or when it has risen by {limits[at.STEAM_RISE] / 2:g} % in 2 min")
    return min(steam, 100.0)


def _co(panel: Any, limits: Sequence[int], mind: _Mind) -> float:
    small = limits[at.CO_SMALL] / 10
    panel.axhspan(0, small, color=_SMALL, alpha=0.3, linewidth=0, zorder=1)
    for dppm, seconds in LEVELS:
        _line(panel, dppm / 10, f"{dppm / 10:g} ppm for {seconds / 60:g} min")
    _say(panel, f"band: up to a small change, {small:g} ppm")
    return float(LEVELS[0][0]) / 10


def _gas(panel: Any, limits: Sequence[int], mind: _Mind) -> float:
    if not limits[at.GAS_ALARM]:
        _say(panel, "no criterion in this profile")
        return 100.0
    _line(panel, float(limits[at.GAS_ALARM]), f"fixed {limits[at.GAS_ALARM]}")
    return float(limits[at.GAS_ALARM])


def _say(panel: Any, text: str) -> None:
    title = panel.set_title(text, loc="right", fontsize=7, color="#555555", pad=3)
    title.set(zorder=9, bbox=_PAPER)


def _mark(panel: Any, recording: Recording, decisions: Sequence[Decision]) -> None:
    for one in decisions:
        color, style = _MARKS[one.kind]
        panel.axvline(one.t_s, color=color, linestyle=style, linewidth=1.1, alpha=0.9, zorder=4)
    for seconds in recording.alarms_s.values():
        panel.axvline(seconds, color="#888888", linestyle=(0, (1, 2)), linewidth=0.8, zorder=1)


def _name_marks(panel: Any, recording: Recording, decisions: Sequence[Decision]) -> None:
    """Names above the topmost panel, upright; what would overlap is moved aside."""
    marks = [(one.t_s, _name(one), _MARKS[one.kind][0]) for one in decisions]
    marks += [(seconds, kind, "#888888") for kind, seconds in recording.alarms_s.items()]
    start, end = panel.get_xlim()
    marks = sorted(mark for mark in marks if start <= mark[0] <= end)
    spots = _spread([(t_s - start) / (end - start) for t_s, _, _ in marks])
    for (t_s, text, color), spot in zip(marks, spots, strict=True):
        panel.annotate(
            text,
            (t_s, 1.0),
            xycoords=("data", "axes fraction"),
            xytext=(spot, 1.22),
            textcoords="axes fraction",
            rotation=90,
            ha="center",
            va="bottom",
            fontsize=7,
            color=color,
            arrowprops={"arrowstyle": "-", "color": color, "linewidth": 0.5, "shrinkA": 0, "shrinkB": 0},
        )


def _spread(spots: Sequence[float]) -> list[float]:
    """Places in order, 0..1, at least _LABEL_EM apart, each near its own."""
    placed: list[float] = []
    for spot in spots:
        placed.append(max(spot, placed[-1] + _LABEL_EM) if placed else spot)
    limit = 1.0
    for i in range(len(placed) - 1, -1, -1):
        placed[i] = min(placed[i], limit)
        limit = placed[i] - _LABEL_EM
    return placed


def _name(one: Decision) -> str:
    what = "+".join(one.phenomena)
    return f"{one.kind} {what}".rstrip() + f" {one.t_s:g} s" + ("" if one.kind == "prealarm" else f" {one.reason}")
