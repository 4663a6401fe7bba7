"""Checks of a profile: which pattern covers another, and the position of a value in a text."""

from __future__ import annotations

import json
from itertools import product
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from call_recorder.answering.patterns import matches
from call_recorder_cli.profiles.check import _covers, find_mistakes
from call_recorder_cli.profiles.json_positions import find_positions

PATTERNS = st.text("ab*", min_size=1, max_size=4)
TEXTS = ["".join(letters) for length in range(5) for letters in product("abc", repeat=length)]


@given(PATTERNS, PATTERNS)
def test_a_pattern_covers_another_if_no_text_matches_only_the_other(one: str, other: str) -> None:
    matches_only_other = any(matches(other, text) and not matches(one, text) for text in TEXTS)

    assert _covers(one, other) is not matches_only_other


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
)


@given(VALUES, st.sampled_from([None, 1, "\t"]))
def test_every_value_of_a_text_is_found_at_its_position(value: Any, indent: int | str | None) -> None:
    text = json.dumps(value, indent=indent)
    found = find_positions(text)
    lines = text.split("\n")

    def check(value: Any, path: tuple[int | str, ...]) -> None:
        line, column = found[path]
        first = path[-1] if path and isinstance(path[-1], str) else value  # a field starts at its name
        begin = json.JSONDecoder().raw_decode("\n".join([lines[line - 1][column - 1 :], *lines[line:]]))[0]
        assert begin == first
        inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
        for key, each in inner:
            check(each, (*path, key))

    check(value, ())


@given(VALUES | st.fixed_dictionaries({"rules": VALUES, "routes": VALUES}))
def test_any_json_can_be_checked(written: Any) -> None:
    for mistake in find_mistakes(json.dumps(written)):
        assert mistake.sentence.startswith("recording-profile: ")
