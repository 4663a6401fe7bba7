"""A Sinch application, as its parameters describe it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import NamedTuple

from pydantic import SecretStr

from call_recorder.answering.destinations import Destination, DestinationRefused, Naming, check_credentials
from call_recorder.answering.parameter_names import CREDENTIALS, PROFILE, SECRETS
from call_recorder.answering.profile import ProfileRefused, RecordingProfile, Rule
from call_recorder.sinch.signature import decode_secret
from call_recorder.sinch.svaml import RecordingOptions

RECORDINGS_PREFIX = "recordings/"
"""The prefix of the keys that the uploader may write in the stack's own bucket."""

_OWN_PATH = RECORDINGS_PREFIX + "{applicationKey}/{date}/{callId}.{format}"


class Recorder(NamedTuple):
    """The profile of an application that can record: its destinations match its credentials.

    ``destinations`` has the destination of each rule that records, by the name of the rule.
    """

    profile: RecordingProfile
    destinations: Mapping[str, Destination]
    credentials: SecretStr

    def make_options(
        self, rule: Rule, *, call_id: str, conference_id: str | None, key: str, at: datetime
    ) -> RecordingOptions:
        """Make the recording options of a call under a rule. ``key`` is the key of the application.

        Raises:
            DestinationRefused: an identifier of the call cannot be a part of an object key.
        """
        file_format = rule.format or self.profile.format
        naming = Naming(call_id=call_id, conference_id=conference_id, application_key=key, at=at, format=file_format)
        return RecordingOptions(
            destination_url=self.destinations[rule.name].make_url(naming),
            credentials=self.credentials,
            format=file_format,
            notification_events=self.profile.notification_events,
            transcription_options=rule.transcription or self.profile.transcription,
        )

    def with_credentials(self, credentials: SecretStr) -> Recorder:
        """Return the recorder with newer credentials, or unchanged if they do not match its destinations."""
        try:
            for destination in self.destinations.values():
                check_credentials(destination.scheme, credentials.get_secret_value())
        except DestinationRefused:
            return self
        return self if credentials == self.credentials else self._replace(credentials=credentials)


@dataclass(frozen=True, slots=True)
class Application:
    """A registered Sinch application.

    Attributes:
        key: the application key.
        secrets: the decoded application secrets: the current one, and possibly the previous one.
        recorder: the recorder, or ``None`` if the profile or the credentials cannot be used.
        problem: why there is no recorder, in one sentence.
        credentials: the storage credentials, also without a recorder.
    """

    key: str
    secrets: tuple[bytes, ...] = field(repr=False)
    recorder: Recorder | None = None
    problem: str | None = None
    credentials: SecretStr = field(default=SecretStr(""))

    @classmethod
    def from_parameters(cls, key: str, values: Mapping[str, str], *, own_bucket: str) -> Application:
        """Build an application from the texts of its parameters.

        Args:
            key: the application key.
            values: the texts, by the names in ``PARAMETERS``. All of them except the secrets may be missing.
            own_bucket: the bucket of a profile that names no destination.

        Raises:
            ProfileRefused: the secrets cannot be used, so no callback can be verified.
        """
        secrets = _read_secrets(values.get(SECRETS, ""))
        credentials = SecretStr(values.get(CREDENTIALS, "").strip())
        try:
            recorder = _build_recorder(values, own_bucket)
        except ProfileRefused as refusal:
            return cls(key=key, secrets=secrets, problem=str(refusal), credentials=credentials)
        return cls(key=key, secrets=secrets, recorder=recorder, credentials=credentials)


def is_recorded_into(bucket: str, profile: str) -> bool:
    """Tell whether a profile, as text, records calls into the stack's own ``bucket`` and into no other storage."""
    try:
        parsed = RecordingProfile.parse(profile)
        recording = [rule for rule in parsed.rules if rule.record]
        templates = [(rule.destination or parsed.destination, rule.name) for rule in recording]
        destinations = [_read_destination(template, bucket, name) for template, name in templates]
    except ProfileRefused:
        return False
    return bool(destinations) and all((each.scheme, each.container) == ("s3", bucket) for each in destinations)


def _read_secrets(text: str) -> tuple[bytes, ...]:
    secrets = [secret.strip() for secret in text.split(",")]
    if len(secrets) > 2:
        raise ProfileRefused(f"{SECRETS}: write one secret, or the current and the previous one with a comma between")
    try:
        return tuple(decode_secret(secret) for secret in secrets)
    except ValueError as error:
        raise ProfileRefused(f"{SECRETS}: {error}") from None


def _build_recorder(values: Mapping[str, str], own_bucket: str) -> Recorder:
    text = values.get(PROFILE)
    if text is None:
        raise ProfileRefused(f"{PROFILE}: missing; put a JSON profile, {{}} to record nothing")
    profile = RecordingProfile.parse(text)
    _read_destination(profile.destination, own_bucket, "destination")
    credentials = values.get(CREDENTIALS, "").strip()
    destinations = {}
    for index, rule in enumerate(profile.rules):
        if rule.record:
            field = f"rules[{index}].destination" if rule.destination else "destination"
            destination = _read_destination(rule.destination or profile.destination, own_bucket, field)
            _check_credentials(credentials, destination, rule)
            destinations[rule.name] = destination
    return Recorder(profile=profile, destinations=destinations, credentials=SecretStr(credentials))


def _check_credentials(credentials: str, destination: Destination, rule: Rule) -> None:
    if not credentials:
        raise ProfileRefused(f"{CREDENTIALS}: missing; the rule {rule.name} records to {destination.scheme}")
    try:
        check_credentials(destination.scheme, credentials)
    except DestinationRefused as refusal:
        raise ProfileRefused(
            f"{CREDENTIALS}: the rule {rule.name} records to {destination.scheme}: {refusal}"
        ) from None


def _read_destination(template: str | None, own_bucket: str, field: str) -> Destination:
    if template is None:
        return Destination(scheme="s3", container=own_bucket, path=_OWN_PATH)
    destination = Destination.parse(template)
    own = destination.scheme == "s3" and destination.container == own_bucket
    if own and not destination.path.startswith(RECORDINGS_PREFIX):
        raise ProfileRefused(
            f"{PROFILE}: {field}: the stack's bucket takes recordings below {RECORDINGS_PREFIX} only; "
            f"write s3://{own_bucket}/{_OWN_PATH}"
        )
    return destination
