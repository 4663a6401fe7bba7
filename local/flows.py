"""Calls that show what the recorder does, each with what must come of it.

`make call FLOW=...` plays one against the local stack, and so do the integration tests.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from call_recorder.answering.rules import is_in_sample
from local import audio, backend, demo
from local.simulator import (
    UNDISTURBED,
    Disturbance,
    IncomingCall,
    app_to_app,
    app_to_conference,
    dropped,
    phone_to_number,
)
from local.simulator.svaml import RecordingOptions
from local.waiting import until

if TYPE_CHECKING:
    from local.progress import Progress
    from local.simulator import PlayedCall
    from local.simulator.menu import FirstMenu
    from local.stack import LocalStack
    from local.subscriber import Subscriber

EVENTS = frozenset({"Recording Requested", "Recording Finished", "Recording Available", "Transcription Available"})
"""What a subscriber gets of a recorded call of the demonstration: its profiles have all of them transcribed."""

MISSING = "Recording Missing"
"""What a subscriber gets of a recording that does not come."""

ANSWERED_WITHIN = 4.0
"""Seconds in which every callback is answered, whatever is behind the recorder."""

_MAX_TRIES = 1000
_CALLED_USER = "alice"
_TO_CALLEE: Mapping[str, Any] = {"name": "connectPstn", "number": demo.CALLEE}
_ANNOUNCED: Mapping[str, str] = {"kind": "announcement", "outcome": "announced", "prompt": demo.ANNOUNCEMENT}
_ASKED: Mapping[str, str] = {"kind": "menu", "prompt": demo.QUESTION}
_BY_HEADER: Mapping[str, str] = {"kind": "header", "header": demo.CONSENT_HEADER}


class NotHeld(Exception):
    """A call did not go as it should have; the text says what went wrong."""


@dataclass(frozen=True)
class Flow:
    """A call, and what must come of it.

    Attributes:
        name: what it is called on the command line.
        about: what it shows.
        call: makes the call.
        outcomes: the callbacks that ask for an answer, each with the outcome in the function's log.
        rule: the name of the rule that decides.
        connects: fields of the action that connects the call.
        hears: what the caller is told ahead of it.
        recorded: whether the call is to be recorded.
        consent: the proof that is kept, but for its time and rule.
        application: key of the application whose call it is.
        passes: what a backend behind the recorder answers to the ICE: it goes on with nothing but additions.
        joins: makes the call of the app that joins the caller, of the conference's id.
        disturbance: what goes wrong with the recording and what is sent about it.
        missing: why the recording is missing when it should be there; ``None`` if it is there.
        mended: whether the file is put in its place after that.
    """

    name: str
    about: str
    call: Callable[[], IncomingCall]
    outcomes: tuple[tuple[str, str], ...]
    rule: str | None = None
    connects: Mapping[str, Any] = field(default_factory=lambda: _TO_CALLEE)
    hears: tuple[str, ...] = ()
    recorded: bool = False
    consent: Mapping[str, str] | None = None
    application: str = demo.DEMO
    passes: Mapping[str, Any] | None = None
    joins: Callable[[str], IncomingCall] | None = None
    disturbance: Disturbance = UNDISTURBED
    missing: str | None = None
    mended: bool = False


@dataclass(frozen=True)
class Held:
    """What came of a flow that went as it should: the recording's item, and its events."""

    item: dict[str, Any]
    events: list[dict[str, Any]]


def _phone(number: str, **what: Any) -> Callable[[], IncomingCall]:
    return lambda: replace(phone_to_number(number), **what)


def _app(**what: Any) -> Callable[[], IncomingCall]:
    return lambda: replace(app_to_app(demo.HEADER_USER), **what)


def _in_sample(wanted: bool) -> Callable[[], IncomingCall]:
    """Return what makes calls until one has an id that is in the sample, or is not."""

    def call() -> IncomingCall:
        calls = (phone_to_number(demo.SAMPLED_NUMBER) for _ in range(_MAX_TRIES))
        return next(call for call in calls if is_in_sample(call.call_id, demo.SAMPLE) is wanted)

    return call


