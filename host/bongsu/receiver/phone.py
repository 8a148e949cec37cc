"""Phone numbers: Korean or international as typed, E.164 as stored, masked as shown."""

import re

from bongsu.receiver.fields import FieldError, first_bad_character

HOME_REGION = "KR"
_TYPED = re.compile(r"[0-9+\-.() /\u2010-\u2015\uff10-\uff19\uff0b\uff0d]+")
_NEXT = "Write it as 010-1234-5678, or with the country as +82 10 1234 5678."


def normal(text: str) -> str:
    """The E.164 form ("+821012345678") of a number typed in Korean or international form.

    Raises FieldError, code "bad_phone"; the error does not repeat the number.
    """
    import phonenumbers  # 0.1 s; most commands need none

    typed = text.strip()
    if not typed:
        raise FieldError("empty", "phone number is empty", _NEXT)
    if first_bad_character(typed) or len(typed) > 40 or not _TYPED.fullmatch(typed):
        raise FieldError("bad_phone", "phone number holds other characters than digits, +, -, ., ( ) and spaces", _NEXT)
    try:
        number = phonenumbers.parse(typed, HOME_REGION)
    except phonenumbers.NumberParseException:
        raise FieldError("bad_phone", "phone number cannot be read", _NEXT) from None
    stored = str(phonenumbers.format_number(number, phonenumbers.PhoneNumberFormat.E164))
    # The numbering plan's tables still allow 010 numbers that lack a digit; none was ever given out.
    short = stored.startswith("+8210") and len(stored) != len("+821012345678")
    if number.extension or short or not phonenumbers.is_valid_number(number):
        digits = sum(c.isdigit() for c in typed)
        raise FieldError("bad_phone", f"phone number does not exist in this form ({digits} digits)", _NEXT)
    return stored


def takes_texts(e164: str) -> bool:
    """True if text messages can be expected to reach the number (a mobile one, or one of a country that does not tell
    them apart).
    """
    import phonenumbers

    kinds = (phonenumbers.PhoneNumberType.MOBILE, phonenumbers.PhoneNumberType.FIXED_LINE_OR_MOBILE)
    return phonenumbers.number_type(phonenumbers.parse(e164, None)) in kinds


def masked(e164: str) -> str:
    """The number as people may see it: "010-****-5678"; of another country "+1-****-5678". Never raises; too short ones
    are wholly hidden.
    """
    digits = e164.removeprefix("+")
    if not digits.isdigit() or len(digits) < 8:
        return "****"
    tail = digits[-4:]
    if not digits.startswith("82"):
        return f"+{digits[:1] if digits[0] in '17' else digits[:2]}-****-{tail}"
    national = digits[2:]
    if len(national) < 9 and national.startswith("1"):  # 1588-1234: no area code
        return f"****-{tail}"
    area = next((national[:n] for start, n in (("2", 1), ("50", 3)) if national.startswith(start)), national[:2])
    return f"0{area}-****-{tail}"


def typed(e164: str) -> str:
    """The number as people type it at home ("010-1234-5678"), of other countries as stored; `normal` reads it back."""
    import phonenumbers

    if not e164.startswith("+82"):
        return e164
    return str(phonenumbers.format_number(phonenumbers.parse(e164, None), phonenumbers.PhoneNumberFormat.NATIONAL))
