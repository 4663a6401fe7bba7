"""The pruned botocore describes the operations that the code calls as the whole botocore does."""

import json
import re
import shutil
from pathlib import Path
from typing import Any

import botocore
import pytest
from botocore import xform_name
from botocore.loaders import Loader

from pruning import OPERATIONS, UNREACHED, prune
from tests.template.stack import ROOT

DATA = Path(botocore.__file__).parent / "data"
WHOLE = Loader([str(DATA)], include_default_search_paths=False)
SOURCES = [path.read_text() for path in (ROOT / "src/call_recorder").rglob("*.py")]


@pytest.fixture(scope="module")
def pruned(tmp_path_factory: pytest.TempPathFactory) -> Loader:
    folder = tmp_path_factory.mktemp("pruned")
    others = [path.name for path in DATA.iterdir() if path.is_dir() and path.name not in (*OPERATIONS, "s3")]
    data = shutil.copytree(DATA, folder / "botocore/data", ignore=lambda *_: others)
    prune(folder)
    return Loader([str(data)], include_default_search_paths=False)


def undocumented(described: Any) -> Any:
    """Return a description without its texts. A member that is named ``documentation`` is no text."""
    match described:
        case dict():
            texts = {name for name in described if name == "documentation" and isinstance(described[name], str)}
            return {name: undocumented(described[name]) for name in described.keys() - texts}
        case list():
            return [undocumented(part) for part in described]
    return described


@pytest.mark.parametrize("service", OPERATIONS)
def test_a_service_in_use_is_described_as_in_the_whole_botocore(pruned: Loader, service: str) -> None:
    """Requests, answers and errors follow from these shapes, so they are the same too."""
    whole = undocumented(WHOLE.load_service_model(service, "service-2"))
    narrow = pruned.load_service_model(service, "service-2")
    referred_to = set(re.findall(r'"shape": "(\w+)"', json.dumps(narrow)))

    assert narrow["operations"] == {name: whole["operations"][name] for name in OPERATIONS[service]}
    assert narrow["shapes"] == {name: whole["shapes"][name] for name in referred_to}
    assert undocumented({**narrow, "operations": None, "shapes": None}) == {**whole, "operations": None, "shapes": None}
    for name in ("paginators-1", "endpoint-rule-set-1"):
        assert pruned.load_service_model(service, name) == WHOLE.load_service_model(service, name)


def test_the_services_in_use_have_the_endpoints_of_the_whole_botocore(pruned: Loader) -> None:
    models = [WHOLE.load_service_model(service, "service-2") for service in OPERATIONS]
    prefixes = {model["metadata"]["endpointPrefix"] for model in models}
    whole = WHOLE.load_data("endpoints")
    for partition in whole["partitions"]:
        partition["services"] = {name: each for name, each in partition["services"].items() if name in prefixes}

    assert pruned.load_data("endpoints") == whole


@pytest.mark.parametrize(("service", "operation"), [("ssm", "GetParametres"), ("smm", "GetParameters")])
def test_a_misspelt_name_fails_the_build(tmp_path: Path, service: str, operation: str) -> None:
    shutil.copytree(DATA / "ssm", tmp_path / "botocore/data/ssm")

    with pytest.raises(LookupError, match=r"SSM has no operation GetParametres|botocore describes no service smm"):
        prune(tmp_path, {service: (operation,)})


def called(source: str) -> set[tuple[str, str]]:
    """Return the operations that a module calls by a client: as its method, or by name to a paginator or ``call``.

    A module that names no client may call any service.
    """
    services = set(re.findall(r'(?:from mypy_boto3_|create_client\(")(\w+)', source)) or OPERATIONS.keys()
    names = {xform_name(name) for name in re.findall(r'(?:call|get_paginator)\("(\w+)"', source)}
    names |= set(re.findall(r"(?<!\bsocket)\.(\w+)\(", source))
    operations = {service: WHOLE.load_service_model(service, "service-2")["operations"] for service in services}
    return {(service, name) for service in services for name in operations[service] if xform_name(name) in names}


def test_only_what_the_code_calls_is_described(pruned: Loader) -> None:
    kept = {(service, operation) for service, operations in OPERATIONS.items() for operation in operations}

    assert set().union(*map(called, SOURCES)) == kept
    assert not [source for source in SOURCES if re.search(r"boto3\.resource|get_waiter|\.Table\(", source)]
    assert pruned.list_available_services("service-2") == sorted(OPERATIONS)


@pytest.mark.parametrize("pattern", UNREACHED)
def test_every_pattern_of_a_removed_module_matches_one(pattern: str) -> None:
    assert list(DATA.parents[1].glob(pattern))
