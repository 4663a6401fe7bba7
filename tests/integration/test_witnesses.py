"""No recording is lost in silence: whatever is not said, or not stored, each ends available or missing.

Everything is played when the first test asks for it, so that all of it is waited for together.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from itertools import combinations, permutations
from typing import TYPE_CHECKING, Any, Final
from uuid import uuid4

import pytest

from call_recorder.answering.parameter_names import CREDENTIALS
from call_recorder.facts import messages
from call_recorder.facts.call_details import RecordingRequest
from call_recorder.facts.facts import CallDecidedFact
from local import demo
from local.flows import find_recording_id
from local.simulator import (
    NOTIFICATIONS,
    Delivery,
    Disturbance,
    HttpTransport,
    StoredFile,
    app_to_app,
    app_to_conference,
    drop,
)
from local.stack import put_application
from local.waiting import TooLate, wait_until
from tests.integration.conftest import COLD_START_SECONDS, PARAMETERS, parameter, queued

if TYPE_CHECKING:
    from pydantic import SecretStr

    from local.simulator import IncomingCall, PlayedCall, Simulator
    from local.stack import LocalStack
    from local.subscriber import Subscriber

WITHIN = 60.0
AT_ONCE = 3
CALLBACKS = (*NOTIFICATIONS, "dice")
AUDIO = b"audio"
AZURE_KEY = "YWNjb3VudCBrZXk="

UNHEARD: Final = Disturbance(drop(*CALLBACKS))
FILES: Final[Mapping[str, Disturbance]] = {
    "stored": Disturbance(),
    "refused": Disturbance(wrong_storage_key=True),
    "empty": Disturbance(empty_file=True),
}


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
        for order in permutations(CALLBACKS):
            yield f"{name}, {' '.join(order)}", replace(file, order=order)


DISTURBANCES: Final = dict(disturbances())


@dataclass(frozen=True)
class Promise:
    """What must come of a call; what is ``maybe`` announced depends on what comes first."""

    status: str
    events: frozenset[str]
    maybe: frozenset[str] = frozenset()
    reason: str | None = None


def promised(disturbance: Disturbance) -> Promise:
    """Return what is promised of a call into the stack's own bucket."""
    heard = {kind for kind in CALLBACKS if disturbance.find_delivery(kind).times}
    events = {"Recording Requested"}
    if "recording_finished" in heard:
        events.add("Recording Finished")
    if not disturbance.wrong_storage_key:
        events.add("Transcription Available")
        if not disturbance.empty_file:
            return Promise("available", frozenset(events | {"Recording Available"}))
    maybe = set()
    if disturbance.empty_file:
        reason = "empty-file"
        # Sinch's word that it is there may come before the bucket's that nothing is in it.
        maybe = {"Recording Available"} & {kind.replace("_", " ").title() for kind in heard}
    elif "recording_finished" in heard:
        reason = "not-stored"
    else:
        reason = "not-announced" if "dice" in heard else "nothing-heard"
    return Promise("missing", frozenset(events | {"Recording Missing"}), frozenset(maybe), reason)


class Elsewhere:
    """A store that is not the stack's bucket, and tells the stack nothing."""

    def put(self, url: str, credentials: SecretStr, body: bytes, content_type: str) -> StoredFile:
        return StoredFile(url, len(body))


@dataclass(frozen=True)
class Watched:
    """A call of an application whose recordings not everybody can tell of, and what must come of it."""

    application: str
    disturbance: Disturbance
    reason: str | None
    witnesses: tuple[str, ...] = ()


