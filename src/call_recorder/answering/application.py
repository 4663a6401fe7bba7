"""One Sinch application as its parameters describe it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime

from pydantic import SecretStr

from call_recorder.answering.destinations import Destination, DestinationRefused, Naming, check_credentials
from call_recorder.answering.parameter_names import CREDENTIALS, PROFILE, SECRETS
from call_recorder.answering.profile import ProfileRefused, RecordingProfile, Rule
from call_recorder.sinch.signature import decode_secret
from call_recorder.sinch.svaml import RecordingOptions

RECORDINGS_PREFIX = "recordings/"
"""Where the uploader may write in the stack's own bucket."""

_OWN_PATH = RECORDINGS_PREFIX + "{applicationKey}/{date}/{callId}.{format}"


@dataclass(frozen=True, slots=True)
class Recorder:
    """How an application's recordings are made: its profile, with destinations that fit its credentials.

    ``destinations`` has one for each rule that records, by the rule's name.
    """

    profile: RecordingProfile
    destinations: Mapping[str, Destination]
    credentials: SecretStr

    def options(
        self, rule: Rule, *, call_id: str, conference_id: str | None, key: str, at: datetime
    ) -> RecordingOptions:
        """Return the recording options of one call under a rule; ``key`` is the application's.

        Raises:
            DestinationRefused: the call's identifiers do not fit into an object key.
        """
        form = rule.format or self.profile.format
        naming = Naming(call_id=call_id, conference_id=conference_id, application_key=key, at=at, format=form)
        return RecordingOptions(
            destination_url=self.destinations[rule.name].url(naming),
            credentials=self.credentials,
            format=form,
            notification_events=self.profile.notification_events,
            transcription_options=rule.transcription or self.profile.transcription,
        )

    def with_credentials(self, credentials: SecretStr) -> Recorder:
        """Return it with newer credentials, or as it is if its destinations cannot be written with them."""
        try:
            for destination in self.destinations.values():
                check_credentials(destination.scheme, credentials.get_secret_value())
        except DestinationRefused:
            return self
        return self if credentials == self.credentials else replace(self, credentials=credentials)


@dataclass(frozen=True, slots=True)
class Application:
    """A Sinch application that may call back.

    ``secrets`` are the decoded application secrets, current and perhaps previous. ``recorder`` is ``None``
    when the profile or the credentials cannot work; ``problem`` then says why, in one sentence. ``credentials`` are
    there all the same.
    """

    key: str
    secrets: tuple[bytes, ...] = field(repr=False)
    recorder: Recorder | None = None
    problem: str | None = None
    credentials: SecretStr = field(default=SecretStr(""))

    @classmethod
    def from_parameters(cls, key: str, values: Mapping[str, str], *, own_bucket: str) -> Application:
        """Build it from the texts of its parameters, by name.

        Args:
            key: the application key.
            values: what is stored, by the names in ``PARAMETERS``; all but the secrets may be missing.
            own_bucket: the bucket of a profile that names no destination.

        Raises:
            ProfileRefused: the secrets cannot be used, so that no callback could be verified.
        """
        secrets = _secrets(values.get(SECRETS, ""))
        credentials = SecretStr(values.get(CREDENTIALS, "").strip())
        try:
            recorder = _recorder(values, own_bucket)
        except ProfileRefused as refusal:
            return cls(key=key, secrets=secrets, problem=str(refusal), credentials=credentials)
        return cls(key=key, secrets=secrets, recorder=recorder, credentials=credentials)


def is_recorded_into(bucket: str, profile: str) -> bool:
    """Tell whether a profile's text records calls, and all of them into the stack's own ``bucket``."""
    try:
        parsed = RecordingProfile.parse(profile)
        recording = [rule for rule in parsed.rules if rule.record]
        destinations = [_destination(rule.destination or parsed.destination, bucket, rule.name) for rule in recording]
    except ProfileRefused:
        return False
    return bool(destinations) and all((each.scheme, each.container) == ("s3", bucket) for each in destinations)


def _secrets(text: str) -> tuple[bytes, ...]:
    secrets = [secret.strip() for secret in text.split(",")]
    if len(secrets) > 2:
        raise ProfileRefused(f"{SECRETS}: write one secret, or the current and the previous one with a comma between")
    try:
        return tuple(decode_secret(secret) for secret in secrets)
    except ValueError as error:
        raise ProfileRefused(f"{SECRETS}: {error}") from None


def _recorder(values: Mapping[str, str], own_bucket: str) -> Recorder:
    text = values.get(PROFILE)
    if text is None:
        raise ProfileRefused(f"{PROFILE}: missing; put a JSON profile, {{}} to record nothing")
    profile = RecordingProfile.parse(text)
    _destination(profile.destination, own_bucket, "destination")
    credentials = values.get(CREDENTIALS, "").strip()
    destinations = {}
    for index, rule in enumerate(profile.rules):
        if rule.record:
            field = f"rules[{index}].destination" if rule.destination else "destination"
            destination = _destination(rule.destination or profile.destination, own_bucket, field)
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


def _destination(template: str | None, own_bucket: str, field: str) -> Destination:
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
