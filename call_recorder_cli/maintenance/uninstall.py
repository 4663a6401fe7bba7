"""Deletes a stack, and says before what goes with it and what stays (docs/uninstall.md).

CloudFormation deletes, and CleanupFunction removes what would stop it. Each step can be repeated: after an
interruption, the next run goes on where the stack is.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from call_recorder.adapters.dynamodb_items import SHARDS
from call_recorder_cli.applications.parameters import list_parameters
from call_recorder_cli.errors import CommandFailed

if TYPE_CHECKING:
    from mypy_boto3_cloudformation.type_defs import StackResourceSummaryTypeDef

    from call_recorder_cli.stack import Stack

_MAX_NAMES: Final = 10  # in one DeleteParameters
_POLL_SECONDS: Final = 5.0
_STALE_LOOKS: Final = 6  # how often a stack may still be in the state of a deletion that failed before
_GONE: Final = {"DELETE_COMPLETE", "DELETE_SKIPPED"}


@dataclass(frozen=True, slots=True)
class Losses:
    """What is lost with the resources.

    Attributes:
        waiting_recordings: recordings whose files cannot be stored any more, since their key is deleted.
        facts: messages in the queue of facts.
        dead_letters: messages in the dead-letter queue.
        rules: rules on the bus, most of which subscribers made.
    """

    waiting_recordings: int = 0
    facts: int = 0
    dead_letters: int = 0
    rules: int = 0


@dataclass(frozen=True, slots=True)
class Removal:
    """What a deletion removes and what it leaves.

    Attributes:
        stack_id: finds the stack also when it is deleted.
        in_progress: whether CloudFormation is already deleting it.
        deleted: the number of resources of each type.
        kept: the types and names of the resources that stay.
        parameters: the names of the parameters that stay, unless they are chosen.
        losses: what else is lost.
    """

    stack_id: str
    in_progress: bool
    deleted: Counter[str]
    kept: tuple[tuple[str, str], ...]
    parameters: tuple[str, ...]
    losses: Losses


class Uninstaller:
    """Deletes one stack.

    Args:
        stack: the stack. Its session has the rights of a deployment.
    """

    def __init__(self, stack: Stack) -> None:
        self._session = stack.session
        self._stack = stack
        self._cloudformation = stack.session.client("cloudformation")
        self._ssm = stack.session.client("ssm")

    def plan(self) -> Removal:
        """Return what a deletion removes and what it leaves.

        Raises:
            CommandFailed: the stack is protected from deletion.
        """
        [described] = self._cloudformation.describe_stacks(StackName=self._stack.name)["Stacks"]
        if described.get("EnableTerminationProtection"):
            raise CommandFailed(
                f"The stack {self._stack.name} is protected from deletion: first run aws cloudformation "
                f"update-termination-protection --no-enable-termination-protection --stack-name {self._stack.name}."
            )
        stack_id, status = described["StackId"], described["StackStatus"]
        resources = [each for each in self._list_resources(stack_id) if each["ResourceStatus"] not in _GONE]
        retained = self._find_retained(stack_id)
        return Removal(
            stack_id=stack_id,
            in_progress=status == "DELETE_IN_PROGRESS",
            deleted=Counter(each["ResourceType"] for each in resources if each["LogicalResourceId"] not in retained),
            kept=tuple(
                (each["ResourceType"], each.get("PhysicalResourceId", ""))
                for each in resources
                if each["LogicalResourceId"] in retained
            ),
            parameters=tuple(list_parameters(self._stack)),
            losses=Losses() if status.startswith("DELETE") else self._count_losses(),
        )

    def find_sharing_stack(self) -> str | None:
        """Return the name of another stack of the account that uses the same parameters, if there is one."""
        prefix = self._stack.outputs["ParameterPrefix"]
        for page in self._cloudformation.get_paginator("describe_stacks").paginate():
            for each in page["Stacks"]:
                outputs = {output["OutputKey"]: output["OutputValue"] for output in each.get("Outputs", ())}
                if each["StackName"] != self._stack.name and outputs.get("ParameterPrefix") == prefix:
                    return each["StackName"]
        return None

    def delete(self, removal: Removal, *, parameters: bool) -> Iterator[int]:
        """Delete the stack, and yield now and then how many of its resources are gone.

        Args:
            removal: the plan.
            parameters: whether to delete the parameters too. They go when CloudFormation has begun, since a stack that
                it does not delete needs them.

        Raises:
            CommandFailed: CloudFormation could not delete a resource.
        """
        if not removal.in_progress:
            self._cloudformation.delete_stack(StackName=removal.stack_id)
        began, looks, left = removal.in_progress, 0, removal.parameters if parameters else ()
        while (status := self._read_status(removal.stack_id)) != "DELETE_COMPLETE":
            began = began or status == "DELETE_IN_PROGRESS"
            looks += 1
            if status == "DELETE_FAILED" and (began or looks > _STALE_LOOKS):
                raise CommandFailed(self._explain_failure(removal.stack_id))
            if began and left:
                left = self._delete_parameters(left)
            yield sum(each["ResourceStatus"] in _GONE for each in self._list_resources(removal.stack_id))
            time.sleep(_POLL_SECONDS)
        self._delete_parameters(left)

    def _delete_parameters(self, names: Sequence[str]) -> tuple[()]:
        for start in range(0, len(names), _MAX_NAMES):
            self._ssm.delete_parameters(Names=names[start : start + _MAX_NAMES])
        return ()

    def _read_status(self, stack_id: str) -> str:
        [described] = self._cloudformation.describe_stacks(StackName=stack_id)["Stacks"]
        return described["StackStatus"]

    def _list_resources(self, stack_id: str) -> Iterator[StackResourceSummaryTypeDef]:
        for page in self._cloudformation.get_paginator("list_stack_resources").paginate(StackName=stack_id):
            yield from page["StackResourceSummaries"]

    def _find_retained(self, stack_id: str) -> set[str]:
        """Return the resources that the template says to retain. Its processed form is JSON."""
        template: Any = self._cloudformation.get_template(StackName=stack_id, TemplateStage="Processed")["TemplateBody"]
        return {
            name for name, each in template["Resources"].items() if each.get("DeletionPolicy", "").startswith("Retain")
        }

    def _explain_failure(self, stack_id: str) -> str:
        failed = [each for each in self._list_resources(stack_id) if each["ResourceStatus"] == "DELETE_FAILED"]
        reasons = "; ".join(
            f"{each['LogicalResourceId']}: {each.get('ResourceStatusReason', 'no reason is given')}" for each in failed
        )
        return (
            f"CloudFormation could not delete all of {self._stack.name} ({reasons}): do what docs/uninstall.md says, "
            "and run the command again, which goes on where this stopped."
        )

    def _count_losses(self) -> Losses:
        outputs, events = self._stack.outputs, self._session.client("events")
        rules = events.get_paginator("list_rules").paginate(EventBusName=outputs["RecordingsBusName"])
        return Losses(
            waiting_recordings=self._count_waiting(outputs["RecordingsTableName"]),
            facts=self._count_messages(outputs["RecordingQueueUrl"]),
            dead_letters=self._count_messages(outputs["RecordingDeadLetterQueueUrl"]),
            rules=sum(len(page["Rules"]) for page in rules),
        )

    def _count_messages(self, url: str) -> int:
        answer = self._session.client("sqs").get_queue_attributes(
            QueueUrl=url, AttributeNames=["ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible"]
        )
        return sum(map(int, answer["Attributes"].values()))

    def _count_waiting(self, table: str) -> int:
        """Return how many recordings wait for something. Another index has them while a stack is upgraded."""
        dynamodb = self._session.client("dynamodb")
        indexes = dynamodb.describe_table(TableName=table)["Table"].get("GlobalSecondaryIndexes", ())
        index = next(name for name in ("due", "waiting") if name in {each.get("IndexName") for each in indexes})
        pages = (
            dynamodb.get_paginator("query").paginate(
                TableName=table,
                IndexName=index,
                Select="COUNT",
                KeyConditionExpression="waitingShard = :shard",
                ExpressionAttributeValues={":shard": {"S": str(shard)}},
            )
            for shard in range(SHARDS)
        )
        return sum(page["Count"] for shard in pages for page in shard)
