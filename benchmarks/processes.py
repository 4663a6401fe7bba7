"""Processes that are measured: a function in its runner, and a function in Lambda's runtime interface emulator."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from http.client import HTTPConnection
from importlib.metadata import files
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import build
from benchmarks.aws import stop
from benchmarks.calls import Event, lines
from benchmarks.contenders import ROOT, VERSION, WORK
from benchmarks.runner import succeeded

# Only the package is there to be imported: no environment's packages, no user's, not the runner's own folder.
_PYTHON = (sys.executable, "-S", "-s", "-P")
_RUNNER = Path(__file__).resolve().with_name("runner.py")
_RUNTIME = ("awslambdaric", "simplejson", "snapshot-restore-py")
_RIE = {"x86_64": "aws-lambda-rie-x86_64", "aarch64": "aws-lambda-rie-arm64"}
_INIT = re.compile(r"INIT REPORT\(durationMs: ([\d.]+)")
_ANSWERED_WITHIN = 60.0
_MAX_SAID = 3000


class Broken(Exception):
    """A measured function failed, so that there is nothing to measure; the text ends with what its log says."""

    def __init__(self, problem: str, log: Path | None = None) -> None:
        said = log.read_text("utf-8", "replace")[-_MAX_SAID:] if log and log.exists() else ""
        super().__init__(f"{problem}\n{said}" if said else problem)


@dataclass(frozen=True, slots=True)
class Run:
    """What some invocations took.

    Attributes:
        took: milliseconds of each; the first of a process begins before the function's module is imported.
        imported: milliseconds of the import that are in the first, if that was here.
        answer: the last answer.
        peak_bytes: the most memory that the process ever had.
    """

    took: tuple[float, ...]
    imported: float | None
    answer: dict[str, Any]
    peak_bytes: int


class Function:
    """A function in a fresh process."""

    def __init__(self, process: subprocess.Popen[str], report: Iterator[str], log: Path) -> None:
        self.log = log
        """What it writes."""
        self._process = process
        self._report = report
        self._events = log.with_suffix(".events")

    def run(self, events: Iterable[Event]) -> Run:
        """Invoke the function with these events, one after another.

        Raises:
            Broken: an invocation failed.
        """
        self._events.write_text(lines(events), "utf-8")
        if self._process.stdin is None:
            raise Broken("the runner was started without a way to reach it")
        with suppress(BrokenPipeError):  # it has ended, and its report will not come
            self._process.stdin.write(f"{self._events}\n")
            self._process.stdin.flush()
        line = next(self._report, "")
        if not line:
            raise Broken("the function ended before it answered", self.log)
        said = json.loads(line)
        if said["failed"]:
            raise Broken(f"{said['failed']} invocations failed; the last answer is {said['answer']}", self.log)
        return Run(tuple(said["took"]), said["imported"], said["answer"], said["peak"])


@contextmanager
def function(entry: str, environment: Mapping[str, str], *options: str) -> Iterator[Function]:
    """Start a process for a function and end it after the block. It imports nothing before its first event.

    Args:
        entry: the function, as the template names it.
        environment: the whole environment of the process.
        options: further options of Python.
    """
    reading, writing = os.pipe()
    with TemporaryDirectory() as scratch, os.fdopen(reading) as report, Path(scratch, "log").open("w") as output:
        process = subprocess.Popen(
            [*_PYTHON, *options, str(_RUNNER), entry, str(writing)],
            env=dict(environment),
            cwd=environment["LAMBDA_TASK_ROOT"],
            stdin=subprocess.PIPE,
            stdout=output,
            stderr=output,
            pass_fds=[writing],
            text=True,
        )
        os.close(writing)
        try:
            yield Function(process, report, Path(output.name))
        finally:
            stop(process)


def import_times(entry: str, environment: Mapping[str, str], event: Event) -> str:
    """Return what `python -X importtime` says of a cold start."""
    with function(entry, environment, "-X", "importtime") as cold:
        cold.run([event])
        return cold.log.read_text("utf-8")


@dataclass(frozen=True, slots=True)
class Emulated:
    """What a function in the runtime interface emulator took, in milliseconds.

    Attributes:
        answered: from starting the process to its first answer.
        initialized: what its log says of the initialization.
        warm: each further invocation, from the request over HTTP to its answer.
    """

    answered: float
    initialized: float
    warm: tuple[float, ...]


def runtime() -> Path:
    """Return a folder with the client that Lambda's Python runtime is, compiled as it is there."""
    folder = WORK / "runtime"
    shutil.rmtree(folder, ignore_errors=True)
    for distribution in _RUNTIME:
        for file in files(distribution) or ():
            if file.suffix in (".py", ".so") and ".." not in file.parts:
                target = folder / file
                target.parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(str(file.locate()), target)
    build.precompile(folder, folder)
    return folder


