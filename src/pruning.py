"""Takes away from the installed dependencies what no function reads.

Nothing is taken away unless it is named here. tests/template/test_package_pruning.py and test_package_contents.py
hold that the functions use nothing else, and that what is left does what the whole did.
"""

from __future__ import annotations

import gzip
import json
import shutil
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import Any

# botocore brings the description of every AWS service: half of the package, and most of the time that a first
# client takes. These are the operations that the functions call through its clients.
OPERATIONS: Mapping[str, Collection[str]] = {
    "cloudformation": ("DescribeStacks",),
    "dynamodb": ("BatchGetItem", "PutItem", "Query"),
    "events": ("DeleteRule", "ListRules", "ListTargetsByRule", "PutEvents", "RemoveTargets"),
    "iam": ("CreateAccessKey", "DeleteAccessKey", "ListAccessKeys", "UpdateAccessKey"),
    "sqs": ("SendMessage", "SendMessageBatch"),
    "ssm": ("DeleteParameters", "DescribeParameters", "GetParameters", "PutParameter"),
}

# What no Python reads at run time, whatever it imports: type stubs, scripts, and what pip notes for itself, which
# also differs between machines. METADATA stays, and lists of what was compiled in: scanners for known
# vulnerabilities go by them. So do licences, and entry points, which pydantic looks up when it is imported.
UNREAD = (
    "bin",
    "**/*.pyi",
    "**/py.typed",
    *(f"*.dist-info/{name}" for name in ("INSTALLER", "RECORD", "REQUESTED", "WHEEL", "top_level.txt", "zip-safe")),
)

# Parts of the dependencies that neither the functions import nor what they import, and why not.
UNREACHED: Mapping[str, str] = {
    "aws_lambda_powertools/event_handler": "the resolver, and a web page for its API; the handlers read their events",
    **dict.fromkeys(
        (
            "aws_lambda_powertools/utilities/auth_alpha",
            "aws_lambda_powertools/utilities/batch",
            "aws_lambda_powertools/utilities/circuit_breaker",
            "aws_lambda_powertools/utilities/data_classes",
            "aws_lambda_powertools/utilities/data_masking",
            "aws_lambda_powertools/utilities/feature_flags",
            "aws_lambda_powertools/utilities/idempotency",
            "aws_lambda_powertools/utilities/kafka",
            "aws_lambda_powertools/utilities/metadata",
            "aws_lambda_powertools/utilities/parameters",
            "aws_lambda_powertools/utilities/parser",
            "aws_lambda_powertools/utilities/streaming",
            "aws_lambda_powertools/utilities/validation",
        ),
        "a utility on its own; the functions take the logger and the metrics, which need none of them",
    ),
    "boto3": "resources, and S3's transfers; the functions use its clients, which they get from botocore as it does",
    "dateutil/zoneinfo": "time zones by name, for a system that has none; what AWS sends is in UTC",
    "s3transfer": "uploads and downloads for boto3",
    "pydantic/mypy.py": "a plugin of the type checker",
    "pydantic/v1": "pydantic as it was before 2; imported for a field of a class written for that",
    "urllib3/contrib/emscripten": "for a Python that runs in a browser",
}


def prune(
    folder: Path,
    operations: Mapping[str, Collection[str]] = OPERATIONS,
    unreached: Collection[str] = tuple(UNREACHED),
) -> None:
    """Take away from ``folder``, into which dependencies were installed, what is not read.

    Args:
        folder: where they are installed.
        operations: of each AWS service that is called, which operations, by AWS's names.
        unreached: patterns, relative to ``folder``, of code that is not imported.

    Raises:
        LookupError: botocore has no such service or operation.
    """
    for pattern in (*UNREAD, *unreached):
        for path in list(folder.glob(pattern)):
            _remove(path)
    data = folder / "botocore" / "data"
    if data.is_dir():
        _prune_descriptions(data, operations)


