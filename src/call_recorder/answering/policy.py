"""The answers to ICE, PIE and ACE under an application's recording profile.

It does no input or output. In doubt, a call is connected without recording.
"""

from __future__ import annotations

from datetime import datetime
from typing import NamedTuple

from call_recorder.answering.answer import CallAnswer, Outcome
from call_recorder.answering.application import Recorder
from call_recorder.answering.consent import (
    Announcement,
    ConsentMenu,
    HeaderConsent,
    MenuTicket,
    is_proof_of,
    prove,
    prove_menu,
)
from call_recorder.answering.destinations import DestinationRefused
from call_recorder.answering.known_call import KnownCall
from call_recorder.answering.profile import Rule
from call_recorder.answering.routing import (
    connect_after_menu,
    continue_call,
    find_action,
    find_destination_after_menu,
    hang_up,
    hang_up_lost_call,
)
from call_recorder.answering.rules import Decision, decide
from call_recorder.facts.call_details import (
    AskedConsent,
    AwaitedAnswer,
    CallStart,
    Consent,
    KeptHeader,
    RecordingRequest,
    keep_headers,
)
from call_recorder.facts.facts import CallDecidedFact
from call_recorder.facts.identifiers import is_bridge_conference, is_recordable
from call_recorder.sinch import svaml
from call_recorder.sinch.callbacks import AceCallback, IceCallback, MenuResult, PieCallback, To
from call_recorder.sinch.svaml import (
    Continue,
    Hangup,
    Instruction,
    RecordingOptions,
    StartRecording,
    Svaml,
    UpstreamSvaml,
)

_IN_APP = "mxp"


class _Call(NamedTuple):
    """A call that a rule records if consent is given. ``connect`` is its answer without recording."""

    call_id: str
    connect: Svaml | UpstreamSvaml
    rule: Rule
    at: datetime
    start: CallStart | None = None
    headers: tuple[KeptHeader, ...] = ()
    decision: Decision | None = None

    @property
    def recording_id(self) -> str:
        return self.connect.conference_id or self.call_id

    def answer(
        self, outcome: Outcome, svaml: Svaml | UpstreamSvaml | None = None, fact: CallDecidedFact | None = None
    ) -> CallAnswer:
        """Return an answer to the call: ``svaml``, or else the answer that connects it without recording."""
        return CallAnswer(svaml or self.connect, outcome, self.rule.name, fact, self.decision)


