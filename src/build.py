"""Puts the dependencies and the package of a function into one folder.

`sam build` runs this through the Makefile beside it, on any Python from 3.11 on, because it installs wheels only. The
Python version of the functions compiles the package, if that version is installed here. All functions get the same
folder. The same sources and requirements, compiled by the same Python, give the same bytes, so unchanged code is not
deployed again.

For AWS Lambda, the folder has the machine code of both architectures. Python selects a file by its name, so the stack's
parameter Architecture alone decides which one is loaded.

Environment:
    RECORDER_ARCH: ``lambda`` (default), or ``host`` for this machine and the Python that runs this, for a local
        emulator.
    RECORDER_PYTHON: The version of Python on AWS Lambda, ``3.13`` by default. ``host`` ignores it.
    RECORDER_CACHE: A folder, by its whole path, that keeps installed dependencies between functions and between
        builds. Without it, every function installs its own.
"""

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

import pruning

SOURCE = Path(__file__).resolve().parent
PACKAGE = "call_recorder"

# Lambda's architectures as wheels name them: arm64 and x86_64. Amazon Linux 2023 (glibc 2.34) runs both generations.
MACHINES = ("aarch64", "x86_64")
PLATFORMS = ("manylinux_2_28", "manylinux2014")

# Metadata of a wheel. It differs between architectures; one of them is kept.
_NOTES = ".dist-info"

# Asks a Python what it is. Compiled code is the same within a minor version, but only after its final release.
_ASKED = "import sys; print(sys.implementation.name, '%d.%d' % sys.version_info[:2], sys.version_info.releaselevel)"

NOT_COMPILED = """\
build: there is no Python {0} here to compile the package with, so every cold start will compile it and take about \
twice as long; install Python {0}, or name its path: PYTHON=/path/to/python{0} sam build."""


class BuildError(Exception):
    """The build is not possible; the message says what to change."""


def targets(arch: str, python: str) -> list[list[str]]:
    """Return pip's options that choose wheels for ``arch`` and ``python`` (such as ``3.13``), for each installation.

    Raises:
        BuildError: ``arch`` is unknown.
    """
    if arch == "host":
        return [[]]
    if arch != "lambda":
        raise BuildError(
            f"RECORDER_ARCH is {arch!r}: unset it, because the package is for both of Lambda's architectures, "
            "or set it to host."
        )
    for_lambda = ["--implementation=cp", f"--python-version={python}"]
    return [[*for_lambda, *(f"--platform={each}_{machine}" for each in PLATFORMS)] for machine in MACHINES]


def install(folder: Path, options: list[str]) -> None:
    """Install the pinned dependencies into ``folder``: wheels only, and only files with the pinned hashes.

    Raises:
        BuildError: pip failed; its message is on the standard error.
    """
    with tempfile.TemporaryDirectory() as scratch:
        python = sys.executable
        if find_spec("pip") is None:
            # Debian's python3 has no pip, but can create an environment that has it.
            venv.create(scratch, with_pip=True)
            python = str(Path(scratch, "bin", "python"))
        command = [
            *(python, "-m", "pip", "--quiet", "--no-input", "--disable-pip-version-check", "install"),
            *("--requirement", str(SOURCE / "requirements.txt"), "--require-hashes", "--no-deps"),
            *("--only-binary=:all:", "--no-compile", "--target", str(folder), *options),
        ]
        if subprocess.run(command, check=False).returncode:
            raise BuildError("The dependencies could not be installed: pip's message is above.")


def compiler(arch: str, python: str) -> str | None:
    """Return the Python that compiles for the functions: one of their minor version, if there is one.

    Every candidate must answer, because a version manager puts commands on the PATH that have no Python.
    """
    if arch == "host":
        return sys.executable
    name = f"python{python}"
    pyenv = Path(os.environ.get("PYENV_ROOT") or Path(os.environ.get("HOME", ""), ".pyenv"))
    candidates = [
        Path(sys.executable),
        *(Path(folder, name) for folder in os.get_exec_path()),
        *sorted(pyenv.glob(f"versions/{python}.*/bin/{name}")),
    ]
    return next((str(path) for path in candidates if _is_python(path, python)), None)


def _is_python(path: Path, version: str) -> bool:
    try:
        asked = subprocess.run([path, "-I", "-S", "-c", _ASKED], capture_output=True, check=False)
    except OSError:
        return False
    return asked.stdout.decode(errors="replace").split() == ["cpython", version, "final"]


