"""The second part of the soak: callbacks pass through CallbackFunction, as ``functions/callback.py`` composes it.

Run as ``python -m local.soak.callbacks 100000``. It prints a line of JSON for each tenth, and one with what happened.
The function calls AWS with its own client; the fake AWS runs in another process. Time is simulated: ten callbacks
arrive in a second, so that the parameters of an application expire 30 times in a run.
"""

from __future__ import annotations

import os
import re
import socket
import sys
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, redirect_stdout
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from functools import partial
from itertools import count
from pathlib import Path
from random import Random
from typing import Final, TextIO, cast
from unittest import mock

from call_recorder.adapters.known_calls import MAX_REMEMBERED
from call_recorder.answering.application_cache import MAX_APPLICATIONS, ApplicationCache
from call_recorder.functions import callback
from local.fake_aws import run_process
from local.invocations import BUCKET, Event, make_environment, sign_callback
from local.simulator.calls import Application, Body, End, IncomingCall, encode_body, phone_to_number
from local.soak.applications import APPLICATIONS, KINDS, find_kind, make_application, make_phone_number
from local.soak.aws import PREFIX
from local.soak.measuring import Stopwatch, Tolerance, fill_string_cache, report, stay_on_one_processor

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

_BEGUN: Final = datetime(2026, 11, 23, 9, 0, tzinfo=UTC)
_TICKET: Final = re.compile(r"return\(([^)]+)\)")
_TALKED: Final = End("ANSWERED", "CALLERHANGUP")
_ENVIRONMENT: Final = make_environment(PREFIX)


class WrongAnswers(Exception):
    """Many callbacks of one kind got another status than they should, so the soak does not test what it should."""


