"""The stack as a user deploys it, on the local AWS: built and deployed by the SAM CLI from the real template."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Mapping
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, ConfigDict, SecretStr, ValidationError, field_serializer
from pydantic.alias_generators import to_camel

from call_recorder.aws.uploader import NEWEST
from call_recorder.recording.parameters import CREDENTIALS, PROFILE, SECRETS
from local import gaps
from local.aws import Aws
from local.emulator import (
    ADMINISTRATOR,
    ENVIRONMENTS,
    REGION,
    ROOT,
    LocalError,
    answers,
    endpoint_of,
    port_from,
)
from local.simulator import Application, Simulator, StorageEndpoints, Transport
from local.waiting import until

if TYPE_CHECKING:
    from collections.abc import Sequence

    from local.demo import DemoApplication
    from local.simulator.menu import FirstMenu

STATE = ROOT / ".local"
"""Everything that exists only while something runs here, and the logs of it."""

_STACK_FILE = "stack.json"

STACK_NAME = "call-recorder"
EVENT_PATTERN: Mapping[str, Any] = {"source": ["call-recorder"]}
"""What a subscriber's rule matches to get every event."""

FUNCTIONS = ("CallbackFunction", "NotifyFunction", "WatchdogFunction", "RotationFunction", "CleanupFunction")
"""The stack's functions, as its outputs name them."""

_ARTIFACTS_BUCKET = "call-recorder-artifacts"
_DEPENDENCIES = STATE / "dependencies"
_PARAMETERS = {
    # The emulator speaks plain HTTP only.
    "RequireTls": "false",
    # Who plays a call here does not want to wait for hours until it is missing.
    "GraceSeconds": "10",
    "LongestCallSeconds": "30",
}


def state_of(port: int) -> Path:
    """Return the directory of the stack that `make run` keeps up on a port: two of them share nothing."""
    return STATE / str(port)


def stack_file(port: int) -> Path:
    """Return the file that describes the stack that `make run` keeps up on a port."""
    return state_of(port) / _STACK_FILE


def callback_url_on(endpoint: str, outputs: Mapping[str, str]) -> str:
    """Return where an emulator takes the callbacks of a stack: its output names the address that AWS would give it."""
    return f"{endpoint}/_aws/execute-api/{outputs['CallbackApiId']}/$default/callbacks"


class FunctionFailed(Exception):
    """A function that was invoked raised an error; the text is its type and message."""


