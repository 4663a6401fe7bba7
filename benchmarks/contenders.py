"""Who is measured: our functions and their twins, each in the package that it would be deployed as."""

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
"""Where packages are made and files pass between processes; `make clean` removes it."""

_TWINS = Path(__file__).resolve().parent / "twins"
_REQUIREMENTS = _TWINS / "requirements.txt"

# What the usual twin calls and imports, where that is more than what our functions do.
_OPERATIONS: Mapping[str, Sequence[str]] = {
    # The resource is made from the description of a table.
    "dynamodb": ("DescribeTable", "GetItem", "UpdateItem"),
    "events": ("PutEvents",),
    "sqs": ("SendMessage",),
    "ssm": ("GetParameters",),
}
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
    """One way to do the job.

    Attributes:
        name: what it is called in results.
        package: the folder that would be deployed, and all that the function can import.
        callback: the entry point that answers callbacks.
        notify: the entry point that takes batches.
        variables: environment variables beyond those that all have.
    """

    name: str
    package: Path
    callback: str
    notify: str
    variables: Mapping[str, str] = field(default_factory=dict)

    def environment(self, aws: Mapping[str, str], queue_url: str) -> dict[str, str]:
        """Return the whole environment of its process: what Lambda sets, what the template sets, where AWS is.

        Args:
            aws: the variables that say where AWS is.
            queue_url: the recording queue.
        """
        return {**_LAMBDA, **_TEMPLATE, **aws, **self._own(), "RECORDING_QUEUE_URL": queue_url}

    def _own(self) -> dict[str, str]:
        package = str(self.package)
        return {"LAMBDA_TASK_ROOT": package, "PYTHONPATH": package, **self.variables}


_LAMBDA: Mapping[str, str] = {
    "AWS_EXECUTION_ENV": f"AWS_Lambda_python{VERSION}",
    "AWS_LAMBDA_FUNCTION_MEMORY_SIZE": "512",
    "AWS_LAMBDA_FUNCTION_NAME": "measured",
    "AWS_LAMBDA_FUNCTION_VERSION": "$LATEST",
    "AWS_LAMBDA_INITIALIZATION_TYPE": "on-demand",
    "AWS_LAMBDA_LOG_GROUP_NAME": "/aws/lambda/measured",
    "AWS_LAMBDA_LOG_STREAM_NAME": "2026/11/23/[$LATEST]0",
    # Nothing is there. That it is set is how a function knows that it runs in Lambda.
    "AWS_LAMBDA_RUNTIME_API": "127.0.0.1:9",
    "HOME": "/nonexistent",
    "LANG": "en_US.UTF-8",
    "PATH": "/usr/local/bin:/usr/bin:/bin",
    "TZ": ":UTC",
    "_X_AMZN_TRACE_ID": "Root=1-6b04678c-3fc73f2230a49dd358f5dc3c;Parent=53995c3f42cd8ad8;Sampled=1",
    # The function's folder is read-only in Lambda, and the log is written as it comes.
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


def contenders() -> list[Contender]:
    """Build all packages and return who is in them.

    Raises:
        build.BuildError: a package cannot be built.
    """
    shutil.rmtree(WORK / "packages", ignore_errors=True)
    ours = _folder("ours")
    build.build(ours, "host", VERSION, WORK / "cache")
    entries = ("call_recorder.functions.callback.handler", "call_recorder.functions.notify.handler")
    known = {"PREFETCHED_APPLICATION_KEY": APPLICATION.key}
    floor = _folder("floor")
    shutil.copy(_TWINS / "floor.py", floor)
    build.precompile(floor, floor)
    usual = [_usual(name) for name in (USUAL, COMPILED, PACKAGED)]
    build.precompile(usual[1].package, usual[1].package)
    reached = [pattern for pattern in UNREACHED if pattern not in _REACHED]
    prune(usual[2].package, _OPERATIONS, reached)
    build.precompile(usual[2].package, usual[2].package)
    return [
        Contender(OURS, ours, *entries),
        Contender(PREFETCHING, ours, *entries, variables=known),
        Contender(FLOOR, floor, "floor.callback", "floor.notify"),
        *usual,
    ]


def _usual(name: str) -> Contender:
    folder = _folder(name)
    shutil.copytree(_installed(), folder, dirs_exist_ok=True)
    for module in ("usual_callback.py", "usual_notify.py"):
        shutil.copy(_TWINS / module, folder)
    # As Powertools' documentation advises whoever answers with a secret.
    private = {"POWERTOOLS_TRACER_CAPTURE_RESPONSE": "false"}
    return Contender(name, folder, "usual_callback.handler", "usual_notify.handler", variables=private)


def _folder(name: str) -> Path:
    folder = WORK / "packages" / name.replace(", ", "-").replace(" ", "-")
    folder.mkdir(parents=True)
    return folder


def _installed() -> Path:
    """Return a folder with the usual twin's wheels unpacked, as `sam build` leaves them."""
    asked = hashlib.sha256(_REQUIREMENTS.read_bytes() + sys.version.encode()).hexdigest()[:16]
    folder = WORK / "cache" / f"usual-{asked}"
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


def zipped_bytes(package: Path, *, compiled: bool = True) -> int:
    """Return how large a package is when it is zipped, with or without what is compiled in it."""
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as zipped:
        for path in sorted(package.rglob("*")):
            if path.is_file() and (compiled or path.suffix != ".pyc"):
                zipped.write(path, path.relative_to(package))
    return len(archive.getvalue())
