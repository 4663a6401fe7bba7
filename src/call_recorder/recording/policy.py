"""Who is recorded and where the call goes: the decision on each callback, free of input and output."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from call_recorder.recording.application import Application, Recorder
from call_recorder.recording.destinations import DestinationRefused, Naming
from call_recorder.recording.facts import CallRecordingRequested, CallStart, Fact, RecordingRequest, is_recordable
from call_recorder.recording.profile import Rule
from call_recorder.sinch.callbacks import IceCallback
from call_recorder.sinch.svaml import (
    Connect,
    ConnectConf,
    ConnectMxp,
    ConnectPstn,
    ConnectSip,
    Continue,
    Hangup,
    SipDestination,
    Svaml,
    UsernameDestination,
)

Outcome = Literal["recorded", "not-recorded", "no-route", "untraceable", "degraded"]
DegradedAnswer = Literal["connect", "hangup"]


@dataclass(frozen=True, slots=True)
class Answer:
    """What to tell Sinch and what to remember. ``rule`` is the one that decided; ``outcome`` is for people."""

    svaml: Svaml
    outcome: Outcome
    rule: str | None = None
    fact: Fact | None = None


def answer_ice(ice: IceCallback, application: Application, *, now: datetime, degraded: DegradedAnswer) -> Answer:
    """Decide on an incoming call.

    A call goes where its ``to`` says, a DID where the profile's route says, else it is hung up. Without a
    usable profile the answer is the degraded one.
    """
    recorder = application.recorder
    if recorder is None:
        return answer_degraded(ice, degraded)
    action = _action(ice, recorder)
    if isinstance(action, Hangup):
        return Answer(Svaml(action=action), "no-route")
    rule = _deciding_rule(recorder)
    if rule is None or not rule.record:
        return Answer(Svaml(action=action), "not-recorded", rule.name if rule else None)
    return _recorded(ice, action, application.key, recorder, rule, now)


def answer_degraded(ice: IceCallback, degraded: DegradedAnswer) -> Answer:
    """Decide on an incoming call without its application's profile: connect it unrecorded, or hang up."""
    action = _connect(ice) if degraded == "connect" else None
    return Answer(Svaml(action=action or Hangup()), "degraded")


def answer_continue() -> Answer:
    """Let a call go on: the answer to ACE and PIE."""
    return Answer(Svaml(action=Continue()), "not-recorded")


def _deciding_rule(recorder: Recorder) -> Rule | None:
    return next(iter(recorder.profile.rules), None)


def _action(ice: IceCallback, recorder: Recorder) -> Connect | Hangup:
    connect = _connect(ice)
    if connect is None and ice.to and ice.to.type == "did" and ice.to.endpoint:
        route = recorder.profile.route(ice.to.endpoint)
        return route.action if route else Hangup()
    return connect or Hangup()


def _connect(ice: IceCallback) -> Connect | None:
    """Return the connect action for a destination that says itself where it is."""
    endpoint = ice.to.endpoint if ice.to else None
    if ice.to is None or endpoint is None:
        return None
    # Type alone decides: for conference calls of SDK clients the domain may say pstn.
    match ice.to.type:
        case "username" if len(endpoint) <= 256:
            return ConnectMxp(destination=UsernameDestination(endpoint=endpoint))
        case "number" if len(endpoint) <= 64:
            return ConnectPstn(number=endpoint)
        case "sip" if len(endpoint) <= 256:
            return ConnectSip(destination=SipDestination(endpoint=endpoint))
        case "conference" if len(endpoint) <= 64:
            return ConnectConf(conference_id=endpoint)
        case _:
            return None


def _recorded(
    ice: IceCallback, action: Connect, application_key: str, recorder: Recorder, rule: Rule, now: datetime
) -> Answer:
    conference_id = action.conference_id if isinstance(action, ConnectConf) else None
    try:
        naming = Naming(
            call_id=_traceable(ice.call_id),
            conference_id=conference_id and _traceable(conference_id),
            application_key=application_key,
            at=ice.timestamp or now,
            format=recorder.profile.format,
        )
        url = recorder.destination.url(naming)
    except DestinationRefused:
        # A file that nobody can find again is worse than none: connect, but do not record.
        return Answer(Svaml(action=action), "untraceable", rule.name)
    transcription = recorder.profile.transcription
    fact = CallRecordingRequested(
        recording_id=conference_id or naming.call_id,
        application_key=application_key,
        call_id=naming.call_id,
        conference_id=conference_id,
        call=CallStart.of(ice, naming.at),
        request=RecordingRequest(
            at=now,
            rule=rule.name,
            destination_url=url,
            format=recorder.profile.format,
            notification_events=recorder.profile.notification_events,
            transcription=bool(transcription and transcription.enabled),
            locale=transcription.locale if transcription else None,
        ),
    )
    return Answer(Svaml(action=action.recorded(recorder.options(url))), "recorded", rule.name, fact)


def _traceable(identifier: str | None) -> str:
    if not is_recordable(identifier):
        raise DestinationRefused("the call has no id to find its recording by")
    return identifier
