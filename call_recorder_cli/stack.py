"""The stack that a command works on: its session, outputs and parameters."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

from botocore.exceptions import ClientError

from call_recorder_cli.errors import CommandFailed, NotFound

if TYPE_CHECKING:
    import boto3

DEFAULT_STACK: Final = "call-recorder"

_REQUIRED_OUTPUTS: Final = ("CallbackUrl", "CallbackPath", "CallbackApiId", "ParameterPrefix", "RecordingsTableName")


@dataclass(frozen=True, slots=True)
class Stack:
    """A deployed stack.

    Attributes:
        name: its name.
        session: has the credentials and the region. A shell or a profile may direct it to an emulator.
        outputs: the outputs by their keys.
        parameters: the values of its parameters by their keys.
        status: the status that CloudFormation gives it.
        endpoint: the URL of CloudFormation, which tells AWS from an emulator.
    """

    name: str
    session: boto3.Session
    outputs: Mapping[str, str]
    parameters: Mapping[str, str]
    status: str
    endpoint: str

    @classmethod
    def open(cls, name: str, session: boto3.Session) -> Stack:
        """Read a stack.

        Raises:
            NotFound: there is no such stack.
            CommandFailed: the stack is not a call recorder.
            ClientError: CloudFormation refused the request.
            BotoCoreError: CloudFormation could not be asked.
        """
        cloudformation = session.client("cloudformation")
        try:
            [stack] = cloudformation.describe_stacks(StackName=name)["Stacks"]
        except ClientError as error:
            if error.response["Error"]["Code"] != "ValidationError":
                raise
            raise NotFound(
                f"There is no stack {name} in {cloudformation.meta.region_name}: name another one with --stack, or "
                "check --profile and --region."
            ) from None
        outputs = {output["OutputKey"]: output["OutputValue"] for output in stack.get("Outputs", ())}
        if missing := [each for each in _REQUIRED_OUTPUTS if each not in outputs]:
            raise CommandFailed(
                f"The stack {name} ({stack['StackStatus']}) has no output {missing[0]}: it is not a call recorder, or "
                "its deployment has not finished."
            )
        parameters = {each["ParameterKey"]: each["ParameterValue"] for each in stack.get("Parameters", ())}
        return cls(name, session, outputs, parameters, stack["StackStatus"], cloudformation.meta.endpoint_url)

    @property
    def on_aws(self) -> bool:
        """Whether the stack is on AWS, not on an emulator."""
        return ".amazonaws." in f"{urlsplit(self.endpoint).hostname}."

    @property
    def callback_url(self) -> str:
        """The URL that Sinch calls. An emulator has the API at a URL of its own."""
        if self.on_aws:
            return self.outputs["CallbackUrl"]
        return f"{self.endpoint}/_aws/execute-api/{self.outputs['CallbackApiId']}/$default/callbacks"

    def output(self, name: str) -> str:
        """Return an output.

        Raises:
            CommandFailed: the stack does not have it, since it is of an earlier version.
        """
        try:
            return self.outputs[name]
        except KeyError:
            raise CommandFailed(
                f"The stack {self.name} has no output {name}: deploy the present version of the template first."
            ) from None

    def parameter_path(self, *names: str) -> str:
        """Return the path of an SSM parameter of this stack, such as that of an application's profile."""
        return "/".join(("", self.outputs["ParameterPrefix"], *names))


def open_session(profile: str | None, region: str | None) -> boto3.Session:
    """Return a session of AWS.

    ``AWS_REGION`` names the region, as for the AWS CLI; boto3 by itself ignores this variable.

    Raises:
        ProfileNotFound: there is no such profile.
    """
    import boto3  # Help and completion must not wait for it.
    from botocore.config import Config
    from botocore.session import Session

    client = Session()
    client.set_default_client_config(
        Config(
            connect_timeout=5,
            read_timeout=60,
            max_pool_connections=32,  # Lists are read by 17 threads. More than this, and urllib3 warns on the terminal.
            retries={"mode": "standard", "max_attempts": 4},
            user_agent_extra="call-recorder-cli",
        )
    )
    return boto3.Session(
        profile_name=profile,
        region_name=region or os.environ.get("AWS_REGION") or None,
        botocore_session=client,
    )
