"""Removes from the installed dependencies what no function reads.

The package would keep to its size without the pruning of operations, but NotifyFunction would not keep to its memory:
docs/decisions/0014-the-package.md has the figures. tests/template/test_package_pruning.py checks that the code calls no
other operation, test_package_contents.py that it imports no removed module.
"""

from __future__ import annotations

import gzip
import json
import shutil
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

# The operations that the functions call through botocore's clients. botocore describes every AWS service. Its
# descriptions are half of the package, and a client keeps the whole description of its service in memory.
OPERATIONS: Mapping[str, Collection[str]] = {
    "cloudformation": ("DescribeStacks",),
    "dynamodb": ("BatchGetItem", "DeleteItem", "PutItem", "Query"),
    "events": ("DeleteRule", "ListRules", "ListTargetsByRule", "PutEvents", "RemoveTargets"),
    "iam": ("CreateAccessKey", "DeleteAccessKey", "ListAccessKeys", "UpdateAccessKey"),
    "s3": ("DeleteObjects", "GetObjectLockConfiguration", "ListObjectVersions", "PutObjectLegalHold"),
    "sqs": ("GetQueueAttributes", "SendMessage", "SendMessageBatch"),
    "ssm": ("DeleteParameters", "DescribeParameters", "GetParameter", "GetParameters", "PutParameter"),
}

# Files that Python never reads at run time: type stubs, scripts, and notes of the installer, which also differ between
# machines. METADATA, licences and bills of materials stay for vulnerability scanners, entry points for pydantic.
UNREAD = (
    "bin",
    "**/*.pyi",
    "**/py.typed",
    *(f"*.dist-info/{name}" for name in ("INSTALLER", "RECORD", "REQUESTED", "WHEEL", "top_level.txt", "zip-safe")),
)

# Modules that neither the functions nor their dependencies import.
UNREACHED = (
    "aws_lambda_powertools/event_handler",
    *(
        f"aws_lambda_powertools/utilities/{name}"
        for name in (
            *("auth_alpha", "batch", "circuit_breaker", "data_classes", "data_masking", "feature_flags", "idempotency"),
            *("kafka", "metadata", "parameters", "parser", "streaming", "validation"),
        )
    ),
    "boto3",  # The functions get their clients from botocore.
    "dateutil/zoneinfo",
    "s3transfer",
    "pydantic/mypy.py",
    "pydantic/v1",
    "urllib3/contrib/emscripten",
)


def prune(
    folder: Path,
    operations: Mapping[str, Collection[str]] = OPERATIONS,
    unreached: Collection[str] = UNREACHED,
) -> None:
    """Remove from ``folder`` the files that are not read.

    Args:
        folder: the folder with the installed dependencies.
        operations: the operations that are called of each AWS service, by AWS's names.
        unreached: patterns, relative to ``folder``, of modules that are not imported.

    Raises:
        LookupError: botocore has no such service or operation.
    """
    for pattern in (*UNREAD, *unreached):
        for path in list(folder.glob(pattern)):
            _remove(path)
    data = folder / "botocore" / "data"
    if data.is_dir():
        for service in [path for path in data.iterdir() if path.is_dir() and path.name not in operations]:
            _remove(service)
        prefixes = {_prune_service(data / service, names) for service, names in operations.items()}
        endpoints = _read(data / "endpoints")
        for partition in endpoints["partitions"]:
            services = partition["services"].items()
            partition["services"] = {name: service for name, service in services if name in prefixes}
        _write(data / "endpoints", endpoints)


def _prune_service(service: Path, operations: Collection[str]) -> str:
    """Keep of the newest description of a service what ``operations`` need; return the service's endpoint prefix."""
    newest = max((path.parent for path in service.glob("*/service-2.json*")), default=None)
    if newest is None:
        raise LookupError(f"botocore describes no service {service.name}")
    model = _read(newest / "service-2")
    _write(newest / "service-2", _narrowed(model, operations))
    older = [path for path in service.iterdir() if path != newest]
    # What the extras add to S3 is for GetObject.
    for path in [
        *older,
        *(path for name in ("examples-*", "waiters-*", "service-2.sdk-extras.*") for path in newest.glob(name)),
    ]:
        _remove(path)
    return str(model["metadata"]["endpointPrefix"])


def _narrowed(model: dict[str, Any], operations: Collection[str]) -> dict[str, Any]:
    """Return a service's description with only ``operations`` and the shapes that they refer to, without texts."""
    if unknown := sorted(set(operations) - model["operations"].keys()):
        raise LookupError(f"{model['metadata']['serviceId']} has no operation {', '.join(unknown)}")
    described = {name: model["operations"][name] for name in operations}
    reached: set[str] = set()
    waiting = _referred_to(described)
    while waiting:
        reached |= waiting
        waiting = set().union(*(_referred_to(model["shapes"][name]) for name in waiting)) - reached
    shapes = {name: shape for name, shape in model["shapes"].items() if name in reached}
    narrowed: dict[str, Any] = _undocumented(model | {"operations": described, "shapes": shapes})
    for parameter in narrowed.get("clientContextParams", {}).values():
        parameter["documentation"] = ""  # botocore reads it.
    return narrowed


def _referred_to(described: Any) -> set[str]:
    """Return the names of the shapes that a part of a description refers to."""
    match described:
        case {"shape": str(name)}:
            return {name}
        case dict():
            return set().union(*map(_referred_to, described.values()))
        case list():
            return set().union(*map(_referred_to, described))
    return set()


def _undocumented(described: Any) -> Any:
    """Return a part of a description without its texts. A member named ``documentation`` is no text and stays."""
    match described:
        case dict():
            parts = described.items()
            return {n: _undocumented(p) for n, p in parts if n != "documentation" or not isinstance(p, str)}
        case list():
            return [_undocumented(part) for part in described]
    return described


def _read(name: Path) -> Any:
    """Read a description, given by its path without the extension, as botocore does."""
    packed = name.with_name(f"{name.name}.json.gz")
    text = gzip.decompress(packed.read_bytes()) if packed.exists() else packed.with_suffix("").read_bytes()
    return json.loads(text)


def _write(name: Path, described: Any) -> None:
    """Write a description unpacked: the package is zipped as a whole, and a start need not unpack it again."""
    plain = name.with_name(f"{name.name}.json")
    plain.with_name(f"{plain.name}.gz").unlink(missing_ok=True)
    plain.write_text(json.dumps(described, separators=(",", ":")), encoding="utf-8")


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink()
