"""The process of a command: what it does with the streams and files that a shell gives it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from call_recorder_cli.output import Output, Report

ROOT = Path(__file__).resolve().parents[3]
QUICK_START = str(ROOT / "examples" / "profiles" / "quick-start.json")


class Said(Report):
    words: str


def start(*words: str, **options: Any) -> subprocess.CompletedProcess[str]:
    """Run a command as a process of its own."""
    environment = {**os.environ, "PYTHONPATH": f"{ROOT / 'src'}:{ROOT}", "NO_COLOR": "1", **options.pop("env", {})}
    return subprocess.run(  # noqa: S603
        [sys.executable, "-m", "call_recorder_cli", *words], env=environment, text=True, check=False, **options
    )


@pytest.mark.parametrize(
    ("words", "found"), [("call-recorder reco", "recordings"), ("call-recorder recordings down", "download")]
)
def test_a_shell_completes_commands(words: str, found: str) -> None:
    asked = {"_CALL_RECORDER_COMPLETE": "bash_complete", "COMP_WORDS": words, "COMP_CWORD": str(words.count(" "))}

    answered = start(env=asked, capture_output=True)

    assert (answered.returncode, answered.stdout.strip()) == (0, f"plain,{found}"), answered


def test_a_terminal_without_utf_8_gets_question_marks() -> None:
    ascii_only = {"PYTHONIOENCODING": "ascii"}

    answered = start("explain", QUICK_START, "--to", "username:å", env=ascii_only, capture_output=True)

    assert (answered.returncode, answered.stderr) == (0, "")
    assert " to ? (username):" in answered.stdout


def test_a_closed_pipe_or_input_is_no_error() -> None:
    closed, written = os.pipe()
    os.close(closed)

    answered = start("explain", QUICK_START, stdout=written, stderr=subprocess.PIPE, preexec_fn=lambda: os.close(0))
    os.close(written)

    assert (answered.returncode, answered.stderr) == (0, "")


def test_json_has_no_character_that_a_terminal_obeys(capsys: pytest.CaptureFixture[str]) -> None:
    hostile = "\x9b31m\x1b[31m\u202e\U000e0001\x85å"

    Output(as_json=True).emit(Said(words=hostile), print)

    printed = capsys.readouterr().out
    assert json.loads(printed) == {"words": hostile}
    assert printed.replace("\n", "").isprintable()


def test_the_name_of_a_task_is_no_markup(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")

    with Output().progress() as progress:
        progress.add_task("a[/b].mp3", total=None)

    assert "a[/b].mp3" in capsys.readouterr().err
