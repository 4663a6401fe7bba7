"""The use case of CallbackFunction: decide what to do with one callback.

It sends, stores and logs nothing: ``functions/callback_handler.py`` carries the result out.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import NamedTuple, Protocol

from call_recorder.answering.answer import CallAnswer, DegradedAnswer, Outcome
from call_recorder.answering.application import Application, Recorder
from call_recorder.answering.known_call import KnownCall
from call_recorder.answering.policy import Policy
from call_recorder.answering.routing import answer_degraded, find_destination_after_menu, needs_known_call
from call_recorder.answering.rules import Decision
from call_recorder.facts.call_details import CallStart, WithdrawnAnswer
from call_recorder.facts.errors import TableUnavailable, UpstreamFailed
from call_recorder.facts.facts import AnswerRefusedFact, CallDecidedFact, CallNotRecordedFact, Fact, NotifiedFact
from call_recorder.facts.from_callbacks import fact_from_callback
from call_recorder.facts.identifiers import is_recordable
from call_recorder.sinch.callbacks import (
    AceCallback,
    Callback,
    DiceCallback,
    IceCallback,
    NotifyCallback,
    PieCallback,
    To,
    UnknownCallback,
)
from call_recorder.sinch.svaml import UpstreamSvaml

Question = IceCallback | AceCallback | PieCallback
"""The callbacks to which Sinch expects SVAML."""


class CallFinder(Protocol):
    """Finds the decisions of earlier callbacks on a call."""

    def find(self, application_key: str, call_id: str) -> KnownCall | None:
        """Return where a call goes and what its caller was asked. Raises TableUnavailable."""

    def find_latest(self, application_key: str, call_id: str) -> KnownCall | None:
        """Return the latest decision on a call. Raises TableUnavailable."""


class CallbackResult(NamedTuple):
    """The result of one callback: what to answer, remember, queue, forward, log and count.

    Attributes:
        outcome: the result, for the log and the metrics.
        callback: the callback, if it was read.
        answer: the SVAML for Sinch as JSON, or ``""`` if Sinch expects none.
        fact: the fact to queue.
        remembered: the decision that a later callback of the same call may need.
        must_queue: whether Sinch gets an error if the fact cannot be queued. Sinch may then use its fallback URL.
        forward_for: the application to whose own backend the callback is then forwarded.
        has_next: whether a PIE or ACE of the call may follow that needs the table.
        recording_id: the call or conference, for the log.
        rule: the rule that decided.
        problem: what went wrong, for the log.
        calling_error: Sinch's complaint about an earlier answer.
        metrics: the metrics to count.
        observed: the application, if its profile asks for the shape of its callbacks in the log.
        refusal: the error that gives the HTTP status, if the callback is refused.
    """

    outcome: Outcome
    callback: Callback | None = None
    answer: str = ""
    fact: Fact | CallNotRecordedFact | None = None
    remembered: CallDecidedFact | None = None
    must_queue: bool = False
    forward_for: Application | None = None
    has_next: bool = False
    recording_id: str | None = None
    rule: str | None = None
    problem: str | None = None
    calling_error: str | None = None
    metrics: tuple[str, ...] = ()
    observed: Application | None = None
    refusal: Exception | None = None


def answer_callback(
    callback: Callback,
    application: Application | None,
    *,
    application_key: str,
    at: datetime,
    body: bytes,
    calls: CallFinder,
    forward: Callable[[], str],
    degraded: DegradedAnswer,
    keeps_unrecorded: bool = False,
    problem: str | None = None,
) -> CallbackResult:
    """Decide what to do with a callback.

    Args:
        callback: the callback.
        application: the application that signed it. ``None``: the signature cannot be verified, or an unexpected error
            occurred. Then only an ICE is answered. It may be forged, so the answer contains no secret.
        application_key: the application that the callback names.
        at: when Sinch signed it, in UTC.
        body: the raw body. It identifies a callback without any id.
        calls: finds what earlier callbacks decided.
        forward: sends the callback to the application's own backend and returns its answer. Raises UpstreamFailed.
        degraded: what to do with a call if the application's profile cannot be used.
        keeps_unrecorded: whether to queue a fact about each answer that does not record its call.
        problem: why there is no application.
    """
    if isinstance(callback, (IceCallback, AceCallback, PieCallback)):
        result, decision, known = _answer(callback, application, application_key, at, calls, forward, degraded, problem)
        if keeps_unrecorded:
            verified = application is not None
            note = _note_unrecorded(callback, result, decision, known, application_key, at, verified=verified)
            return result._replace(fact=note) if note else result
        return result
    if application is None:
        raise ValueError("an unverified callback is answered only if it is an ICE")
    return _report(callback, application, at, body)


class _Backend(NamedTuple):
    """The answer of the application's own backend, or the problem with it."""

    svaml: UpstreamSvaml | None = None
    problem: str | None = None
    metrics: tuple[str, ...] = ()


