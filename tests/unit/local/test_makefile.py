"""What the Makefile promises, and that the pages say the same of it."""

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

PAGES = "\n".join((ROOT / page).read_text() for page in ("README.md", "CONTRIBUTING.md", "docs/local.md"))
COUNT = (
    "import tests.faults.test_hostile_input as t;print(t.CALLBACK_CHUNKS * t.CALLBACKS + t.BATCH_CHUNKS * t.BATCHES)"
)


def make(*arguments: object) -> subprocess.CompletedProcess[str]:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("MAKE")}
    return subprocess.run(  # noqa: S603 - make
        ["make", "--silent", *map(str, arguments)],  # noqa: S607
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.fixture(scope="module")
def shown() -> list[str]:
    """The lines that `make help` shows."""
    return make("help").stdout.splitlines()


def test_the_number_of_hostile_inputs_is_the_same_everywhere(shown: list[str]) -> None:
    counted = subprocess.run(  # noqa: S603 - this interpreter
        [sys.executable, "-c", COUNT],
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": "src:.", "FAULTS": "full"},
        capture_output=True,
        text=True,
        check=True,
    ).stdout

    figures = re.findall(r"([\d,]+) hostile inputs", "\n".join([PAGES, *shown]))

    assert len(figures) >= 4
    assert set(figures) == {f"{int(counted):,}"}


def test_help_begins_with_six_lines_for_a_newcomer(shown: list[str]) -> None:
    assert [line.split()[:1] for line in shown[:7]] == [
        *(["try"], ["call"], ["explain"], ["deploy"], ["find"], ["test"]),
        [],
    ]


def test_help_and_the_pages_name_only_targets_that_exist(shown: list[str]) -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    named = set(re.findall(r"(?:`|^|  )make ([a-z-]+)", "\n".join([PAGES, *shown]), re.MULTILINE))

    assert len(named) >= 12
    assert named <= targets


def test_flows_and_the_page_list_every_flow_and_name_the_default() -> None:
    listed = make("flows").stdout
    rows = re.findall(r"^\| ((?:`[\w-]+`(?:, )?)+) \| (.*) \|$", PAGES, re.MULTILINE)

    assert re.findall(r"^  ([\w-]+) ", listed, re.MULTILINE) == list(FLOWS)
    assert f"Without FLOW, `make run` and `make call` play {DEFAULT}." in listed
    assert {name for names, _ in rows for name in re.findall(r"`([\w-]+)`", names)} == set(FLOWS)
    assert dict(rows)[f"`{DEFAULT}`"].endswith("Played unless you name another")


def test_a_build_takes_a_python_and_a_folder_whose_paths_have_spaces(tmp_path: Path) -> None:
    folder = tmp_path / "path with spaces"
    folder.mkdir()
    python = folder / "python"
    python.write_text('#!/bin/sh\nprintf "%s\\n" "$@" >"${0%/*}/arguments"\n')
    python.chmod(0o755)

    done = make("-C", ROOT / "src", "build-CallbackFunction", f"PYTHON={python}", f"ARTIFACTS_DIR={folder}/built")

    assert done.returncode == 0, done.stderr
    assert (folder / "arguments").read_text().splitlines() == ["build.py", f"{folder}/built"]


@pytest.mark.parametrize(
    ("target", "sentence"),
    [
        ("explain", "Name the file of a recording profile, for example `make explain PROFILE=examples/profiles/"),
        ("test-call", "Name the key of a Sinch application: make test-call APP=your-sinch-application-key."),
    ],
)
def test_a_target_without_its_argument_says_what_to_write(target: str, sentence: str) -> None:
    done = make(target)

    assert done.returncode
    assert sentence in done.stderr