@dataclass(frozen=True, slots=True)
class _Call:
    """A call of an application. ``kind`` is what the profile of the application does."""

    made: IncomingCall
    application: int

    @property
    def kind(self) -> str:
        return find_kind(self.application)


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
        environment = _ENVIRONMENT | {"AWS_ENDPOINT_URL": endpoint, "RECORDING_QUEUE_URL": f"{endpoint}/recordings"}
        with mock.patch.object(callback, "ApplicationCache", partial(ApplicationCache, clock=lambda: self._seconds)):
            self._handler = callback.compose(environment, clock=self._clock)

    def fill_caches(self) -> None:
        """Send the ICE of as many calls as the function remembers, from as many applications as it keeps.

        The calls of strangers follow until the function has listed the applications, which takes about a minute.
        """
        watch = Stopwatch()
        on_answer = range(KINDS.index("starts on answer"), MAX_REMEMBERED * len(KINDS) * 5 // 4, len(KINDS))
        calls = [self._make_call(number % APPLICATIONS) for number in (*range(MAX_APPLICATIONS), *on_answer)]
        self._send([(call.kind, self._sign_ice(call)) for call in calls], watch)
        listed = self._seconds + _LISTED_SECONDS
        while self._seconds < listed:
            self._send([self._make_stranger(calls[0]) for _ in range(CHUNK)], watch)
        self._done = 0
        self.happened.clear()

    def play(self, watch: Stopwatch) -> int:
        """Send the callbacks of some calls, and of strangers. Return how many there were."""
        before = self._done
        calls = [self._make_call(self._choose_application()) for _ in range(_CALLS)]
        answers = self._send([(call.kind, self._sign_ice(call)) for call in calls], watch)
        later = [
            (call.kind, self._sign(make_application(call.application), body))
            for call, answer in zip(calls, answers, strict=True)
            for body in self._make_later_callbacks(call, answer, next(self._numbers))
        ]
        later += [self._make_stranger(call) for call in calls for _ in range(_STRANGERS // _CALLS)]
        later += list(self._make_forged(calls[0]))
        self._random.shuffle(later)
        self._send(later, watch)
        return self._done - before

    def finish(self) -> Counter[str]:
        """Return the numbers of answers. Raises WrongAnswers unless almost all had the right status."""
        for sender, status in EXPECTED.items():
            answers = {key: number for key, number in self.happened.items() if key.startswith(f"{sender}: ")}
            if not answers or answers.get(f"{sender}: {status}", 0) < _EXPECTED_SHARE * sum(answers.values()):
                raise WrongAnswers(f"{sender}: expected {status}, got {answers}")
        return self.happened

    def _clock(self) -> datetime:
        return _BEGUN + timedelta(seconds=self._seconds)

    def _choose_application(self) -> int:
        """Return one of the applications that have called: a new one, or any of the earlier ones."""
        newest = min(MAX_APPLICATIONS + APPLICATIONS * self._done // self._total, APPLICATIONS - 1)
        first = newest - _NEWEST if self._random.random() < 0.5 else 0
        return self._random.randint(first, newest)

    def _make_call(self, application: int) -> _Call:
        call_id = f"{next(self._numbers):08x}-51a7-4d3c-9a5e-7d1f0b6c2e88"
        call = phone_to_number(make_phone_number(application), cli="+46700000001")
        headers, custom = {"recording-consent": "yes"}, f"a note on {call_id}"
        return _Call(replace(call, call_id=call_id, call_headers=headers, custom=custom), application)

    def _send(self, callbacks: list[tuple[str, Event]], watch: Stopwatch) -> list[str]:
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

    def _sign(self, application: Application, body: Body) -> Event:
        return sign_callback(application, encode_body(body), self._clock())

    def _sign_ice(self, call: _Call) -> Event:
        application = make_application(call.application)
        return self._sign(application, call.made.ice(application.key, self._clock()))

    def _make_stranger(self, call: _Call) -> tuple[str, Event]:
        """Return a callback that is signed under a made-up application key."""
        key = f"{next(self._numbers):08x}-made-up-{'x' * self._random.randint(0, 100)}"
        stranger = replace(make_application(0), key=key)
        return "made-up key", self._sign(stranger, call.made.ice(key, self._clock()))

    def _make_forged(self, call: _Call) -> Iterator[tuple[str, Event]]:
        """Yield callbacks that are refused for another reason than an unknown key, or cannot be read."""
        known = call.application - call.application % len(KINDS)  # an application that records all calls
        application, now = make_application(known), self._clock()
        body = call.made.ice(application.key, now)
        right, content = self._sign(application, body), encode_body(body)
        for number in range(_FORGED):
            another = make_application(self._random.randrange(0, APPLICATIONS, len(KINDS)))
            yield "forged", self._sign(replace(make_application(APPLICATIONS + number), key=another.key), body)
        yield "no header", right | {"headers": {}}
        yield "another body", right | {"body": right["body"] + " "}
        yield "late", sign_callback(application, content, now - timedelta(days=1))
        yield "no JSON", sign_callback(application, f"no JSON, {call.made.call_id}".encode(), now)
        yield "large", self._sign(application, body | {"custom": call.made.call_id * 1000})
        yield "encoded", sign_callback(application, content, now, encoded=True)

    def _make_later_callbacks(self, call: _Call, answer: str, number: int) -> Iterator[Body]:
        """Yield what Sinch sends after the answer to the ICE, and sometimes the ICE once more."""
        made, key, now = call.made, make_application(call.application).key, self._clock()
        ticket = _TICKET.search(answer or "")
        if ticket and number % 2:
            yield made.pie(key, now, {"menuId": "main", "type": "return", "value": ticket[1]})
        elif ticket:
            yield made.pie(key, now, {"menuId": "main", "type": "timeout"})
        yield made.ace(key, now)
        yield made.notify("recording_finished")
        yield made.notify("recording_available", destination=f"s3://{BUCKET}/{made.call_id}.mp3")
        yield made.dice(key, now, _TALKED, 42)
        match number % 5:
            case 0:
                yield made.ice(key, now)
            case 1:
                yield made.calling_error(40001, f"illegal in {made.call_id}")
            case 2:
                yield made.ace(key, now) | {"event": f"surprise {made.call_id}"}
            case 3:
                yield made.notify(f"unknown {made.call_id}")
            case _:
                yield made.notify("transcription_available", conferenceId=f"beside {made.call_id}")


@contextmanager
def run_aws() -> Iterator[str]:
    """Run the fake AWS in a process of its own during the block, and yield its URL.

    The backend that profiles name is a port that is taken and refuses connections.
    """
    with socket.socket() as refusing:
        refusing.bind(("127.0.0.1", 0))
        backend = f"https://127.0.0.1:{refusing.getsockname()[1]}/callbacks"
        with run_process("local.soak.aws", backend) as process:
            yield f"http://127.0.0.1:{int(cast('TextIO', process.stdout).readline())}"


def main(arguments: Sequence[str]) -> None:
    """Send as many callbacks as the arguments say; or be the fresh process that sends some for each line.

    The fresh process has the URL of the fake AWS as its second argument.
    """
    rows, total = sys.stdout, int(arguments[0])
    os.environ.update(_ENVIRONMENT)
    with Path(os.devnull).open("w") as sink, redirect_stdout(sink):
        if total == 0:
            report(_start(arguments[1], APPLICATIONS), total, (), rows)
            return
        with run_aws() as endpoint:
            stay_on_one_processor(1)
            report(_start(endpoint, total), total, [sys.executable, "-m", "local.soak.callbacks", "0", endpoint], rows)


def _start(endpoint: str, total: int) -> Callbacks:
    callbacks = Callbacks(endpoint, total)
    fill_string_cache()
    callbacks.fill_caches()
    return callbacks


if __name__ == "__main__":
    main(sys.argv[1:])
