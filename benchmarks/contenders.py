"""The contenders: our functions and their twins, each in the package in which it would be deployed."""

from __future__ import annotations

import hashlib
import io
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import build
from benchmarks.calls import PREFIX
from local.sample_events import APPLICATION, BUCKET, PUBLIC_PATH
from pruning import UNREACHED, prune

ROOT = Path(__file__).resolve().parent.parent
VERSION = f"{sys.version_info.major}.{sys.version_info.minor}"
WORK = ROOT / ".local" / "benchmarks" / VERSION
"""Holds packages and the files that processes exchange; `make clean` removes it."""

_TWINS = Path(__file__).resolve().with_name("twins")
_REQUIREMENTS = _TWINS / "requirements.txt"

# The usual twin calls these operations.
_OPERATIONS: Mapping[str, Sequence[str]] = {
    # boto3 makes the resource from the description of a table.
    "dynamodb": ("DescribeTable", "GetItem", "UpdateItem"),
    "events": ("PutEvents",),
    "sqs": ("SendMessage",),
    "ssm": ("GetParameters",),
}
# The usual twin imports these, and our functions do not.
_REACHED = (
    "aws_lambda_powertools/event_handler",
    "aws_lambda_powertools/utilities/batch",
    "aws_lambda_powertools/utilities/data_classes",
    "aws_lambda_powertools/utilities/parameters",
    "aws_lambda_powertools/utilities/parser",
    "boto3",
    "s3transfer",
)


@dataclass(frozen=True, slots=True)
class Contender:
    """An implementation of the two functions.

    Attributes:
        name: its name in the results.
        package: the folder that would be deployed, from which alone the functions can import.
        callback: the entry point that answers callbacks.
        notify: the entry point that processes batches.
        variables: its own environment variables.
    """

    name: str
    package: Path
    callback: str
    notify: str
    variables: Mapping[str, str] = field(default_factory=dict)

    def environment(self, aws: Mapping[str, str], queue_url: str) -> dict[str, str]:
        """Return the whole environment of its process, as Lambda and the template set it.

        Args:
            aws: the variables that point clients to the fake AWS.
            queue_url: the recording queue.
        """
        package = {"LAMBDA_TASK_ROOT": str(self.package), "PYTHONPATH": str(self.package)}
        return {**_LAMBDA, **_TEMPLATE, **aws, **package, **self.variables, "RECORDING_QUEUE_URL": queue_url}


_LAMBDA: Mapping[str, str] = {
    "AWS_EXECUTION_ENV": f"AWS_Lambda_python{VERSION}",
    "AWS_LAMBDA_FUNCTION_MEMORY_SIZE": "512",
    "AWS_LAMBDA_FUNCTION_NAME": "measured",
    "AWS_LAMBDA_FUNCTION_VERSION": "$LATEST",
    "AWS_LAMBDA_INITIALIZATION_TYPE": "on-demand",
    "AWS_LAMBDA_LOG_GROUP_NAME": "/aws/lambda/measured",
    "AWS_LAMBDA_LOG_STREAM_NAME": "2026/11/23/[$LATEST]0",
    # Nothing listens there. A function knows by this variable that it runs in Lambda.
    "AWS_LAMBDA_RUNTIME_API": "127.0.0.1:9",
    "HOME": "/nonexistent",
    "LANG": "en_US.UTF-8",
    "PATH": "/usr/local/bin:/usr/bin:/bin",
    "TZ": ":UTC",
    "_X_AMZN_TRACE_ID": "Root=1-6b04678c-3fc73f2230a49dd358f5dc3c;Parent=53995c3f42cd8ad8;Sampled=1",
    # In Lambda the function's folder is read-only, and log lines are written immediately.
    "PYTHONDONTWRITEBYTECODE": "1",
    "PYTHONUNBUFFERED": "1",
}
_TEMPLATE: Mapping[str, str] = {
    "CALLBACK_PATH": PUBLIC_PATH,
    "DEGRADED_ANSWER": "connect",
    "GRACE_SECONDS": "3600",
    "LONGEST_CALL_SECONDS": "14400",
    "PARAMETER_PREFIX": PREFIX,
    "PARAMETERS_TTL_SECONDS": "300",
    "PLACES_TABLE": "places",
    "CUSTODY_TABLE": "custody",
    "POWERTOOLS_LOG_LEVEL": "INFO",
    "POWERTOOLS_METRICS_NAMESPACE": "CallRecorder",
    "POWERTOOLS_SERVICE_NAME": "call-recorder",
    "RECORDINGS_BUCKET": BUCKET,
    "RECORDINGS_BUS": "recordings",
    "RECORDINGS_TABLE": "recordings",
    "RETENTION_DAYS": "365",
    "SIGNATURE_WINDOW_SECONDS": "300",
    "URL_SUFFIX": "amazonaws.com",
}

