"""The second part of the soak: callbacks pass through CallbackFunction, as ``functions/callback.py`` composes it.

Run as ``python -m local.soak.callbacks 100000``. It prints a line of JSON for each tenth, and one with what happened.
The function calls AWS with its own client; the fake AWS runs in another process. Time is simulated: ten callbacks
arrive in a second, so that the parameters of an application expire 30 times in a run.
"""

from __future__ import annotations

import base64
import json
import os
import re
import socket
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, redirect_stdout
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from itertools import count
from pathlib import Path
from random import Random
from typing import Any, Final, TextIO, cast
from unittest import mock

from call_recorder.adapters.known_calls import MAX_REMEMBERED
from call_recorder.answering.application_cache import MAX_APPLICATIONS, ApplicationCache
from call_recorder.functions import callback
from call_recorder.sinch.signature import format_authorization, sign
from local.fake_aws import stop
from local.soak.applications import APPLICATIONS, KINDS, key_of, kind_of, number_to_call, secret_of
from local.soak.aws import PREFIX
from local.soak.measuring import (
    MIN_COMPARED,
    Stopwatch,
    Tolerance,
    fill_string_cache,
    measure,
    play_on_demand,
    stay_on_one_processor,
)

Json = dict[str, Any]

EXPECTED: Final[Mapping[str, int]] = {
    **dict.fromkeys((kind for kind in KINDS if kind != "has broken secrets"), 200),
    **dict.fromkeys(("large", "encoded"), 200),
    **dict.fromkeys(("made-up key", "forged", "no header", "another body", "late"), 401),
    "no JSON": 400,
}
"""The status that almost all callbacks of a kind of application or sender get. The others come while AWS fails."""

TOLERANCE: Final = Tolerance(blocks=7_000, objects=1_500, threads=4, files=6)
"""In 100,000 callbacks, it allows a block for every 13 callbacks, and 23 bytes of memory a callback. These variations
are bounded: while the list of the 5,000 applications is renewed, there are two lists, and the kinds of the 256
applications in memory change. UpstreamClient has up to four threads, and each of three services a few connections."""

CHUNK: Final = 10
"""The number of callbacks that are timed together."""

_EXPECTED_SHARE: Final = 0.97
_LISTED_SECONDS: Final = 240

_CALLBACKS_A_SECOND: Final = 10
_CALLS: Final = 12
_STRANGERS: Final = 30
_FORGED: Final = 10
_NEWEST: Final = 50
"""Half of the calls are those of so many applications, which called first just now."""

_PATH: Final = "/callbacks"
_BEGUN: Final = datetime(2026, 11, 23, 9, 0, tzinfo=UTC)
_TICKET: Final = re.compile(r"return\(([^)]+)\)")
_ROOT: Final = Path(__file__).resolve().parents[2]
_ENVIRONMENT: Final[Mapping[str, str]] = {
    "AWS_REGION": "eu-west-1",
    "AWS_DEFAULT_REGION": "eu-west-1",
    "AWS_ACCESS_KEY_ID": "AKIDSOAK",
    "AWS_SECRET_ACCESS_KEY": "a secret that opens nothing",
    "POWERTOOLS_SERVICE_NAME": "soak",
    "POWERTOOLS_METRICS_NAMESPACE": "CallRecorder",
    "CALLBACK_PATH": _PATH,
    "PARAMETER_PREFIX": PREFIX,
    "PARAMETERS_TTL_SECONDS": "300",
    "SIGNATURE_WINDOW_SECONDS": "300",
    "RECORDINGS_BUCKET": "soak-recordings",
    "RECORDINGS_TABLE": "recordings",
    "DEGRADED_ANSWER": "connect",
    "PREFETCHED_APPLICATION_KEY": "",
}


class WrongAnswers(Exception):
    """Many callbacks of one kind got another status than they should, so the soak does not test what it should."""


@dataclass(frozen=True, slots=True)
class _Call:
    """A call of an application. ``kind`` is what the profile of the application does."""

    call_id: str
    application: int

    @property
    def kind(self) -> str:
        return kind_of(self.application)


