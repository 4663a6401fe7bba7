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
    agrees,
    announced,
    by_header,
    by_menu,
)
from call_recorder.recording.decision import Decision, decide
from call_recorder.recording.destinations import DestinationRefused
from call_recorder.recording.facts import (
    AskedConsent,
    AwaitedAnswer,
    CallDecided,
    CallStart,
    Consent,
    KeptHeader,
    RecordingRequest,
    WithdrawnAnswer,
    conference_of_its_own,
    is_conference_of_its_own,
    is_recordable,
    keep_headers,
)
from call_recorder.recording.known_call import KnownCall
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
    "lost-after-menu",
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
class _Call:
    """A call that a rule records, consent permitting. ``connect`` is its answer without recording."""

    call_id: str
    connect: Svaml | ForeignSvaml
    rule: Rule
    at: datetime
    start: CallStart | None = None
    headers: tuple[KeptHeader, ...] = ()

    @property
    def recording_id(self) -> str:
        return self.connect.conference_id or self.call_id


def answer_degraded(callback: IceCallback | PieCallback, known: KnownCall | None, degraded: DegradedAnswer) -> Answer:
    """Answer an ICE or PIE without its application's profile: connect the call unrecorded, or hang up."""
    to = callback.to if isinstance(callback, IceCallback) else _destination(callback, known)
    if to is None and isinstance(callback, PieCallback):
        return _lost(callback)
    action: Connect | Hangup | None = _connect(to) if degraded == "connect" else None
    if isinstance(callback, PieCallback):
        action = _after_menu(action, callback.call_id)
    return Answer(Svaml(action=action or Hangup()), "degraded")


def answer_continue() -> Answer:
    """Let a call go on as it is."""
    return Answer(Svaml(action=Continue()), "continued")


def needs_known_call(pie: PieCallback) -> bool:
    """Tell whether the menu ended without the ticket that its keys carry."""
    return MenuTicket.of(pie.menu_result or MenuResult()) is None


