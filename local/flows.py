"""Calls that demonstrate the recorder, each with its expected results.

`make call FLOW=...` and the integration tests play them against the local stack.
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
from local.simulator import UNDISTURBED, Disturbance, IncomingCall, app_to_app, app_to_conference, drop, phone_to_number
from local.simulator.svaml import RecordingOptions
from local.waiting import wait_until

if TYPE_CHECKING:
    from local.progress import Progress
    from local.simulator import PlayedCall
    from local.simulator.menu import FirstMenu
    from local.stack import LocalStack
    from local.subscriber import Subscriber

EVENTS = frozenset({"Recording Requested", "Recording Finished", "Recording Available", "Transcription Available"})
"""The events of a recorded call: the profiles of ``local.demo`` transcribe every recording."""

MISSING = "Recording Missing"
"""The event of a recording that does not arrive."""

ANSWERED_WITHIN = 4.0
"""Seconds in which the recorder answers every callback, with or without a backend behind it."""

_MAX_TRIES = 1000
_CALLED_USER = "alice"
_TO_CALLEE: Mapping[str, Any] = {"name": "connectPstn", "number": demo.CALLEE}
_ANNOUNCED: Mapping[str, str] = {"kind": "announcement", "outcome": "announced", "prompt": demo.ANNOUNCEMENT}
_ASKED: Mapping[str, str] = {"kind": "menu", "prompt": demo.QUESTION}
_BY_HEADER: Mapping[str, str] = {"kind": "header", "header": demo.CONSENT_HEADER}


class CheckFailed(Exception):
    """A check of a call failed; the text says which."""


@dataclass(frozen=True)
class Flow:
    """A call and its expected results.

    Attributes:
        name: its name on the command line.
        about: what it shows.
        call: makes the call.
        outcomes: the callbacks that get an answer, each with the outcome in the function's log.
        rule: the name of the rule that decides.
        connects: fields of the action that connects the call.
        hears: the announcements that the caller hears before that.
        recorded: whether the call is recorded.
        consent: the stored proof of consent, without its time and rule.
        application: the key of the application that gets the call.
        passes: the backend's answer to the ICE; the recorder passes it on and only adds to it.
        joins: makes the call of the app that joins the conference with this id.
        disturbance: the faults of the recording and of its notifications.
        missing: the reason why the recording is missing; ``None`` if it is not.
        repaired: whether the file is stored after the recording was announced as missing.
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
    repaired: bool = False


@dataclass(frozen=True)
class FlowResult:
    """The result of a flow that held: the recording's item and its events."""

    item: dict[str, Any]
    events: list[dict[str, Any]]


def _make_phone_call(number: str, **what: Any) -> Callable[[], IncomingCall]:
    return lambda: replace(phone_to_number(number), **what)


def _make_app_call(**what: Any) -> Callable[[], IncomingCall]:
    return lambda: replace(app_to_app(demo.HEADER_USER), **what)