_ALL = (
    Flow(
        name="in-app",
        about="an app calls the user of another app: connected to the username, recorded",
        call=lambda: app_to_app(_CALLED_USER),
        outcomes=(("ice", "recorded"),),
        rule="everything",
        connects={"name": "connectMxp", "destination": {"type": "username", "endpoint": _CALLED_USER}},
        recorded=True,
    ),
    Flow(
        name="everything",
        about="a phone call that no particular rule is for: recorded",
        call=_phone(demo.ROUTED_NUMBER),
        outcomes=(("ice", "recorded"), ("ace", "continued")),
        rule="everything",
        recorded=True,
    ),
    Flow(
        name="announcement",
        about="the caller is told, then connected and recorded",
        call=_phone(demo.ANNOUNCED_NUMBER),
        outcomes=(("ice", "recorded"), ("ace", "continued")),
        rule="announcement",
        hears=(demo.ANNOUNCEMENT,),
        recorded=True,
        consent=_ANNOUNCED,
    ),
    Flow(
        name="menu",
        about="the caller is asked, presses 1, and is recorded",
        call=_phone(demo.MENU_NUMBER, keys=("1",)),
        outcomes=(("ice", "consent-asked"), ("pie", "recorded"), ("ace", "continued")),
        rule="menu",
        recorded=True,
        consent={**_ASKED, "outcome": "accepted", "key": "1"},
    ),
    Flow(
        name="menu-declined",
        about="the caller presses 2: connected, not recorded",
        call=_phone(demo.MENU_NUMBER, keys=("2",)),
        outcomes=(("ice", "consent-asked"), ("pie", "no-consent"), ("ace", "continued")),
        rule="menu",
        consent={**_ASKED, "outcome": "declined", "key": "2"},
    ),
    Flow(
        name="menu-timeout",
        about="the caller presses nothing: connected, not recorded",
        call=_phone(demo.MENU_NUMBER),
        outcomes=(("ice", "consent-asked"), ("pie", "no-consent"), ("ace", "continued")),
        rule="menu",
        consent={**_ASKED, "outcome": "timeout"},
    ),
    Flow(
        name="menu-hangup",
        about="the caller hangs up in the menu",
        call=_phone(demo.MENU_NUMBER, keys=("hangup",)),
        outcomes=(("ice", "consent-asked"), ("pie", "no-consent")),
        rule="menu",
        consent={**_ASKED, "outcome": "hangup"},
    ),
    Flow(
        name="username-by-conference",
        about="the caller presses 1 and meets the app user in a conference, which is recorded once",
        call=_phone(demo.APP_MENU_NUMBER, keys=("1",)),
        outcomes=(("ice", "consent-asked"), ("pie", "recorded")),
        rule="menu for an app user",
        connects={"name": "connectConf"},
        recorded=True,
        consent={**_ASKED, "outcome": "accepted", "key": "1"},
        joins=lambda conference_id: app_to_conference(conference_id, user=demo.APP_USER),
    ),
    Flow(
        name="header",
        about="the caller's app says that it has asked: recorded",
        call=_app(call_headers={demo.CONSENT_HEADER: "yes"}),
        outcomes=(("ice", "recorded"),),
        rule="header",
        connects={"name": "connectMxp"},
        recorded=True,
        consent={**_BY_HEADER, "outcome": "accepted", "headerValue": "yes"},
    ),
    Flow(
        name="header-missing",
        about="the caller's app says nothing: connected, not recorded",
        call=_app(),
        outcomes=(("ice", "no-consent"),),
        rule="header",
        connects={"name": "connectMxp"},
        consent={**_BY_HEADER, "outcome": "declined"},
    ),
    Flow(
        name="on-answer",
        about="recorded from the moment the callee picks up",
        call=_phone(demo.ON_ANSWER_NUMBER),
        outcomes=(("ice", "answer-awaited"), ("ace", "recorded")),
        rule="on answer",
        recorded=True,
    ),
    Flow(
        name="on-answer-unanswered",
        about="nobody picks up: nothing is recorded, and nothing waited for",
        call=_phone(demo.ON_ANSWER_NUMBER, answered=False),
        outcomes=(("ice", "answer-awaited"),),
        rule="on answer",
    ),
    Flow(
        name="sampled",
        about="a call in the sample of its rule: recorded",
        call=_in_sample(True),
        outcomes=(("ice", "recorded"), ("ace", "continued")),
        rule="sample",
        recorded=True,
    ),
    Flow(
        name="not-sampled",
        about="a call that is not in the sample of its rule: connected, not recorded",
        call=_in_sample(False),
        outcomes=(("ice", "not-sampled"), ("ace", "continued")),
        rule="sample",
    ),
    Flow(
        name="no-rule",
        about="a call that no rule matches: connected, not recorded",
        call=_phone(demo.UNRULED_NUMBER),
        outcomes=(("ice", "not-recorded"), ("ace", "continued")),
        application=demo.ONE_RULE,
    ),
    Flow(
        name="unanswered",
        about="nobody picks up a call that was to be recorded: missing, since not answered",
        call=_phone(demo.ROUTED_NUMBER, answered=False),
        outcomes=(("ice", "recorded"),),
        rule="everything",
        recorded=True,
        missing="not-answered",
    ),
    Flow(
        name="wrong-key",
        about="Sinch's key for the bucket is wrong and the upload is refused: missing",
        call=_phone(demo.ROUTED_NUMBER),
        outcomes=(("ice", "recorded"), ("ace", "continued")),
        rule="everything",
        recorded=True,
        disturbance=Disturbance(wrong_storage_key=True),
        missing="not-stored",
    ),
    Flow(
        name="late-file",
        about="the upload is refused, and the file is put in its place when it is missing: available",
        call=_phone(demo.ROUTED_NUMBER),
        outcomes=(("ice", "recorded"), ("ace", "continued")),
        rule="everything",
        recorded=True,
        disturbance=Disturbance(wrong_storage_key=True),
        missing="not-stored",
        mended=True,
    ),
    Flow(
        name="lost-notification",
        about="Sinch's word that the files are there gets lost: available, since the bucket says so too",
        call=_phone(demo.ROUTED_NUMBER),
        outcomes=(("ice", "recorded"), ("ace", "continued")),
        rule="everything",
        recorded=True,
        disturbance=Disturbance(dropped("recording_available", "transcription_available")),
    ),
    Flow(
        name="conference-beside",
        about="every callback names a conference beside the call, as in the SDKs' fixtures: one recording, the call's",
        call=_phone(demo.ROUTED_NUMBER, conference_beside="a-conference"),
        outcomes=(("ice", "recorded"), ("ace", "continued")),
        rule="everything",
        recorded=True,
    ),
    Flow(
        name="upstream",
        about="a team's own backend connects the call, the recorder adds announcement and recording",
        call=_phone(demo.BACKEND_NUMBER),
        outcomes=(("ice", "recorded"), ("ace", "continued")),
        rule="behind the recorder",
        connects=backend.SVAML["ice"]["action"],
        hears=(backend.GREETING, demo.ANNOUNCEMENT),
        recorded=True,
        consent=_ANNOUNCED,
        application=demo.WITH_BACKEND,
        passes=backend.SVAML["ice"],
    ),
    Flow(
        name="upstream-late",
        about="the backend does not answer in time: the profile's routes connect the call",
        call=_phone(demo.LATE_BACKEND_NUMBER),
        outcomes=(("ice", "recorded"), ("ace", "continued")),
        rule="behind the recorder",
        hears=(demo.ANNOUNCEMENT,),
        recorded=True,
        consent=_ANNOUNCED,
        application=demo.WITH_BACKEND,
    ),
)

