"""The pruned botocore describes the operations that the code calls as the whole botocore does."""

import gzip
import json
import re
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import botocore
import pytest
from botocore import xform_name
from botocore.loaders import Loader
from botocore.regions import EndpointResolver

from pruning import OPERATIONS, UNREACHED, prune
from tests.template.stack import ROOT

WHOLE = Loader([str(Path(botocore.__file__).parent / "data")], include_default_search_paths=False)
OPERATION_NAMES = {
    service: WHOLE.load_service_model(service, "service-2")["operations"].keys() for service in OPERATIONS
}
SOURCES = [path.read_text() for path in (ROOT / "src/call_recorder").rglob("*.py")]


def installed(folder: Path, *services: str) -> Path:
    """Copy botocore's data of these services into a folder, as the installer does."""
    data = Path(botocore.__file__).parent / "data"
    others = [path.name for path in data.iterdir() if path.is_dir() and path.name not in services]
    return Path(shutil.copytree(data, folder / "botocore/data", ignore=lambda *_: others))


@pytest.fixture(scope="module")
def pruned(tmp_path_factory: pytest.TempPathFactory) -> Loader:
    folder = tmp_path_factory.mktemp("pruned")
    data = installed(folder, *OPERATIONS, "s3")
    prune(folder)
    return Loader([str(data)], include_default_search_paths=False)


def undocumented(described: Any) -> Any:
    """Return a description without its texts. No member of the services in use is named ``documentation``."""
    return json.loads(
        json.dumps(described), object_hook=lambda each: {n: each[n] for n in each if n != "documentation"}
    )


@pytest.mark.parametrize("service", OPERATIONS)
def test_a_service_in_use_is_described_as_in_the_whole_botocore(pruned: Loader, service: str) -> None:
    """Requests, answers and errors follow from these shapes, so they are the same too."""
    whole = undocumented(WHOLE.load_service_model(service, "service-2"))
    narrow = pruned.load_service_model(service, "service-2")
    referred_to = set(re.findall(r'"shape": "(\w+)"', json.dumps(narrow)))

    assert narrow["operations"] == {name: whole["operations"][name] for name in OPERATIONS[service]}
    assert narrow["shapes"] == {name: whole["shapes"][name] for name in referred_to}
    assert {**narrow, "operations": None, "shapes": None} == {**whole, "operations": None, "shapes": None}
    for name in ("paginators-1", "endpoint-rule-set-1"):
        assert pruned.load_service_model(service, name) == WHOLE.load_service_model(service, name)


def test_only_the_services_in_use_are_described(pruned: Loader) -> None:
    assert pruned.list_available_services("service-2") == sorted(OPERATIONS)


@pytest.mark.parametrize("service", OPERATIONS)
def test_a_service_has_the_endpoints_of_the_whole_botocore(pruned: Loader, service: str) -> None:
    whole, narrow = (EndpointResolver(loader.load_data("endpoints")) for loader in (WHOLE, pruned))
    prefix = WHOLE.load_service_model(service, "service-2")["metadata"]["endpointPrefix"]

    for partition in whole.get_available_partitions():
        for region in [*whole.get_available_endpoints("ec2", partition), "of-tomorrow-1"]:
            assert narrow.construct_endpoint(prefix, region) == whole.construct_endpoint(prefix, region)


@pytest.mark.parametrize(
    ("operations", "message"),
    [
        ({"ssm": ("GetParametres",)}, "SSM has no operation GetParametres"),
        ({"smm": ("GetParameters",)}, "botocore describes no service smm"),
    ],
)
def test_a_misspelt_name_fails_the_build(tmp_path: Path, operations: Mapping[str, tuple[str]], message: str) -> None:
    installed(tmp_path, "ssm")

    with pytest.raises(LookupError, match=message):
        prune(tmp_path, operations)


def test_texts_go_and_a_member_named_documentation_stays(tmp_path: Path) -> None:
    service = tmp_path / "botocore/data/library/2026-11-23"
    service.mkdir(parents=True)
    book = {"type": "structure", "members": {"documentation": {"shape": "Text", "documentation": "What it says."}}}
    model = {
        "metadata": {"endpointPrefix": "library", "serviceId": "Library"},
        "operations": {"Lend": {"input": {"shape": "Book"}}, "Burn": {"input": {"shape": "Fire"}}},
        "shapes": {"Book": book, "Text": {"type": "string"}, "Fire": {"type": "string"}},
    }
    (service / "service-2.json.gz").write_bytes(gzip.compress(json.dumps(model).encode()))
    (service.parents[1] / "endpoints.json").write_text('{"partitions": []}')

    prune(tmp_path, {"library": ("Lend",)})

    assert json.loads((service / "service-2.json").read_text())["shapes"] == {
        "Book": {"type": "structure", "members": {"documentation": {"shape": "Text"}}},
        "Text": {"type": "string"},
    }


def called(source: str) -> set[tuple[str, str]]:
    """Return the operations that a module calls by a client: as its method, or by name to a paginator or ``call``.

    A module that names no client may call any service.
    """
    services = set(re.findall(r'(?:from mypy_boto3_|create_client\(")(\w+)', source)) or OPERATIONS.keys()
    names = {xform_name(name) for name in re.findall(r'(?:call|get_paginator)\("(\w+)"', source)}
    names |= set(re.findall(r"(?<!\bsocket)\.(\w+)\(", source))
    return {(service, name) for service in services for name in OPERATION_NAMES[service] if xform_name(name) in names}


def test_the_code_calls_the_kept_operations_and_no_other() -> None:
    kept = {(service, operation) for service, operations in OPERATIONS.items() for operation in operations}

    assert set().union(*map(called, SOURCES)) == kept
    assert not [source for source in SOURCES if re.search(r"boto3\.resource|get_waiter|\.Table\(", source)]


@pytest.mark.parametrize("pattern", UNREACHED)
def test_every_pattern_of_a_removed_module_matches_one(pattern: str) -> None:
    assert list(Path(botocore.__file__).parents[1].glob(pattern))