class _Earlier(NamedTuple):
    """The data of the call from its earlier callbacks, or the problem of the look-up."""

    known: KnownCall | None = None
    problem: str | None = None


_NO_BACKEND = _Backend()
_NOTHING_KNOWN = _Earlier()


def _answer(
    callback: Question,
    application: Application | None,
    application_key: str,
    at: datetime,
    calls: CallFinder,
    forward: Callable[[], str],
    degraded: DegradedAnswer,
    problem: str | None,
) -> tuple[CallbackResult, Decision | None, KnownCall | None]:
    """Return the result of a question, the decision of an ICE, and what was known of the call."""
    recorder = application.recorder if application else None
    backend = _ask_backend(recorder, forward)
    earlier = _look_up(callback, application, calls)
    if recorder is None:
        answer = answer_degraded(callback, earlier.known, degraded)
        problem = application.problem if application else problem
    else:
        policy = Policy(application_key, recorder, at)
        answer = policy.answer(callback, earlier.known, backend.svaml)
    if (recorder is None or recorder.profile.records_on_answer) and not isinstance(callback, AceCallback):
        answer = _with_withdrawal(answer, application_key, callback.call_id, at, verified=application is not None)
    fact = answer.fact
    result = CallbackResult(
        outcome=answer.outcome,
        callback=callback,
        answer=answer.svaml.to_json(),
        fact=fact,
        remembered=fact if fact and (fact.asked or fact.awaited or fact.withdrawn) else None,
        has_next=isinstance(callback, IceCallback) and bool(recorder and recorder.profile.goes_on_after_ice),
        recording_id=fact.recording_id if fact else callback.call_id or callback.conference_id,
        rule=answer.rule,
        problem=earlier.problem or problem or backend.problem,
        metrics=(*backend.metrics, *answer.metrics),
        observed=application if recorder and recorder.profile.observe else None,
    )
    return result, answer.decision, earlier.known


def _note_unrecorded(
    callback: Question,
    result: CallbackResult,
    decision: Decision | None,
    known: KnownCall | None,
    application_key: str,
    at: datetime,
    *,
    verified: bool,
) -> CallNotRecordedFact | None:
    """Return the fact about an answer that does not record its call. It also has the withdrawal of the answer's fact.

    An answer that records, asks or awaits has an item in the table, and so does a declined consent. An ACE or PIE that
    decides nothing leaves the answer to the ICE in force. The outcome is that of the log; where the rules decided, it
    is their reason, which says more.
    """
    decided = result.fact if isinstance(result.fact, CallDecidedFact) else None
    if (decided and decided.decides) or not is_recordable(callback.call_id) or not is_recordable(application_key):
        return None
    start = known.start if known else None
    match callback:
        case IceCallback():
            start = CallStart.of(callback, at)
        case PieCallback():
            if result.outcome is Outcome.CONTINUED:
                return None
            to = find_destination_after_menu(callback, known) or To()
            start = start or CallStart.clipped(at=at, to=to.endpoint, to_type=to.type)
        case AceCallback():
            if not (result.problem or (known and known.awaited)):
                return None
    awaited = known.awaited if known and isinstance(callback, AceCallback) else None
    return CallNotRecordedFact.clipped(
        application_key=application_key,
        call_id=callback.call_id,
        at=at,
        event=callback.event,
        outcome=decision.why if decision and not decision.record else result.outcome.value,
        rule=result.rule or (awaited.rule if awaited else None),
        problem=result.problem,
        from_=start.from_ if start else None,
        to=start.to if start else None,
        to_type=start.to_type if start else None,
        verified=verified,
        withdrawn=decided.withdrawn if decided else None,
    )


