"""The fact that a DiCE, a notification or an unknown event reports."""

from __future__ import annotations

import hashlib
from datetime import datetime
from typing import Any

from call_recorder.facts.call_details import CallEnd, CallingError, Notification
from call_recorder.facts.facts import (
    AnswerRefusedFact,
    CallEndedFact,
    Fact,
    NotifiedFact,
    RecordingAvailableFact,
    RecordingFinishedFact,
    TranscriptionAvailableFact,
)
from call_recorder.facts.identifiers import is_recordable
from call_recorder.facts.redaction import redact
from call_recorder.sinch.callbacks import Callback, DiceCallback, NotifyCallback, UnknownCallback


def fact_from_callback(
    callback: DiceCallback | NotifyCallback | UnknownCallback, *, application_key: str, at: datetime, body: bytes
) -> Fact:
    """Return the fact that a callback reports to which Sinch expects no SVAML.

    If the callback names both a call and a conference, NotifyFunction finds out which of the two is recorded
    (``tracking/attribution.py``). If it names neither, the recording id is made from ``body``, so that a second
    delivery makes no second item.

    Args:
        callback: the parsed callback.
        application_key: the application that signed it.
        at: when Sinch signed it. A notification has no time of its own.
        body: its raw bytes.
    """
    about: dict[str, Any] = {
        "recording_id": _recording_id(callback, body),
        "application_key": application_key,
        "call_id": callback.call_id,
        "conference_id": _conference_id(callback),
    }
    match callback:
        case NotifyCallback():
            return _fact_from_notification(callback, about, at)
        case DiceCallback() if callback.call_id:
            return CallEndedFact.clipped(**about, end=CallEnd.of(callback, at))
        case _:
            event = Notification.clipped(at=at, type=callback.event or "unknown")
            return NotifiedFact.clipped(**about, notification=event)


def _fact_from_notification(notify: NotifyCallback, about: dict[str, Any], at: datetime) -> Fact:
    code, message = _redact(notify.error_code), _redact(notify.error_message)
    match (notify.type or "").lower():
        case "recording_finished":
            return RecordingFinishedFact.clipped(**about, at=at)
        case "recording_available":
            return RecordingAvailableFact.clipped(**about, at=at, destination=notify.destination)
        case "transcription_available":
            return TranscriptionAvailableFact.clipped(**about, at=at, destination=notify.destination)
        case "callingerror":
            error = CallingError.clipped(at=at, code=code, message=message, user=notify.user)
            return AnswerRefusedFact.clipped(**about, error=error)
        case _:
            notification = Notification.clipped(
                at=at,
                type=notify.type or "unknown",
                destination=notify.destination,
                error_code=code,
                error_message=message,
            )
            return NotifiedFact.clipped(**about, notification=notification)


def _redact(text: str | None) -> str | None:
    return None if text is None else redact(text)


def _recording_id(callback: Callback, body: bytes) -> str:
    named = next(filter(is_recordable, (callback.conference_id, callback.call_id)), None)
    return named or f"unattributed-{hashlib.sha256(body).hexdigest()[:32]}"


def _conference_id(callback: Callback) -> str | None:
    """Return the conference that a callback names, unless it names a recordable call and no recordable conference."""
    if is_recordable(callback.call_id) and not is_recordable(callback.conference_id):
        return None
    return callback.conference_id
