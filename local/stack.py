"""Builds and deploys the real template with the SAM CLI on the local AWS, as a user does on AWS."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Mapping
from datetime import UTC, datetime
from decimal import Decimal
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, ConfigDict, SecretStr, ValidationError, field_serializer
from pydantic.alias_generators import to_camel

from call_recorder.adapters.iam_keys import NEWEST
from call_recorder.answering.parameter_names import CREDENTIALS, PROFILE, SECRETS
from local import gaps
from local.aws import Aws
from local.emulator import ADMINISTRATOR, ENVIRONMENTS, REGION, ROOT, LocalError, get_endpoint, is_up, read_port
from local.simulator import LIKELIEST, Application, Readings, Simulator, StorageEndpoints, Transport
from local.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Sequence

    from local.demo import DemoApplication
    from local.simulator.menu import FirstMenu

STATE = ROOT / ".local"
"""The folder of everything that exists only while something runs here, and of the logs."""

_STACK_FILE = "stack.json"

STACK_NAME = "call-recorder"
EVENT_PATTERN: Mapping[str, Any] = {"source": ["call-recorder"]}
"""The pattern of a subscriber's rule that matches every event."""

FUNCTIONS = (
    *("CallbackFunction", "NotifyFunction", "WatchdogFunction", "RotationFunction", "CleanupFunction"),
    "CustodyFunction",
)
"""The stack's functions, as its outputs name them."""

_ARTIFACTS_BUCKET = "call-recorder-artifacts"
_DEPENDENCIES = STATE / "dependencies"
_PARAMETERS = {
    # The emulator supports plain HTTP only.
    "RequireTls": "false",
    # A missing recording must be announced within seconds here, not hours.
    "GraceSeconds": "10",
    "LongestCallSeconds": "30",
}


def get_state_folder(port: int) -> Path:
    """Return the folder of the stack that `make run` keeps up on a port; stacks on different ports share nothing."""
    return STATE / str(port)


def get_stack_file(port: int) -> Path:
    """Return the file that describes the stack that `make run` keeps up on a port."""
    return get_state_folder(port) / _STACK_FILE


def build_callback_url(endpoint: str, outputs: Mapping[str, str]) -> str:
    """Return the callback URL of a stack on an emulator; the stack's output names the URL that AWS would give it."""
    return f"{endpoint}/_aws/execute-api/{outputs['CallbackApiId']}/$default/callbacks"


def dump_json(document: Mapping[str, Any]) -> str:
    """Return an item, an event or an answer as indented JSON; DynamoDB's numbers become numbers of JSON."""
    return json.dumps(document, indent=2, default=_to_number)


def _to_number(value: object) -> int | float:
    if isinstance(value, Decimal):
        return int(value) if value == value.to_integral_value() else float(value)
    raise TypeError(f"{type(value).__name__} is not JSON")


class FunctionFailed(Exception):
    """An invoked function raised an error; the text is the error's type and message."""