def _with_withdrawal(
    answer: CallAnswer, application_key: str, call_id: str | None, at: datetime, *, verified: bool
) -> CallAnswer:
    """Return an answer with a note that withdraws any earlier decision to record this call from its answer on.

    A decision that awaits the callee's answer, or asks by a menu, replaces an earlier decision by itself.

    Args:
        answer: the answer to an ICE or PIE.
        application_key: the application of the call.
        call_id: the call, if it has an id.
        at: when Sinch signed the callback.
        verified: whether the signature of the callback was verified.
    """
    fact = answer.fact
    if not is_recordable(call_id) or not is_recordable(application_key) or (fact and (fact.awaited or fact.asked)):
        return answer
    withdrawn = WithdrawnAnswer(at=at, verified=verified)
    if fact:
        return answer._replace(fact=fact.model_copy(update={"withdrawn": withdrawn}))
    return answer._replace(fact=CallDecidedFact.of_withdrawal(application_key, call_id, withdrawn))


def _ask_backend(recorder: Recorder | None, forward: Callable[[], str]) -> _Backend:
    """Return the answer of the application's own backend. If there is none, the profile decides."""
    if recorder is None or recorder.profile.upstream is None:
        return _NO_BACKEND
    try:
        return _Backend(UpstreamSvaml(forward()))
    except (UpstreamFailed, ValueError) as error:
        return _Backend(problem=f"upstream: {error}", metrics=("UpstreamFailures",))


def _look_up(callback: Question, application: Application | None, calls: CallFinder) -> _Earlier:
    """Return what is known of the call, if the answer depends on it."""
    if isinstance(callback, IceCallback) or application is None or not is_recordable(callback.call_id):
        return _NOTHING_KNOWN
    profile = application.recorder.profile if application.recorder else None
    find = None
    if isinstance(callback, PieCallback) and needs_known_call(callback) and not (profile and profile.upstream):
        find = calls.find
    elif isinstance(callback, AceCallback) and profile and profile.records_on_answer:
        find = calls.find_latest
    try:
        return _Earlier(find(application.key, callback.call_id) if find else None)
    except TableUnavailable as error:
        return _Earlier(problem=str(error))


def _report(
    callback: DiceCallback | NotifyCallback | UnknownCallback, application: Application, at: datetime, body: bytes
) -> CallbackResult:
    """Return what to do with a callback that reports something: queue its fact, and forward it to the backend."""
    fact = fact_from_callback(callback, application_key=application.key, at=at, body=body)
    error = fact.error if isinstance(fact, AnswerRefusedFact) else None
    metrics = {AnswerRefusedFact: ("CallingErrors",), NotifiedFact: ("UnknownCallbacks",)}
    names_both = fact.call_id and fact.conference_id == fact.recording_id
    profile = application.recorder.profile if application.recorder else None
    return CallbackResult(
        outcome=Outcome.QUEUED,
        callback=callback,
        fact=fact,
        must_queue=isinstance(callback, NotifyCallback),
        forward_for=application if profile and profile.upstream else None,
        recording_id=fact.call_id if names_both else fact.recording_id,
        calling_error=f"{error.code or 'no code'}: {error.message or 'no message'}" if error else None,
        metrics=metrics.get(type(fact), ()),
        observed=application if profile and profile.observe else None,
    )
