"""handlers -> recording, sinch, aws; aws -> recording; recording -> sinch; sinch -> nothing of ours."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[2] / "src" / "call_recorder"
FILES = sorted(PACKAGE.rglob("*.py"))

MAY_IMPORT = {
    "handlers": {"handlers", "recording", "sinch", "aws"},
    "aws": {"aws", "recording"},
    "recording": {"recording", "sinch"},
    "sinch": {"sinch"},
}
OUTSIDE = ("boto3", "botocore", "aws_lambda_powertools", "mypy_boto3")


def part_of(path: Path) -> str:
    return path.relative_to(PACKAGE).parts[0]


def imports(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0
            yield node.module or ""
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def files_of(*parts: str) -> list[Path]:
    return [path for path in FILES if part_of(path) in parts]


def test_every_part_is_here() -> None:
    assert {part_of(path) for path in FILES} == {*MAY_IMPORT, "__init__.py"}


@pytest.mark.parametrize("path", files_of(*MAY_IMPORT), ids=lambda path: str(path.relative_to(PACKAGE)))
def test_a_part_imports_only_the_parts_below_it(path: Path) -> None:
    ours = {name.split(".")[1] for name in imports(path) if name.startswith("call_recorder.")}

    assert ours <= MAY_IMPORT[part_of(path)]


@pytest.mark.parametrize("path", files_of("sinch", "recording"), ids=lambda path: str(path.relative_to(PACKAGE)))
def test_protocol_and_domain_know_no_aws(path: Path) -> None:
    assert not [name for name in imports(path) if name.startswith(OUTSIDE)]


@pytest.mark.parametrize("path", files_of("aws"), ids=lambda path: path.name)
def test_adapters_know_no_powertools(path: Path) -> None:
    assert not [name for name in imports(path) if name.startswith("aws_lambda_powertools")]


@pytest.mark.parametrize(
    "path",
    [path for path in FILES if path not in files_of("handlers")],
    ids=lambda path: str(path.relative_to(PACKAGE)),
)
def test_only_handlers_read_the_environment(path: Path) -> None:
    names = {node.attr for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Attribute)}

    assert not names & {"environ", "getenv", "environb"}
    assert "os" not in set(imports(path))


def is_broad(node: ast.ExceptHandler) -> bool:
    return node.type is None or (isinstance(node.type, ast.Name) and node.type.id in {"Exception", "BaseException"})


def test_nothing_catches_everything_but_where_somebody_waits_for_an_answer() -> None:
    broad = [
        path.name
        for path in FILES
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.ExceptHandler) and is_broad(node)
    ]

    assert broad == ["cleanup.py", "front_door.py"]
