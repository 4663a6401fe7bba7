"""The checksum of a whole file is found in the headers of each store, and computed as the store does."""

from __future__ import annotations

import base64
from pathlib import Path
from typing import Any

import pytest

from call_recorder.facts.stores import Scheme
from call_recorder_cli.recordings.checksums import DIGESTS, Checksum, find_checksum

MD5 = "25f9e794323b453885f5181f1b624d0b"
NINE = b"123456789"


def encoded(hexadecimal: str) -> str:
    return base64.b64encode(bytes.fromhex(hexadecimal)).decode()


@pytest.mark.parametrize(
    ("algorithm", "value"),
    [
        ("md5", MD5),
        ("sha1", "f7c3bc1d808e04732adf679965ccc34ca7ae3441"),
        ("sha256", "15e2b0d3c33891ebb0f1ef609ec419420c20e320ce94c65fbc8c3312448eb225"),
        ("crc32", "cbf43926"),
        ("crc32c", "e3069283"),
        ("crc64nvme", "ae8b14860a799888"),
    ],
)
def test_each_checksum_has_its_published_check_value(algorithm: str, value: str, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(NINE)
    digest = DIGESTS[algorithm]()
    digest.update(NINE[:4])
    digest.update(NINE[4:])

    assert digest.digest().hex() == value
    assert Checksum(algorithm, bytes.fromhex(value)).matches(tmp_path / "file")
    (tmp_path / "file").write_bytes(NINE[:-1])
    assert not Checksum(algorithm, bytes.fromhex(value)).matches(tmp_path / "file")


KMS = {"x-amz-server-side-encryption": "aws:kms"}
IN_PARTS = {"ETag": f'"{MD5}-2"'}
CRC32 = {"x-amz-checksum-crc32": encoded("cbf43926")}


@pytest.mark.parametrize(
    ("store", "headers", "algorithm"),
    [
        ("s3", {"ETag": f'"{MD5}"'}, "md5"),
        ("s3", {"ETag": f'"{MD5}"', "x-amz-server-side-encryption": "AES256"}, "md5"),
        ("s3", {"ETag": f'"{MD5}"', **KMS}, None),
        ("s3", {"ETag": f'"{MD5}"', **KMS, **CRC32}, "crc32"),
        ("s3", {**IN_PARTS, "x-amz-checksum-crc64nvme": encoded("ae8b14860a799888")}, "crc64nvme"),
        ("s3", {**IN_PARTS, **CRC32, "x-amz-checksum-type": "COMPOSITE"}, None),
        ("s3", {**IN_PARTS, "x-amz-checksum-sha256": f"{encoded('15e2')}-2"}, None),
        ("azure", {"Content-MD5": encoded(MD5), "ETag": '"0x8D"'}, "md5"),
        ("azure", {"ETag": f'"{MD5}"'}, None),
        ("gs", {"x-goog-hash": f"crc32c={encoded('e3069283')}, md5={encoded(MD5)}"}, "md5"),
        ("gs", {"X-Goog-Hash": f"crc32c={encoded('e3069283')}"}, "crc32c"),
        ("gs", {"ETag": f'"{MD5}"'}, None),
    ],
)
def test_a_stores_headers_tell_the_checksum_of_the_whole_file(
    store: Scheme, headers: dict[str, Any], algorithm: str | None
) -> None:
    found = find_checksum(store, headers)

    assert (found and found.algorithm) == algorithm