class LocalStack(BaseModel):
    """A deployed stack, what it takes to call it, and a queue that gets every event it publishes.

    ``public_path`` is the path that Sinch signs; that of ``callback_url`` has the emulator's own prefix.
    ``applications`` has the secret of each application by its key, also of the one that ``application_key`` names.
    """

    model_config = ConfigDict(frozen=True, alias_generator=to_camel, validate_by_name=True)

    callback_url: str
    public_path: str
    aws_endpoint: str
    region: str
    stack_name: str
    outputs: dict[str, str]
    application_key: str
    application_secret: SecretStr
    applications: dict[str, SecretStr] = {}
    subscriber_queue_url: str

    @field_serializer("application_secret", when_used="json")
    def _plain(self, secret: SecretStr) -> str:
        return secret.get_secret_value()

    @field_serializer("applications", when_used="json")
    def _all_plain(self, secrets: dict[str, SecretStr]) -> dict[str, str]:
        return {key: secret.get_secret_value() for key, secret in secrets.items()}

    @cached_property
    def aws(self) -> Aws:
        """Clients of the AWS it is deployed on."""
        return Aws(self.aws_endpoint)

    def simulator(
        self,
        application_key: str | None = None,
        *,
        lenient: bool = False,
        transport: Transport | None = None,
        first_menu: FirstMenu = "mainMenu",
    ) -> Simulator:
        """Return the Sinch platform as an application sees it, with uploads to the local S3.

        Args:
            application_key: one of ``applications``; the stack's first application unless it is named.
            lenient: whether answers may have fields that Sinch does not document.
            transport: sends the callbacks; as patient as Sinch unless it is given.
            first_menu: which of several menus is played first.
        """
        key = application_key or self.application_key
        return Simulator(
            self.callback_url,
            Application(key, self.applications.get(key, self.application_secret)),
            public_path=self.public_path,
            endpoints=StorageEndpoints(s3=self.aws_endpoint),
            lenient=lenient,
            transport=transport,
            first_menu=first_menu,
        )

    def item(self, recording_id: str) -> dict[str, Any] | None:
        """Return a recording's item in the table, or ``None``."""
        table = self.aws.dynamodb.Table(self.outputs["RecordingsTableName"])
        return table.get_item(Key={"recordingId": recording_id}, ConsistentRead=True).get("Item")

    def wait_for_item(self, recording_id: str, status: str, *, within: float) -> dict[str, Any]:
        """Return a recording's item as soon as it has this status.

        Raises:
            TooLate: it has not, after so many seconds.
        """

        def there() -> dict[str, Any] | None:
            item = self.item(recording_id)
            return item if item and item.get("status") == status else None

        return until(f"{recording_id} is {status}", there, within=within)

    def place(self, name: str) -> dict[str, Any] | None:
        """Return the item of a place in the bucket, or ``None``; a place is a file's URL without its extension."""
        table = self.aws.dynamodb.Table(self.outputs["PlacesTableName"])
        return table.get_item(Key={"place": name}, ConsistentRead=True).get("Item")

    def invoke(self, function: str, payload: Mapping[str, Any] | None = None) -> Any:
        """Invoke a function, wait for it and return its answer.

        Args:
            function: one of ``FUNCTIONS``.
            payload: its event.

        Raises:
            FunctionFailed: it raised an error.
        """
        answer = self.aws.lambda_.invoke(
            FunctionName=self.outputs[f"{function}Name"], Payload=json.dumps(payload or {}).encode()
        )
        returned = json.loads(answer["Payload"].read())
        if answer.get("FunctionError"):
            raise FunctionFailed(f"{returned.get('errorType')}: {returned.get('errorMessage')}")
        return returned

    def watch(self) -> int:
        """Have the watchdog look once, ahead of its schedule; return how many items were due.

        Raises:
            FunctionFailed: it could not.
        """
        overdue: int = self.invoke("WatchdogFunction")["overdue"]
        return overdue

    def wait_until_missing(self, recording_id: str, *, within: float) -> dict[str, Any]:
        """Return a recording's item as soon as it is missing, with the watchdog sent for when it is due.

        Raises:
            TooLate: it is not, after so many seconds.
        """

        def given_up() -> dict[str, Any] | None:
            item = self.item(recording_id) or {}
            if item.get("status") == "missing":
                return item
            self.watch_if_due(item)
            return None

        return until(f"{recording_id} is missing", given_up, within=within)

    def watch_if_due(self, item: Mapping[str, Any]) -> bool:
        """Have the watchdog look if an item of either table is due to be looked at; tell whether it is."""
        due: bool = item.get("dueAt", "~") <= datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        if due:
            self.watch()
        return due

    def function_log(self) -> list[str]:
        """Return what the functions logged so far, line by line, in the order of time."""
        groups = [self.outputs[f"{function}LogGroupName"] for function in FUNCTIONS]
        pages = self.aws.logs.get_paginator("filter_log_events")
        events = [event for group in groups for page in pages.paginate(logGroupName=group) for event in page["events"]]
        return [event["message"] for event in sorted(events, key=lambda event: event["timestamp"])]

    def write_function_log(self, path: Path) -> None:
        """Write ``function_log`` to a file, since the emulator takes it along when it ends."""
        path.write_text("\n".join(self.function_log()) + "\n", encoding="utf-8")

    def write(self, path: Path) -> None:
        """Write it as JSON for the owner's eyes only: it holds the application's secret."""
        path.parent.mkdir(parents=True, exist_ok=True)
        path.unlink(missing_ok=True)
        path.touch(mode=0o600)
        path.write_text(self.model_dump_json(by_alias=True, indent=2) + "\n", encoding="utf-8")

    @classmethod
    def read(cls, path: Path) -> LocalStack:
        """Read what ``write`` wrote.

        Raises:
            LocalError: there is none, or it is of another version.
        """
        try:
            return cls.model_validate_json(path.read_bytes())
        except FileNotFoundError:
            raise LocalError("No local stack is up: start one with `make run` in another terminal.") from None
        except ValidationError:
            raise LocalError(f"{path} is of another version: stop `make run` and start it again.") from None


def find_stack(environment: Mapping[str, str]) -> LocalStack:
    """Return the stack that `make run` keeps up: the one on ``AWS_PORT`` or, without it, the only one.

    Raises:
        LocalError: there is none, or there are several and none is named.
    """
    if environment.get("AWS_PORT"):
        port = port_from(environment)
        if port not in _ports_up():
            raise LocalError(f"No local stack is up on port {port}: start one with `make run AWS_PORT={port}`.")
        return LocalStack.read(stack_file(port))
    match _ports_up():
        case []:
            raise LocalError("No local stack is up: start one with `make run` in another terminal.")
        case [port]:
            return LocalStack.read(stack_file(port))
        case ports:
            choices = " or ".join(f"AWS_PORT={port}" for port in ports)
            raise LocalError(f"{len(ports)} local stacks are up: say which one with {choices}.")