IN_AZURE: Final[Mapping[str, Any]] = {"destination": "azure://account/container/{callId}.{format}"}
UNNOTIFIED: Final[Mapping[str, Any]] = {"notificationEvents": False}
PROFILES: Final[Mapping[str, Mapping[str, Any]]] = {
    "in-azure": IN_AZURE,
    "unnotified": UNNOTIFIED,
    "unnotified-in-azure": {**IN_AZURE, **UNNOTIFIED},
}
WATCHED: Final[Mapping[str, Watched]] = {
    "notified from Azure": Watched("in-azure", Disturbance(), None),
    "in Azure, only finished": Watched(
        "in-azure", Disturbance(drop("recording_available", "dice")), "not-stored", ("notification",)
    ),
    "in Azure, only ended": Watched("in-azure", Disturbance(drop(*NOTIFICATIONS)), "not-announced", ("notification",)),
    "in Azure, nothing": Watched("in-azure", UNHEARD, "nothing-heard", ("notification",)),
    "stored without notifications": Watched("unnotified", UNHEARD, None),
    "refused without notifications": Watched("unnotified", FILES["refused"], "not-announced", ("storage",)),
    "in Azure without notifications": Watched("unnotified-in-azure", Disturbance(), "no-witness", ()),
}


@dataclass
class Witnessed:
    """What was played, by name, and what the table and the subscriber had of it in the end.

    ``strange`` is the place of a file that belongs to no call.
    """

    played: dict[str, PlayedCall] = field(default_factory=dict)
    items: dict[str, dict[str, Any]] = field(default_factory=dict)
    events: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    strange: str = ""

    def kinds(self, name: str) -> list[str]:
        """Return the kinds of a call's events."""
        return [event["detail-type"] for event in self.events[name]]

    def data(self, name: str, kind: str) -> dict[str, Any]:
        """Return what the one event of a kind says."""
        [event] = [event for event in self.events[name] if event["detail-type"] == kind]
        data: dict[str, Any] = event["detail"]["data"]
        return data


@pytest.fixture(scope="module")
def applications(stack: LocalStack) -> Mapping[str, Simulator]:
    """Sinch, as the applications see it that have these profiles."""
    simulators = {}
    for key, fields in PROFILES.items():
        application = demo.make_application(key)
        credentials = AZURE_KEY if "destination" in fields else parameter(stack, demo.DEMO, CREDENTIALS)
        secret = application.secret.get_secret_value()
        put_application(stack, key, secret, profile={**demo.DEMO_PROFILE, **fields}, credentials=credentials)
        simulators[key] = stack.simulator()
        simulators[key].application = application
        if "destination" in fields:
            simulators[key].store = Elsewhere()
    return simulators


@pytest.fixture(scope="module")
def witnessed(stack: LocalStack, subscriber: Subscriber, applications: Mapping[str, Simulator]) -> Witnessed:
    """Every call, played, and waited for until nothing of it is waited for any more."""
    # Several calls at once start functions, which takes a busy machine its time.
    ours = stack.simulator(transport=HttpTransport(COLD_START_SECONDS))
    calls: dict[str, tuple[Simulator, IncomingCall, Disturbance]] = {
        **{name: (ours, app_to_app("alice"), disturbance) for name, disturbance in DISTURBANCES.items()},
        **{
            f"{name}, of a conference": (ours, app_to_conference(f"room-{uuid4()}"), disturbance)
            for name, disturbance in (("unheard", UNHEARD), *FILES.items())
        },
        **{
            name: (applications[each.application], app_to_app("alice"), each.disturbance)
            for name, each in WATCHED.items()
        },
    }
    seen = Witnessed(strange=new_place(stack))
    put(stack, f"{seen.strange}.mp3")
    # The less is heard of a call, the longer it is waited for, and the sooner it is played.
    names = sorted(calls, key=lambda name: sum(calls[name][2].find_delivery(kind).times > 0 for kind in CALLBACKS))
    with ThreadPoolExecutor(AT_ONCE) as lines:
        played = lines.map(lambda name: calls[name][0].play(*calls[name][1:]), names)
        seen.played = dict(zip(names, played, strict=True))
    wait_until("every fact is taken", lambda: queued(stack) == 0, within=WITHIN)
    with suppress(TooLate):  # Which one is not is for that one's test to say.
        wait_until("nothing is waited for", lambda: settled(stack, seen), within=WITHIN)
    wait_until("every fact is taken", lambda: queued(stack) == 0, within=WITHIN)
    while subscriber.poll():
        pass
    seen.events = {name: subscriber.events(find_recording_id(played)) for name, played in seen.played.items()}
    return seen


