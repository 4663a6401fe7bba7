"""No recording is lost silently: whatever is not said, or not stored, each ends available or missing.

All calls are played when the first test asks for one, so that the tests wait for all of them together.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import datetime
from itertools import combinations, permutations
from typing import TYPE_CHECKING, Any, Final
from uuid import uuid4

import pytest

from call_recorder.answering.parameter_names import CREDENTIALS
from local import demo
from local.flows import find_recording_id
from local.simulator import (
    NOTIFICATIONS,
    UNDISTURBED,
    Delivery,
    Disturbance,
    HttpTransport,
    IncomingCall,
    StoredFile,
    app_to_app,
    app_to_conference,
    drop,
)
from local.waiting import TooLate, wait_until
from tests.integration.conftest import (
    COLD_START_SECONDS,
    PARAMETERS,
    WITHIN,
    add_application,
    parameter,
    wait_until_taken,
)

if TYPE_CHECKING:
    from pydantic import SecretStr

    from local.simulator import PlayedCall, Simulator
    from local.stack import LocalStack
    from local.subscriber import Subscriber

AT_ONCE = 3
CALLBACKS = (*NOTIFICATIONS, "dice")
AUDIO = b"audio"
AZURE_KEY = "YWNjb3VudCBrZXk="
UNHEARD: Final = Disturbance(drop(*CALLBACKS))
REFUSED: Final = Disturbance(wrong_storage_key=True)
FILES: Final = {"stored": UNDISTURBED, "refused": REFUSED, "empty": Disturbance(empty_file=True)}


@dataclass(frozen=True)
class Case:
    """A disturbed call, and what it must end as.

    Attributes:
        disturbance: what goes wrong.
        reason: why the recording is missing in the end; ``None`` if it is available.
        events: what is announced; not checked if it is empty.
        maybe: what may be announced too: it depends on what is heard first.
        witnesses: who could have told that a missing file is there; not checked if it is ``None``.
        application: the key of the application that is called.
        call: makes the call.
    """

    disturbance: Disturbance
    reason: str | None
    events: frozenset[str] = frozenset()
    maybe: frozenset[str] = frozenset()
    witnesses: tuple[str, ...] | None = None
    application: str = demo.DEMO
    call: Callable[[], IncomingCall] = lambda: app_to_app("alice")

    @property
    def heard(self) -> set[str]:
        """The kinds of callback that are delivered."""
        return {kind for kind in CALLBACKS if self.disturbance.find_delivery(kind).times}


def into_own_bucket(disturbance: Disturbance) -> Case:
    """Return the case of a call whose file goes to the stack's own bucket."""
    heard = Case(disturbance, None).heard
    events, reason = {"Recording Requested", "Recording Missing"}, "nothing-heard"
    if "recording_finished" in heard:
        events.add("Recording Finished")
    if disturbance.wrong_storage_key:
        reason = "not-announced" if "dice" in heard else reason
        reason = "not-stored" if "recording_finished" in heard else reason
        return Case(disturbance, reason, frozenset(events))
    events.add("Transcription Available")
    if not disturbance.empty_file:
        return Case(disturbance, None, frozenset(events - {"Recording Missing"} | {"Recording Available"}))
    # Sinch may announce the file before the bucket tells that it is empty.
    maybe = {"Recording Available"} if "recording_available" in heard else set()
    return Case(disturbance, "empty-file", frozenset(events), frozenset(maybe))


def disturbances() -> Iterator[tuple[str, Disturbance]]:
    """Yield each disturbance with a name: of the file, and of what is sent about it."""
    for name, file in FILES.items():
        for number in range(len(CALLBACKS) + 1):
            for kinds in combinations(CALLBACKS, number):
                yield f"{name}, without {' '.join(kinds) or 'nothing'}", replace(file, deliveries=drop(*kinds))
        for kind in CALLBACKS:
            yield f"{name}, {kind} twice", replace(file, deliveries={kind: Delivery(times=2)})
            yield f"{name}, {kind} thrice at once", replace(file, deliveries={kind: Delivery(3, in_parallel=True)})
            yield f"{name}, {kind} late", replace(file, deliveries={kind: Delivery(delay=1)})


