"""The HTTP edge of CallbackFunction: verify a callback, decide by ``answer_callback``, carry the result out, answer."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable, Mapping
from contextlib import suppress
from datetime import UTC, datetime
from functools import cached_property
from time import monotonic
from typing import Any, Protocol

from call_recorder.adapters import limits
from call_recorder.answering.answer import Outcome
from call_recorder.answering.answer_callback import CallbackResult, CallFinder, answer_callback
from call_recorder.answering.application import Application
from call_recorder.facts.errors import ParametersUnavailable, QueueUnavailable, UnknownApplication, UpstreamFailed
from call_recorder.facts.facts import CallDecidedFact, CallNotRecordedFact, Fact
from call_recorder.functions.masking import mask_address, masked_id
from call_recorder.functions.settings import CallbackSettings
from call_recorder.functions.telemetry import Telemetry
from call_recorder.sinch.callbacks import EVENTS, Callback, IceCallback, MalformedCallback, parse
from call_recorder.sinch.signature import Authorization, SignatureError, SignedRequest, check_age, verify

_STATUS: Mapping[type[Exception], int] = {
    SignatureError: 401,
    UnknownApplication: 401,
    MalformedCallback: 400,
    ParametersUnavailable: 503,
    QueueUnavailable: 503,
}
"""The HTTP status of each refusal. Any other error is a 500."""


class _Applications(Protocol):
    def get(self, key: str) -> Application: ...


class _Queue(Protocol):
    def send(self, fact: Fact | CallNotRecordedFact, *, urgent: bool) -> None: ...


class _Calls(CallFinder, Protocol):
    def preconnect(self) -> None: ...

    def remember(self, fact: CallDecidedFact) -> None: ...


class _Upstream(Protocol):
    def forward(
        self, url: str, body: bytes, *, content_type: str, application_key: str, secret: bytes, timeout: float
    ) -> str: ...


class ReceivedCallback:
    """One HTTP request of API Gateway (payload 2.0). Each part is read once, when it is first needed.

    Args:
        event: the Lambda event.
        path: the path that Sinch signs.
    """

    def __init__(self, event: Mapping[str, Any], path: str) -> None:
        headers = event.get("headers") or {}
        self.started = monotonic()
        self.user_agent: str = headers.get("user-agent", "")
        self.request = SignedRequest(
            path=path,
            content_type=headers.get("content-type", ""),
            timestamp=headers.get("x-timestamp", ""),
            body=_raw_body(event),
        )
        self._authorization = headers.get("authorization")

    @cached_property
    def authorization(self) -> Authorization:
        """The application key and the signature. Raises SignatureError."""
        return Authorization.parse(self._authorization)

    @cached_property
    def callback(self) -> Callback:
        """The parsed body. Raises MalformedCallback."""
        return parse(self.request.body)

    @property
    def application_key(self) -> str | None:
        """The application key that the request names, once ``authorization`` is read."""
        authorization: Authorization | None = vars(self).get("authorization")
        return authorization.application_key if authorization else None

    @property
    def callback_if_read(self) -> Callback | None:
        """The callback, once ``callback`` is read."""
        callback: Callback | None = vars(self).get("callback")
        return callback


class CallbackHandler:
    """Answers callbacks.

    Args:
        settings: the settings of the function.
        applications: finds an application by its key.
        queue: sends facts. ``urgent``: a caller waits.
        calls: remembers decisions for the callbacks that follow in the same call.
        upstream: forwards callbacks to the applications' own backends.
        telemetry: log and metrics.
        clock: the time in UTC.
    """

    def __init__(
        self,
        settings: CallbackSettings,
        *,
        applications: _Applications,
        queue: _Queue,
        calls: _Calls,
        upstream: _Upstream,
        telemetry: Telemetry,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._settings = settings
        self._applications = applications
        self._queue = queue
        self._calls = calls
        self._upstream = upstream
        self._telemetry = telemetry
        self._clock = clock

    def __call__(self, event: Mapping[str, Any]) -> dict[str, Any]:
        """Answer an event of API Gateway's HTTP API. Never raises."""
        try:
            received = ReceivedCallback(event, self._settings.callback_path)
            result = self._handle(received)
        except Exception as error:  # noqa: BLE001 - Sinch gets an answer whatever is broken here
            self._log_broken(None)
            return _response(CallbackResult(Outcome.BROKEN, refusal=error))
        with suppress(Exception):  # a broken log must not cost a caller the answer
            self._report(result, received)
        return _response(result)

    def _handle(self, received: ReceivedCallback) -> CallbackResult:
        try:
            result = self._answer(received)
        except tuple(_STATUS) as error:
            return _refuse(error, received)
        except Exception as error:  # noqa: BLE001 - a caller waits
            result = self._answer_broken(error, received)
        try:
            return self._carry_out(result, received)
        except Exception as error:  # noqa: BLE001 - a caller waits
            # The memory or the queue may be broken, so the second answer uses neither.
            return self._answer_broken(error, received)._replace(fact=None)

    def _answer(self, received: ReceivedCallback) -> CallbackResult:
        """Verify and answer a callback. Raises the errors of ``_STATUS``."""
        request, authorization, problem = received.request, received.authorization, None
        at = check_age(request.timestamp, now=self._clock(), window=self._settings.signature_window)
        try:
            application = self._applications.get(authorization.application_key)
            verify(request, authorization.signature, application.secrets)
            if received.callback.application_key not in (None, application.key):
                raise SignatureError("applicationKey in the body is not the one that signed")
        except ParametersUnavailable as error:
            if not isinstance(received.callback, IceCallback):
                raise
            application, problem = None, str(error)
        return self._decide(received, application, at, problem)

    def _answer_broken(self, error: Exception, received: ReceivedCallback) -> CallbackResult:
        """Answer after an unexpected error: connect the call of an ICE without recording, or report the error."""
        self._log_broken(received.callback_if_read)
        try:
            callback = received.callback
        except MalformedCallback:
            return CallbackResult(Outcome.BROKEN, refusal=error)
        if not isinstance(callback, IceCallback):
            return CallbackResult(Outcome.BROKEN, callback, refusal=error)
        return self._decide(received, None, self._clock())

    def _decide(
        self, received: ReceivedCallback, application: Application | None, at: datetime, problem: str | None = None
    ) -> CallbackResult:
        return answer_callback(
            received.callback,
            application,
            application_key=received.application_key or "",
            at=at,
            body=received.request.body,
            calls=self._calls,
            forward=lambda: self._forward(received, application),
            degraded=self._settings.degraded_answer,
            keeps_unrecorded=self._settings.keeps_unrecorded_calls == "on",
            problem=problem,
        )

    def _carry_out(self, result: CallbackResult, received: ReceivedCallback) -> CallbackResult:
        """Remember, queue and forward what the result contains. Return the result with the problem, if there is one."""
        if result.has_next:
            self._calls.preconnect()
        if result.remembered:
            self._calls.remember(result.remembered)
        if result.fact:
            result = self._send(result, result.fact)
        if result.forward_for:
            return self._forward_report(result, received, result.forward_for)
        return result

    def _send(self, result: CallbackResult, fact: Fact | CallNotRecordedFact) -> CallbackResult:
        try:
            self._queue.send(fact, urgent=bool(result.answer))
        except QueueUnavailable as error:
            result = result._replace(problem=str(error), metrics=(*result.metrics, "FactsNotQueued"))
            if result.must_queue:
                return result._replace(outcome=Outcome.REFUSED, refusal=error)
            return result if result.answer else result._replace(outcome=Outcome.NOT_QUEUED)
        return result

    def _forward_report(
        self, result: CallbackResult, received: ReceivedCallback, application: Application
    ) -> CallbackResult:
        """Forward a callback to which Sinch expects no SVAML to the application's own backend."""
        try:
            self._forward(received, application)
        except UpstreamFailed as error:
            metrics = (*result.metrics, "UpstreamFailures")
            return result._replace(problem=result.problem or f"upstream: {error}", metrics=metrics)
        return result

    def _forward(self, received: ReceivedCallback, application: Application | None) -> str:
        """Send a callback to the application's own backend; return its answer. Raises UpstreamFailed."""
        recorder = application.recorder if application else None
        if application is None or recorder is None or recorder.profile.upstream is None:
            raise UpstreamFailed("no backend")
        upstream = recorder.profile.upstream
        return self._upstream.forward(
            upstream.url,
            received.request.body,
            content_type=received.request.content_type,
            application_key=application.key,
            secret=application.secrets[0],
            timeout=min(limits.MAX_UPSTREAM_SECONDS, received.started + limits.UPSTREAM_DEADLINE_SECONDS - monotonic()),
        )

    def _log_broken(self, callback: Callback | None) -> None:
        """Log the trace of the exception that is being handled."""
        with suppress(Exception):  # a broken log must not cost a caller the answer
            event, recording_id = _event_name(callback), masked_id(_recording_id(callback))
            self._telemetry.exception("callback broke", event=event, recordingId=recording_id)

    def _report(self, result: CallbackResult, received: ReceivedCallback) -> None:
        event = _event_name(result.callback)
        for metric in result.metrics:
            self._telemetry.count(metric)
        if event == "ice":
            self._telemetry.measure("IceMilliseconds", monotonic() - received.started)
        self._telemetry.summarize(
            "callback",
            "Callbacks",
            {"event": event, "outcome": str(result.outcome)},
            warns=bool(result.problem or result.calling_error),
            applicationKey=received.application_key,
            recordingId=masked_id(result.recording_id),
            rule=result.rule,
            to=_masked_destination(result.callback),
            problem=result.problem,
            callingError=result.calling_error,
        )
        if result.observed and result.callback:
            self._observe(result, result.callback, received, result.observed.secrets[0])

    def _observe(self, result: CallbackResult, callback: Callback, received: ReceivedCallback, secret: bytes) -> None:
        """Log the shape of a callback. The import waits for an application that is observed: none usually is."""
        from call_recorder.answering.observation import describe_answer, describe_callback

        now = self._clock()
        self._telemetry.record(
            "callback observed",
            applicationKey=received.application_key,
            event=_event_name(callback),
            receivedAt=now.isoformat(timespec="milliseconds"),
            recordingId=masked_id(result.recording_id),
            call=masked_id(callback.call_id),
            conference=masked_id(callback.conference_id),
            outcome=str(result.outcome),
            rule=result.rule,
            **describe_answer(result.answer),
            **describe_callback(received.request, user_agent=received.user_agent, secret=secret, now=now),
        )