def precompile(part: Path, folder: Path, python: str = sys.executable) -> None:
    """Compile ``part`` of ``folder`` with ``python``, so that a function need not compile at every start.

    The code is unchecked, because file times do not survive the deployment, and contains no path of ``folder``. It has
    no docstrings, because they take a twentieth of a function's memory; it is renamed to the name that Lambda's Python
    looks for. One process compiles all files in the order of their names, because the bytes that Python writes depend
    on what it holds in memory. So the same sources give the same bytes.

    Raises:
        BuildError: a module cannot be compiled; Python's message is on the standard error.
    """
    command = [
        *(python, "-S", "-P", "-m", "compileall", "-q", "-o", "2", "--invalidation-mode", "unchecked-hash"),
        *("-s", str(folder), str(part)),
    ]
    own = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    if subprocess.run(command, env=own | {"PYTHONHASHSEED": "0"}, check=False).returncode:
        raise BuildError(f"{part.name} could not be compiled: {python}'s message is above.")
    for compiled in part.rglob("*.opt-2.pyc"):
        compiled.rename(compiled.with_name(compiled.name.replace(".opt-2", "")))


def add_machine_code(other: Path, folder: Path) -> None:
    """Move the files that only ``other`` has into ``folder``: both have the same dependencies for different machines.

    Raises:
        BuildError: a file differs, so one folder cannot serve both machines.
    """
    for path in sorted(path for path in other.rglob("*") if path.is_file()):
        name = path.relative_to(other)
        there = folder / name
        if not there.exists():
            there.parent.mkdir(parents=True, exist_ok=True)
            shutil.move(path, there)
        elif not name.parts[0].endswith(_NOTES) and there.read_bytes() != path.read_bytes():
            raise BuildError(f"{name} is not the same for all of Lambda's architectures.")


def add_dependencies(folder: Path, arch: str, python: str, compiled_by: str | None) -> None:
    """Install, prune and compile the dependencies in ``folder``.

    Raises:
        BuildError: the build is not possible.
    """
    first, *others = targets(arch, python)
    install(folder, first)
    for options in others:
        with tempfile.TemporaryDirectory() as scratch:
            install(Path(scratch), options)
            add_machine_code(Path(scratch), folder)
    pruning.prune(folder)
    if compiled_by:
        precompile(folder, folder, compiled_by)


def kept_dependencies(cache: Path, arch: str, python: str, compiled_by: str | None) -> Path:
    """Return a folder in ``cache`` with the dependencies. Install them first if no earlier build has.

    The folder's name is a hash of everything that decides its content. Builds that need the same folder at the same
    time wait for the first one. An interrupted build leaves no incomplete folder.

    Raises:
        BuildError: the build is not possible.
    """
    if not cache.is_absolute():
        raise BuildError(f"RECORDER_CACHE is {str(cache)!r}: name a folder by its whole path.")
    runs_here = [sys.version, sysconfig.get_platform()] if arch == "host" else [str(compiled_by)]
    asked = "\0".join([*(option for options in targets(arch, python) for option in options), *runs_here]).encode()
    read = (SOURCE / "requirements.txt", Path(__file__), Path(pruning.__file__))
    name = hashlib.sha256(b"\0".join([asked, *(path.read_bytes() for path in read)])).hexdigest()[:16]
    kept = cache / name
    cache.mkdir(parents=True, exist_ok=True)
    with (cache / f"{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not kept.is_dir():
            with tempfile.TemporaryDirectory(dir=cache) as scratch:
                installed = Path(scratch, name)
                installed.mkdir()
                add_dependencies(installed, arch, python, compiled_by)
                installed.rename(kept)
    return kept


def build(folder: Path, arch: str, python: str, cache: Path | None = None) -> None:
    """Fill ``folder``, which must exist and be empty, with everything that a function needs.

    Raises:
        BuildError: the build is not possible.
    """
    if any(folder.iterdir()):
        raise BuildError(f"{folder} is not empty: name a new folder.")
    compiled_by = compiler(arch, python)
    if compiled_by is None:
        # On standard output, because SAM shows nothing else of a successful build.
        print(NOT_COMPILED.format(python))
    if cache:
        shutil.copytree(kept_dependencies(cache, arch, python, compiled_by), folder, dirs_exist_ok=True)
    else:
        add_dependencies(folder, arch, python, compiled_by)
    shutil.copytree(SOURCE / PACKAGE, folder / PACKAGE, ignore=shutil.ignore_patterns("__pycache__", "py.typed"))
    if compiled_by:
        precompile(folder / PACKAGE, folder, compiled_by)


def main() -> int:
    """Build into the folder that the command line names; return the exit status."""
    # An unset ARTIFACTS_DIR gives an empty name, which would mean the folder of the sources.
    if len(sys.argv) != 2 or not sys.argv[1] or not Path(sys.argv[1]).is_dir():
        print("usage: build.py FOLDER (an existing, empty one)", file=sys.stderr)
        return 2
    arch = os.environ.get("RECORDER_ARCH", "lambda")
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