def _prune_descriptions(data: Path, operations: Mapping[str, Collection[str]]) -> None:
    """Leave of botocore's ``data`` the descriptions of ``operations``, and of where their services are."""
    if missing := [service for service in operations if not (data / service).is_dir()]:
        raise LookupError(f"botocore describes no service {', '.join(missing)}")
    prefixes = set()
    for service in [path for path in data.iterdir() if path.is_dir()]:
        if service.name in operations:
            prefixes.add(_prune_service(service, operations[service.name]))
        else:
            _remove(service)
    endpoints = _read(data / "endpoints")
    for partition in endpoints["partitions"]:
        partition["services"] = {name: service for name, service in partition["services"].items() if name in prefixes}
    _write(data / "endpoints", endpoints)


def _prune_service(service: Path, operations: Collection[str]) -> str:
    """Leave of a service's newest description what ``operations`` need; return the service's name in endpoints."""
    newest = max(path.parent for path in service.glob("*/service-2.json*"))
    model = _read(newest / "service-2")
    _write(newest / "service-2", _narrowed(model, operations))
    _write(newest / "endpoint-rule-set-1", _without_documentation(_read(newest / "endpoint-rule-set-1")))
    # What botocore adds to a description of its own accord stays, should there ever be any.
    kept = ["service-2.json", "endpoint-rule-set-1.json", *(path.name for path in newest.glob("*.sdk-extras.json"))]
    if any(newest.glob("paginators-1.json*")):
        pages = _read(newest / "paginators-1")
        pages["pagination"] = {name: each for name, each in pages["pagination"].items() if name in operations}
        _write(newest / "paginators-1", pages)
        kept.append("paginators-1.json")
    for path in [*service.iterdir(), *newest.iterdir()]:
        if path != newest and path.name not in kept:
            _remove(path)
    return str(model["metadata"]["endpointPrefix"])


def _narrowed(model: dict[str, Any], operations: Collection[str]) -> dict[str, Any]:
    """Return a service's description with ``operations`` alone, and what is said in them, in answers and in errors.

    Raises:
        LookupError: the service has no such operation.
    """
    if unknown := [name for name in operations if name not in model["operations"]]:
        raise LookupError(f"{model['metadata']['serviceId']} has no operation {', '.join(unknown)}")
    described = {name: each for name, each in model["operations"].items() if name in operations}
    reached: set[str] = set()
    waiting = [name for operation in described.values() for name in _named_by(operation)]
    while waiting:
        name = waiting.pop()
        if name not in reached:
            reached.add(name)
            waiting.extend(_named_by(model["shapes"][name]))
    shapes = {name: shape for name, shape in model["shapes"].items() if name in reached}
    narrowed: dict[str, Any] = _without_documentation(model | {"operations": described, "shapes": shapes})
    return narrowed


def _named_by(described: Mapping[str, Any]) -> Iterator[str]:
    """Yield the shapes that an operation or a shape refers to."""
    single = (described[name] for name in ("input", "output", "key", "value", "member") if name in described)
    for reference in (*single, *described.get("errors", ()), *described.get("members", {}).values()):
        yield reference["shape"]


def _without_documentation(described: Any) -> Any:
    """Return a description without its texts; a member that is called ``documentation`` is not one."""
    if isinstance(described, list):
        return [_without_documentation(each) for each in described]
    if isinstance(described, dict):
        return {
            name: _without_documentation(each)
            for name, each in described.items()
            if not (name == "documentation" and isinstance(each, str))
        }
    return described


def _read(name: Path) -> Any:
    """Read one of botocore's descriptions, named without its extension as botocore does it."""
    packed = name.with_name(f"{name.name}.json.gz")
    text = gzip.decompress(packed.read_bytes()) if packed.exists() else packed.with_suffix("").read_bytes()
    return json.loads(text)


def _write(name: Path, described: Any) -> None:
    """Write a description in place of the one that was read, the same bytes wherever and whenever it is done.

    It is not packed: the whole package will be, and a client need not unpack it then.
    """
    plain = name.with_name(f"{name.name}.json")
    plain.with_name(f"{plain.name}.gz").unlink(missing_ok=True)
    plain.write_text(json.dumps(described, separators=(",", ":")), encoding="utf-8")


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink()
