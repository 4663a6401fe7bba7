import base64
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from call_recorder.answering.destinations import (
    PLACEHOLDERS,
    Destination,
    DestinationRefused,
    Naming,
    check_credentials,
)
from call_recorder.facts.identifiers import (
    escape,
    unescape,
)
from call_recorder.facts.storage_urls import ObjectPointer
from call_recorder.facts.stores import Scheme

AZURE_KEY = base64.b64encode(bytes(range(64))).decode()
NAMING = Naming(
    call_id="7a_257@193.45.63.102",
    conference_id="stand-up",
    application_key="app.one",
    at=datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC),
    format="mp3",
)


@pytest.mark.parametrize(
    ("template", "url"),
    [
        ("s3://bucket/{callId}", "s3://bucket/7a_5f257_40193_2e45_2e63_2e102"),
        (
            "s3://my.bucket-1/recordings/{date}/{callId}.{format}",
            "s3://my.bucket-1/recordings/2026/01/02/7a_5f257_40193_2e45_2e63_2e102.mp3",
        ),
        (
            "azure://account1/con-tainer/{conferenceId}/{callId}.{format}",
            "azure://account1/con-tainer/stand-up/7a_5f257_40193_2e45_2e63_2e102.mp3",
        ),
        (
            "gs://bucket_name/{applicationKey}/{time}-{callId}.mp3",
            "gs://bucket_name/app_2eone/030405-7a_5f257_40193_2e45_2e63_2e102.mp3",
        ),
    ],
)
def test_each_store_takes_its_url_with_every_placeholder_filled_in(template: str, url: str) -> None:
    assert Destination.parse(template).url(NAMING) == url


def test_a_call_outside_a_conference_says_so_where_the_conference_is_named() -> None:
    naming = Naming(call_id="c", conference_id=None, application_key="a", at=NAMING.at, format="mp3")

    assert Destination.parse("s3://bucket/{conferenceId}/{callId}").url(naming) == "s3://bucket/no-conference/c"


@pytest.mark.parametrize(
    ("template", "mend"),
    [
        ("", "write one of s3://"),
        ("recordings/{callId}", "write one of s3://"),
        ("ftp://bucket/{callId}", "write one of s3://"),
        ("S3://bucket/{callId}", "write one of s3://"),
        ("https://bucket.s3.amazonaws.com/{callId}", "write one of s3://"),
        ("s3://bucket", "write s3://bucket/path/{callId}.{format}"),
        ("s3://bucket/", "write s3://bucket/path/{callId}.{format}"),
        ("s3:///{callId}", "write s3://bucket/path"),
        ("s3://Bucket/{callId}", "write s3://bucket/path"),
        ("s3://{callId}/recording.mp3", "write s3://bucket/path"),
        ("azure://account/{callId}", "write azure://account/container/path"),
        ("azure://account/container", "write azure://account/container/path"),
        ("azure://my-account/container/{callId}", "write azure://account/container/path"),
        ("azure://account/con--tainer/{callId}", "write azure://account/container/path"),
        ("gs://b/{callId}", "write gs://bucket/path"),
        ("s3://bucket/{callID}.mp3", "{callID} is no placeholder; there are {callId}, {conferenceId}"),
        ("s3://bucket/{}{callId}", "{} is no placeholder"),
        ("s3://bucket/{callId", "around the placeholders"),
        ("s3://bucket/{callId}}", "around the placeholders"),
        ("s3://bucket/a b/{callId}", "use letters, digits"),
        ("s3://bucket/a?b/{callId}", "use letters, digits"),
        ("s3://bucket/%2e/{callId}", "use letters, digits"),
        ("s3://bucket/../{callId}", "use letters, digits"),
        ("s3://bucket//{callId}", "use letters, digits"),
        ("s3://bucket/{callId}\n", "use letters, digits"),
        ("s3://bucket/my-recording.mp3", "put {callId} into the name"),
        ("s3://bucket/{date}/{time}.{format}", "put {callId} into the name"),
        ("s3://bucket/{conferenceId}.mp3", "put {callId} into the name"),
        ("s3://bucket/{callId}/", "end it with a file name"),
    ],
)
def test_a_destination_that_cannot_work_is_refused_with_what_to_write(template: str, mend: str) -> None:
    with pytest.raises(DestinationRefused) as refusal:
        Destination.parse(template)

    assert mend in str(refusal.value)


@pytest.mark.parametrize(
    ("scheme", "credentials"),
    [
        ("s3", "AKIA1:secret/with+signs=:eu-central-1"),
        ("s3", "AKIA1:secret:us-gov-west-1"),
        ("azure", AZURE_KEY),
        ("gs", "GOOG1:secret"),
    ],
)
def test_each_store_takes_its_credentials(scheme: Scheme, credentials: str) -> None:
    check_credentials(scheme, credentials)


