"""Makes good what the emulator does not do with a template as AWS does: before and after each deployment.

The gaps are those of ministack 1.5.33. Tests of the template itself cover the parts that this module replaces.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

if TYPE_CHECKING:
    from collections.abc import Mapping

    from local.aws import Aws

_MAX_CONCURRENCY = 2
_BATCHED = {"sqs:ChangeMessageVisibility", "sqs:DeleteMessage", "sqs:SendMessage"}
_ALIAS_IN_URI = re.compile(r"/functions/\$\{(\w+)\}/")


def leave_out_metric_math(built: Path) -> None:
    """Remove the alarms on an expression from a built template, because the emulator's CloudFormation refuses them."""
    template = yaml.safe_load(built.read_text("utf-8"))
    resources = template["Resources"]
    template["Resources"] = {
        name: resource for name, resource in resources.items() if "Metrics" not in resource.get("Properties", {})
    }
    built.write_text(yaml.safe_dump(template, sort_keys=False), "utf-8")


def add_routes(aws: Aws, stack_name: str) -> None:
    """Add the routes of each HTTP API's ``Body``, which the emulator's CloudFormation ignores."""
    body: Any = aws.cloudformation.get_template(StackName=stack_name, TemplateStage="Processed")["TemplateBody"]
    template = json.loads(body) if isinstance(body, str) else body
    ids = {
        resource["LogicalResourceId"]: resource["PhysicalResourceId"]
        for resource in aws.cloudformation.describe_stack_resources(StackName=stack_name)["StackResources"]
    }
    for name, resource in template["Resources"].items():
        if resource["Type"] == "AWS::ApiGatewayV2::Api":
            for path, methods in resource["Properties"]["Body"]["paths"].items():
                for method, operation in methods.items():
                    uri = json.dumps(operation["x-amazon-apigateway-integration"]["uri"])
                    alias = _ALIAS_IN_URI.findall(uri)[0]
                    _add_route(aws, ids[name], f"{method.upper()} {path}", ids[alias])


def _add_route(aws: Aws, api_id: str, route_key: str, alias_arn: str) -> None:
    integration = aws.apigatewayv2.create_integration(
        ApiId=api_id,
        IntegrationType="AWS_PROXY",
        IntegrationUri=alias_arn,
        PayloadFormatVersion="2.0",
    )
    target = f"integrations/{integration['IntegrationId']}"
    aws.apigatewayv2.create_route(ApiId=api_id, RouteKey=route_key, Target=target)


def rewrite_policies(aws: Aws, stack_name: str) -> None:
    """Rewrite the statements of the roles' and of the managed policies that the emulator cannot evaluate.

    The emulator refuses these permissions although they are granted:

    - ``ssm:GetParameters`` and ``ssm:DeleteParameters``: it checks the call as a whole, not each parameter;
    - ``events:PutEvents`` and ``events:PutTargets`` with a condition on ``events:source`` or ``events:TargetArn``: it
      does not know these keys;
    - ``events:PutTargets``, ``events:RemoveTargets`` and ``events:ListTargetsByRule``: it checks the bus, not the rule;
    - ``logs:FilterLogEvents``: it does not know that the ARN of a log group ends with ``:*``;
    - batches of messages: it does not derive their actions from those for one message.

    Actions that a policy does not grant stay refused.
    """
    for resource in aws.cloudformation.describe_stack_resources(StackName=stack_name)["StackResources"]:
        if resource["ResourceType"] == "AWS::IAM::Role":
            role = resource["PhysicalResourceId"]
            for name in aws.iam.list_role_policies(RoleName=role)["PolicyNames"]:
                document: Any = aws.iam.get_role_policy(RoleName=role, PolicyName=name)["PolicyDocument"]
                document["Statement"] = [make_evaluable(statement) for statement in document["Statement"]]
                aws.iam.put_role_policy(RoleName=role, PolicyName=name, PolicyDocument=json.dumps(document))
        elif resource["ResourceType"] == "AWS::IAM::ManagedPolicy":
            _rewrite_managed_policy(aws, resource["PhysicalResourceId"])


def _rewrite_managed_policy(aws: Aws, arn: str) -> None:
    version = aws.iam.get_policy(PolicyArn=arn)["Policy"]["DefaultVersionId"]
    document: Any = aws.iam.get_policy_version(PolicyArn=arn, VersionId=version)["PolicyVersion"]["Document"]
    document["Statement"] = [make_evaluable(statement) for statement in document["Statement"]]
    aws.iam.create_policy_version(PolicyArn=arn, PolicyDocument=json.dumps(document), SetAsDefault=True)
    # IAM keeps five versions, and CloudFormation makes one in each update.
    aws.iam.delete_policy_version(PolicyArn=arn, VersionId=version)


def make_evaluable(statement: Mapping[str, Any]) -> dict[str, Any]:
    """Return a policy statement in a form that the emulator can evaluate; see ``rewrite_policies``."""
    rewritten = dict(statement)
    if {
        "ssm:GetParameters",
        "ssm:DeleteParameters",
        "events:RemoveTargets",
        "events:ListTargetsByRule",
        "events:PutTargets",
    } & _list_actions(statement):
        rewritten["Resource"] = "*"
    if "logs:FilterLogEvents" in _list_actions(statement):
        rewritten["Resource"] = [each.removesuffix(":*") for each in _list(statement["Resource"])]
    if statement["Action"] in ("events:PutEvents", "events:PutTargets"):
        rewritten.pop("Condition", None)
    if batches := {f"{action}Batch" for action in _list_actions(statement) & _BATCHED}:
        rewritten["Action"] = sorted(_list_actions(statement) | batches)
    return rewritten


def _list_actions(statement: Mapping[str, Any]) -> set[str]:
    return set(_list(statement["Action"]))


def _list(value: str | list[str]) -> list[str]:
    return [value] if isinstance(value, str) else value


def turn_on_object_lock(aws: Aws, stack_name: str) -> None:
    """Turn on Object Lock for the stack's bucket if its parameter asks for it. CloudFormation does it on AWS."""
    [stack] = aws.cloudformation.describe_stacks(StackName=stack_name)["Stacks"]
    parameters = {each["ParameterKey"]: each["ParameterValue"] for each in stack.get("Parameters", ())}
    if parameters.get("RecordingsObjectLock") == "on":
        outputs = {each["OutputKey"]: each["OutputValue"] for each in stack["Outputs"]}
        aws.s3.put_object_lock_configuration(
            Bucket=outputs["RecordingsBucketName"], ObjectLockConfiguration={"ObjectLockEnabled": "Enabled"}
        )


def limit_concurrency(aws: Aws, function_name: str) -> None:
    """Let a function process at most two batches of its queue at the same time.

    Lambda starts as many environments as it needs. Here they share the cores of one machine, and several that start
    together would exceed the function's timeout.
    """
    mappings = aws.lambda_.list_event_source_mappings(FunctionName=function_name)["EventSourceMappings"]
    for mapping in mappings:
        aws.lambda_.update_event_source_mapping(
            UUID=mapping["UUID"], ScalingConfig={"MaximumConcurrency": _MAX_CONCURRENCY}
        )