FLOWS: Mapping[str, Flow] = {flow.name: flow for flow in _ALL}
"""Every flow by its name."""

MENU_FLOWS: Mapping[str, Flow] = {
    name: flow for name, flow in FLOWS.items() if ("ice", "consent-asked") in flow.outcomes
}
"""The flows whose caller is asked by a menu, whichever of several menus Sinch plays first."""

DEFAULT = "in-app"
"""The flow that is played unless another is named."""


def play(flow: Flow, stack: LocalStack, *, first_menu: FirstMenu = "mainMenu") -> PlayedCall:
    """Play the call of a flow. What a backend answers may have fields that Sinch does not document."""
    simulator = stack.simulator(flow.application, lenient=flow.passes is not None, first_menu=first_menu)
    return simulator.play(flow.call(), flow.disturbance)


def hold(
    flow: Flow, played: PlayedCall, stack: LocalStack, subscriber: Subscriber, progress: Progress, *, within: float
) -> Held:
    """Check that a flow's call went as it should, and wait for what follows from it.

    Args:
        flow: what must hold.
        played: its call.
        stack: where it was played.
        subscriber: takes the stack's events.
        progress: told of each check.
        within: seconds for each thing that takes its time.

    Raises:
        NotHeld: something did not.
        TooLate: something that should have followed from the call did not come.
    """
    with progress.step("Sinch was told what it should be"):
        _check_answers(flow, played)
    with progress.step(f"the log has {', '.join(f'{event} {outcome}' for event, outcome in flow.outcomes)}"):
        _check_log(flow, played, stack, within)
    call_id = played.call.call_id
    with progress.step("the call's end is in the table"):
        _wait_for_end(call_id, recording_id(played), stack, within)
    consent = _check_consent(flow, played, stack, within, progress)
    if flow.missing:
        held = _check_missing(flow, played, consent, stack, subscriber, within, progress)
    elif flow.recorded:
        held = _check_recorded(flow, played, consent, stack, subscriber, within, progress)
    else:
        held = _check_unrecorded(call_id, stack, subscriber, progress)
    if flow.joins:
        _join(flow, recording_id(played), stack, subscriber, within, progress)
    return held


