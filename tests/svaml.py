"""The vendor's table of what may answer each callback, written down once more, and what to look for in an answer."""

from __future__ import annotations

import json
from typing import Any, Final

from local.simulator.svaml import read

# One line per row of the vendor's table. What the recorder never answers with is in it too.
_ACTIONS: Final = [
    "hangup",
    "continue",
    "connectPstn",
    "connectMxp",
    "connectConf",
    "connectSip",
    "connectStream",
    "runMenu",
    "park",
]
_ALLOWED_ACTIONS: Final = {
    "ice": "x . x x x x x x x",
    "ace": "x x . . x . . x .",
    "pie": "x x x . x x . x .",
}
_INSTRUCTIONS: Final = ["say", "playFiles", "setCookie", "startRecording", "stopRecording", "answer", "sendDtmf"]
_ALLOWED_INSTRUCTIONS: Final = {
    "ice": "x x x x x x x",
    "ace": "x x x x x . .",
    "pie": "x x x x x . x",
}


def _row(names: list[str], marks: str) -> set[str]:
    return {name for name, mark in zip(names, marks.split(), strict=True) if mark == "x"}


def names(answer: dict[str, Any]) -> list[str]:
    """Return the names of an answer's instructions, in order."""
    return [each["name"] for each in answer.get("instructions", [])]


def assert_legal(event: str, answer: dict[str, Any]) -> None:
    """Check an answer against the vendor's table and against a reader that shares no code with the writer."""
    assert answer["action"]["name"] in _row(_ACTIONS, _ALLOWED_ACTIONS[event])
    assert set(names(answer)) <= _row(_INSTRUCTIONS, _ALLOWED_INSTRUCTIONS[event])
    if answer["action"]["name"] == "connectMxp":
        assert "startRecording" not in names(answer), "Sinch ignores it there"
    if answer["action"]["name"] == "runMenu":
        assert "answer" in names(answer), "a menu is played to a call that was answered"
    read(event, json.dumps(answer).encode())


def captures(answer: dict[str, Any]) -> bool:
    """Tell whether an answer makes Sinch record."""
    return "record" in answer["action"] or "startRecording" in names(answer)
