"""The environments of the Makefile, for several `make` at the same time."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import zipfile
from typing import TYPE_CHECKING

import pytest

from local.emulator import ROOT
from local.environment import INSTALLED, NotInstalled, make

if TYPE_CHECKING:
    from pathlib import Path

MAKE = "import sys, pathlib, local.environment as e; e.make('dev', *map(pathlib.Path, sys.argv[1:]))"

FILES = {
    "nothing.py": "",
    "nothing-1.0.dist-info/METADATA": "Metadata-Version: 2.1\nName: nothing\nVersion: 1.0\n",
    "nothing-1.0.dist-info/WHEEL": "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    "nothing-1.0.dist-info/RECORD": "",
}


@pytest.fixture
def requirements(tmp_path: Path) -> Path:
    """A list of one package, which is a file on this machine."""
    wheel = tmp_path / "nothing-1.0-py3-none-any.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        for name, text in FILES.items():
            archive.writestr(name, text)
    digest = hashlib.sha256(wheel.read_bytes()).hexdigest()
    listed = tmp_path / "dev.txt"
    listed.write_text(f"nothing @ {wheel.as_uri()} --hash=sha256:{digest}\n")
    return listed


def test_two_that_need_an_environment_get_it_made_once(tmp_path: Path, requirements: Path) -> None:
    environments = tmp_path / "path with spaces" / ".venv"
    command = [sys.executable, "-c", MAKE, str(environments), str(requirements)]

    pipe = subprocess.PIPE
    both = [subprocess.Popen(command, cwd=ROOT, stdout=pipe, text=True) for _ in range(2)]  # noqa: S603 - this Python
    output = [process.communicate()[0] for process in both]

    assert [process.returncode for process in both] == [0, 0], output
    assert sum("Installing the dev environment" in each for each in output) == 1
    python = environments / "dev" / "bin" / "python"
    subprocess.run([python, "-c", "import nothing"], check=True)  # noqa: S603 - the interpreter that was made
    assert (environments / "dev" / INSTALLED).read_bytes() == requirements.read_bytes()


def test_an_environment_that_cannot_be_made_counts_as_missing(tmp_path: Path, requirements: Path) -> None:
    requirements.write_text(requirements.read_text().replace("sha256:", "sha256:00")[:-3] + "\n")

    with pytest.raises(NotInstalled, match=r"(?s)hash.*could not be installed; see .*pip\.log\.$"):
        make("dev", tmp_path / ".venv", requirements)

    assert not (tmp_path / ".venv" / "dev" / INSTALLED).exists()


def test_a_complete_environment_is_not_made_again_and_becomes_new(tmp_path: Path, requirements: Path) -> None:
    installed = tmp_path / "dev" / INSTALLED
    installed.parent.mkdir()
    installed.write_bytes(requirements.read_bytes())
    os.utime(installed, (0, 0))

    make("dev", tmp_path, requirements)

    assert installed.stat().st_mtime > 0
    assert list(installed.parent.iterdir()) == [installed]
