"""The use case of CallbackFunction: what follows from one verified callback.

It decides and carries nothing out. ``functions/callback_handler.py`` carries the result out.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Protocol

from call_recorder.answering.answer import Answer, DegradedAnswer, Outcome, with_withdrawal
from call_recorder.answering.application import Application
from call_recorder.answering.known_call import KnownCall
from call_recorder.answering.policy import Policy
from call_recorder.answering.routing import answer_degraded, continue_call, needs_known_call
from call_recorder.facts.errors import TableUnavailable, UpstreamFailed
from call_recorder.facts.facts import AnswerRefusedFact, CallDecidedFact, Fact, NotifiedFact
from call_recorder.facts.from_callbacks import fact_from_callback
from call_recorder.facts.identifiers import is_recordable
from call_recorder.sinch.callbacks import (
    AceCallback,
    Callback,
    DiceCallback,
    IceCallback,
    NotifyCallback,
    PieCallback,
    UnknownCallback,
)
from call_recorder.sinch.svaml import UpstreamSvaml

Question = IceCallback | AceCallback | PieCallback
"""The callbacks to which Sinch expects SVAML."""


class KnownCalls(Protocol):
    """What earlier callbacks decided on a call."""

    def find(self, application_key: str, call_id: str) -> KnownCall | None:
        """Return where a call goes and what its caller was asked. Raises TableUnavailable."""

    def find_latest(self, application_key: str, call_id: str) -> KnownCall | None:
        """Return the latest decision on a call. Raises TableUnavailable."""


@dataclass(frozen=True, slots=True)
class CallbackResult:
    """What follows from one callback.

    Attributes:
        outcome: the result.
        callback: the callback, if it was read.
        answer: the SVAML for Sinch as JSON, or ``""`` if Sinch expects none.
        fact: the fact to queue.
        must_queue: Sinch gets an error, and sends the callback again, unless the fact is queued.
        forward_for: the application whose own backend gets the callback after that.
        has_next: whether a PIE or ACE of the call follows that may need the table.
        recording_id: the call or conference, for the log.
        rule: the rule that decided.
        problem: what went wrong on the way.
        calling_error: Sinch's complaint about an earlier answer.
        metrics: the metrics to count.
        refusal: the error because of which Sinch gets no answer.
    """

    outcome: Outcome
    callback: Callback | None = None
    answer: str = ""
    fact: Fact | None = None
    must_queue: bool = False
    forward_for: Application | None = None
    has_next: bool = False
    recording_id: str | None = None
    rule: str | None = None
    problem: str | None = None
    calling_error: str | None = None
    metrics: tuple[str, ...] = ()
    refusal: Exception | None = None

    @property
    def remembered(self) -> CallDecidedFact | None:
        """The decision that a later callback of the same call may need."""
        fact = self.fact
        needed = isinstance(fact, CallDecidedFact) and (fact.asked or fact.awaited or fact.withdrawn)
        return fact if isinstance(fact, CallDecidedFact) and needed else None


def answer_callback(
    callback: Callback,
    application: Application,
    *,
    at: datetime,
    body: bytes,
    calls: KnownCalls,
    forward: Callable[[], str],
    degraded: DegradedAnswer,
) -> CallbackResult:
    """Return what follows from a callback.

    Args:
        callback: the callback, whose signature is verified.
        application: the application that signed it.
        at: when Sinch signed it, in UTC.
        body: the raw body. It identifies a callback without any id.
        calls: finds what earlier callbacks decided.
        forward: sends the callback to the application's own backend and returns its answer. Raises UpstreamFailed.
        degraded: what to do with a call if the application's profile cannot be used.
    """
    if not isinstance(callback, IceCallback | AceCallback | PieCallback):
        return _report(callback, application, at, body)
    backend = _ask_backend(application, forward)
    decided = _decide(callback, application, at, backend.svaml, calls, degraded)
    result = _result(callback, decided.answer, decided.problem or backend.problem, backend.metrics)
    if isinstance(callback, IceCallback) and application.recorder:
        return replace(result, has_next=application.recorder.profile.goes_on_after_ice)
    return result


def answer_without_application(
    ice: IceCallback, application_key: str, *, at: datetime, degraded: DegradedAnswer, problem: str | None = None
) -> CallbackResult:
    """Return what follows from an ICE that cannot be verified, or cannot be answered as usual.

    The answer holds no secret, since the ICE may be forged.
    """
    answer = answer_degraded(ice, None, degraded)
    return _result(ice, with_withdrawal(answer, application_key, ice.call_id, at, verified=False), problem)


@dataclass(frozen=True, slots=True)
class _BackendAnswer:
    svaml: UpstreamSvaml | None = None
    problem: str | None = None
    metrics: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class _Decided:
    answer: Answer
    problem: str | None = None


def _ask_backend(application: Application, forward: Callable[[], str]) -> _BackendAnswer:
    """Return the SVAML of the application's own backend. If it has none, or gives no answer, the profile decides."""
    if not _has_backend(application):
        return _BackendAnswer()
    try:
        return _BackendAnswer(UpstreamSvaml(forward()))
    except (UpstreamFailed, ValueError) as error:
        return _BackendAnswer(problem=f"upstream: {error}", metrics=("UpstreamFailures",))


