"""What `make` says of the flows, and of one that cannot be played."""

from __future__ import annotations

import subprocess

import pytest

from local.commands import main
from local.emulator import ROOT
from local.flows import FLOWS


def test_make_flows_names_every_flow_and_what_it_shows() -> None:
    shown = subprocess.run(["make", "flows"], cwd=ROOT, capture_output=True, text=True, check=True).stdout  # noqa: S607

    for flow in FLOWS.values():
        assert f"  {flow.name:<24} {flow.about}\n" in shown


@pytest.mark.parametrize("command", ["run", "call"])
@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--flow", "menü"], f"There is no flow 'menü': choose one of {', '.join(FLOWS)}."),
        (["--flow", "menu", "--to", "username:alice"], "Name a flow with FLOW or a destination with TO, not both."),
    ],
)
def test_a_flow_that_cannot_be_played_is_refused_in_a_sentence(
    command: str,
    arguments: list[str],
    sentence: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr("signal.signal", lambda *_: None)

    assert main([command, *arguments]) == 1

    assert capsys.readouterr().err.strip() == sentence
