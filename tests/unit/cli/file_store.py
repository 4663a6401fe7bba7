"""A store of one file on this machine, which answers as S3, Azure and Google do, and cuts its answers off."""

from __future__ import annotations

import hashlib
import re
from contextlib import suppress
from http.server import BaseHTTPRequestHandler

from call_recorder_cli.recordings.transfers import SignedUrl
from tests.loopback import Server


class FileStore(Server):
    """Has one file. Each answer may be cut off, and a file may change between two answers."""

    def __init__(self) -> None:
        super().__init__(Request, None)
        self.content = b""
        self.cuts: list[int] = []
        self.etag: str | None = None
        self.knows_ranges = True
        self.status = 200
        self.error = b""
        self.headers: dict[str, str] = {}
        self.paths: list[str] = []
        self.received: list[dict[str, str]] = []

    def signed(self) -> SignedUrl:
        return SignedUrl("s3", f"{self.url}/file?X-Amz-Signature=secret", {"x-signed": "too"}, "ask for a right")

    @property
    def current_etag(self) -> str:
        return self.etag or f'"{hashlib.md5(self.content, usedforsecurity=False).hexdigest()}"'


class Request(BaseHTTPRequestHandler):
    """Answers as S3 does: the whole file, or a range of the version that is asked for."""

    server: FileStore

    def do_GET(self) -> None:
        store, wanted = self.server, re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range", ""))
        store.paths.append(self.path)
        store.received.append({name.lower(): value for name, value in self.headers.items()})
        if store.status != 200:
            return self._answer(store.status, store.error)
        if self.headers.get("If-Match", store.current_etag) != store.current_etag:
            return self._answer(412, b"<Error><Code>PreconditionFailed</Code></Error>")
        start = int(wanted[1]) if wanted and store.knows_ranges else None
        return self._answer(200 if start is None else 206, store.content[start or 0 :], start)

    def _answer(self, status: int, body: bytes, start: int | None = None) -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        for name, value in {"ETag": self.server.current_etag, **self.server.headers}.items():
            self.send_header(name, value)
        if start is not None:
            size = len(self.server.content)
            self.send_header("Content-Range", f"bytes {start}-{size - 1}/{size}")
        self.end_headers()
        # The first answer to a second attempt is closed unread.
        cut = self.server.cuts.pop(0) if self.server.cuts else len(body)
        with suppress(OSError):
            self.wfile.write(body[:cut])
        self.close_connection = True

    def log_message(self, *_: object) -> None:
        """Print nothing."""
