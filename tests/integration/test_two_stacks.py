"""Two stacks in one account: one is deleted without harm to the other. test_rotation.py replaces the keys of both."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from call_recorder.answering.parameter_names import PROFILE, SECRETS
from local.simulator import app_to_app
from local.stack import delete
from tests.integration.conftest import STATE_OF_TESTS, deploy_another, keys
from tests.integration.test_rotation import taken

if TYPE_CHECKING:
    from local.aws import Aws
    from local.stack import LocalStack

pytestmark = pytest.mark.long


def parameters(aws: Aws, prefix: str) -> dict[str, str]:
    """Return the values of the parameters below a prefix, by their names below it."""
    pages = aws.ssm.get_paginator("get_parameters_by_path").paginate(
        Path=f"/{prefix}", Recursive=True, WithDecryption=True
    )
    return {each["Name"].removeprefix(f"/{prefix}/"): each["Value"] for page in pages for each in page["Parameters"]}


def test_a_stack_is_deleted_in_one_attempt_and_retained_resources_stay(stack: LocalStack) -> None:
    leaving, aws = deploy_another(stack, "leaving"), stack.aws
    assert taken(leaving.invoke("RotationFunction", {"rotate": True})) == {"created"}
    assert len(keys(leaving)) == 2
    assert leaving.simulator().play(app_to_app("alice")).held
    bus, bucket = leaving.outputs["RecordingsBusName"], leaving.outputs["RecordingsBucketName"]
    own, subscriber = sorted(rule["Name"] for rule in aws.events.list_rules(EventBusName=bus)["Rules"])
    assert (own.startswith("leaving-CustodyFunctionLateFile"), subscriber) == (True, "subscriber")
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
    assert stack.simulator().play(app_to_app("alice")).held
