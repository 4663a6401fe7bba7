"""`sam build` gives every function the same folder, from pinned wheels, compiled for Lambda's Python."""

import os
import re
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

import build
from tests.template.stack import ROOT


def folder(parent: Path, name: str, **files: str) -> Path:
    """Make a folder with some modules."""
    made = parent / name
    made.mkdir()
    for module, text in files.items():
        (made / f"{module}.py").write_text(text)
    return made


def content(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def command(path: Path, script: str) -> Path:
    """Put a command where a Python might be."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)
    return path


def test_a_build_takes_wheels_of_both_architectures_or_of_this_machine() -> None:
    """Of one alone it takes none: the stack's parameter Architecture may select the other one."""
    for options, machine in zip(build.targets("lambda", "3.13"), ("aarch64", "x86_64"), strict=True):
        assert {"--python-version=3.13", f"--platform=manylinux_2_28_{machine}"} <= set(options)
    assert build.targets("host", "3.13") == [[]], "pip chooses"
    with pytest.raises(build.BuildError, match=r"RECORDER_ARCH is 'arm64': unset it, .* or set it to host\."):
        build.targets("arm64", "3.13")


@pytest.mark.parametrize("same", [True, False])
def test_the_architectures_share_all_but_machine_code(tmp_path: Path, same: bool) -> None:
    one, other = folder(tmp_path, "one", b="same"), folder(tmp_path, "other", b="same" if same else "other")
    for installed, machine in ((one, "aarch64"), (other, "x86_64")):
        (installed / f"d.{machine}.so").write_text(machine)
        (folder(installed, "a-1.0.dist-info") / "WHEEL").write_text(machine)

    if same:
        build.add_machine_code(other, one)
        assert {"b.py", "d.aarch64.so", "d.x86_64.so"} <= content(one).keys()
    else:
        with pytest.raises(build.BuildError, match=r"b\.py is not the same"):
            build.add_machine_code(other, one)


@pytest.fixture
def pip(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A Python that installs one file, slowly enough for two builds to meet, and notes its arguments. None compiles."""
    script = """printf "%s " "$@" >>"${0%/*}/calls"; echo >>"${0%/*}/calls"
while [ "$1" != --target ]; do shift; done
sleep 0.2
touch "$2/dependency.so\""""
    python = command(tmp_path / "python", script)
    monkeypatch.setattr(sys, "executable", str(python))
    monkeypatch.setattr(build, "find_spec", lambda name: name)
    monkeypatch.setattr(build, "compiler", lambda arch, version: None)
    monkeypatch.delenv("RECORDER_CACHE", raising=False)
    return python


def test_with_a_cache_all_functions_share_one_installation(pip: Path, tmp_path: Path) -> None:
    calls = pip.with_name("calls")
    folders = [folder(tmp_path, name) for name in ("callback", "notify", "without")]

    with ThreadPoolExecutor() as builds:
        list(builds.map(lambda each: build.build(each, "lambda", "3.13", tmp_path / "cache"), folders[:2]))
    assert len(calls.read_text().splitlines()) == 2, "one for each architecture"

    build.build(folders[2], "lambda", "3.13")
    assert content(folders[0]) == content(folders[1]) == content(folders[2])
    assert "dependency.so" in content(folders[0])
    assert any(name.startswith("call_recorder/") for name in content(folders[0]))
    for arguments in calls.read_text().splitlines():
        assert {"--require-hashes", "--only-binary=:all:", "--no-deps", "--no-compile"} <= set(arguments.split())


@pytest.mark.parametrize(
    ("requirements", "inputs"),
    [
        ("two", ("lambda", "3.13", None)),
        ("one", ("host", "3.13", None)),
        ("one", ("lambda", "3.14", None)),
        ("one", ("lambda", "3.13", "/usr/bin/python3.13")),
    ],
)
def test_a_changed_input_is_installed_again(
    pip: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, requirements: str, inputs: tuple[str, str, str | None]
) -> None:
    monkeypatch.setattr(build, "SOURCE", folder(tmp_path, "src"))
    monkeypatch.setattr(build, "precompile", lambda part, folder, python: None)
    (build.SOURCE / "requirements.txt").write_text("one")
    first = build.kept_dependencies(tmp_path / "cache", "lambda", "3.13", None)
    (build.SOURCE / "requirements.txt").write_text(requirements)

    assert build.kept_dependencies(tmp_path / "cache", *inputs) != first


def test_a_failed_installation_fails_the_build_and_is_not_kept(pip: Path, tmp_path: Path) -> None:
    command(pip, 'while [ "$1" != --target ]; do shift; done\ntouch "$2/half"\nexit 1')
    cache = tmp_path / "cache"

    for _ in range(2):
        with pytest.raises(build.BuildError, match="could not be installed"):
            build.kept_dependencies(cache, "lambda", "3.13", None)

    assert [path for path in cache.rglob("*") if path.suffix != ".lock"] == []


def test_a_build_refuses_a_relative_cache_and_a_full_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each function is built in another folder, so a relative cache would not be shared."""
    with pytest.raises(build.BuildError, match=r"RECORDER_CACHE is 'cache': name a folder by its whole path\."):
        build.build(folder(tmp_path, "callback"), "lambda", "3.13", Path("cache"))
    with pytest.raises(build.BuildError, match="is not empty"):
        build.build(tmp_path, "host", "3.13")
    monkeypatch.setattr(sys, "argv", ["build.py", ""])
    assert build.main() == 2, "an unset ARTIFACTS_DIR is refused too"


def test_a_python_of_the_right_version_compiles(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Code of another implementation, or of a version before its final release, may not work on Lambda."""
    monkeypatch.setenv("PATH", f"{tmp_path / 'shims'}{os.pathsep}{tmp_path / 'bin'}")
    monkeypatch.setenv("PYENV_ROOT", str(tmp_path / "pyenv"))
    this_version = f"{sys.version_info[0]}.{sys.version_info[1]}"
    command(tmp_path / "shims/python3.99", "echo python3.99: command not found >&2; exit 127")
    assert build.compiler("host", "3.99") == build.compiler("lambda", this_version) == sys.executable

    for answer in ("cpython 3.99 candidate", "pypy 3.99 final", "cpython 3.98 final", ""):
        command(tmp_path / "bin/python3.99", f"echo {answer}")
        assert build.compiler("lambda", "3.99") is None

    kept = command(tmp_path / "pyenv/versions/3.99.1/bin/python3.99", "echo cpython 3.99 final")
    assert build.compiler("lambda", "3.99") == str(kept)

    on_path = command(tmp_path / "bin/python3.99", "echo cpython 3.99 final")
    assert build.compiler("lambda", "3.99") == str(on_path)


def test_a_build_that_compiles_nothing_says_what_it_costs(
    pip: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """On standard output: SAM does not show the standard error of a successful build."""
    monkeypatch.setattr(sys, "argv", ["build.py", str(folder(tmp_path, "callback"))])
    monkeypatch.delenv("RECORDER_ARCH", raising=False)

    assert build.main() == 0

    [printed] = capfd.readouterr().out.splitlines()
    assert all(part in printed for part in ("no Python 3.13", "cold start", "PYTHON=/path/to/python3.13 sam build"))
    assert not list(tmp_path.rglob("*.pyc"))


def test_compiled_code_is_reproducible_and_has_no_docstrings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    code = '"""What it is."""\n\n\ndef function(day):\n    """The same."""\n    return day in {"Monday", "Tuesday"}\n'
    folders = [folder(tmp_path, name, module=code) for name in ("callback", "notify")]
    for each in folders:
        build.precompile(each, each)
        monkeypatch.setenv("PYTHONOPTIMIZE", "2")
        monkeypatch.setenv("PYTHONHASHSEED", "77")
        monkeypatch.setenv("PYTHONPYCACHEPREFIX", str(tmp_path / "elsewhere"))
    script = "import module; print(module.__cached__, module.__doc__, module.function.__doc__)"
    environment = {"PATH": os.defpath}

    printed = subprocess.check_output(  # noqa: S603 - fixed arguments
        [sys.executable, "-c", script], cwd=folders[0], env=environment, text=True
    )

    [compiled] = folders[0].rglob("*.pyc")
    assert content(folders[0]) == content(folders[1])
    assert printed.split() == [str(compiled), "None", "None"]
    with pytest.raises(build.BuildError, match="could not be compiled"):
        build.precompile(folder(tmp_path, "broken", module="def function(:\n"), tmp_path)


@pytest.mark.parametrize("path", [ROOT / "src/requirements.txt", *sorted((ROOT / "requirements").iterdir())], ids=str)
def test_a_list_of_requirements_names_no_host(path: Path) -> None:
    text = path.read_text()

    assert not re.search(r"://|index-url", text)
    assert path.parent.name != "src" or " ; " not in text, (
        "pip compares a marker with its own Python, not with Lambda's"
    )
