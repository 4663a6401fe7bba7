"""Sends signed callbacks to the public URL as Sinch does, and judges the answers.

The callback is an ACE of no call. It makes no recording, no item and no event, and counts in no alarm; its answer is
SVAML, so that no other server can pass for the recorder. An ICE is not sent: it would ask for a recording that never
comes.
"""

from __future__ import annotations

import http.client
import json
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from time import monotonic
from typing import Final, NamedTuple
from urllib.parse import urlsplit

from call_recorder.sinch.signature import SignedRequest, format_authorization
from call_recorder_cli.probes.faults import SERVER_ERROR, Fault, describe_network_fault, find_network_fault

SLOW_SECONDS: Final = 2.0
"""The time after which an answer is slow. Sinch's documents of API v1 name no limit; a caller waits meanwhile."""

_TIMEOUT: Final = 15.0
_JSON: Final = "application/json"
_CUSTOM: Final = "call-recorder check"
_WRONG_SECRET: Final = b"not the secret of any application"
_MAX_BODY: Final = 64 * 1024
_REFUSALS: Final = {
    404: ("callback-path", "map CallbackHost and its path to /callbacks of the API, or switch DefaultEndpoint on"),
    429: ("callback-throttled", "raise ThrottlingRateLimit, or find out who sends so many callbacks"),
}
_SERVER_ERROR: Final = ("callback-server", "find the reason in the log of CallbackFunction")
_OTHER: Final = ("callback-refused", "look for a firewall, a redirect or a proxy before the API")


@dataclass(frozen=True, slots=True)
class CallbackAnswer:
    """An answer to a callback, or the fault of the network that came instead.

    Attributes:
        status: the HTTP status; 0 without an answer.
        seconds: how long it took.
        body: the body, which may contain credentials.
        date: when the server answered by its own clock.
        fault: the fault of the network, if there was no answer.
    """

    status: int
    seconds: float
    body: bytes = field(default=b"", repr=False)
    date: datetime | None = None
    fault: Fault | None = None

    @property
    def is_svaml(self) -> bool:
        """Whether the body is SVAML."""
        try:
            content = json.loads(self.body)
        except (ValueError, RecursionError):
            return False
        # An application's own backend may spell the fields of its answer as older documents do.
        return isinstance(content, dict) and not {"action", "instructions"}.isdisjoint(map(str.lower, content))


class Judgement(NamedTuple):
    """A fault of the callback URL, and the sentence that says what to do."""

    code: str
    sentence: str


