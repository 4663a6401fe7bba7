import os
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

import build
from tests.template.stack import ROOT


def test_a_build_for_lambda_takes_the_wheels_of_both_its_architectures_and_not_this_machines() -> None:
    assert build.targets("lambda", "3.13") == [
        [
            "--implementation=cp",
            "--python-version=3.13",
            f"--platform=manylinux_2_28_{machine}",
            f"--platform=manylinux2014_{machine}",
        ]
        for machine in ("aarch64", "x86_64")
    ]


def test_a_build_for_the_host_leaves_the_choice_of_wheels_to_pip() -> None:
    assert build.targets("host", "3.13") == [[]]


@pytest.mark.parametrize("arch", ["arm64", "x86_64", "arm", ""])
def test_a_build_for_one_architecture_is_refused_since_the_stack_may_have_the_other(arch: str) -> None:
    with pytest.raises(build.BuildError, match=rf"RECORDER_ARCH is '{arch}': leave it away, .* or make it host\."):
        build.targets(arch, "3.13")


@pytest.mark.parametrize(("text", "said"), [("same", None), ("other", r"a/b\.py is not the same")])
def test_what_only_one_architecture_has_joins_what_is_the_same(tmp_path: Path, text: str, said: str | None) -> None:
    one, other = artifacts(tmp_path, "one"), artifacts(tmp_path, "other")
    for folder, machine in ((one, "aarch64"), (other, "x86_64")):
        for name in ("a/c", "a-1.0.dist-info"):
            (folder / name).mkdir(parents=True)
        (folder / f"a/c/d.{machine}.so").write_text(machine)
        (folder / "a/b.py").write_text("same")
        (folder / "a-1.0.dist-info/WHEEL").write_text(machine)
    (other / "a/b.py").write_text(text)

    if said:
        with pytest.raises(build.BuildError, match=said):
            build.add_machine_code(other, one)
    else:
        build.add_machine_code(other, one)
        assert {"a/b.py", "a/c/d.aarch64.so", "a/c/d.x86_64.so"} <= content(one).keys()


@pytest.fixture
def pip(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A Python that installs nothing: it writes what it was asked into the file ``arguments`` beside it.

    There is none to compile with.
    """
    python = tmp_path / "python"
    python.write_text('#!/bin/sh\nprintf "%s\\n" "$@" >"${0%/*}/arguments"\n')
    python.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(python))
    monkeypatch.setattr(build, "find_spec", lambda name: name)
    monkeypatch.setattr(build, "compiler", lambda arch, version: None)
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


@pytest.fixture
def counting_pip(pip: Path) -> Callable[[], int]:
    """A Python that installs one file, slowly enough for two to meet; gives how often it was asked to."""
    pip.write_text(
        """#!/bin/sh
echo >>"${0%/*}/calls"
while [ "$1" != --target ]; do shift; done
sleep 0.2
touch "$2/dependency.so"
"""
    )
    calls = pip.with_name("calls")
    return lambda: len(calls.read_text().splitlines())


def artifacts(tmp_path: Path, name: str) -> Path:
    folder = tmp_path / name
    folder.mkdir()
    return folder


def content(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_with_a_cache_all_functions_share_one_installation_and_get_the_same(
    counting_pip: Callable[[], int], tmp_path: Path
) -> None:
    folders = [artifacts(tmp_path, name) for name in ("callback", "notify", "without")]
    cache = tmp_path / "cache"

    with ThreadPoolExecutor() as builds:
        list(builds.map(lambda folder: build.build(folder, "lambda", "3.13", cache), folders[:2]))
    assert counting_pip() == 2  # once for each architecture

    build.build(folders[2], "lambda", "3.13")
    assert content(folders[0]) == content(folders[1]) == content(folders[2])
    assert {"dependency.so", "call_recorder/functions/callback.py"} <= content(folders[0]).keys()


@pytest.mark.parametrize("changed", ["requirements", "arch", "python", "compiler"])
def test_what_is_kept_serves_only_what_would_be_installed_again(
    counting_pip: Callable[[], int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, changed: str
) -> None:
    sources = artifacts(tmp_path, "src")
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
    assert counting_pip() == (3 if changed == "arch" else 4)  # each for Lambda asks for both its architectures


def test_a_failed_installation_is_not_kept(pip: Path, tmp_path: Path) -> None:
    pip.write_text('#!/bin/sh\nwhile [ "$1" != --target ]; do shift; done\ntouch "$2/half"\nexit 1\n')
    cache = tmp_path / "cache"

    for _ in range(2):
        with pytest.raises(build.BuildError, match="could not be installed"):
            build.kept_dependencies(cache, "lambda", "3.13", None)

    assert [path for path in cache.rglob("*") if path.suffix != ".lock"] == []


def test_a_cache_is_named_by_its_whole_path_because_each_function_is_built_in_another_folder(tmp_path: Path) -> None:
    with pytest.raises(build.BuildError, match=r"RECORDER_CACHE is 'cache': name a folder by its whole path\."):
        build.build(artifacts(tmp_path, "callback"), "lambda", "3.13", Path("cache"))


def test_nothing_is_kept_unless_a_folder_is_named_for_it(
    pip: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("RECORDER_CACHE", raising=False)
    monkeypatch.setattr(sys, "argv", ["build.py", str(artifacts(tmp_path, "callback"))])
    monkeypatch.setattr(build, "kept_dependencies", lambda *_: pytest.fail("it keeps them"))

    assert build.main() == 0


THIS_VERSION = f"{sys.version_info[0]}.{sys.version_info[1]}"


def a_python(path: Path, says: str) -> Path:
    """Put a command where a Python might be; it answers whatever it is asked."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\n{says}\n")
    path.chmod(0o755)
    return path