class LocalStack(BaseModel):
    """A deployed stack, everything needed to call it, and a queue that receives every event it publishes.

    Attributes:
        callback_url: takes the callbacks; its path has the emulator's prefix.
        public_path: the path that Sinch signs.
        application_key: the key of the first application.
        applications: the secret of each application by its key, including the first one.
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
    def _reveal(self, secret: SecretStr) -> str:
        return secret.get_secret_value()

    @field_serializer("applications", when_used="json")
    def _reveal_all(self, secrets: dict[str, SecretStr]) -> dict[str, str]:
        return {key: secret.get_secret_value() for key, secret in secrets.items()}

    @cached_property
    def aws(self) -> Aws:
        """Return the clients of the local AWS that the stack is deployed on."""
        return Aws(self.aws_endpoint)

    def simulator(
        self,
        application_key: str | None = None,
        *,
        lenient: bool = False,
        transport: Transport | None = None,
        first_menu: FirstMenu = "mainMenu",
        readings: Readings = LIKELIEST,
    ) -> Simulator:
        """Return a simulator of Sinch for one application; it uploads to the local S3.

        Args:
            application_key: a key of ``applications``; the default is the first application.
            lenient: whether answers may have fields that Sinch does not document.
            transport: sends the callbacks; the default has Sinch's timeout.
            first_menu: the menu that is played first, if there are several.
            readings: how Sinch behaves where its documents leave it open.
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
            readings=readings,
        )

    def item(self, recording_id: str) -> dict[str, Any] | None:
        """Return a recording's item in the table, or ``None`` if there is none."""
        table = self.aws.dynamodb.Table(self.outputs["RecordingsTableName"])
        return table.get_item(Key={"recordingId": recording_id}, ConsistentRead=True).get("Item")

    def wait_for_item(self, recording_id: str, status: str, *, within: float) -> dict[str, Any]:
        """Wait until a recording's item has this status, and return the item.

        Raises:
            TooLate: the item does not have it within so many seconds.
        """

        def look() -> dict[str, Any] | None:
            item = self.item(recording_id)
            return item if item and item.get("status") == status else None

        return wait_until(f"{recording_id} is {status}", look, within=within)

    def location_item(self, name: str) -> dict[str, Any] | None:
        """Return an item of the table of object locations, or ``None``; its key is a file's URL without extension."""
        table = self.aws.dynamodb.Table(self.outputs["PlacesTableName"])
        return table.get_item(Key={"place": name}, ConsistentRead=True).get("Item")

    def invoke(self, function: str, payload: Mapping[str, Any] | None = None) -> Any:
        """Invoke a function, wait for it and return its answer.

        Args:
            function: one of ``FUNCTIONS``.
            payload: the function's event.

        Raises:
            FunctionFailed: the function raised an error.
        """
        answer = self.aws.lambda_.invoke(
            FunctionName=self.outputs[f"{function}Name"], Payload=json.dumps(payload or {}).encode()
        )
        returned = json.loads(answer["Payload"].read())
        if answer.get("FunctionError"):
            raise FunctionFailed(f"{returned.get('errorType')}: {returned.get('errorMessage')}")
        return returned

    def watch(self) -> int:
        """Invoke the watchdog once, ahead of its schedule; return how many items were due.

        Raises:
            FunctionFailed: the watchdog raised an error.
        """
        overdue: int = self.invoke("WatchdogFunction")["overdue"]
        return overdue

    def wait_until_missing(self, recording_id: str, *, within: float) -> dict[str, Any]:
        """Wait until a recording is missing, and return its item; the watchdog is invoked when the item is due.

        Raises:
            TooLate: the recording is not missing within so many seconds.
        """

        def look() -> dict[str, Any] | None:
            item = self.item(recording_id) or {}
            if item.get("status") == "missing":
                return item
            self.watch_if_due(item)
            return None

        return wait_until(f"{recording_id} is missing", look, within=within)

    def watch_if_due(self, item: Mapping[str, Any]) -> bool:
        """Invoke the watchdog if an item of either table is due; return whether it is due."""
        due: bool = item.get("dueAt", "~") <= datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        if due:
            self.watch()
        return due

    def function_log(self) -> list[str]:
        """Return the lines that the functions have logged so far, ordered by time."""
        groups = [self.outputs[f"{function}LogGroupName"] for function in FUNCTIONS]
        pages = self.aws.logs.get_paginator("filter_log_events")
        events = [event for group in groups for page in pages.paginate(logGroupName=group) for event in page["events"]]
        return [event["message"] for event in sorted(events, key=lambda event: event["timestamp"])]

    def write_function_log(self, path: Path) -> None:
        """Write the functions' log to a file; the emulator loses it when it ends."""
        path.write_text("\n".join(self.function_log()) + "\n", encoding="utf-8")

    def write(self, path: Path) -> None:
        """Write the stack as JSON to a file that only the owner can read: it contains the applications' secrets."""
        path.parent.mkdir(parents=True, exist_ok=True)
        path.unlink(missing_ok=True)
        path.touch(mode=0o600)
        path.write_text(self.model_dump_json(by_alias=True, indent=2) + "\n", encoding="utf-8")

    def write_aws_config(self, path: Path) -> None:
        """Write a configuration of AWS that leads the AWS CLI, boto3 and `call-recorder` to this stack's emulator."""
        access_key, secret_key = ADMINISTRATOR
        lines = (
            "[default]",
            f"region = {self.region}",
            f"endpoint_url = {self.aws_endpoint}",
            f"aws_access_key_id = {access_key}",
            f"aws_secret_access_key = {secret_key}",
        )
        path.write_text("\n".join(lines) + "\n", encoding="utf-8")

    @classmethod
    def read(cls, path: Path) -> LocalStack:
        """Read a stack from a file that ``write`` wrote.

        Raises:
            LocalError: there is no such file, or another version wrote it.
        """
        try:
            return cls.model_validate_json(path.read_bytes())
        except FileNotFoundError:
            raise LocalError("No local stack is up: start one with `make run` in another terminal.") from None
        except ValidationError:
            raise LocalError(f"{path} is of another version: stop `make run` and start it again.") from None


def find_stack(environment: Mapping[str, str]) -> LocalStack:
    """Return the stack that `make run` keeps up: the one on ``AWS_PORT`` or, without that variable, the only one.

    Raises:
        LocalError: no stack is up, or several are up and ``AWS_PORT`` is not set.
    """
    if environment.get("AWS_PORT"):
        port = read_port(environment)
        if port not in _find_ports_up():
            raise LocalError(f"No local stack is up on port {port}: start one with `make run AWS_PORT={port}`.")
        return LocalStack.read(get_stack_file(port))
    match _find_ports_up():
        case []:
            raise LocalError("No local stack is up: start one with `make run` in another terminal.")
        case [port]:
            return LocalStack.read(get_stack_file(port))
        case ports:
            choices = " or ".join(f"AWS_PORT={port}" for port in ports)
            raise LocalError(f"{len(ports)} local stacks are up: say which one with {choices}.")