def recording_id(played: PlayedCall) -> str:
    """Return what the table knows the recording by: the conference's id if the call goes to one."""
    conferences = (answer.svaml["action"].get("conferenceId") for answer in played.answers)
    return next(filter(None, conferences), played.call.call_id)


def _must(holds: object, problem: str) -> None:
    if not holds:
        raise NotHeld(problem)


def _check_answers(flow: Flow, played: PlayedCall) -> None:
    refused = {step.name for step in played.steps if not step.held and step.name.startswith("upload")}
    _must(bool(refused) == flow.disturbance.wrong_storage_key, f"Uploads that were refused: {sorted(refused)}.")
    failed = [str(step) for step in played.steps if not step.held and step.name not in refused]
    _must(not failed, f"The call failed: {'; '.join(failed)}.")
    for answer in played.answers:
        _must(
            answer.seconds < ANSWERED_WITHIN,
            f"The {answer.event.upper()} was answered after {answer.seconds:.1f} s, not within {ANSWERED_WITHIN:g} s.",
        )
        if options := answer.svaml["action"].get("recordingOptions"):
            _check_options(options)
    connecting = next(answer.svaml for answer in played.answers if answer.svaml["action"]["name"] != "runMenu")
    action = connecting["action"]
    differing = [name for name, value in flow.connects.items() if action.get(name) != value]
    _must(not differing, f"The action that connects the call differs in {', '.join(differing)}: {action}.")
    heard = tuple(each["text"] for each in connecting.get("instructions", []) if each["name"] == "say")
    _must(heard == flow.hears, f"The caller hears {list(heard)} and not {list(flow.hears)}.")
    _must(
        flow.passes is None or flow.passes == _without_additions(connecting),
        "What the backend answered did not go on unchanged.",
    )


def _without_additions(svaml: Mapping[str, Any]) -> dict[str, Any]:
    """Return an answer without what the recorder adds to a backend's."""
    own = ("record", "recordingOptions")
    return {
        **svaml,
        "instructions": [each for each in svaml["instructions"] if each.get("text") != demo.ANNOUNCEMENT],
        "action": {name: value for name, value in svaml["action"].items() if name not in own},
    }


def _check_options(options: Mapping[str, Any]) -> None:
    """Check the recorder's own part of an answer, also where a backend made the rest of it."""
    try:
        RecordingOptions.model_validate(options)
    except ValidationError as error:
        raise NotHeld(f"recordingOptions: {error.errors(include_input=False)[0]['msg']}.") from None


def _check_log(flow: Flow, played: PlayedCall, stack: LocalStack, within: float) -> None:
    def decisions() -> list[dict[str, Any]] | None:
        lines = (json.loads(line) for line in stack.function_log() if played.call.call_id in line and line[:1] == "{")
        found = [line for line in lines if line["message"] == "callback" and line["event"] in ("ice", "pie", "ace")]
        return found if len(found) >= len(flow.outcomes) else None

    found = until(f"the log tells of {len(flow.outcomes)} decisions", decisions, within=within)
    outcomes = tuple((line["event"], line["outcome"]) for line in found)
    _must(outcomes == flow.outcomes, f"The log tells of {outcomes}.")
    rules = {line["rule"] for line in found if "rule" in line}
    _must(rules == ({flow.rule} if flow.rule else set()), f"The log names {sorted(rules)} and not {flow.rule}.")


