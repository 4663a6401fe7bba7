"""What CloudFormation deployed, and what was changed by hand since: the stack, its indexes, its bucket and its logs."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Final

from botocore.exceptions import ClientError

from call_recorder_cli import __version__
from call_recorder_cli.diagnosis.findings import Finding

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

    from call_recorder_cli.stack import Stack

_LOG_GROUPS: Final = (
    "CallbackFunctionLogGroupName",
    "NotifyFunctionLogGroupName",
    "WatchdogFunctionLogGroupName",
    "RotationFunctionLogGroupName",
    "CleanupFunctionLogGroupName",
    "CallbackApiLogGroupName",
)
_BLOCKS: Final = ("BlockPublicAcls", "BlockPublicPolicy", "IgnorePublicAcls", "RestrictPublicBuckets")


def diagnose_stack(stack: Stack) -> Iterator[Finding]:
    """Find out whether the last deployment succeeded, and whether the stack has the version of this command."""
    if stack.status.endswith("_IN_PROGRESS"):
        sentence, mend = f"The stack is being changed ({stack.status}).", "Wait until the deployment ends."
        yield Finding(code="stack-changing", severity="note", subject=stack.name, sentence=sentence, mend=mend)
    elif "ROLLBACK" in stack.status or stack.status.endswith("_FAILED"):
        sentence = f"The last deployment failed ({stack.status}): the stack has the former version and parameters."
        mend = "Read the events of the stack in CloudFormation, correct the cause and deploy again."
        yield Finding(code="stack-failed", severity="problem", subject=stack.name, sentence=sentence, mend=mend)
    version = stack.outputs.get("Version", "an earlier version")
    if version != __version__:
        sentence = f"The stack has {version}, and this command is of version {__version__}."
        mend = "Deploy the version of this command, or install the command of the stack's version."
        yield Finding(code="version-differs", severity="warning", subject=stack.name, sentence=sentence, mend=mend)
    if stack.parameters.get("XRayTracing") == "on":
        sentence, mend = "X-Ray traces the functions, at $5 a million traces.", "Switch XRayTracing off after use."
        yield Finding(code="tracing-on", severity="note", subject=stack.name, sentence=sentence, mend=mend)


def diagnose_table(stack: Stack) -> Iterator[Finding]:
    """Find indexes that are being built, or that are still those of a former version."""
    step = stack.parameters.get("TableIndexes", "current")
    if step != "current":
        sentence = f"TableIndexes is {step}: the table does not have the present indexes yet."
        mend, subject = "Run call-recorder upgrade-indexes: see docs/upgrade.md.", "TableIndexes"
        yield Finding(code="indexes-not-current", severity="warning", subject=subject, sentence=sentence, mend=mend)
    name = stack.outputs["RecordingsTableName"]
    table = stack.session.client("dynamodb").describe_table(TableName=name)["Table"]
    for index in table.get("GlobalSecondaryIndexes", ()):
        status = index.get("IndexStatus", "ACTIVE")  # An emulator leaves it out.
        if status != "ACTIVE":
            sentence = f"The index is {status}, so lists or the watchdog may miss recordings."
            mend = "Wait until it is ACTIVE; call-recorder upgrade-indexes waits for it."
            subject = index["IndexName"]
            yield Finding(code="index-not-active", severity="warning", subject=subject, sentence=sentence, mend=mend)


def diagnose_bucket(stack: Stack) -> Iterator[Finding]:
    """Find out whether the bucket of the recordings reports its files, keeps versions and is closed to the public."""
    bucket, s3 = stack.output("RecordingsBucketName"), stack.session.client("s3")
    if "EventBridgeConfiguration" not in s3.get_bucket_notification_configuration(Bucket=bucket):
        yield Finding(
            code="bucket-silent",
            severity="problem",
            subject=bucket,
            sentence="The bucket reports no stored file, so what Sinch does not announce counts as missing.",
            mend="Turn on the bucket's EventBridge notifications.",
        )
    if s3.get_bucket_versioning(Bucket=bucket).get("Status") != "Enabled":
        yield Finding(
            code="bucket-unversioned",
            severity="warning",
            subject=bucket,
            sentence="The bucket keeps no versions, and Sinch overwrites a file of the same name without a warning.",
            mend="Turn on the versioning of the bucket.",
        )
    if not _blocks_public(s3, bucket):
        yield Finding(
            code="bucket-public-access",
            severity="problem",
            subject=bucket,
            sentence="The bucket does not block all public access.",
            mend="Turn on Block Public Access for the bucket.",
        )


def _blocks_public(s3: S3Client, bucket: str) -> bool:
    try:
        blocks = s3.get_public_access_block(Bucket=bucket)["PublicAccessBlockConfiguration"]
    except ClientError as error:
        if error.response["Error"]["Code"] != "NoSuchPublicAccessBlockConfiguration":
            raise
        return False
    return all(blocks.get(each) for each in _BLOCKS)


def diagnose_logs(stack: Stack) -> Iterator[Finding]:
    """Find log groups that keep their events for another time than the stack says, or that are gone."""
    days = int(stack.parameters.get("LogRetentionDays", 30))
    logs = stack.session.client("logs")
    for group in filter(None, (stack.outputs.get(output) for output in _LOG_GROUPS)):
        found = logs.describe_log_groups(logGroupNamePrefix=group)["logGroups"]
        kept = next((each.get("retentionInDays", "for ever") for each in found if each["logGroupName"] == group), None)
        if kept != days:
            kept_days = f"keeps its events {kept} (days), and LogRetentionDays is {days}"
            sentence = f"The log group {'does not exist' if kept is None else kept_days}."
            mend = "Deploy the stack again, or set the retention of the log group by hand."
            yield Finding(code="log-retention", severity="warning", subject=group, sentence=sentence, mend=mend)
