"""What a built package consists of: all that the functions need, compiled, and little else."""

import ast
import importlib
import io
import json
import os
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

import build
from pruning import UNREACHED, prune
from tests.cloudformation import CloudFormation
from tests.sinch import APPLICATION, SECRET, ice, signed, stamp
from tests.template.stack import ROOT, Stack

ARCHITECTURES = ("host", "lambda")
RUNTIME = "3.13"
MEGABYTE = 1_000_000
PLAYER = Path(__file__).with_name("whole_package.py")

# What is imported within a function that is not called, or not on Lambda.
NEVER_IMPORTED = {
    ("aws_lambda_powertools.shared.functions", "aws_lambda_powertools.event_handler"),
    ("dateutil.tz.tz", "dateutil.zoneinfo"),
    ("pydantic._internal._generate_schema", "pydantic.v1"),
    ("urllib3", "urllib3.contrib.emscripten"),
}


@pytest.fixture(scope="session")
def packages(tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, Path]:
    """The package for each architecture; what is installed is kept from one run to the next, as for `make run`."""
    folders = {arch: tmp_path_factory.mktemp(arch) for arch in ARCHITECTURES}
    for arch, folder in folders.items():
        build.build(folder, arch, RUNTIME, ROOT / ".local" / "dependencies")
    return folders


@pytest.fixture(params=ARCHITECTURES)
def package(request: pytest.FixtureRequest, packages: Mapping[str, Path]) -> Path:
    return packages[request.param]


@pytest.fixture(scope="session")
def host(packages: Mapping[str, Path]) -> Path:
    """The package for the Python that runs the tests."""
    return packages["host"]


def zipped(package: Path, *, compiled: bool) -> int:
    """Return how many bytes a package has when it is zipped as SAM does it."""
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as file:
        for path in package.rglob("*"):
            if compiled or path.suffix != ".pyc":
                file.write(path, path.relative_to(package))
    return len(archive.getvalue())


def test_the_package_is_small(package: Path) -> None:
    assert zipped(package, compiled=False) <= 6 * MEGABYTE
    assert zipped(package, compiled=True) <= 9 * MEGABYTE


def test_the_package_for_lambda_has_all_machine_code_for_both_its_architectures(
    packages: Mapping[str, Path], stack: Stack
) -> None:
    """With one of them only, the stack's parameter Architecture would name a package that cannot be imported."""
    runtimes = {function["Runtime"] for function in stack.of_type("AWS::Lambda::Function").values()}
    machine_code = {path.relative_to(packages["lambda"]) for path in packages["lambda"].rglob("*.so")}
    endings = {arch: f".cpython-{RUNTIME.replace('.', '')}-{arch}-linux-gnu.so" for arch in ("aarch64", "x86_64")}
    named = {arch: {str(path).removesuffix(endings[arch]) for path in machine_code} for arch in endings}

    assert runtimes == {f"python{RUNTIME}"}
    assert machine_code, "there is nothing to choose between"
    assert {str(path) for path in machine_code} == {
        f"{name}{ending}" for name in named["aarch64"] & named["x86_64"] for ending in endings.values()
    }
    for path in machine_code:
        head = (packages["lambda"] / path).read_bytes()[:20]
        assert head[:4] == b"\x7fELF"
        assert int.from_bytes(head[18:20], "little") == (183 if "aarch64" in path.name else 62), "see elf(5)"


def compiled(package: Path) -> dict[Path, bytes]:
    return {path.relative_to(package): path.read_bytes() for path in package.rglob("*.pyc")}


@pytest.mark.parametrize("arch", ARCHITECTURES)
def test_all_of_it_is_compiled_for_the_python_that_runs_it_and_never_checked(
    packages: Mapping[str, Path], arch: str
) -> None:
    python = build.compiler(arch, RUNTIME)
    if python is None:
        pytest.skip(f"there is no Python {RUNTIME} here to compile with")
    asked = "import importlib.util, sys; print(importlib.util.MAGIC_NUMBER.hex(), sys.implementation.cache_tag)"
    magic, tag = subprocess.check_output([python, "-c", asked], text=True).split()  # noqa: S603 - fixed arguments
    package = packages[arch]
    sources = [path.relative_to(package) for path in package.rglob("*.py")]

    found = compiled(package)
    assert found.keys() == {path.parent / "__pycache__" / f"{path.stem}.{tag}.pyc" for path in sources}
    unchecked_hash = (1).to_bytes(4, "little")
    assert {code[:8] for code in found.values()} == {bytes.fromhex(magic) + unchecked_hash}


