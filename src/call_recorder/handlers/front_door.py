"""The one door that all of Sinch's callbacks come through: verify, parse, decide, answer."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from time import monotonic
from typing import Any, Protocol

from call_recorder.aws import limits
from call_recorder.handlers.settings import CallbackSettings
from call_recorder.handlers.telemetry import Telemetry, masked, traced
from call_recorder.recording.application import Application
from call_recorder.recording.errors import (
    ParametersUnavailable,
    QueueUnavailable,
    TableUnavailable,
    UnknownApplication,
)
from call_recorder.recording.facts import AnswerRefused, CallDecided, Fact, Notified, fact_of, is_recordable
from call_recorder.recording.known_call import KnownCall
from call_recorder.recording.policy import (
    Answer,
    Policy,
    answer_continue,
    answer_degraded,
    needs_known_call,
    taking_back,
)
from call_recorder.sinch.callbacks import (
    AceCallback,
    Callback,
    IceCallback,
    MalformedCallback,
    NotifyCallback,
    PieCallback,
    UnknownCallback,
    parse,
)
from call_recorder.sinch.signature import Authorization, SignatureError, SignedRequest, check_age, verify
from call_recorder.sinch.svaml import ForeignSvaml
from call_recorder.sinch.upstream import UpstreamFailed

_STATUS: Mapping[type[Exception], int] = {
    SignatureError: 401,
    UnknownApplication: 401,
    MalformedCallback: 400,
    ParametersUnavailable: 503,
    QueueUnavailable: 503,
}


class _Applications(Protocol):
    def get(self, key: str) -> Application: ...


class _Queue(Protocol):
    def send(self, fact: Fact) -> None: ...


class _Calls(Protocol):
    def open_ahead(self) -> None: ...

    def remember(self, fact: CallDecided) -> None: ...

    def find(self, application_key: str, call_id: str) -> KnownCall | None: ...

    def find_latest(self, application_key: str, call_id: str) -> KnownCall | None: ...


class _Upstream(Protocol):
    def forward(
        self, url: str, body: bytes, *, content_type: str, application_key: str, secret: bytes, within: float
    ) -> str: ...


@dataclass(slots=True)
class _Trail:
    """What the log and the metrics will say of one callback."""

    event: str = "unreadable"
    outcome: str = "refused"
    application_key: str | None = None
    recording_id: str | None = None
    rule: str | None = None
    to: str | None = None
    problem: str | None = None
    remembered: bool = False
    calling_error: str | None = None
    started: float = field(default_factory=monotonic)


class FrontDoor:
    """Answers one callback: verify, parse, decide, answer.

    Args:
        settings: the function's settings.
        applications: finds an application by its key.
        facts: takes call facts while a caller waits; its failure costs the fact, never the call.
        notifications: takes what Sinch sends once and nobody waits for; its failure is told to Sinch.
        calls: remembers calls for the callbacks that follow their ICE.
        upstream: forwards callbacks to the backends that profiles name.
        telemetry: log and metrics.
        clock: the time in UTC.
    """

    def __init__(
        self,
        settings: CallbackSettings,
        *,
        applications: _Applications,
        facts: _Queue,
        notifications: _Queue,
        calls: _Calls,
        upstream: _Upstream,
        telemetry: Telemetry,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._settings = settings
        self._applications = applications
        self._facts = facts
        self._notifications = notifications
        self._calls = calls
        self._upstream = upstream
        self._telemetry = telemetry
        self._clock = clock

    def __call__(self, event: Mapping[str, Any]) -> dict[str, Any]:
        """Answer an API Gateway HTTP API event (payload 2.0); never raises."""
        trail = _Trail()
        request = self._request(event)
        try:
            status, body = 200, self._answer(request, event.get("headers") or {}, trail)
        except tuple(_STATUS) as error:
            status, body = self._refused(error, trail)
        except Exception:  # noqa: BLE001 - the edge: a caller waits for an answer whatever is broken here
            status, body = self._broken(request, trail)
        self._report(trail)
        return {"statusCode": status, "headers": {"content-type": "application/json"} if body else {}, "body": body}

    def _answer(self, request: SignedRequest, headers: Mapping[str, str], trail: _Trail) -> str:
        claimed = Authorization.parse(headers.get("authorization"))
        trail.application_key = claimed.application_key
        signed_at = check_age(request.timestamp, now=self._clock(), window=self._settings.signature_window)
        try:
            application = self._applications.get(claimed.application_key)
        except ParametersUnavailable as error:
            return self._answer_unverified(request, signed_at, trail, error)
        verify(request, claimed.signature, application.secrets)
        callback = parse(request.body)
        _note(callback, trail)
        if callback.application_key not in (None, application.key):
            raise SignatureError("applicationKey in the body is not the one that signed")
        match callback:
            case IceCallback() | AceCallback() | PieCallback():
                upstream = self._upstream_answer(request, application, trail)
                return self._decided(self._decide(callback, application, signed_at, upstream, trail), trail)
            case _:
                fact = fact_of(callback, application_key=application.key, at=signed_at, body=request.body)
                try:
                    self._keep(fact, trail, must=isinstance(callback, NotifyCallback))
                finally:
                    self._forward(request, application, trail)
                return ""

    def _decide(
        self,
        callback: IceCallback | AceCallback | PieCallback,
        application: Application,
        signed_at: datetime,
        upstream: ForeignSvaml | None,
        trail: _Trail,
    ) -> Answer:
        if application.recorder is None:
            trail.problem = application.problem
            if isinstance(callback, AceCallback):
                return answer_continue()
            known = self._before(callback, application, trail) if isinstance(callback, PieCallback) else None
            answer = answer_degraded(callback, known, self._settings.degraded_answer)
            return taking_back(answer, application.key, callback.call_id, signed_at, verified=True)
        policy = Policy(application.key, application.recorder, signed_at)
        match callback:
            case IceCallback():
                if application.recorder.profile.goes_on_after_ice:
                    self._calls.open_ahead()
                return policy.ice(callback, upstream)
            case _ if upstream is not None:
                return Answer(upstream, "continued")
            case PieCallback():
                return policy.pie(callback, self._before(callback, application, trail))
            case AceCallback():
                return policy.ace(callback, self._awaited(callback, application, trail))

    def _before(self, pie: PieCallback, application: Application, trail: _Trail) -> KnownCall | None:
        """Return what is known of a call before its menu, if the PIE itself does not say."""
        recorder = application.recorder
        if not needs_known_call(pie) or (recorder and recorder.profile.upstream):
            return None
        return self._found(self._calls.find, pie, application, trail)

    def _awaited(self, ace: AceCallback, application: Application, trail: _Trail) -> KnownCall | None:
        """Return what was last decided on an answered call, if a rule can await its answer."""
        recorder = application.recorder
        if recorder is None or not recorder.profile.records_on_answer:
            return None
        return self._found(self._calls.find_latest, ace, application, trail)

    def _found(
        self,
        find: Callable[[str, str], KnownCall | None],
        callback: AceCallback | PieCallback,
        application: Application,
        trail: _Trail,
    ) -> KnownCall | None:
        if not is_recordable(callback.call_id):
            return None
        try:
            return find(application.key, callback.call_id)
        except TableUnavailable as error:
            trail.problem = str(error)
            return None

    def _upstream_answer(self, request: SignedRequest, application: Application, trail: _Trail) -> ForeignSvaml | None:
        """Return the SVAML of the application's own backend, if it has one that answers; else go on without."""
        text = self._forward(request, application, trail)
        try:
            return None if text is None else ForeignSvaml(text)
        except ValueError as error:
            self._upstream_failed(error, trail)
            return None

    def _forward(self, request: SignedRequest, application: Application, trail: _Trail) -> str | None:
        upstream = application.recorder.profile.upstream if application.recorder else None
        if upstream is None:
            return None
        try:
            return self._upstream.forward(
                upstream.url,
                request.body,
                content_type=request.content_type,
                application_key=application.key,
                secret=application.secrets[0],
                within=min(limits.UPSTREAM, trail.started + limits.LATEST_UPSTREAM - monotonic()),
            )
        except UpstreamFailed as error:
            self._upstream_failed(error, trail)
            return None

    def _upstream_failed(self, error: Exception, trail: _Trail) -> None:
        trail.problem = f"upstream: {error}"
        self._telemetry.count("UpstreamFailures")

    def _answer_unverified(
        self, request: SignedRequest, signed_at: datetime, trail: _Trail, error: ParametersUnavailable
    ) -> str:
        """Connect a call that cannot be verified for want of its parameters; the answer holds nothing secret."""
        callback = parse(request.body)
        _note(callback, trail)
        if not isinstance(callback, IceCallback):
            raise error
        trail.problem = str(error)
        return self._decided(self._degraded(callback, signed_at, trail), trail)

    def _degraded(self, ice: IceCallback, at: datetime, trail: _Trail) -> Answer:
        """Answer an ICE that may be anybody's."""
        answer = answer_degraded(ice, None, self._settings.degraded_answer)
        return taking_back(answer, trail.application_key or "", ice.call_id, at, verified=False)

    def _decided(self, answer: Answer, trail: _Trail) -> str:
        trail.outcome, trail.rule = answer.outcome, answer.rule
        fact = answer.fact
        if fact is not None:
            trail.recording_id, trail.remembered = fact.recording_id, True
            if fact.asked or fact.awaited or fact.withdrawn:
                self._calls.remember(fact)
            try:
                self._facts.send(fact)
            except QueueUnavailable as error:
                trail.problem = str(error)
                self._telemetry.count("FactsNotQueued")
        return answer.svaml.to_json()

    def _keep(self, fact: Fact, trail: _Trail, *, must: bool) -> None:
        """Queue what a callback says; one that ``must`` be kept is not answered 200 unless it is."""
        names_both = fact.call_id and fact.conference_id == fact.recording_id
        trail.recording_id = fact.call_id if names_both else fact.recording_id
        match fact:
            case AnswerRefused(error=error):
                trail.calling_error = f"{error.code or 'no code'}: {error.message or 'no message'}"
                self._telemetry.count("CallingErrors")
            case Notified():
                self._telemetry.count("UnknownCallbacks")
        try:
            self._notifications.send(fact)
            trail.outcome = "queued"
        except QueueUnavailable as unavailable:
            self._telemetry.count("FactsNotQueued")
            if must:
                raise
            trail.outcome, trail.problem = "not-queued", str(unavailable)

    def _refused(self, error: Exception, trail: _Trail) -> tuple[int, str]:
        trail.outcome, trail.problem = "refused", str(error)
        status = _STATUS[type(error)]
        if status == 401:
            self._telemetry.count("SignatureFailures")
        return status, ""

    def _broken(self, request: SignedRequest, trail: _Trail) -> tuple[int, str]:
        self._telemetry.exception("callback broke", event=trail.event, recordingId=traced(trail.recording_id))
        trail.outcome = "broken"
        try:
            callback = parse(request.body)
        except MalformedCallback:
            return 500, ""
        _note(callback, trail)
        if not isinstance(callback, IceCallback):
            return 500, ""
        answer = self._degraded(callback, self._clock(), trail)
        if trail.remembered:
            # What broke may be what an answer is remembered by, and it would break again.
            trail.outcome = answer.outcome
            return 200, answer.svaml.to_json()
        return 200, self._decided(answer, trail)

    def _request(self, event: Mapping[str, Any]) -> SignedRequest:
        headers = event.get("headers") or {}
        return SignedRequest(
            path=self._settings.callback_path,
            content_type=headers.get("content-type", ""),
            timestamp=headers.get("x-timestamp", ""),
            body=_raw_body(event),
        )

    def _report(self, trail: _Trail) -> None:
        if trail.outcome == "degraded":
            self._telemetry.count("DegradedAnswers")
        elif trail.outcome == "no-route":
            self._telemetry.count("CallsWithoutRoute")
        elif trail.outcome == "lost-after-menu":
            self._telemetry.count("CallsLostAfterMenu")
        self._telemetry.count("Callbacks")
        if trail.event == "ice":
            self._telemetry.measure("IceMilliseconds", monotonic() - trail.started)
        write = self._telemetry.warning if trail.problem or trail.calling_error else self._telemetry.info
        write(
            "callback",
            event=trail.event,
            outcome=trail.outcome,
            applicationKey=trail.application_key,
            recordingId=traced(trail.recording_id),
            rule=trail.rule,
            to=trail.to,
            problem=trail.problem,
            callingError=trail.calling_error,
        )
        self._telemetry.flush(event=trail.event, outcome=trail.outcome)


def _raw_body(event: Mapping[str, Any]) -> bytes:
    body = (event.get("body") or "").encode("utf-8", "surrogatepass")
    if not event.get("isBase64Encoded"):
        return body
    try:
        return base64.b64decode(body, validate=True)
    except binascii.Error:
        return body


def _note(callback: Callback, trail: _Trail) -> None:
    # The name of an unknown event is the sender's choice, and each would be a metric of its own.
    trail.event = "unknown" if isinstance(callback, UnknownCallback) else callback.event or "unknown"
    # A conference that is named beside a call need not be what is recorded; the call is in all lines about it.
    trail.recording_id = callback.call_id or callback.conference_id
    if isinstance(callback, IceCallback) and callback.to:
        trail.to = f"{callback.to.type}:{masked(callback.to.endpoint)}"