def emulated(entry: str, environment: Mapping[str, str], runtime: Path, events: Iterable[Event]) -> Emulated:
    """Start a function in the runtime interface emulator, invoke it with each event in turn, and end it.

    Args:
        entry: the function, as the template names it.
        environment: the whole environment of the process.
        runtime: the folder of the runtime's client.
        events: what it is invoked with, at least one. The next is asked for when the one before is answered.

    Raises:
        Broken: it did not answer, or not with success.
    """
    port, api = _free_ports(2)
    command = [
        *(str(_emulator()), "--runtime-interface-emulator-address", f"127.0.0.1:{port}"),
        *("--runtime-api-address", f"127.0.0.1:{api}"),
        *(sys.executable, "-S", "-s", "-m", "awslambdaric", entry),
    ]
    path = f"{environment['PYTHONPATH']}:{runtime}"
    trace = {"X-Amzn-Trace-Id": environment["_X_AMZN_TRACE_ID"]}
    # The emulator sets these itself.
    variables = {name: value for name, value in environment.items() if name not in _RUNTIME_VARIABLES}
    with TemporaryDirectory() as scratch, Path(scratch, "log").open("w") as output:
        log = Path(output.name)
        coming = iter(events)
        event = next(coming)
        started = time.perf_counter()
        process = subprocess.Popen(
            command,
            env={**variables, "PYTHONPATH": path},
            cwd=environment["LAMBDA_TASK_ROOT"],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
        )
        try:
            connection = _connected(port, process, log)
            answers = [_invoked(connection, event, trace)]
            answered, warm = 1000 * (time.perf_counter() - started), []
            for each in coming:
                begun = time.perf_counter()
                answers.append(_invoked(connection, each, trace))
                warm.append(1000 * (time.perf_counter() - begun))
            connection.close()
        finally:
            _end(process)
        found = _INIT.search(log.read_text("utf-8"))
        failed = [answer for answer in answers if not succeeded(answer)]
        if found is None or failed:
            raise Broken(f"the function failed in the emulator; it answered {failed[:1]}", log)
    return Emulated(answered, float(found[1]), tuple(warm))


def _invoked(connection: HTTPConnection, event: Event, headers: Mapping[str, str]) -> dict[str, Any]:
    connection.request("POST", "/2015-03-31/functions/function/invocations", json.dumps(event).encode(), dict(headers))
    answer: dict[str, Any] = json.loads(connection.getresponse().read())
    return answer


_RUNTIME_VARIABLES = ("AWS_LAMBDA_RUNTIME_API", "_X_AMZN_TRACE_ID")


def _end(emulator: subprocess.Popen[bytes]) -> None:
    """End the emulator and the function's process first, which would write a trace if it were left alone."""
    for children in Path(f"/proc/{emulator.pid}/task").glob("*/children"):
        for child in children.read_text().split():
            with suppress(ProcessLookupError):
                os.kill(int(child), signal.SIGKILL)
    emulator.kill()
    emulator.wait()


def _connected(port: int, process: subprocess.Popen[bytes], log: Path) -> HTTPConnection:
    connection = HTTPConnection("127.0.0.1", port, timeout=_ANSWERED_WITHIN)
    until = time.monotonic() + _ANSWERED_WITHIN
    while process.poll() is None and time.monotonic() < until:
        try:
            connection.connect()
        except ConnectionRefusedError:
            time.sleep(0.001)
        else:
            return connection
    raise Broken("the runtime interface emulator did not start", log)


def _emulator() -> Path:
    """Return the runtime interface emulator that the SAM CLI brings."""
    name = _RIE[os.uname().machine]
    found = ROOT.glob(f".venv/{VERSION}/sam/lib/python*/site-packages/samcli/local/rapid/{name}")
    return next(found)


def _free_ports(number: int) -> list[int]:
    probes = [socket.socket() for _ in range(number)]
    for probe in probes:
        probe.bind(("127.0.0.1", 0))
    ports = [int(probe.getsockname()[1]) for probe in probes]
    for probe in probes:
        probe.close()
    return ports
