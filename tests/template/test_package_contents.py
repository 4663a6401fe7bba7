"""A built package has everything that the functions need, compiled, and little else."""

import ast
import io
import json
import os
import subprocess
import sys
import zipfile
from collections import ChainMap
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

import build
from pruning import UNREACHED
from tests.cloudformation import CloudFormation
from tests.sinch import ice, signed, stamp
from tests.template.stack import ROOT, Stack

ARCHITECTURES = ("host", "lambda")
RUNTIME = "3.13"
NOWHERE = "http://127.0.0.1:9"

NEVER_IMPORTED = {
    ("aws_lambda_powertools/shared/functions.py", "aws_lambda_powertools.event_handler"),
    ("dateutil/tz/tz.py", "dateutil.zoneinfo"),
    ("pydantic/_internal/_generate_schema.py", "pydantic.v1"),
    ("urllib3/__init__.py", "urllib3.contrib.emscripten"),
}
"""Imports of removed modules within functions that are not called, or not on Lambda."""


@pytest.fixture(scope="session")
def packages(tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, Path]:
    """The package for each architecture. Installed dependencies are kept between runs, as for `make run`."""
    folders = {arch: tmp_path_factory.mktemp(arch) for arch in ARCHITECTURES}
    for arch, folder in folders.items():
        build.build(folder, arch, RUNTIME, ROOT / ".local" / "dependencies")
    return folders


@pytest.mark.parametrize("arch", ARCHITECTURES)
def test_the_package_is_small(packages: Mapping[str, Path], arch: str) -> None:
    for suffixes, megabytes in (({".pyc"}, 6), (set(), 9)):
        archive = io.BytesIO()
        with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as file:
            for path in packages[arch].rglob("*"):
                if path.suffix not in suffixes:
                    file.write(path, path.relative_to(packages[arch]))
        assert len(archive.getvalue()) <= megabytes * 1_000_000


def test_the_package_has_machine_code_for_both_architectures(packages: Mapping[str, Path], stack: Stack) -> None:
    """Otherwise the stack's parameter Architecture could select one that is not there."""
    runtimes = {function["Runtime"] for function in stack.of_type("AWS::Lambda::Function").values()}
    found: dict[str, set[str]] = {"aarch64": set(), "x86_64": set()}
    for path in packages["lambda"].rglob("*.so"):
        name, _, built_for = path.name.partition(f".cpython-{RUNTIME.replace('.', '')}-")
        arch = built_for.removesuffix("-linux-gnu.so")
        found[arch].add(str(path.with_name(name)))
        head = path.read_bytes()[:20]
        assert (head[:4], int.from_bytes(head[18:20], "little")) == (b"\x7fELF", 183 if arch == "aarch64" else 62)

    assert runtimes == {f"python{RUNTIME}"}
    assert found["aarch64"] == found["x86_64"] != set()


@pytest.mark.parametrize("arch", ARCHITECTURES)
def test_every_module_is_compiled_for_its_python_and_never_checked(packages: Mapping[str, Path], arch: str) -> None:
    python = build.compiler(arch, RUNTIME)
    if python is None:
        pytest.skip(f"there is no Python {RUNTIME} here to compile with")
    asked = "import importlib.util, sys; print(importlib.util.MAGIC_NUMBER.hex(), sys.implementation.cache_tag)"
    magic, tag = subprocess.check_output([python, "-c", asked], text=True).split()  # noqa: S603 - fixed arguments
    sources, compiled = packages[arch].rglob("*.py"), set(packages[arch].rglob("*.pyc"))
    unchecked_hash = (1).to_bytes(4, "little")

    assert compiled == {path.parent / "__pycache__" / f"{path.stem}.{tag}.pyc" for path in sources}
    assert {path.read_bytes()[:8] for path in compiled} == {bytes.fromhex(magic) + unchecked_hash}


PLAYER = """
import importlib, json, sys, types
context = types.SimpleNamespace(get_remaining_time_in_millis=lambda: 60_000)
written, sys.stdout = sys.stdout, sys.stderr
found = {}
for name, (path, event) in json.load(sys.stdin).items():
    module, _, handler = path.rpartition(".")
    try:
        found[name] = getattr(importlib.import_module(module), handler)(event, context)
    except Exception as error:
        found[name] = f"{type(error).__name__}: {error}"
files = [file for module in list(sys.modules.values()) if (file := getattr(module, "__file__", None))]
print(json.dumps([found, files]), file=written, flush=True)
"""


