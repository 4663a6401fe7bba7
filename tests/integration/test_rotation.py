"""The uploader's key is replaced, from the making of a new one to the end of the old, and no upload fails."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from threading import Event
from typing import TYPE_CHECKING, Any, Final

import pytest
from pydantic import SecretStr

from call_recorder.answering.parameter_names import CREDENTIALS
from call_recorder.functions.rotation import compose
from call_recorder.uploader_key.plan import SETTLE_TIME, mask_key
from local import demo
from local.simulator import app_to_app, phone_to_number
from local.stack import read_uploader_credentials
from local.storage import Storage, StorageEndpoints, StoredFile, UploadRefused
from local.waiting import wait_until
from tests.integration.conftest import PARAMETERS, WITHIN, deploy_another, keys, parameter, variables

if TYPE_CHECKING:
    from local.stack import LocalStack
    from local.subscriber import Subscriber

pytestmark = pytest.mark.long

TTL = timedelta(seconds=int(PARAMETERS["ParametersTtlSeconds"]))
OVERLAP = TTL + timedelta(seconds=int(PARAMETERS["LongestCallSeconds"]) + int(PARAMETERS["GraceSeconds"]))
# IAM and SSM date by the real clock, which goes on a little.
MARGIN = timedelta(seconds=60)
AHEAD: Final = {
    "handed-out": SETTLE_TIME + MARGIN,
    "deactivated": SETTLE_TIME + 2 * MARGIN + OVERLAP,
    "deleted": SETTLE_TIME + 2 * MARGIN + 2 * OVERLAP,
}
"""How long after the order of a new key each step is due."""


@dataclass
class Uploads:
    """A store that notes the access key of each upload, and holds it back until it is let go."""

    stack: LocalStack
    go: Event = field(default_factory=Event)
    keys: list[str] = field(default_factory=list)

    def put(self, url: str, credentials: SecretStr, body: bytes, content_type: str) -> StoredFile:
        self.keys.append(credentials.get_secret_value().partition(":")[0])
        assert self.go.wait(WITHIN)
        storage = Storage(StorageEndpoints(s3=self.stack.aws_endpoint))
        return storage.put(url, credentials, body, content_type)


def taken(report: dict[str, Any]) -> set[str]:
    """Return the steps that a report tells of."""
    return {step["step"] for step in report["steps"]}


class Rotating:
    """A stack whose key is replaced while calls go on.

    Its RotationFunction runs in this process, with the environment that it is deployed with and a clock that can be
    put forward.
    """

    def __init__(self, stack: LocalStack, monkeypatch: pytest.MonkeyPatch) -> None:
        self.stack, self.uploads, self.failures, self.calls = stack, Uploads(stack), list[str](), 0
        self.uploads.go.set()
        self.old = self.new
        self._ahead = timedelta()
        environment = variables(stack, "RotationFunction") | {
            "AWS_REGION": stack.region,
            "AWS_DEFAULT_REGION": stack.region,
            "AWS_ENDPOINT_URL": stack.aws_endpoint,
            "AWS_ACCESS_KEY_ID": "test",
            "AWS_SECRET_ACCESS_KEY": "test",
        }
        for name, value in environment.items():
            monkeypatch.setenv(name, value)
        self._run = compose(environment, clock=lambda: datetime.now(UTC) + self._ahead)

    @property
    def new(self) -> str:
        """The access key that the stack's application has."""
        return parameter(self.stack, self.stack.application_key, CREDENTIALS).partition(":")[0]

    def take(self, step: str) -> None:
        """Run the function when a step is due, and see that it takes that step alone."""
        self._ahead = AHEAD[step]
        assert taken(self._run({})) == {step}

    def play(self, over: Event) -> None:
        """Play calls, one after the other."""
        simulator = self.stack.simulator()
        simulator.store = self.uploads
        while not over.is_set():
            self.failures += simulator.play(app_to_app("alice")).failures
            self.calls += 1

    def wait_for_a_call(self) -> None:
        """Wait until a call has begun and ended."""
        enough = self.calls + 2
        wait_until("another call has ended", lambda: self.calls >= enough, within=WITHIN)


@pytest.fixture
def neighbour(stack: LocalStack) -> LocalStack:
    """A second stack in the same account."""
    return deploy_another(stack, "neighbour")


def test_two_stacks_replace_their_keys_during_calls_without_failed_uploads(
    stack: LocalStack, neighbour: LocalStack, subscriber: Subscriber, monkeypatch: pytest.MonkeyPatch
) -> None:
    long_call, held_back, old_credentials = stack.simulator(), Uploads(stack), read_uploader_credentials(stack)
    long_call.store = held_back
    ours, theirs = both = [Rotating(each, monkeypatch) for each in (stack, neighbour)]
    over = Event()
    with ThreadPoolExecutor(3) as executor:
        try:
            playing = [executor.submit(each.play, over) for each in both]
            last_with_old = executor.submit(long_call.play, phone_to_number(demo.ROUTED_NUMBER))
            wait_until("a call with the old key is over", lambda: held_back.keys, within=WITHIN)
            for each in both:
                each.wait_for_a_call()
                assert taken(each.stack.invoke("RotationFunction", {"rotate": True})) == {"created"}
                assert taken(each.stack.invoke("RotationFunction", {"rotate": True})) == set()
                assert len(keys(each.stack)) == 2
                assert each.new == each.old

            for each in both:
                each.take("handed-out")
                assert each.new != each.old
            expired = datetime.now(UTC) + TTL
            wait_until("every cache has expired", lambda: datetime.now(UTC) > expired, within=WITHIN)
            for each in both:
                each.wait_for_a_call()
                assert each.uploads.keys[-1] == each.new

            assert held_back.keys == [ours.old]
            assert keys(stack)[ours.old] == "Active"
            held_back.go.set()
            assert last_with_old.result().failures == []
            for step in ("deactivated", "deleted"):
                for each in both:
                    each.take(step)
                    each.wait_for_a_call()
        finally:
            over.set()

    for each, calls in zip(both, playing, strict=True):
        calls.result()
        assert each.failures == []
        assert keys(each.stack) == {each.new: "Active"}
        assert set(each.uploads.keys) == {each.old, each.new}
    assert not {ours.old, ours.new} & {theirs.old, theirs.new}
    url = f"s3://{stack.outputs['RecordingsBucketName']}/recordings/with-the-old-key.mp3"
    with pytest.raises(UploadRefused):
        held_back.put(url, SecretStr(old_credentials), b"audio", "audio/mpeg")

    def announced() -> bool:
        subscriber.poll()
        changes = [event["detail"]["data"] for event in subscriber.select_kind("Uploader Key Changed")]
        due = ((ours.new, "created"), (ours.new, "handed-out"), (ours.old, "deactivated"), (ours.old, "deleted"))
        return {(mask_key(key), step) for key, step in due} <= {(each["key"], each["step"]) for each in changes}

    wait_until("every step is announced", announced, within=WITHIN)
    log = "\n".join(stack.function_log())
    assert [secret for secret in (ours.old, ours.new, old_credentials.split(":")[1]) if secret in log] == []
