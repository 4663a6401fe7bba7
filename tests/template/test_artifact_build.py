import re
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
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
        list(builds.map(lambda folder: build.build(folder, "arm64", "3.13", cache), folders[:2]))
    assert counting_pip() == 1

    build.build(folders[2], "arm64", "3.13")
    assert content(folders[0]) == content(folders[1]) == content(folders[2])
    assert {"dependency.so", "call_recorder/handlers/callback.py"} <= content(folders[0]).keys()


@pytest.mark.parametrize("changed", ["requirements", "arch", "python"])
def test_what_is_kept_serves_only_what_would_be_installed_again(
    counting_pip: Callable[[], int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, changed: str
) -> None:
    sources = artifacts(tmp_path, "src")
    (sources / "requirements.txt").write_text("one")
    monkeypatch.setattr(build, "SOURCE", sources)
    first = build.kept_dependencies(tmp_path / "cache", "arm64", "3.13")
    if changed == "requirements":
        (sources / "requirements.txt").write_text("two")

    second = build.kept_dependencies(
        tmp_path / "cache",
        "x86_64" if changed == "arch" else "arm64",
        "3.14" if changed == "python" else "3.13",
    )

    assert first != second
    assert counting_pip() == 2


def test_a_failed_installation_is_not_kept(pip: Path, tmp_path: Path) -> None:
    pip.write_text('#!/bin/sh\nwhile [ "$1" != --target ]; do shift; done\ntouch "$2/half"\nexit 1\n')
    cache = tmp_path / "cache"

    for _ in range(2):
        with pytest.raises(build.BuildError, match="could not be installed"):
            build.kept_dependencies(cache, "arm64", "3.13")

    assert [path for path in cache.rglob("*") if path.suffix != ".lock"] == []


def test_a_cache_is_named_by_its_whole_path_because_each_function_is_built_in_another_folder(tmp_path: Path) -> None:
    with pytest.raises(build.BuildError, match=r"RECORDER_CACHE is 'cache': name a folder by its whole path\."):
        build.build(artifacts(tmp_path, "callback"), "arm64", "3.13", Path("cache"))


def test_nothing_is_kept_unless_a_folder_is_named_for_it(
    pip: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("RECORDER_CACHE", raising=False)
    monkeypatch.setattr(sys, "argv", ["build.py", str(artifacts(tmp_path, "callback"))])
    monkeypatch.setattr(build, "kept_dependencies", lambda *_: pytest.fail("it keeps them"))

    assert build.main() == 0


def test_what_is_compiled_for_this_machine_does_not_depend_on_where(tmp_path: Path) -> None:
    folders = [artifacts(tmp_path, name) for name in ("callback", "notify")]
    for folder in folders:
        (folder / "module.py").write_text("def function(): ...\n")
        build.precompile(folder, folder)

    assert content(folders[0]) == content(folders[1])
    assert any(name.endswith(".pyc") for name in content(folders[0]))


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


def test_requirements_hold_for_every_python() -> None:
    """pip judges an environment marker by the Python it runs on, not by the one that is built for."""
    text = (ROOT / "src" / "requirements.txt").read_text()

    assert " ; " not in text


@pytest.mark.parametrize("path", [ROOT / "src/requirements.txt", *sorted((ROOT / "requirements").iterdir())], ids=str)
def test_a_list_of_requirements_names_no_host(path: Path) -> None:
    text = path.read_text()

    assert "://" not in text
    assert "index-url" not in text


def test_the_package_has_the_description_of_every_service_that_is_called_and_of_no_other(tmp_path: Path) -> None:
    called = set(re.findall(r'boto3\.client\("(\w+)"', (ROOT / "src/call_recorder/aws/clients.py").read_text()))
    for service in (*called, "ec2", "s3"):
        (tmp_path / "botocore/data" / service).mkdir(parents=True)
    (tmp_path / "botocore/data/endpoints.json").touch()

    build.prune(tmp_path)

    assert {path.name for path in (tmp_path / "botocore/data").iterdir()} == called | {"endpoints.json"}
