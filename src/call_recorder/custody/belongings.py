"""What belongs to a recording: which locations in the bucket, which files elsewhere, and which calls.

A notification may name any URL. So a location belongs to a recording only if our own request names it, or if the table
of object locations says so.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime

from call_recorder.facts.storage_urls import ObjectPointer, get_location
from call_recorder.tracking.item_names import get_identifier
from call_recorder.tracking.object_locations import ObjectLocation, Owner
from call_recorder.tracking.recording import Recording
from call_recorder.tracking.stored_file import StoredFile


@dataclass(frozen=True, slots=True)
class Belongings:
    """The things of a recording.

    Attributes:
        locations: its own locations in the stack's bucket.
        elsewhere: its files and transcripts that the stack cannot reach, each with the store.
        strangers: locations in the bucket that a notification names, and that belong to another recording.
    """

    locations: tuple[str, ...]
    elsewhere: Mapping[str, str]
    strangers: tuple[str, ...] = ()


def is_in_reach(url: str, bucket: str) -> bool:
    """Tell whether CustodyFunction has the right to erase and hold a file. A notification may name any other one."""
    return url.startswith(f"s3://{bucket}/recordings/")


def list_named_locations(recording: Recording, bucket: str) -> set[str]:
    """Return the locations in the bucket that a request, a notification or the bucket names."""
    urls = [request.destination_url for request in recording.requests.values()]
    urls += [file.url for _, file in _list_files(recording) if file.url]
    return {get_location(url) for url in urls if _is_in(url, bucket)}


def sort_out(recording: Recording, stored: Mapping[str, ObjectLocation], bucket: str) -> Belongings:
    """Return what belongs to a recording.

    Args:
        recording: the recording.
        stored: the items of the locations that it names.
        bucket: the stack's bucket.
    """
    requested = {get_location(request.destination_url) for request in recording.requests.values()}
    reported = {get_location(file.url) for _, file in _list_files(recording) if file.url and file.stored_at}
    named = list_named_locations(recording, bucket)
    own = {
        location
        for location in named
        if (_owns(recording, owner) if (owner := _find_owner(stored, location)) else location in requested | reported)
    }
    return Belongings(
        locations=tuple(sorted(own)),
        elsewhere=dict(_list_elsewhere(recording, bucket)),
        strangers=tuple(sorted(named - own)),
    )


def list_decision_times(recording: Recording) -> list[datetime]:
    """Return the times of the decisions in an item. A redelivered one is not later, and makes no new item."""
    decisions = (recording.calls, recording.asked, recording.consents, recording.awaited, recording.requests)
    return [decision.at for each in decisions for decision in each.values()]


def list_participants(recording: Recording) -> set[str]:
    """Return the ids of the calls of a conference. A call has an item of its own too, for a day."""
    if recording.conference_id is None:
        return set()
    of_calls = (recording.calls, recording.ends, recording.consents, recording.requests, recording.asked)
    calls = {call_id for each in of_calls for call_id in each}
    return calls - {get_identifier(recording.recording_id, recording.application_key)}


def is_remainder(item: Recording) -> bool:
    """Tell whether the item of a participant is no recording and no proof of its own."""
    return item.status is None and not item.consents and not item.legal_hold


def _list_files(recording: Recording) -> Iterator[tuple[str, StoredFile]]:
    yield from ((f"file {name}", file) for name, file in recording.files.items())
    yield from ((f"transcript {name}", file) for name, file in recording.transcripts.items())


def _list_elsewhere(recording: Recording, bucket: str) -> Iterator[tuple[str, str]]:
    """Yield the files in other stores, each with its store. A file without a known URL is where it was requested."""
    urls = [request.destination_url for request in recording.requests.values()]
    in_bucket = any(is_in_reach(url, bucket) for url in urls)
    for name, file in _list_files(recording):
        if file.storage is None and in_bucket:  # Sinch may spell the URL in another way.
            continue
        url = file.url if file.storage else next(iter(urls), file.url)
        if url is None or not is_in_reach(url, bucket):
            yield name, _name_store(url)


def _name_store(url: str | None) -> str:
    pointer = ObjectPointer.of(url or "")
    return f"{pointer.storage}://{pointer.bucket}" if pointer.storage else "an unknown store"


def _find_owner(stored: Mapping[str, ObjectLocation], location: str) -> Owner | None:
    return stored[location].owner if location in stored else None


def _owns(recording: Recording, owner: Owner) -> bool:
    identifier = get_identifier(recording.recording_id, recording.application_key)
    # A notification may name the conference beside the call whose recording it is about.
    own = identifier in (owner.recording_id, None if owner.requested else owner.call_id)
    return own and owner.application_key == recording.application_key


def _is_in(url: str, bucket: str) -> bool:
    return url.startswith(f"s3://{bucket}/")