@pytest.mark.parametrize(
    ("scheme", "credentials", "form"),
    [
        ("s3", AZURE_KEY, "write KEY:SECRET:REGION"),
        ("s3", "AKIA1:hush", "write KEY:SECRET:REGION"),
        ("s3", "AKIA1:hush:nowhere", "write KEY:SECRET:REGION"),
        ("s3", "AKIA1:hush:eu-west-1:SESSION", "write KEY:SECRET:REGION"),
        ("s3", "AKIA1:hu sh:eu-west-1", "write KEY:SECRET:REGION"),
        ("azure", "AKIA1:hush:eu-west-1", "write the storage account's access key"),
        ("azure", "AKIA1:hush", "write the storage account's access key"),
        ("azure", "not-base64!", "write the storage account's access key"),
        ("azure", "schlüssel", "write the storage account's access key"),
        ("gs", AZURE_KEY, "write KEY:SECRET"),
        ("gs", "AKIA1:hush:eu-west-1", "write KEY:SECRET"),
        ("gs", "", "write KEY:SECRET"),
    ],
)
def test_credentials_of_another_form_are_refused_without_repeating_them(
    scheme: Scheme, credentials: str, form: str
) -> None:
    with pytest.raises(DestinationRefused) as refusal:
        check_credentials(scheme, credentials)

    assert form in str(refusal.value)
    assert not credentials or credentials not in str(refusal.value)


HOSTILE = (
    "../../etc",
    "..",
    ".",
    "a/../b",
    "a\x00b",
    "%2e%2e%2f",
    "\U0001f4de" * 9,
    "a\\b",
    "a?b#c",
    "s3://x/y",
    "{date}",
)


@given(st.text() | st.sampled_from(HOSTILE))
def test_an_escaped_identifier_is_safe_and_comes_back_whole(identifier: str) -> None:
    escaped = escape(identifier)

    assert escaped.isascii()
    assert not set(escaped) - set("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_")
    assert unescape(escaped) == identifier


@given(st.text(), st.text())
def test_two_identifiers_never_share_a_file(one: str, other: str) -> None:
    assert (escape(one) == escape(other)) == (one == other)


@pytest.mark.parametrize("text", ["a b", "_", "_4", "_zz", "_41", "_c3", "ä", "a/b", "_2F", "会"])
def test_what_was_never_escaped_is_told_from_what_was(text: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        unescape(text)


@given(
    call_id=st.text(min_size=1, max_size=2048),
    conference_id=st.none() | st.text(min_size=1, max_size=64),
    parts=st.lists(st.sampled_from([f"{{{name}}}" for name in PLACEHOLDERS]), max_size=6),
)
def test_every_url_keeps_below_its_folder_and_within_the_longest_key(
    call_id: str, conference_id: str | None, parts: list[str]
) -> None:
    naming = Naming(call_id=call_id, conference_id=conference_id, application_key="app", at=NAMING.at, format="mp3")
    destination = Destination.parse("/".join(["s3://bucket/folder", *parts, "{callId}.{format}"]))

    try:
        url = destination.url(naming)
    except DestinationRefused:
        values = naming.values()
        key = "/".join(["folder", *(values[part.strip("{}")] for part in parts), f"{values['callId']}.mp3"])
        assert len(key) > 1024
        return

    key = url.removeprefix("s3://bucket/")
    assert key.startswith("folder/")
    assert len(key.encode()) <= 1024
    assert not {"", ".", ".."} & set(key.split("/"))
    assert key.isprintable()


def test_a_two_kilobyte_call_id_is_refused_rather_than_cut() -> None:
    with pytest.raises(DestinationRefused, match="too long"):
        Destination.parse("s3://bucket/{callId}").url(
            Naming(call_id="x" * 2048, conference_id=None, application_key="a", at=NAMING.at, format="mp3")
        )


@pytest.mark.parametrize(
    ("url", "pointer"),
    [
        ("s3://bucket/a/b.mp3", ("s3", "bucket", "a/b.mp3", "b.mp3")),
        ("gs://bucket/b.mp3", ("gs", "bucket", "b.mp3", "b.mp3")),
        ("azure://account/container/a/b.mp3", ("azure", "account/container", "a/b.mp3", "b.mp3")),
        ("https://storage.example/v1/b.mp3?sig=x/y", (None, None, None, "b.mp3")),
        ("s3://bucket", (None, None, None, "bucket")),
        ("s3:///key", (None, None, None, "key")),
        ("azure://account/container", (None, None, None, "container")),
        ("nonsense", (None, None, None, "nonsense")),
        ("", (None, None, None, "")),
    ],
)
def test_a_stored_files_url_is_taken_apart_as_far_as_it_tells(
    url: str, pointer: tuple[str | None, str | None, str | None, str]
) -> None:
    found = ObjectPointer.of(url)

    assert (found.storage, found.bucket, found.key, found.file_name) == pointer
    assert found.url == url
