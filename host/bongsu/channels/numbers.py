"""Phone numbers inside other words, in whatever form somebody wrote them: with or without country, separators, or a
plus as URLs write it.
"""

import re

_GLUE = r"(?:[\s\-.()/\u2010-\u2015]|%20|%2D){0,3}"
MASK = "****"
# Korean mobile numbers, and what begins with a plus.
_ANY = re.compile(
    rf"(?<![0-9A-Za-z])(?:(?:\+|%2[Bb]|00)?82{_GLUE}(?:\(?0\)?)?{_GLUE}|0)1{_GLUE}[016789](?:{_GLUE}\d){{7,8}}(?![0-9A-Za-z])"
    r"|(?:\+|%2[Bb])\d{8,15}"
)


def pattern(e164: str) -> re.Pattern[str]:
    """Finds this number (E.164) in any form."""
    digits = e164.lstrip("+")
    country, rest = ("82", digits[2:]) if digits.startswith("82") else ("", digits)
    head = (
        rf"(?:(?:\+|%2[Bb]|00)?{_GLUE}{_GLUE.join(country)}{_GLUE}\(?0?\)?{_GLUE}|\(?0)?"
        if country
        else r"(?:\+|%2[Bb]|00)?"
    )
    return re.compile(rf"(?<!\d){head}{_GLUE.join(rest)}(?!\d)")


def without(text: str, e164: str, instead: str = MASK) -> str:
    """The text with this number masked wherever it stands."""
    return pattern(e164).sub(instead, text)


def masked(text: str) -> str:
    """The text with whatever looks like a phone number masked but for its last four digits."""
    return _ANY.sub(lambda m: MASK + "".join(c for c in m[0] if c.isdigit())[-4:], text)
