"""Makes the events in ``events/``: one file per case, as API Gateway, SQS and EventBridge pass it to the functions.

`sam local invoke` and the tests use them. A signature is valid for minutes only, so each file contains the time at
which it was received: set the clock to ``read_arrival(event)``, or make a new event with ``make_event(name, now)``.
`make events` writes new ones to ``.local/events``; `make events TRACKED=1` replaces the files of the repository, which
is necessary only when their content changes.
"""

from __future__ import annotations

import argparse
import base64
import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import NAMESPACE_URL, uuid5

from pydantic import SecretStr

from call_recorder.answering import application as recorder
from call_recorder.answering.parameter_names import CREDENTIALS, PROFILE, SECRETS
from call_recorder.answering.policy import Policy
from call_recorder.facts.commands import CheckRecording
from call_recorder.facts.facts import Fact
from call_recorder.facts.from_callbacks import fact_from_callback
from call_recorder.facts.messages import write_message
from call_recorder.sinch.callbacks import DiceCallback, IceCallback, NotifyCallback, parse
from local.simulator.calls import (
    Application,
    Body,
    End,
    IncomingCall,
    app_to_app,
    app_to_conference,
    app_to_phone,
    app_to_sip,
    encode_body,
    phone_to_number,
)

EVENTS = Path(__file__).resolve().parent.parent / "events"
"""The folder of the repository's files."""

SIGNED = EVENTS.parent / ".local" / "events"
"""The folder of newly signed events, for invocations by hand."""

Event = dict[str, Any]

PUBLIC_PATH = "/callbacks"
BUCKET = "call-recorder-recordings"

APPLICATION = Application(
    "5a3c1e70-0b1d-4c55-9d7e-2f6a8b9c0d1e",
    SecretStr(base64.b64encode(b"it signs samples and nothing else").decode()),
)
"""The Sinch application of the samples. Its secret protects nothing."""

PARAMETERS: Mapping[str, str] = {
    SECRETS: APPLICATION.secret.get_secret_value(),
    CREDENTIALS: "SAMPLEACCESSKEY:sample-secret-key:us-east-1",
    PROFILE: json.dumps(
        {
            "destination": f"s3://{BUCKET}/recordings/{{date}}/{{callId}}.{{format}}",
            "transcription": {"enabled": True, "locale": "en-US"},
            "rules": [{"name": "everything", "record": True}],
            "routes": [
                {
                    "to": "+12025550100",
                    "action": {"name": "connectPstn", "number": "+46700000001", "cli": "+12025550100"},
                }
            ],
        }
    ),
}
"""The values in SSM of the samples' application, by the parameters' names."""

_STRANGER = Application("0e9d8c7b-6a5f-4e3d-8c2b-1a0f9e8d7c6b", APPLICATION.secret)
_IMPOSTOR = replace(APPLICATION, secret=SecretStr(base64.b64encode(b"the secret of somebody else").decode()))

_HOST = "a1b2c3d4e5.execute-api.us-east-1.amazonaws.com"
_ACCOUNT = "123456789012"
_REGION = "us-east-1"
_QUEUE_ARN = f"arn:aws:sqs:{_REGION}:{_ACCOUNT}:call-recorder-call-facts"
_LONG_AGO = timedelta(days=1)
_TALKED = End("ANSWERED", "CALLERHANGUP")


def _with_fixed_id(call: IncomingCall, name: str) -> IncomingCall:
    """Return the call with an id that is the same in every run."""
    return replace(call, call_id=str(uuid5(NAMESPACE_URL, name)))


_TO_APP = _with_fixed_id(replace(app_to_app("alice"), call_headers={"consent": "yes"}, custom="order 4711"), "app")
_TO_PHONE = _with_fixed_id(app_to_phone("+46700000001"), "phone")
_TO_SIP = _with_fixed_id(app_to_sip("alice@example.com"), "sip")
_TO_CONFERENCE = _with_fixed_id(app_to_conference("team-meeting"), "conference")
_TO_DID = _with_fixed_id(phone_to_number("+12025550100"), "did")
_TO_DID_WITHOUT_ROUTE = _with_fixed_id(phone_to_number("+12025550199"), "did without a route")


def _file_url(call: IncomingCall, at: datetime, ending: str = ".mp3") -> str:
    return f"s3://{BUCKET}/recordings/{at:%Y/%m/%d}/{call.call_id}{ending}"


def _ice(call: IncomingCall, at: datetime) -> Body:
    return call.ice(APPLICATION.key, at)