def test_what_is_compiled_does_not_depend_on_where_or_when(host: Path, tmp_path: Path) -> None:
    elsewhere = tmp_path / "in" / "quite" / "another" / "place"
    shutil.copytree(host, elsewhere, ignore=shutil.ignore_patterns("__pycache__", "call_recorder"))
    build.precompile(elsewhere, elsewhere)
    shutil.copytree(ROOT / "src/call_recorder", elsewhere / "call_recorder", ignore=shutil.ignore_patterns("*.pyc"))
    build.precompile(elsewhere / "call_recorder", elsewhere)

    assert compiled(elsewhere) == compiled(host)
    assert not [path for path, code in compiled(host).items() if str(host).encode() in code]


@dataclass
class Played:
    """What came of playing the functions from a package.

    Attributes:
        answers: of each function.
        called: the operations of AWS, in their order.
        files: what was imported by then, and from where.
    """

    answers: dict[str, Any]
    called: list[str]
    files: dict[str, str | None]


@pytest.fixture(scope="session")
def played(host: Path) -> Played:
    """Every function, once, with nothing on the path but the package."""
    names = {"callback": "CallbackFunction", "notify": "NotifyFunction"}
    names |= {"watchdog": "WatchdogFunction", "rotation": "RotationFunction", "cleanup": "CleanupFunction"}
    now = stamp(datetime.now(UTC))
    events = {
        "callback": signed(ice(timestamp=now), timestamp=now),
        "notify": json.loads((ROOT / "events/notify-whole-call.json").read_text()),
        "watchdog": {},
        "rotation": {"rotate": True},
        "cleanup": CloudFormation("AWS_IS_HERE").event("Delete"),
    }
    variables = json.loads((ROOT / "events/env.json").read_text())
    aws = {"AWS_REGION": "eu-west-1", "AWS_DEFAULT_REGION": "eu-west-1", "AWS_ENDPOINT_URL": "AWS_IS_HERE"}
    # The others find their credentials as they do after SnapStart, by botocore.
    own = {"watchdog": {"AWS_ACCESS_KEY_ID": "key", "AWS_SECRET_ACCESS_KEY": "secret"}}
    found = {"AWS_CONTAINER_CREDENTIALS_FULL_URI": "AWS_IS_HERE/credentials"}
    prefix = variables["CallbackFunction"]["PARAMETER_PREFIX"]
    folder = f"/{prefix}/{APPLICATION}"
    asked = {
        "parameters": {
            f"/{prefix}/uploader-key": "AKIAOLDOLDOLDOLDOLD:secret::call-recorder-uploader",
            f"{folder}/application-secrets": SECRET,
            f"{folder}/storage-credentials": "key:secret:eu-west-1",
            f"{folder}/recording-profile": '{"rules": [{"name": "everything", "record": true}]}',
        },
        "functions": {
            name: {
                "environment": list((variables[names[name]] | aws | own.get(name, found)).items()),
                "event": event,
            }
            for name, event in events.items()
        },
    }
    process = subprocess.run(  # noqa: S603 - fixed arguments
        [sys.executable, "-S", "-P", "-B", "-W", "error", str(PLAYER)],
        input=json.dumps(asked),
        env={"PYTHONPATH": str(host), "PATH": os.defpath},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert process.returncode == 0, process.stderr
    return Played(**json.loads(process.stdout))


def test_every_function_does_its_work_from_the_package_alone(played: Played) -> None:
    answer = played.answers["callback"]
    assert answer["statusCode"] == 200
    assert json.loads(answer["body"])["action"]["record"] is True
    assert played.answers["notify"] == {"batchItemFailures": []}
    assert played.answers["watchdog"] == {"overdue": 0}
    assert [step["step"] for step in played.answers["rotation"]["steps"]] == ["created"]
    operations = (
        "SendMessage",
        "PutItem",
        "PutEvents",
        "Query",
        "PutParameter",
        "DeleteAccessKey",
        "DeleteRule",
        "PUT",
    )
    for operation in operations:
        assert operation in played.called


def test_the_functions_need_no_package_of_anyone_elses(played: Played, host: Path) -> None:
    standard = Path(json.__file__).parents[1]
    files = {Path(file) for file in played.files.values() if file} - {PLAYER}

    assert not [file for file in files if not file.is_relative_to(host) and not file.is_relative_to(standard)]


def module(path: Path) -> str:
    """Return what a module is imported as, by its file in a package."""
    return ".".join(path.with_suffix("").parts).removesuffix(".__init__")


def imports(path: Path, package: Path) -> Iterator[str]:
    """Yield what a module imports anywhere in it, be it a module or a name in one."""
    name = module(path)
    own = name if path.name == "__init__.py" else name.rpartition(".")[0]
    for node in ast.walk(ast.parse((package / path).read_bytes())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            above = own.split(".")[: len(own.split(".")) - node.level + 1] if node.level else []
            source = ".".join([*above, *([node.module] if node.module else [])])
            yield source
            yield from (f"{source}.{alias.name}" for alias in node.names)


def reachable(package: Path, loaded: Iterable[Path]) -> dict[str, set[str]]:
    """Return what every module imports that is loaded or that might come to be loaded, wherever it says so."""
    files = {module(path.relative_to(package)): path.relative_to(package) for path in package.rglob("*.py")}
    waiting = [module(path.relative_to(package)) for path in loaded]
    reached: dict[str, set[str]] = {}
    while waiting:
        name = waiting.pop()
        if name in files and name not in reached:
            reached[name] = set(imports(files[name], package))
            waiting.extend(reached[name])
            waiting.append(name.rpartition(".")[0])
    return reached


def test_nothing_that_was_taken_away_can_be_imported_by_what_the_functions_import(played: Played, host: Path) -> None:
    gone = {module(Path(pattern)) for pattern in UNREACHED}
    loaded = [Path(file) for file in played.files.values() if file and Path(file).is_relative_to(host)]

    assert {
        (name, each)
        for name, imported in reachable(host, loaded).items()
        for each in gone
        if any(f"{one}.".startswith(f"{each}.") for one in imported)
    } == NEVER_IMPORTED


@pytest.mark.parametrize("pattern", UNREACHED)
def test_what_is_taken_away_was_there(pattern: str) -> None:
    package = importlib.import_module(pattern.partition("/")[0])

    assert list(Path(str(package.__file__)).parents[1].glob(pattern))


def test_of_what_is_known_of_a_dependency_only_what_scanners_and_lawyers_read_is_left(package: Path) -> None:
    known = [path.relative_to(package).parts for path in package.glob("*.dist-info/**/*") if path.is_file()]

    assert {parts[1] for parts in known} <= {
        *("METADATA", "LICENSE", "LICENSE.txt", "NOTICE", "NOTICE.txt", "licenses", "sboms", "entry_points.txt")
    }
    assert len({parts[0] for parts in known if parts[1] == "METADATA"}) == len(list(package.glob("*.dist-info")))


def test_there_are_no_tests_stubs_or_tools_of_the_build_in_it(package: Path) -> None:
    files = [path.relative_to(package) for path in package.rglob("*") if path.is_file()]

    assert not [path for path in files if {"test", "tests", "examples", "bin"} & set(path.parts)]
    assert not [path for path in files if path.suffix == ".pyi" or path.name == "py.typed"]
    assert not {"build.py", "pruning.py", "Makefile", "requirements.txt"} & {path.name for path in files}


def test_what_differs_between_machines_or_is_never_read_is_left_out(tmp_path: Path) -> None:
    kept = ["a/__init__.py", "a/bin/tool.py", "a-1.0.dist-info/METADATA", "a-1.0.dist-info/licenses/LICENSE"]
    dropped = ["bin/tool", "a/__init__.pyi", "a/b/c.pyi", "a/py.typed", "a-1.0.dist-info/RECORD", "pydantic/v1/main.py"]
    for name in kept + dropped:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()

    prune(tmp_path)

    left = [str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*") if path.is_file()]
    assert sorted(left) == sorted(kept)
