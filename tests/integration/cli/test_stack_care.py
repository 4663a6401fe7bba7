"""A stack gets a new key, and is deleted by one command; what must be kept stays."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from call_recorder.answering.parameter_names import PROFILE, SECRETS
from local.simulator import app_to_app
from tests.integration.conftest import deploy_another, keys
from tests.integration.test_two_stacks import parameters

if TYPE_CHECKING:
    from local.stack import LocalStack
    from tests.integration.cli.conftest import Run

pytestmark = pytest.mark.long


def test_a_stack_is_rotated_and_uninstalled_by_the_command_line(stack: LocalStack, run: Run) -> None:
    leaving, aws = deploy_another(stack, "uninstalled"), stack.aws
    assert leaving.simulator().play(app_to_app("alice")).held
    others = parameters(aws, stack.outputs["ParameterPrefix"])

    def command(*words: str) -> Any:
        printed = run(*words, "--stack", "uninstalled", "--json")
        assert printed.code == 0, printed.err
        return json.loads(printed.out)

    assert [step["step"] for step in command("rotate")["steps"]] == ["created"]
    again = command("rotate")
    assert (again["steps"], again["problems"]) == ([], [])
    assert again["waits"]
    assert len(keys(leaving)) == 2

    done = command("uninstall", "--yes")

    assert done["rules"] >= 1
    kept = {leaving.outputs[name] for name in ("RecordingsBucketName", "RecordingsTableName", "PlacesTableName")}
    assert kept <= {each["name"] for each in done["kept"]}
    assert leaving.outputs["UploaderUserName"] not in [user["UserName"] for user in aws.iam.list_users()["Users"]]
    bus = leaving.outputs["RecordingsBusName"]
    assert bus not in [each["Name"] for each in aws.events.list_event_buses()["EventBuses"]]
    bucket = leaving.outputs["RecordingsBucketName"]
    assert aws.s3.list_objects_v2(Bucket=bucket, Prefix="recordings/")["KeyCount"] > 0
    assert aws.dynamodb.Table(leaving.outputs["RecordingsTableName"]).item_count > 0
    key = leaving.application_key
    assert parameters(aws, "uninstalled").keys() == {f"{key}/{SECRETS}", f"{key}/{PROFILE}"}
    assert parameters(aws, stack.outputs["ParameterPrefix"]) == others
    assert run("uninstall", "--stack", "uninstalled", "--yes").code == 3
    assert stack.simulator().play(app_to_app("alice")).held
