"""One Sinch application as its parameters describe it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from pydantic import SecretStr

from call_recorder.recording.destinations import Destination, DestinationRefused, check_credentials
from call_recorder.recording.profile import ProfileRefused, RecordingProfile
from call_recorder.sinch.signature import decode_secret
from call_recorder.sinch.svaml import RecordingOptions

SECRETS = "application-secrets"
CREDENTIALS = "storage-credentials"
PROFILE = "recording-profile"
PARAMETERS = (SECRETS, CREDENTIALS, PROFILE)
"""The names of an application's parameters, below ``/<prefix>/<applicationKey>/``."""

RECORDINGS_PREFIX = "recordings/"
"""Where the uploader may write in the stack's own bucket."""

_OWN_PATH = RECORDINGS_PREFIX + "{applicationKey}/{date}/{callId}.{format}"


@dataclass(frozen=True, slots=True)
class Recorder:
    """How an application's recordings are made: its profile with a destination that fits its credentials."""

    profile: RecordingProfile
    destination: Destination
    credentials: SecretStr

    def options(self, url: str) -> RecordingOptions:
        """Return the recording options for one call, with its destination URL."""
        return RecordingOptions(
            destination_url=url,
            credentials=self.credentials,
            format=self.profile.format,
            notification_events=self.profile.notification_events,
            transcription_options=self.profile.transcription,
        )


@dataclass(frozen=True, slots=True)
class Application:
    """A Sinch application that may call back.

    ``secrets`` are the decoded application secrets, current and perhaps previous. ``recorder`` is ``None``
    when the profile or the credentials cannot work; ``problem`` then says why, in one sentence.
    """

    key: str
    secrets: tuple[bytes, ...] = field(repr=False)
    recorder: Recorder | None = None
    problem: str | None = None

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
        try:
            recorder = _recorder(values, own_bucket)
        except ProfileRefused as refusal:
            return cls(key=key, secrets=secrets, problem=str(refusal))
        return cls(key=key, secrets=secrets, recorder=recorder)


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
    destination = _destination(profile, own_bucket)
    credentials = values.get(CREDENTIALS, "").strip()
    if any(rule.record for rule in profile.rules):
        if not credentials:
            raise ProfileRefused(f"{CREDENTIALS}: missing; the profile records calls to {destination.scheme}")
        try:
            check_credentials(destination.scheme, credentials)
        except DestinationRefused as refusal:
            raise ProfileRefused(f"{CREDENTIALS}: {refusal}") from None
    return Recorder(profile=profile, destination=destination, credentials=SecretStr(credentials))


def _destination(profile: RecordingProfile, own_bucket: str) -> Destination:
    if profile.destination is None:
        return Destination(scheme="s3", container=own_bucket, path=_OWN_PATH)
    destination = Destination.parse(profile.destination)
    own = destination.scheme == "s3" and destination.container == own_bucket
    if own and not destination.path.startswith(RECORDINGS_PREFIX):
        raise ProfileRefused(
            f"{PROFILE}: destination: the stack's bucket takes recordings below {RECORDINGS_PREFIX} only; "
            f"write s3://{own_bucket}/{_OWN_PATH}"
        )
    return destination
