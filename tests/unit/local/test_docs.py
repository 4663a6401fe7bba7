"""The pages agree with the repository: links lead somewhere, refusals are the code's, the version is one."""

from __future__ import annotations

import ast
import re
import tomllib
from functools import cache
from pathlib import Path

import pytest

from call_recorder_cli.main import main
from tests.template.stack import read_template

ROOT = Path(__file__).resolve().parents[3]
PAGES = sorted([*ROOT.glob("*.md"), *(page for folder in ROOT.glob("[!.]*/") for page in folder.rglob("*.md"))])
_FENCE = re.compile(r"^```.*?^```", re.DOTALL | re.MULTILINE)
_LINK = re.compile(r"\]\((?!https?:|mailto:)([^)\s#]*)(?:#([^)\s]+))?\)")
_SOURCES = ("answering/*.py", "facts/*.py", "sinch/*.py")


def prose(page: Path) -> str:
    return _FENCE.sub("", page.read_text())


@cache
def anchors(page: Path) -> set[str]:
    """The anchors of a page's headings, as GitHub makes them."""
    titles = re.findall(r"^#+ (.+)$", prose(page), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", title.lower()).replace(" ", "-") for title in titles}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_relative_link_of_a_page_leads_somewhere(page: Path) -> None:
    dead = []
    for target, anchor in _LINK.findall(re.sub(r"`[^`\n]*`", "", prose(page))):
        file = (page.parent / target).resolve() if target else page
        if not file.exists() or (anchor and anchor not in anchors(file)):
            dead.append(f"{target}#{anchor}")

    assert not dead


def test_the_readme_fits_on_the_first_page() -> None:
    assert len((ROOT / "README.md").read_text().splitlines()) <= 130


def texts_of_the_code() -> set[str]:
    """Return the texts that make up the sentences of the code, in pieces where values are put in."""
    files = [file for pattern in _SOURCES for file in (ROOT / "src" / "call_recorder").glob(pattern)]
    nodes = (node for file in files for node in ast.walk(ast.parse(file.read_text())))
    texts = (node.value for node in nodes if isinstance(node, ast.Constant) and isinstance(node.value, str))
    return {text for text in texts if len(text) >= 16 and not re.fullmatch(r"[\w-]+", text)}


def test_the_profile_page_shows_only_refusals_that_the_code_says() -> None:
    section = (ROOT / "docs" / "profile.md").read_text().split("\n## What is refused\n")[1]
    cells = re.findall(r"^\| (`.+`) \| ", section, re.MULTILINE)
    shown = [sentence for cell in cells for sentence in re.findall("`(.+?)`", cell)]
    by_pydantic = re.compile("(input|string) should ")
    said = texts_of_the_code()

    assert len(shown) >= 35
    assert not [each for each in shown if not by_pydantic.search(each) and not any(text in each for text in said)]


def test_the_profile_page_shows_what_explain_prints(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["explain", str(ROOT / "examples" / "profiles" / "every-field.json")]) == 0

    assert f"\n```\n{capsys.readouterr().out}```\n" in (ROOT / "docs" / "profile.md").read_text()


def test_the_version_is_the_same_in_package_template_and_changelog() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    metadata = read_template()["Metadata"]["AWS::ServerlessRepo::Application"]
    [latest, *_] = re.findall(r"^## \[(\d+\.\d+\.\d+)\]", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)

    assert project["version"] == metadata["SemanticVersion"] == latest
    assert f"**Status: [{latest}]" in (ROOT / "README.md").read_text()


def test_the_metadata_of_the_template_is_what_a_catalogue_takes() -> None:
    metadata = read_template()["Metadata"]["AWS::ServerlessRepo::Application"]

    assert metadata["SpdxLicenseId"] == "Apache-2.0"
    assert len(metadata["Description"]) <= 256
    assert re.fullmatch("[a-z0-9]([a-z0-9]|-(?!-)){0,125}[a-z0-9]", metadata["Author"])
    assert len(metadata["Labels"]) <= 10
    for file in ("LicenseUrl", "ReadmeUrl"):
        assert (ROOT / metadata[file]).is_file()


def test_the_map_of_the_code_names_files_that_exist() -> None:
    section = (ROOT / "CONTRIBUTING.md").read_text().split("\n## Map of the code\n")[1]
    code_map, _ = section.split("\nOutside the package:\n")
    rooms = re.findall(r"^  (\w+)/ ", code_map, re.MULTILINE)
    files = re.findall(r"`(\w+/\w+\.py)`", code_map)
    package = ROOT / "src" / "call_recorder"

    assert sorted(rooms) == sorted(folder.name for folder in package.glob("[!_]*/"))
    assert len(files) >= 18
    assert not [file for file in files if not (package / file).is_file()]
