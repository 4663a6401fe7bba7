"""Makes one of the environments of the Makefile, unless it is there: ``python -m local.environment NAME``.

It runs on a bare Python and needs nothing but the standard library. Several `make` may need the same environment at
the same time: the first makes it, the others wait for it.
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
"""A copy of the list that an environment was made from, written when it is whole."""

_ROOT = Path(__file__).resolve().parent.parent
_SIGN_OF_LIFE_SECONDS = 5.0
_LINES_TOLD = 5
_INTERRUPTED = 130


class NotInstalled(Exception):
    """An environment could not be made; the text says where to read why."""


def make(name: str, environments: Path, requirements: Path) -> None:
    """Make an environment from a complete list of packages with their hashes, if it is not there as the list says.

    Args:
        name: of the environment, and of the folder that it gets in ``environments``.
        environments: the folder of those for this version of Python.
        requirements: the list.

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
            installed.touch()  # make compares the times
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
    # The list is complete, so pip need not resolve anything, and most modules are never imported, so it need not
    # compile them.
    command = [
        *(str(folder / "bin" / "python"), "-m", "pip", "--disable-pip-version-check", "--no-input", "install"),
        *("--no-deps", "--no-compile", "--require-hashes", "--requirement", str(requirements)),
    ]
    with log.open("wb") as output:
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT)
        over = threading.Event()
        telling = threading.Thread(target=_tell, args=(name, packages, log, over), daemon=True)
        telling.start()
        try:
            status = process.wait()
        finally:
            over.set()
            telling.join()
    if status:
        last = "\n".join(log.read_text("utf-8", "replace").splitlines()[-_LINES_TOLD:])
        raise NotInstalled(f"{last}\nThe {name} environment could not be installed; the whole story is in {log}.")
    print(f"Installed the {name} environment.", flush=True)


def _tell(name: str, packages: int, log: Path, over: threading.Event) -> None:
    """Say every few seconds how far it is, so that a slow network is not taken for a standstill."""
    started = time.monotonic()
    while not over.wait(_SIGN_OF_LIFE_SECONDS):
        text = log.read_text("utf-8", "replace")
        collected = sum(line.startswith("Collecting ") for line in text.splitlines())
        far = "unpacking" if "\nInstalling collected" in text else f"{collected} of {packages} packages fetched"
        print(f"  {name}: {far}, {time.monotonic() - started:.0f} s", flush=True)


def _end(_number: int, _frame: FrameType | None) -> None:
    # What is half made is not taken for whole: it has no list yet. Ctrl-C has reached pip too.
    os._exit(_INTERRUPTED)


def main() -> int:
    """Make the environment that the command line names; return the exit status."""
    signal.signal(signal.SIGINT, _end)
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
