"""Checks of what people type: one function per kind of field, each returning the stored form. Pure.

A FieldError names the kind of fault (a short code for scripts) and says what is wrong without repeating a phone number.
"""

import re
import unicodedata
from urllib.parse import urlsplit
from zoneinfo import available_timezones

from bongsu.errors import UsageFault

SLUG_MAX = 32
_SLUG = re.compile(r"[a-z0-9-]{1,32}")
_NODE_ID = re.compile(r"[0-9a-f]{12}")
# Control and format characters (also direction overrides and zero-width ones), surrogates, private use, unassigned,
# line separators: none belongs into a name, and each could forge what a table or a text message shows.
_BAD_CATEGORIES = frozenset(("Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"))


class FieldError(UsageFault):
    """A typed value is not acceptable. `code`: the kind of fault, for scripts."""

    def __init__(self, code: str, message: str, next_step: str) -> None:
        super().__init__(message, next_step)
        self.code = code


def slug(what: str, text: str) -> str:
    """An id: 1 to 32 of a-z, 0-9 and "-"; capitals are made small. `what` names the field in the error."""
    value = text.strip().lower()
    if not value:
        raise FieldError("empty", f"{what} is empty", "Give it a short id such as a-07.")
    if len(value) > SLUG_MAX:
        raise FieldError(
            "too_long", f"{what} has {len(value)} characters, at most {SLUG_MAX} are allowed", "Shorten it."
        )
    if not _SLUG.fullmatch(value):
        raise FieldError("bad_slug", f"{what} {shown(text)} is no id", "Use only a-z, 0-9 and -, for example a-07.")
    return value


def words(what: str, text: str, max_len: int, *, required: bool = True) -> str:
    """A name or place: one line of visible text, Unicode NFC, at most `max_len` characters."""
    if bad := first_bad_character(text):
        raise FieldError(
            "control_character", f"{what} holds the character {bad}", "Type it again without invisible characters."
        )
    value = unicodedata.normalize("NFC", text).strip()
    if not value and required:
        raise FieldError("empty", f"{what} is empty", "Fill it in.")
    if len(value) > max_len:
        raise FieldError(
            "too_long", f"{what} has {len(value)} characters, at most {max_len} are allowed", "Shorten it."
        )
    return value


def first_bad_character(text: str) -> str | None:
    """Name ("U+0007") of the first character that no field may hold; None if there is none."""
    for char in text:
        if unicodedata.category(char) in _BAD_CATEGORIES:
            return f"U+{ord(char):04X}"
    return None


def one_of(what: str, text: str, allowed: tuple[str, ...]) -> str:
    """One of a fixed list of values."""
    value = text.strip().lower()
    if value not in allowed:
        raise FieldError("bad_choice", f"{what} {shown(text)} is not known", f"Use one of: {', '.join(allowed)}.")
    return value


def node_id(text: str) -> str:
    """A node id: the board's MAC, as 12 hex digits; capitals and the separators ":" and "-" are accepted."""
    value = text.strip().lower()
    if re.fullmatch(r"[0-9a-f]{2}([:-][0-9a-f]{2}){5}", value):
        value = value.replace(":", "").replace("-", "")
    if not _NODE_ID.fullmatch(value):
        raise FieldError(
            "bad_node", f"node id {shown(text)} is not 12 hex digits", "Use the board's MAC, for example a0b1c2d3e4f5."
        )
    # IEEE 802: the lowest bit of the first byte marks a group (all ones: everybody); none is given to a board.
    if int(value[:2], 16) & 1:
        raise _no_mac(text)
    return value


def listed_node_id(text: str) -> str:
    """The node id of a board that is not at hand. Zeros are refused: in a list they stand for "not known yet", though a
    chip without a burnt MAC (an emulator's) does answer with them.
    """
    value = node_id(text)
    if not int(value, 16):
        raise _no_mac(text)
    return value


def _no_mac(text: str) -> FieldError:
    return FieldError(
        "bad_node", f"node id {shown(text)} is no board's MAC", "Read it off the board, for example a0b1c2d3e4f5."
    )


def unit_address(text: str) -> tuple[str, str]:
    """(site, unit) of "site/unit"."""
    site, slash, unit = text.partition("/")
    if not slash:
        raise FieldError(
            "bad_address", f"unit {shown(text)} names no site", "Write it as site/unit, for example hannae/a-07."
        )
    return slug("site", site), slug("unit", unit)


def time_zone(text: str) -> str:
    """An IANA time zone name."""
    value = text.strip()
    if value not in available_timezones():
        raise FieldError("bad_tz", f"time zone {shown(text)} is not known", "Use an IANA name, for example Asia/Seoul.")
    return value


def web_url(what: str, text: str) -> str:
    """An http(s) address without user and password in it."""
    value = text.strip()
    try:
        parts = urlsplit(value)
        bad = parts.scheme not in ("http", "https") or not parts.hostname or parts.port == 0
    except ValueError:
        bad = True
    if bad or first_bad_character(value) or " " in value or len(value) > 500:
        raise FieldError("bad_url", f"{what} is not a web address", "Write it as https://host/path.")
    if parts.username is not None or parts.password is not None:
        raise FieldError(
            "secret_in_url",
            f"{what} holds a user name or password",
            "Leave them out: messages are signed with the secret.",
        )
    return value


def shown(text: str) -> str:
    """A typed value as errors quote it: short, with nothing invisible left in it."""
    cut = text if len(text) <= 40 else text[:40] + "..."
    return '"' + "".join(c if unicodedata.category(c) not in _BAD_CATEGORIES else f"\\u{ord(c):04x}" for c in cut) + '"'


def coordinate(what: str, text: str, limit: int) -> float | None:
    """Degrees (WGS 84) between -limit and limit, to six decimals (0.1 m); None for an empty text."""
    value = text.strip()
    if not value:
        return None
    if not re.fullmatch(r"[+-]?[0-9]{1,3}(\.[0-9]{1,20})?", value) or abs(float(value)) > limit:
        raise FieldError(
            "bad_coordinate",
            f"{what} {shown(text)} is not between -{limit} and {limit}",
            "Write decimal degrees, for example 37.561234.",
        )
    return round(float(value), 6) + 0.0  # no negative zero


def position(lat: str, lon: str) -> tuple[float | None, float | None]:
    """(latitude, longitude) in degrees, both or none."""
    found = coordinate("latitude", lat, 90), coordinate("longitude", lon, 180)
    if (found[0] is None) != (found[1] is None):
        raise FieldError("half_position", "latitude and longitude belong together", "Give both, or none.")
    return found