def _wait_for_end(call_id: str, name: str, stack: LocalStack, within: float) -> None:
    until(
        f"the end of the call {call_id} is in the table",
        lambda: call_id in (stack.item(name) or {}).get("ends", {}),
        within=within,
    )


def _check_consent(
    flow: Flow, played: PlayedCall, stack: LocalStack, within: float, progress: Progress
) -> dict[str, Any] | None:
    """Return the proof of consent as the table has it."""
    call_id, name = played.call.call_id, recording_id(played)

    def proof() -> dict[str, Any] | None:
        proof: dict[str, Any] | None = (stack.item(name) or {}).get("consents", {}).get(call_id)
        return proof

    if flow.consent is None:
        _must(proof() is None, "There is a proof of consent, though none was asked.")
        return None
    with progress.step(f"the proof of consent is kept: {flow.consent['kind']}, {flow.consent['outcome']}"):
        found = until("the proof of consent is in the table", proof, within=within)
        expected = {**flow.consent, "rule": flow.rule, "at": found.get("at")}
        _must(found == expected, f"The proof of consent is another: {found}.")
    return found


def _check_recorded(
    flow: Flow,
    played: PlayedCall,
    consent: Mapping[str, Any] | None,
    stack: LocalStack,
    subscriber: Subscriber,
    within: float,
    progress: Progress,
) -> Held:
    name = recording_id(played)
    with progress.step(f"the subscriber has {len(EVENTS)} events"):
        events = subscriber.wait_for(name, EVENTS, within=within)
        _check_events(events, EVENTS, flow, consent)
    with progress.step("the item is available, and the bucket says so too"):
        item = wait_until_settled(name, EVENTS, stack, within=within)
        _check_request(item, flow, played)
        known = {file["url"]: file["size"] for each in ("files", "transcripts") for file in item[each].values()}
        _must(known == {stored.url: stored.size for stored in played.uploads}, f"The item has the files {known}.")
    with progress.step("the bucket has recording and transcript"):
        _must(len(played.uploads) == 2, f"{len(played.uploads)} files were stored, not 2.")
        for stored in played.uploads:
            bucket, key = _bucket_and_key(stored.url)
            found = stack.aws.s3.head_object(Bucket=bucket, Key=key)["ContentLength"]
            _must(found == stored.size, f"{stored.url} has {found} bytes, not {stored.size}.")
    return Held(item, events)


def _check_missing(
    flow: Flow,
    played: PlayedCall,
    consent: Mapping[str, Any] | None,
    stack: LocalStack,
    subscriber: Subscriber,
    within: float,
    progress: Progress,
) -> Held:
    name = recording_id(played)
    kinds = {"Recording Requested", MISSING}
    if "recording_finished" in {step.name for step in played.steps}:
        kinds.add("Recording Finished")
    with progress.step(f"the watchdog finds it missing: {flow.missing}"):
        item = stack.wait_until_missing(name, within=within)
        _must(item["missingReason"] == flow.missing, f"It is missing because of {item['missingReason']}.")
        _check_request(item, flow, played)
    with progress.step(f"the subscriber has {len(kinds)} events"):
        events = subscriber.wait_for(name, kinds, within=within)
        _check_events(events, kinds, flow, consent)
        [told] = [event["detail"]["data"] for event in events if event["detail-type"] == MISSING]
        _must(told["reason"] == flow.missing, f"The subscriber is told of {told['reason']}.")
    if flow.mended:
        with progress.step("the file is put in its place, and the item is available"):
            return _mended(item, kinds | {"Recording Available"}, stack, subscriber, within)
    return Held(item, events)


def _mended(
    item: Mapping[str, Any], kinds: Collection[str], stack: LocalStack, subscriber: Subscriber, within: float
) -> Held:
    """Put the file where it was to be, and check that it is found."""
    name = item["recordingId"]
    bucket, key = _bucket_and_key(item["destinationUrl"])
    stack.aws.s3.put_object(Bucket=bucket, Key=key, Body=audio.silence(item["format"], audio.frames_for(name)))
    events = subscriber.wait_for(name, kinds, within=within)
    return Held(wait_until_settled(name, kinds, stack, within=within), events)