class Callbacks:
    """Sends the callbacks of calls to CallbackFunction, with those of strangers among them.

    Args:
        endpoint: the URL of the fake AWS.
        total: the number of callbacks in which the last application has called.

    Attributes:
        happened: the number of answers by their status, for each kind of application and of sender.
    """

    def __init__(self, endpoint: str, total: int) -> None:
        self.happened: Counter[str] = Counter()
        self._total = total
        self._done = 0
        self._seconds = 0.0
        self._numbers = count(1)
        self._random = Random(2)  # noqa: S311 - the order of calls keeps no secret
        environment = {**_ENVIRONMENT, "AWS_ENDPOINT_URL": endpoint, "RECORDING_QUEUE_URL": f"{endpoint}/recordings"}
        with mock.patch.object(callback, "ApplicationCache", partial(ApplicationCache, clock=lambda: self._seconds)):
            self._handler = callback.compose(environment, clock=self._clock)

    def fill_caches(self) -> None:
        """Send the ICE of as many calls as the function remembers, from as many applications as it keeps.

        The calls of strangers follow until the function has listed the applications, which takes about a minute.
        """
        watch = Stopwatch()
        on_answer = range(KINDS.index("starts on answer"), MAX_REMEMBERED * len(KINDS) * 5 // 4, len(KINDS))
        calls = [self._make_call(number % APPLICATIONS) for number in (*range(MAX_APPLICATIONS), *on_answer)]
        self._send([(call.kind, self._sign(call.application, _ice(call))) for call in calls], watch)
        listed = self._seconds + _LISTED_SECONDS
        while self._seconds < listed:
            self._send([self._make_stranger(_Call("a-call", 0)) for _ in range(CHUNK)], watch)
        self._done = 0
        self.happened.clear()

    def play(self, watch: Stopwatch) -> int:
        """Send the callbacks of some calls, and of strangers. Return how many there were."""
        before = self._done
        calls = [self._make_call(self._choose_application()) for _ in range(_CALLS)]
        answers = self._send([(call.kind, self._sign(call.application, _ice(call))) for call in calls], watch)
        later = [
            (call.kind, self._sign(call.application, body))
            for call, answer in zip(calls, answers, strict=True)
            for body in _later_callbacks(call, answer, next(self._numbers))
        ]
        later += [self._make_stranger(call) for call in calls for _ in range(_STRANGERS // _CALLS)]
        later += list(self._make_forged(calls[0]))
        self._random.shuffle(later)
        self._send(later, watch)
        return self._done - before

    def check(self) -> None:
        """Check that almost all answers had the right status. Raises WrongAnswers."""
        for sender, status in EXPECTED.items():
            answers = {key: number for key, number in self.happened.items() if key.startswith(f"{sender}: ")}
            if not answers or answers.get(f"{sender}: {status}", 0) < _EXPECTED_SHARE * sum(answers.values()):
                raise WrongAnswers(f"{sender}: expected {status}, got {answers}")

    def _clock(self) -> datetime:
        return _BEGUN + timedelta(seconds=self._seconds)

    def _choose_application(self) -> int:
        """Return one of the applications that have called: a new one, or any of the earlier ones."""
        newest = min(MAX_APPLICATIONS + APPLICATIONS * self._done // self._total, APPLICATIONS - 1)
        first = newest - _NEWEST if self._random.random() < 0.5 else 0
        return self._random.randint(first, newest)

    def _make_call(self, application: int) -> _Call:
        return _Call(f"{next(self._numbers):08x}-51a7-4d3c-9a5e-7d1f0b6c2e88", application)

    def _send(self, callbacks: list[tuple[str, Json]], watch: Stopwatch) -> list[str]:
        """Send callbacks in chunks, and return the bodies of the answers."""
        answers: list[str] = []
        for start in range(0, len(callbacks), CHUNK):
            chunk = callbacks[start : start + CHUNK]
            responses = watch.run(lambda: [self._handler(event) for _, event in chunk], len(chunk))  # noqa: B023
            for (sender, _), response in zip(chunk, responses, strict=True):
                self.happened[f"{sender}: {response['statusCode']}"] += 1
                answers.append(response["body"])
            self._done += len(chunk)
            self._seconds += len(chunk) / _CALLBACKS_A_SECOND
        return answers

    def _sign(self, application: int, body: Json | bytes, timestamp: str | None = None) -> Json:
        return self._deliver(key_of(application), secret_of(application), body, timestamp=timestamp)

    def _deliver(
        self, key: str, secret: str, body: Json | bytes, *, timestamp: str | None = None, encoded: bool = False
    ) -> Json:
        raw = body if isinstance(body, bytes) else json.dumps(body).encode()
        timestamp = timestamp or self._clock().strftime("%Y-%m-%dT%H:%M:%SZ")
        signature = sign(secret, path=_PATH, content_type="application/json", timestamp=timestamp, body=raw)
        headers = {
            "content-type": "application/json",
            "x-timestamp": timestamp,
            "authorization": format_authorization(key, signature),
        }
        text = base64.b64encode(raw).decode() if encoded else raw.decode()
        return {"version": "2.0", "rawPath": _PATH, "headers": headers, "body": text, "isBase64Encoded": encoded}

    def _make_stranger(self, call: _Call) -> tuple[str, Json]:
        """Return a callback that is signed under a made-up application key."""
        key = f"{next(self._numbers):08x}-made-up-{'x' * self._random.randint(0, 100)}"
        return "made-up key", self._deliver(key, secret_of(0), _ice(call))

    def _make_forged(self, call: _Call) -> Iterator[tuple[str, Json]]:
        """Yield callbacks that are refused for another reason than an unknown key, or cannot be read."""
        application = call.application - call.application % len(KINDS)
        call = _Call(call.call_id, application)  # of an application that records all calls
        right = self._sign(application, _ice(call))
        for number in range(_FORGED):
            known = key_of(self._random.randrange(0, APPLICATIONS, len(KINDS)))
            yield "forged", self._deliver(known, secret_of(APPLICATIONS + number), _ice(call))
        yield "no header", right | {"headers": {}}
        yield "another body", right | {"body": right["body"] + " "}
        yield "late", self._sign(application, _ice(call), timestamp="2026-11-22T09:00:00Z")
        yield "no JSON", self._sign(application, f"no JSON, {call.call_id}".encode())
        yield "large", self._sign(application, _ice(call) | {"custom": call.call_id * 1000})
        encoded = self._deliver(key_of(application), secret_of(application), _ice(call), encoded=True)
        yield "encoded", encoded


def _about(call: _Call, event: str, **more: Any) -> Json:
    return {"event": event, "callid": call.call_id, "version": 1, "applicationKey": key_of(call.application)} | more


def _ice(call: _Call) -> Json:
    return _about(
        call,
        "ice",
        cli="+46700000001",
        to={"type": "did", "endpoint": number_to_call(call.application)},
        domain="pstn",
        originationType="PSTN",
        custom=f"a note on {call.call_id}",
        callHeaders=[{"key": "recording-consent", "value": "yes"}],
    )


def _later_callbacks(call: _Call, answer: str, number: int) -> Iterator[Json]:
    """Yield what Sinch sends after the answer to the ICE, and sometimes the ICE once more."""
    ticket = _TICKET.search(answer or "")
    if ticket and number % 2:
        yield _about(call, "pie", menuResult={"menuId": "main", "type": "return", "value": ticket[1]})
    elif ticket:
        yield _about(call, "pie", menuResult={"menuId": "main", "type": "timeout"})
    yield _about(call, "ace")
    yield _about(call, "notify", type="recording_finished")
    yield _about(call, "notify", type="recording_available", destination=f"s3://soak-recordings/{call.call_id}.mp3")
    yield _about(call, "dice", reason="CALLERHANGUP", result="ANSWERED", duration=42)
    match number % 5:
        case 0:
            yield _ice(call)
        case 1:
            yield _about(call, "notify", type="callingerror", errorCode=40001, errorMsg=f"illegal in {call.call_id}")
        case 2:
            yield _about(call, f"surprise {call.call_id}")
        case 3:
            yield _about(call, "notify", type=f"unknown {call.call_id}")
        case _:
            yield _about(call, "notify", type="transcription_available", conferenceId=f"beside {call.call_id}")


@contextmanager
def run_aws() -> Iterator[str]:
    """Run the fake AWS in a process of its own during the block, and yield its URL.

    The backend that profiles name is a port that is taken and refuses connections.
    """
    with ExitStack() as stack:
        refusing = stack.enter_context(socket.socket())
        refusing.bind(("127.0.0.1", 0))
        backend = f"https://127.0.0.1:{refusing.getsockname()[1]}/callbacks"
        command = [sys.executable, "-m", "local.soak.aws", backend]
        process = subprocess.Popen(command, cwd=_ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        output = stack.enter_context(cast("TextIO", process.stdout))
        stack.callback(stop, process)
        yield f"http://127.0.0.1:{int(output.readline())}"


def main(arguments: Sequence[str]) -> None:
    """Send as many callbacks as the arguments say; or be the fresh process that sends some for each line.

    The fresh process has the URL of the fake AWS as its second argument.
    """
    rows, total = sys.stdout, int(arguments[0])
    os.environ.update(_ENVIRONMENT)
    with Path(os.devnull).open("w") as sink, redirect_stdout(sink):
        if total == 0:
            play_on_demand(_start(arguments[1], APPLICATIONS).play, rows)
            return
        with run_aws() as endpoint:
            stay_on_one_processor(1)
            callbacks = _start(endpoint, total)
            command = [sys.executable, "-m", "local.soak.callbacks", "0", endpoint]
            for tenth in measure(callbacks.play, total, command if total >= MIN_COMPARED else []):
                print(tenth.to_json(), file=rows, flush=True)
        callbacks.check()
    print(json.dumps(dict(sorted(callbacks.happened.items()))), file=rows, flush=True)


def _start(endpoint: str, total: int) -> Callbacks:
    callbacks = Callbacks(endpoint, total)
    fill_string_cache()
    callbacks.fill_caches()
    return callbacks


if __name__ == "__main__":
    main(sys.argv[1:])
