"""What a node learns after provisioning: a profile by command, whole or not at all, and its smoke baseline."""

import struct
from array import array
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bongsu_node import flashfile
from bongsu_node.sensing import at, limits, tuning
from bongsu_node.sensing.baseline import Baseline, KeptBaseline
from bongsu_node.settings import Config
from tests import sensing_parts
from tests.sensing_parts import SMOKE, Rig

VALUES = sensing_parts.VALUES
ALARM, DRIFT, SMALL = VALUES[at.SMOKE_ALARM], VALUES[at.SMOKE_DRIFT], VALUES[at.SMOKE_SMALL]


def numbers(**changes: int) -> list[int]:
    values = list(limits.DEFAULTS)
    for name, value in changes.items():
        values[limits.NAMES.index(name)] = value
    return values


class Node:
    def __init__(self, folder: Path, provisioned_s: int = 7) -> None:
        self.config = Config()
        self.config.provisioned_s = provisioned_s
        self.lines: list[str] = []
        self.folder = str(folder)
        tuning.resume(self.config, self.folder, self.log)
        self.baseline = KeptBaseline(self.folder + "/baseline", self.log)

    def log(self, level: str, tag: str, text: str) -> None:
        self.lines.append(text)

    def set_profile(self, args: bytes) -> bool:
        return tuning.set_profile(self.config, self.folder, args, self.log)


def test_a_profile_that_was_set_holds_until_the_node_is_provisioned_anew(tmp_path: Path) -> None:
    node = Node(tmp_path)
    held = node.config.limits
    assert node.set_profile(limits.pack("home", numbers(smoke_alarm_e4=1900)))
    assert held[at.SMOKE_ALARM] == 1900  # the channels hold this very array
    again = Node(tmp_path)
    assert again.config.profile == "home" and again.config.limits[at.SMOKE_ALARM] == 1900
    assert Node(tmp_path, provisioned_s=8).config.limits == array("H", limits.DEFAULTS)


@settings(max_examples=300)
@given(st.binary(max_size=80))
def test_hostile_arguments_change_nothing(args: bytes) -> None:
    config = Config()
    assert not tuning.set_profile(config, "/nonexistent", args, lambda *a: None)
    assert config.limits == array("H", limits.DEFAULTS)


@settings(max_examples=300)
@given(st.data())
def test_every_profile_in_range_survives_the_way_and_any_damage_is_refused(data: Any) -> None:
    values = [data.draw(st.integers(low, high)) for low, high in limits.RANGES]
    if limits.problem(values):
        with pytest.raises(ValueError, match=":"):
            limits.pack("home", values)
        return
    packed = limits.pack("home", values)
    assert limits.unpack(packed) == ("home", values)
    for broken in (packed[:-1], packed + b"\0", b"\x02" + packed[1:]):
        with pytest.raises(ValueError, match="version"):
            limits.unpack(broken)


