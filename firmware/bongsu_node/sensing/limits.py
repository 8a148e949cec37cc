"""The numbers of a detection profile: names, ranges, defaults, and how the set-parameter command carries them.

The profiles themselves (market_kitchen, market_dry, home, storage) are data of the host; a node holds the numbers of
its own. The defaults, which stand in for settings that cannot be used, are those of market_dry: a test binds them.

heat_rise_dk_min, smoke_rise_e4, smoke_long_e4, gas_alarm_index: 0 switches that criterion off; *_alone_*: the limit
where no sensor that would confirm it is at work, because it is dead or was never fitted; 0 = no other than usual.

A node needs this file when its settings are checked or changed, and forgets it in between: see at.py.
"""

import struct

from bongsu_node.sensing import at

# Order and meaning are part of the command's format: append only, with a new VERSION.
NAMES = (
    "heat_alarm_dk",  # fixed temperature, 0.1 K (EN 54-5)
    "heat_clear_dk",
    "heat_rise_dk_min",  # rate of rise, 0.1 K/min, judged over 20 s
    "heat_rise_total_dk",  # least rise within 120 s for it: a gust is none
    "heat_small_dk",  # small change within 120 s
    "heat_alone_dk_min",
    "smoke_alarm_e4",  # optical density above the baseline, 1e-4/m (EN 54-7)
    "smoke_clear_e4",
    "smoke_rise_e4",  # rise within 30 s
    "smoke_small_e4",
    "smoke_alone_e4",
    "smoke_drift_e4",  # the most that drift compensation takes away
    "steam_rh_half",  # humidity from which smoke may be steam if it has risen by 2 %, 0.5 %
    "steam_rise_half",  # or its rise within 5 min
    "steam_delay_s",  # the longest that a smoke decision waits for it
    "co_small_dppm",  # 0.1 ppm
    "gas_alarm_index",
    "gas_clear_index",
    "prealarm_hold_s",
    "smoke_long_e4",  # less smoke that stays: a smouldering fire, not a spray nor a swept floor
    "smoke_long_s",
)
RANGES = (
    (3132, 3632),  # 40..90 degC: nothing outside it is a heat detector (EN 54-5)
    (3132, 3632),
    (0, 300),
    (0, 300),
    (10, 200),
    (0, 300),
    (50, 2000),  # at 0.2/m the test fires of EN 54-7 end
    (10, 2000),
    (0, 2000),
    (20, 1500),
    (0, 2000),
    (0, 1200),
    (100, 201),  # 201: never
    (4, 201),
    (0, 300),
    (50, 3000),
    (0, 10_000),
    (0, 10_000),
    (5, 120),
    (0, 2000),
    (5, 600),
)
DEFAULTS = (3302, 3232, 83, 100, 20, 60, 1500, 500, 0, 120, 1000, 240, 190, 20, 240, 600, 3000, 1500, 60, 500, 120)

VERSION = 1
NAME_MAX = 16
# Which limit must stay below which: hysteresis, small against full, and EN 54-7: compensation at most 0.6 x the limit,
# so that what was full smoke at first needs no more than 1.6 x of it after years.
BELOW = (
    (at.HEAT_CLEAR, at.HEAT_ALARM),
    (at.SMOKE_CLEAR, at.SMOKE_ALARM),
    (at.SMOKE_SMALL, at.SMOKE_ALARM),
    (at.GAS_CLEAR, at.GAS_ALARM),
)


def problem(values: list[int]) -> str:
    """What is wrong with a full list of numbers in the order of NAMES, as "name: problem"; "" if nothing."""
    if len(values) != len(NAMES):
        return "must be %d numbers" % len(NAMES)
    for i in range(len(NAMES)):
        low, high = RANGES[i]
        if not low <= values[i] <= high:
            return "%s: must be a whole number from %d to %d" % (NAMES[i], low, high)
    for lower, upper in BELOW:
        if values[lower] >= values[upper] and (upper != at.GAS_ALARM or values[at.GAS_ALARM]):
            return "%s: must be below %s" % (NAMES[lower], NAMES[upper])
    least = min(values[at.SMOKE_ALARM], values[at.SMOKE_LONG] or values[at.SMOKE_ALARM])
    if values[at.SMOKE_DRIFT] * 10 > least * 6:
        return "smoke_drift_e4: must be at most 0.6 x smoke_alarm_e4 and smoke_long_e4 (EN 54-7)"
    return ""


def pack(profile: str, values: list[int]) -> bytes:
    """Arguments of the set-parameter command: the profile's name and all its numbers. Raises ValueError."""
    name = profile.encode()
    wrong = problem(values)
    if wrong or not 1 <= len(name) <= NAME_MAX:
        raise ValueError(wrong or "profile: must be a name of 1 to %d letters" % NAME_MAX)
    return bytes([VERSION, len(name)]) + name + struct.pack("<%dH" % len(NAMES), *values)


def unpack(args: bytes) -> tuple[str, list[int]]:
    """(profile, numbers) of pack(). Raises ValueError for anything else, so that no half of it is ever used."""
    size = args[1] if len(args) > 1 else 0
    if not 1 <= size <= NAME_MAX or args[0] != VERSION or len(args) != 2 + size + 2 * len(NAMES):
        raise ValueError("not a profile of this version")
    values = list(struct.unpack("<%dH" % len(NAMES), args[2 + size :]))
    wrong = problem(values)
    if wrong:
        raise ValueError(wrong)
    return args[2 : 2 + size].decode(), values
