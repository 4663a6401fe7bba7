"""A download ends with the file as the store has it, wherever it is cut off, or with a sentence."""

from __future__ import annotations

import hashlib
import re
import stat
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given
from hypothesis import strategies as st

from call_recorder_cli.errors import CommandFailed, ExitCode, TryAgain
from call_recorder_cli.recordings.transfers import SignedUrl, fetch, look_at
from tests.loopback import LOOPBACK, closed_port
from tests.unit.cli.file_store import FileStore, Request

pytestmark = pytest.mark.allow_hosts([LOOPBACK])


@pytest.fixture(scope="module")
def server() -> Iterator[FileStore]:
    store = FileStore()
    yield store
    store.close()


@pytest.fixture
def store(server: FileStore) -> FileStore:
    server.content, server.cuts, server.etag, server.status = b"recording " * 100, [], None, 200
    server.knows_ranges, server.received = True, []
    return server


def attempt(store: FileStore, target: Path) -> str | None:
    """Return the sentence with which an attempt ended, if it failed."""
    try:
        fetch(store.signed(), target, lambda done, whole: None)
    except CommandFailed as error:
        return str(error)
    return None


@given(content=st.binary(max_size=300), cuts=st.lists(st.integers(0, 300), max_size=6), changes=st.booleans())
def test_a_download_cut_anywhere_and_resumed_equals_the_file(
    server: FileStore, content: bytes, cuts: list[int], changes: bool
) -> None:
    server.content, server.cuts, server.etag, server.status, server.knows_ranges = content, list(cuts), None, 200, True
    with TemporaryDirectory() as folder:
        target = Path(folder) / "call.mp3"
        for number in range(len(cuts) + 1):
            if attempt(server, target) is None:
                break
            assert not target.exists()
            if changes and number == 0:
                server.content = content[::-1] + b"!"

        assert target.read_bytes() == server.content
        assert [path.name for path in target.parent.iterdir()] == ["call.mp3"]


def test_a_second_attempt_asks_for_the_rest_of_this_version_only(store: FileStore, tmp_path: Path) -> None:
    store.cuts = [600]
    assert "cut off after 600 of 1000 bytes: repeat the command" in str(attempt(store, tmp_path / "a.mp3"))
    [part] = tmp_path.iterdir()
    assert stat.S_IMODE(part.stat().st_mode) == 0o600

    assert attempt(store, tmp_path / "a.mp3") is None
    rest = store.received[-1]
    assert (rest["range"], rest["if-match"], rest["x-signed"]) == ("bytes=600-", store.current_etag, "too")


def test_the_bytes_of_another_version_are_thrown_away(store: FileStore, tmp_path: Path) -> None:
    store.cuts = [600]
    attempt(store, tmp_path / "a.mp3")
    store.content = store.content.swapcase()

    assert attempt(store, tmp_path / "a.mp3") is None
    assert (tmp_path / "a.mp3").read_bytes() == store.content


def test_a_file_that_changes_between_two_requests_is_fetched_anew(
    store: FileStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store.cuts = [600]
    attempt(store, tmp_path / "a.mp3")
    answer = Request._answer

    def change_after(self: Request, status: int, body: bytes, start: int | None = None) -> None:
        answer(self, status, body, start)
        store.content = b"another recording"

    monkeypatch.setattr(Request, "_answer", change_after)
    assert attempt(store, tmp_path / "a.mp3") is None
    assert (tmp_path / "a.mp3").read_bytes() == b"another recording"


def test_a_store_without_ranges_sends_the_whole_file_again(store: FileStore, tmp_path: Path) -> None:
    store.cuts, store.knows_ranges = [600], False
    attempt(store, tmp_path / "a.mp3")

    assert attempt(store, tmp_path / "a.mp3") is None
    assert (tmp_path / "a.mp3").read_bytes() == store.content


def test_a_damaged_file_is_deleted_and_what_was_there_stays(store: FileStore, tmp_path: Path) -> None:
    (tmp_path / "a.mp3").write_bytes(b"before")
    store.etag = f'"{hashlib.md5(b"something else", usedforsecurity=False).hexdigest()}"'

    assert "damaged on the way" in str(attempt(store, tmp_path / "a.mp3"))
    assert [(path.name, path.read_bytes()) for path in tmp_path.iterdir()] == [("a.mp3", b"before")]


def test_a_link_at_the_place_of_the_part_is_not_followed(store: FileStore, tmp_path: Path) -> None:
    store.cuts = [600]
    attempt(store, tmp_path / "a.mp3")
    [part] = tmp_path.iterdir()
    part.unlink()
    part.symlink_to(tmp_path / "elsewhere")

    with pytest.raises(OSError, match="symbolic"):
        fetch(store.signed(), tmp_path / "a.mp3", lambda done, whole: None)
    assert not (tmp_path / "elsewhere").exists()


@pytest.mark.parametrize(
    ("status", "error", "code", "says"),
    [
        (404, b"<Code>NoSuchKey</Code>", ExitCode.NOT_FOUND, "no such file (NoSuchKey)"),
        (403, b"<Code>AccessDenied</Code>", ExitCode.NO_RIGHT, "(AccessDenied): ask for a right"),
        (403, b"<Code>InvalidObjectState</Code>", ExitCode.FAILED, "archive class of S3"),
        (503, b"<Code>SlowDown</Code>", ExitCode.TRY_AGAIN, "(SlowDown): try again"),
        (307, b"", ExitCode.FAILED, "(HTTP 307)"),
    ],
)
def test_a_refusal_of_the_store_is_a_sentence(
    store: FileStore, status: int, error: bytes, code: ExitCode, says: str
) -> None:
    store.status, store.error = status, error

    with pytest.raises(CommandFailed, match=re.escape(says)) as failed:
        look_at(store.signed())
    assert failed.value.exit_code == code


def test_a_store_that_cannot_be_reached_is_named_without_the_url() -> None:
    signed = SignedUrl("s3", f"http://{LOOPBACK}:{closed_port()}/?X-Amz-Signature=secret", {}, "")

    with pytest.raises(TryAgain, match=LOOPBACK) as failed:
        look_at(signed)
    assert "secret" not in str(failed.value)