def test_a_flash_that_refuses_leaves_the_old_profile(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(path: str, data: bytes) -> None:
        raise OSError(28)

    node = Node(tmp_path)
    monkeypatch.setattr(flashfile, "write", refuse)
    with pytest.raises(OSError, match="28"):  # the link answers "failed"
        node.set_profile(limits.pack("home", numbers(smoke_alarm_e4=1900)))
    assert node.config.limits == array("H", limits.DEFAULTS)
    node.baseline.keep(50)
    assert node.baseline.failed and node.baseline.e4 == 0


def test_a_damaged_or_foreign_file_is_not_used(tmp_path: Path) -> None:
    flashfile.write(f"{tmp_path}/profile", struct.pack("<I", 7) + b"\x09rubbish")
    flashfile.write(f"{tmp_path}/baseline", b"\x01")
    node = Node(tmp_path)
    assert node.config.limits == array("H", limits.DEFAULTS) and node.baseline.e4 == 0


def test_the_baseline_is_written_only_when_it_moved(tmp_path: Path) -> None:
    node = Node(tmp_path)
    for e4 in (1, 4, 5, 9):
        node.baseline.keep(e4)
    assert Node(tmp_path).baseline.e4 == 5


# ---- the baseline (EN 54-7)


def minutes(base: Baseline, count: float, value: Any, start_ms: int = 0) -> int:
    """So many minutes at one sample a second; `value(ms)`."""
    ms = start_ms
    for _ in range(int(count * 60)):
        base.step(ms % sensing_parts.PERIOD, value(ms))
        ms += 1000
    return ms


@settings(max_examples=20, deadline=None)
@given(share=st.floats(0.26, 40), start_e4=st.integers(0, DRIFT))
def test_slow_smoke_is_not_compensated_away(share: float, start_e4: int) -> None:
    """EN 54-7: any rise R of more than A/4 an hour alarms within 1.6 A/R + 100 s, whatever was compensated before."""
    rate_h = share * ALARM
    base = Baseline(VALUES, sensing_parts.ticks_diff, start_e4)
    ms, limit_s = 0, 1.6 * ALARM / rate_h * 3600 + 100
    while ms / 1000 <= limit_s:
        # On top of what it had compensated already.
        value = int(start_e4 + rate_h * ms / 3_600_000)
        base.step(ms, value)
        if value - base.level_e4 >= ALARM:
            return
        ms += 1000
    raise AssertionError(f"no alarm within {limit_s:.0f} s at {rate_h:.0f} e4/h")


@settings(max_examples=40, deadline=None)
@given(st.lists(st.tuples(st.integers(1, 300), st.integers(0, 0xFFFE)), min_size=1, max_size=20), st.integers(0, 2000))
def test_compensation_never_takes_more_than_its_share(runs: Any, start_e4: int) -> None:
    """The limit never becomes more than 1.6 x what it was (EN 54-7), whatever the air does."""
    base = Baseline(VALUES, sensing_parts.ticks_diff, start_e4)
    ms = 0
    for count, value in runs:
        ms = minutes(base, count, lambda _, v=value: v, ms)
        assert 0 <= base.level_e4 <= DRIFT <= 0.6 * ALARM


def test_a_dirty_head_is_compensated_and_ends_in_a_fault() -> None:
    base = Baseline(VALUES, sensing_parts.ticks_diff)
    day = 24 * 60
    # 12e-4/m a day: dusty work.
    ms = minutes(base, 20 * day, lambda ms: 12 * ms // 86_400_000)
    assert 200 <= base.level_e4 <= 240 and not base.at_limit
    ms = minutes(base, 10 * day, lambda ms: 12 * ms // 86_400_000, ms)
    assert base.level_e4 == DRIFT and base.at_limit
    # Cleaned: as sensitive as new within a day, and the fault ends.
    minutes(base, day, lambda ms: 0, ms)
    assert base.level_e4 == 0 and not base.at_limit


def test_it_stands_still_while_the_signal_is_up() -> None:
    base = Baseline(VALUES, sensing_parts.ticks_diff)
    ms = minutes(base, 60, lambda ms: 5)
    before = base.level_e4
    ms = minutes(base, 23 * 60, lambda ms: SMALL, ms)
    assert base.frozen and base.level_e4 == before
    # After a day without an alarm it is dirt, and followed.
    minutes(base, 10 * 60, lambda ms: SMALL, ms)
    assert base.level_e4 > before


def test_a_long_gap_takes_no_time() -> None:
    base = Baseline(VALUES, sensing_parts.ticks_diff)
    minutes(base, 5, lambda ms: 50)
    before = base.level_e4
    base.step(500_000_000, 50)
    assert base.level_e4 == before


def test_a_smouldering_fire_on_a_dirty_head_alarms() -> None:
    rig = Rig((SMOKE,), start_e4=200)
    rig.run(600, smoke=205)
    for e4 in range(205, 1400, 5):  # 0.1/m in 20 minutes
        rig.run(5, smoke=e4)
    assert rig.told("alarm")
