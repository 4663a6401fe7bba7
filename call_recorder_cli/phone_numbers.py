"""The spellings under which the address of a caller or callee may be stored."""

from __future__ import annotations

from call_recorder.facts.phone_numbers import normalize_number


def list_spellings(address: str) -> tuple[str, ...]:
    """Return every spelling under which the address may be stored."""
    number = normalize_number(address)
    if normalize_number(f"+{number}") != number:
        return (address,)
    return (f"+{number}", number, f"00{number}")
