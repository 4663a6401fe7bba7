"""Makes an environment of the Makefile if it is not there yet: ``python -m local.environment NAME``.

It uses the standard library only, because it runs before anything is installed. If several `make` need the same
environment at the same time, the first one makes it and the others wait.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
import venv
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from types import FrameType

INSTALLED = "installed.txt"
"""A copy of an environment's list of packages, written when the environment is complete."""

_ROOT = Path(__file__).resolve().parent.parent
_REPORT_SECONDS = 5.0
_LOG_LINES_SHOWN = 5
_INTERRUPTED = 130


class NotInstalled(Exception):
    """An environment could not be made; the text has the end of pip's log and names the file."""


def make(name: str, environments: Path, requirements: Path) -> None:
    """Make an environment from a complete list of packages with hashes, unless it is there with the same list.

    Args:
        name: the name of the environment and of its folder in ``environments``.
        environments: the folder of the environments for this version of Python.
        requirements: the file with the list.

    Raises:
        NotInstalled: pip failed.
    """
    folder = environments / name
    environments.mkdir(parents=True, exist_ok=True)
    with (environments / f"{name}.lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            print(f"Waiting for another `make` that installs the {name} environment ...", flush=True)
            fcntl.flock(lock, fcntl.LOCK_EX)
        wanted, installed = requirements.read_bytes(), folder / INSTALLED
        if installed.is_file() and installed.read_bytes() == wanted:
            installed.touch()  # make compares the times of both files
            return
        _install(name, folder, requirements)
        installed.write_bytes(wanted)


def _install(name: str, folder: Path, requirements: Path) -> None:
    packages = requirements.read_text("utf-8").count("==")
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    print(f"Installing the {name} environment: {packages} packages for Python {version} ...", flush=True)
    shutil.rmtree(folder, ignore_errors=True)
    venv.create(folder, with_pip=True, symlinks=True)
    log = folder / "pip.log"
    # The list is complete, so pip has nothing to resolve. Most modules are never imported, so compiling them is
    # wasted work.
    command = [
        *(str(folder / "bin" / "python"), "-m", "pip", "--disable-pip-version-check", "--no-input", "install"),
        *("--no-deps", "--no-compile", "--require-hashes", "--requirement", str(requirements)),
    ]
    with log.open("wb") as output:
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT)
        over = threading.Event()
        reporting = threading.Thread(target=_report, args=(name, packages, log, over), daemon=True)
        reporting.start()
        try:
            status = process.wait()
        finally:
            over.set()
            reporting.join()
    if status:
        last = "\n".join(log.read_text("utf-8", "replace").splitlines()[-_LOG_LINES_SHOWN:])
        raise NotInstalled(f"{last}\nThe {name} environment could not be installed; see {log}.")
    print(f"Installed the {name} environment.", flush=True)


def _report(name: str, packages: int, log: Path, over: threading.Event) -> None:
    """Print the progress every few seconds, so that a slow network does not look like a hang."""
    started = time.monotonic()
    while not over.wait(_REPORT_SECONDS):
        text = log.read_text("utf-8", "replace")
        collected = sum(line.startswith("Collecting ") for line in text.splitlines())
        progress = "unpacking" if "\nInstalling collected" in text else f"{collected} of {packages} packages fetched"
        print(f"  {name}: {progress}, {time.monotonic() - started:.0f} s", flush=True)


def _exit(_number: int, _frame: FrameType | None) -> None:
    # A half-made environment has no list yet, so the next run makes it again. Ctrl-C has reached pip too.
    os._exit(_INTERRUPTED)


def main() -> int:
    """Make the environment that the command line names; return the exit status."""
    signal.signal(signal.SIGINT, _exit)
    [name] = sys.argv[1:]
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    try:
        make(name, Path(".venv", version), _ROOT / "requirements" / f"{name}.txt")
    except NotInstalled as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