def _choose_by_sample(wanted: bool) -> Callable[[], IncomingCall]:
    """Return a function that makes calls until one's id is in the sample, or is not."""

    def make_call() -> IncomingCall:
        calls = (phone_to_number(demo.SAMPLED_NUMBER) for _ in range(_MAX_TRIES))
        return next(call for call in calls if is_in_sample(call.call_id, demo.SAMPLE) is wanted)

    return make_call


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
        about="a phone call without a rule of its own: recorded by the rule for every call",
        call=_make_phone_call(demo.ROUTED_NUMBER),
        outcomes=(("ice", "recorded"), ("ace", "continued")),
        rule="everything",
        recorded=True,
    ),
    Flow(
        name="announcement",
        about="the caller hears an announcement, then is connected and recorded",
        call=_make_phone_call(demo.ANNOUNCED_NUMBER),
        outcomes=(("ice", "recorded"), ("ace", "continued")),
        rule="announcement",
        hears=(demo.ANNOUNCEMENT,),
        recorded=True,
        consent=_ANNOUNCED,
    ),
    Flow(
        name="menu",
        about="the caller presses 1 in the menu: connected and recorded",
        call=_make_phone_call(demo.MENU_NUMBER, keys=("1",)),
        outcomes=(("ice", "consent-asked"), ("pie", "recorded"), ("ace", "continued")),
        rule="menu",
        recorded=True,
        consent={**_ASKED, "outcome": "accepted", "key": "1"},
    ),
    Flow(
        name="menu-declined",
        about="the caller presses 2: connected, not recorded",
        call=_make_phone_call(demo.MENU_NUMBER, keys=("2",)),
        outcomes=(("ice", "consent-asked"), ("pie", "no-consent"), ("ace", "continued")),
        rule="menu",
        consent={**_ASKED, "outcome": "declined", "key": "2"},
    ),
    Flow(
        name="menu-timeout",
        about="the caller presses nothing: connected, not recorded",
        call=_make_phone_call(demo.MENU_NUMBER),
        outcomes=(("ice", "consent-asked"), ("pie", "no-consent"), ("ace", "continued")),
        rule="menu",
        consent={**_ASKED, "outcome": "timeout"},
    ),
    Flow(
        name="menu-hangup",
        about="the caller hangs up in the menu: not recorded",
        call=_make_phone_call(demo.MENU_NUMBER, keys=("hangup",)),
        outcomes=(("ice", "consent-asked"), ("pie", "no-consent")),
        rule="menu",
        consent={**_ASKED, "outcome": "hangup"},
    ),
    Flow(
        name="username-by-conference",
        about="the caller presses 1 and is connected to the app user in a conference: recorded once",
        call=_make_phone_call(demo.APP_MENU_NUMBER, keys=("1",)),
        outcomes=(("ice", "consent-asked"), ("pie", "recorded")),
        rule="menu for an app user",
        connects={"name": "connectConf"},
        recorded=True,
        consent={**_ASKED, "outcome": "accepted", "key": "1"},
        joins=lambda conference_id: app_to_conference(conference_id, user=demo.APP_USER),
    ),
    Flow(
        name="header",
        about="the caller's app sends the header of consent: recorded",
        call=_make_app_call(call_headers={demo.CONSENT_HEADER: "yes"}),
        outcomes=(("ice", "recorded"),),
        rule="header",
        connects={"name": "connectMxp"},
        recorded=True,
        consent={**_BY_HEADER, "outcome": "accepted", "headerValue": "yes"},
    ),
    Flow(
        name="header-missing",
        about="the caller's app sends no such header: connected, not recorded",
        call=_make_app_call(),
        outcomes=(("ice", "no-consent"),),
        rule="header",
        connects={"name": "connectMxp"},
        consent={**_BY_HEADER, "outcome": "declined"},
    ),
    Flow(
        name="on-answer",
        about="the recording starts when the callee answers",
        call=_make_phone_call(demo.ON_ANSWER_NUMBER),
        outcomes=(("ice", "answer-awaited"), ("ace", "recorded")),
        rule="on answer",
        recorded=True,
    ),
    Flow(
        name="on-answer-unanswered",
        about="the callee does not answer: not recorded, and not missing",
        call=_make_phone_call(demo.ON_ANSWER_NUMBER, answered=False),
        outcomes=(("ice", "answer-awaited"),),
        rule="on answer",
    ),
    Flow(
        name="sampled",
        about="a call in the sample of its rule: recorded",
        call=_choose_by_sample(True),
        outcomes=(("ice", "recorded"), ("ace", "continued")),
        rule="sample",
        recorded=True,
    ),
    Flow(
        name="not-sampled",
        about="a call that is not in the sample of its rule: connected, not recorded",
        call=_choose_by_sample(False),
        outcomes=(("ice", "not-sampled"), ("ace", "continued")),
        rule="sample",
    ),
    Flow(
        name="no-rule",
        about="a call that no rule matches: connected, not recorded",
        call=_make_phone_call(demo.UNRULED_NUMBER),
        outcomes=(("ice", "not-recorded"), ("ace", "continued")),
        application=demo.ONE_RULE,
    ),
    Flow(
        name="unanswered",
        about="the callee does not answer a call that is to be recorded: missing (not-answered)",
        call=_make_phone_call(demo.ROUTED_NUMBER, answered=False),
        outcomes=(("ice", "recorded"),),
        rule="everything",
        recorded=True,
        missing="not-answered",
    ),
    Flow(
        name="wrong-key",
        about="Sinch's key for the bucket is wrong, so the upload is refused: missing (not-stored)",
        call=_make_phone_call(demo.ROUTED_NUMBER),
        outcomes=(("ice", "recorded"), ("ace", "continued")),
        rule="everything",
        recorded=True,
        disturbance=Disturbance(wrong_storage_key=True),
        missing="not-stored",
    ),
    Flow(
        name="late-file",
        about="the upload is refused, and the file arrives after it was announced as missing: available",
        call=_make_phone_call(demo.ROUTED_NUMBER),
        outcomes=(("ice", "recorded"), ("ace", "continued")),
        rule="everything",
        recorded=True,
        disturbance=Disturbance(wrong_storage_key=True),
        missing="not-stored",
        repaired=True,
    ),
    Flow(
        name="lost-notification",
        about="Sinch's notifications about the files are lost: available, because the bucket reports the files too",
        call=_make_phone_call(demo.ROUTED_NUMBER),
        outcomes=(("ice", "recorded"), ("ace", "continued")),
        rule="everything",
        recorded=True,
        disturbance=Disturbance(drop("recording_available", "transcription_available")),
    ),
    Flow(
        name="conference-beside",
        about="every callback also names a conference, as in the SDKs' fixtures: one recording, that of the call",
        call=_make_phone_call(demo.ROUTED_NUMBER, conference_beside="a-conference"),
        outcomes=(("ice", "recorded"), ("ace", "continued")),
        rule="everything",
        recorded=True,
    ),
    Flow(
        name="upstream",
        about="a team's own backend connects the call, and the recorder adds the announcement and the recording",
        call=_make_phone_call(demo.BACKEND_NUMBER),
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
        about="the team's backend does not answer in time: the profile's routes connect the call",
        call=_make_phone_call(demo.LATE_BACKEND_NUMBER),
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
"""The flows with a menu; they hold whichever of several menus Sinch plays first."""

DEFAULT = "in-app"
"""The flow that is played by default."""


def play(flow: Flow, stack: LocalStack, *, first_menu: FirstMenu = "mainMenu") -> PlayedCall:
    """Play the call of a flow. The answers of a backend may have fields that Sinch does not document."""
    simulator = stack.simulator(flow.application, lenient=flow.passes is not None, first_menu=first_menu)
    return simulator.play(flow.call(), flow.disturbance)


def check_flow(
    flow: Flow, played: PlayedCall, stack: LocalStack, subscriber: Subscriber, progress: Progress, *, within: float
) -> FlowResult:
    """Check the results of a flow's call; wait for those that take a while.

    Args:
        flow: has the expected results.
        played: the call.
        stack: the stack that the call was played against.
        subscriber: receives the stack's events.
        progress: prints each check.
        within: seconds to wait for each result.

    Raises:
        NotHeld: a check failed.
        TooLate: a result did not arrive in time.
    """
    with progress.step("Sinch got the expected answers"):
        _check_answers(flow, played)
    with progress.step(f"the log has {', '.join(f'{event} {outcome}' for event, outcome in flow.outcomes)}"):
        _check_log(flow, played, stack, within)
    call_id = played.call.call_id
    with progress.step("the call's end is in the table"):
        _wait_for_end(call_id, find_recording_id(played), stack, within)
    consent = _check_consent(flow, played, stack, within, progress)
    if flow.missing:
        held = _check_missing(flow, played, consent, stack, subscriber, within, progress)
    elif flow.recorded:
        held = _check_recorded(flow, played, consent, stack, subscriber, within, progress)
    else:
        held = _check_unrecorded(call_id, stack, subscriber, progress)
    if flow.joins:
        _join(flow, find_recording_id(played), stack, subscriber, within, progress)
    return held


def find_recording_id(played: PlayedCall) -> str:
    """Return the recording's id in the table: that of the conference if the call goes to one."""
    conferences = (answer.svaml["action"].get("conferenceId") for answer in played.answers)
    return next(filter(None, conferences), played.call.call_id)


def _check(condition: object, problem: str) -> None:
    if not condition:
        raise CheckFailed(problem)


def _check_answers(flow: Flow, played: PlayedCall) -> None:
    refused = {step.name for step in played.steps if not step.held and step.name.startswith("upload")}
    _check(bool(refused) == flow.disturbance.wrong_storage_key, f"Uploads that were refused: {sorted(refused)}.")
    failed = [str(step) for step in played.steps if not step.held and step.name not in refused]
    _check(not failed, f"The call failed: {'; '.join(failed)}.")
    for answer in played.answers:
        _check(
            answer.seconds < ANSWERED_WITHIN,
            f"The {answer.event.upper()} was answered after {answer.seconds:.1f} s, not within {ANSWERED_WITHIN:g} s.",
        )
        if options := answer.svaml["action"].get("recordingOptions"):
            _check_options(options)
    connecting = next(answer.svaml for answer in played.answers if answer.svaml["action"]["name"] != "runMenu")
    action = connecting["action"]
    differing = [name for name, value in flow.connects.items() if action.get(name) != value]
    _check(not differing, f"The action that connects the call differs in {', '.join(differing)}: {action}.")
    heard = tuple(each["text"] for each in connecting.get("instructions", []) if each["name"] == "say")
    _check(heard == flow.hears, f"The caller hears {list(heard)} and not {list(flow.hears)}.")
    _check(
        flow.passes is None or flow.passes == _without_additions(connecting),
        "The recorder changed the backend's answer.",
    )


def _without_additions(svaml: Mapping[str, Any]) -> dict[str, Any]:
    """Return an answer without the recorder's additions to the backend's answer."""
    own = ("record", "recordingOptions")
    return {
        **svaml,
        "instructions": [each for each in svaml["instructions"] if each.get("text") != demo.ANNOUNCEMENT],
        "action": {name: value for name, value in svaml["action"].items() if name not in own},
    }


def _check_options(options: Mapping[str, Any]) -> None:
    """Check the recorder's own part of an answer, strictly even if a backend made the rest."""
    try:
        RecordingOptions.model_validate(options)
    except ValidationError as error:
        raise CheckFailed(f"recordingOptions: {error.errors(include_input=False)[0]['msg']}.") from None


def _check_log(flow: Flow, played: PlayedCall, stack: LocalStack, within: float) -> None:
    def find_decisions() -> list[dict[str, Any]] | None:
        lines = (json.loads(line) for line in stack.function_log() if played.call.call_id in line and line[:1] == "{")
        found = [line for line in lines if line["message"] == "callback" and line["event"] in ("ice", "pie", "ace")]
        return found if len(found) >= len(flow.outcomes) else None

    found = wait_until(f"the log has {len(flow.outcomes)} decisions", find_decisions, within=within)
    outcomes = tuple((line["event"], line["outcome"]) for line in found)
    _check(outcomes == flow.outcomes, f"The log has {outcomes}.")
    rules = {line["rule"] for line in found if "rule" in line}
    _check(rules == ({flow.rule} if flow.rule else set()), f"The log names {sorted(rules)} and not {flow.rule}.")


def _wait_for_end(call_id: str, name: str, stack: LocalStack, within: float) -> None:
    wait_until(
        f"the end of the call {call_id} is in the table",
        lambda: call_id in (stack.item(name) or {}).get("ends", {}),
        within=within,
    )


def _check_consent(
    flow: Flow, played: PlayedCall, stack: LocalStack, within: float, progress: Progress
) -> dict[str, Any] | None:
    """Check the proof of consent in the table, and return it."""
    call_id, name = played.call.call_id, find_recording_id(played)

    def read_proof() -> dict[str, Any] | None:
        proof: dict[str, Any] | None = (stack.item(name) or {}).get("consents", {}).get(call_id)
        return proof

    if flow.consent is None:
        _check(read_proof() is None, "The table has a proof of consent, but the flow has no consent.")
        return None
    with progress.step(f"the proof of consent is kept: {flow.consent['kind']}, {flow.consent['outcome']}"):
        found = wait_until("the proof of consent is in the table", read_proof, within=within)
        expected = {**flow.consent, "rule": flow.rule, "at": found.get("at")}
        _check(found == expected, f"The proof of consent is {found}, not {expected}.")
    return found


def _check_recorded(
    flow: Flow,
    played: PlayedCall,
    consent: Mapping[str, Any] | None,
    stack: LocalStack,
    subscriber: Subscriber,
    within: float,
    progress: Progress,
) -> FlowResult:
    name = find_recording_id(played)
    with progress.step(f"the subscriber has {len(EVENTS)} events"):
        events = subscriber.wait_for(name, EVENTS, within=within)
        _check_events(events, EVENTS, flow, consent)
    with progress.step("the item is available, and the bucket confirms it"):
        item = wait_until_settled(name, EVENTS, stack, within=within)
        _check_request(item, flow, played)
        known = {file["url"]: file["size"] for each in ("files", "transcripts") for file in item[each].values()}
        _check(known == {stored.url: stored.size for stored in played.uploads}, f"The item has the files {known}.")
    with progress.step("the bucket has recording and transcript"):
        _check(len(played.uploads) == 2, f"The bucket got {len(played.uploads)} files, not 2.")
        for stored in played.uploads:
            bucket, key = _split_url(stored.url)
            found = stack.aws.s3.head_object(Bucket=bucket, Key=key)["ContentLength"]
            _check(found == stored.size, f"{stored.url} has {found} bytes, not {stored.size}.")
    return FlowResult(item, events)


def _check_missing(
    flow: Flow,
    played: PlayedCall,
    consent: Mapping[str, Any] | None,
    stack: LocalStack,
    subscriber: Subscriber,
    within: float,
    progress: Progress,
) -> FlowResult:
    name = find_recording_id(played)
    kinds = {"Recording Requested", MISSING}
    if "recording_finished" in {step.name for step in played.steps}:
        kinds.add("Recording Finished")
    with progress.step(f"the watchdog finds it missing: {flow.missing}"):
        item = stack.wait_until_missing(name, within=within)
        _check(item["missingReason"] == flow.missing, f"The reason in the table is {item['missingReason']}.")
        _check_request(item, flow, played)
    with progress.step(f"the subscriber has {len(kinds)} events"):
        events = subscriber.wait_for(name, kinds, within=within)
        _check_events(events, kinds, flow, consent)
        [missing] = [event["detail"]["data"] for event in events if event["detail-type"] == MISSING]
        _check(missing["reason"] == flow.missing, f"The reason in the event is {missing['reason']}.")
    if flow.repaired:
        with progress.step("the file arrives, and the item is available"):
            return _repair(item, kinds | {"Recording Available"}, stack, subscriber, within)
    return FlowResult(item, events)


def _repair(
    item: Mapping[str, Any], kinds: Collection[str], stack: LocalStack, subscriber: Subscriber, within: float
) -> FlowResult:
    """Store the file at its destination, and check that the item becomes available."""
    name = item["recordingId"]
    bucket, key = _split_url(item["destinationUrl"])
    stack.aws.s3.put_object(Bucket=bucket, Key=key, Body=audio.make_silence(item["format"], audio.count_frames(name)))
    events = subscriber.wait_for(name, kinds, within=within)
    return FlowResult(wait_until_settled(name, kinds, stack, within=within), events)


def wait_until_settled(name: str, kinds: Collection[str], stack: LocalStack, *, within: float) -> dict[str, Any]:
    """Wait until nothing will change a recording's item, and return the item.

    By then the recording is available, the item has a call's end and the bucket's report of each file, and every event
    is published.

    Args:
        name: the recording's id.
        kinds: the expected events, one of each.
        stack: the stack that records.
        within: seconds to wait at most.

    Raises:
        TooLate: the item is not complete in time.
    """

    def find_settled() -> dict[str, Any] | None:
        item = stack.item(name) or {}
        files = [file for each in ("files", "transcripts") for file in item.get(each, {}).values()]
        witnessed = item.get("status") == "available" and item.get("ends") and all("storedAt" in file for file in files)
        return item if witnessed and len(item.get("published", {})) == len(kinds) else None

    return wait_until(f"{name} is available and complete", find_settled, within=within)


def _split_url(url: str) -> tuple[str, str]:
    bucket, _, key = url.removeprefix("s3://").partition("/")
    return bucket, key


def _check_request(item: Mapping[str, Any], flow: Flow, played: PlayedCall) -> None:
    _check(item.get("rule") == flow.rule, f"The item names the rule {item.get('rule')!r}.")
    _check(set(item["requests"]) == {played.call.call_id}, "The item has another call's request.")


def _check_events(
    events: list[dict[str, Any]], kinds: Collection[str], flow: Flow, consent: Mapping[str, Any] | None
) -> None:
    published = Counter(event["detail-type"] for event in events)
    _check(published == Counter(kinds), f"Published were {dict(published)}, not one each of {sorted(kinds)}.")
    expected = None if consent is None else dict(consent)
    for event in events:
        data = event["detail"]["data"]
        # An event may be published before the queue has delivered the decision on the call. The first event never is.
        known = event["detail-type"] == "Recording Requested" or "rule" in data
        _check(not known or data.get("rule") == flow.rule, f"{event['detail-type']} names {data.get('rule')!r}.")
        _check(not known or data.get("consent") == expected, f"{event['detail-type']} has another proof of consent.")


def _check_unrecorded(call_id: str, stack: LocalStack, subscriber: Subscriber, progress: Progress) -> FlowResult:
    with progress.step("nothing is recorded, waited for or published"):
        item = stack.item(call_id) or {}
        present = [name for name in ("status", "requests", "files", "dueAt") if item.get(name)]
        _check(not present, f"The item of a call that is not recorded has {', '.join(present)}.")
        subscriber.poll()
        events = [event["detail-type"] for event in subscriber.events(call_id)]
        _check(not events, f"Events of a call that is not recorded: {', '.join(events)}.")
    return FlowResult(item, [])


def _join(
    flow: Flow, conference_id: str, stack: LocalStack, subscriber: Subscriber, within: float, progress: Progress
) -> None:
    """Let the app join the caller's conference, and check that the app's call is not recorded separately."""
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
        _check("record" not in played.svaml["action"] and not played.uploads, "The app was recorded.")
        _check_log(join, played, stack, within)
        _wait_for_end(call.call_id, call.call_id, stack, within)
        subscriber.poll()
        _check(len(subscriber.events(conference_id)) == len(EVENTS), "There are more events of the conference.")
        _check(stack.item(conference_id) == before, "The conference's item has changed.")
        _check_not_requested(call.call_id, stack)


def _check_not_requested(call_id: str, stack: LocalStack) -> None:
    item = stack.item(call_id) or {}
    _check("requests" not in item and "status" not in item, "The app's own call has a recording.")
