"""Stores a probe at each destination of a profile, as Sinch would store a recording, and removes it again."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import TYPE_CHECKING, Final, NamedTuple
from uuid import uuid4

from call_recorder.answering.destinations import Destination, DestinationRefused, Naming
from call_recorder.facts.storage_urls import PROBE, ObjectPointer
from call_recorder_cli.probes.azure_blob import AzureBlob
from call_recorder_cli.probes.faults import Fault, ProbeRefused
from call_recorder_cli.probes.s3_compatible import S3Compatible, remove

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

    from call_recorder.answering.application import Recorder

BODY: Final = b"call-recorder check stored this file to see whether recordings can be stored here. You may delete it.\n"

_ROTATE: Final = "call-recorder rotate hands out a new one"
_WRITE: Final = "write another one to storage-credentials"


class Endpoints(NamedTuple):
    """The URLs of the stores; ``None`` is the store itself."""

    s3: str | None = None
    gs: str | None = None
    azure: str | None = None


class Target(NamedTuple):
    """A destination with the format of its files, and the rules that record to it."""

    destination: Destination
    format: str
    rules: tuple[str, ...]


class TriedDestination(NamedTuple):
    """What became of a probe.

    Attributes:
        url: the probe's URL.
        fault: why it could not be stored, or ``None`` if it was stored.
        sentence: the same in words.
        remains: whether the probe is still there, since nobody here may delete it.
    """

    url: str
    fault: Fault | None
    sentence: str
    remains: bool = False


def list_targets(recorder: Recorder, rule: str | None = None) -> list[Target]:
    """Return the destinations to which the rules of a profile record, or one of its rules."""
    rules: dict[tuple[Destination, str], list[str]] = {}
    for each in recorder.profile.rules:
        if each.record and rule in (None, each.name):
            key = recorder.destinations[each.name], each.format or recorder.profile.format
            rules.setdefault(key, []).append(each.name)
    return [Target(destination, form, tuple(names)) for (destination, form), names in rules.items()]


class DestinationProbe:
    """Tries out destinations.

    Args:
        endpoints: the URLs of the stores.
        own_bucket: the stack's bucket, whose keys RotationFunction hands out.
        operator: makes a client with the rights of the user, who may delete in S3 what Sinch's key may only store.
        clock: the time in UTC, for the probe's name.
    """

    def __init__(
        self,
        endpoints: Endpoints,
        *,
        own_bucket: str,
        operator: Callable[[], S3Client],
        clock: Callable[[], datetime],
    ) -> None:
        self._endpoints = endpoints
        self._own_bucket = own_bucket
        self._operator = operator
        self._clock = clock

    def try_out(self, target: Target, application_key: str, credentials: str) -> TriedDestination:
        """Store a probe at a destination, and remove it."""
        destination = target.destination
        name = uuid4().hex
        naming = Naming(name, None, application_key, self._clock(), target.format)
        try:
            url = destination.make_url(naming).replace(name, PROBE + name)  # which no id of a call can become
        except DestinationRefused as refusal:
            where = f"{destination.scheme}://{destination.container}/{destination.path}"
            return TriedDestination(where, Fault.OTHER, f"The name of a file becomes too long, since {refusal}.")
        pointer = ObjectPointer.of(url)
        try:
            removed = self._store_and_remove(pointer, credentials)
        except ProbeRefused as refused:
            return TriedDestination(url, refused.fault, str(refused))
        return TriedDestination(url, None, _describe(url, removed=removed), remains=not removed)

    def _store_and_remove(self, pointer: ObjectPointer, credentials: str) -> bool:
        """Return whether the probe is removed. Raises ProbeRefused."""
        if pointer.storage == "azure":
            azure = AzureBlob(pointer, credentials, self._endpoints.azure)
            azure.store(BODY)
            return azure.remove()
        is_own = (pointer.storage, pointer.bucket) == ("s3", self._own_bucket)
        endpoint = self._endpoints.gs if pointer.storage == "gs" else self._endpoints.s3
        store = S3Compatible(pointer, credentials, endpoint, replace=_ROTATE if is_own else _WRITE)
        probe = store.store(BODY)
        return store.remove(probe) or (pointer.storage == "s3" and remove(self._operator(), probe))


def _describe(url: str, *, removed: bool) -> str:
    if removed:
        return "A file can be stored here; the probe is removed."
    return f"A file can be stored here; the probe {url} remains, since nobody here may delete it: you may delete it."
