"""Runs a function in the process that is measured: alone, or in Lambda's runtime interface emulator."""

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
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from http.client import HTTPConnection
from importlib.metadata import files
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import build
from benchmarks.calls import Event
from benchmarks.contenders import ROOT, VERSION, WORK
from benchmarks.runner import succeeded
from local.fake_aws import stop

# A function imports only from its package, and not from the environment's packages or the runner's folder.
_PYTHON = (sys.executable, "-S", "-s", "-P")
_RUNNER = Path(__file__).resolve().with_name("runner.py")
_RUNTIME = ("awslambdaric", "simplejson", "snapshot-restore-py")
_EMULATOR = {"x86_64": "aws-lambda-rie-x86_64", "aarch64": "aws-lambda-rie-arm64"}[os.uname().machine]
# The emulator sets these itself.
_RUNTIME_VARIABLES = ("AWS_LAMBDA_RUNTIME_API", "_X_AMZN_TRACE_ID")
_INIT = re.compile(r"INIT REPORT\(durationMs: ([\d.]+)")
_TIMEOUT_SECONDS = 60.0
_MAX_LOG = 3000


class Broken(Exception):
    """A measured function failed, so that there is nothing to measure; the text ends with the end of its log."""

    def __init__(self, problem: str, log: Path | None = None) -> None:
        end = log.read_text("utf-8", "replace")[-_MAX_LOG:] if log and log.exists() else ""
        super().__init__(f"{problem}\n{end}" if end else problem)


@dataclass(frozen=True, slots=True)
class Run:
    """The measurements of some invocations.

    Attributes:
        took: the milliseconds of each; the first of a process begins before the import of the function's module.
        used: the milliseconds of processor time that the process used in each, with all its threads and in the kernel.
        imported: the milliseconds of that import, if it was part of this run.
        answer: the last answer.
        peak_bytes: the peak memory of the process so far.
    """

    took: tuple[float, ...]
    used: tuple[float, ...]
    imported: float | None
    answer: dict[str, Any]
    peak_bytes: int


class Function:
    """A function in a fresh process, whose output is in ``log``."""

    def __init__(self, process: subprocess.Popen[str], report: Iterator[str], log: Path) -> None:
        self.log = log
        self._process = process
        self._report = report
        self._events = log.with_suffix(".events")

    def run(self, events: Iterable[Event]) -> Run:
        """Invoke the function with these events, one after another.

        Raises:
            Broken: an invocation failed.
        """
        self._events.write_text("".join(json.dumps(event) + "\n" for event in events), "utf-8")
        if self._process.stdin is None:
            raise Broken("the runner was started without a pipe")
        with suppress(BrokenPipeError):  # the process has ended, and the report below is empty
            self._process.stdin.write(f"{self._events}\n")
            self._process.stdin.flush()
        line = next(self._report, "")
        if not line:
            raise Broken("the function ended before it answered", self.log)
        report = json.loads(line)
        if report["failed"]:
            raise Broken(f"{report['failed']} invocations failed; the last answer is {report['answer']}", self.log)
        took, used = tuple(report["took"]), tuple(report["used"])
        return Run(took, used, report["imported"], report["answer"], report["peak"])


@contextmanager
def start_function(entry: str, environment: Mapping[str, str], *options: str) -> Iterator[Function]:
    """Run a function's process during the block. It imports nothing before its first event.

    Args:
        entry: the entry point, as the template names it.
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


def trace_imports(entry: str, environment: Mapping[str, str], event: Event) -> str:
    """Return the output of `python -X importtime` for a cold start."""
    with start_function(entry, environment, "-X", "importtime") as cold:
        cold.run([event])
        return cold.log.read_text("utf-8")


@dataclass(frozen=True, slots=True)
class Emulated:
    """The measurements of a function in the runtime interface emulator, in milliseconds.

    Attributes:
        cold: from the start of the process to its first answer.
        initialized: the initialization, by the emulator's log.
        warm: each further invocation, from the request over HTTP to its answer.
    """

    cold: float
    initialized: float
    warm: tuple[float, ...]


def copy_runtime() -> Path:
    """Copy the client of Lambda's Python runtime into a folder, compiled as in Lambda; return the folder."""
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