OURS, PREFETCHING = "ours", "ours, prefetching"
FLOOR, USUAL, COMPILED, PACKAGED = "floor", "usual", "usual, compiled", "usual, same packaging"


def build_contenders() -> list[Contender]:
    """Build all packages and return the contenders.

    Raises:
        build.BuildError: a package cannot be built.
    """
    shutil.rmtree(WORK / "packages", ignore_errors=True)
    ours = _make_folder("ours")
    build.build(ours, "host", VERSION, WORK / "cache")
    entries = ("call_recorder.functions.callback.handler", "call_recorder.functions.notify.handler")
    floor = _make_folder("floor")
    _copy_twin(floor, "floor.py")
    build.precompile(floor, floor)
    usual, compiled, packaged = (_build_usual(name) for name in (USUAL, COMPILED, PACKAGED))
    build.precompile(compiled.package, compiled.package)
    prune(packaged.package, _OPERATIONS, [pattern for pattern in UNREACHED if pattern not in _REACHED])
    build.precompile(packaged.package, packaged.package)
    return [
        Contender(OURS, ours, *entries),
        Contender(PREFETCHING, ours, *entries, variables={"PREFETCHED_APPLICATION_KEY": APPLICATION.key}),
        Contender(FLOOR, floor, "benchmarks.twins.floor.callback", "benchmarks.twins.floor.notify"),
        *(usual, compiled, packaged),
    ]


def _build_usual(name: str) -> Contender:
    folder = _make_folder(name)
    shutil.copytree(_install(), folder, dirs_exist_ok=True)
    _copy_twin(folder, "usual_callback.py", "usual_notify.py")
    callback, notify = "benchmarks.twins.usual_callback.handler", "benchmarks.twins.usual_notify.handler"
    # Powertools' documentation recommends this for functions whose answers contain a secret.
    private = {"POWERTOOLS_TRACER_CAPTURE_RESPONSE": "false"}
    return Contender(name, folder, callback, notify, variables=private)


def _copy_twin(folder: Path, *modules: str) -> None:
    twins = folder / "benchmarks" / "twins"
    twins.mkdir(parents=True)
    for module in (*modules, "job.py"):
        shutil.copy(_TWINS / module, twins)


def _make_folder(name: str) -> Path:
    folder = WORK / "packages" / name.replace(", ", "-").replace(" ", "-")
    folder.mkdir(parents=True)
    return folder


def _install() -> Path:
    """Unpack the wheels of the usual twin as `sam build` does, unless an earlier run has; return the folder."""
    digest = hashlib.sha256(_REQUIREMENTS.read_bytes() + sys.version.encode()).hexdigest()[:16]
    folder = WORK / "cache" / f"usual-{digest}"
    if not folder.is_dir():
        scratch = folder.with_suffix(".part")
        shutil.rmtree(scratch, ignore_errors=True)
        command = [
            *(sys.executable, "-m", "pip", "--quiet", "--no-input", "--disable-pip-version-check", "install"),
            *("--requirement", str(_REQUIREMENTS), "--require-hashes", "--no-deps", "--only-binary=:all:"),
            *("--no-compile", "--target", str(scratch)),
        ]
        if subprocess.run(command, check=False).returncode:
            raise build.BuildError("The usual twin's dependencies could not be installed: pip's message is above.")
        scratch.rename(folder)
    return folder


def zipped_bytes(package: Path, *, compiled: bool) -> int:
    """Return the size of a zipped package, with or without its .pyc files."""
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as zipped:
        for path in sorted(package.rglob("*")):
            if path.is_file() and (compiled or path.suffix != ".pyc"):
                zipped.write(path, path.relative_to(package))
    return len(archive.getvalue())
