"""Phone numbers in logs and on terminals: all of their digits are masked except for the last two."""

from __future__ import annotations

import re

_MIN_DIGITS = 5  # of a phone number, in addresses and ids: extensions are this short
_MIN_DIGITS_IN_TEXT = 7  # of a phone number, in other texts: shorter numbers are limits and sizes

# Sinch's ids are not masked, so that a call can be found by them: a UUID, also with a short number behind it, 32
# hexadecimal digits, or the address of a SIP trunk. Dates are not masked either. Other digits may be a phone number.
_KEPT = re.compile(
    r"""
      (?<![0-9a-f]) (?=[0-9-]{0,35}[a-f]) [0-9a-f]{8} (?:-[0-9a-f]{4}){3} -[0-9a-f]{12} (?![0-9a-f]) (?:_\d{1,4}(?!\d))?
    | (?<![0-9a-f]) (?=[0-9]{0,31}[a-f]) [0-9a-f]{32} (?![0-9a-f])
    | @ \d{1,3} (?:\.\d{1,3}){3} (?![\d.])
    | (?<!\d) (?<!\d[\s().+_-]) 20\d\d-[01]\d-[0-3]\d
      (?:[T\ ]\d\d:\d\d(?::\d\d(?:\.\d{1,6})?)?(?:[+]00:00)?)? (?![\s().+_-]*\d)
    """,
    re.VERBOSE | re.IGNORECASE,
)
_NUMBER = re.compile(r"\d(?:[\s().+_-]*\d)*")
_NOT_LAST_TWO = re.compile(r"\d(?=(?:\D*\d){2})")


def mask_address(address: str | None) -> str | None:
    """Mask all but the last two digits of an address, if it has enough digits for a phone number."""
    if address is None or sum(map(str.isdigit, address)) < _MIN_DIGITS:
        return address
    return _NOT_LAST_TWO.sub("*", address)


def masked_id(recording_id: str | None) -> str | None:
    """Mask what may be a phone number in the id of a recording."""
    return None if recording_id is None else mask_numbers(recording_id, _MIN_DIGITS)


def mask_numbers(text: str, min_digits: int = _MIN_DIGITS_IN_TEXT) -> str:
    """Mask each run of at least ``min_digits`` digits, whatever separates them, except in ids and dates."""
    if _KEPT.fullmatch(text) or sum(map(str.isdecimal, text)) < min_digits:
        return text  # Most texts need no masking, and a caller waits.

    def mask(match: re.Match[str]) -> str:
        long_enough = sum(map(str.isdecimal, match[0])) >= min_digits
        return mask_address(match[0]) or "" if long_enough else match[0]

    masked, end = "", 0
    for kept in _KEPT.finditer(text):
        masked += _NUMBER.sub(mask, text[end : kept.start()]) + kept[0]
        end = kept.end()
    return masked + _NUMBER.sub(mask, text[end:])