def _refuse(error: Exception, received: ReceivedCallback) -> CallbackResult:
    callback = received.callback_if_read
    return CallbackResult(
        Outcome.REFUSED,
        callback,
        recording_id=_recording_id(callback),
        problem=str(error),
        metrics=("SignatureFailures",) if _STATUS[type(error)] == 401 else (),
        refusal=error,
    )


def _response(result: CallbackResult) -> dict[str, Any]:
    status = 200 if result.refusal is None else _STATUS.get(type(result.refusal), 500)
    headers = {"content-type": "application/json"} if result.answer else {}
    return {"statusCode": status, "headers": headers, "body": result.answer}


def _raw_body(event: Mapping[str, Any]) -> bytes:
    body = (event.get("body") or "").encode("utf-8", "surrogatepass")
    if not event.get("isBase64Encoded"):
        return body
    try:
        return base64.b64decode(body, validate=True)
    except binascii.Error:
        return body


def _event_name(callback: Callback | None) -> str:
    """Return the event for the log and the metrics. Unknown names become one: each name would create a new metric."""
    if callback is None:
        return "unreadable"
    return callback.event if callback.event and callback.event in EVENTS else "unknown"


def _recording_id(callback: Callback | None) -> str | None:
    return callback.call_id or callback.conference_id if callback else None


def _masked_destination(callback: Callback | None) -> str | None:
    to = callback.to if isinstance(callback, IceCallback) else None
    return f"{to.type}:{mask_address(to.endpoint)}" if to else None
