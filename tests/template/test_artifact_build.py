"""`sam build` gives every function the same folder, from pinned wheels, compiled for Lambda's Python."""

import os
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

import build
from tests.template.stack import ROOT

THIS_VERSION = f"{sys.version_info[0]}.{sys.version_info[1]}"


def folder(tmp_path: Path, name: str) -> Path:
    made = tmp_path / name
    made.mkdir()
    return made


def content(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def command(path: Path, script: str) -> Path:
    """Put a command where a Python might be."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)
    return path


def test_a_build_for_lambda_takes_wheels_of_both_architectures() -> None:
    options = build.targets("lambda", "3.13")

    assert [machine for each in options for machine in ("aarch64", "x86_64") if machine in str(each)] == [
        *("aarch64", "x86_64")
    ]
    assert all("--python-version=3.13" in each for each in options)
    assert build.targets("host", "3.13") == [[]], "pip chooses the wheels of this machine"


@pytest.mark.parametrize("arch", ["arm64", "x86_64", ""])
def test_a_build_for_one_architecture_is_refused(arch: str) -> None:
    """The stack's parameter Architecture may select the other one."""
    with pytest.raises(build.BuildError, match=rf"RECORDER_ARCH is '{arch}': unset it, .* or set it to host\."):
        build.targets(arch, "3.13")


@pytest.mark.parametrize(("text", "refusal"), [("same", None), ("other", r"a/b\.py is not the same")])
def test_the_architectures_share_all_but_machine_code(tmp_path: Path, text: str, refusal: str | None) -> None:
    one, other = folder(tmp_path, "one"), folder(tmp_path, "other")
    for installed, machine in ((one, "aarch64"), (other, "x86_64")):
        for name in ("a/c", "a-1.0.dist-info"):
            (installed / name).mkdir(parents=True)
        (installed / f"a/c/d.{machine}.so").write_text(machine)
        (installed / "a/b.py").write_text("same")
        (installed / "a-1.0.dist-info/WHEEL").write_text(machine)
    (other / "a/b.py").write_text(text)

    if refusal:
        with pytest.raises(build.BuildError, match=refusal):
            build.add_machine_code(other, one)
    else:
        build.add_machine_code(other, one)
        assert {"a/b.py", "a/c/d.aarch64.so", "a/c/d.x86_64.so"} <= content(one).keys()


@pytest.fixture
def pip(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A Python that installs one file, slowly enough for two builds to meet, and notes its arguments.

    There is no Python to compile with.
    """
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


@pytest.fixture
def calls(pip: Path) -> Callable[[], list[str]]:
    """The arguments of each installation so far."""
    return lambda: pip.with_name("calls").read_text().splitlines()


def test_only_wheels_with_known_hashes_are_installed(calls: Callable[[], list[str]], tmp_path: Path) -> None:
    target = folder(tmp_path, "artifacts")
    build.install(target, ["--python-version=3.13"])

    [arguments] = calls()
    assert {"--require-hashes", "--only-binary=:all:", "--no-deps", "--no-compile"} <= set(arguments.split())
    assert arguments.rstrip().endswith(f"--target {target} --python-version=3.13")


def test_with_a_cache_all_functions_share_one_installation(calls: Callable[[], list[str]], tmp_path: Path) -> None:
    folders = [folder(tmp_path, name) for name in ("callback", "notify", "without")]

    with ThreadPoolExecutor() as builds:
        list(builds.map(lambda each: build.build(each, "lambda", "3.13", tmp_path / "cache"), folders[:2]))
    assert len(calls()) == 2, "one for each architecture"

    build.build(folders[2], "lambda", "3.13")
    assert content(folders[0]) == content(folders[1]) == content(folders[2])
    assert "dependency.so" in content(folders[0])
    assert any(name.startswith("call_recorder/") for name in content(folders[0]))


@pytest.mark.parametrize(
    ("changed", "installations"), [("requirements", 4), ("arch", 3), ("python", 4), ("compiler", 4)]
)
def test_a_changed_input_is_installed_again(
    calls: Callable[[], list[str]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, changed: str, installations: int
) -> None:
    """Each build for Lambda installs both architectures."""
    sources = folder(tmp_path, "src")
    (sources / "requirements.txt").write_text("one")
    monkeypatch.setattr(build, "SOURCE", sources)
    monkeypatch.setattr(build, "precompile", lambda part, folder, python: None)
    first = build.kept_dependencies(tmp_path / "cache", "lambda", "3.13", None)
    if changed == "requirements":
        (sources / "requirements.txt").write_text("two")

    second = build.kept_dependencies(
        tmp_path / "cache",
        "host" if changed == "arch" else "lambda",
        "3.14" if changed == "python" else "3.13",
        "/usr/bin/python3.13" if changed == "compiler" else None,
    )

    assert first != second
    assert len(calls()) == installations


def test_a_failed_installation_fails_the_build_and_is_not_kept(pip: Path, tmp_path: Path) -> None:
    command(pip, 'while [ "$1" != --target ]; do shift; done\ntouch "$2/half"\nexit 1')
    cache = tmp_path / "cache"

    for _ in range(2):
        with pytest.raises(build.BuildError, match="could not be installed"):
            build.kept_dependencies(cache, "lambda", "3.13", None)

    assert [path for path in cache.rglob("*") if path.suffix != ".lock"] == []


def test_a_build_refuses_a_relative_cache_and_a_full_folder(tmp_path: Path) -> None:
    """Each function is built in another folder, so a relative cache would not be shared."""
    with pytest.raises(build.BuildError, match=r"RECORDER_CACHE is 'cache': name a folder by its whole path\."):
        build.build(folder(tmp_path, "callback"), "lambda", "3.13", Path("cache"))
    with pytest.raises(build.BuildError, match="is not empty"):
        build.build(tmp_path, "host", "3.13")


@pytest.fixture
def pythons(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that has all of the PATH, and the versions of pyenv."""
    made = folder(tmp_path, "pythons")
    monkeypatch.setenv("PATH", f"{made / 'shims'}{os.pathsep}{made / 'bin'}")
    monkeypatch.setenv("PYENV_ROOT", str(made / "pyenv"))
    return made


def test_the_python_that_builds_compiles_if_its_version_fits(pythons: Path) -> None:
    assert build.compiler("host", "3.13") == sys.executable
    assert build.compiler("lambda", THIS_VERSION) == sys.executable


def test_another_python_compiles_if_it_answers_as_the_version(pythons: Path) -> None:
    command(pythons / "shims/python3.99", "echo python3.99: command not found >&2; exit 127")
    assert build.compiler("lambda", "3.99") is None

    kept = command(pythons / "pyenv/versions/3.99.1/bin/python3.99", "echo cpython 3.99 final")
    assert build.compiler("lambda", "3.99") == str(kept)

    on_path = command(pythons / "bin/python3.99", "echo cpython 3.99 final")
    assert build.compiler("lambda", "3.99") == str(on_path)


@pytest.mark.parametrize("says", ["cpython 3.99 candidate", "pypy 3.99 final", "cpython 3.98 final", ""])
def test_a_python_whose_code_lambda_may_refuse_does_not_compile(pythons: Path, says: str) -> None:
    command(pythons / "bin/python3.99", f"echo {says}")

    assert build.compiler("lambda", "3.99") is None


def test_a_build_that_compiles_nothing_says_what_it_costs(
    pip: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """On standard output: SAM does not show the standard error of a successful build."""
    artifacts = folder(tmp_path, "callback")
    monkeypatch.setattr(sys, "argv", ["build.py", str(artifacts)])
    monkeypatch.delenv("RECORDER_ARCH", raising=False)

    assert build.main() == 0

    [said] = capfd.readouterr().out.splitlines()
    assert all(part in said for part in ("no Python 3.13", "cold start", "PYTHON=/path/to/python3.13 sam build"))
    assert not list(artifacts.rglob("*.pyc"))


def test_compiled_code_does_not_depend_on_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folders = [folder(tmp_path, name) for name in ("callback", "notify")]
    for each in folders:
        (each / "module.py").write_text("def function(day): return day in {'Monday', 'Tuesday', 'Friday'}\n")
        build.precompile(each, each)
        monkeypatch.setenv("PYTHONOPTIMIZE", "2")
        monkeypatch.setenv("PYTHONHASHSEED", "77")
        monkeypatch.setenv("PYTHONPYCACHEPREFIX", str(tmp_path / "elsewhere"))

    assert content(folders[0]) == content(folders[1])
    assert any(name.endswith(".pyc") for name in content(folders[0]))


def test_compiled_code_has_no_docstrings_and_python_finds_it(tmp_path: Path) -> None:
    (tmp_path / "module.py").write_text('"""Says what it is."""\n\n\ndef function():\n    """Say it again."""\n')
    build.precompile(tmp_path, tmp_path)
    script = "import module; print(module.__cached__, module.__doc__, module.function.__doc__)"

    printed = subprocess.check_output([sys.executable, "-c", script], cwd=tmp_path, text=True)  # noqa: S603 - fixed

    [compiled] = tmp_path.rglob("*.pyc")
    assert printed.split() == [str(compiled), "None", "None"]


def test_code_that_cannot_be_compiled_fails_the_build(tmp_path: Path) -> None:
    (tmp_path / "module.py").write_text("def function(:\n")

    with pytest.raises(build.BuildError, match="could not be compiled"):
        build.precompile(tmp_path, tmp_path)


def test_without_a_folder_nothing_is_built(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["build.py", ""])

    assert build.main() == 2


@pytest.mark.parametrize("path", [ROOT / "src/requirements.txt", *sorted((ROOT / "requirements").iterdir())], ids=str)
def test_a_list_of_requirements_names_no_host(path: Path) -> None:
    assert "://" not in path.read_text()
    assert "index-url" not in path.read_text()


def test_the_requirements_hold_for_every_python() -> None:
    """pip compares an environment marker with the Python that it runs on, not with the one that it installs for."""
    assert " ; " not in (ROOT / "src/requirements.txt").read_text()
