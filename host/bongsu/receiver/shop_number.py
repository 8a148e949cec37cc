"""Shop numbers as markets paint them ("1-가", "가동 12호") and the unit ids made of them. Pure.

An id is made of the number alone, so that it is the same in every list and at every import. Hangul is written letter by
letter after the Revised Romanization of Korean (Ministry of Culture and Tourism, notice 2000-8), without the changes of
sound between syllables: 1-가 is 1-ga, 가동 12호 is gadong-12ho. Two numbers may come out the same; the import's check
for double units names them.
"""

import re
import unicodedata

from bongsu.receiver import fields

# In the order of Unicode's syllables: initial, vowel, final.
# fmt: off
_INITIALS = (
    "g", "kk", "n", "d", "tt", "r", "m", "b", "pp", "s",
    "ss", "", "j", "jj", "ch", "k", "t", "p", "h",
)
_VOWELS = (
    "a", "ae", "ya", "yae", "eo", "e", "yeo", "ye", "o", "wa", "wae",
    "oe", "yo", "u", "wo", "we", "wi", "yu", "eu", "ui", "i",
)
_FINALS = (
    "", "k", "k", "k", "n", "n", "n", "t", "l", "k", "m", "l", "l", "l",
    "p", "l", "m", "p", "p", "t", "t", "ng", "t", "t", "k", "t", "p", "t",
)
# fmt: on
_SYLLABLES = range(0xAC00, 0xD7A4)
_SINGLE = {chr(0x1100 + i): letters or "ng" for i, letters in enumerate(_INITIALS)}
_ID = re.compile(r"[a-z0-9-]+")
_BETWEEN = re.compile(r"[\s\-_./,()#~·‐-―]+")


def unit_id(text: str) -> str:
    """The id for a shop number; an id stays as it is. Raises FieldError if none can be made of it."""
    typed = fields.words("unit", text, fields.SLUG_MAX)
    plain = unicodedata.normalize("NFKC", typed).lower()  # full-width letters and digits, single jamo
    if _ID.fullmatch(plain):
        return fields.slug("unit", plain)
    return fields.slug("unit", _BETWEEN.sub("-", "".join(_latin(c) for c in plain)).strip("-"))


def _latin(char: str) -> str:
    if ord(char) not in _SYLLABLES:
        return _SINGLE.get(char, char)
    rest, final = divmod(ord(char) - _SYLLABLES.start, len(_FINALS))
    initial, vowel = divmod(rest, len(_VOWELS))
    return _INITIALS[initial] + _VOWELS[vowel] + _FINALS[final]
