"""Runs the local AWS: a separate ministack process, on loopback only, with authorization on."""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.error import URLError
from urllib.request import ProxyHandler, build_opener

from local.waiting import TooLate, wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

ROOT = Path(__file__).resolve().parent.parent
"""The root folder of the repository."""

ENVIRONMENTS = ROOT / ".venv" / f"{sys.version_info.major}.{sys.version_info.minor}"
"""The folder in which the Makefile makes the environments for this version of Python."""

REGION = "us-east-1"
ADMINISTRATOR = ("test", "test")
"""Access key and secret of the emulator's root user. They work in that process only."""

DEFAULT_PORT = 4566
_HOST = "127.0.0.1"
_MODULE = "ministack"
_PROCESS_FILE = "emulator.json"
_READY_WITHIN = 30.0
_STOPPED_WITHIN = 15.0


class LocalError(Exception):
    """The local stack cannot do what it was asked to; the text is one sentence that says what to do."""


def read_port(environment: Mapping[str, str]) -> int:
    """Return the port that ``AWS_PORT`` names, or the default port.

    Raises:
        LocalError: ``AWS_PORT`` is not a number from 1024 to 65535.
    """
    text = environment.get("AWS_PORT", "") or str(DEFAULT_PORT)
    if text.isascii() and text.isdecimal() and 1024 <= int(text) <= 65535:
        return int(text)
    raise LocalError(f"AWS_PORT is {text!r}: write a number from 1024 to 65535, for example AWS_PORT={DEFAULT_PORT}.")


def get_endpoint(port: int) -> str:
    """Return the URL of the emulator on a port."""
    return f"http://{_HOST}:{port}"


def find_free_port() -> int:
    """Return a port of loopback that is free."""
    with socket.socket() as probe:
        probe.bind((_HOST, 0))
        port: int = probe.getsockname()[1]
        return port


@contextmanager
def lock_port(port: int, state: Path) -> Iterator[None]:
    """Lock a port's state for this process while the block runs. The kernel frees the lock when the process ends.

    Raises:
        LocalError: another process of this clone has locked it.
    """
    state.mkdir(parents=True, exist_ok=True)
    with (state / "running.lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise LocalError(
                f"A `make run` of this clone is up on port {port} already: play calls against it with "
                f"`make call AWS_PORT={port}`, or choose another port for a second one with AWS_PORT."
            ) from None
        yield


def stop_left_over(state: Path) -> int | None:
    """Stop the emulator that a killed run left behind, and remove its files; return its process id, if there was one.

    Args:
        state: the directory given to ``run_emulator``. Lock it first with ``lock_port``.
    """
    noted = state / _PROCESS_FILE
    try:
        pid = int(json.loads(noted.read_text("utf-8"))["pid"])
    except (OSError, ValueError, KeyError, TypeError):
        pid = 0
    left_over = pid > 1 and _is_emulator(pid)
    if left_over:
        _end(pid)
    noted.unlink(missing_ok=True)
    for pattern in ("emulator-*", "backend-*"):
        for scratch in state.glob(pattern):
            shutil.rmtree(scratch, ignore_errors=True)
    return pid if left_over else None


def _is_emulator(pid: int) -> bool:
    """Return whether a process is an emulator of this clone: the system may have reused the id."""
    return _read_command_line(pid) == f"{_find_python()} -m {_MODULE}"


def _read_command_line(pid: int) -> str:
    if Path("/proc/self").exists():
        try:
            return Path(f"/proc/{pid}/cmdline").read_bytes().decode(errors="replace").rstrip("\0").replace("\0", " ")
        except OSError:
            return ""
    listing = subprocess.run(
        ["ps", "-ww", "-o", "command=", "-p", str(pid)],  # noqa: S607 - systems have ps in different folders
        capture_output=True,
        text=True,
        check=False,
    )
    return listing.stdout.strip()