def test_every_function_runs_with_the_package_alone(packages: Mapping[str, Path], stack: Stack) -> None:
    """Nothing answers here, so each one gets as far as its first call. Answers come in tests/integration."""
    now, host = stamp(datetime.now(UTC)), packages["host"]
    environment = {"PYTHONPATH": str(host), "PATH": os.defpath, "AWS_ENDPOINT_URL": NOWHERE}
    environment |= dict.fromkeys(("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"), "key")
    environment |= dict.fromkeys(("AWS_REGION", "AWS_DEFAULT_REGION"), "eu-west-1")
    environment |= ChainMap(*json.loads((ROOT / "events/env.json").read_text()).values())
    events: dict[str, Any] = {
        "CallbackFunction": signed(ice(timestamp=now), timestamp=now),
        "NotifyFunction": json.loads((ROOT / "events/notify-whole-call.json").read_text()),
        "WatchdogFunction": {},
        "RotationFunction": {},
        "CleanupFunction": CloudFormation(NOWHERE).event("Delete"),
        "CustodyFunction": {},
    }

    process = subprocess.run(  # noqa: S603 - fixed arguments
        [sys.executable, "-S", "-P", "-B", "-W", "error", "-c", PLAYER],
        input=json.dumps({name: [stack.properties(name)["Handler"], event] for name, event in events.items()}),
        env=environment,
        capture_output=True,
        text=True,
        check=True,
        timeout=120,
    )

    found, files = json.loads(process.stdout)
    assert json.loads(found["CallbackFunction"]["body"])["action"]["destination"]["endpoint"] == "alice"
    assert len(found["NotifyFunction"]["batchItemFailures"]) == len(events["NotifyFunction"]["Records"])
    assert found["WatchdogFunction"] == "QueueUnavailable: GetQueueAttributes: EndpointConnectionError"
    assert found["RotationFunction"] == "AccessKeysUnavailable: ListAccessKeys: EndpointConnectionError"
    assert found["CustodyFunction"] == "TableUnavailable: Query: EndpointConnectionError"
    assert found["CleanupFunction"].startswith("URLError"), "it could not answer CloudFormation"
    allowed = (str(host), str(Path(json.__file__).parents[1]))
    assert not [file for file in files if not file.startswith(allowed)]


def imports(path: Path, package: Path) -> Iterator[str]:
    """Yield what a module imports anywhere in it, be it a module or a name in one."""
    own = path.relative_to(package).with_suffix("").parts[:-1]
    for node in ast.walk(ast.parse(path.read_bytes())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            above = own[: len(own) - node.level + 1] if node.level else ()
            source = ".".join([*above, *([node.module] if node.module else [])])
            yield from (f"{source}.{alias.name}" for alias in node.names)


def test_no_module_of_the_package_imports_a_removed_one(packages: Mapping[str, Path]) -> None:
    host = packages["host"]
    removed = [pattern.removesuffix(".py").replace("/", ".") for pattern in UNREACHED]

    assert {
        (str(path.relative_to(host)), each)
        for path in host.rglob("*.py")
        for name in imports(path, host)
        for each in removed
        if f"{name}.".startswith(f"{each}.")
    } == NEVER_IMPORTED


@pytest.mark.parametrize("arch", ARCHITECTURES)
def test_the_package_has_no_tests_stubs_build_tools_or_notes(packages: Mapping[str, Path], arch: str) -> None:
    """Scanners and lawyers read what is left of the metadata of a dependency."""
    files = [path.relative_to(packages[arch]) for path in packages[arch].rglob("*") if path.is_file()]
    metadata = [path.parts for path in files if path.parts[0].endswith(".dist-info")]

    assert not [path for path in files if {"test", "tests", "examples", "bin"} & set(path.parts)]
    assert not [path for path in files if path.suffix == ".pyi" or path.name == "py.typed"]
    assert not {"build.py", "pruning.py", "Makefile", "requirements.txt"} & {path.name for path in files}
    assert {parts[1] for parts in metadata} <= {
        *("METADATA", "LICENSE", "LICENSE.txt", "NOTICE", "NOTICE.txt", "licenses", "sboms", "entry_points.txt")
    }
    assert {parts[0] for parts in metadata} == {parts[0] for parts in metadata if parts[1] == "METADATA"}
