"""Amazon S3's events about new objects in the recordings bucket, which Amazon EventBridge delivers to the queue.

Source: https://docs.aws.amazon.com/AmazonS3/latest/userguide/ev-events.html
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import AwareDatetime, BaseModel, Field, ValidationError

from call_recorder.facts.facts import ObjectStoredFact


class _Bucket(BaseModel):
    name: str


class _Object(BaseModel):
    key: str
    size: int
    etag: str | None = None


class _Detail(BaseModel):
    bucket: _Bucket
    object: _Object


class _ObjectCreated(BaseModel):
    source: Literal["aws.s3"]
    detail_type: Annotated[Literal["Object Created"], Field(alias="detail-type")]
    time: AwareDatetime
    detail: _Detail


def read_s3_event(message: str) -> ObjectStoredFact | None:
    """Read a queue message that EventBridge delivered. Return ``None`` if it is not about a new object."""
    try:
        event = _ObjectCreated.model_validate_json(message)
        return ObjectStoredFact(
            at=event.time,
            url=f"s3://{event.detail.bucket.name}/{event.detail.object.key}",
            size=event.detail.object.size,
            checksum=event.detail.object.etag,
        )
    except ValidationError:
        return None
