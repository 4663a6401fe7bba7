"""The upgrade of the indexes takes its steps in order, one at a time, and goes on where it stopped."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

import pytest

from tests.template.stack import read_template
from tools import upgrade_indexes as command
from tools.stack import Refused
from tools.upgrade_indexes import PARAMETER, STEPS, IndexUpgrade


class Account:
    """CloudFormation and DynamoDB with one stack. Each update takes some looks, and so does a new index.

    Attributes:
        fails_at: the step that CloudFormation rolls back.
    """

    class meta:  # noqa: N801 - boto3's name
        region_name = "eu-west-1"

    def __init__(self, **parameters: str) -> None:
        self.parameters = {"GraceSeconds": "60", **parameters}
        self.status = "UPDATE_COMPLETE"
        self.updates: list[str] = []
        self.fails_at = ""
        self._looks, self._fills = 0, 0

    def describe_stacks(self, StackName: str) -> dict[str, Any]:  # noqa: N803 - AWS's names
        in_progress, self._looks = self._looks > 0, max(self._looks - 1, 0)
        pairs = [{"ParameterKey": name, "ParameterValue": value} for name, value in self.parameters.items()]
        outputs = [{"OutputKey": "RecordingsTableName", "OutputValue": "recordings"}]
        status = "UPDATE_IN_PROGRESS" if in_progress else self.status
        return {"Stacks": [{"StackStatus": status, "Parameters": pairs, "Outputs": outputs}]}

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
    return IndexUpgrade(cast("Any", account), cast("Any", account), "the-stack", poll_seconds=0)


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
    with pytest.raises(Refused, match=f"could not update the-stack to {step} .*UPDATE_ROLLBACK_COMPLETE"):
        take_all(account)

    account.fails_at = ""
    take_all(account)

    assert account.updates.count(step) == 2
    assert list(dict.fromkeys(account.updates)) == [*STEPS][1:]


@pytest.mark.parametrize("parameters", [{}, {"TableIndexes": "of a later version"}])
def test_a_stack_without_the_parameter_is_refused(parameters: dict[str, str]) -> None:
    with pytest.raises(Refused, match="sam deploy --parameter-overrides TableIndexes=former"):
        upgrade(Account(**parameters)).steps()


def test_the_steps_are_the_values_of_the_parameter() -> None:
    assert sorted(STEPS) == sorted(read_template()["Parameters"][PARAMETER]["AllowedValues"])


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch) -> Callable[[Account], int]:
    def run(account: Account) -> int:
        monkeypatch.setattr(command, "open_session", lambda: cast("Any", Session(account)))
        monkeypatch.setattr(command, "POLL_SECONDS", 0)
        return command.main(["--stack", "the-stack"])

    return run


class Session:
    def __init__(self, account: Account) -> None:
        self._account = account

    def client(self, _service: str) -> Account:
        return self._account


def test_the_command_prints_each_step(run: Callable[[Account], int], capsys: pytest.CaptureFixture[str]) -> None:
    account = Account(TableIndexes="upgrade-6")

    assert run(account) == 0
    assert capsys.readouterr().out.splitlines() == [
        "7 of 8: deletes byCaller ...",
        "8 of 8: deletes byCallee ...",
        "The table of the-stack has its current indexes.",
    ]
    assert run(account) == 0
    assert capsys.readouterr().out == "the-stack needs no upgrade.\n"
    assert run(Account()) == 1
    assert "has no parameter TableIndexes" in capsys.readouterr().err
