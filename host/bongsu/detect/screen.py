"""Long quiet stretches without running every sample of them, with provably the same alarms and prealarms.

No criterion can be high at a sample unless the air itself says so: the filter's value lies between the last three raw
ones, the baseline is never below 0 and falls by a known rate, and a rise is no more than the highest raw value less
the lowest before it. While no criterion is high, nothing is decided, and after a while nothing is left of what was: the
trends hold 2 minutes, steam is forgotten after 1, the next prealarm waits 10. So such a stretch is left out, but for
the baseline, which gets the same minutes that it would have seen.
"""

from collections.abc import Sequence
from copy import copy
from dataclasses import dataclass, field
from itertools import accumulate, chain
from typing import Any

from bongsu.detect import on_node
from bongsu.detect.replay import SENSORS, STEP_MS, Decision, decision, pack
from bongsu.sim.quiet import QuietYear, Sample
from bongsu_node.sensing import at
from bongsu_node.sensing.baseline import Baseline
from bongsu_node.sensing.channel import _ALONE_TOTAL_DK
from bongsu_node.sensing.channel_co import LEVELS
from bongsu_wire import kinds

MINUTE_S, MINUTE_SAMPLES = 60, 240
_MINUTE_MS = 60_000
# The filter's memory, in samples; a restore needs 60 s of quiet.
_FILTER, _RESTORE_SAMPLES = 2, 70 * 4
# Before a sample that matters: more than the 2 minutes that trends hold. After the last: more than the 10 minutes for
# which a prealarm keeps the next one waiting.
_WARM_MINUTES, _CALM_MINUTES = 3, 11
# The most that the baseline falls in a minute, as a share of the alarm limit (baseline.py: 20 % an hour), and rounding.
_FALL_DIVISOR, _FALL_MORE = 300, 1
YEAR_COLUMNS = ("temp_c", "smoke_od_per_m", "rh_pct")


