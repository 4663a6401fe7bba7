"""The parameters of the applications, the callback URL that Sinch has for each, and the uploader's key."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from call_recorder.adapters.iam_keys import UploaderKeys
from call_recorder.answering.application import is_recorded_into
from call_recorder.answering.parameter_names import SECRETS
from call_recorder.answering.profile import ProfileRefused
from call_recorder.uploader_key.plan import Observation, RotationPolicy, mask_key
from call_recorder_cli.applications.callback_url import CallbackUrlAtSinch, can_call
from call_recorder_cli.applications.parameters import ApplicationParameters, StoredApplication, list_application_keys
from call_recorder_cli.applications.sinch_configuration import describe_url
from call_recorder_cli.diagnosis.findings import Finding, Severity
from call_recorder_cli.errors import CommandFailed, NoRight, NotFound, TryAgain

if TYPE_CHECKING:
    from call_recorder_cli.stack import Stack

_OVERDUE_DAYS = 7
"""The days after which RotationProblemsAlarm reports a key that is too old."""


def diagnose_applications(stack: Stack) -> Iterator[Finding]:
    """Find what is wrong with the applications' parameters, and with their callback URLs at Sinch."""
    keys = list_application_keys(stack)
    if not keys:
        mend = "Run call-recorder onboard."
        yield _find(
            "no-application", "warning", stack.name, "No application is registered, so no call is recorded.", mend
        )
    asks_sinch, parameters = can_call(stack), ApplicationParameters(stack)
    for key in keys:
        application = parameters.read(key)
        yield from _diagnose_parameters(application)
        for finding in _diagnose_url(stack, application) if asks_sinch and application.secrets else ():
            yield finding
            asks_sinch = asks_sinch and finding.code != "sinch-unreachable"


def _diagnose_parameters(stored: StoredApplication) -> Iterator[Finding]:
    if SECRETS not in stored.values:
        mend = "Run call-recorder onboard for it."
        yield _find(SECRETS, "problem", stored.key, f"{SECRETS} is missing, so every callback is refused.", mend)
        return
    mend = "Correct the parameter: docs/profile.md lists what is refused."
    try:
        application = stored.parse()
    except ProfileRefused as refusal:
        yield _find(SECRETS, "problem", stored.key, f"{refusal}.", mend)
        return
    if application.problem:
        yield _find(application.problem.partition(":")[0], "problem", stored.key, f"{application.problem}.", mend)
    elif application.recorder and not application.recorder.destinations:
        sentence, mend = "No rule of its profile records.", "Add a rule with record true, if calls are to be recorded."
        yield _find("records-nothing", "note", stored.key, sentence, mend)


def _diagnose_url(stack: Stack, application: StoredApplication) -> Iterator[Finding]:
    """Compare the callback URL that Sinch has with that of the stack."""
    try:
        at_sinch = CallbackUrlAtSinch.read(application, stack.callback_url)
    except (NoRight, NotFound) as error:
        mend = "Copy the key and the secret from the Sinch dashboard: run call-recorder onboard again."
        yield _find("sinch-secret", "problem", application.key, str(error), mend)
    except TryAgain as error:
        mend = "Look into the Sinch dashboard, or try again."
        yield _find("sinch-unreachable", "note", application.key, str(error), mend)
    except (CommandFailed, ValueError) as error:
        yield _find("sinch-url-unknown", "note", application.key, str(error), "Look into the Sinch dashboard.")
    else:
        yield from _compare_url(stack, application.key, at_sinch.urls.primary)


def _compare_url(stack: Stack, key: str, primary: str) -> Iterator[Finding]:
    mend = f"Set {stack.callback_url} as the callback URL: run call-recorder onboard again, or use the dashboard."
    if not primary:
        yield _find("sinch-url-unset", "problem", key, "Sinch has no callback URL for the application.", mend)
    elif primary != stack.callback_url:
        sentence = f"Sinch calls {describe_url(primary)}, which is not the callback URL of this stack."
        yield _find("sinch-url-differs", "problem", key, sentence, mend)


def diagnose_uploader_key(stack: Stack) -> Iterator[Finding]:
    """Find what is wrong with the uploader's key, and with the applications that should have it."""
    user, bucket = stack.output("UploaderUserName"), stack.output("RecordingsBucketName")
    keys = UploaderKeys(
        stack.session.client("iam"),
        stack.session.client("ssm"),
        user=user,
        prefix=stack.outputs["ParameterPrefix"],
        kms_key="",
    )
    observed, now = keys.observe(), datetime.now(UTC)
    if conflict := observed.find_conflict(now):
        yield _find("key-conflict", "problem", user, f"{conflict.text}.", "Do what this sentence says.")
    yield from _diagnose_age(stack, observed, now)
    active = {key.id for key in observed.keys if key.active}
    for holder in observed.holders:
        is_recorded_here = holder.profile and is_recorded_into(bucket, holder.profile.text.get_secret_value())
        if is_recorded_here and holder.key_id and holder.key_id not in active:
            yield _find(
                "key-not-active",
                "problem",
                holder.application,
                f"storage-credentials has the key {mask_key(holder.key_id)}, which is no active key of {user}.",
                "Run call-recorder rotate; if the sentence stays, delete the parameter first.",
            )
        elif is_recorded_here and not holder.key_id:
            sentence = "It records into the stack's bucket, and has no storage-credentials yet."
            yield _find("key-not-handed-out", "problem", holder.application, sentence, "Run call-recorder rotate.")


def _diagnose_age(stack: Stack, observed: Observation, now: datetime) -> Iterator[Finding]:
    max_age = timedelta(days=int(stack.parameters.get("KeyMaxAgeDays", 90)))
    overdue = observed.count_days_overdue(now, RotationPolicy("", "", max_age, timedelta()))
    if overdue:
        severity: Severity = "problem" if overdue > _OVERDUE_DAYS else "warning"
        sentence = f"The uploader's oldest active key is {overdue} days older than KeyMaxAgeDays ({max_age.days})."
        mend = "Read what RotationFunction waits for: run call-recorder rotate."
        yield _find("key-overdue", severity, observed.user, sentence, mend)


def _find(code: str, severity: Severity, subject: str, sentence: str, mend: str) -> Finding:
    return Finding(code=code, severity=severity, subject=subject, sentence=sentence, mend=mend)