def _end(pid: int) -> None:
    for number in (signal.SIGTERM, signal.SIGKILL):
        with suppress(ProcessLookupError, TooLate):
            os.kill(pid, number)
            wait_until("the emulator has ended", lambda: not _is_emulator(pid), within=_STOPPED_WITHIN)
            return


def _find_python() -> Path:
    return ENVIRONMENTS / "emulator" / "bin" / "python"


@contextmanager
def run_emulator(port: int, state: Path, *, trusted: Path | None = None) -> Iterator[str]:
    """Run the emulator while the block runs, and yield its endpoint URL.

    Args:
        port: the port of loopback that it listens on.
        state: a directory for its log (``emulator.log``) and, while it runs, for its temporary files and process id.
        trusted: a file with the only certificate that the functions trust; the default is the system's certificates.

    Raises:
        LocalError: the port is in use, the emulator is not installed, or it does not start.
    """
    if not _find_python().exists():
        raise LocalError("The emulator is not installed: run `make environments`.")
    _check_free(port)
    state.mkdir(parents=True, exist_ok=True)
    scratch = Path(tempfile.mkdtemp(prefix="emulator-", dir=state))
    log = state / "emulator.log"
    try:
        with log.open("wb") as output:
            process = subprocess.Popen(
                [_find_python(), "-m", _MODULE],
                cwd=scratch,
                env=_build_environment(port, scratch) | ({"SSL_CERT_FILE": str(trusted)} if trusted else {}),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                # Ctrl-C in a terminal reaches every process of the group; this process stops the emulator itself.
                start_new_session=True,
            )
        try:
            (state / _PROCESS_FILE).write_text(json.dumps({"pid": process.pid, "port": port}), "utf-8")
            endpoint = get_endpoint(port)
            wait_until("the emulator answers", lambda: _check_up(process, endpoint, log), within=_READY_WITHIN)
            yield endpoint
        finally:
            _stop(process)
            (state / _PROCESS_FILE).unlink(missing_ok=True)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def _build_environment(port: int, scratch: Path) -> dict[str, str]:
    """Return the complete environment of the emulator.

    The functions inherit it. It has no variable of this shell: an AWS profile would replace a function's execution
    role, and a proxy would send its requests to another machine.
    """
    access_key, secret_key = ADMINISTRATOR
    return {
        "PATH": os.environ.get("PATH", os.defpath),
        "LANG": "C.UTF-8",
        "HOME": str(scratch),
        "TMPDIR": str(scratch),
        "AWS_ACCESS_KEY_ID": access_key,
        "AWS_SECRET_ACCESS_KEY": secret_key,
        "AWS_EC2_METADATA_DISABLED": "true",
        "AUTH": "true",
        "BIND_HOST": _HOST,
        "GATEWAY_PORT": str(port),
        "MINISTACK_REGION": REGION,
        "IOT_MTLS_ENABLED": "0",
        "SFTP_ENABLED": "0",
    }


def _check_free(port: int) -> None:
    with socket.socket() as probe:
        # The emulator can listen on a port whose closed connections are still in TIME_WAIT.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((_HOST, port))
        except OSError:
            raise LocalError(
                f"Port {port} is in use: stop what listens there, or choose another with AWS_PORT, "
                f"for example `make run AWS_PORT={find_free_port()}`."
            ) from None


def is_up(endpoint: str) -> bool:
    """Return whether an emulator answers at a URL."""
    try:
        with build_opener(ProxyHandler({})).open(f"{endpoint}/_ministack/health", timeout=1) as response:
            healthy: bool = response.status == 200
            return healthy
    except (URLError, TimeoutError):
        return False


def _check_up(process: subprocess.Popen[bytes], endpoint: str, log: Path) -> bool:
    if process.poll() is not None:
        raise LocalError(f"The emulator ended with status {process.returncode}: see {log}.")
    return is_up(endpoint)


def _stop(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(_STOPPED_WITHIN)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