def live_span(columns: Sequence[str], samples: Sequence[Sequence[int]], limits: Sequence[int], start_e4: int) -> int:
    """How many of the samples (4 a second, node's numbers in the order of `columns`) must be run so that no alarm and
    no prealarm is lost; 0: none can come. `start_e4`: the baseline at their start.
    """
    last = -1
    minutes = len(samples) // MINUTE_SAMPLES + 1
    floor_e4 = max(0, start_e4 - minutes * (limits[at.SMOKE_ALARM] // _FALL_DIVISOR + _FALL_MORE))
    for name, values in zip(columns, zip(*samples, strict=True), strict=True):
        if name == "temp_c":
            live = _live_heat(values, limits)
        elif name == "smoke_od_per_m":
            live = _live_smoke(values, limits, floor_e4)
        elif name == "co_ppm":
            live = _last(values, min(limits[at.CO_SMALL], *(level for level, _ in LEVELS)))
        elif name == "gas_index" and limits[at.GAS_ALARM]:
            live = _last(values, limits[at.GAS_ALARM])
        else:
            continue
        last = max(last, live)
    return 0 if last < 0 else min(len(samples), last + 1 + _FILTER + _RESTORE_SAMPLES)


def _last(values: Sequence[int], limit: int) -> int:
    """Where the last value >= limit is; -1: nowhere."""
    if max(values) < limit:
        return -1
    return max(i for i, value in enumerate(values) if value >= limit)


def _last_rise(values: Sequence[int], rise: int) -> int:
    """Where a value last is as much above the lowest before it."""
    rises = [value - low for value, low in zip(values, accumulate(values, min), strict=True)]
    return _last(rises, rise)


def _live_heat(values: Sequence[int], limits: Sequence[int]) -> int:
    return max(_last(values, limits[at.HEAT_ALARM]), _last_rise(values, _heat_rise(limits)))


def _heat_rise(limits: Sequence[int]) -> int:
    """The least gain that means something: a small change, or a rate of rise (also the one of a heat sensor alone)."""
    return min(limits[at.HEAT_SMALL], limits[at.HEAT_RISE_TOTAL], _ALONE_TOTAL_DK)


def _live_smoke(values: Sequence[int], limits: Sequence[int], floor_e4: int) -> int:
    found = _last(values, floor_e4 + _smoke_step(limits))
    return max(found, _last_rise(values, limits[at.SMOKE_RISE])) if limits[at.SMOKE_RISE] else found


def _smoke_step(limits: Sequence[int]) -> int:
    """The least above the baseline that means something."""
    steps = [limits[i] for i in (at.SMOKE_SMALL, at.SMOKE_ALARM, at.SMOKE_ALONE, at.SMOKE_LONG)]
    return min(step for step in steps if step)


# ---- a year


@dataclass
class YearRun:
    """What a node made of a year. decisions: of the time looked at, faults of the baseline among them; looked_s,
    run_s: how much was looked at, and run sample by sample; baseline: as it is now, with the minute it is of.
    """

    decisions: list[Decision] = field(default_factory=list)
    looked_s: int = 0
    run_s: int = 0
    baseline: Any = None
    minute: int = 0
    most_e4: int = 0


def run_year(
    year: QuietYear,
    limits: Sequence[int],
    *,
    minutes: range,
    every: int = 1,
    baseline: Any = None,
    until_alarm: bool = False,
) -> YearRun:
    """The node through the `minutes` of a year (250 ms samples). `every`: of so many minutes one is looked at, and
    stands for the others in what the baseline sees (1: all of them); while anything may happen, each is. `baseline`: as
    it was before; `until_alarm`: end with the first alarm.
    """
    walk = _Walk(year, limits, baseline or Baseline(list(limits), on_node.ticks_diff))
    done = walk.done
    minute = minutes.start
    while minute < minutes.stop:
        walk.minute(minute)
        quiet = walk.run is None
        skip = min(every - 1, minutes.stop - minute - 1) if quiet else 0
        walk.stand_for(skip)
        minute += 1 + skip
        if until_alarm and any(d.kind == "alarm" for d in done.decisions):
            break
    walk.close(minute)
    return done


class _Walk:
    """Minute by minute; run: the node's detection while something may happen, else None."""

    def __init__(self, year: QuietYear, limits: Sequence[int], baseline: Any) -> None:
        self.run: on_node.Run | None = None
        self.done = YearRun(baseline=baseline)
        self._year = year
        self._limits = list(limits)
        self._before: list[Sample] = []  # the minute before
        self._earlier: list[Sample] = []  # and the one before that
        self._calm = 0
        self._seen = 0
        self._from_s = 0.0
        self._drifted = baseline.at_limit

    def minute(self, number: int) -> None:
        """One minute: through the node's code if something may happen in it, else only into the baseline."""
        samples = list(self._year.samples(number * MINUTE_S, (number + 1) * MINUTE_S))
        if self.done.minute != number:  # what was left out before it
            first = max(0, number - 2)
            self._earlier = list(self._year.samples(first * MINUTE_S, max(first, number - 1) * MINUTE_S))
            self._before = list(self._year.samples(max(first, number - 1) * MINUTE_S, number * MINUTE_S))
        quiet = self._is_quiet(samples)
        self._calm = self._calm + 1 if quiet else 0
        if self.run is None and not quiet:
            self._start(number)
        if self.run is not None:
            self._take(samples)
            if self._calm >= _CALM_MINUTES and not self.run.alarms.active:
                self.run = None
        else:
            bulk(self.done.baseline, self._before, samples)
        self._earlier, self._before = self._before, samples
        self.done.minute = number + 1
        self.done.looked_s += MINUTE_S
        self.done.most_e4 = max(self.done.most_e4, self.done.baseline.level_e4)
        self._drift(number)

    def stand_for(self, minutes: int) -> None:
        """The minute just taken stands for so many more: to the baseline."""
        mean = _filtered_sum((), self._before) * 16 // len(self._before) if minutes else 0
        for _ in range(minutes):
            self.done.baseline._minute(mean)

    def close(self, minute: int) -> None:
        """The end."""
        self.done.minute = minute

    def _is_quiet(self, samples: Sequence[Sample]) -> bool:
        limits = self._limits
        # The trend of a minute's first sample goes back through both minutes before it.
        temp, smoke, _ = zip(*chain(self._earlier, self._before, samples), strict=True)
        least_e4 = self.done.baseline.level_e4 - limits[at.SMOKE_ALARM] // _FALL_DIVISOR - _FALL_MORE
        if max(smoke) - max(0, least_e4) >= _smoke_step(limits) or max(temp) >= limits[at.HEAT_ALARM]:
            return False
        if 0 < limits[at.SMOKE_RISE] <= max(smoke) - min(smoke):
            return False
        return bool(max(temp) - min(temp) < _heat_rise(limits))

    def _start(self, number: int) -> None:
        """A node that has seen the minutes before: its trends are full, nothing of it is high."""
        first = max(0, number - _WARM_MINUTES)
        warm = list(self._year.samples(first * MINUTE_S, number * MINUTE_S))
        sensors = [[SENSORS[column][0], [SENSORS[column][1]], STEP_MS] for column in YEAR_COLUMNS]
        self.run = on_node.Run({"sensors": sensors, "limits": self._limits, "start": self._ticks(-len(warm))})
        self.run.outfit.smoke.baseline = copy(self.done.baseline)
        self._from_s = first * MINUTE_S
        self.run.go(pack(warm))
        self._seen = 0
        self.run.decisions.clear()
        self.run.outfit.smoke.baseline = self.done.baseline

    def _ticks(self, samples: int) -> int:
        last: int = self.done.baseline._last
        return (last + (samples + 1) * STEP_MS) & on_node.TICKS_MASK

    def _take(self, samples: Sequence[Sample]) -> None:
        assert self.run is not None
        rows = pack(samples)
        rows[0] = STEP_MS if self.run.ms or self.run.cell else 0
        found = self.run.go(rows)
        for row in found[self._seen :]:
            if row[3] != kinds.FAULT_DRIFT or row[1] not in (kinds.FAULT, kinds.FAULT_CLEAR):
                self.done.decisions.append(decision(row, self._from_s))
        self._seen = len(found)
        self.done.run_s += MINUTE_S

    def _drift(self, number: int) -> None:
        drifted = self.done.baseline.at_limit
        if drifted != self._drifted:
            self._drifted = drifted
            kind = "fault" if drifted else "fault_clear"
            self.done.decisions.append(Decision(float((number + 1) * MINUTE_S), kind, (), "drift_limit", None, {}))


def _filtered_sum(before: Sequence[Sample], samples: Sequence[Sample]) -> int:
    """Sum of the smoke that the filter (median of three) gives for `samples`, after those `before`."""
    past = list(before[-_FILTER:]) or list(samples[:1])
    # The first value ever counts as if it had always been there.
    smoke = [sample[1] for sample in chain(past[:1] * (_FILTER - len(past)), past, samples)]
    three = smoke, smoke[1:], smoke[2:]
    # The middle one of three is their sum without the highest and the lowest.
    total: int = sum(smoke[2:]) + sum(smoke[1:-1]) + sum(smoke[:-2]) - sum(map(max, *three)) - sum(map(min, *three))
    return total


def bulk(baseline: Any, before: Sequence[Sample], samples: Sequence[Sample]) -> None:
    """What Baseline.step does with the filtered smoke of `samples`, STEP_MS apart, that come after those `before`."""
    # Nothing is judged, nor seen by the baseline, before the filter is full: at a node's very start.
    at_sample = max(0, _FILTER - len(before)) if baseline._ms < 0 else 0
    baseline._last = (baseline._last + min(at_sample, len(samples)) * STEP_MS) & on_node.TICKS_MASK
    while at_sample < len(samples):
        # The first sample ever takes no time.
        need = (_MINUTE_MS - max(baseline._ms, 0)) // STEP_MS + (baseline._ms < 0)
        part = samples[at_sample : at_sample + need]
        earlier = [*before[-_FILTER:], *samples[max(0, at_sample - _FILTER) : at_sample]]
        baseline._ms = max(baseline._ms, 0) + (len(part) - (baseline._ms < 0)) * STEP_MS
        baseline._last = (baseline._last + len(part) * STEP_MS) & on_node.TICKS_MASK
        baseline._sum += _filtered_sum(earlier, part)
        baseline._count += len(part)
        at_sample += len(part)
        if baseline._ms >= _MINUTE_MS:
            baseline._ms = 0
            baseline._minute(baseline._sum * 16 // baseline._count)
            baseline._sum = baseline._count = 0
