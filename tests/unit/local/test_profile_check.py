"""What the check of a profile rests on: which pattern takes all of another, and where in a text a value stands."""

from __future__ import annotations

import json
from itertools import product
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from call_recorder.answering.patterns import matches
from local.json_positions import Position, nearest, positions
from local.profile_check import _covers, find_mistakes

PATTERNS = st.text("ab*", min_size=1, max_size=4)
TEXTS = ["".join(letters) for length in range(5) for letters in product("abc", repeat=length)]


@given(PATTERNS, PATTERNS)
def test_a_pattern_covers_another_when_no_text_fits_the_other_alone(one: str, other: str) -> None:
    fits_other_alone = any(matches(other, text) and not matches(one, text) for text in TEXTS)

    assert _covers(one, other) is not fits_other_alone


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
)


@given(VALUES, st.sampled_from([None, 1, "\t"]))
def test_every_value_of_a_text_is_found_where_it_stands(value: Any, indent: int | str | None) -> None:
    text = json.dumps(value, indent=indent)
    places = positions(text)
    lines = text.split("\n")

    def check(value: Any, path: tuple[int | str, ...]) -> None:
        line, column = places[path]
        shown = value
        if path and isinstance(path[-1], str):
            shown = path[-1]  # the name of the field is where it begins
        begin = json.JSONDecoder().raw_decode("\n".join([lines[line - 1][column - 1 :], *lines[line:]]))[0]
        assert begin == shown
        inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
        for key, each in inner:
            check(each, (*path, key))

    check(value, ())


def test_what_is_not_there_is_looked_for_where_it_should_be() -> None:
    places = positions('{\n "rules": [{"name": "a"}]\n}')

    assert nearest(places, ("rules", 0, "record")) == Position(2, 12)
    assert nearest(places, ("routes",)) == Position(1, 1)


@given(VALUES | st.fixed_dictionaries({"rules": VALUES, "routes": VALUES}))
def test_whatever_is_written_is_checked(written: Any) -> None:
    for mistake in find_mistakes(json.dumps(written)):
        assert mistake.sentence.startswith("recording-profile: ")
