"""What is left of botocore does for the operations in use what the whole does, and no operation in use is missing."""

import ast
import base64
import gzip
import json
import re
import shutil
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from itertools import product
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import botocore
import pytest
from botocore import xform_name
from botocore.awsrequest import AWSRequest, AWSResponse
from botocore.compat import HTTPHeaders
from botocore.config import Config
from botocore.exceptions import ClientError
from botocore.loaders import Loader
from botocore.model import ListShape, MapShape, OperationModel, Shape, StringShape, StructureShape
from botocore.regions import EndpointResolver
from botocore.session import Session

from pruning import OPERATIONS, prune
from tests.template.stack import ROOT

WHOLE = Path(botocore.__file__).parent / "data"
USED = [(service, operation) for service, operations in OPERATIONS.items() for operation in operations]
WITHOUT_ERRORS = ("DescribeStacks",)
"""Operations of which botocore describes no error."""

REGIONS = ("eu-west-1", "us-east-1", "cn-north-1", "us-gov-west-1", "of-tomorrow-1")
NOW = datetime(2026, 11, 23, 9, 30, tzinfo=UTC)


def installed(folder: Path, *services: str) -> Path:
    """Put botocore's data into a folder as if it were installed there, with these services alone."""
    data = folder / "botocore" / "data"
    data.mkdir(parents=True)
    for path in WHOLE.iterdir():
        if path.is_file():
            shutil.copy(path, data)
        elif path.name in services:
            shutil.copytree(path, data / path.name)
    return data


