import base64
import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from call_recorder.sinch.signature import (
    SignedRequest,
    decode_secret,
    sign,
)
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


def front_of_the_vector() -> Front:
    return Front(
        applications=Applications(application(key=VECTOR_KEY, secrets=VECTOR_SECRET)),
        settings=callback_settings(CALLBACK_PATH=VECTOR_PATH),
        clock=Clock(datetime(2014, 9, 24, 11, 0, tzinfo=UTC)),
    )


def replaced(event: dict[str, Any], **headers: str) -> dict[str, Any]:
    return event | {"headers": event["headers"] | {name.replace("_", "-"): text for name, text in headers.items()}}


def without(event: dict[str, Any], header: str) -> dict[str, Any]:
    return event | {"headers": {name: text for name, text in event["headers"].items() if name != header}}


def test_the_published_vector_gives_the_published_signature() -> None:
    signature = sign(
        VECTOR_SECRET,
        path=VECTOR_PATH,
        content_type="application/json",
        timestamp=VECTOR_TIMESTAMP,
        body=VECTOR_BODY,
    )

    assert signature == VECTOR_SIGNATURE


@pytest.mark.parametrize("scheme", ["application", "Application", "APPLICATION"])
def test_the_published_vector_passes_whatever_the_case_of_its_scheme(scheme: str) -> None:
    headers = {
        "content-type": "application/json",
        "x-timestamp": VECTOR_TIMESTAMP,
        "authorization": f"{scheme} {VECTOR_KEY}:{VECTOR_SIGNATURE}",
    }

    assert front_of_the_vector().status(sinch.delivered(VECTOR_BODY, headers)) == 200


def test_a_callback_without_a_body_is_signed_over_an_empty_md5() -> None:
    request = SignedRequest(path="/p", content_type="text/plain", timestamp=sinch.stamp(), body=b"")

    assert request.string_to_sign() == f"POST\n\ntext/plain\nx-timestamp:{sinch.stamp()}\n/p".encode()
    assert Front().status(sinch.signed(b"")) == 400


def test_a_well_signed_callback_passes() -> None:
    assert Front().status(sinch.signed(ICE)) == 200


@st.composite
def one_byte_changed(draw: st.DrawFn, original: bytes) -> bytes:
    position = draw(st.integers(0, len(original) - 1))
    byte = draw(st.integers(0, 255).filter(lambda byte: byte != original[position]))
    return original[:position] + bytes([byte]) + original[position + 1 :]


@given(one_byte_changed(ICE))
def test_one_changed_byte_of_the_body_is_refused(body: bytes) -> None:
    headers = sinch.signed(ICE)["headers"]

    assert Front().status(sinch.delivered(body, headers, encoded=True)) == 401


def header_with_one_byte_changed(header: str) -> st.SearchStrategy[str]:
    original: str = sinch.signed(ICE)["headers"][header]
    return one_byte_changed(original.encode()).map(lambda text: text.decode("latin-1"))


@given(header_with_one_byte_changed("content-type"))
def test_one_changed_byte_of_the_content_type_is_refused(content_type: str) -> None:
    assert Front().status(replaced(sinch.signed(ICE), content_type=content_type)) == 401


@given(header_with_one_byte_changed("x-timestamp"))
def test_one_changed_byte_of_the_timestamp_is_refused(timestamp: str) -> None:
    assert Front().status(replaced(sinch.signed(ICE), x_timestamp=timestamp)) == 401


@given(header_with_one_byte_changed("authorization").filter(lambda text: text.startswith("application ")))
def test_one_changed_byte_of_key_or_signature_is_refused(authorization: str) -> None:
    assert Front().status(replaced(sinch.signed(ICE), authorization=authorization)) == 401


@given(one_byte_changed(sinch.PATH.encode()).map(lambda path: path.decode("latin-1")))
def test_a_signature_over_another_path_is_refused(path: str) -> None:
    assert Front().status(sinch.signed(ICE, path=path)) == 401


@pytest.mark.parametrize("path", ["/prod/callbacks", "/callbacks/", "/callbacks?x=1", "/Callbacks"])
def test_only_the_public_path_counts_whatever_api_gateway_calls_it(path: str) -> None:
    event = sinch.signed(ICE, path=path) | {"rawPath": path}
    moved = sinch.signed(ICE) | {"rawPath": path}

    assert Front().status(event) == 401
    assert Front().status(moved) == 200


@given(st.binary(min_size=1, max_size=40).filter(lambda secret: secret != decode_secret(sinch.SECRET)))
def test_a_signature_under_another_secret_is_refused(secret: bytes) -> None:
    assert Front().status(sinch.signed(ICE, secret=base64.b64encode(secret).decode())) == 401


@given(st.text(st.characters(), max_size=300))
def test_whatever_stands_for_a_signature_is_refused_and_never_an_exception(signature: str) -> None:
    event = replaced(sinch.signed(ICE), authorization=f"application {sinch.APPLICATION}:{signature}")

    assert Front().status(event) == 401


@given(
    headers=st.dictionaries(
        st.sampled_from(["authorization", "x-timestamp", "content-type"]),
        st.text(st.characters(), max_size=60) | st.sampled_from(list(sinch.signed(ICE)["headers"].values())),
    ),
    body=st.none() | st.text(st.characters(), max_size=60),
    encoded=st.booleans(),
)
def test_no_unsigned_request_is_more_than_refused(headers: dict[str, str], body: str | None, encoded: bool) -> None:
    front = Front()

    assert front.status({"headers": headers, "body": body, "isBase64Encoded": encoded}) == 401
    assert front.telemetry.counts["SignatureFailures"] == 1