class Policy:
    """Answers the callbacks of one application.

    Args:
        application_key: the application.
        recorder: its profile, destinations and credentials.
        at: when Sinch signed the callback, in UTC.
    """

    def __init__(self, application_key: str, recorder: Recorder, at: datetime) -> None:
        self._key = application_key
        self._recorder = recorder
        self._profile = recorder.profile
        self._at = at

    def answer(
        self, callback: IceCallback | AceCallback | PieCallback, known: KnownCall | None, upstream: UpstreamSvaml | None
    ) -> CallAnswer:
        """Answer a callback.

        Args:
            callback: the callback.
            known: what is known of the call from its earlier callbacks.
            upstream: the answer of the application's own backend.
        """
        match callback:
            case IceCallback():
                return self.answer_ice(callback, upstream)
            case _ if upstream:
                return CallAnswer(upstream, Outcome.CONTINUED)
            case PieCallback():
                return self.answer_pie(callback, known)
            case AceCallback():
                return self.answer_ace(callback, known)

    def answer_ice(self, ice: IceCallback, upstream: UpstreamSvaml | None = None) -> CallAnswer:
        """Answer an incoming call.

        The call goes where the answer of the application's backend says. Without one it goes where the profile's
        route or its ``to`` says. If neither says where, the call is hung up.
        """
        action = find_action(ice.to, self._profile)
        if upstream is None and (action is None or isinstance(action, Hangup)):
            return hang_up(action, observed=self._profile.observe)
        connect = upstream or Svaml(action=action or Hangup())
        if isinstance(connect, UpstreamSvaml) and not connect.connects:
            return CallAnswer(connect, Outcome.NOT_RECORDED)
        conference_id = connect.conference_id
        if is_bridge_conference(conference_id):
            # An app user joins a caller who was asked by a menu. The caller's choice counts, and no other rule.
            return CallAnswer(connect, Outcome.NOT_RECORDED)
        decision = decide(ice, conference_id, self._profile)
        rule = decision.rule
        if rule is None or not decision.record:
            outcome = Outcome.NOT_SAMPLED if decision.why == "not-sampled" else Outcome.NOT_RECORDED
            return CallAnswer(connect, outcome, rule.name if rule else None, decision=decision)
        if not is_recordable(ice.call_id) or not is_recordable(conference_id or ice.call_id):
            return CallAnswer(connect, Outcome.UNTRACEABLE, rule.name, decision=decision)
        at = ice.timestamp or self._at
        headers = keep_headers(ice, self._profile.header_names)
        call = _Call(ice.call_id, connect, rule, at, CallStart.of(ice, at), headers, decision)
        return self._by_rule(call, ice)

    def answer_pie(self, pie: PieCallback, known: KnownCall | None) -> CallAnswer:
        """Continue after a consent menu: record if the caller pressed the key of the rule, else connect only.

        Each key returns a ticket. Without a ticket nothing is recorded, and the call goes where ``known`` says.
        """
        to = find_destination_after_menu(pie, known)
        if to is None:
            # If no rule asks by a menu, another system started the menu, and the call continues there.
            return hang_up_lost_call(pie) if self._profile.asks_by_menu else continue_call()
        action = find_action(to, self._profile)
        if action is None or isinstance(action, Hangup):
            return hang_up(action)
        connect = Svaml(action=connect_after_menu(action, pie.call_id))
        result = pie.menu_result or MenuResult()
        asked = MenuTicket.of(result) or (known.asked if known else None)
        rule = self._profile.rule(asked.rule) if asked else None
        menu = rule.consent if rule else None
        if asked is None or rule is None or not isinstance(menu, ConsentMenu) or menu.question != asked.question:
            return CallAnswer(connect, Outcome.NO_CONSENT, asked.rule if asked else None)
        if not is_recordable(pie.call_id):
            return CallAnswer(connect, Outcome.UNTRACEABLE, rule.name)
        call = _Call(pie.call_id, connect, rule, pie.timestamp or self._at)
        proof = prove_menu(rule.name, menu, result, self._at)
        return self._record(call, proof)

    def answer_ace(self, ace: AceCallback, known: KnownCall | None) -> CallAnswer:
        """Record an answered call if a rule awaits its answer and still decides the same."""
        awaited = known.awaited if known else None
        if known is None or awaited is None or not is_recordable(ace.call_id):
            return continue_call()
        decision = known.decide(ace.call_id, self._profile)
        rule = decision.rule if decision and decision.record else None
        if rule is None or rule.name != awaited.rule or rule.start != "answer":
            return continue_call()
        if not is_proof_of(awaited.consent, rule.name, rule.consent):
            # The rule asks for another consent than when the call came in.
            return CallAnswer(Svaml(action=Continue()), Outcome.NO_CONSENT, rule.name)
        return self.start_recording(ace, rule, awaited.consent)

    def start_recording(self, ace: AceCallback, rule: Rule, consent: Consent | None) -> CallAnswer:
        """Record an answered call under a rule, with the proof of the consent that the rule asks for."""
        call = _Call(ace.call_id or "", Svaml(action=Continue()), rule, ace.timestamp or self._at)
        try:
            options = self._options(call)
        except DestinationRefused:
            return call.answer(Outcome.UNTRACEABLE)
        answer = call.connect.with_additions((StartRecording(options=options),), None)
        fact = self._fact(call, consent=consent, request=self._request(rule, options))
        return call.answer(Outcome.RECORDED, answer, fact)

    def _by_rule(self, call: _Call, ice: IceCallback) -> CallAnswer:
        consent = call.rule.consent
        proof = prove(call.rule.name, consent, ice.call_headers, self._at)
        if isinstance(consent, ConsentMenu):
            return self._ask(call, consent, ice)
        if (
            isinstance(consent, HeaderConsent)
            and isinstance(call.connect, UpstreamSvaml)
            and call.connect.conference_id
        ):
            # The profile does not show where a backend sends a call. Another participant may have declined.
            return call.answer(Outcome.NO_CONSENT)
        before = (consent.prompt.instruction(),) if isinstance(consent, Announcement) else ()
        return self._record(call, proof, before)

    def _ask(self, call: _Call, menu: ConsentMenu, ice: IceCallback) -> CallAnswer:
        to = ice.to or To()
        if _IN_APP in (ice.domain, ice.origination_type):
            # Sinch would send no PIE, and the caller would wait for ever. The profile refuses such rules, but a call
            # may be in-app by one of the two fields and not by the other.
            return call.answer(Outcome.NO_CONSENT)
        ticket = MenuTicket(
            rule=call.rule.name, question=menu.question, to_type=to.type or "", endpoint=to.endpoint or ""
        )
        if not ticket.fits:
            # The key would return without the end of the ticket, so the consent could not be proved.
            return call.answer(Outcome.NO_CONSENT)
        ask = Svaml(instructions=(svaml.Answer(),), action=menu.action(ticket, twice=self._profile.observe))
        then = call._replace(connect=Svaml(action=connect_after_menu(find_action(to, self._profile), call.call_id)))
        asked = AskedConsent(at=self._at, rule=call.rule.name, question=menu.question, headers=call.headers)
        return call.answer(Outcome.CONSENT_ASKED, ask, self._fact(then, asked=asked))

    def _record(self, call: _Call, proof: Consent | None, before: tuple[Instruction, ...] = ()) -> CallAnswer:
        """Connect a call, recorded if consent is given. Sinch carries out ``before`` before the connect."""
        rule = call.rule
        if proof is not None and not proof.given:
            return call.answer(Outcome.NO_CONSENT, fact=self._fact(call, consent=proof))
        if rule.start == "answer":
            # The proof belongs to a recording only if this decision is still in force when the call is answered.
            awaited = AwaitedAnswer(at=self._at, rule=rule.name, consent=proof, headers=call.headers)
            fact = self._fact(call, awaited=awaited)
            return call.answer(Outcome.ANSWER_AWAITED, call.connect.with_additions(before, None), fact)
        try:
            options = self._options(call)
        except DestinationRefused:
            # The file could not be traced to its call.
            return call.answer(Outcome.UNTRACEABLE)
        fact = self._fact(call, consent=proof, request=self._request(rule, options))
        return call.answer(Outcome.RECORDED, call.connect.with_additions(before, options), fact)

    def _options(self, call: _Call) -> RecordingOptions:
        return self._recorder.make_options(
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
    ) -> CallDecidedFact:
        return CallDecidedFact(
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