def settled(stack: LocalStack, seen: Witnessed) -> bool:
    """Look at what is not known or due, after the watchdog has; tell whether nothing is waited for any more."""
    first = min((item for item in seen.items.values() if "dueAt" in item), key=due_at, default={})
    if len(seen.items) == len(seen.played):
        if not stack.watch_if_due(first):
            return not first
        wait_until("every fact is taken", lambda: queued(stack) == 0, within=WITHIN)
    for name, played in seen.played.items():
        if name not in seen.items or due_at(seen.items[name]) <= due_at(first):
            seen.items[name] = stack.item(find_recording_id(played)) or {}
    return False


def due_at(item: Mapping[str, Any]) -> str:
    at: str = item.get("dueAt", "never")
    return at


@pytest.mark.parametrize("name", DISTURBANCES)
def test_a_disturbed_call_ends_available_or_missing_and_each_event_goes_out_once(
    name: str, witnessed: Witnessed
) -> None:
    promise = promised(DISTURBANCES[name])

    item, kinds = witnessed.items[name], witnessed.kinds(name)
    assert (item["status"], item.get("missingReason")) == (promise.status, promise.reason)
    assert Counter(kinds) == Counter(promise.events | (promise.maybe & set(kinds)))
    assert {event["detail"]["metadata"]["eventId"] for event in witnessed.events[name]} == set(item["published"])
    assert "claims" not in item


@pytest.mark.parametrize("name", [name for name in DISTURBANCES if name.startswith("stored")])
def test_the_bucket_says_how_large_the_file_is_whatever_sinch_says(name: str, witnessed: Witnessed) -> None:
    recording, transcript = witnessed.played[name].uploads

    item = witnessed.items[name]
    [file], [text] = item["files"].values(), item["transcripts"].values()
    assert (file["url"], file["size"]) == (recording.url, recording.size)
    assert (text["url"], text["size"]) == (transcript.url, transcript.size)
    assert file["checksum"]
    assert file["storedAt"]


def test_what_only_the_bucket_knows_of_is_announced_with_size_and_checksum(witnessed: Witnessed) -> None:
    name = f"stored, without {' '.join(CALLBACKS)}"
    uploads = {upload.url: upload.size for upload in witnessed.played[name].uploads}

    files = [witnessed.data(name, f"{what} Available")["file"] for what in ("Recording", "Transcription")]

    assert {file["url"]: file["size"] for file in files} == uploads
    assert all(file["checksum"] for file in files)


@pytest.mark.parametrize(
    ("name", "status", "reason"),
    [
        ("unheard, of a conference", "available", None),
        ("stored, of a conference", "available", None),
        ("refused, of a conference", "missing", "not-stored"),
        ("empty, of a conference", "missing", "empty-file"),
    ],
)
def test_a_conference_ends_available_or_missing_too(
    name: str, status: str, reason: str | None, witnessed: Witnessed
) -> None:
    item = witnessed.items[name]

    assert (item["status"], item.get("missingReason")) == (status, reason)
    assert Counter(witnessed.kinds(name)).most_common(1)[0][1] == 1


@pytest.mark.parametrize("name", WATCHED)
def test_who_could_have_told_of_a_missing_recording_is_told(name: str, witnessed: Witnessed) -> None:
    watched, item = WATCHED[name], witnessed.items[name]

    assert item.get("missingReason") == watched.reason
    if watched.reason is None:
        assert item["status"] == "available"
        assert "Recording Missing" not in witnessed.kinds(name)
    else:
        assert item["status"] == "missing"
        data = witnessed.data(name, "Recording Missing")
        assert (data["reason"], data["witnesses"]) == (watched.reason, list(watched.witnesses))
        assert data["destinationUrl"] == item["destinationUrl"]


def test_nobody_knows_the_size_of_a_file_in_azure(witnessed: Witnessed) -> None:
    file = witnessed.data("notified from Azure", "Recording Available")["file"]

    assert file["storage"] == "azure"
    assert "size" not in file


