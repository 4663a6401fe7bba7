import re
import sys
from pathlib import Path

import pytest

import build
from tests.template.stack import ROOT


@pytest.mark.parametrize(("arch", "machine"), [("arm64", "aarch64"), ("x86_64", "x86_64")])
def test_a_build_for_lambda_takes_its_wheels_and_not_this_machines(arch: str, machine: str) -> None:
    assert build.target(arch, "3.13") == [
        "--implementation=cp",
        "--python-version=3.13",
        f"--platform=manylinux_2_28_{machine}",
        f"--platform=manylinux2014_{machine}",
    ]


def test_a_build_for_the_host_leaves_the_choice_of_wheels_to_pip() -> None:
    assert build.target("host", "3.13") == []


def test_a_wrong_architecture_is_told_with_the_right_ones() -> None:
    with pytest.raises(build.BuildError, match=r"RECORDER_ARCH is 'arm': make it arm64, x86_64 or host\."):
        build.target("arm", "3.13")


@pytest.fixture
def pip(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A Python that installs nothing: it writes what it was asked into the file ``arguments`` beside it."""
    python = tmp_path / "python"
    python.write_text('#!/bin/sh\nprintf "%s\\n" "$@" >"${0%/*}/arguments"\n')
    python.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(python))
    monkeypatch.setattr(build, "find_spec", lambda name: name)
    return python


def test_only_wheels_with_known_hashes_are_installed(pip: Path, tmp_path: Path) -> None:
    build.install(tmp_path / "artifacts", ["--python-version=3.13"])

    asked = pip.with_name("arguments").read_text().splitlines()
    assert {"--require-hashes", "--only-binary=:all:", "--no-deps", "--no-compile"} <= set(asked)
    assert asked[-3:] == ["--target", str(tmp_path / "artifacts"), "--python-version=3.13"]


def test_a_failed_installation_fails_the_build(pip: Path, tmp_path: Path) -> None:
    pip.write_text("#!/bin/sh\nexit 1\n")

    with pytest.raises(build.BuildError, match="could not be installed"):
        build.install(tmp_path / "artifacts", [])


def test_a_build_does_not_add_to_what_is_there(tmp_path: Path) -> None:
    (tmp_path / "file").touch()

    with pytest.raises(build.BuildError, match="is not empty"):
        build.build(tmp_path, "host", "3.13")


def test_without_a_folder_nothing_is_built(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["build.py", ""])

    assert build.main() == 2


def test_what_differs_between_machines_or_is_never_read_is_left_out(tmp_path: Path) -> None:
    kept = ["a/__init__.py", "a/bin/tool.py", "a-1.0.dist-info/METADATA"]
    dropped = ["bin/tool", "a/__init__.pyi", "a/b/c.pyi", "a-1.0.dist-info/RECORD"]
    for name in kept + dropped:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()

    build.prune(tmp_path)

    left = [str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*") if path.is_file()]
    assert sorted(left) == sorted(kept)


def test_requirements_hold_for_every_python_and_name_no_host() -> None:
    """pip judges an environment marker by the Python it runs on, not by the one that is built for."""
    text = (ROOT / "src" / "requirements.txt").read_text()

    assert " ; " not in text
    assert "://" not in text
    assert "--index-url" not in text


def test_the_package_has_the_description_of_every_service_that_is_called_and_of_no_other(tmp_path: Path) -> None:
    called = set(re.findall(r'boto3\.client\("(\w+)"', (ROOT / "src/call_recorder/aws/clients.py").read_text()))
    for service in (*called, "ec2", "s3"):
        (tmp_path / "botocore/data" / service).mkdir(parents=True)
    (tmp_path / "botocore/data/endpoints.json").touch()

    build.prune(tmp_path)

    assert {path.name for path in (tmp_path / "botocore/data").iterdir()} == called | {"endpoints.json"}
