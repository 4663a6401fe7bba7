"""A variable of a `make` target is read, or refused in one sentence, and make passes it on."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import pytest

from local.cost import __main__ as cost
from local.emulator import ROOT
from local.scale import __main__ as scale
from local.soak import __main__ as soak
from local.soak.results import PartResult
from local.variables import VariableRefused, read_number, read_whole_number, read_word, run

EXPORTED = {
    name
    for line in re.findall(r"^export ([A-Z_ ]+)$", (ROOT / "Makefile").read_text(), re.MULTILINE)
    for name in line.split()
}


class Noted(dict[str, str]):
    """Variables that note which of them are read."""

    def __init__(self) -> None:
        super().__init__()
        self.read: set[str] = set()

    def get(self, name: str, default: Any = None) -> Any:
        self.read.add(name)
        return default


@pytest.mark.parametrize(
    ("read", "text", "value"),
    [
        (lambda variables: read_number(variables, "X", 1, 0, 2), "", 1),
        (lambda variables: read_number(variables, "X", 1, 0, 2), "0.5", 0.5),
        (lambda variables: read_whole_number(variables, "X", 1, 0, 20), "20", 20),
        (lambda variables: read_word(variables, "X", "on", ("on", "off")), "off", "off"),
    ],
)
def test_a_variable_has_its_value_or_the_default(read: Callable[[Any], object], text: str, value: object) -> None:
    assert read({"X": text}) == value


@pytest.mark.parametrize("text", ["many", "nan", "inf", "-0.1", "2.1"])
def test_a_number_out_of_its_range_is_refused(text: str) -> None:
    with pytest.raises(VariableRefused, match=rf"^X is '{re.escape(text)}': write a number from 0 to 2\.$"):
        read_number({"X": text}, "X", 1, 0, 2)


@pytest.mark.parametrize("text", ["many", "1.5", "-1", "21", "²"])
def test_what_is_no_whole_number_in_its_range_is_refused(text: str) -> None:
    with pytest.raises(VariableRefused, match=r"write a whole number from 0 to 20\.$"):
        read_whole_number({"X": text}, "X", 1, 0, 20)


def test_an_unknown_word_is_refused_with_the_known_ones() -> None:
    with pytest.raises(VariableRefused, match=r"^X is 'yes': write one of on, off\.$"):
        read_word({"X": "yes"}, "X", "on", ("on", "off"))


def test_a_refused_variable_ends_a_command_with_status_2(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(lambda variables: int(read_number(variables, "X", 0, 0, 1)), {"X": "2"}) == 2

    assert capsys.readouterr().err == "X is '2': write a number from 0 to 1.\n"


def test_make_passes_every_variable_on(monkeypatch: pytest.MonkeyPatch) -> None:
    variables = Noted()
    monkeypatch.setattr(soak, "run_part", lambda unit, _, tolerance: PartResult(unit, tolerance, [], {}, 1, 0.0))

    cost.read_month(variables)
    scale.read_scenario(variables)
    soak.main(variables)

    assert variables.read
    assert variables.read <= EXPORTED
