"""Fetches a file by a signed URL, in as many attempts as it takes.

Until a file is whole and checked, its bytes are in a file beside it, whose name ends in ``.part`` and contains a
fingerprint of the version that they belong to. A later attempt goes on at their end, and only if the store still has
this version.
"""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Callable, Mapping
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple
from urllib.parse import urlsplit

from botocore.exceptions import BotoCoreError
from urllib3.exceptions import HTTPError

from call_recorder.facts.stores import Scheme
from call_recorder_cli.errors import CommandFailed, NoRight, NotFound, TryAgain
from call_recorder_cli.recordings.checksums import Checksum, find_checksum

if TYPE_CHECKING:
    from botocore.awsrequest import AWSResponse

_CHUNK: Final = 1 << 16
_TIMEOUTS: Final = (5, 60)  # seconds to connect, and between two parts of an answer
_MAX_ERROR: Final = 10_000  # bytes
_CODE: Final = re.compile(rb"<Code>([A-Za-z]+)</Code>")

OnProgress = Callable[[int, int | None], object]
"""Is called with the number of bytes that are there, and that of the whole file if it is known."""


class SignedUrl(NamedTuple):
    """A URL that anyone may read a file with, until it ends.

    Attributes:
        store: the kind of storage.
        url: the URL. It is a secret.
        headers: the headers that have to be sent with it.
        needs: who or what gives the right to read the file, in words.
    """

    store: Scheme
    url: str
    headers: Mapping[str, str]
    needs: str


class FetchedFile(NamedTuple):
    """A fetched file: its size, and the checksum that it was compared with, if the store gave one."""

    size: int
    checksum: Checksum | None


class RemoteFile(NamedTuple):
    """A file as its store describes it."""

    size: int | None
    etag: str | None
    checksum: Checksum | None


class _Changed(Exception):
    """The store has another version by now."""


def look_at(signed: SignedUrl) -> RemoteFile:
    """Return what the store says of a file. Only the headers are read.

    Raises:
        CommandFailed: the store refuses, does not have the file or does not answer.
    """
    response = _open(signed)
    with closing(response.raw):
        return _describe(signed.store, response)


def fetch(signed: SignedUrl, target: Path, on_progress: OnProgress) -> FetchedFile:
    """Fetch a file, or the rest of it. What is at ``target`` is replaced once the file is whole.

    Raises:
        TryAgain: the transfer was cut off. The next attempt goes on where this one ended.
        CommandFailed: the store refuses or does not have the file, or it was damaged on the way.
    """
    response = _open(signed)
    with closing(response.raw):
        remote = _describe(signed.store, response)
        part = _choose_part(target, remote)
        done = _count_done(part, remote)
        if not done:
            _save(response, part, 0, remote, on_progress)
    if done and done != remote.size:
        try:
            _resume(signed, part, done, remote, on_progress)
        except _Changed:
            part.unlink()
            return fetch(signed, target, on_progress)
    return _finish(part, target, remote)


def _count_done(part: Path, remote: RemoteFile) -> int:
    """Return how many bytes of this version are there. Without an ETag, no version can be told from another."""
    done = part.stat().st_size if part.exists() else 0
    return done if remote.etag and remote.size is not None and done <= remote.size else 0


def _choose_part(target: Path, remote: RemoteFile) -> Path:
    """Return the file for the bytes of this version, and delete those of other versions."""
    fingerprint = hashlib.sha256(f"{remote.etag}\n{remote.size}".encode()).hexdigest()[:12]
    part = target.with_name(f"{target.name}.{fingerprint}.part")
    ours = re.compile(re.escape(target.name) + r"\.[0-9a-f]{12}\.part")
    for other in target.parent.iterdir():
        if ours.fullmatch(other.name) and other != part:
            other.unlink()
    return part


def _resume(signed: SignedUrl, part: Path, done: int, remote: RemoteFile, on_progress: OnProgress) -> None:
    response = _open(signed, {"Range": f"bytes={done}-", "If-Match": remote.etag or ""})
    with closing(response.raw):
        if response.status_code == 206 and not _read_header(response, "content-range").startswith(f"bytes {done}-"):
            raise CommandFailed("The store answers with another part of the file than was asked for.")
        # A store that does not know ranges sends the whole file.
        start = done if response.status_code == 206 else 0
        if _describe(signed.store, response).etag != remote.etag:
            raise _Changed
        _save(response, part, start, remote, on_progress)


