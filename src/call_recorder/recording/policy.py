"""The answer to each callback that asks for one: where the call goes, and whether it is recorded.

Free of input and output. Whatever is in doubt connects the call without recording it.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime
from typing import Literal

from call_recorder.recording.application import Recorder
from call_recorder.recording.consent import (
    Announcement,
    ConsentMenu,
    HeaderConsent,
    MenuTicket,
    announced,
    by_header,
    by_menu,
)
from call_recorder.recording.decision import Decision, decide
from call_recorder.recording.destinations import DestinationRefused
from call_recorder.recording.facts import (
    AwaitedAnswer,
    CallDecided,
    CallStart,
    Consent,
    RecordingRequest,
    conference_of_its_own,
    is_conference_of_its_own,
    is_recordable,
)
from call_recorder.recording.profile import Rule
from call_recorder.sinch import svaml
from call_recorder.sinch.callbacks import AceCallback, IceCallback, MenuResult, PieCallback, To
from call_recorder.sinch.svaml import (
    Connect,
    ConnectConf,
    ConnectMxp,
    ConnectPstn,
    ConnectSip,
    Continue,
    ForeignSvaml,
    Hangup,
    Instruction,
    RecordingOptions,
    StartRecording,
    Svaml,
)

Outcome = Literal[
    "recorded",
    "not-recorded",
    "not-sampled",
    "no-consent",
    "consent-asked",
    "answer-awaited",
    "continued",
    "no-route",
    "hung-up",
    "untraceable",
    "degraded",
]
DegradedAnswer = Literal["connect", "hangup"]

_CONNECTS = (ConnectMxp, ConnectPstn, ConnectConf, ConnectSip)
_IN_APP = "mxp"


@dataclass(frozen=True, slots=True)
class Answer:
    """What to tell Sinch and what to remember.

    ``rule`` is the name of the rule that decided, ``outcome`` is for people, ``decision`` says of an ICE how the
    rule was found.
    """

    svaml: Svaml | ForeignSvaml
    outcome: Outcome
    rule: str | None = None
    fact: CallDecided | None = None
    decision: Decision | None = None


@dataclass(frozen=True, slots=True)
class KnownCall:
    """What an ICE left behind of its call, for the callbacks that follow."""

    start: CallStart | None
    awaited: AwaitedAnswer | None
    consent: Consent | None = None

    def agreed_to(self, rule: Rule) -> bool:
        """Tell whether the consent is in that a rule asks for, as it stands now."""
        if rule.consent is None:
            return True
        proof = self.consent
        return proof is not None and proof.given and (proof.rule, proof.kind) == (rule.name, rule.consent.kind)


@dataclass(frozen=True, slots=True)
class _Call:
    """A call that a rule records, consent permitting. ``connect`` is its answer without recording."""

    call_id: str
    connect: Svaml | ForeignSvaml
    rule: Rule
    at: datetime
    start: CallStart | None = None

    @property
    def recording_id(self) -> str:
        return self.connect.conference_id or self.call_id


def answer_degraded(ice: IceCallback, degraded: DegradedAnswer) -> Answer:
    """Answer an ICE without its application's profile: connect the call unrecorded, or hang up."""
    action = _connect(ice.to) if degraded == "connect" else None
    return Answer(Svaml(action=action or Hangup()), "degraded")


def answer_continue() -> Answer:
    """Let a call go on as it is."""
    return Answer(Svaml(action=Continue()), "continued")


