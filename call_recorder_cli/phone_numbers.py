"""The spellings of a phone number: Sinch writes ``+46…`` in one callback and ``46…`` in another, people ``0046…``."""

from __future__ import annotations

import re

_NUMBER = re.compile(r"(?P<prefix>\+|00)?(?P<digits>[1-9][0-9]{4,14})")
_SEPARATORS = str.maketrans("", "", " -./()\N{NO-BREAK SPACE}")
_TRUNK_PREFIX = re.compile(r"(?<=[0-9])\s*\(0\)\s*")
"""Some write ``+46 (0)70…``. A caller from abroad leaves the zero out."""


def normalize(address: str) -> str:
    """Return one spelling for all spellings of a phone number: its digits with the country code.

    Other addresses, such as the name of an app user or a number without a country code, are returned as they are.
    """
    match = _NUMBER.fullmatch(_TRUNK_PREFIX.sub("", address).strip().translate(_SEPARATORS))
    return match["digits"] if match else address


def list_spellings(address: str) -> tuple[str, ...]:
    """Return every spelling under which the address may be stored."""
    number = normalize(address)
    if not _NUMBER.fullmatch(number):
        return (address,)
    return (f"+{number}", number, f"00{number}")