def _find_ports_up() -> list[int]:
    """Return the ports of this clone's stacks that are up."""
    files = STATE.glob(f"[0-9]*/{_STACK_FILE}")
    ports = sorted(int(file.parent.name) for file in files if file.parent.name.isdecimal())
    return [port for port in ports if is_up(get_endpoint(port))]


def build(state: Path, *, root: Path = ROOT) -> Path:
    """Build the functions with `sam build` for the interpreter that runs them here.

    Args:
        state: a directory for the build and its log (``sam-build.log``).
        root: the folder with the template, if it is not this one.

    Returns:
        The file of the built template.

    Raises:
        LocalError: the build fails.
    """
    interpreter = ENVIRONMENTS / "emulator" / "bin" / "python"
    target = state / "build" / ENVIRONMENTS.name
    environment = _build_tool_environment() | {
        "PATH": f"{interpreter.parent}{os.pathsep}{os.environ.get('PATH', os.defpath)}",
        "PYTHON": str(interpreter),
        "RECORDER_ARCH": "host",
        "RECORDER_CACHE": str(_DEPENDENCIES),
    }
    command = ["build", "--template-file", str(root / "template.yaml"), "--build-dir", str(target), "--parallel"]
    _run_sam(command, environment, state / "sam-build.log")
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
    """Deploy a built template with `sam deploy`, store the applications' parameters and subscribe a queue.

    Args:
        built: the file that ``build`` returned.
        endpoint: the emulator's URL.
        state: a directory for the log (``sam-deploy.log``).
        applications: the Sinch applications; the first one becomes the stack's default.
        parameters: stack parameters that differ from the defaults of the local stack.
        name: the stack's name.

    Raises:
        LocalError: the deployment fails.
    """
    _sam_deploy(built, endpoint, state, _PARAMETERS | dict(parameters or {}), name)
    stack = set_up(endpoint, name, applications)
    hand_out_key(stack, [each.application.key for each in applications])
    return stack


def update(stack: LocalStack, built: Path, state: Path, parameters: Mapping[str, str]) -> LocalStack:
    """Deploy another built template to a deployed stack with `sam deploy`, and return the stack as it is then.

    Args:
        stack: the deployed stack.
        built: the file that ``build`` returned.
        state: a directory for the log (``sam-deploy.log``).
        parameters: stack parameters that change; the others keep their values.

    Raises:
        LocalError: the deployment fails.
    """
    _sam_deploy(built, stack.aws_endpoint, state, parameters, stack.stack_name)
    gaps.rewrite_policies(stack.aws, stack.stack_name)
    gaps.turn_on_object_lock(stack.aws, stack.stack_name)
    outputs = _read_outputs(stack.aws, stack.stack_name)
    gaps.limit_concurrency(stack.aws, outputs["NotifyFunctionName"])
    return stack.model_copy(update={"outputs": outputs})


