"""Sinch's signature: whose callback it is, that nothing in it was changed, and that it is new."""

import base64
import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from call_recorder.sinch.signature import SignedRequest, sign
from tests import sinch
from tests.fakes import Applications, Clock, Front, application, callback_settings

# The example that Sinch publishes with its description of signed callbacks.
VECTOR_KEY = "669E367E-6BBA-48AB-AF15-266871C28135"
VECTOR_SECRET = "BeIukql3pTKJ8RGL5zo0DA=="
VECTOR_PATH = "/sinch/callback/ace"
VECTOR_TIMESTAMP = "2014-09-24T10:59:41Z"
VECTOR_SIGNATURE = "Tg6fMyo8mj9pYfWQ9ssbx3Tc1BNC87IEygAfLbJqZb4="
VECTOR_BODY = (
    b'{"event":"ace","callid":"822aa4b7-05b4-4d83-87c7-1f835ee0b6f6_257",'
    b'"timestamp":"2014-09-24T10:59:41Z","version":1}'
)

ICE = json.dumps(sinch.ice()).encode()


def replaced(event: dict[str, Any], **headers: str | None) -> dict[str, Any]:
    """Return an event with other headers, or without those that are ``None``."""
    others = event["headers"] | {name.replace("_", "-"): text for name, text in headers.items()}
    return event | {"headers": {name: text for name, text in others.items() if text is not None}}


@pytest.mark.parametrize("scheme", ["application", "Application", "APPLICATION"])
def test_the_published_example_has_its_signature_and_passes(scheme: str) -> None:
    signature = sign(
        VECTOR_SECRET, path=VECTOR_PATH, content_type=sinch.JSON, timestamp=VECTOR_TIMESTAMP, body=VECTOR_BODY
    )
    assert signature == VECTOR_SIGNATURE
    front = Front(
        applications=Applications(application(key=VECTOR_KEY, secrets=VECTOR_SECRET)),
        settings=callback_settings(CALLBACK_PATH=VECTOR_PATH),
        clock=Clock(datetime(2014, 9, 24, 11, 0, tzinfo=UTC)),
    )
    headers = {
        "content-type": sinch.JSON,
        "x-timestamp": VECTOR_TIMESTAMP,
        "authorization": f"{scheme} {VECTOR_KEY}:{signature}",
    }

    assert front.status(sinch.delivered(VECTOR_BODY, headers)) == 200


def test_a_callback_without_a_body_is_signed_over_an_empty_md5() -> None:
    request = SignedRequest(path="/p", content_type="text/plain", timestamp=sinch.stamp(), body=b"")

    assert request.string_to_sign() == f"POST\n\ntext/plain\nx-timestamp:{sinch.stamp()}\n/p".encode()
    assert Front().status(sinch.signed(b"")) == 400


@st.composite
def one_byte_changed(draw: st.DrawFn, original: bytes) -> bytes:
    position = draw(st.integers(0, len(original) - 1))
    byte = draw(st.integers(0, 255).filter(lambda byte: byte != original[position]))
    return original[:position] + bytes([byte]) + original[position + 1 :]


@pytest.mark.parametrize("part", ["body", "path", "content_type", "x_timestamp", "authorization"])
@given(data=st.data())
def test_one_changed_byte_of_what_is_signed_is_refused(part: str, data: st.DataObject) -> None:
    event = sinch.signed(ICE)
    parts = {"body": ICE, "path": sinch.PATH.encode()} | {
        name.replace("-", "_"): text.encode() for name, text in event["headers"].items()
    }
    changed = data.draw(one_byte_changed(parts[part]))
    text = changed.decode("latin-1")
    match part:
        case "body":
            event = sinch.delivered(changed, event["headers"], encoded=True)
        case "path":
            event = sinch.signed(ICE, path=text)
        case _:
            assume(part != "authorization" or text.startswith("application "))
            event = replaced(event, **{part: text})

    assert Front().status(event) == 401