def _save(response: AWSResponse, part: Path, start: int, remote: RemoteFile, on_progress: OnProgress) -> None:
    """Append what a store sends, behind ``start``. Whatever was received is kept."""
    done = start
    # Recordings are confidential, and the folder may be one in which others can make links.
    flags = os.O_WRONLY | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_BINARY", 0)
    with os.fdopen(os.open(part, flags, 0o600), "r+b") as file:
        file.truncate(start)
        file.seek(start)
        on_progress(done, remote.size)
        try:
            for chunk in response.raw.stream(_CHUNK, decode_content=False):
                file.write(chunk)
                done += len(chunk)
                on_progress(done, remote.size)
        except (HTTPError, OSError) as error:
            raise _make_cut(done, remote) from error
    if remote.size is not None and done < remote.size:
        raise _make_cut(done, remote)


def _make_cut(done: int, remote: RemoteFile) -> TryAgain:
    whole = "" if remote.size is None else f" of {remote.size}"
    return TryAgain(f"The transfer was cut off after {done}{whole} bytes: repeat the command, which goes on there.")


def _finish(part: Path, target: Path, remote: RemoteFile) -> FetchedFile:
    size = part.stat().st_size
    whole = remote.size in (None, size) and (remote.checksum is None or remote.checksum.matches(part))
    if not whole:
        part.unlink()
        raise TryAgain("The file was damaged on the way, and is deleted: repeat the command.")
    part.replace(target)
    return FetchedFile(size, remote.checksum)


def _describe(store: Scheme, response: AWSResponse) -> RemoteFile:
    size = _read_header(response, "content-length")
    headers = dict(response.raw.headers)
    return RemoteFile(
        size=int(size) if size.isdigit() else None,
        etag=_read_header(response, "etag") or None,
        checksum=find_checksum(store, headers),
    )


def _read_header(response: AWSResponse, name: str) -> str:
    return str(response.raw.headers.get(name, ""))


def _open(signed: SignedUrl, headers: Mapping[str, str] | None = None) -> AWSResponse:
    """Send a request by botocore's client, which knows proxies and certificates as all other requests do.

    Raises:
        CommandFailed: the store refuses, does not have the file or does not answer.
    """
    from botocore.awsrequest import AWSRequest
    from botocore.httpsession import URLLib3Session
    from botocore.utils import get_environ_proxies

    request: Any = AWSRequest(
        method="GET",
        url=signed.url,
        headers={"Accept-Encoding": "identity", **signed.headers, **(headers or {})},
        stream_output=True,
    )
    options: dict[str, Any] = {"verify": os.environ.get("AWS_CA_BUNDLE") or True, "timeout": _TIMEOUTS}
    session = URLLib3Session(proxies=get_environ_proxies(signed.url), **options)
    try:
        response = session.send(request.prepare())
    except BotoCoreError as error:
        # The text of the error has the URL, which is a secret.
        problem = f"{urlsplit(signed.url).hostname} cannot be reached ({type(error).__name__})"
        raise TryAgain(f"{problem}: check the network, then try again.") from None
    if response.status_code not in (200, 206):
        with closing(response.raw):
            raise _make_refusal(signed, response)
    return response


def _make_refusal(signed: SignedUrl, response: AWSResponse) -> Exception:
    status = response.status_code
    code = _CODE.search(response.raw.read(_MAX_ERROR, decode_content=False) or b"")
    name = code[1].decode() if code else f"HTTP {status}"
    if status == 412:
        return _Changed()
    if status == 404:
        return NotFound(f"The store has no such file ({name}): it was deleted, or has not arrived.")
    if name == "InvalidObjectState":
        return CommandFailed("The file is in an archive class of S3: restore it first (aws s3api restore-object).")
    if status in (401, 403):
        return NoRight(f"The store refuses to read the file ({name}): {signed.needs}.")
    if status == 429 or status >= 500:
        return TryAgain(f"The store does not answer as it should ({name}): try again.")
    return CommandFailed(f"The store refuses the request ({name}).")
