"""What `make` and the README say of it, and that they say the same."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from local.emulator import ROOT
from local.flows import DEFAULT, FLOWS

if TYPE_CHECKING:
    from pathlib import Path

README = (ROOT / "README.md").read_text()
MAKEFILE = (ROOT / "Makefile").read_text()
COUNT = (
    "import tests.faults.test_hostile_input as t;print(t.CALLBACK_CHUNKS * t.CALLBACKS + t.BATCH_CHUNKS * t.BATCHES)"
)


@pytest.fixture(scope="module")
def told() -> str:
    """What `make help` says."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("MAKE")}
    return subprocess.run(
        ["make", "help"],  # noqa: S607
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        check=True,
    ).stdout


def test_the_number_of_hostile_inputs_is_the_same_everywhere(told: str) -> None:
    counted = subprocess.run(  # noqa: S603 - this interpreter
        [sys.executable, "-c", COUNT],
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": "src:.", "FAULTS": "full", "FAULTS_SEED": "0"},
        capture_output=True,
        text=True,
        check=True,
    ).stdout

    figures = re.findall(r"([\d,]+) hostile inputs", README) + re.findall(r"([\d,]+) hostile inputs", told)

    assert len(figures) >= 3
    assert set(figures) == {f"{int(counted):,}"}


def test_help_begins_with_six_lines_for_a_newcomer(told: str) -> None:
    six = told.splitlines()[:6]

    assert [line.split()[0] for line in six] == ["try", "call", "explain", "deploy", "find", "test"]
    assert told.splitlines()[6] == ""


def test_help_and_readme_say_what_is_played_without_a_flow_and_how_to_play_the_others(told: str) -> None:
    assert f"without one, `make run` and `make call` play {DEFAULT}" in told
    rows = re.findall(r"^\| ((?:`[\w-]+`(?:, )?)+) \| ", README, re.MULTILINE)
    assert set(FLOWS) <= {name for row in rows for name in re.findall(r"`([\w-]+)`", row)}
    [default] = [line for line in README.splitlines() if line.startswith(f"| `{DEFAULT}` |")]
    assert default.endswith("Played unless you name another |")
    assert "`make call FLOW=menu` plays one of the calls below" in README


def test_every_target_that_the_readme_names_is_there() -> None:
    targets = set(re.findall(r"^([a-z-]+):", MAKEFILE, re.MULTILINE))
    named = set(re.findall(r"`make ([a-z-]+)|^make ([a-z-]+)", README, re.MULTILINE))

    assert {name for pair in named for name in pair if name} - targets == set()


def test_a_build_takes_a_python_and_a_folder_whose_paths_have_spaces(tmp_path: Path) -> None:
    folder = tmp_path / "path with spaces"
    folder.mkdir()
    python = folder / "python"
    python.write_text('#!/bin/sh\nprintf "%s\\n" "$@" >"${0%/*}/arguments"\n')
    python.chmod(0o755)

    subprocess.run(  # noqa: S603 - make
        ["make", "-C", ROOT / "src", "build-CallbackFunction", f"PYTHON={python}", f"ARTIFACTS_DIR={folder}/built"],  # noqa: S607
        capture_output=True,
        check=True,
    )

    assert (folder / "arguments").read_text().splitlines() == ["build.py", f"{folder}/built"]


@pytest.mark.parametrize(
    ("target", "sentence"),
    [
        ("explain", "Name the file of a recording profile, for example `make explain PROFILE=examples/profiles/"),
        ("test-call", "Name the key of a Sinch application: make test-call APP=your-sinch-application-key."),
    ],
)
def test_a_target_that_needs_to_be_told_more_says_what(target: str, sentence: str) -> None:
    done = subprocess.run(  # noqa: S603 - make
        ["make", "--silent", target],  # noqa: S607
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )

    assert done.returncode
    assert sentence in done.stderr