class Policy:
    """Answers the callbacks of one application.

    Args:
        application_key: whose callbacks they are.
        recorder: the application's recorder.
        at: when Sinch signed the callback, in UTC.
    """

    def __init__(self, application_key: str, recorder: Recorder, at: datetime) -> None:
        self._key = application_key
        self._recorder = recorder
        self._at = at

    def ice(self, ice: IceCallback, upstream: ForeignSvaml | None = None) -> Answer:
        """Answer an incoming call.

        It goes where the upstream's answer says if there is one, else where its ``to`` or the profile's route
        says, else it is hung up.
        """
        action = self._action(ice.to)
        if upstream is None and not isinstance(action, _CONNECTS):
            return _nowhere(action)
        connect = upstream or Svaml(action=action or Hangup())
        if isinstance(connect, ForeignSvaml) and not connect.connects:
            return Answer(connect, "not-recorded")
        if is_conference_of_its_own(connect.conference_id):
            # An app user joins a caller who was asked by a menu: what the caller said holds, whatever other rules say.
            return Answer(connect, "not-recorded")
        decision = decide(ice, connect.conference_id, self._recorder.profile)
        rule = decision.rule
        if rule is None or not decision.record:
            outcome: Outcome = "not-sampled" if decision.why == "not-sampled" else "not-recorded"
            return Answer(connect, outcome, rule.name if rule else None, decision=decision)
        if not is_recordable(ice.call_id) or not is_recordable(connect.conference_id or ice.call_id):
            return Answer(connect, "untraceable", rule.name, decision=decision)
        at = ice.timestamp or self._at
        call = _Call(ice.call_id, connect, rule, at, CallStart.of(ice, at))
        return replace(self._by_rule(call, ice), decision=decision)

    def pie(self, pie: PieCallback, known: KnownCall | None) -> Answer:
        """Go on after a consent menu: the key that its rule names records, all else connects unrecorded.

        Without the ticket that the menu carried nothing is recorded; what is known of the call says where it goes.
        """
        result = pie.menu_result or MenuResult()
        ticket = MenuTicket.of(result.menu_id)
        if ticket is None:
            if known is None or known.start is None:
                return answer_continue()
            to = To(type=known.start.to_type, endpoint=known.start.to)
            return Answer(self._after_menu(to, pie.call_id), "no-consent")
        to = To(type=ticket.to_type, endpoint=ticket.endpoint)
        action = self._action(to)
        if not isinstance(action, _CONNECTS):
            return _nowhere(action)
        connect = self._after_menu(to, pie.call_id)
        rule = self._recorder.profile.rule(ticket.rule)
        menu = rule.consent if rule else None
        if rule is None or not isinstance(menu, ConsentMenu) or menu.question != ticket.question:
            return Answer(connect, "no-consent", ticket.rule)
        if not is_recordable(pie.call_id):
            return Answer(connect, "untraceable", rule.name)
        call = _Call(pie.call_id, connect, rule, pie.timestamp or self._at)
        return self._capture(call, by_menu(rule.name, menu, result, self._at))

    def ace(self, ace: AceCallback, known: KnownCall | None) -> Answer:
        """Start recording an answered call if a rule awaits its answer, else let it go on."""
        awaited = known.awaited if known else None
        rule = self._recorder.profile.rule(awaited.rule) if awaited else None
        if known is None or rule is None or rule.start != "answer" or not is_recordable(ace.call_id):
            return answer_continue()
        if not known.agreed_to(rule):
            # The rule asks more than it did when the call came in.
            return Answer(Svaml(action=Continue()), "no-consent", rule.name)
        call = _Call(ace.call_id, Svaml(action=Continue()), rule, ace.timestamp or self._at)
        try:
            options = self._options(call)
        except DestinationRefused:
            return Answer(call.connect, "untraceable", rule.name)
        answer = call.connect.adding((StartRecording(options=options),), None)
        return Answer(answer, "recorded", rule.name, self._fact(call, request=self._request(rule, options)))

    def _by_rule(self, call: _Call, ice: IceCallback) -> Answer:
        consent = call.rule.consent
        if isinstance(call.connect, ForeignSvaml) and call.connect.conference_id and isinstance(consent, HeaderConsent):
            # A profile cannot tell where an upstream sends a call. One who declined may be in this conference.
            return Answer(call.connect, "no-consent", call.rule.name)
        match consent:
            case Announcement() as announcement:
                proof = announced(call.rule.name, announcement, self._at)
                return self._capture(call, proof, (announcement.prompt.instruction(),))
            case HeaderConsent() as header:
                return self._capture(call, by_header(call.rule.name, header, ice.call_headers, self._at))
            case ConsentMenu() as menu:
                return self._ask(call, menu, ice)
            case _:
                return self._capture(call, None)

    def _ask(self, call: _Call, menu: ConsentMenu, ice: IceCallback) -> Answer:
        to = ice.to or To()
        if _IN_APP in (ice.domain, ice.origination_type):
            # Sinch would send no PIE and the caller would wait for ever; such rules are refused, but a call
            # may be in-app by one of the two fields and not by the other.
            return Answer(call.connect, "no-consent", call.rule.name)
        ticket = MenuTicket(
            rule=call.rule.name, question=menu.question, to_type=to.type or "", endpoint=to.endpoint or ""
        )
        ask = Svaml(instructions=(svaml.Answer(),), action=menu.action(ticket))
        then = replace(call, connect=self._after_menu(to, call.call_id))
        return Answer(ask, "consent-asked", call.rule.name, self._fact(then))

    def _capture(self, call: _Call, proof: Consent | None, before: tuple[Instruction, ...] = ()) -> Answer:
        """Connect a call, recorded if consent is in; ``before`` is carried out ahead of the connect."""
        rule = call.rule
        if proof is not None and not proof.given:
            return Answer(call.connect, "no-consent", rule.name, self._fact(call, consent=proof))
        if rule.start == "answer":
            awaited = AwaitedAnswer(at=self._at, rule=rule.name)
            fact = self._fact(call, consent=proof, awaited=awaited)
            return Answer(call.connect.adding(before, None), "answer-awaited", rule.name, fact)
        try:
            options = self._options(call)
        except DestinationRefused:
            # A file that nobody can find again is worse than none: connect, but do not record.
            return Answer(call.connect, "untraceable", rule.name)
        fact = self._fact(call, consent=proof, request=self._request(rule, options))
        return Answer(call.connect.adding(before, options), "recorded", rule.name, fact)

    def _options(self, call: _Call) -> RecordingOptions:
        return self._recorder.options(
            call.rule,
            call_id=call.call_id,
            conference_id=call.connect.conference_id,
            key=self._key,
            at=call.at,
        )

    def _request(self, rule: Rule, options: RecordingOptions) -> RecordingRequest:
        transcription = options.transcription_options
        return RecordingRequest(
            at=self._at,
            rule=rule.name,
            destination_url=options.destination_url,
            format=options.format,
            notification_events=options.notification_events,
            transcription=bool(transcription and transcription.enabled),
            locale=transcription.locale if transcription else None,
            retention_days=rule.retention_days,
        )

    def _fact(
        self,
        call: _Call,
        *,
        consent: Consent | None = None,
        awaited: AwaitedAnswer | None = None,
        request: RecordingRequest | None = None,
    ) -> CallDecided:
        return CallDecided(
            recording_id=call.recording_id,
            application_key=self._key,
            call_id=call.call_id,
            conference_id=call.connect.conference_id,
            call=call.start,
            consent=consent,
            awaited=awaited,
            request=request,
        )

    def _action(self, to: To | None) -> Connect | Hangup | None:
        """Return where a call goes, ``None`` if nothing says so."""
        if to and to.type == "did" and to.endpoint:
            route = self._recorder.profile.route(to.endpoint)
            return route.action if route else None
        return _connect(to)

    def _after_menu(self, to: To, call_id: str | None) -> Svaml:
        """Return the connect for a PIE, which may not go to an app user: that goes by a conference of its own."""
        action = self._action(to)
        if isinstance(action, ConnectMxp):
            return Svaml(action=ConnectConf(conference_id=conference_of_its_own(call_id or "")))
        return Svaml(action=action or Hangup())


def _nowhere(action: Hangup | None) -> Answer:
    """Hang up a call that its route ends, or that nothing leads anywhere."""
    return Answer(Svaml(action=Hangup()), "hung-up" if action else "no-route")


def _connect(to: To | None) -> Connect | None:
    """Return the connect action for a destination that says itself where it is."""
    return None if to is None or to.endpoint is None else svaml.connect_to(to.type, to.endpoint)
