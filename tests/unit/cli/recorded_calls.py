"""Recorded calls in the tables of a stack: what the commands of the privacy officer find there."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta

import boto3

from call_recorder.facts.call_details import CallStart
from call_recorder.facts.facts import Fact
from call_recorder.facts.messages import QueueMessage
from tests import sinch
from tests.facts import named, requested
from tests.fakes import BUCKET, Bus, new_processor
from tests.tables import tables
from tests.unit.processor_under_test import BATCH, InTurn, messages

APP = "app"
ANNA, BELA, CLEO = "+46701234567", "+46707654321", "carla"
"""The people of the calls: two numbers, and an app user."""


def locate(name: str, key: str = APP) -> str:
    """Return the object location of a recording, as the default destination has it."""
    return f"s3://{BUCKET}/recordings/{key}/2026/11/23/{name}"


def decide(
    name: str,
    caller: str = ANNA,
    callee: str = BELA,
    *,
    conference: str | None = None,
    key: str = APP,
    at: datetime = sinch.NOW,
) -> Fact:
    """Return the decision to record a call."""
    url = f"{locate(conference or name, key)}.mp3"
    fact = requested(named(name, conference, key=key), url, at=at)
    return fact.model_copy(update={"call": CallStart(at=at, from_=caller, to=callee)})


def process(facts: Sequence[QueueMessage]) -> None:
    """Process facts as NotifyFunction does."""
    processor = new_processor(tables(boto3.client("dynamodb")), Bus(), InTurn())
    for start in range(0, len(facts), BATCH):
        assert not processor.process(messages(facts[start : start + BATCH])).failed


def register(*keys: str) -> None:
    """Register applications."""
    for key in keys:
        path = f"/call-recorder/{key}/application-secrets"
        boto3.client("ssm").put_parameter(Name=path, Value="x", Type="SecureString")


def after(**time: float) -> datetime:
    """Return a time after the first call."""
    return sinch.NOW + timedelta(**time)