@pytest.fixture
def pythons(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that is all there is on the PATH, and the place where pyenv keeps its versions."""
    folder = tmp_path / "pythons"
    folder.mkdir()
    monkeypatch.setenv("PATH", f"{folder / 'shims'}{os.pathsep}{folder / 'bin'}")
    monkeypatch.setenv("PYENV_ROOT", str(folder / "pyenv"))
    return folder


def test_for_this_machine_the_python_that_runs_the_build_compiles(pythons: Path) -> None:
    assert build.compiler("host", "3.13") == sys.executable


def test_for_lambda_the_python_that_runs_the_build_compiles_if_it_is_of_that_version(pythons: Path) -> None:
    assert build.compiler("lambda", THIS_VERSION) == sys.executable


def test_for_lambda_a_python_of_that_version_compiles_that_answers(pythons: Path) -> None:
    assert build.compiler("lambda", "3.99") is None

    a_python(pythons / "shims/python3.99", "echo python3.99: command not found >&2; exit 127")
    assert build.compiler("lambda", "3.99") is None

    kept = a_python(pythons / "pyenv/versions/3.99.1/bin/python3.99", "echo cpython 3.99 final")
    assert build.compiler("lambda", "3.99") == str(kept)

    on_path = a_python(pythons / "bin/python3.99", "echo cpython 3.99 final")
    assert build.compiler("lambda", "3.99") == str(on_path)


@pytest.mark.parametrize("says", ["cpython 3.99 candidate", "pypy 3.99 final", "cpython 3.98 final", ""])
def test_code_that_the_runtime_may_not_take_is_not_compiled(pythons: Path, says: str) -> None:
    a_python(pythons / "bin/python3.99", f"echo {says}")

    assert build.compiler("lambda", "3.99") is None


def test_a_build_that_compiles_nothing_says_what_that_costs_and_what_to_do(
    pip: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    folder = artifacts(tmp_path, "callback")
    monkeypatch.setattr(sys, "argv", ["build.py", str(folder)])
    monkeypatch.setenv("RECORDER_ARCH", "lambda")
    monkeypatch.delenv("RECORDER_CACHE", raising=False)

    assert build.main() == 0

    # SAM shows the standard output of a build that works out, and not its standard error.
    (said,) = capfd.readouterr().out.splitlines()
    assert "no Python 3.13" in said
    assert "cold start" in said
    assert "PYTHON=/path/to/python3.13 sam build" in said
    assert not list(folder.rglob("*.pyc"))


def test_what_is_compiled_depends_neither_on_the_place_nor_on_the_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folders = [artifacts(tmp_path, name) for name in ("callback", "notify")]
    for folder in folders:
        (folder / "module.py").write_text("def function(day): return day in {'Monday', 'Tuesday', 'Friday'}\n")
        build.precompile(folder, folder)
        monkeypatch.setenv("PYTHONOPTIMIZE", "2")
        monkeypatch.setenv("PYTHONHASHSEED", "77")
        monkeypatch.setenv("PYTHONPYCACHEPREFIX", str(tmp_path / "elsewhere"))

    assert content(folders[0]) == content(folders[1])
    assert any(name.endswith(".pyc") for name in content(folders[0]))


def test_what_is_compiled_has_no_docstrings_and_is_found_by_an_ordinary_python(tmp_path: Path) -> None:
    (tmp_path / "module.py").write_text('"""Says what it is."""\n\n\ndef function():\n    """Say it again."""\n')
    build.precompile(tmp_path, tmp_path)
    script = "import module; print(module.__cached__, module.__doc__, module.function.__doc__)"

    said = subprocess.run(  # noqa: S603 - this Python, by a fixed list of arguments
        [sys.executable, "-c", script], cwd=tmp_path, capture_output=True, text=True, check=True
    )

    [compiled] = tmp_path.rglob("*.pyc")
    assert said.stdout.split() == [str(compiled), "None", "None"]


def test_what_cannot_be_compiled_fails_the_build(tmp_path: Path) -> None:
    (tmp_path / "module.py").write_text("def function(:\n")

    with pytest.raises(build.BuildError, match="could not be compiled"):
        build.precompile(tmp_path, tmp_path)


def test_a_build_does_not_add_to_what_is_there(tmp_path: Path) -> None:
    (tmp_path / "file").touch()

    with pytest.raises(build.BuildError, match="is not empty"):
        build.build(tmp_path, "host", "3.13")


def test_without_a_folder_nothing_is_built(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["build.py", ""])

    assert build.main() == 2


def test_requirements_hold_for_every_python() -> None:
    """pip judges an environment marker by the Python it runs on, not by the one that is built for."""
    text = (ROOT / "src" / "requirements.txt").read_text()

    assert " ; " not in text


@pytest.mark.parametrize("path", [ROOT / "src/requirements.txt", *sorted((ROOT / "requirements").iterdir())], ids=str)
def test_a_list_of_requirements_names_no_host(path: Path) -> None:
    text = path.read_text()

    assert "://" not in text
    assert "index-url" not in text