ORDERS: Final = {
    f"{name}, {' '.join(order)}": into_own_bucket(replace(file, order=order))
    for name, file in FILES.items()
    for order in permutations(CALLBACKS)
}
IN_AZURE: Final[Mapping[str, Any]] = {"destination": "azure://account/container/{callId}.{format}"}
UNNOTIFIED: Final[Mapping[str, Any]] = {"notificationEvents": False}
PROFILES: Final = {"azure": IN_AZURE, "unnotified": UNNOTIFIED, "unnotified-azure": {**IN_AZURE, **UNNOTIFIED}}
UNFINISHED: Final = Disturbance(drop("recording_available", "dice"))
ENDED: Final = Disturbance(drop(*NOTIFICATIONS))
WATCHED: Final = {
    "azure, notified": Case(UNDISTURBED, None, application="azure"),
    "azure, finished": Case(UNFINISHED, "not-stored", witnesses=("notification",), application="azure"),
    "azure, ended": Case(ENDED, "not-announced", witnesses=("notification",), application="azure"),
    "azure, nothing": Case(UNHEARD, "nothing-heard", witnesses=("notification",), application="azure"),
    "unnotified, stored": Case(UNHEARD, None, application="unnotified"),
    "unnotified, refused": Case(REFUSED, "not-announced", witnesses=("storage",), application="unnotified"),
    "unnotified, azure": Case(UNDISTURBED, "no-witness", witnesses=(), application="unnotified-azure"),
}
"""Calls of applications whose recordings not everybody can tell of."""

CASES: Final[Mapping[str, Case]] = {
    **{name: into_own_bucket(disturbance) for name, disturbance in disturbances()},
    **ORDERS,
    **{
        f"{name}, of a conference": replace(into_own_bucket(each), call=lambda: app_to_conference(f"room-{uuid4()}"))
        for name, each in (("unheard", UNHEARD), *FILES.items())
    },
    **WATCHED,
}


class Elsewhere:
    """A store that is not the stack's bucket, and tells the stack nothing."""

    def put(self, url: str, credentials: SecretStr, body: bytes, content_type: str) -> StoredFile:
        return StoredFile(url, len(body))


@dataclass
class Witnessed:
    """What was played, by name, and the items and events that it made.

    ``strange`` is the URL, without its extension, of a file that belongs to no call.
    """

    simulators: dict[str, Simulator]
    strange: str
    played: dict[str, PlayedCall] = field(default_factory=dict)
    items: dict[str, dict[str, Any]] = field(default_factory=dict)
    events: dict[str, list[dict[str, Any]]] = field(default_factory=dict)

    def kinds(self, name: str) -> list[str]:
        """Return the kinds of a call's events."""
        return [event["detail-type"] for event in self.events[name]]

    def data(self, name: str, kind: str) -> dict[str, Any]:
        """Return the data of a call's one event of a kind."""
        [event] = [event for event in self.events[name] if event["detail-type"] == kind]
        data: dict[str, Any] = event["detail"]["data"]
        return data


@pytest.fixture(scope="module")
def witnessed(request: pytest.FixtureRequest, stack: LocalStack, subscriber: Subscriber) -> Witnessed:
    """Play the calls of all tests that were chosen, and wait until nothing will change any of them."""
    # Several calls at once start functions, which takes a busy machine its time.
    simulators = {demo.DEMO: stack.simulator(transport=HttpTransport(COLD_START_SECONDS))}
    for key, profile in PROFILES.items():
        credentials = AZURE_KEY if "destination" in profile else parameter(stack, demo.DEMO, CREDENTIALS)
        simulators[key] = add_application(stack, key, credentials, **profile)
        if "destination" in profile:
            simulators[key].store = Elsewhere()
    seen = Witnessed(simulators, strange=new_place(stack))
    put(stack, f"{seen.strange}.mp3")
    chosen = "".join(item.name for item in request.session.items)
    names = [name for name in CASES if name not in ORDERS or f"[{name}]" in chosen]
    # The less is heard of a call, the longer it is waited for, and the sooner it is played.
    names.sort(key=lambda name: len(CASES[name].heard))

    def play(name: str) -> PlayedCall:
        case = CASES[name]
        return simulators[case.application].play(case.call(), case.disturbance)

    with ThreadPoolExecutor(AT_ONCE) as lines:
        seen.played = dict(zip(names, lines.map(play, names), strict=True))
    ids = {name: find_recording_id(played) for name, played in seen.played.items()}
    wait_until_taken(stack)
    with suppress(TooLate):  # The test of the recording that is late says so.
        wait_until("nothing is waited for", lambda: settled(stack, set(ids.values())), within=WITHIN)
    wait_until_taken(stack)
    while subscriber.poll():
        pass
    items = recordings(stack)
    seen.items = {name: items[each] for name, each in ids.items()}
    seen.events = {name: subscriber.events(each) for name, each in ids.items()}
    return seen


def recordings(stack: LocalStack) -> dict[str, dict[str, Any]]:
    """Return every item of the table of recordings, by its recording id."""
    pages = stack.aws.dynamodb.meta.client.get_paginator("scan").paginate(
        TableName=stack.outputs["RecordingsTableName"], ConsistentRead=True
    )
    return {str(item["recordingId"]): item for page in pages for item in page["Items"]}