def run_emulated(entry: str, environment: Mapping[str, str], runtime: Path, events: Iterator[Event]) -> Emulated:
    """Start a function in the runtime interface emulator, invoke it with each event in turn, and end it.

    Args:
        entry: the entry point, as the template names it.
        environment: the whole environment of the process.
        runtime: the folder of the runtime's client.
        events: the events, at least one. Each is made after the answer to the one before.

    Raises:
        Broken: the function did not answer, or failed.
    """
    port, api = _free_ports(2)
    [emulator] = ROOT.glob(f".venv/{VERSION}/sam/lib/python*/site-packages/samcli/local/rapid/{_EMULATOR}")
    command = [
        *(str(emulator), "--runtime-interface-emulator-address", f"127.0.0.1:{port}"),
        *("--runtime-api-address", f"127.0.0.1:{api}"),
        *(sys.executable, "-S", "-s", "-m", "awslambdaric", entry),
    ]
    variables = {name: value for name, value in environment.items() if name not in _RUNTIME_VARIABLES}
    trace = {"X-Amzn-Trace-Id": environment["_X_AMZN_TRACE_ID"]}
    event = next(events)
    with TemporaryDirectory() as scratch, Path(scratch, "log").open("w") as output:
        log = Path(output.name)
        started = time.perf_counter()
        process = subprocess.Popen(
            command,
            env=variables | {"PYTHONPATH": f"{environment['PYTHONPATH']}:{runtime}"},
            cwd=environment["LAMBDA_TASK_ROOT"],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
        )
        try:
            connection = _connect(port, process, log)
            answers, took = [_invoke(connection, event, trace)], [time.perf_counter() - started]
            for each in events:
                started = time.perf_counter()
                answers.append(_invoke(connection, each, trace))
                took.append(time.perf_counter() - started)
            connection.close()
        finally:
            _end(process)
        initialized = _INIT.search(log.read_text("utf-8"))
        failed = [answer for answer in answers if not succeeded(answer)]
        if initialized is None or failed:
            raise Broken(f"the function failed in the emulator; it answered {failed[:1]}", log)
    cold, *warm = (1000 * seconds for seconds in took)
    return Emulated(cold, float(initialized[1]), tuple(warm))


def _invoke(connection: HTTPConnection, event: Event, headers: Mapping[str, str]) -> dict[str, Any]:
    connection.request("POST", "/2015-03-31/functions/function/invocations", json.dumps(event).encode(), dict(headers))
    answer: dict[str, Any] = json.loads(connection.getresponse().read())
    return answer


def _end(emulator: subprocess.Popen[bytes]) -> None:
    """Kill the function's process, which would otherwise write a trace, and then the emulator."""
    for children in Path(f"/proc/{emulator.pid}/task").glob("*/children"):
        for child in children.read_text().split():
            with suppress(ProcessLookupError):
                os.kill(int(child), signal.SIGKILL)
    emulator.kill()
    emulator.wait()


def _connect(port: int, process: subprocess.Popen[bytes], log: Path) -> HTTPConnection:
    connection = HTTPConnection("127.0.0.1", port, timeout=_TIMEOUT_SECONDS)
    deadline = time.monotonic() + _TIMEOUT_SECONDS
    while process.poll() is None and time.monotonic() < deadline:
        try:
            connection.connect()
        except ConnectionRefusedError:
            time.sleep(0.001)
        else:
            return connection
    raise Broken("the runtime interface emulator did not start", log)


def _free_ports(number: int) -> list[int]:
    with ExitStack() as stack:
        probes = [stack.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in range(number)]
        return [int(probe.getsockname()[1]) for probe in probes]
