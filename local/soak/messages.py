"""Writes the queue messages of calls of every kind: texts with marks, which each wave replaces with ids of its own."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from random import Random
from typing import Any, Final

from call_recorder.facts.call_details import (
    AskedConsent,
    AwaitedAnswer,
    CallEnd,
    CallingError,
    CallStart,
    Consent,
    KeptHeader,
    Notification,
    RecordingRequest,
    WithdrawnAnswer,
)
from call_recorder.facts.commands import CheckLocation, CheckRecording
from call_recorder.facts.facts import (
    AnswerRefusedFact,
    CallDecidedFact,
    CallEndedFact,
    FileStoredFact,
    NotifiedFact,
    ObjectStoredFact,
    RecordingAvailableFact,
    RecordingFinishedFact,
    TranscriptionAvailableFact,
    UploaderKeyChangedFact,
)
from call_recorder.facts.identifiers import bridge_conference_id
from call_recorder.facts.messages import QueueMessage, write_message
from local.invocations import BUCKET, format_object_created
from local.soak.applications import APPLICATIONS

WAVES_A_DAY: Final = 20

_DAY: Final = datetime(2026, 11, 23, tzinfo=UTC)
BEGUN: Final = _DAY + timedelta(hours=9)
LATER: Final = BEGUN + timedelta(hours=8)
"""The times of a wave: when its calls begin, and when the watchdog finds what is overdue."""

_CALL: Final = "ca11ca11"
_APPLICATION: Final = "a991ca7e"
_KEY: Final = f"{_APPLICATION}-0f3e-4a86-b7a4-0c9e2f5d8a13"
_RECORDED_CALLS: Final = 6
_DUPLICATES: Final = 0.04
_JITTER: Final = 2.5
"""How many stages of its call a message may come too early."""

_END, _STORED, _OVERDUE = 4, 6, 20


@dataclass(frozen=True, slots=True)
class Message:
    """A queue message. A broken one can never be taken."""

    body: str
    broken: bool = False


@dataclass(frozen=True, slots=True)
class _Template:
    """The text of a message with marks, and the stage of the call in which it usually comes."""

    stage: int
    text: str
    broken: bool = False


def find_day(wave: int) -> timedelta:
    """Return how long after the first day the calls of a wave are."""
    return timedelta(days=wave // WAVES_A_DAY)


class Waves:
    """Makes the messages of waves of calls. A wave has a call of each kind, and several of the most usual one."""

    def __init__(self) -> None:
        self._calls = [*([_make_recorded_call()] * _RECORDED_CALLS), *_make_kinds().values()]
        self._random = Random(1)  # noqa: S311 - the order of messages keeps no secret
        self.calls = len(self._calls)

    def make(self, wave: int) -> list[Message]:
        """Return the messages of a wave in the order of their delivery: some come early, some twice."""
        day = _DAY + find_day(wave)
        dashes, slashes = f"{day:%Y-%m-%d}", f"{day:%Y/%m/%d}"
        made: list[tuple[float, Message]] = []
        for index, templates in enumerate(self._calls):
            number = wave * self.calls + index
            call, application = f"{number:08x}", f"{number % APPLICATIONS:08x}"
            for template in templates:
                body = (
                    template.text.replace(_CALL, call)
                    .replace(_APPLICATION, application)
                    .replace("2026-11-23", dashes)
                    .replace("2026/11/23", slashes)
                )
                message = Message(body, template.broken)
                times = 1 + (self._random.random() < _DUPLICATES)
                made += [(template.stage - _JITTER * self._random.random(), message) for _ in range(times)]
        made.sort(key=lambda each: each[0])
        return [message for _, message in made]


def _at(seconds: float) -> datetime:
    return BEGUN + timedelta(seconds=seconds)


def _call(suffix: str = "51a7-4d3c-9a5e-7d1f0b6c2e88") -> str:
    return f"{_CALL}-{suffix}"


def _about(call_id: str | None = None, conference_id: str | None = None, key: str = _KEY) -> dict[str, Any]:
    call_id = call_id or _call()
    return {
        "recording_id": conference_id or call_id,
        "application_key": key,
        "call_id": call_id,
        "conference_id": conference_id,
    }


def _url(name: str = _CALL, end: str = ".mp3") -> str:
    return f"s3://{BUCKET}/recordings/{_KEY}/2026/11/23/{name}{end}"


def _start() -> CallStart:
    return CallStart(
        at=_at(0),
        from_="+46700000001",
        to="+12025550100",
        to_type="number",
        domain="pstn",
        origination_type="pstn",
        custom=f"a note on {_CALL}",
    )


def _request(url: str | None = None, seconds: float = 1) -> RecordingRequest:
    return RecordingRequest(
        at=_at(seconds),
        rule="everything",
        destination_url=url or _url(),
        format="mp3",
        notification_events=True,
        transcription=True,
        locale="en-US",
        retention_days=90,
    )


def _consent(outcome: Any = "accepted", seconds: float = 5) -> Consent:
    return Consent(at=_at(seconds), kind="menu", rule="asked", outcome=outcome, prompt="May we record?", key="1")


def _write(stage: int, message: QueueMessage) -> _Template:
    return _Template(stage, write_message(message))


def _decided(stage: int = 0, about: dict[str, Any] | None = None, **parts: Any) -> _Template:
    return _write(stage, CallDecidedFact(**(about or _about()), **parts))


def _ended(about: dict[str, Any] | None = None, result: str = "ANSWERED") -> _Template:
    end = CallEnd(at=_at(60), result=result, reason="CALLERHANGUP", duration=50, charge="0.0175", charge_currency="EUR")
    return _write(_END, CallEndedFact(**(about or _about()), end=end))


def _finished(about: dict[str, Any] | None = None) -> _Template:
    return _write(_END, RecordingFinishedFact(**(about or _about()), at=_at(61)))


def _available(about: dict[str, Any] | None = None, url: str | None = None) -> _Template:
    fact = RecordingAvailableFact(**(about or _about()), at=_at(70), destination=url or _url())
    return _write(_STORED, fact)


def _transcribed(about: dict[str, Any] | None = None) -> _Template:
    url = _url(end="-transcript.json")
    return _write(_STORED, TranscriptionAvailableFact(**(about or _about()), at=_at(80), destination=url))


def _object(url: str, size: int = 48_123) -> _Template:
    """Return the event of the bucket about an object."""
    return _Template(_STORED, format_object_created(url, _at(69), size=size, etag=f"{_CALL}d41d8cd98f00b204e9800998"))


def _check(recording_id: str | None = None) -> _Template:
    return _write(_OVERDUE, CheckRecording(recording_id=recording_id or _call(), application_key=_KEY, at=LATER))


def _add_later_field(template: _Template) -> _Template:
    """Return a message with fields that a later version has added."""
    message = json.loads(template.text)
    return _Template(template.stage, json.dumps(message | {"laterField": {"of": _CALL, "numbers": [1, 2.5, None]}}))


def _make_recorded_call() -> list[_Template]:
    return [
        _decided(call=_start(), request=_request()),
        _finished(),
        _object(_url()),
        _available(),
        _object(_url(end="-transcript.json"), 1_234),
        _transcribed(),
        _ended(),
    ]


def _make_kinds() -> dict[str, list[_Template]]:
    """Return the messages of one call, or of one conference, of each kind."""
    bridge = _about(conference_id=bridge_conference_id(_call()))
    beside = _about(conference_id=f"beside {_CALL}")
    other = _about(key=f"{_APPLICATION}-another")
    ringing = _about(_call("0000-4d3c-9a5e-7d1f0b6c2e88"))
    headers = (KeptHeader(name="department", values=(f"of {_CALL}",)),)
    asked = AskedConsent(at=_at(0), rule="asked", question="0a1b2c3d")
    awaited = AwaitedAnswer(at=_at(0), rule="on answer")
    unattributed = _url(f"unknown-{_CALL}")
    changed = UploaderKeyChangedFact(at=_at(0), user="uploader", key=f"…{_CALL}", step="handed-out")
    return {
        "asked by a menu": [
            _decided(call=_start(), asked=asked.model_copy(update={"headers": headers})),
            _decided(1, bridge, call=_start(), consent=_consent(), request=_request()),
            _finished(bridge),
            _available(bridge),
            _object(_url()),
            _ended(),
        ],
        "declined": [
            _decided(call=_start(), asked=asked),
            _decided(1, call=_start(), consent=_consent("declined")),
            _ended(),
        ],
        "recorded on answer": [
            _decided(call=_start(), awaited=awaited.model_copy(update={"consent": _consent()})),
            _decided(1, consent=_consent(), request=_request(seconds=9)),
            _object(_url()),
            _ended(),
        ],
        "not recorded on answer": [_decided(call=_start(), awaited=awaited), _ended(), _check()],
        "withdrawn": [
            _decided(call=_start(), awaited=awaited),
            _decided(1, withdrawn=WithdrawnAnswer(at=_at(2), verified=True)),
            _decided(1, ringing, withdrawn=WithdrawnAnswer(at=_at(2), verified=False)),
            _ended(),
        ],
        "a conference": _make_conference(),
        "a notification before its call": [
            _write(-3, RecordingFinishedFact(**beside, at=_at(61))),
            _decided(call=_start(), request=_request()),
            _available(beside),
            _ended(beside),
        ],
        "a notification of an unknown call": [
            _finished(_about(conference_id=f"unknown {_CALL}")),
            _ended(),
            _check(),
            _check(f"unknown {_CALL}"),
        ],
        "a missing file": [_decided(call=_start(), request=_request()), _finished(), _ended(), _check()],
        "a refused answer": _make_refused_answer(),
        "a file of no call": [
            _object(unattributed),
            _write(_OVERDUE, CheckLocation(location=unattributed.removesuffix(".mp3"), at=LATER)),
            _write(0, changed),
        ],
        "one call of two applications": [
            _decided(call=_start(), request=_request()),
            _decided(1, other, call=_start(), request=_request(_url(f"another-{_CALL}"))),
            _available(other, _url(f"another-{_CALL}")),
            _available(),
            _ended(other),
        ],
        "not recorded": [_ended()],
        "of a later version": [_add_later_field(each) for each in _make_recorded_call()],
        "broken": _make_broken_messages(),
    }


def _make_conference() -> list[_Template]:
    conference, url = f"stand-up {_CALL}", _url(f"conference-{_CALL}")
    withdrawn = WithdrawnAnswer(at=_at(1), verified=True)
    made = []
    for number in range(3):
        about = _about(_call(f"{number:04}-4d3c-9a5e-7d1f0b6c2e88"), conference)
        made += [_decided(0, about, call=_start(), request=_request(url), withdrawn=withdrawn), _ended(about)]
    about = _about(conference_id=conference)
    return [*made, _finished(about), _available(about, url), _object(url)]


def _make_refused_answer() -> list[_Template]:
    error = CallingError(at=_at(2), code="40001", message=f"illegal answer to {_CALL}", user="alice")
    unknown = [Notification(at=_at(3), type=kind, error_message=f"heard in {_CALL}") for kind in ("amd", "amd_beep")]
    stored = ObjectStoredFact(at=_at(69), url=_url(), size=0, checksum="d41d8cd98f00b204e9800998ecf8427e")
    return [
        _decided(call=_start(), request=_request()),
        _write(2, AnswerRefusedFact(**_about(), error=error)),
        *(_write(2, NotifiedFact(**_about(), notification=each)) for each in unknown),
        _write(_STORED, FileStoredFact(**_about(), stored=stored)),
        _ended(),
        _check(),
    ]


def _make_broken_messages() -> list[_Template]:
    ids = f'"recordingId":"{_CALL}","applicationKey":"{_APPLICATION}","callId":"{_CALL}"'
    texts = (
        f"no JSON, {_CALL}",
        f'{{"fact":"{_CALL}"}}',
        f'{{"fact":"call-decided",{ids}}}',
        f'{{"fact":"recording-finished",{ids},"at":"9999-12-31T23:59:59Z"}}',
        f'{{"fact":"call-ended",{ids},"end":{{"at":"2026-11-23T09:30:00Z","duration":-1}}}}',
        f'{{"fact":"recording-finished",{ids},"at":"2026-11-23T09:30:00Z","":0}}',
    )
    return [_Template(1, text, broken=True) for text in texts]