@pytest.fixture(scope="module")
def pruned(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("pruned")
    data = installed(folder, *OPERATIONS, "s3")
    prune(folder)
    return data


@pytest.fixture(scope="module")
def loaders(pruned: Path) -> tuple[Loader, Loader]:
    """What reads the whole description, and what reads the pruned one."""
    whole, narrow = (Loader([str(data)], include_default_search_paths=False) for data in (WHOLE, pruned))
    return whole, narrow


def client(loader: Loader, service: str, region: str = "eu-west-1", **config: Any) -> Any:
    session = Session({"config_file": (None, None, "/dev/null", None)})
    session.register_component("data_loader", loader)
    return session.create_client(
        service,
        region_name=region,
        aws_access_key_id="key",
        aws_secret_access_key="secret",
        config=Config(retries={"mode": "standard", "total_max_attempts": 1}, **config),
    )


def sample(shape: Shape, inside: tuple[str, ...] = ()) -> Any:
    """Make up a value with every member there is. What can hold itself does so no further than once."""
    inside += (shape.name,)
    match shape:
        case StructureShape():
            members = {name: each for name, each in shape.members.items() if each.name not in inside}
            return {name: sample(each, inside) for name, each in members.items()}
        case ListShape():
            return [sample(shape.member, inside)]
        case MapShape():
            return {sample(shape.key, inside): sample(shape.value, inside)}
    if isinstance(shape, StringShape) and shape.enum:
        return shape.enum[0]
    least = shape.metadata.get("min", 1)
    values = {"string": "x" * least, "blob": b"x", "timestamp": NOW, "boolean": True, "float": 1.5, "double": 1.5}
    return values.get(shape.type_name, least)


def as_json(value: Any) -> Any:
    """Return what a service that speaks JSON makes of a value."""
    match value:
        case dict():
            return {name: as_json(each) for name, each in value.items()}
        case list():
            return [as_json(each) for each in value]
        case bytes():
            return base64.b64encode(value).decode()
        case datetime():
            return value.timestamp()
    return value


def as_xml(name: str, shape: Shape, value: Any) -> ElementTree.Element:
    """Return what a service that speaks XML makes of a value."""
    element = ElementTree.Element(name)
    match shape:
        case StructureShape():
            for member, each in value.items():
                described = shape.members[member]
                element.append(as_xml(described.serialization.get("name", member), described, each))
        case ListShape():
            element.extend(as_xml(shape.member.serialization.get("name", "member"), shape.member, x) for x in value)
        case _:
            element.text = value.isoformat() if isinstance(value, datetime) else str(value)
            if isinstance(value, bool):
                element.text = element.text.lower()
    return element


def answer(model: OperationModel) -> bytes:
    """Return the body of an answer that has every member."""
    output = model.output_shape
    value = sample(output) if output else {}
    if model.metadata["protocol"] == "json":
        return json.dumps(as_json(value)).encode()
    body = ElementTree.Element(f"{model.name}Response")
    if output:
        body.append(as_xml(output.metadata.get("resultWrapper", f"{model.name}Result"), output, value))
    ElementTree.SubElement(ElementTree.SubElement(body, "ResponseMetadata"), "RequestId").text = "request"
    return ElementTree.tostring(body)


def refusal(model: OperationModel, error: Shape) -> bytes:
    """Return the body of an error that has every member."""
    code = error.metadata.get("error", {}).get("code", error.name)
    if model.metadata["protocol"] == "json":
        return json.dumps({"__type": f"com.amazonaws#{code}", **as_json(sample(error))}).encode()
    body = ElementTree.Element("ErrorResponse")
    told = as_xml("Error", error, sample(error))
    ElementTree.SubElement(told, "Code").text = code
    body.append(told)
    return ElementTree.tostring(body)


class Raw:
    """The body of an answer, as botocore reads it."""

    def __init__(self, body: bytes) -> None:
        self.body = body

    def stream(self) -> Iterator[bytes]:
        yield self.body


def called(client: Any, operation: str, status: int, body: bytes) -> tuple[AWSRequest, Any]:
    """Call an operation with every parameter there is; return what was sent, and the answer or the error."""
    sent: list[AWSRequest] = []

    def answered(request: AWSRequest, **_: Any) -> AWSResponse:
        sent.append(request)
        return AWSResponse(str(request.url), status, HTTPHeaders(), Raw(body))

    client.meta.events.register(f"before-send.{client.meta.service_model.service_id.hyphenize()}", answered)
    parameters = sample(client.meta.service_model.operation_model(operation).input_shape)
    parameters.pop("EndpointId", None)  # a bus in two regions; to sign for it botocore needs its CRT, which nobody has
    try:
        result = getattr(client, xform_name(operation))(**parameters)
    except ClientError as error:
        result = error
    finally:
        client.meta.events.unregister(f"before-send.{client.meta.service_model.service_id.hyphenize()}", answered)
    return sent[0], result


def without_time(request: AWSRequest) -> tuple[Any, ...]:
    """Return a request without what differs from one to the next, or with the clock."""
    changing = {"authorization", "x-amz-date", "amz-sdk-invocation-id"}
    headers = {name: value for name, value in request.headers.items() if name.lower() not in changing}
    return request.method, request.url, request.body, headers


@pytest.fixture
def both(loaders: tuple[Loader, Loader]) -> Callable[..., tuple[Any, Any]]:
    """Makes a client of the whole description and one of the pruned one."""

    def made(service: str, *arguments: Any, **config: Any) -> tuple[Any, Any]:
        whole, narrow = (client(loader, service, *arguments, **config) for loader in loaders)
        return whole, narrow

    return made


@pytest.mark.parametrize(("service", "operation"), USED)
def test_an_operation_in_use_is_asked_and_answered_as_by_the_whole_botocore(
    both: Callable[..., tuple[Any, Any]], service: str, operation: str
) -> None:
    whole, narrow = both(service)
    body = answer(whole.meta.service_model.operation_model(operation))

    (asked, expected), (asked_narrow, found) = (called(each, operation, 200, body) for each in (whole, narrow))

    output = whole.meta.service_model.operation_model(operation).output_shape
    assert found == expected
    assert {name: each for name, each in expected.items() if name != "ResponseMetadata"} == (
        sample(output) if output else {}
    )
    assert without_time(asked_narrow) == without_time(asked)


@pytest.mark.parametrize(("service", "operation"), USED)
def test_every_error_of_an_operation_in_use_is_told_as_by_the_whole_botocore(
    both: Callable[..., tuple[Any, Any]], service: str, operation: str
) -> None:
    whole, narrow = both(service)
    model = whole.meta.service_model.operation_model(operation)

    assert model.error_shapes or operation in WITHOUT_ERRORS
    for error in model.error_shapes:
        body = refusal(model, error)
        expected, found = (called(each, operation, 400, body)[1] for each in (whole, narrow))

        assert isinstance(expected, getattr(whole.exceptions, error.name))
        assert isinstance(found, getattr(narrow.exceptions, error.name))
        assert found.response == expected.response
        assert str(found) == str(expected)


@pytest.mark.parametrize(("service", "operation"), USED)
def test_an_operation_in_use_is_paged_as_by_the_whole_botocore(
    both: Callable[..., tuple[Any, Any]], service: str, operation: str
) -> None:
    method = xform_name(operation)
    whole, narrow = both(service)

    assert narrow.can_paginate(method) == whole.can_paginate(method)
    if whole.can_paginate(method):
        expected, found = (each.get_paginator(method)._pagination_cfg for each in (whole, narrow))
        assert found == expected


@pytest.mark.parametrize("service", OPERATIONS)
def test_a_service_is_looked_for_where_the_whole_botocore_does(
    both: Callable[..., tuple[Any, Any]], loaders: tuple[Loader, Loader], service: str
) -> None:
    for region, config in product(REGIONS, ({}, {"use_fips_endpoint": True})):
        whole, narrow = both(service, region, **config)
        assert narrow.meta.endpoint_url == whole.meta.endpoint_url

    whole_map, narrow_map = (EndpointResolver(loader.load_data("endpoints")) for loader in loaders)
    prefix = loaders[0].load_service_model(service, "service-2")["metadata"]["endpointPrefix"]
    for partition in whole_map.get_available_partitions():
        regions = whole_map.get_available_endpoints("ec2", partition)
        assert narrow_map.get_available_endpoints(prefix, partition) == whole_map.get_available_endpoints(
            prefix, partition
        )
        for region in regions:
            expected = whole_map.construct_endpoint(prefix, region)
            assert narrow_map.construct_endpoint(prefix, region) == expected


def test_nothing_but_the_operations_in_use_is_described(loaders: tuple[Loader, Loader], pruned: Path) -> None:
    _, narrow = loaders
    assert narrow.list_available_services("service-2") == sorted(OPERATIONS)
    for service, operations in OPERATIONS.items():
        assert narrow.load_service_model(service, "service-2")["operations"].keys() == set(operations)
        names = {path.name for path in (pruned / service).rglob("*.json*")}
        assert names <= {"service-2.json", "endpoint-rule-set-1.json", "paginators-1.json"}
    assert not list(pruned.rglob("*.gz"))


def test_what_is_described_is_the_same_bytes_whenever_it_is_pruned(pruned: Path, tmp_path: Path) -> None:
    again = installed(tmp_path, *OPERATIONS)
    prune(tmp_path)

    assert {path.relative_to(again): path.read_bytes() for path in again.rglob("*") if path.is_file()} == {
        path.relative_to(pruned): path.read_bytes() for path in pruned.rglob("*") if path.is_file()
    }


@pytest.mark.parametrize(
    ("operations", "message"),
    [
        ({"ssm": ("GetParametres",)}, "SSM has no operation GetParametres"),
        ({"smm": ("GetParameters",)}, "botocore describes no service smm"),
    ],
)
def test_a_misspelt_name_fails_the_build(tmp_path: Path, operations: dict[str, tuple[str]], message: str) -> None:
    installed(tmp_path, "ssm")

    with pytest.raises(LookupError, match=message):
        prune(tmp_path, operations)


def test_a_member_that_is_called_documentation_stays_and_texts_go(tmp_path: Path) -> None:
    service = tmp_path / "botocore/data/library/2026-11-23"
    service.mkdir(parents=True)
    book = {"type": "structure", "members": {"documentation": {"shape": "Text", "documentation": "What it says."}}}
    model = {
        "metadata": {"endpointPrefix": "library", "serviceId": "Library"},
        "operations": {"Lend": {"input": {"shape": "Book"}}, "Burn": {"input": {"shape": "Fire"}}},
        "shapes": {"Book": book, "Text": {"type": "string"}, "Fire": {"type": "string"}},
    }
    (service / "service-2.json.gz").write_bytes(gzip.compress(json.dumps(model).encode()))
    (service / "endpoint-rule-set-1.json").write_text('{"documentation": "Where.", "rules": []}')
    (service.parents[1] / "endpoints.json").write_text('{"partitions": []}')

    prune(tmp_path, {"library": ("Lend",)})

    left = json.loads((service / "service-2.json").read_text())
    assert left["shapes"] == {
        "Book": {"type": "structure", "members": {"documentation": {"shape": "Text"}}},
        "Text": {"type": "string"},
    }
    assert (service / "endpoint-rule-set-1.json").read_text() == '{"rules":[]}'


CLIENTS = re.compile(r"(?:from mypy_boto3_|create_client\([\"'])(\w+)")


def uses(source: str, known: dict[str, dict[str, str]]) -> set[tuple[str, str]]:
    """Return the operations that a module calls: methods of that name, or named to a paginator or to ``call``.

    A module calls those services alone whose clients it names. One that names none might call any. What it calls of
    a module that it imports is no client's.
    """
    services = set(CLIENTS.findall(source)) or known.keys()
    tree = ast.parse(source)
    imported = {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
    names = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
            if isinstance(node.func.value, ast.Name) and node.func.value.id in imported:
                continue
            names.add(node.func.attr)
            if node.func.attr in ("get_paginator", "get_waiter"):
                names |= {str(each.value) for each in node.args if isinstance(each, ast.Constant)}
            if node.func.attr in ("call", "_call"):
                names |= {xform_name(str(each.value)) for each in node.args if isinstance(each, ast.Constant)}
    return {(service, known[service][name]) for service in services for name in names & known[service].keys()}


@pytest.fixture(scope="module")
def known(loaders: tuple[Loader, Loader]) -> dict[str, dict[str, str]]:
    """The operations of the services in use, by the names that Python has for them."""
    whole, _ = loaders
    sources = (path.read_text() for path in (ROOT / "src/call_recorder").rglob("*.py"))
    return {
        service: {xform_name(name): name for name in whole.load_service_model(service, "service-2")["operations"]}
        for service in {name for source in sources for name in CLIENTS.findall(source)}
    }


def test_the_operations_that_the_code_calls_are_those_that_stay(known: dict[str, dict[str, str]]) -> None:
    sources = [path.read_text() for path in (ROOT / "src/call_recorder").rglob("*.py")]

    assert known.keys() == OPERATIONS.keys()
    assert {use for source in sources for use in uses(source, known)} == set(USED)


def test_a_call_of_another_operation_would_be_noticed(known: dict[str, dict[str, str]]) -> None:
    typed = "from mypy_boto3_ssm import SSMClient\n"

    assert uses("clients.credentials().delete_parameter(Name=name)", known) == {("ssm", "DeleteParameter")}
    assert uses(typed + "self._ssm.delete_parameter(Name=name)", known) == {("ssm", "DeleteParameter")}
    assert uses(typed + 'self._ssm.get_paginator("get_parameters_by_path")', known) == {("ssm", "GetParametersByPath")}
    assert uses("session().create_client('dynamodb')\nclient.scan()", known) == {("dynamodb", "Scan")}
    assert uses(typed + "self._table.scan()", known) == set()
    assert uses('self._dynamodb.call("DeleteItem", request)', known) == {("dynamodb", "DeleteItem")}
    assert uses("import socket\nsocket.create_connection(address)", known) == set()


def test_the_code_names_no_error_resource_or_waiter_that_is_not_there(
    both: Callable[..., tuple[Any, Any]],
) -> None:
    for path in (ROOT / "src/call_recorder").rglob("*.py"):
        source = path.read_text()
        assert not re.search(r"boto3\.resource|get_waiter|\.Table\(", source), path
        for name in re.findall(r"\.exceptions\.(\w+)", source.replace("botocore.exceptions", "")):
            assert any(hasattr(both(service)[1].exceptions, name) for service in set(CLIENTS.findall(source))), name
