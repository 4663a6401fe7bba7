"""Two stacks in one account: each has its own uploader's key, and one is deleted without harm to the other."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest

from call_recorder.answering.parameter_names import CREDENTIALS, PROFILE, SECRETS
from call_recorder.uploader_key.plan import SETTLE_TIME
from local import demo
from local.demo import DemoApplication
from local.simulator import app_to_app
from local.stack import delete, hand_out_key
from local.storage import Storage, StorageEndpoints
from local.waiting import wait_until
from tests.integration.conftest import STATE_OF_TESTS, deploy_another, parameter, start
from tests.integration.test_rotation import MARGIN, OVERLAP, TTL, WITHIN, Hastened, Uploads, keys, taken

if TYPE_CHECKING:
    from call_recorder.functions.rotation import RotationHandler
    from local.aws import Aws
    from local.stack import LocalStack

RECORD_ALL = {"rules": [{"name": "everything", "record": True}]}


def another(stack: LocalStack, name: str, profile: dict[str, Any] = RECORD_ALL, **parameters: str) -> LocalStack:
    """Deploy one more stack, whose application has no key yet."""
    application = DemoApplication(demo.make_application(f"{name}-application"), profile)
    return deploy_another(stack, name, application, **parameters)


def parameters(aws: Aws, prefix: str) -> dict[str, str]:
    """Return what the parameters below a prefix hold, by their names below it."""
    pages = aws.ssm.get_paginator("get_parameters_by_path").paginate(
        Path=f"/{prefix}", Recursive=True, WithDecryption=True
    )
    return {each["Name"].removeprefix(f"/{prefix}/"): each["Value"] for page in pages for each in page["Parameters"]}


def existing_stacks(aws: Aws) -> dict[str, str]:
    """Return the status of every stack that is there, or could not be deleted."""
    found = {each["StackName"]: each["StackStatus"] for each in aws.cloudformation.describe_stacks()["Stacks"]}
    assert "DELETE_FAILED" not in found.values(), found
    return {name: status for name, status in found.items() if status != "DELETE_COMPLETE"}


def delete_at_once(aws: Aws, name: str) -> None:
    """Delete a stack without `sam delete`, which asks only twice a minute whether it is done."""
    aws.cloudformation.delete_stack(StackName=name)
    wait_until("the stack is deleted", lambda: name not in existing_stacks(aws), within=WITHIN)


def play(stack: LocalStack) -> str:
    """Play a call that is recorded into the stack's own bucket; return the access key that its file was stored with."""
    uploads = Uploads(Storage(StorageEndpoints(s3=stack.aws_endpoint)))
    uploads.go.set()
    simulator = stack.simulator()
    simulator.store = uploads
    assert simulator.play(app_to_app("alice")).failures == []
    [key] = set(uploads.keys)
    return key


@dataclass
class Rotating:
    """A stack whose RotationFunction runs in this process, by a clock that can be put forward."""

    stack: LocalStack
    hastened: Hastened
    run: RotationHandler

    @classmethod
    def of(cls, stack: LocalStack, monkeypatch: pytest.MonkeyPatch) -> Rotating:
        hastened = Hastened(stack)
        return cls(stack, hastened, hastened.function(monkeypatch))

    def step(self, ahead: timedelta, step: str, event: dict[str, Any] | None = None) -> None:
        """Run ``ahead`` of the time and see that one step is taken."""
        self.hastened.ahead = ahead
        assert taken(self.run(event or {})) == {step}

    @property
    def newest(self) -> str:
        """The key of the stack's application."""
        return parameter(self.stack, self.stack.application_key, CREDENTIALS).partition(":")[0]

    def see_that_its_own_key_is_used(self) -> None:
        assert play(self.stack) == self.newest
        assert self.newest in keys(self.stack)


def wait_until_every_cache_has_expired() -> None:
    at = datetime.now(UTC) + TTL
    wait_until("every cache has expired", lambda: datetime.now(UTC) > at, within=WITHIN)


def test_two_stacks_go_through_two_rotations_and_no_upload_fails(
    stack: LocalStack, aws: Aws, monkeypatch: pytest.MonkeyPatch
) -> None:
    neighbour = another(stack, "neighbour")
    hand_out_key(neighbour, [neighbour.application_key])
    start(neighbour)
    both = [Rotating.of(each, monkeypatch) for each in (stack, neighbour)]
    assert len({each.outputs["ParameterPrefix"] for each in (stack, neighbour)}) == 2

    for _ in range(2):
        before = [each.newest for each in both]
        for each in both:
            each.step(timedelta(), "created", {"rotate": True})
        for each in both:
            each.step(SETTLE_TIME + MARGIN, "handed-out")
        wait_until_every_cache_has_expired()
        for each in both:
            each.see_that_its_own_key_is_used()
        for ahead, step in ((OVERLAP, "deactivated"), (2 * OVERLAP, "deleted")):
            for each in both:
                each.step(SETTLE_TIME + 2 * MARGIN + ahead, step)
                each.see_that_its_own_key_is_used()
        assert all(keys(each.stack) == {each.newest: "Active"} for each in both)
        assert not set(before) & {each.newest for each in both}

    delete_at_once(aws, "neighbour")


def test_a_stack_with_the_prefix_of_another_reports_it_and_changes_nothing(stack: LocalStack, aws: Aws) -> None:
    prefix = stack.outputs["ParameterPrefix"]
    lodger = another(stack, "lodger", ParameterPrefix=prefix)
    before = parameters(aws, prefix)

    for event in ({}, {"rotate": True}):
        report = lodger.invoke("RotationFunction", event)
        assert report["steps"] == []
        [problem] = report["problems"]
        for name in (stack.outputs["UploaderUserName"], lodger.outputs["UploaderUserName"], "ParameterPrefix"):
            assert name in problem
    assert parameters(aws, prefix) == before
    assert keys(lodger) == {}

    delete_at_once(aws, "lodger")

    assert parameters(aws, prefix) == before
    aws.ssm.delete_parameters(Names=[f"/{prefix}/{lodger.application_key}/{name}" for name in (SECRETS, PROFILE)])
    assert play(stack)


def test_a_stack_is_deleted_in_one_try_and_what_must_be_kept_stays(stack: LocalStack, aws: Aws) -> None:
    leaving = another(stack, "leaving")
    hand_out_key(leaving, [leaving.application_key])
    start(leaving)
    assert taken(leaving.invoke("RotationFunction", {"rotate": True})) == {"created"}
    assert len(keys(leaving)) == 2
    play(leaving)
    bus, bucket = leaving.outputs["RecordingsBusName"], leaving.outputs["RecordingsBucketName"]
    assert [rule["Name"] for rule in aws.events.list_rules(EventBusName=bus)["Rules"]] == ["subscriber"]
    others = parameters(aws, stack.outputs["ParameterPrefix"])

    delete(leaving, STATE_OF_TESTS)

    assert leaving.outputs["UploaderUserName"] not in [user["UserName"] for user in aws.iam.list_users()["Users"]]
    assert bus not in [each["Name"] for each in aws.events.list_event_buses()["EventBuses"]]
    application = leaving.application_key
    assert parameters(aws, "leaving").keys() == {f"{application}/{SECRETS}", f"{application}/{PROFILE}"}
    assert aws.s3.list_objects_v2(Bucket=bucket, Prefix="recordings/")["KeyCount"] > 0
    for table in ("RecordingsTableName", "PlacesTableName"):
        assert aws.dynamodb.Table(leaving.outputs[table]).item_count > 0
    assert parameters(aws, stack.outputs["ParameterPrefix"]) == others
    assert play(stack)
