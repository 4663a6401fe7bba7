"""The uploader's key is replaced, from the making of a new one to the end of the old, and no upload fails."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from threading import Event
from typing import TYPE_CHECKING, Any

import pytest
from pydantic import SecretStr

from call_recorder.answering.parameter_names import CREDENTIALS
from call_recorder.functions.rotation import RotationHandler, compose
from call_recorder.uploader_key.plan import SETTLE_TIME, mask_key
from local import demo
from local.simulator import app_to_app, phone_to_number
from local.stack import read_uploader_credentials
from local.storage import Storage, StorageEndpoints, StoredFile, UploadRefused
from local.waiting import wait_until
from tests.integration.conftest import PARAMETERS, parameter

if TYPE_CHECKING:
    from local.simulator import PlayedCall
    from local.stack import LocalStack
    from local.subscriber import Subscriber

WITHIN = 60.0
TTL = timedelta(seconds=int(PARAMETERS["ParametersTtlSeconds"]))
OVERLAP = TTL + timedelta(seconds=int(PARAMETERS["LongestCallSeconds"]) + int(PARAMETERS["GraceSeconds"]))
# IAM and SSM date by the real clock, which goes on a little.
MARGIN = timedelta(seconds=60)


@dataclass
class Uploads:
    """A store that notes the key of each upload, and holds it back until it is let go."""

    storage: Storage
    go: Event = field(default_factory=Event)
    keys: list[str] = field(default_factory=list)

    def put(self, url: str, credentials: SecretStr, body: bytes, content_type: str) -> StoredFile:
        self.keys.append(credentials.get_secret_value().partition(":")[0])
        assert self.go.wait(WITHIN)
        return self.storage.put(url, credentials, body, content_type)


@dataclass
class Calls:
    """Calls that go on, one after the other."""

    uploads: Uploads
    played: list[PlayedCall] = field(default_factory=list)

    def wait_for_another(self) -> None:
        """Wait until a call has begun and ended."""
        enough = len(self.played) + 2
        wait_until("another call has ended", lambda: len(self.played) >= enough, within=WITHIN)


@contextmanager
def calls_go_on(stack: LocalStack) -> Iterator[Calls]:
    """Play calls all the while, and see in the end that nothing failed in any."""
    calls = Calls(Uploads(Storage(StorageEndpoints(s3=stack.aws_endpoint))))
    calls.uploads.go.set()
    over = Event()
    simulator = stack.simulator()
    simulator.store = calls.uploads

    def play() -> None:
        while not over.is_set():
            calls.played.append(simulator.play(app_to_app("alice")))

    with ThreadPoolExecutor(1) as executor:
        playing = executor.submit(play)
        try:
            calls.wait_for_another()
            yield calls
        finally:
            over.set()
            playing.result()
    assert [failure for played in calls.played for failure in played.failures] == []


@dataclass
class Hastened:
    """RotationFunction as it is deployed, but in this process and by a clock that can be put forward."""

    stack: LocalStack
    ahead: timedelta = timedelta()

    def function(self, monkeypatch: pytest.MonkeyPatch) -> RotationHandler:
        configuration = self.stack.aws.lambda_.get_function_configuration(
            FunctionName=self.stack.outputs["RotationFunctionName"]
        )
        environment = configuration["Environment"]["Variables"] | {
            "AWS_REGION": self.stack.region,
            "AWS_DEFAULT_REGION": self.stack.region,
            "AWS_ENDPOINT_URL": self.stack.aws_endpoint,
            "AWS_ACCESS_KEY_ID": "test",
            "AWS_SECRET_ACCESS_KEY": "test",
        }
        for name, value in environment.items():
            monkeypatch.setenv(name, value)
        return compose(environment, clock=lambda: datetime.now(UTC) + self.ahead)


def keys(stack: LocalStack) -> dict[str, str]:
    """Return the status of each of the uploader's keys."""
    listed = stack.aws.iam.list_access_keys(UserName=stack.outputs["UploaderUserName"])["AccessKeyMetadata"]
    return {key["AccessKeyId"]: key["Status"] for key in listed}


def taken(report: dict[str, Any]) -> set[str]:
    return {step["step"] for step in report["steps"]}


def test_a_key_is_replaced_while_calls_go_on_and_no_upload_fails(
    stack: LocalStack, subscriber: Subscriber, monkeypatch: pytest.MonkeyPatch
) -> None:
    storage = Storage(StorageEndpoints(s3=stack.aws_endpoint))
    held_back = Uploads(storage)
    long_call = stack.simulator()
    long_call.store = held_back
    hastened = Hastened(stack)
    run = hastened.function(monkeypatch)
    old_credentials = SecretStr(read_uploader_credentials(stack))
    old = old_credentials.get_secret_value().partition(":")[0]

    with ThreadPoolExecutor(1) as executor, calls_go_on(stack) as calls:
        last_with_old = executor.submit(long_call.play, phone_to_number(demo.ROUTED_NUMBER))
        wait_until("a call with the old key is over", lambda: held_back.keys, within=WITHIN)

        assert taken(stack.invoke("RotationFunction", {"rotate": True})) == {"created"}
        assert taken(stack.invoke("RotationFunction", {"rotate": True})) == set()
        assert len(keys(stack)) == 2
        new = read_uploader_credentials(stack).partition(":")[0]
        assert new != old

        hastened.ahead = SETTLE_TIME + MARGIN
        assert taken(run({})) == {"handed-out"}
        handed_out = datetime.now(UTC)
        assert parameter(stack, demo.DEMO, CREDENTIALS) == read_uploader_credentials(stack)
        wait_until("every cache has expired", lambda: datetime.now(UTC) > handed_out + TTL, within=WITHIN)
        calls.wait_for_another()
        assert calls.uploads.keys[-1] == new

        assert held_back.keys == [old]
        assert keys(stack)[old] == "Active"
        held_back.go.set()
        assert last_with_old.result().failures == []

        hastened.ahead += OVERLAP + MARGIN
        assert taken(run({})) == {"deactivated"}
        calls.wait_for_another()

        hastened.ahead += OVERLAP
        assert taken(run({})) == {"deleted"}
        calls.wait_for_another()

    assert keys(stack) == {new: "Active"}
    assert set(calls.uploads.keys) == {old, new}
    with pytest.raises(UploadRefused):
        storage.put(calls.played[-1].uploads[0].url, old_credentials, b"audio", "audio/mpeg")

    def announced() -> bool:
        subscriber.poll()
        told = {(data["key"], data["step"]) for data in changes(subscriber)}
        return told >= {
            (mask_key(new), "created"),
            (mask_key(new), "handed-out"),
            (mask_key(old), "deactivated"),
            (mask_key(old), "deleted"),
        }

    wait_until("every step is announced", announced, within=WITHIN)
    log = "\n".join(stack.function_log())
    assert [secret for secret in (old, new, *secrets(old_credentials)) if secret in log] == []


def changes(subscriber: Subscriber) -> list[dict[str, Any]]:
    """Return the changes of keys that the subscriber was told."""
    return [event["detail"]["data"] for event in subscriber.select_kind("Uploader Key Changed")]


def secrets(credentials: SecretStr) -> list[str]:
    return credentials.get_secret_value().split(":")[1:2]