def _ports_up() -> list[int]:
    """Return the ports of this clone's stacks that answer."""
    files = STATE.glob(f"[0-9]*/{_STACK_FILE}")
    ports = sorted(int(file.parent.name) for file in files if file.parent.name.isdecimal())
    return [port for port in ports if answers(endpoint_of(port))]


def build(state: Path) -> Path:
    """Build the functions with `sam build` for the interpreter that will run them here.

    Args:
        state: a directory for the build and its log (``sam-build.log``).

    Returns:
        The built template.

    Raises:
        LocalError: the build fails.
    """
    interpreter = ENVIRONMENTS / "emulator" / "bin" / "python"
    target = state / "build" / ENVIRONMENTS.name
    environment = _tool_environment() | {
        "PATH": f"{interpreter.parent}{os.pathsep}{os.environ.get('PATH', os.defpath)}",
        "PYTHON": str(interpreter),
        "RECORDER_ARCH": "host",
        "RECORDER_CACHE": str(_DEPENDENCIES),
    }
    command = ["build", "--template-file", str(ROOT / "template.yaml"), "--build-dir", str(target), "--parallel"]
    _sam(command, environment, state / "sam-build.log")
    built = target / "template.yaml"
    gaps.leave_out_metric_math(built)
    return built


def deploy(
    built: Path,
    endpoint: str,
    state: Path,
    applications: Sequence[DemoApplication],
    *,
    parameters: Mapping[str, str] | None = None,
    name: str = STACK_NAME,
) -> LocalStack:
    """Deploy a built template with `sam deploy`, give it applications and subscribe a queue to its events.

    Args:
        built: what ``build`` returned.
        endpoint: URL of the emulator.
        state: a directory for the log (``sam-deploy.log``).
        applications: the Sinch applications that call back, the one that matters most first.
        parameters: stack parameters other than those of local play.
        name: the stack's.

    Raises:
        LocalError: the deployment fails.
    """
    aws = Aws(endpoint)
    aws.s3.create_bucket(Bucket=_ARTIFACTS_BUCKET)
    overrides = [f"{name}={value}" for name, value in (_PARAMETERS | dict(parameters or {})).items()]
    command = ["deploy", "--template-file", str(built), "--stack-name", name, "--region", REGION]
    command += ["--s3-bucket", _ARTIFACTS_BUCKET, "--capabilities", "CAPABILITY_IAM"]
    command += ["--no-confirm-changeset", "--no-progressbar", "--parameter-overrides", *overrides]
    _sam(command, _administrator(endpoint), state / "sam-deploy.log")
    stack = set_up(endpoint, name, applications)
    hand_out_key(stack, [each.application.key for each in applications])
    return stack


def set_up(endpoint: str, name: str, applications: Sequence[DemoApplication]) -> LocalStack:
    """Give a stack that was just deployed what it lacks here, its applications, and a queue that gets its events.

    Args:
        endpoint: URL of the emulator.
        name: the stack's.
        applications: the Sinch applications that call back, the one that matters most first.
    """
    aws = Aws(endpoint)
    gaps.add_routes(aws, name)
    gaps.rewrite_policies(aws, name)
    outputs = _outputs(aws, name)
    gaps.limit_concurrency(aws, outputs["NotifyFunctionName"])
    first = applications[0].application
    stack = LocalStack(
        callback_url=callback_url_on(endpoint, outputs),
        public_path=outputs["CallbackPath"],
        aws_endpoint=endpoint,
        region=REGION,
        stack_name=name,
        outputs=outputs,
        application_key=first.key,
        application_secret=first.secret,
        applications={each.application.key: each.application.secret for each in applications},
        subscriber_queue_url=_subscribe(aws, outputs["RecordingsBusName"], f"{name}-subscriber"),
    )
    for each in applications:
        put_application(stack, each.application.key, each.application.secret.get_secret_value(), profile=each.profile)
    return stack


def delete(stack: LocalStack, state: Path) -> None:
    """Delete a deployed stack with `sam delete`.

    Args:
        stack: which.
        state: a directory for the log (``sam-delete.log``).

    Raises:
        LocalError: the deletion fails.
    """
    command = ["delete", "--no-prompts", "--stack-name", stack.stack_name, "--region", stack.region]
    _sam(command, _administrator(stack.aws_endpoint), state / "sam-delete.log")