def _dice(call: IncomingCall, at: datetime) -> Body:
    return call.dice(APPLICATION.key, at, _TALKED, seconds=42)


def _available(call: IncomingCall, at: datetime, conference_id: str | None = None) -> Body:
    return call.notify("recording_available", conference_id=conference_id, destination=_file_url(call, at))


def _transcribed(call: IncomingCall, at: datetime) -> Body:
    return call.notify("transcription_available", destination=_file_url(call, at, "-transcript.json"))


def _pie(at: datetime) -> Body:
    result = {"menuId": "main", "type": "return", "value": "yes", "inputMethod": "dtmf"}
    return _TO_DID.pie(APPLICATION.key, at, result)


def _unknown_notification() -> Body:
    return _TO_APP.notify("recording_paused", destination="s3://elsewhere/file.mp3", reason="unknown here")


def _calling_error() -> Body:
    return _TO_APP.calling_error(40001, "Illegal SVAML")


@dataclass(frozen=True)
class _Callback:
    """A callback and its faults.

    Attributes:
        body: makes the body of a callback that is sent at a given time; a mapping becomes JSON.
        application: the application whose key and secret sign it.
        age: the time from its signature to its arrival.
        base64: whether API Gateway encodes the body in Base64.
        content_type: the header's value, which is signed too.
        unsigned: whether it has no signature.
    """

    body: Callable[[datetime], Body | bytes]
    application: Application = APPLICATION
    age: timedelta = timedelta()
    base64: bool = False
    content_type: str = "application/json"
    unsigned: bool = False


def _ice_to_app(at: datetime) -> Body:
    return _ice(_TO_APP, at)


_CALLBACKS: Mapping[str, _Callback] = {
    "ice-username": _Callback(_ice_to_app),
    "ice-number": _Callback(lambda at: _ice(_TO_PHONE, at)),
    "ice-sip": _Callback(lambda at: _ice(_TO_SIP, at)),
    "ice-conference": _Callback(lambda at: _ice(_TO_CONFERENCE, at)),
    "ice-did": _Callback(lambda at: _ice(_TO_DID, at)),
    "ice-did-without-route": _Callback(lambda at: _ice(_TO_DID_WITHOUT_ROUTE, at)),
    "ice-older-spelling": _Callback(
        lambda at: _ice(replace(_TO_APP, call_id_field="callId", to_type="Username", domain="MXP"), at),
        content_type="application/json; charset=utf-8",
    ),
    "ice-base64": _Callback(_ice_to_app, base64=True),
    "ice-bad-signature": _Callback(_ice_to_app, application=_IMPOSTOR),
    "ice-unsigned": _Callback(_ice_to_app, unsigned=True),
    "ice-stale": _Callback(_ice_to_app, age=timedelta(hours=1)),
    "ice-unknown-application": _Callback(lambda at: _TO_APP.ice(_STRANGER.key, at), application=_STRANGER),
    "ice-of-another-application": _Callback(lambda at: _TO_APP.ice(_STRANGER.key, at)),
    "ace": _Callback(lambda at: _TO_PHONE.ace(APPLICATION.key, at)),
    "pie": _Callback(_pie),
    "dice": _Callback(lambda at: _dice(_TO_PHONE, at)),
    "notify-recording-finished": _Callback(lambda _: _TO_APP.notify("recording_finished")),
    "notify-recording-available": _Callback(lambda at: _available(_TO_APP, at)),
    "notify-transcription-available": _Callback(lambda at: _transcribed(_TO_APP, at)),
    "notify-conference": _Callback(lambda at: _available(_TO_CONFERENCE, at, "team-meeting")),
    "notify-calling-error": _Callback(lambda _: _calling_error()),
    "notify-unknown-type": _Callback(lambda _: _unknown_notification()),
    "unknown-event": _Callback(lambda at: _ice_to_app(at) | {"event": "teleport"}),
    "no-event": _Callback(lambda _: {"callid": _TO_APP.call_id}),
    "not-json": _Callback(lambda _: b'{"event": "ice"'),
    "empty": _Callback(lambda _: b""),
}


def _fact(body: Body, at: datetime) -> str:
    """Return the message that CallbackFunction would send to the queue for a callback; its own code makes it."""
    content = encode_body(body)
    callback = parse(content)
    fact: Fact | None = None
    match callback:
        case IceCallback():
            known = recorder.Application.from_parameters(APPLICATION.key, PARAMETERS, own_bucket=BUCKET)
            fact = Policy(APPLICATION.key, known.recorder, at).answer_ice(callback).fact if known.recorder else None
        case DiceCallback() | NotifyCallback():
            fact = fact_from_callback(callback, application_key=APPLICATION.key, at=at, body=content)
        case _:
            pass
    if fact is None:
        raise ValueError("CallbackFunction sends no fact for this callback")
    return write_message(fact)


