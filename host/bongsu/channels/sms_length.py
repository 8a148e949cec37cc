"""How long a text is to the networks: one short message, or something else. Pure.

Korea: 90 bytes of EUC-KR are one short message (SMS), a longer text is a long one (LMS). Elsewhere: 160 characters of
the GSM alphabet (153 a part when concatenated), or with any other character 70 of UCS-2 (67 a part). Sources: Korean
operators' limit; 3GPP TS 23.038 (alphabet), TS 23.040 (concatenation).
"""

from dataclasses import dataclass
from typing import Literal

KOREAN_SMS_BYTES = 90
_GSM_ONE, _GSM_PART = 160, 153
_UCS2_ONE, _UCS2_PART = 70, 67
_GSM = frozenset(
    "@£$¥èéùìòÇ\nØø\rÅåΔ_ΦΓΛΩΠΨΣΘΞÆæßÉ !\"#¤%&'()*+,-./0123456789:;<=>?¡ABCDEFGHIJKLMNOPQRSTUVWXYZÄÖÑÜ§¿"
    "abcdefghijklmnopqrstuvwxyzäöñüà"
)
_GSM_TWICE = frozenset("^{}\\[~]|€")  # the extension table: an escape and a letter


@dataclass(frozen=True, slots=True)
class Form:
    """`form`: SMS (one short message) or LMS (long, or several parts); `parts`: how many messages a network charges."""

    form: Literal["SMS", "LMS"]
    parts: int


def form_of(text: str, phone: str) -> Form:
    """How `text` travels to `phone` (E.164)."""
    if phone.startswith("+82"):
        return Form("SMS" if korean_bytes(text) <= KOREAN_SMS_BYTES else "LMS", 1)
    septets = gsm_septets(text)
    if septets is not None:
        parts = _parts(septets, _GSM_ONE, _GSM_PART)
    else:
        parts = _parts(len(text.encode("utf-16-be")) // 2, _UCS2_ONE, _UCS2_PART)
    return Form("SMS" if parts == 1 else "LMS", parts)


def korean_bytes(text: str) -> int:
    """Bytes in EUC-KR as Korean operators extend it (CP949); what it lacks counts as two bytes, the stand-in that
    gateways put there."""
    return sum(_korean_bytes_of(char) for char in text)


def _korean_bytes_of(char: str) -> int:
    try:
        return len(char.encode("cp949"))
    except UnicodeEncodeError:
        return 2


def gsm_septets(text: str) -> int | None:
    """Length in the GSM alphabet; None if a character is not in it."""
    total = 0
    for char in text:
        if char not in _GSM and char not in _GSM_TWICE:
            return None
        total += 2 if char in _GSM_TWICE else 1
    return total


def _parts(size: int, one: int, part: int) -> int:
    return 1 if size <= one else -(-size // part)
