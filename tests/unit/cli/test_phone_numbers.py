"""All spellings of a number are one number."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from call_recorder.facts.phone_numbers import normalize_number
from call_recorder_cli.phone_numbers import list_spellings

DIGITS = st.from_regex(r"[1-9][0-9]{6,14}", fullmatch=True)


@given(DIGITS, st.sampled_from(["", "+", "00"]), st.sampled_from([" ", "-", ".", ""]))
def test_every_spelling_finds_every_other(digits: str, prefix: str, separator: str) -> None:
    written = prefix + digits[:2] + separator + digits[2:]

    assert normalize_number(written) == digits
    assert list_spellings(written) == (f"+{digits}", digits, f"00{digits}")


@pytest.mark.parametrize("name", ["alice", "bob@example.com", "070-123 45 67", "12"])
def test_another_address_has_one_spelling(name: str) -> None:
    assert list_spellings(name) == (name,)
