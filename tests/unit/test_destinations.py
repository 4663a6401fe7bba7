"""Where recordings are stored: what cannot work is refused, and no call id leaves its folder."""

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from call_recorder.answering.destinations import PLACEHOLDERS, Destination, DestinationRefused, Naming
from call_recorder.facts.identifiers import escape, unescape
from call_recorder.facts.storage_urls import PROBE, ObjectPointer

AT = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
CALL = "7a_257@193.45.63.102"
ESCAPED = "7a_5f257_40193_2e45_2e63_2e102"


def naming(call_id: str = CALL, conference_id: str | None = "stand-up") -> Naming:
    return Naming(call_id=call_id, conference_id=conference_id, application_key="app.one", at=AT, format="mp3")


@pytest.mark.parametrize(
    ("template", "url"),
    [
        ("s3://bucket/{callId}", f"s3://bucket/{ESCAPED}"),
        ("s3://my.bucket-1/a/{date}/{callId}.{format}", f"s3://my.bucket-1/a/2026/01/02/{ESCAPED}.mp3"),
        ("azure://account1/con-tainer/{conferenceId}/{callId}", f"azure://account1/con-tainer/stand-up/{ESCAPED}"),
        ("gs://bucket_name/{applicationKey}/{time}-{callId}", f"gs://bucket_name/app_2eone/030405-{ESCAPED}"),
    ],
)
def test_every_placeholder_of_a_url_has_its_value(template: str, url: str) -> None:
    assert Destination.parse(template).make_url(naming()) == url


def test_no_id_that_a_caller_chooses_becomes_the_name_of_a_probe() -> None:
    for template in ("s3://bucket/{conferenceId}/{callId}", "s3://bucket/{callId}-{conferenceId}"):
        assert PROBE not in Destination.parse(template).make_url(naming(f"{PROBE}01", f"{PROBE}01"))


REFUSED = {
    "write one of s3://": ["", "a/{callId}", "ftp://bucket/{callId}", "S3://bucket/{callId}", "https://b.com/{callId}"],
    "write s3://bucket/path/{callId}.{format}": ["s3://bucket", "s3://bucket/", "s3:///{callId}", "s3://B/{callId}"],
    "write s3://bucket/path": ["s3://{callId}/recording.mp3", "s3://Bucket/{callId}"],
    "write azure://account/container/path": ["azure://account/{callId}", "azure://account/container"],
    "an account's name has": ["azure://my-account/container/{callId}", "azure://account/con--tainer/{callId}"],
    "write gs://bucket/path": ["gs://b/{callId}"],
    "{callID} is no placeholder; write one of {callId}, {conferenceId}": ["s3://bucket/{callID}.mp3"],
    "{} is no placeholder": ["s3://bucket/{}{callId}"],
    "around the placeholders": ["s3://bucket/{callId", "s3://bucket/{callId}}", "s3://bucket/{callId}\n"],
    "use letters, digits": [f"s3://bucket/{path}/{{callId}}" for path in ("a b", "a?b", "%2e", "..", "", PROBE)],
    "put {callId} into the name": [f"s3://bucket/{name}" for name in ("my.mp3", "{date}/{time}", "{conferenceId}.mp3")],
    "end it with a file name": ["s3://bucket/{callId}/"],
}


@pytest.mark.parametrize(("mend", "template"), [(mend, each) for mend, several in REFUSED.items() for each in several])
def test_a_destination_that_cannot_work_is_refused_with_what_to_write(mend: str, template: str) -> None:
    with pytest.raises(DestinationRefused) as refusal:
        Destination.parse(template)

    assert mend in str(refusal.value)


@given(st.text())
def test_an_escaped_identifier_is_safe_and_can_be_read_back(identifier: str) -> None:
    """So two identifiers never share a file."""
    escaped = escape(identifier)

    assert escaped.isascii()
    assert not set(escaped) - set("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_")
    assert unescape(escaped) == identifier


@pytest.mark.parametrize("text", ["a/b", "_", "_zz", "_41", "_c3", "_2F", "会"])
def test_a_text_that_is_not_escaped_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        unescape(text)


@given(
    call_id=st.text(min_size=1, max_size=2048),
    conference_id=st.none() | st.text(min_size=1, max_size=64),
    parts=st.lists(st.sampled_from([f"{{{name}}}" for name in PLACEHOLDERS]), max_size=6),
)
def test_every_url_stays_in_its_folder_and_within_the_longest_key(
    call_id: str, conference_id: str | None, parts: list[str]
) -> None:
    named = naming(call_id, conference_id)
    destination = Destination.parse("/".join(["s3://bucket/folder", *parts, "{callId}.{format}"]))

    try:
        url = destination.make_url(named)
    except DestinationRefused:
        values = named.values()
        key = "/".join(["folder", *(values[part.strip("{}")] for part in parts), f"{values['callId']}.mp3"])
        assert len(key) > 1024
        return

    key = url.removeprefix("s3://bucket/")
    assert key.startswith("folder/")
    assert len(key.encode()) <= 1024
    assert not {"", ".", ".."} & set(key.split("/"))
    assert key.isprintable()


def test_a_call_id_beyond_the_longest_key_is_refused_and_not_cut() -> None:
    destination = Destination.parse("s3://bucket/{callId}")

    assert destination.make_url(naming(call_id="x" * 1024))
    with pytest.raises(DestinationRefused, match="too long"):
        destination.make_url(naming(call_id="x" * 1025))


@pytest.mark.parametrize(
    ("url", "pointer"),
    [
        ("gs://bucket/b.mp3", ("gs", "bucket", "b.mp3", "b.mp3")),
        ("azure://account/container/a/b.mp3", ("azure", "account/container", "a/b.mp3", "b.mp3")),
        ("https://storage.example/v1/b.mp3?sig=x/y", (None, None, None, "b.mp3")),
        ("s3://bucket", (None, None, None, "bucket")),
        ("azure://account/container", (None, None, None, "container")),
        ("", (None, None, None, "")),
    ],
)
def test_a_stored_files_url_is_split_into_its_parts(
    url: str, pointer: tuple[str | None, str | None, str | None, str]
) -> None:
    found = ObjectPointer.of(url)

    assert (found.storage, found.bucket, found.key, found.file_name) == pointer
    assert found.url == url