@pytest.mark.parametrize("event", [{}, {"headers": None, "body": None}])
def test_a_request_without_headers_is_refused(event: dict[str, Any]) -> None:
    assert Front().status(event) == 401


@pytest.mark.parametrize("header", ["authorization", "x-timestamp", "content-type"])
def test_a_missing_header_is_refused(header: str) -> None:
    assert Front().status(without(sinch.signed(ICE), header)) == 401


@pytest.mark.parametrize(
    "authorization",
    [
        f"Basic {sinch.APPLICATION}:{sinch.SECRET}",
        "Basic " + base64.b64encode(f"{sinch.APPLICATION}:{sinch.SECRET}".encode()).decode(),
        f"service {sinch.APPLICATION}:{{signature}}",
        f"{sinch.APPLICATION}:{{signature}}",
        f"application {sinch.APPLICATION}",
        f"application {sinch.APPLICATION}:",
        f"application {sinch.APPLICATION}:{{signature}}x",
        f"application {sinch.APPLICATION}:{{signature}} ",
        f"application {sinch.APPLICATION.upper()}:{{signature}}",
        f"application ../{sinch.APPLICATION}:{{signature}}",
        "application :{signature}",
        "",
        "\udcff",
    ],
)
def test_another_form_of_authorization_is_refused(authorization: str) -> None:
    event = sinch.signed(ICE)
    signature = event["headers"]["authorization"].rpartition(":")[2]

    assert Front().status(replaced(event, authorization=authorization.format(signature=signature))) == 401


def test_a_body_that_api_gateway_encoded_is_verified_as_sent() -> None:
    body = json.dumps(sinch.ice(custom="Grüße \U0001f4de"), ensure_ascii=False).encode()

    assert Front().status(sinch.signed(body, encoded=True)) == 200
    assert Front().status(sinch.signed(body)) == 200


def test_the_content_type_is_signed_as_it_came() -> None:
    event = sinch.signed(ICE, content_type="application/json; charset=utf-8")

    assert Front().status(event) == 200
    assert Front().status(replaced(event, content_type="application/json")) == 401


def test_a_content_type_that_no_encoding_knows_is_refused() -> None:
    assert Front().status(replaced(sinch.signed(ICE), content_type="application/json\udcff")) == 401


def test_current_and_previous_secret_are_both_good_and_no_third() -> None:
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


@pytest.mark.parametrize("window", [30, 300, 900])
@pytest.mark.parametrize("side", [-1, 1])
def test_the_window_is_closed_at_its_edges_on_both_sides(window: int, side: int) -> None:
    settings = callback_settings(SIGNATURE_WINDOW_SECONDS=str(window))

    def status(seconds: int) -> int:
        timestamp = sinch.stamp(sinch.NOW + side * timedelta(seconds=seconds))
        return Front(settings=settings).status(sinch.signed(ICE, timestamp=timestamp))

    assert status(window) == 200
    assert status(window + 1) == 401


@given(digits=st.text("0123456789", min_size=1, max_size=12), z=st.sampled_from(["Z", ""]))
def test_a_timestamp_may_have_any_fraction_and_no_z(digits: str, z: str) -> None:
    timestamp = f"{sinch.NOW:%Y-%m-%dT%H:%M:%S}.{digits}{z}"

    assert Front().status(sinch.signed(ICE, timestamp=timestamp)) == 200


def test_a_timestamp_without_z_is_utc() -> None:
    assert Front().status(sinch.signed(ICE, timestamp=f"{sinch.NOW:%Y-%m-%dT%H:%M:%S}")) == 200


@pytest.mark.parametrize(
    "timestamp",
    [
        "",
        "now",
        "2026-11-23",
        "2026-11-23 09:30:00Z",
        "2026-11-23T09:30:00+00:00",
        "2026-11-23T09:30:00.Z",
        "2026-13-23T09:30:00Z",
        "2026-11-31T09:30:00Z",
        "2026-11-23T25:30:00Z",
        "0000-00-00T00:00:00Z",
        "9999-12-31T24:00:00Z",
        "２０２６-11-23T09:30:00Z",
        "2026-11-23T09:30:00Z\n",
    ],
)
def test_what_is_no_timestamp_is_refused_even_when_signed(timestamp: str) -> None:
    assert Front().status(sinch.signed(ICE, timestamp=timestamp)) == 401


def test_a_refusal_says_nothing_to_the_sender_and_why_to_the_operator() -> None:
    front = Front()

    response = front(sinch.signed(ICE, secret=sinch.PREVIOUS_SECRET))

    assert response == {"statusCode": 401, "headers": {}, "body": ""}
    assert front.line.fields["problem"] == "signature does not match"
    assert front.telemetry.flushed == [{"event": "unreadable", "outcome": "refused"}]


@pytest.mark.parametrize("secret", ["", "not base64!", "YQ=", "ä"])
def test_a_secret_that_is_not_base64_is_told_without_repeating_it(secret: str) -> None:
    with pytest.raises(ValueError, match="paste it as the Sinch dashboard shows it") as refusal:
        decode_secret(secret)

    assert not secret or secret not in str(refusal.value)