def _recorded_call(at: datetime) -> list[str]:
    bodies = [
        _ice_to_app(at),
        _dice(_TO_APP, at),
        _TO_APP.notify("recording_finished"),
        _available(_TO_APP, at),
        _transcribed(_TO_APP, at),
    ]
    return [_fact(body, at) for body in bodies]


def _object_created(url: str, at: datetime) -> str:
    """Return S3's event of a new object, see https://docs.aws.amazon.com/AmazonS3/latest/userguide/ev-events.html."""
    bucket, _, key = url.removeprefix("s3://").partition("/")
    detail = {
        "version": "0",
        "bucket": {"name": bucket},
        "object": {"key": key, "size": 169_632, "etag": _hash(key)[:32], "sequencer": "00617F08299329D189"},
        "request-id": _hash(key)[:16].upper(),
        "requester": _ACCOUNT,
        "source-ip-address": "192.0.2.20",
        "reason": "PutObject",
    }
    return json.dumps(_wrap_event("aws.s3", "Object Created", f"arn:aws:s3:::{bucket}", detail, at))


def _overdue(call: IncomingCall, at: datetime) -> str:
    return write_message(CheckRecording(recording_id=call.call_id, application_key=APPLICATION.key, at=at))


def _wrap_event(source: str, detail_type: str, resource: str, detail: Mapping[str, Any], at: datetime) -> Event:
    """Wrap a detail in an event as EventBridge does."""
    return {
        "version": "0",
        "id": str(uuid5(NAMESPACE_URL, f"{resource} {detail_type}")),
        "detail-type": detail_type,
        "source": source,
        "account": _ACCOUNT,
        "time": f"{at:%Y-%m-%dT%H:%M:%SZ}",
        "region": _REGION,
        "resources": [resource],
        "detail": dict(detail),
    }


_BATCHES: Mapping[str, Callable[[datetime], list[str]]] = {
    "recording-requested": lambda at: [_fact(_ice(_TO_PHONE, at), at)],
    "whole-call": _recorded_call,
    "whole-call-backwards": lambda at: _recorded_call(at)[::-1],
    "delivered-twice": lambda at: _recorded_call(at)[:1] * 2,
    "conference": lambda at: [
        _fact(_ice(_TO_CONFERENCE, at), at),
        _fact(_available(_TO_CONFERENCE, at, "team-meeting"), at),
    ],
    "call-not-recorded": lambda at: [_fact(_dice(_TO_DID_WITHOUT_ROUTE, at), at)],
    "object-created": lambda at: [
        _fact(_ice_to_app(at), at),
        _object_created(_file_url(_TO_APP, at), at),
        _object_created(_file_url(_TO_APP, at, "-transcript.json"), at),
    ],
    "object-of-nobody": lambda at: [_object_created(f"s3://{BUCKET}/recordings/nobodys.mp3", at)],
    "overdue": lambda at: [_fact(_ice(_TO_SIP, at - _LONG_AGO), at - _LONG_AGO), _overdue(_TO_SIP, at)],
    "calling-error": lambda at: [_fact(_ice_to_app(at), at), _fact(_calling_error(), at)],
    "unknown-type": lambda at: [_fact(_unknown_notification(), at)],
    "one-malformed": lambda at: [_recorded_call(at)[0], '{"fact": "nonsense"}', "not JSON"],
}

_ROUND = "watchdog-round"

NAMES = (*(f"callback-{name}" for name in _CALLBACKS), *(f"notify-{name}" for name in _BATCHES), _ROUND)
"""The names of all samples: ``callback-...`` is for CallbackFunction, ``notify-...`` for NotifyFunction and so on."""


def make_event(name: str, now: datetime) -> Event:
    """Return a sample that arrives at ``now``, rounded down to a second."""
    at = now.astimezone(UTC).replace(microsecond=0)
    if name == _ROUND:
        rule = f"arn:aws:events:{_REGION}:{_ACCOUNT}:rule/call-recorder-WatchdogFunctionRound"
        return _wrap_event("aws.events", "Scheduled Event", rule, {}, at)
    function, _, case = name.partition("-")
    if function == "callback":
        return _wrap_callback(name, _CALLBACKS[case], at)
    return {"Records": [_wrap_message(name, number, body, at) for number, body in enumerate(_BATCHES[case](at))]}


