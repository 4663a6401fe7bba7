"""The spellings of a phone number: Sinch writes ``+46…`` in one callback and ``46…`` in another, people ``0046…``."""

from __future__ import annotations

import re

_NUMBER = re.compile(r"(?:\+|00)?([1-9][0-9]{4,14})")
_SEPARATORS = str.maketrans("", "", " -./()\N{NO-BREAK SPACE}")
_TRUNK_PREFIX = re.compile(r"(?<=[0-9])\s*\(0\)\s*")
"""Some write ``+46 (0)70…``. A caller from abroad leaves the zero out."""


def normalize_number(address: str) -> str:
    """Return one spelling for all spellings of a phone number: its digits with the country code.

    Other addresses, such as the name of an app user or a number without a country code, are returned as they are.
    """
    match = _NUMBER.fullmatch(_TRUNK_PREFIX.sub("", address).strip().translate(_SEPARATORS))
    return match[1] if match else address
