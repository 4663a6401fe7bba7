"""Puts what a function needs at run time into one folder: its dependencies and the package itself.

`sam build` calls this through the Makefile beside it. It runs on any Python from 3.11 on, whatever the
functions run on, because it installs ready-made wheels only and compiles nothing. All functions get the same
folder, and the same sources and requirements always give the same one, so that unchanged code is not deployed
again.

Environment:
    RECORDER_ARCH: ``arm64`` (default) or ``x86_64`` for AWS Lambda, the same as the stack's Architecture
        parameter; ``host`` for this machine and the Python that runs this, as a local emulator needs it.
    RECORDER_PYTHON: The version of Python on AWS Lambda, ``3.13`` by default. ``host`` takes no notice of it.
    RECORDER_CACHE: A folder, by its whole path, that keeps what is installed from one function to the next and
        from one build to the next. Without it, every function installs its own.
"""

import compileall
import fcntl
import hashlib
import os
import shutil
import subprocess
import sys
import sysconfig
import tempfile
import venv
from importlib.util import find_spec
from pathlib import Path
from py_compile import PycInvalidationMode

SOURCE = Path(__file__).resolve().parent
PACKAGE = "call_recorder"

# Lambda's names for processors, and the wheel world's. Amazon Linux 2023 (glibc 2.34) runs both generations.
MACHINES = {"arm64": "aarch64", "x86_64": "x86_64"}
PLATFORMS = ("manylinux_2_28", "manylinux2014")

# What no function reads: type stubs, and the scripts and lists of installed files, which name the Python that
# installed them and so differ between machines. The other metadata stays: scanners for known vulnerabilities
# go by it.
UNUSED = ("bin", "*.dist-info/RECORD", "**/*.pyi")

# botocore brings the description of every AWS service: half of the package, unpacked at every cold start. These
# are the services that the functions call.
SERVICES = ("dynamodb", "events", "iam", "sqs", "ssm")


class BuildError(Exception):
    """The build cannot be done as asked; the message says what to change."""


def target(arch: str, python: str) -> list[str]:
    """Give the options that have pip choose wheels for ``arch`` and ``python`` (such as ``3.13``).

    Raises:
        BuildError: ``arch`` is not one that can be built for.
    """
    if arch == "host":
        return []
    if arch not in MACHINES:
        raise BuildError(f"RECORDER_ARCH is {arch!r}: make it arm64, x86_64 or host.")
    platforms = [f"--platform={platform}_{MACHINES[arch]}" for platform in PLATFORMS]
    return ["--implementation=cp", f"--python-version={python}", *platforms]


def install(folder: Path, options: list[str]) -> None:
    """Install the pinned dependencies into ``folder``: no other file than the hashes allow, and wheels only.

    Raises:
        BuildError: pip failed; it has said why.
    """
    with tempfile.TemporaryDirectory() as scratch:
        python = sys.executable
        if find_spec("pip") is None:
            # Debian's python3 comes without pip, but can make an environment that has it.
            venv.create(scratch, with_pip=True)
            python = str(Path(scratch, "bin", "python"))
        command = [
            *(python, "-m", "pip", "--quiet", "--no-input", "--disable-pip-version-check", "install"),
            *("--requirement", str(SOURCE / "requirements.txt"), "--require-hashes", "--no-deps"),
            *("--only-binary=:all:", "--no-compile", "--target", str(folder), *options),
        ]
        if subprocess.run(command, check=False).returncode:
            raise BuildError("The dependencies could not be installed: pip's message is above.")


def prune(folder: Path) -> None:
    """Take away what no function reads."""
    services = [path for path in folder.glob("botocore/data/*/") if path.name not in SERVICES]
    for path in [*services, *(path for pattern in UNUSED for path in folder.glob(pattern))]:
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink()


def precompile(part: Path, folder: Path) -> None:
    """Compile ``part`` of ``folder`` for the Python that runs this, when that is what runs the functions too.

    They need not compile at every start then. Unchecked, because the files' times do not survive the way into
    the function, and without the path of ``folder``, so that it makes no difference where this is done.
    """
    compileall.compile_dir(
        part, quiet=2, workers=0, stripdir=folder, invalidation_mode=PycInvalidationMode.UNCHECKED_HASH
    )


def add_dependencies(folder: Path, arch: str, python: str) -> None:
    """Install the dependencies into ``folder`` as the functions get them.

    Raises:
        BuildError: It cannot be done as asked.
    """
    install(folder, target(arch, python))
    prune(folder)
    if arch == "host":
        precompile(folder, folder)


def kept_dependencies(cache: Path, arch: str, python: str) -> Path:
    """Give a folder in ``cache`` with the dependencies, installed now if no build before has done so.

    Whatever decides what is in it decides its name. Builds that need the same one at the same time wait for the
    first of them, and one that is interrupted leaves nothing that another would take for whole.

    Raises:
        BuildError: It cannot be done as asked.
    """
    if not cache.is_absolute():
        raise BuildError(f"RECORDER_CACHE is {str(cache)!r}: name a folder by its whole path.")
    runs_here = [sys.version, sysconfig.get_platform()] if arch == "host" else []
    asked = "\0".join([*target(arch, python), *runs_here]).encode()
    sources = [(SOURCE / "requirements.txt").read_bytes(), Path(__file__).read_bytes()]
    name = hashlib.sha256(b"\0".join([asked, *sources])).hexdigest()[:16]
    kept = cache / name
    cache.mkdir(parents=True, exist_ok=True)
    with (cache / f"{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not kept.is_dir():
            with tempfile.TemporaryDirectory(dir=cache) as scratch:
                installed = Path(scratch, name)
                installed.mkdir()
                add_dependencies(installed, arch, python)
                installed.rename(kept)
    return kept


def build(folder: Path, arch: str, python: str, cache: Path | None = None) -> None:
    """Fill ``folder``, which must be there and empty, with everything one function needs.

    Raises:
        BuildError: It cannot be done as asked.
    """
    if any(folder.iterdir()):
        raise BuildError(f"{folder} is not empty: name a new folder.")
    if cache:
        shutil.copytree(kept_dependencies(cache, arch, python), folder, dirs_exist_ok=True)
    else:
        add_dependencies(folder, arch, python)
    shutil.copytree(SOURCE / PACKAGE, folder / PACKAGE, ignore=shutil.ignore_patterns("__pycache__"))
    if arch == "host":
        precompile(folder / PACKAGE, folder)


def main() -> int:
    """Build into the folder that the command line names; give the exit status."""
    # Without a name, which is what an unset ARTIFACTS_DIR comes to, it would be the folder of the sources.
    if len(sys.argv) != 2 or not sys.argv[1] or not Path(sys.argv[1]).is_dir():
        print("usage: build.py FOLDER (one that is there and empty)", file=sys.stderr)
        return 2
    arch = os.environ.get("RECORDER_ARCH", "arm64")
    python = os.environ.get("RECORDER_PYTHON", "3.13")
    cache = os.environ.get("RECORDER_CACHE")
    try:
        build(Path(sys.argv[1]), arch, python, Path(cache) if cache else None)
    except BuildError as error:
        print(f"build: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