def hand_out_key(stack: LocalStack, applications: Sequence[str]) -> None:
    """Have the stack make its uploader's access key and give it to the applications, ahead of its schedule.

    Raises:
        LocalError: the stack gave it not to all of them.
    """
    try:
        report = stack.invoke("RotationFunction")
    except FunctionFailed as error:
        raise LocalError(f"The access key for uploads could not be made: {error}.") from None
    holders = {step.get("applicationKey") for step in report["steps"] if step["step"] == "handed-out"}
    if left := set(applications) - holders:
        raise LocalError(f"{', '.join(sorted(left))} got no access key for uploads: RotationFunction says {report}.")


def uploader_credentials(stack: LocalStack) -> str:
    """Return the uploader's access key as ``storage-credentials`` are written for S3."""
    name = f"/{stack.outputs['ParameterPrefix']}/{NEWEST}"
    value = stack.aws.ssm.get_parameter(Name=name, WithDecryption=True)["Parameter"]["Value"]
    access_key, secret, *_ = value.split(":")
    return f"{access_key}:{secret}:{stack.region}"


def put_application(
    stack: LocalStack, key: str, secret: str, *, profile: Mapping[str, Any] | str, credentials: str = ""
) -> None:
    """Write the parameters of a Sinch application, over those it may have.

    Args:
        stack: where.
        key: the application key.
        secret: the application secret in Base64, or two with a comma between.
        profile: the recording profile, or any text in its place.
        credentials: what the profile's destination needs; nothing is written if they are for the stack to hand out.
    """
    ssm = stack.aws.ssm
    path = f"/{stack.outputs['ParameterPrefix']}/{key}"
    text = profile if isinstance(profile, str) else json.dumps(profile)
    ssm.put_parameter(Name=f"{path}/{SECRETS}", Value=secret, Type="SecureString", Overwrite=True)
    if credentials:
        ssm.put_parameter(Name=f"{path}/{CREDENTIALS}", Value=credentials, Type="SecureString", Overwrite=True)
    ssm.put_parameter(Name=f"{path}/{PROFILE}", Value=text, Type="String", Overwrite=True)


def _outputs(aws: Aws, name: str) -> dict[str, str]:
    stack = aws.cloudformation.describe_stacks(StackName=name)["Stacks"][0]
    return {output["OutputKey"]: output["OutputValue"] for output in stack["Outputs"]}


def _subscribe(aws: Aws, bus: str, queue: str) -> str:
    """Give a new queue every event of the bus, as any subscriber would, and return the queue's URL."""
    url = aws.sqs.create_queue(QueueName=queue)["QueueUrl"]
    arn = aws.sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]
    aws.events.put_rule(Name="subscriber", EventBusName=bus, EventPattern=json.dumps(EVENT_PATTERN))
    aws.events.put_targets(Rule="subscriber", EventBusName=bus, Targets=[{"Id": "queue", "Arn": arn}])
    return url


def _administrator(endpoint: str) -> dict[str, str]:
    """Return the environment of a tool that works on the emulator, as its administrator."""
    access_key, secret_key = ADMINISTRATOR
    return _tool_environment() | {
        "AWS_ENDPOINT_URL": endpoint,
        "AWS_ACCESS_KEY_ID": access_key,
        "AWS_SECRET_ACCESS_KEY": secret_key,
        "AWS_EC2_METADATA_DISABLED": "true",
        "NO_PROXY": "127.0.0.1",
    }


def _tool_environment() -> dict[str, str]:
    """Return this shell's environment without what belongs to make, to another Python or to a real AWS account."""
    own = ("AWS_", "MAKE", "MFLAGS", "PYTHON", "SAM_", "VIRTUAL_ENV")
    return {name: value for name, value in os.environ.items() if not name.startswith(own)} | {
        "SAM_CLI_TELEMETRY": "0",
        "SAM_CLI_POLL_DELAY": "0.2",
    }


def _sam(command: Sequence[str], environment: Mapping[str, str], log: Path) -> None:
    python = ENVIRONMENTS / "sam" / "bin" / "python"
    if not python.exists():
        raise LocalError("The SAM CLI is not installed: run `make environments`.")
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("wb") as output:
        done = subprocess.run(
            [python, "-m", "samcli", *command],
            cwd=log.parent,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            check=False,
        )
    if done.returncode:
        raise LocalError(f"`sam {command[0]}` failed ({_said(log)}): {log} has the whole story.")


def _said(log: Path) -> str:
    """Return the line of a log that names an error, or else its last one: the SAM CLI may go on after an error."""
    lines = [line.strip() for line in log.read_text("utf-8", "replace").splitlines() if line.strip()]
    errors = [line for line in lines if "Error" in line or "error:" in line]
    return (errors or lines or ["no output"])[-1]