def load_event(name: str) -> Event:
    """Return a sample from its file."""
    event: Event = json.loads((EVENTS / f"{name}.json").read_text("utf-8"))
    return event


def read_arrival(event: Event) -> datetime:
    """Return the time at which an event arrived: at this time its signature is valid."""
    if "time" in event:
        return datetime.fromisoformat(event["time"])
    if "Records" in event:
        milliseconds = int(event["Records"][0]["attributes"]["SentTimestamp"])
    else:
        milliseconds = event["requestContext"]["timeEpoch"]
    return datetime.fromtimestamp(milliseconds / 1000, UTC)


def _wrap_callback(name: str, case: _Callback, at: datetime) -> Event:
    """Wrap a callback as an HTTP API does (payload format 2.0)."""
    body = case.body(at - case.age)
    content = body if isinstance(body, bytes) else encode_body(body)
    signed = case.application.sign_headers(content, path=PUBLIC_PATH, content_type=case.content_type, at=at - case.age)
    if case.unsigned:
        del signed["Authorization"]
    own = {header.lower(): value for header, value in signed.items()}
    transit = {
        "accept": "application/json",
        "content-length": str(len(content)),
        "host": _HOST,
        "user-agent": "sinch-simulator",
        "x-amzn-trace-id": f"Root=1-{int(at.timestamp()):08x}-{_hash(name)[:24]}",
        "x-forwarded-for": "192.0.2.10",
        "x-forwarded-port": "443",
        "x-forwarded-proto": "https",
    }
    event: Event = {
        "version": "2.0",
        "routeKey": f"POST {PUBLIC_PATH}",
        "rawPath": PUBLIC_PATH,
        "rawQueryString": "",
        "headers": dict(sorted((own | transit).items())),
        "requestContext": {
            "accountId": _ACCOUNT,
            "apiId": _HOST.partition(".")[0],
            "domainName": _HOST,
            "domainPrefix": _HOST.partition(".")[0],
            "http": {
                "method": "POST",
                "path": PUBLIC_PATH,
                "protocol": "HTTP/1.1",
                "sourceIp": "192.0.2.10",
                "userAgent": "sinch-simulator",
            },
            "requestId": _hash(name)[:15] + "=",
            "routeKey": f"POST {PUBLIC_PATH}",
            "stage": "$default",
            "time": at.strftime("%d/%b/%Y:%H:%M:%S +0000"),
            "timeEpoch": _to_milliseconds(at),
        },
    }
    if not content:
        return event | {"isBase64Encoded": False}
    text = base64.b64encode(content).decode() if case.base64 else content.decode()
    return event | {"body": text, "isBase64Encoded": case.base64}


def _wrap_message(name: str, number: int, body: str, at: datetime) -> Event:
    """Wrap a queue message as Lambda's event source does."""
    return {
        "messageId": str(uuid5(NAMESPACE_URL, f"{name} {number}")),
        "receiptHandle": base64.b64encode(f"{name} {number}".encode()).decode(),
        "body": body,
        "attributes": {
            "ApproximateReceiveCount": "1",
            "SentTimestamp": str(_to_milliseconds(at)),
            "SenderId": "AROASAMPLEROLE:call-recorder-callback",
            "ApproximateFirstReceiveTimestamp": str(_to_milliseconds(at) + 12),
        },
        "messageAttributes": {},
        "md5OfBody": hashlib.md5(body.encode(), usedforsecurity=False).hexdigest(),
        "eventSource": "aws:sqs",
        "eventSourceARN": _QUEUE_ARN,
        "awsRegion": _REGION,
    }


def _to_milliseconds(at: datetime) -> int:
    return int(at.timestamp()) * 1000


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def main(arguments: list[str] | None = None) -> None:
    """Write every sample with a new signature to .local/events, or over the files of the repository."""
    parser = argparse.ArgumentParser(prog="python -m local.sample_events", description=main.__doc__)
    parser.add_argument("--tracked", action="store_true", help="replace the files of the repository")
    folder = EVENTS if parser.parse_args(arguments).tracked else SIGNED
    now = datetime.now(UTC)
    folder.mkdir(parents=True, exist_ok=True)
    for name in NAMES:
        text = json.dumps(make_event(name, now), indent=2)
        (folder / f"{name}.json").write_text(text + "\n", "utf-8")
    print(f"{len(NAMES)} events are signed as of {now:%Y-%m-%d %H:%M:%S} UTC, in {folder}.")


if __name__ == "__main__":
    main()