def taking_back(answer: Answer, application_key: str, call_id: str | None, at: datetime, *, verified: bool) -> Answer:
    """Return the answer to an ICE or PIE with word that it awaits nothing, whatever was decided on the call before.

    An answer that awaits or asks says by itself what holds from now on.

    Args:
        answer: what Sinch is told.
        application_key: whose call it is.
        call_id: the call, as far as it has an id.
        at: when Sinch signed the callback.
        verified: whether its signature was found to be right.
    """
    fact = answer.fact
    if not is_recordable(call_id) or not is_recordable(application_key) or (fact and (fact.awaited or fact.asked)):
        return answer
    withdrawn = WithdrawnAnswer(at=at, verified=verified)
    if fact:
        return replace(answer, fact=fact.model_copy(update={"withdrawn": withdrawn}))
    return replace(answer, fact=CallDecided.taking_back(application_key, call_id, withdrawn))


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
        return self._taking_back(ice, self._ice(ice, upstream))

    def _ice(self, ice: IceCallback, upstream: ForeignSvaml | None) -> Answer:
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
        headers = keep_headers(ice, self._recorder.profile.header_names)
        call = _Call(ice.call_id, connect, rule, at, CallStart.of(ice, at), headers)
        return replace(self._by_rule(call, ice), decision=decision)

    def pie(self, pie: PieCallback, known: KnownCall | None) -> Answer:
        """Go on after a consent menu: the key that its rule names records, all else connects unrecorded.

        A key carries a ticket. Without one nothing is recorded; what is known of the call says where it goes.
        """
        return self._taking_back(pie, self._pie(pie, known))

    def _pie(self, pie: PieCallback, known: KnownCall | None) -> Answer:
        to = _destination(pie, known)
        if to is None:
            # Where nobody is asked here, the menu was somebody else's, who may want the call to go on.
            return _lost(pie) if self._recorder.profile.asks_by_menu else answer_continue()
        action = self._action(to)
        if not isinstance(action, _CONNECTS):
            return _nowhere(action)
        connect = Svaml(action=_after_menu(action, pie.call_id) or Hangup())
        result = pie.menu_result or MenuResult()
        asked = MenuTicket.of(result) or (known.asked if known else None)
        rule = self._recorder.profile.rule(asked.rule) if asked else None
        menu = rule.consent if rule else None
        if asked is None or rule is None or not isinstance(menu, ConsentMenu) or menu.question != asked.question:
            return Answer(connect, "no-consent", asked.rule if asked else None)
        if not is_recordable(pie.call_id):
            return Answer(connect, "untraceable", rule.name)
        call = _Call(pie.call_id, connect, rule, pie.timestamp or self._at)
        return self._capture(call, by_menu(rule.name, menu, result, self._at))

    def ace(self, ace: AceCallback, known: KnownCall | None) -> Answer:
        """Start recording an answered call if a rule awaits its answer and would decide the same again."""
        awaited = known.awaited if known else None
        if known is None or awaited is None or not is_recordable(ace.call_id):
            return answer_continue()
        decision = known.decide(ace.call_id, self._recorder.profile)
        rule = decision.rule if decision and decision.record else None
        if rule is None or rule.name != awaited.rule or rule.start != "answer":
            return answer_continue()
        if not agrees(awaited.consent, rule.name, rule.consent):
            # The rule asks for something else than it did when the call came in.
            return Answer(Svaml(action=Continue()), "no-consent", rule.name)
        return self.start_recording(ace, rule, awaited.consent)

    def start_recording(self, ace: AceCallback, rule: Rule, consent: Consent | None) -> Answer:
        """Record a call from its answer, under a rule and with the proof of consent that it asks for."""
        call = _Call(ace.call_id or "", Svaml(action=Continue()), rule, ace.timestamp or self._at)
        try:
            options = self._options(call)
        except DestinationRefused:
            return Answer(call.connect, "untraceable", rule.name)
        answer = call.connect.adding((StartRecording(options=options),), None)
        fact = self._fact(call, consent=consent, request=self._request(rule, options))
        return Answer(answer, "recorded", rule.name, fact)

    def _taking_back(self, callback: IceCallback | PieCallback, answer: Answer) -> Answer:
        if not self._recorder.profile.records_on_answer:
            return answer
        return taking_back(answer, self._key, callback.call_id, self._at, verified=True)

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
        if not ticket.fits:
            # The key would come back without the end of the ticket: nobody is asked what cannot be heeded.
            return Answer(call.connect, "no-consent", call.rule.name)
        ask = Svaml(instructions=(svaml.Answer(),), action=menu.action(ticket))
        then = replace(call, connect=Svaml(action=_after_menu(self._action(to), call.call_id) or Hangup()))
        asked = AskedConsent(at=self._at, rule=call.rule.name, question=menu.question, headers=call.headers)
        return Answer(ask, "consent-asked", call.rule.name, self._fact(then, asked=asked))

    def _capture(self, call: _Call, proof: Consent | None, before: tuple[Instruction, ...] = ()) -> Answer:
        """Connect a call, recorded if consent is in; ``before`` is carried out ahead of the connect."""
        rule = call.rule
        if proof is not None and not proof.given:
            return Answer(call.connect, "no-consent", rule.name, self._fact(call, consent=proof))
        if rule.start == "answer":
            # The proof is one of a recording only if this answer is the one that Sinch obeys.
            awaited = AwaitedAnswer(at=self._at, rule=rule.name, consent=proof, headers=call.headers)
            fact = self._fact(call, awaited=awaited)
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
        asked: AskedConsent | None = None,
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
            asked=asked,
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


def _destination(pie: PieCallback, known: KnownCall | None) -> To | None:
    """Return where a call was going before its menu: by the ticket, else by what is known of it."""
    ticket = MenuTicket.of(pie.menu_result or MenuResult())
    if ticket:
        return To(type=ticket.to_type, endpoint=ticket.endpoint)
    start = known.start if known else None
    if start is None or start.perhaps_clipped & {"to", "toType"}:
        return None
    return To(type=start.to_type, endpoint=start.to)


def _after_menu(action: Connect | Hangup | None, call_id: str | None) -> Connect | Hangup | None:
    """Return the action for a PIE, which may not connect to an app user: that goes by a conference of its own."""
    return ConnectConf(conference_id=conference_of_its_own(call_id or "")) if isinstance(action, ConnectMxp) else action


def _lost(pie: PieCallback) -> Answer:
    """Hang up a call of which nothing says where it was going. That is none to be missed if the caller hung up."""
    hung_up = pie.menu_result is not None and pie.menu_result.type == "hangup"
    return Answer(Svaml(action=Hangup()), "hung-up" if hung_up else "lost-after-menu")


def _nowhere(action: Hangup | None) -> Answer:
    """Hang up a call that its route ends, or that nothing leads anywhere."""
    return Answer(Svaml(action=Hangup()), "hung-up" if action else "no-route")


def _connect(to: To | None) -> Connect | None:
    """Return the connect action for a destination that says itself where it is."""
    return None if to is None or to.endpoint is None else svaml.connect_to(to.type, to.endpoint)