def wait_until_settled(name: str, kinds: Collection[str], stack: LocalStack, *, within: float) -> dict[str, Any]:
    """Return a recording's item as soon as nothing will change it any more.

    It is available by then, a call's end and what the bucket says of its files are on it, and the events are out.

    Args:
        name: what the recording is known by.
        kinds: of its events, one each.
        stack: where it is.
        within: seconds.

    Raises:
        TooLate: it is not.
    """

    def settled() -> dict[str, Any] | None:
        item = stack.item(name) or {}
        files = [file for each in ("files", "transcripts") for file in item.get(each, {}).values()]
        witnessed = item.get("status") == "available" and item.get("ends") and all("storedAt" in file for file in files)
        return item if witnessed and len(item.get("published", {})) == len(kinds) else None

    return until(f"{name} is available and nothing of it is to come", settled, within=within)


def _bucket_and_key(url: str) -> tuple[str, str]:
    bucket, _, key = url.removeprefix("s3://").partition("/")
    return bucket, key


def _check_request(item: Mapping[str, Any], flow: Flow, played: PlayedCall) -> None:
    _must(item.get("rule") == flow.rule, f"The item names the rule {item.get('rule')!r}.")
    _must(set(item["requests"]) == {played.call.call_id}, "The item has another call's request.")


def _check_events(
    events: list[dict[str, Any]], kinds: Collection[str], flow: Flow, consent: Mapping[str, Any] | None
) -> None:
    published = Counter(event["detail-type"] for event in events)
    _must(published == Counter(kinds), f"Published were {dict(published)}, not one each of {sorted(kinds)}.")
    expected = None if consent is None else dict(consent)
    for event in events:
        data = event["detail"]["data"]
        # An event may go out before the queue has delivered what was decided on the call. The first never does.
        known = event["detail-type"] == "Recording Requested" or "rule" in data
        _must(not known or data.get("rule") == flow.rule, f"{event['detail-type']} names {data.get('rule')!r}.")
        _must(not known or data.get("consent") == expected, f"{event['detail-type']} has another proof of consent.")


def _check_unrecorded(call_id: str, stack: LocalStack, subscriber: Subscriber, progress: Progress) -> Held:
    with progress.step("nothing is recorded, waited for or published"):
        item = stack.item(call_id) or {}
        present = [name for name in ("status", "requests", "files", "dueAt") if item.get(name)]
        _must(not present, f"The item of a call that is not recorded has {', '.join(present)}.")
        subscriber.poll()
        events = [event["detail-type"] for event in subscriber.events(call_id)]
        _must(not events, f"Events of a call that is not recorded: {', '.join(events)}.")
    return Held(item, [])


def _join(
    flow: Flow, conference_id: str, stack: LocalStack, subscriber: Subscriber, within: float, progress: Progress
) -> None:
    """Have the app join the caller's conference, and check that it is not recorded on its own."""
    call = flow.joins(conference_id) if flow.joins else app_to_conference(conference_id)
    join = Flow(
        name=f"{flow.name}: the app joins",
        about="",
        call=lambda: call,
        outcomes=(("ice", "not-recorded"),),
        connects={"name": "connectConf", "conferenceId": conference_id},
        application=flow.application,
    )
    before = stack.item(conference_id)
    played = play(join, stack)
    with progress.step("the app joins and is not recorded separately"):
        _check_answers(join, played)
        _must("record" not in played.svaml["action"] and not played.uploads, "The app was recorded.")
        _check_log(join, played, stack, within)
        _wait_for_end(call.call_id, call.call_id, stack, within)
        subscriber.poll()
        _must(len(subscriber.events(conference_id)) == len(EVENTS), "There are more events of the conference.")
        _must(stack.item(conference_id) == before, "The conference's item has changed.")
        _check_not_requested(call.call_id, stack)


def _check_not_requested(call_id: str, stack: LocalStack) -> None:
    item = stack.item(call_id) or {}
    _must("requests" not in item and "status" not in item, "The app's own call has a recording.")
