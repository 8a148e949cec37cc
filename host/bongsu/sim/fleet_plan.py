"""What happens to a fleet and when: fires, storms, power cuts, reconnections. Pure; times in s from "ready", when all
connections were up.
"""

import re
from dataclasses import dataclass, field

from bongsu.errors import UsageFault

MISBEHAVIOURS = ("duplicates", "replays", "garbage", "slow")
_NUMBER = r"(\d+(?:\.\d+)?)"


@dataclass(frozen=True)
class Fires:
    """`per_minute` fires from `from_s` on, for `for_s` (None: to the end)."""

    per_minute: float
    from_s: float = 0.0
    for_s: float | None = None


@dataclass(frozen=True)
class Storm:
    """`count` nodes alarm in the same moment."""

    count: int
    at_s: float


@dataclass(frozen=True)
class Cut:
    """The power of a site is cut: all of its nodes gone within a second, back after `for_s`."""

    site: str
    at_s: float
    for_s: float


@dataclass(frozen=True)
class Plan:
    """`reconnects`: when all connections break at once; `misbehave`: which share of the nodes does what they must not;
    `fire_s`: a fire lasts so long, then its restore is reported (0: it never goes out); `back_within_s`: after a power
    cut all boards have booted within so long.
    """

    fires: tuple[Fires, ...] = ()
    storms: tuple[Storm, ...] = ()
    cuts: tuple[Cut, ...] = ()
    reconnects: tuple[float, ...] = ()
    misbehave: dict[str, float] = field(default_factory=dict)
    fire_s: float = 60.0
    back_within_s: float = 30.0


def fires(text: str) -> Fires:
    """RATE[@T[+S]]: RATE a minute, from T s, for S s. Raises UsageFault."""
    match = re.fullmatch(rf"{_NUMBER}(?:@{_NUMBER}(?:\+{_NUMBER})?)?", text)
    if match is None or not float(match[1]):
        raise UsageFault(f"fires {text!r} are not RATE[@T[+S]]", "For example 120, or 120@60+30: for 30 s, after 60 s.")
    return Fires(float(match[1]), float(match[2] or 0), float(match[3]) if match[3] else None)


def storm(text: str) -> Storm:
    """K@T: K nodes, after T s. Raises UsageFault."""
    match = re.fullmatch(rf"(\d+)@{_NUMBER}", text)
    if match is None or not int(match[1]):
        raise UsageFault(f"a storm {text!r} is not K@T", "For example 500@30: 500 nodes alarm after 30 s.")
    return Storm(int(match[1]), float(match[2]))


def cut(text: str) -> Cut:
    """SITE@T+S: SITE, after T s, for S s. Raises UsageFault."""
    match = re.fullmatch(rf"([a-z0-9-]+)@{_NUMBER}\+{_NUMBER}", text)
    if match is None:
        raise UsageFault(f"a power cut {text!r} is not SITE@T+S", "For example hannae@30+10: for 10 s, after 30 s.")
    return Cut(match[1], float(match[2]), float(match[3]))


def misbehaviour(text: str) -> tuple[str, float]:
    """KIND:SHARE. Raises UsageFault."""
    kind, _, share = text.partition(":")
    if kind not in MISBEHAVIOURS or not re.fullmatch(_NUMBER, share) or not 0 < float(share) <= 1:
        known = ", ".join(MISBEHAVIOURS)
        raise UsageFault(f"{text!r} is not KIND:SHARE", f"For example garbage:0.01. Kinds: {known}.")
    return kind, float(share)