def settled(stack: LocalStack, ids: set[str]) -> bool:
    """Run the watchdog if a recording is due; return whether none is waited for any more."""
    waiting = [item for name, item in recordings(stack).items() if name in ids and "dueAt" in item]
    if waiting:
        stack.watch_if_due(min(waiting, key=lambda item: str(item["dueAt"])))
        wait_until_taken(stack)
    return not waiting


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=[pytest.mark.long] if name in ORDERS else []) for name in CASES]
)
def test_a_disturbed_call_ends_available_or_missing_with_each_event_once(name: str, witnessed: Witnessed) -> None:
    case, item, kinds = CASES[name], witnessed.items[name], witnessed.kinds(name)

    assert (item["status"], item.get("missingReason")) == ("missing" if case.reason else "available", case.reason)
    assert Counter(kinds) == Counter(case.events | (case.maybe & set(kinds)) if case.events else set(kinds))
    assert ("Recording Missing" in kinds) is (case.reason is not None)
    assert {event["detail"]["metadata"]["eventId"] for event in witnessed.events[name]} == set(item["published"])
    assert "claims" not in item
    if case.witnesses is not None:
        data = witnessed.data(name, "Recording Missing")
        assert (data["reason"], data["witnesses"]) == (case.reason, list(case.witnesses))
        assert data["destinationUrl"] == item["destinationUrl"]


@pytest.mark.parametrize("name", [name for name in CASES if name.startswith("stored, ") and name not in ORDERS])
def test_the_bucket_tells_the_size_of_a_file_whatever_sinch_tells(name: str, witnessed: Witnessed) -> None:
    item, uploads = witnessed.items[name], {each.url: each.size for each in witnessed.played[name].uploads}

    files = [*item["files"].values(), *item.get("transcripts", {}).values()]

    assert {file["url"]: file["size"] for file in files} == uploads
    assert all(file["checksum"] and file["storedAt"] for file in files)


def test_a_file_that_only_the_bucket_reports_has_size_and_checksum(witnessed: Witnessed) -> None:
    name = f"stored, without {' '.join(CALLBACKS)}"

    files = [witnessed.data(name, f"{what} Available")["file"] for what in ("Recording", "Transcription")]

    assert {file["url"]: file["size"] for file in files} == {
        each.url: each.size for each in witnessed.played[name].uploads
    }
    assert all(file["checksum"] for file in files)


def test_the_size_of_a_file_in_azure_is_not_known(witnessed: Witnessed) -> None:
    file = witnessed.data("azure, notified", "Recording Available")["file"]

    assert file["storage"] == "azure"
    assert "size" not in file


def test_a_notification_that_comes_too_late_makes_a_missing_recording_available(
    witnessed: Witnessed, stack: LocalStack, subscriber: Subscriber
) -> None:
    call, missing = witnessed.played["azure, nothing"].call, witnessed.items["azure, nothing"]

    witnessed.simulators["azure"].post(call.notify("recording_available", destination=missing["destinationUrl"]))

    subscriber.wait_for(call.call_id, {"Recording Available"}, within=WITHIN)
    kinds = [event["detail-type"] for event in subscriber.events(call.call_id)]
    assert kinds == ["Recording Requested", "Recording Missing", "Recording Available"]
    assert stack.wait_for_item(call.call_id, "available", within=WITHIN)["missingReason"] == "nothing-heard"


def test_a_file_of_no_call_is_announced_once_after_the_grace(
    witnessed: Witnessed, stack: LocalStack, subscriber: Subscriber
) -> None:
    place = witnessed.strange

    def announced() -> list[dict[str, Any]]:
        stack.watch_if_due(stack.location_item(place) or {})
        subscriber.poll()
        events = [event["detail"]["data"] for event in subscriber.select_kind("Recording Unattributed")]
        return [data for data in events if data["file"]["url"].startswith(place)]

    wait_until("it is announced", announced, within=WITHIN)
    put(stack, f"{place}.mp3")
    wait_until_taken(stack)

    [data] = announced()
    assert data["file"]["size"] == len(AUDIO)
    assert data["file"]["bucket"] == stack.outputs["RecordingsBucketName"]
    item = stack.location_item(place) or {}
    deadlines = datetime.fromisoformat(item["givenUpAt"]) - datetime.fromisoformat(item["nobodysSince"])
    assert deadlines.total_seconds() >= int(PARAMETERS["GraceSeconds"])
    assert "dueAt" not in item


def test_a_file_outside_the_recordings_folder_is_ignored(stack: LocalStack) -> None:
    outside, inside = new_place(stack, folder="elsewhere"), new_place(stack)
    put(stack, f"{outside}.mp3")
    put(stack, f"{inside}.mp3")

    wait_until("the later file is known", lambda: stack.location_item(inside), within=WITHIN)

    assert stack.location_item(outside) is None


def new_place(stack: LocalStack, folder: str = "recordings") -> str:
    return f"s3://{stack.outputs['RecordingsBucketName']}/{folder}/{uuid4()}"


def put(stack: LocalStack, url: str) -> None:
    """Store a file as the bucket's owner may."""
    bucket, _, key = url.removeprefix("s3://").partition("/")
    stack.aws.s3.put_object(Bucket=bucket, Key=key, Body=AUDIO)
