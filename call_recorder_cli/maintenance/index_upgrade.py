"""Gives the table of recordings its current indexes, one after the other.

DynamoDB creates or deletes one index in an update of a table, and CloudFormation does not wait until a new index is
filled. So each step updates the stack with the next value of its parameter ``TableIndexes``, and nothing else, when all
indexes are active. docs/upgrade.md says when this is needed.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Final

from call_recorder_cli.errors import CommandFailed

if TYPE_CHECKING:
    from mypy_boto3_cloudformation import CloudFormationClient
    from mypy_boto3_cloudformation.type_defs import StackTypeDef
    from mypy_boto3_dynamodb import DynamoDBClient

PARAMETER: Final = "TableIndexes"
STEPS: Final = {
    "former": "has the indexes of the version before",
    "upgrade-1": "creates due",
    "upgrade-2": "creates listByDay",
    "upgrade-3": "creates listByCaller",
    "upgrade-4": "creates listByCallee",
    "upgrade-5": "deletes waiting",
    "upgrade-6": "deletes byApplicationDay",
    "upgrade-7": "deletes byCaller",
    "upgrade-8": "deletes byCallee",
    "current": "creates expiring",
}
"""The values of the parameter in the order of the upgrade, and what an update to each does."""

POLL_SECONDS: Final = 5.0
_CAPABILITIES: Final = ["CAPABILITY_IAM", "CAPABILITY_NAMED_IAM", "CAPABILITY_AUTO_EXPAND"]


class IndexUpgrade:
    """Upgrades the indexes of one stack.

    Args:
        cloudformation: CloudFormation.
        dynamodb: DynamoDB.
        stack: the name of the stack.
        table: the name of the table of recordings.
        poll_seconds: the pause between two looks at CloudFormation or DynamoDB.
    """

    def __init__(
        self,
        cloudformation: CloudFormationClient,
        dynamodb: DynamoDBClient,
        stack: str,
        table: str,
        *,
        poll_seconds: float | None = None,
    ) -> None:
        self._cloudformation = cloudformation
        self._dynamodb = dynamodb
        self._stack = stack
        self._table = table
        self._poll_seconds = POLL_SECONDS if poll_seconds is None else poll_seconds

    def steps(self) -> list[str]:
        """Wait until no update is in progress, and return the steps that are still to take.

        Raises:
            CommandFailed: the template of the stack is of the version before.
        """
        self._wait_until_idle()
        parameters = {each["ParameterKey"]: each["ParameterValue"] for each in self._describe().get("Parameters", ())}
        at = parameters.get(PARAMETER)
        if at not in STEPS:
            raise CommandFailed(
                f"The stack {self._stack} has no parameter {PARAMETER}: deploy this version to it first, with "
                f"`sam deploy --parameter-overrides {PARAMETER}=former`. See docs/upgrade.md."
            )
        names = list(STEPS)
        return names[names.index(at) + 1 :]

    def take(self, step: str) -> None:
        """Take the next step, and wait until it is done and all indexes are active.

        Raises:
            CommandFailed: CloudFormation could not update the stack.
        """
        self._wait_for_indexes()
        parameters = self._describe().get("Parameters", ())
        self._cloudformation.update_stack(
            StackName=self._stack,
            UsePreviousTemplate=True,
            Parameters=[
                {"ParameterKey": PARAMETER, "ParameterValue": step}
                if each["ParameterKey"] == PARAMETER
                else {"ParameterKey": each["ParameterKey"], "UsePreviousValue": True}
                for each in parameters
            ],
            Capabilities=_CAPABILITIES,  # type: ignore[arg-type]  # the stubs list the three literals
        )
        self._wait_for_update(step)
        self._wait_for_indexes()

    def _wait_for_update(self, step: str) -> None:
        status = self._wait_until_idle()
        if status != "UPDATE_COMPLETE":
            raise CommandFailed(
                f"CloudFormation could not update {self._stack} to {step} (it is in the status {status}): read the "
                "events of the stack. If an index was created before that, delete it, then start again. See "
                "docs/upgrade.md."
            )

    def _wait_until_idle(self) -> str:
        """Wait until no update of the stack is in progress, and return its status."""
        while (status := self._describe()["StackStatus"]).endswith("_IN_PROGRESS"):
            time.sleep(self._poll_seconds)
        return status

    def _wait_for_indexes(self) -> None:
        while not all(status == "ACTIVE" for status in self._index_statuses()):
            time.sleep(self._poll_seconds)

    def _index_statuses(self) -> list[str]:
        table = self._dynamodb.describe_table(TableName=self._table)["Table"]
        indexes = table.get("GlobalSecondaryIndexes", ())
        return [table["TableStatus"], *(index.get("IndexStatus", "ACTIVE") for index in indexes)]

    def _describe(self) -> StackTypeDef:
        [stack] = self._cloudformation.describe_stacks(StackName=self._stack)["Stacks"]
        return stack