def test_a_body_that_api_gateway_encoded_is_verified_as_sent() -> None:
    body = json.dumps(sinch.ice(custom="Grüße \U0001f4de"), ensure_ascii=False).encode()

    assert Front().status(sinch.signed(body, encoded=True)) == 200
    assert Front().status(sinch.signed(body)) == 200


def test_current_and_previous_secret_are_valid_and_no_third() -> None:
    rotating = application(secrets=f"{sinch.SECRET}, {sinch.PREVIOUS_SECRET}")
    third = base64.b64encode(b"a third").decode()

    statuses = [
        Front(applications=Applications(rotating)).status(sinch.signed(ICE, secret=secret))
        for secret in (sinch.SECRET, sinch.PREVIOUS_SECRET, third)
    ]

    assert statuses == [200, 200, 401]


def test_the_key_of_one_application_does_not_open_another() -> None:
    other = application(key="other", secrets=sinch.PREVIOUS_SECRET)
    front = Front(applications=Applications(application(), other))

    assert front.status(sinch.signed(ICE, key="other", secret=sinch.SECRET)) == 401


@pytest.mark.parametrize("window", [30, 900])
@pytest.mark.parametrize("side", [-1, 1])
def test_the_window_ends_sharply_on_both_sides(window: int, side: int) -> None:
    settings = callback_settings(SIGNATURE_WINDOW_SECONDS=str(window))

    def status(seconds: int) -> int:
        timestamp = sinch.stamp(sinch.NOW + side * timedelta(seconds=seconds))
        return Front(settings=settings).status(sinch.signed(ICE, timestamp=timestamp))

    assert status(window) == 200
    assert status(window + 1) == 401


@given(fraction=st.just("") | st.from_regex(r"\.[0-9]{1,12}", fullmatch=True), z=st.sampled_from(["Z", ""]))
def test_a_timestamp_is_utc_with_any_fraction_and_with_or_without_z(fraction: str, z: str) -> None:
    timestamp = f"{sinch.NOW:%Y-%m-%dT%H:%M:%S}{fraction}{z}"

    assert Front().status(sinch.signed(ICE, timestamp=timestamp)) == 200


def test_a_refusal_gives_its_reason_to_the_operator_alone() -> None:
    front = Front()

    response = front(sinch.signed(ICE, secret=sinch.PREVIOUS_SECRET))

    assert response == {"statusCode": 401, "headers": {}, "body": ""}
    assert front.line.fields["problem"] == "signature does not match"
    assert front.telemetry.flushed == [{"event": "unreadable", "outcome": "refused"}]


@pytest.mark.parametrize(
    "authorization",
    [
        f"service {sinch.APPLICATION}:{{signature}}",
        f"{sinch.APPLICATION}:{{signature}}",
        f"application {sinch.APPLICATION}",
        f"application {sinch.APPLICATION}:{{signature}} ",
        f"application {sinch.APPLICATION.upper()}:{{signature}}",
        f"application ../{sinch.APPLICATION}:{{signature}}",
        "application :{signature}",
        f"application {sinch.APPLICATION}:\ud800{{signature}}",
    ],
)
def test_another_form_of_authorization_is_refused(authorization: str) -> None:
    event = sinch.signed(ICE)
    signature = event["headers"]["authorization"].rpartition(":")[2]

    assert Front().status(replaced(event, authorization=authorization.format(signature=signature))) == 401


@pytest.mark.parametrize(
    "timestamp",
    [
        *("", "2026-11-23 09:30:00Z", "2026-11-23T09:30:00+00:00", "2026-11-23T09:30:00.Z", "2026-11-31T09:30:00Z"),
        *("0000-00-00T00:00:00Z", "9999-12-31T24:00:00Z", "２０２６-11-23T09:30:00Z", "2026-11-23T09:30:00Z\n"),
    ],
)
def test_another_form_of_timestamp_is_refused_even_when_signed(timestamp: str) -> None:
    assert Front().status(sinch.signed(ICE, timestamp=timestamp)) == 401
