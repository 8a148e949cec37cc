"""Detection profiles are data (install/data/profiles.toml): the numbers by which a node's detector decides, by a name.

A node may be told other numbers than its profile's: what differs is kept by name. The node's own check of the numbers
(bongsu_node.sensing.limits) is the only one: what passes here is what a node takes.
"""

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files

import msgspec

from bongsu.channels.texts import LANGS
from bongsu.errors import BongsuError
from bongsu_node.sensing import limits

FILE = "install/data/profiles.toml"
# Of a node in no unit, and of one in a shop of which nobody has said more.
DEFAULT = "market_dry"
# Which one a node gets where nobody names one, by the kind of its site.
_BY_SITE = {"homes": "home", "market": DEFAULT}

# Numbers by limits.NAMES.
Numbers = dict[str, int]


class ProfileError(BongsuError):
    """There is no such profile, or a number is not possible."""


class ProfilesFault(BongsuError):
    """The file of profiles is wrong: a fault of this installation."""


@dataclass(frozen=True, slots=True)
class Profile:
    """A profile: its name, its title by language ("ko", "en"), and all its numbers."""

    name: str
    title: Mapping[str, str]
    numbers: Numbers

    def with_changes(self, changes: Mapping[str, int]) -> Numbers:
        """Its numbers with these in their place. Raises ProfileError, naming the number and its range."""
        unknown = [name for name in changes if name not in limits.NAMES]
        if unknown:
            raise ProfileError(f"there is no number {unknown[0]!r}", f"Known: {', '.join(limits.NAMES)}")
        made = {**self.numbers, **changes}
        if wrong := limits.problem(in_order(made)):
            raise ProfileError(wrong, f"See the profile's numbers in {FILE}.")
        return made

    def differences(self, numbers: Mapping[str, int]) -> Numbers:
        """What of these numbers is not as in the profile."""
        return {name: numbers[name] for name in limits.NAMES if numbers[name] != self.numbers[name]}


class _Entry(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    title: dict[str, str]
    detector: dict[str, int]


def in_order(numbers: Mapping[str, int]) -> list[int]:
    """The numbers in the order of limits.NAMES, as a command carries them."""
    return [numbers[name] for name in limits.NAMES]


def by_site_kind(kind: str | None) -> str:
    """The name of the profile that a node of such a site gets; None: it is in no unit."""
    return _BY_SITE.get(kind or "", DEFAULT)


@cache
def load_profiles() -> dict[str, Profile]:
    """All profiles by name, checked. Raises ProfilesFault naming the file and the field."""
    return read_profiles(files("bongsu").joinpath(FILE).read_text(encoding="utf-8"))


def profile(name: str) -> Profile:
    """One by its name. Raises ProfileError."""
    known = load_profiles()
    if name not in known:
        raise ProfileError(f"there is no profile {name!r}", f"Known profiles: {', '.join(known)}")
    return known[name]


def read_profiles(text: str) -> dict[str, Profile]:
    """Profiles of a file's text. Raises ProfilesFault."""
    try:
        entries = tomllib.loads(text)
    except tomllib.TOMLDecodeError as err:
        raise _fault("", str(err)) from None
    made = {name: _checked(name, entry) for name, entry in entries.items()}
    for name in {DEFAULT, *_BY_SITE.values()} - made.keys():
        raise _fault(name, "is missing")
    return made


def _checked(name: str, raw: object) -> Profile:
    try:
        entry = msgspec.convert(raw, _Entry)
    except msgspec.ValidationError as err:
        raise _fault(name, str(err)) from None
    if not 1 <= len(name.encode()) <= limits.NAME_MAX:
        raise _fault(name, f"must be a name of 1 to {limits.NAME_MAX} letters")
    if set(entry.title) != set(LANGS) or not all(entry.title.values()):
        raise _fault(f"{name}.title", f"must have {' and '.join(LANGS)}")
    for field in entry.detector:
        if field not in limits.NAMES:
            raise _fault(f"{name}.detector.{field}", "is not known")
    for field in limits.NAMES:
        if field not in entry.detector:
            raise _fault(f"{name}.detector.{field}", "is missing")
    if wrong := limits.problem(in_order(entry.detector)):
        field, _, what = wrong.partition(": ")
        raise _fault(f"{name}.detector.{field}", what)
    return Profile(name, entry.title, entry.detector)


def _fault(field: str, what: str) -> ProfilesFault:
    return ProfilesFault(f"{FILE}: {f'{field} ' if field else ''}{what}", "Put back the file of this version.")
