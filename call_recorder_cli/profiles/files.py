"""Reads profiles and callbacks from files, and says in one sentence why one cannot be read."""

from __future__ import annotations

import base64
import binascii
import json
from typing import TYPE_CHECKING

from call_recorder_cli.errors import CommandFailed

if TYPE_CHECKING:
    from pathlib import Path


def read_profile(file: Path) -> str:
    """Return the text of a profile.

    Raises:
        CommandFailed: the file cannot be read, or is not text.
    """
    try:
        return _read(file).decode("utf-8")
    except UnicodeDecodeError:
        raise CommandFailed(f"{file}: this is not text in UTF-8.") from None
    except CommandFailed as failed:
        if file.exists():
            raise
        raise CommandFailed(f"{failed} There are profiles to start with in examples/profiles.") from None


def read_callback(file: Path) -> bytes:
    """Return a callback's body from a file that contains the body or API Gateway's event with it.

    Raises:
        CommandFailed: the file cannot be read, or contains an event of another service.
    """
    content = _read(file)
    try:
        envelope = json.loads(content)
    except (ValueError, RecursionError):
        return content
    if not isinstance(envelope, dict):
        return content
    if "Records" in envelope or "detail-type" in envelope:
        service = "the queue (SQS)" if "Records" in envelope else "EventBridge"
        raise CommandFailed(
            f"{file}: this is an event of {service}, not a callback of Sinch; name a callback, for example "
            "events/callback-ice-did.json, or a call with FROM=... TO=..."
        )
    if "requestContext" not in envelope:
        return content
    body = str(envelope.get("body") or "").encode()
    try:
        return base64.b64decode(body) if envelope.get("isBase64Encoded") else body
    except binascii.Error:
        raise CommandFailed(f"{file}: isBase64Encoded is true, but the body is not base64.") from None


def _read(file: Path) -> bytes:
    try:
        return file.read_bytes()
    except FileNotFoundError:
        raise CommandFailed(f"{file}: there is no such file.") from None
    except IsADirectoryError:
        raise CommandFailed(f"{file}: this is a folder; name a file in it.") from None
    except OSError as error:
        raise CommandFailed(f"{file}: this file cannot be read: {error.strerror}.") from None
