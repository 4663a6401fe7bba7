"""Runs Azurite, Microsoft's emulator of Azure Blob Storage, for the tests of ``call-recorder check``.

It needs Node.js. The first run downloads it below ``.venv/``, in the versions and with the checksums of
``requirements/azurite.json``, npm's list of packages; no script of a package runs.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import socket
import subprocess
import tempfile
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Final

from local.dynamodb_local import end_with_this_process, find_npm
from local.emulator import ROOT, LocalError, find_free_port
from local.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

PINS: Final = ROOT / "requirements" / "azurite.json"
"""npm's list of Azurite and all packages that it needs, one in a line."""

HOME: Final = ROOT / ".venv" / "azurite"
"""The folder of the downloaded versions."""

_HOST: Final = "127.0.0.1"
_MAIN: Final = Path("node_modules", "azurite", "dist", "src", "blob", "main.js")
_READY_WITHIN: Final = 30.0
_STOPPED_WITHIN: Final = 15.0


def install(home: Path = HOME) -> Path:
    """Return the folder of Azurite; download it first if it is not there.

    Raises:
        LocalError: npm is missing, or a download fails or has another checksum.
    """
    pins = PINS.read_text("utf-8")
    installed = home / hashlib.sha256(pins.encode()).hexdigest()[:16]
    if not (installed / _MAIN).exists():
        npm = find_npm("Azurite")
        home.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix="fetching-", dir=home) as scratch:
            fetched = Path(scratch) / "azurite"
            fetched.mkdir()
            (fetched / "package-lock.json").write_text(pins, "utf-8")
            (fetched / "package.json").write_text(json.dumps(json.loads(pins)["packages"][""]), "utf-8")
            _fetch(npm, fetched, home / "npm.log")
            shutil.rmtree(installed, ignore_errors=True)
            fetched.rename(installed)
    return installed


def _fetch(npm: str, folder: Path, log: Path) -> None:
    with log.open("wb") as output:
        status = subprocess.run(
            [npm, "ci", "--ignore-scripts", "--no-audit", "--no-fund"],
            cwd=folder,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            check=False,
        ).returncode
    if status:
        raise LocalError(f"npm could not install Azurite as {PINS.name} pins it: see {log}.")


@contextmanager
def run_azurite(accounts: Mapping[str, str], state: Path) -> Iterator[str]:
    """Run an empty Azurite on a free port of loopback while the block runs, and yield its endpoint URL.

    It ends with this process, even if this process is killed.

    Args:
        accounts: the access keys of the storage accounts, in Base64, by their names.
        state: a directory for its log, ``azurite.log``.

    Raises:
        LocalError: Node.js is missing, or Azurite does not start.
    """
    home = install()
    state.mkdir(parents=True, exist_ok=True)
    log, port = state / "azurite.log", find_free_port()
    command = ["node", str(home / _MAIN), "--blobHost", _HOST, "--blobPort", str(port)]
    command += ["--inMemoryPersistence", "--silent", "--disableTelemetry", "--skipApiVersionCheck"]
    with log.open("wb") as output:
        process = subprocess.Popen(
            command,
            cwd=state,
            env={**os.environ, "AZURITE_ACCOUNTS": ";".join(f"{name}:{key}" for name, key in accounts.items())},
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    with end_with_this_process(process):
        try:
            wait_until("Azurite answers", lambda: _check_up(process, port, log), within=_READY_WITHIN)
            yield f"http://{_HOST}:{port}"
        finally:
            process.terminate()
            try:
                process.wait(_STOPPED_WITHIN)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def _check_up(process: subprocess.Popen[bytes], port: int, log: Path) -> bool:
    if process.poll() is not None:
        raise LocalError(f"Azurite ended with status {process.returncode}: see {log}.")
    try:
        socket.create_connection((_HOST, port), timeout=1).close()
    except OSError:
        return False
    return True
