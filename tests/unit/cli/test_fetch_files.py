"""Files are read from our own places only, with URLs that each store accepts, and under names that are safe."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final
from urllib.parse import parse_qs, urlsplit

import boto3
import pytest
from hypothesis import given
from hypothesis import strategies as st

from call_recorder_cli.errors import CommandFailed
from call_recorder_cli.recordings import stored_files
from call_recorder_cli.recordings.finder import RecordingFinder
from call_recorder_cli.recordings.stored_files import MAX_LIFETIME, FileReader, StoredObject, list_objects
from call_recorder_cli.stack import Stack
from call_recorder_cli.time_ranges import DurationOption
from tests import sinch
from tests.facts import TRANSCRIPT_URL, URL, available, file_stored, known, named, requested, transcribed
from tests.fakes import BUCKET
from tests.loopback import LOOPBACK
from tests.unit.cli.conftest import Run
from tests.unit.cli.file_store import FileStore
from tests.unit.cli.test_recordings import APP, process, register

pytestmark = pytest.mark.allow_hosts([LOOPBACK])

CONTENT: Final = b"a recording" * 1000
AZURE_KEY: Final = base64.b64encode(b"the key of the account").decode()
AZURE: Final = "azure://account/calls/2026/one.mp3"
GOOGLE: Final = "gs://bucket-of-google/calls/one.mp3"
OTHER_S3: Final = "s3://bucket-of-a-customer/calls/one.mp3"
MD5: Final = base64.b64encode(hashlib.md5(CONTENT, usedforsecurity=False).digest()).decode()


@pytest.fixture
def outputs(outputs: dict[str, str]) -> dict[str, str]:
    outputs["RecordingsBucketName"] = BUCKET
    return outputs


@pytest.fixture
def store(monkeypatch: pytest.MonkeyPatch) -> Iterator[FileStore]:
    store = FileStore()
    store.content = CONTENT
    monkeypatch.setattr(stored_files, "AZURE_ENDPOINT", f"{store.url}/{{account}}")
    monkeypatch.setattr(stored_files, "GOOGLE_ENDPOINT", store.url)
    yield store
    store.close()


def configure(credentials: str, profile: Any = None) -> None:
    ssm = boto3.client("ssm")
    register(APP)
    for name, value in (("storage-credentials", credentials), ("recording-profile", json.dumps(profile or {}))):
        ssm.put_parameter(Name=f"/call-recorder/{APP}/{name}", Value=value, Type="SecureString")


@pytest.fixture
def sign(aws: boto3.Session, outputs: dict[str, str]) -> Callable[..., Any]:
    """Sign the URL of the first file that facts make known, and return the URL and its query."""

    def sign(*facts: Any, **options: Any) -> Any:
        stack = Stack.open("call-recorder", aws)
        [stored_object, *_] = list_objects(known(*facts), "recording")
        reader = FileReader(stack, known(*facts), RecordingFinder(stack))
        parts = urlsplit(reader.sign(stored_object, timedelta(minutes=15), **options).url)
        return parts, {name: value for name, [value] in parse_qs(parts.query).items()}

    return sign


def test_a_url_of_s3_has_the_region_of_the_bucket_and_signature_4(sign: Callable[..., Any]) -> None:
    bucket = boto3.client("s3", region_name="eu-north-1")
    bucket.create_bucket(Bucket=BUCKET, CreateBucketConfiguration={"LocationConstraint": "eu-north-1"})

    url, query = sign(requested(), file_stored())

    assert url.netloc == f"{BUCKET}.s3.eu-north-1.amazonaws.com"
    assert query["X-Amz-Algorithm"] == "AWS4-HMAC-SHA256"
    assert query["X-Amz-Credential"].split("/")[2:] == ["eu-north-1", "s3", "aws4_request"]
    assert (query["X-Amz-Expires"], query["X-Amz-SignedHeaders"]) == ("900", "host")
    _, query = sign(requested(), file_stored(), with_checksum=True)
    assert query["X-Amz-SignedHeaders"] == "host;x-amz-checksum-mode"


def test_another_bucket_is_read_with_the_applications_credentials_and_region(sign: Callable[..., Any]) -> None:
    configure("AKIDOFAPP:secret:ap-south-1")

    url, query = sign(requested(url=OTHER_S3))

    assert url.netloc == "bucket-of-a-customer.s3.ap-south-1.amazonaws.com"
    assert query["X-Amz-Credential"].startswith("AKIDOFAPP/")
    assert "X-Amz-Security-Token" not in query


def test_azure_and_google_are_signed_by_the_storage_credentials(sign: Callable[..., Any]) -> None:
    configure(AZURE_KEY)
    url, query = sign(requested(url="azure://account/calls/a b.mp3"))
    assert f"{url.scheme}://{url.netloc}{url.path}" == "https://account.blob.core.windows.net/calls/a%20b.mp3"
    assert (query["sp"], query["spr"], query["sr"]) == ("r", "https", "b")
    assert datetime.fromisoformat(query["se"]) - datetime.now(UTC) < timedelta(minutes=16)

    boto3.client("ssm").put_parameter(
        Name=f"/call-recorder/{APP}/storage-credentials", Value="GOOG1E:secret", Type="SecureString", Overwrite=True
    )
    url, query = sign(requested(url=GOOGLE))
    assert f"{url.netloc}{url.path}" == "storage.googleapis.com/bucket-of-google/calls/one.mp3"
    assert query["X-Amz-Credential"].split("/")[0] == "GOOG1E"


STRANGE: Final[list[tuple[str, list[Any]]]] = [
    ("in an account that only a notification names", [available(url="azure://stranger/calls/one.mp3")]),
    ("in a bucket that only a notification names", [requested(), available(named("x"), "s3://stranger/one.mp3")]),
    ("the file of another recording", [available(url=f"s3://{BUCKET}/recordings/of-another.mp3")]),
    ("the file that nobody owns", [available(url=f"s3://{BUCKET}/recordings/of-nobody.mp3")]),
    ("no storage", [available(url="https://stranger.example/one.mp3")]),
]


@pytest.mark.parametrize("facts", [facts for _, facts in STRANGE], ids=[name for name, _ in STRANGE])
def test_a_place_that_only_a_notification_names_is_not_read(sign: Callable[..., Any], facts: list[Any]) -> None:
    configure(AZURE_KEY)
    process(requested(named("another"), f"s3://{BUCKET}/recordings/of-another.mp3"))

    with pytest.raises(CommandFailed, match=r"names|no storage"):
        sign(*(fact.model_copy(update={"recording_id": "x", "call_id": "x"}) for fact in facts))


def test_a_place_is_ours_by_the_profile_or_by_the_table_of_places(sign: Callable[..., Any]) -> None:
    boto3.client("s3").create_bucket(Bucket=BUCKET, CreateBucketConfiguration={"LocationConstraint": "eu-west-1"})
    configure(AZURE_KEY, {"destination": "azure://account/calls/{callId}.mp3"})
    elsewhere = f"s3://{BUCKET}/recordings/renamed.mp3"
    process(available(url=elsewhere))

    assert sign(available(url=AZURE))[0].path == "/calls/2026/one.mp3"
    assert sign(available(url=elsewhere))[0].path == "/recordings/renamed.mp3"


@pytest.mark.parametrize(("url", "credentials"), [(AZURE, AZURE_KEY), (GOOGLE, "GOOG1E:secret")])
def test_a_file_in_another_store_is_downloaded_and_checked(
    run: Run, store: FileStore, tmp_path: Path, url: str, credentials: str
) -> None:
    configure(credentials)
    tmp_path /= "made for them"
    process(requested(url=url), available(url=url))
    store.headers = {"Content-MD5": MD5, "x-goog-hash": f"md5={MD5}"}
    store.cuts = [4000]
    words = ("recordings", "download", "4f0c1be2-51a7-4d3c-9a5e-7d1f0b6c2e88", "--to", f"{tmp_path}/")

    cut = run(*words)
    assert (cut.code, "goes on there" in cut.err) == (5, True)
    printed = json.loads(run(*words, "--json").out)["files"]

    assert [(each["size"], each["verifiedBy"]) for each in printed] == [(len(CONTENT), "md5")]
    assert Path(printed[0]["path"]).read_bytes() == CONTENT
    refused = run(*words)
    assert (refused.code, "pass --force to overwrite it" in refused.err) == (1, True)
    assert run(*words, "--force").code == 0
    assert all(credentials.rpartition(":")[2] not in text for text in (*store.paths, cut.err, refused.err))


def test_a_url_is_printed_after_a_look_whether_the_file_is_there(run: Run, store: FileStore) -> None:
    configure(AZURE_KEY)
    process(requested(url=AZURE), available(url=AZURE))
    words = ("recordings", "url", "4f0c1be2-51a7-4d3c-9a5e-7d1f0b6c2e88")

    assert run(*words).out.startswith(f"{store.url}/account/calls/2026/one.mp3?")
    store.status, store.error = 404, b"<Code>BlobNotFound</Code>"
    refused = run(*words)
    assert (refused.code, refused.out) == (3, "")
    assert "no such file (BlobNotFound)" in refused.err


def test_what_is_missing_is_said(run: Run, tmp_path: Path) -> None:
    register(APP)
    process(requested(url=AZURE))
    recording = "4f0c1be2-51a7-4d3c-9a5e-7d1f0b6c2e88"

    assert "no storage-credentials" in run("recordings", "url", recording).err
    assert "has no transcript" in run("recordings", "url", recording, "--transcript").err
    assert "There is no folder" in run("recordings", "download", recording, "--to", str(tmp_path / "no" / "x")).err


def test_a_place_that_cannot_be_written_is_named_without_its_number(run: Run, store: FileStore, tmp_path: Path) -> None:
    configure(AZURE_KEY)
    process(requested(url=AZURE), available(url=AZURE))
    (tmp_path / "46700000002").touch()

    for target, says in (("46700000002", "*********02 exists"), ("46700000002/", "*********02: File exists.")):
        refused = run("recordings", "download", sinch.CALL, "--to", f"{tmp_path}/{target}")
        assert (refused.code, refused.out) == (1, "")
        assert says in refused.err


def test_the_files_and_transcripts_of_a_recording_are_listed_once() -> None:
    recording = known(requested(), file_stored(), available(), transcribed())

    assert [each.url for each in list_objects(recording, "recording")] == [URL]
    assert [each.url for each in list_objects(recording, "transcript")] == [TRANSCRIPT_URL]
    # Sinch may announce a file without its name, and nobody may report it at all.
    assert [each.url for each in list_objects(known(requested(), available(url=None)), "recording")] == [URL]
    assert [each.url for each in list_objects(known(requested()), "recording")] == [URL]


@given(st.text(), st.text(), st.sampled_from([".mp3", "-transcript.json", ".exe", "/..", ""]), st.booleans())
def test_no_id_and_no_url_makes_a_name_that_leaves_its_folder(
    recording_id: str, name: str, ending: str, single: bool
) -> None:
    chosen = StoredObject("recording", name, f"s3://bucket/{name}{ending}").choose_name(recording_id, single=single)

    assert Path("folder", chosen).parent == Path("folder")
    assert chosen.isascii()
    assert chosen.isprintable()
    assert len(chosen) < 200
    assert not chosen.endswith(".exe")


@pytest.mark.parametrize(("text", "seconds"), [("90s", 90), ("15m", 900), ("7d", 604_800)])
def test_a_lifetime_has_a_unit(text: str, seconds: int) -> None:
    assert DurationOption(longest=MAX_LIFETIME).convert(text, None, None).total_seconds() == seconds


@pytest.mark.parametrize("text", ["15", "8d", "169h", "0m", "-1m", "1w", ""])
def test_a_lifetime_of_more_than_seven_days_is_refused(run: Run, text: str) -> None:
    assert run("recordings", "url", "x", "--expires", text).code == 2