def _decide(
    callback: Question,
    application: Application,
    at: datetime,
    upstream: UpstreamSvaml | None,
    calls: KnownCalls,
    degraded: DegradedAnswer,
) -> _Decided:
    recorder = application.recorder
    if recorder is None:
        return _decide_without_profile(callback, application, at, calls, degraded)
    policy = Policy(application.key, recorder, at)
    match callback:
        case IceCallback():
            return _Decided(policy.ice(callback, upstream))
        case _ if upstream is not None:
            return _Decided(Answer(upstream, Outcome.CONTINUED))
        case PieCallback() if needs_known_call(callback) and not recorder.profile.upstream:
            known, problem = _find(calls.find, callback, application)
            return _Decided(policy.pie(callback, known), problem)
        case PieCallback():
            return _Decided(policy.pie(callback, None))
        case AceCallback() if recorder.profile.records_on_answer:
            known, problem = _find(calls.find_latest, callback, application)
            return _Decided(policy.ace(callback, known), problem)
        case AceCallback():
            return _Decided(policy.ace(callback, None))


def _decide_without_profile(
    callback: Question, application: Application, at: datetime, calls: KnownCalls, degraded: DegradedAnswer
) -> _Decided:
    if isinstance(callback, AceCallback):
        return _Decided(continue_call(), application.problem)
    known, problem = None, None
    if isinstance(callback, PieCallback) and needs_known_call(callback):
        known, problem = _find(calls.find, callback, application)
    answer = answer_degraded(callback, known, degraded)
    answer = with_withdrawal(answer, application.key, callback.call_id, at, verified=True)
    return _Decided(answer, problem or application.problem)


def _find(
    find: Callable[[str, str], KnownCall | None], callback: AceCallback | PieCallback, application: Application
) -> tuple[KnownCall | None, str | None]:
    """Return what is known of a call, and the problem if the table cannot be read."""
    if not is_recordable(callback.call_id):
        return None, None
    try:
        return find(application.key, callback.call_id), None
    except TableUnavailable as error:
        return None, str(error)


def _result(callback: Question, answer: Answer, problem: str | None, metrics: tuple[str, ...] = ()) -> CallbackResult:
    fact = answer.fact
    return CallbackResult(
        outcome=answer.outcome,
        callback=callback,
        answer=answer.svaml.to_json(),
        fact=fact,
        recording_id=fact.recording_id if fact else callback.call_id or callback.conference_id,
        rule=answer.rule,
        problem=problem,
        metrics=(*metrics, answer.metric) if answer.metric else metrics,
    )


def _report(
    callback: DiceCallback | NotifyCallback | UnknownCallback, application: Application, at: datetime, body: bytes
) -> CallbackResult:
    """Return what follows from a callback that reports something: its fact is queued."""
    fact = fact_from_callback(callback, application_key=application.key, at=at, body=body)
    error = fact.error if isinstance(fact, AnswerRefusedFact) else None
    metrics = {AnswerRefusedFact: ("CallingErrors",), NotifiedFact: ("UnknownCallbacks",)}
    names_both = fact.call_id and fact.conference_id == fact.recording_id
    return CallbackResult(
        outcome=Outcome.QUEUED,
        callback=callback,
        fact=fact,
        must_queue=isinstance(callback, NotifyCallback),
        forward_for=application if _has_backend(application) else None,
        recording_id=fact.call_id if names_both else fact.recording_id,
        calling_error=f"{error.code or 'no code'}: {error.message or 'no message'}" if error else None,
        metrics=metrics.get(type(fact), ()),
    )


def _has_backend(application: Application) -> bool:
    return application.recorder is not None and application.recorder.profile.upstream is not None
