"""RotationFunction: creates, hands out and replaces the access key with which Sinch uploads recordings.

It runs every hour. Invoked with ``{"rotate": true}``, it creates a new key at once, whatever the age of the present
one.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from functools import cache
from typing import Annotated, Any

from pydantic import Field

from call_recorder.adapters import boto_clients
from call_recorder.adapters.iam_keys import UploaderKeys
from call_recorder.adapters.number_hash_key import NumberHashKey
from call_recorder.adapters.sqs import RecordingQueue
from call_recorder.facts.errors import CallRecorderError, ParametersUnavailable, RotationIncomplete
from call_recorder.functions.settings import ParameterPrefix, Settings, UnrecordedCallsKept
from call_recorder.functions.telemetry import Telemetry
from call_recorder.uploader_key.plan import RotationPolicy
from call_recorder.uploader_key.rotation import Rotation, RotationReport


class RotationSettings(Settings):
    """Settings of RotationFunction. Lambda itself sets ``aws_region``."""

    uploader_user_name: Annotated[str, Field(min_length=1)]
    recordings_bucket: Annotated[str, Field(min_length=3)]
    parameter_prefix: ParameterPrefix
    parameters_kms_key_arn: str = ""
    parameters_ttl_seconds: Annotated[int, Field(ge=1, le=86_400)] = 300
    longest_call_seconds: Annotated[int, Field(ge=1, le=86_400)]
    grace_seconds: Annotated[int, Field(ge=1, le=86_400)]
    unrecorded_calls: UnrecordedCallsKept = "nothing"
    key_max_age_days: Annotated[int, Field(ge=1, le=3_650)]
    recording_queue_url: Annotated[str, Field(min_length=1)]
    aws_region: Annotated[str, Field(min_length=1)]

    @property
    def policy(self) -> RotationPolicy:
        """The rules by which the key is handed out and replaced."""
        overlap = self.parameters_ttl_seconds + self.longest_call_seconds + self.grace_seconds
        return RotationPolicy(
            bucket=self.recordings_bucket,
            region=self.aws_region,
            max_age=timedelta(days=self.key_max_age_days),
            overlap=timedelta(seconds=overlap),
        )


class RotationHandler:
    """Takes the steps of the rotation that are due, and reports them.

    Args:
        rotation: plans and takes the steps.
        telemetry: log and metrics.
        number_hash_key: the key of the hashes of phone numbers, if the stack keeps hashes. It is made once.
    """

    def __init__(self, rotation: Rotation, telemetry: Telemetry, number_hash_key: NumberHashKey | None = None) -> None:
        self._rotation = rotation
        self._telemetry = telemetry
        self._number_hash_key = number_hash_key

    def __call__(self, event: Mapping[str, Any]) -> dict[str, Any]:
        """Take the steps that are due. Return the taken steps, the waits and the problems.

        Raises:
            CallRecorderError: the keys or parameters could not be read, or a step failed. The other steps are taken.
        """
        try:
            failures = self._make_number_hash_key()
            report = self._rotation.run(force=event.get("rotate") is True)
            self._report(report)
            if failures := [*failures, *report.failures]:
                raise RotationIncomplete("; ".join(failures))
        except CallRecorderError as error:
            self._telemetry.warning("rotation failed; the next run continues it", problem=str(error))
            self._telemetry.count("RotationProblems")
            raise
        finally:
            self._telemetry.flush()
        return _summarize(report)

    def _make_number_hash_key(self) -> list[str]:
        """Make the key of the hashes if there is none. Return what failed; the rotation runs all the same."""
        try:
            if self._number_hash_key and self._number_hash_key.make_if_absent():
                self._telemetry.info("the key of the numbers' hashes is made")
        except ParametersUnavailable as error:
            return [str(error)]
        return []

    def _report(self, report: RotationReport) -> None:
        for taken in report.taken:
            self._telemetry.info("uploader key", step=taken.step, key=taken.key, applicationKey=taken.application)
        for problem in report.problems:
            self._telemetry.warning("rotation waits for an operator", problem=problem)
        self._telemetry.count("RotationProblems", len(report.problems))
        if report.days_overdue is not None:
            self._telemetry.count("UploaderKeyDaysOverdue", report.days_overdue)


def _summarize(report: RotationReport) -> dict[str, Any]:
    return {
        "steps": [
            {"step": taken.step, "key": taken.key}
            | ({"applicationKey": taken.application} if taken.application else {})
            for taken in report.taken
        ],
        "waits": [
            {"to": wait.to} | ({"until": wait.until.isoformat(timespec="seconds")} if wait.until else {})
            for wait in report.waits
        ],
        "problems": list(report.problems),
    }


def compose(
    environment: Mapping[str, str], *, clock: Callable[[], datetime] = lambda: datetime.now(UTC)
) -> RotationHandler:
    """Build the function from its environment.

    Raises:
        SettingsRefused: an environment variable is missing or wrong.
    """
    settings = RotationSettings.read(environment)
    ssm = boto_clients.create_ssm_client()
    keys = UploaderKeys(
        boto_clients.create_iam_client(),
        ssm,
        user=settings.uploader_user_name,
        prefix=settings.parameter_prefix,
        kms_key=settings.parameters_kms_key_arn,
    )
    queue = RecordingQueue(boto_clients.create_sqs(), settings.recording_queue_url)
    number_hash_key = NumberHashKey(
        boto_clients.BotoService(ssm), settings.parameter_prefix, kms_key=settings.parameters_kms_key_arn
    )
    return RotationHandler(
        Rotation(keys, queue, settings.policy, clock),
        Telemetry(),
        number_hash_key if settings.unrecorded_calls == "hashes" else None,
    )


@cache
def _handler() -> RotationHandler:
    return compose(os.environ)


def handler(event: Mapping[str, Any], _context: object) -> dict[str, Any]:
    """Lambda entry point: take the steps that are due."""
    return _handler()(event)


if "AWS_LAMBDA_RUNTIME_API" in os.environ:  # In its init phase, Lambda provides a full CPU.
    _handler()
