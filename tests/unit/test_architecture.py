"""The rooms of the package and the command line, and which may import which (docs/decisions/0026)."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[2] / "src" / "call_recorder"
FILES = sorted(path for path in PACKAGE.rglob("*.py") if path.parent != PACKAGE)
ROOT = PACKAGE.parents[1]
CLI = ROOT / "call_recorder_cli"
COMMAND_LINE = sorted(CLI.rglob("*.py"))
CLI_ROOMS = [path for path in COMMAND_LINE if path.parent != CLI]
CLI_FRAME = [path for path in COMMAND_LINE if path.parent == CLI]


def list_allowed(floors: list[list[str]]) -> dict[str, set[str]]:
    """Return the rooms that each room may import, of floors from the top down. Rooms of one floor are apart."""
    return {
        room: {room, *(below for lower in floors[floor + 1 :] for below in lower)}
        for floor, rooms in enumerate(floors)
        for room in rooms
    }


MAY_IMPORT = list_allowed(
    [["functions"], ["adapters"], ["uploader_key", "custody"], ["answering", "tracking"], ["facts"], ["sinch"]]
)
CLI_MAY_IMPORT = list_allowed(
    [
        ["commands"],
        ["probes", "diagnosis", "trial", "custody", "maintenance"],
        ["recordings"],
        ["applications", "profiles"],
    ]
)
OUTSIDE = {"boto3", "botocore", "mypy_boto3", "socket", "ssl", "http", "urllib", "threading", "concurrent", "asyncio"}
PURE = {"urllib.parse"}
SLOW = {"boto3", "azure", "rich"}
"""What a command line loads when a command needs it, and not for its help."""


def room_of(path: Path) -> str:
    return path.relative_to(PACKAGE).parts[0]


def named(path: Path) -> str:
    return str(path.relative_to(PACKAGE))


def imports(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0
            yield node.module or ""
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def lines(paths: list[Path]) -> int:
    return sum(len(path.read_text().splitlines()) for path in paths)


def files_of(*rooms: str) -> list[Path]:
    return [path for path in FILES if room_of(path) in rooms]


def test_the_package_has_these_rooms_and_no_other() -> None:
    assert {room_of(path) for path in FILES} == set(MAY_IMPORT)


@pytest.mark.parametrize("path", FILES, ids=named)
def test_a_room_imports_itself_and_the_rooms_below_only(path: Path) -> None:
    ours = {name.split(".")[1] for name in imports(path) if name.startswith("call_recorder.")}

    assert ours <= MAY_IMPORT[room_of(path)]


def test_no_files_import_each_other_in_a_circle() -> None:
    modules = {f"call_recorder.{named(path)[:-3].replace('/', '.')}": path for path in FILES}
    graph = {module: modules.keys() & set(imports(path)) for module, path in modules.items()}

    assert list(TopologicalSorter(graph).static_order())


@pytest.mark.parametrize("room", MAY_IMPORT)
def test_no_room_has_more_than_a_quarter_of_the_lines(room: str) -> None:
    assert lines(files_of(room)) <= lines(FILES) / 4


@pytest.mark.parametrize("path", files_of(*MAY_IMPORT.keys() - {"functions", "adapters"}), ids=named)
def test_the_domain_imports_no_aws_network_or_threads(path: Path) -> None:
    outside = {name for name in imports(path) if name.partition(".")[0].startswith(tuple(OUTSIDE))}

    assert {name for name in outside if not name.startswith(tuple(PURE)) and name != "urllib"} == set()


@pytest.mark.parametrize("path", files_of(*MAY_IMPORT.keys() - {"functions"}), ids=named)
def test_only_functions_read_the_environment_and_use_powertools(path: Path) -> None:
    names = {node.attr for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Attribute)}

    assert not names & {"environ", "getenv", "environb"}
    assert not {name for name in imports(path) if name == "os" or name.startswith("aws_lambda_powertools")}


def is_broad(node: ast.AST) -> bool:
    return isinstance(node, ast.ExceptHandler) and (
        node.type is None or (isinstance(node.type, ast.Name) and node.type.id in {"Exception", "BaseException"})
    )


def test_only_the_edges_catch_every_exception() -> None:
    broad = {named(path) for path in FILES if any(map(is_broad, ast.walk(ast.parse(path.read_text()))))}

    assert broad == {"functions/callback_handler.py", "functions/cleanup.py", "functions/watchdog.py"}


def imported_packages(paths: list[Path]) -> set[str]:
    return {name.partition(".")[0] for path in paths for name in imports(path)}


def test_lambda_never_sees_the_command_line() -> None:
    assert "call_recorder_cli" not in imported_packages([*PACKAGE.rglob("*.py")])


def test_the_command_line_imports_nothing_that_is_not_installed_with_it() -> None:
    assert not imported_packages(COMMAND_LINE) & {"local", "tests", "benchmarks", "aws_lambda_powertools"}


def cli_imports(path: Path) -> set[str]:
    return {name.split(".")[1] for name in imports(path) if name.startswith("call_recorder_cli.")}


@pytest.mark.parametrize("path", CLI_ROOMS, ids=lambda path: str(path.relative_to(CLI)))
def test_a_room_of_the_command_line_imports_only_rooms_below(path: Path) -> None:
    assert cli_imports(path) & CLI_MAY_IMPORT.keys() <= CLI_MAY_IMPORT[path.relative_to(CLI).parts[0]]


def test_what_all_commands_share_imports_no_room() -> None:
    assert not {name for path in CLI_FRAME for name in cli_imports(path)} & CLI_MAY_IMPORT.keys()


def test_help_loads_no_client_of_a_store() -> None:
    script = "import sys; from call_recorder_cli.main import main; code = main(['--help']); print(*sys.modules)"
    loaded = subprocess.run(  # noqa: S603
        [sys.executable, "-c", script],
        capture_output=True,
        text=True,
        check=True,
        cwd=ROOT,
        env={"PYTHONPATH": "src:."},
    ).stdout

    assert "dead-letters" in loaded
    assert not SLOW & set(loaded.split())
