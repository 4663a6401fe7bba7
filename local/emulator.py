"""The local AWS: a ministack process of our own, on loopback only, with authorization on."""

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

from local.waiting import TooLate, until

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

ROOT = Path(__file__).resolve().parent.parent
"""The checkout."""

ENVIRONMENTS = ROOT / ".venv" / f"{sys.version_info.major}.{sys.version_info.minor}"
"""Where the Makefile puts the environments for this version of Python."""

REGION = "us-east-1"
ADMINISTRATOR = ("test", "test")
"""Access key and secret of the emulator's root user. They are good for nothing but that process."""

DEFAULT_PORT = 4566
_HOST = "127.0.0.1"
_MODULE = "ministack"
_NOTE = "emulator.json"
_READY_WITHIN = 30.0
_STOPPED_WITHIN = 15.0


class LocalError(Exception):
    """Something the local stack needs is not as it should be; the text is one sentence that says what to do."""


def port_from(environment: Mapping[str, str]) -> int:
    """Return the port that ``AWS_PORT`` names, or the default.

    Raises:
        LocalError: it is no port that a user may open.
    """
    text = environment.get("AWS_PORT", "") or str(DEFAULT_PORT)
    if text.isascii() and text.isdecimal() and 1024 <= int(text) <= 65535:
        return int(text)
    raise LocalError(f"AWS_PORT is {text!r}: write a number from 1024 to 65535, for example AWS_PORT={DEFAULT_PORT}.")


def endpoint_of(port: int) -> str:
    """Return the URL of an emulator by its port."""
    return f"http://{_HOST}:{port}"


def free_port() -> int:
    """Return a loopback port that nothing listens on."""
    with socket.socket() as probe:
        probe.bind((_HOST, 0))
        port: int = probe.getsockname()[1]
        return port


@contextmanager
def only_one(port: int, state: Path) -> Iterator[None]:
    """Let no other process of this clone use a port's state while the block runs. The kernel ends it with this process.

    Raises:
        LocalError: another one does.
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
    """Stop the emulator of a run that was killed before it could, and remove its files; return its process id.

    Args:
        state: that of ``emulator``. Nobody else may use it meanwhile: see ``only_one``.
    """
    noted = state / _NOTE
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
    """Tell whether a process is an emulator that this clone started: ids are given out again."""
    return _command_line(pid) == f"{_python()} -m {_MODULE}"


def _command_line(pid: int) -> str:
    if Path("/proc/self").exists():
        try:
            return Path(f"/proc/{pid}/cmdline").read_bytes().decode(errors="replace").rstrip("\0").replace("\0", " ")
        except OSError:
            return ""
    shown = subprocess.run(
        ["ps", "-ww", "-o", "command=", "-p", str(pid)],  # noqa: S607 - where ps is differs
        capture_output=True,
        text=True,
        check=False,
    )
    return shown.stdout.strip()


def _end(pid: int) -> None:
    def ended() -> bool:
        return not _is_emulator(pid)

    for number in (signal.SIGTERM, signal.SIGKILL):
        with suppress(ProcessLookupError, TooLate):
            os.kill(pid, number)
            until("the emulator has ended", ended, within=_STOPPED_WITHIN)
            return


def _python() -> Path:
    return ENVIRONMENTS / "emulator" / "bin" / "python"


@contextmanager
def emulator(port: int, state: Path, *, trusted: Path | None = None) -> Iterator[str]:
    """Run the emulator while the block runs, and give its endpoint URL.

    Args:
        port: where it listens, on loopback.
        state: a directory for its log (``emulator.log``) and, while it runs, for its temporary files and process id.
        trusted: a file with the only certificate that the functions in it trust; the system's unless it is given.

    Raises:
        LocalError: the port is taken, its environment is missing, or it does not come up in time.
    """
    if not _python().exists():
        raise LocalError("The emulator is not installed: run `make environments`.")
    _check_free(port)
    state.mkdir(parents=True, exist_ok=True)
    scratch = Path(tempfile.mkdtemp(prefix="emulator-", dir=state))
    log = state / "emulator.log"
    try:
        with log.open("wb") as output:
            process = subprocess.Popen(
                [_python(), "-m", _MODULE],
                cwd=scratch,
                env=_environment(port, scratch) | ({"SSL_CERT_FILE": str(trusted)} if trusted else {}),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                # Ctrl-C in a terminal reaches every process of the group; this one is stopped by its owner.
                start_new_session=True,
            )
        try:
            (state / _NOTE).write_text(json.dumps({"pid": process.pid, "port": port}), "utf-8")
            endpoint = endpoint_of(port)
            until("the emulator answers", lambda: _is_up(process, endpoint, log), within=_READY_WITHIN)
            yield endpoint
        finally:
            _stop(process)
            (state / _NOTE).unlink(missing_ok=True)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def _environment(port: int, scratch: Path) -> dict[str, str]:
    """Return the whole environment of the emulator.

    The functions that it runs inherit it, so nothing of this shell is in it: no AWS variable, profile or proxy
    that would take a function past its execution role or past this machine.
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
        # What a closed connection leaves behind does not keep the emulator from listening.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((_HOST, port))
        except OSError:
            raise LocalError(
                f"Port {port} is in use: stop what listens there, or choose another with AWS_PORT, "
                f"for example `make run AWS_PORT={free_port()}`."
            ) from None


def answers(endpoint: str) -> bool:
    """Tell whether an emulator is up there."""
    try:
        with build_opener(ProxyHandler({})).open(f"{endpoint}/_ministack/health", timeout=1) as response:
            healthy: bool = response.status == 200
            return healthy
    except (URLError, TimeoutError):
        return False


def _is_up(process: subprocess.Popen[bytes], endpoint: str, log: Path) -> bool:
    if process.poll() is not None:
        raise LocalError(f"The emulator ended with status {process.returncode}: {log} says why.")
    return answers(endpoint)


def _stop(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(_STOPPED_WITHIN)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
