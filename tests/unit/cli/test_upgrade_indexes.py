"""The upgrade of the indexes takes its steps in order, one at a time, and goes on where it stopped."""

from __future__ import annotations

import json
from typing import Any, cast

import pytest

from call_recorder_cli.errors import CommandFailed
from call_recorder_cli.maintenance import index_upgrade as module
from call_recorder_cli.maintenance.index_upgrade import PARAMETER, STEPS, IndexUpgrade
from tests.template.stack import read_template
from tests.unit.cli.conftest import Run


class Account:
    """CloudFormation and DynamoDB with one stack. Each update takes some looks, and so does a new index.

    Attributes:
        fails_at: the step that CloudFormation rolls back.
    """

    def __init__(self, **parameters: str) -> None:
        self.parameters = {"GraceSeconds": "60", **parameters}
        self.status = "UPDATE_COMPLETE"
        self.updates: list[str] = []
        self.fails_at = ""
        self._looks, self._fills = 0, 0

    def describe_stacks(self, StackName: str) -> dict[str, Any]:  # noqa: N803 - AWS's names
        in_progress, self._looks = self._looks > 0, max(self._looks - 1, 0)
        pairs = [{"ParameterKey": name, "ParameterValue": value} for name, value in self.parameters.items()]
        status = "UPDATE_IN_PROGRESS" if in_progress else self.status
        return {"Stacks": [{"StackStatus": status, "Parameters": pairs}]}

    def update_stack(self, **call: Any) -> None:
        assert call["UsePreviousTemplate"]
        assert self._looks == 0, "CloudFormation refuses an update while another one is in progress"
        assert self._fills == 0, "DynamoDB refuses an update while an index is being created"
        given = {each.pop("ParameterKey"): each for each in call["Parameters"]}
        step = given.pop(PARAMETER)["ParameterValue"]
        assert given == {"GraceSeconds": {"UsePreviousValue": True}}
        self.updates.append(step)
        self._looks = 3
        if step == self.fails_at:
            self.status = "UPDATE_ROLLBACK_COMPLETE"
        else:
            self.status, self.parameters[PARAMETER], self._fills = "UPDATE_COMPLETE", step, 2

    def describe_table(self, TableName: str) -> dict[str, Any]:  # noqa: N803 - AWS's names
        filling, self._fills = self._fills > 0, max(self._fills - 1, 0)
        index = {"IndexName": "due", "IndexStatus": "CREATING" if filling else "ACTIVE"}
        return {"Table": {"TableStatus": "ACTIVE", "GlobalSecondaryIndexes": [index]}}


def upgrade(account: Account) -> IndexUpgrade:
    return IndexUpgrade(cast("Any", account), cast("Any", account), "the-stack", "recordings", poll_seconds=0)


def take_all(account: Account) -> None:
    upgrading = upgrade(account)
    for step in upgrading.steps():
        upgrading.take(step)


def test_every_step_is_taken_when_the_one_before_is_done() -> None:
    account = Account(TableIndexes="former")

    take_all(account)

    assert account.updates == [*STEPS][1:]
    assert upgrade(account).steps() == []


@pytest.mark.parametrize("step", [*STEPS][1:])
def test_an_upgrade_goes_on_after_a_failed_step(step: str) -> None:
    account = Account(TableIndexes="former")
    account.fails_at = step
    with pytest.raises(CommandFailed, match=f"could not update the-stack to {step} .*UPDATE_ROLLBACK_COMPLETE"):
        take_all(account)

    account.fails_at = ""
    take_all(account)

    assert account.updates.count(step) == 2
    assert list(dict.fromkeys(account.updates)) == [*STEPS][1:]


@pytest.mark.parametrize("parameters", [{}, {"TableIndexes": "of a later version"}])
def test_a_stack_without_the_parameter_is_refused(parameters: dict[str, str]) -> None:
    with pytest.raises(CommandFailed, match="sam deploy --parameter-overrides TableIndexes=former"):
        upgrade(Account(**parameters)).steps()


def test_the_steps_are_the_values_of_the_parameter() -> None:
    assert sorted(STEPS) == sorted(read_template()["Parameters"][PARAMETER]["AllowedValues"])


def test_the_command_says_each_step(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    account = Account(TableIndexes="upgrade-6")
    monkeypatch.setattr(module, "IndexUpgrade", lambda *_: upgrade(account))

    printed = run("upgrade-indexes")
    assert printed.err.splitlines() == [
        "7 of 9: deletes byCaller ...",
        "8 of 9: deletes byCallee ...",
        "9 of 9: creates expiring ...",
    ]
    assert printed.out == "The table of call-recorder has its current indexes.\n"
    assert json.loads(run("upgrade-indexes", "--json").out) == {"steps": []}
    assert run("upgrade-indexes").out == "call-recorder needs no upgrade.\n"
