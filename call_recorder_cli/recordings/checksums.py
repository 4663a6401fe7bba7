"""Checksums of stored files: which one a store gives for a file, and how it is computed.

Sources, read in November 2026: "Checking object integrity" in the user guide of Amazon S3 and the page of its type
Checksum (S3 adds CRC64NVME to an object that is uploaded without a checksum; the ETag is the MD5 only of an object in
one part that is not encrypted with KMS); "Get Blob" of Azure, and its SDK's type BlobDownloadHeaders (Content-MD5);
"Hashes and ETags" of Google Cloud Storage, and its client for Python (x-goog-hash with crc32c, and md5 unless the
object is composed of others). The polynomials and check values of both CRCs are those of the CRC catalogue.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
import zlib
from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path
from typing import Final, NamedTuple, Protocol

from call_recorder.facts.stores import Scheme

_CHUNK: Final = 1 << 20
_MD5: Final = re.compile(r"[0-9a-f]{32}")
_GOOGLE: Final = re.compile(r"\b(md5|crc32c)=([A-Za-z0-9+/]+={0,2})")
_S3: Final = ("sha256", "sha1", "crc32", "crc32c", "crc64nvme")


class Digest(Protocol):
    """Computes a checksum."""

    def update(self, data: bytes, /) -> None:
        """Add bytes."""

    def digest(self) -> bytes:
        """Return the checksum of all bytes so far."""


class Checksum(NamedTuple):
    """A checksum that a store gives for a whole file."""

    algorithm: str
    value: bytes

    def matches(self, path: Path) -> bool:
        """Tell whether a file has this checksum."""
        digest = DIGESTS[self.algorithm]()
        with path.open("rb") as file:
            while chunk := file.read(_CHUNK):
                digest.update(chunk)
        return digest.digest() == self.value


def find_checksum(store: Scheme, headers: Mapping[str, str]) -> Checksum | None:
    """Return the checksum in the headers of a whole file, if there is one.

    Args:
        store: the kind of storage.
        headers: the headers of its answer, by names of any case.
    """
    known = {name.lower(): value for name, value in headers.items()}
    match store:
        case "s3":
            return _find_s3(known)
        case "azure":
            return _decode("md5", known.get("content-md5"))
        case "gs":
            hashes = dict(_GOOGLE.findall(known.get("x-goog-hash", "")))
            return _decode("md5", hashes.get("md5")) or _decode("crc32c", hashes.get("crc32c"))


def _find_s3(headers: Mapping[str, str]) -> Checksum | None:
    etag = headers.get("etag", "").strip('"')
    encrypted = "x-amz-server-side-encryption-customer-algorithm" in headers
    by_s3 = headers.get("x-amz-server-side-encryption", "AES256") == "AES256"
    if _MD5.fullmatch(etag) and by_s3 and not encrypted:
        return Checksum("md5", bytes.fromhex(etag))
    if headers.get("x-amz-checksum-type", "FULL_OBJECT") != "FULL_OBJECT":
        return None
    found = (_decode(name, headers.get(f"x-amz-checksum-{name}")) for name in _S3)
    return next(filter(None, found), None)


def _decode(algorithm: str, text: str | None) -> Checksum | None:
    """Return a checksum in Base64. That of an upload in parts, which ends in their number, is not of the whole file."""
    if not text:
        return None
    try:
        return Checksum(algorithm, base64.b64decode(text, validate=True))
    except binascii.Error:
        return None


class _Crc32:
    def __init__(self) -> None:
        self._value = 0

    def update(self, data: bytes, /) -> None:
        self._value = zlib.crc32(data, self._value)

    def digest(self) -> bytes:
        return self._value.to_bytes(4, "big")


class _ReflectedCrc:
    """A CRC that begins and ends with all bits inverted.

    Args:
        polynomial: the polynomial with its lowest bit first.
        size: the number of bytes.
    """

    def __init__(self, polynomial: int, size: int) -> None:
        self._table = _make_table(polynomial)
        self._size = size
        self._mask = (1 << 8 * size) - 1
        self._value = self._mask

    def update(self, data: bytes, /) -> None:
        value, table = self._value, self._table
        for byte in data:
            value = table[(value ^ byte) & 0xFF] ^ value >> 8
        self._value = value

    def digest(self) -> bytes:
        return (self._value ^ self._mask).to_bytes(self._size, "big")


@cache
def _make_table(polynomial: int) -> list[int]:
    table = []
    for byte in range(256):
        value = byte
        for _ in range(8):
            value = value >> 1 ^ (polynomial if value & 1 else 0)
        table.append(value)
    return table


DIGESTS: Final[Mapping[str, Callable[[], Digest]]] = {
    "md5": lambda: hashlib.md5(usedforsecurity=False),
    "sha1": lambda: hashlib.sha1(usedforsecurity=False),
    "sha256": hashlib.sha256,
    "crc32": _Crc32,
    "crc32c": lambda: _ReflectedCrc(0x82F63B78, 4),
    "crc64nvme": lambda: _ReflectedCrc(0x9A6C9329AC4BC9B5, 8),
}
"""Every checksum that can be computed, by the name that S3 gives it."""