@dataclass(frozen=True, slots=True)
class CallbackUrl:
    """The callback URL of a stack.

    Attributes:
        url: the URL.
        path: the path that Sinch signs.
        window: how old a callback may be.
        ttl_seconds: how long CallbackFunction uses the parameters that it has read.
        clock: the time in UTC.
    """

    url: str
    path: str
    window: timedelta
    ttl_seconds: int
    clock: Callable[[], datetime] = lambda: datetime.now(UTC)

    def judge(self, application_key: str, secrets: Sequence[bytes]) -> Judgement | None:
        """Send a callback with each secret of an application, and return what is wrong with the answers, if any."""
        answers = [self.send(application_key, secret) for secret in secrets]
        refused = [place for place, answer in enumerate(answers) if answer.status == http.HTTPStatus.UNAUTHORIZED]
        if len(refused) == len(answers):
            return self._judge_refused(answers[0])
        for answer in answers:
            if answer.status != http.HTTPStatus.UNAUTHORIZED and (found := self.judge_answer(answer)):
                return found
        if refused:
            which = ("first (current)", "second (previous)")[refused[0]]
            return Judgement(
                "callback-secret",
                f"CallbackFunction refuses the {which} secret of application-secrets and accepts the other one: it "
                f"reads a changed parameter within {self.ttl_seconds} s; check again after that.",
            )
        return None

    def judge_forged(self, application_key: str) -> Judgement | None:
        """Send a callback with a wrong signature, and return what is wrong with the answer, if anything.

        It counts as a failed signature. An alarm goes off at more than ten in five minutes.
        """
        answer = self.send(application_key, _WRONG_SECRET)
        if answer.status == http.HTTPStatus.UNAUTHORIZED:
            return None
        return Judgement(
            "callback-forged",
            f"A callback with a wrong signature gets {answer.status or 'no answer'}, not 401: something else than "
            "CallbackFunction answers at the URL; correct CallbackHost or its mapping.",
        )

    def send(self, application_key: str, secret: bytes) -> CallbackAnswer:
        """Send a signed callback. A slow answer may be that of a function that has just started: it is asked again."""
        answer = self._send_once(application_key, secret)
        return self._send_once(application_key, secret) if answer.seconds > SLOW_SECONDS and answer.status else answer

    def judge_answer(self, answer: CallbackAnswer) -> Judgement | None:
        """Return what is wrong with the answer to a callback with the right signature, if anything."""
        status = answer.status
        if answer.fault or not status:
            host = urlsplit(self.url).hostname or ""
            return Judgement("callback-network", describe_network_fault(answer.fault or Fault.NO_CONNECTION, host))
        if status == http.HTTPStatus.OK:
            return self._judge_success(answer)
        code, mend = _REFUSALS.get(status) or (_SERVER_ERROR if status >= SERVER_ERROR else _OTHER)
        return Judgement(code, f"The callback URL answers {status}: {mend}.")

    def _judge_success(self, answer: CallbackAnswer) -> Judgement | None:
        if not answer.is_svaml:
            return Judgement(
                "callback-foreign",
                "The callback URL answers 200 without SVAML: another server answers; correct the URL.",
            )
        if answer.seconds > SLOW_SECONDS:
            return Judgement(
                "callback-slow",
                f"The callback URL answers after {answer.seconds:.1f} s while a caller waits: see IceDurationAlarm in "
                "docs/runbook.md.",
            )
        return None

    def _judge_refused(self, answer: CallbackAnswer) -> Judgement:
        skew = abs(answer.date - self.clock()) if answer.date else timedelta()
        if skew > self.window:
            return Judgement(
                "callback-clock",
                f"The clock of this machine differs by {skew.total_seconds():.0f} s from that of the API: set it, then "
                "check again.",
            )
        return Judgement(
            "callback-secret",
            f"CallbackFunction accepts no secret of application-secrets: it reads a changed parameter within "
            f"{self.ttl_seconds} s; after that, see whether CallbackHost leads to this stack, and to its CallbackPath.",
        )

    def _send_once(self, application_key: str, secret: bytes) -> CallbackAnswer:
        parts, started = urlsplit(self.url), monotonic()
        is_secure = parts.scheme == "https"
        connect = http.client.HTTPSConnection if is_secure else http.client.HTTPConnection
        with closing(connect(parts.hostname or "", parts.port, timeout=_TIMEOUT)) as connection:
            try:
                connection.request("POST", parts.path or "/", *self._sign(application_key, secret))
                response = connection.getresponse()
                body = response.read(_MAX_BODY)
            except (OSError, http.client.HTTPException) as error:
                return CallbackAnswer(0, monotonic() - started, fault=find_network_fault(error))
        return CallbackAnswer(response.status, monotonic() - started, body, _read_date(response.getheader("Date")))

    def _sign(self, application_key: str, secret: bytes) -> tuple[bytes, dict[str, str]]:
        """Return the body and the headers of a signed callback."""
        now = self.clock()
        timestamp = now.strftime("%Y-%m-%dT%H:%M:%SZ")
        ace = {"event": "ace", "applicationKey": application_key, "timestamp": timestamp, "custom": _CUSTOM}
        body = json.dumps(ace).encode()
        request = SignedRequest(self.path, _JSON, timestamp, body)
        return body, {
            "Content-Type": _JSON,
            "x-timestamp": timestamp,
            "Authorization": format_authorization(application_key, request.sign(secret)),
        }


def _read_date(text: str | None) -> datetime | None:
    try:
        date = parsedate_to_datetime(text) if text else None
    except ValueError:
        return None
    return date if date and date.tzinfo else None