def set_up(endpoint: str, name: str, applications: Sequence[DemoApplication]) -> LocalStack:
    """Prepare a new stack: fill the emulator's gaps, store the applications' parameters and subscribe a queue.

    Args:
        endpoint: the emulator's URL.
        name: the stack's name.
        applications: the Sinch applications; the first one becomes the stack's default.
    """
    aws = Aws(endpoint)
    gaps.add_routes(aws, name)
    gaps.rewrite_policies(aws, name)
    gaps.turn_on_object_lock(aws, name)
    outputs = _read_outputs(aws, name)
    gaps.limit_concurrency(aws, outputs["NotifyFunctionName"])
    first = applications[0].application
    stack = LocalStack(
        callback_url=build_callback_url(endpoint, outputs),
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
        stack: the stack to delete.
        state: a directory for the log (``sam-delete.log``).

    Raises:
        LocalError: the deletion fails.
    """
    command = ["delete", "--no-prompts", "--stack-name", stack.stack_name, "--region", stack.region]
    _run_sam(command, _build_administrator_environment(stack.aws_endpoint), state / "sam-delete.log")


def hand_out_key(stack: LocalStack, applications: Sequence[str]) -> None:
    """Invoke the rotation: it creates the uploader's access key and gives it to the applications.

    Raises:
        LocalError: the rotation failed, or an application got no key.
    """
    try:
        report = stack.invoke("RotationFunction")
    except FunctionFailed as error:
        raise LocalError(f"The access key for uploads could not be created: {error}.") from None
    holders = {step.get("applicationKey") for step in report["steps"] if step["step"] == "handed-out"}
    if missing := set(applications) - holders:
        raise LocalError(f"{', '.join(sorted(missing))} got no access key for uploads. RotationFunction: {report}.")


def read_uploader_credentials(stack: LocalStack) -> str:
    """Return the uploader's access key in the form of ``storage-credentials`` for S3."""
    name = f"/{stack.outputs['ParameterPrefix']}/{NEWEST}"
    value = stack.aws.ssm.get_parameter(Name=name, WithDecryption=True)["Parameter"]["Value"]
    access_key, secret, *_ = value.split(":")
    return f"{access_key}:{secret}:{stack.region}"


def put_application(
    stack: LocalStack, key: str, secret: str, *, profile: Mapping[str, Any] | str, credentials: str = ""
) -> None:
    """Write the parameters of a Sinch application and replace existing ones.

    Args:
        stack: the stack that reads them.
        key: the application key.
        secret: the application secret in Base64, or two of them with a comma between.
        profile: the recording profile, or any text to store instead of one.
        credentials: the storage credentials; empty if the stack hands them out itself.
    """
    ssm = stack.aws.ssm
    path = f"/{stack.outputs['ParameterPrefix']}/{key}"
    text = profile if isinstance(profile, str) else json.dumps(profile)
    ssm.put_parameter(Name=f"{path}/{SECRETS}", Value=secret, Type="SecureString", Overwrite=True)
    if credentials:
        ssm.put_parameter(Name=f"{path}/{CREDENTIALS}", Value=credentials, Type="SecureString", Overwrite=True)
    ssm.put_parameter(Name=f"{path}/{PROFILE}", Value=text, Type="String", Overwrite=True)


def _read_outputs(aws: Aws, name: str) -> dict[str, str]:
    stack = aws.cloudformation.describe_stacks(StackName=name)["Stacks"][0]
    return {output["OutputKey"]: output["OutputValue"] for output in stack["Outputs"]}


def _subscribe(aws: Aws, bus: str, queue: str) -> str:
    """Create a queue that receives every event of the bus, and return the queue's URL."""
    url = aws.sqs.create_queue(QueueName=queue)["QueueUrl"]
    arn = aws.sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]
    aws.events.put_rule(Name="subscriber", EventBusName=bus, EventPattern=json.dumps(EVENT_PATTERN))
    aws.events.put_targets(Rule="subscriber", EventBusName=bus, Targets=[{"Id": "queue", "Arn": arn}])
    return url


def _sam_deploy(built: Path, endpoint: str, state: Path, parameters: Mapping[str, str], name: str) -> None:
    Aws(endpoint).s3.create_bucket(Bucket=_ARTIFACTS_BUCKET)
    command = ["deploy", "--template-file", str(built), "--stack-name", name, "--region", REGION]
    command += ["--s3-bucket", _ARTIFACTS_BUCKET, "--capabilities", "CAPABILITY_IAM"]
    command += ["--no-confirm-changeset", "--no-progressbar", "--parameter-overrides"]
    command += [f"{key}={value}" for key, value in parameters.items()]
    _run_sam(command, _build_administrator_environment(endpoint), state / "sam-deploy.log")


def _build_administrator_environment(endpoint: str) -> dict[str, str]:
    """Return the environment of a tool that uses the emulator as its administrator."""
    access_key, secret_key = ADMINISTRATOR
    return _build_tool_environment() | {
        "AWS_ENDPOINT_URL": endpoint,
        "AWS_ACCESS_KEY_ID": access_key,
        "AWS_SECRET_ACCESS_KEY": secret_key,
        "AWS_EC2_METADATA_DISABLED": "true",
        "NO_PROXY": "127.0.0.1",
    }


def _build_tool_environment() -> dict[str, str]:
    """Return this shell's environment without the variables of make, of another Python and of a real AWS account."""
    own = ("AWS_", "MAKE", "MFLAGS", "PYTHON", "SAM_", "VIRTUAL_ENV")
    return {name: value for name, value in os.environ.items() if not name.startswith(own)} | {
        "SAM_CLI_TELEMETRY": "0",
        "SAM_CLI_POLL_DELAY": "0.2",
    }


def _run_sam(command: Sequence[str], environment: Mapping[str, str], log: Path) -> None:
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
        raise LocalError(f"`sam {command[0]}` failed ({_find_error(log)}): see {log}.")


def _find_error(log: Path) -> str:
    """Return the last line of a log that names an error, or else its last line: output may follow an error."""
    lines = [line.strip() for line in log.read_text("utf-8", "replace").splitlines() if line.strip()]
    errors = [line for line in lines if "Error" in line or "error:" in line]
    return (errors or lines or ["no output"])[-1]