def test_a_notification_that_comes_after_the_recording_was_given_up_makes_it_available(
    witnessed: Witnessed, applications: Mapping[str, Simulator], stack: LocalStack, subscriber: Subscriber
) -> None:
    played = witnessed.played["in Azure, nothing"]
    url = witnessed.items["in Azure, nothing"]["destinationUrl"]

    applications["in-azure"].post(played.call.notify("recording_available", destination=url))

    subscriber.wait_for(played.call.call_id, {"Recording Available"}, within=WITHIN)
    kinds = [event["detail-type"] for event in subscriber.events(played.call.call_id)]
    assert kinds == ["Recording Requested", "Recording Missing", "Recording Available"]
    assert stack.wait_for_item(played.call.call_id, "available", within=WITHIN)["missingReason"] == "nothing-heard"


def test_a_file_that_comes_after_the_recording_was_given_up_makes_it_available(
    witnessed: Witnessed, stack: LocalStack, subscriber: Subscriber
) -> None:
    name = f"refused, without {' '.join(CALLBACKS)}"
    played = witnessed.played[name]

    put(stack, witnessed.items[name]["destinationUrl"])

    subscriber.wait_for(played.call.call_id, {"Recording Available"}, within=WITHIN)
    kinds = [event["detail-type"] for event in subscriber.events(played.call.call_id)]
    assert kinds == ["Recording Requested", "Recording Missing", "Recording Available"]
    item = stack.wait_for_item(played.call.call_id, "available", within=WITHIN)
    assert item["files"]["recording"]["checksum"] == hashlib.md5(AUDIO, usedforsecurity=False).hexdigest()


def test_a_file_that_nobody_asked_for_is_kept_in_mind_and_announced_once(
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
    wait_until("every fact is taken", lambda: queued(stack) == 0, within=WITHIN)
    [data] = announced()
    assert data["file"]["size"] == len(AUDIO)
    assert data["file"]["bucket"] == stack.outputs["RecordingsBucketName"]
    item = stack.location_item(place) or {}
    deadlines = datetime.fromisoformat(item["givenUpAt"]) - datetime.fromisoformat(item["nobodysSince"])
    assert deadlines.total_seconds() >= int(PARAMETERS["GraceSeconds"])
    assert "dueAt" not in item


def test_a_file_outside_of_the_recordings_folder_is_nobodys_business(stack: LocalStack) -> None:
    place = new_place(stack, folder="elsewhere")
    put(stack, f"{place}.mp3")
    witness = new_place(stack)
    put(stack, f"{witness}.mp3")

    wait_until("what came after it is known", lambda: stack.location_item(witness), within=WITHIN)

    assert stack.location_item(place) is None


def test_a_file_that_overtakes_the_news_of_its_call_is_that_calls(stack: LocalStack, subscriber: Subscriber) -> None:
    place, call_id, now = new_place(stack), f"call-{uuid4()}", datetime.now(UTC)
    put(stack, f"{place}.mp3")
    wait_until("the place is known", lambda: stack.location_item(place), within=WITHIN)
    request = RecordingRequest(
        at=now,
        rule="everything",
        destination_url=f"{place}.mp3",
        format="mp3",
        notification_events=True,
        transcription=False,
    )
    fact = CallDecidedFact(recording_id=call_id, application_key=demo.DEMO, call_id=call_id, request=request)

    stack.aws.sqs.send_message(QueueUrl=stack.outputs["RecordingQueueUrl"], MessageBody=messages.write_message(fact))

    events = subscriber.wait_for(call_id, {"Recording Requested", "Recording Available"}, within=WITHIN)
    assert len(events) == 2
    assert "dueAt" not in (stack.location_item(place) or {})


def new_place(stack: LocalStack, folder: str = "recordings") -> str:
    return f"s3://{stack.outputs['RecordingsBucketName']}/{folder}/{uuid4()}"


def put(stack: LocalStack, url: str) -> None:
    """Store a file as the bucket's owner may."""
    bucket, _, key = url.removeprefix("s3://").partition("/")
    stack.aws.s3.put_object(Bucket=bucket, Key=key, Body=AUDIO)
