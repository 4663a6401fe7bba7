"""Lends an application the profiles of a trial, and gives it its own one back, whatever happens in between."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING, Any, Final

from call_recorder.answering.parameter_names import PROFILE
from call_recorder_cli.errors import CommandFailed, NotFound
from call_recorder_cli.trial.calls import is_trial_profile

if TYPE_CHECKING:
    from mypy_boto3_ssm import SSMClient
    from mypy_boto3_ssm.literals import ParameterTierType

    from call_recorder_cli.stack import Stack

KEPT: Final = "recording-profile-before-trial"
"""The parameter that keeps the application's own profile during a trial. The functions do not read it."""


class KeptProfile:
    """The profile of an application that takes part in a trial.

    Its own profile is stored in SSM beside it before the first change, so that the next trial can put it back if this
    one is killed.

    Args:
        ssm: SSM.
        stack: the stack.
        application_key: the application.
    """

    def __init__(self, ssm: SSMClient, stack: Stack, application_key: str) -> None:
        self._ssm = ssm
        self._application_key = application_key
        self._path = stack.parameter_path(application_key, PROFILE)
        self._kept_path = stack.parameter_path(application_key, KEPT)

    def read(self) -> str:
        """Return the application's profile.

        Raises:
            NotFound: the application has none.
            CommandFailed: it is stored in a form in which this class could not put it back.
        """
        parameter = self._get(self._path)
        if parameter is None:
            raise NotFound(f"There is no application {self._application_key} with a profile: onboard it first.")
        if parameter["Type"] != "String":
            raise CommandFailed(f"The profile is a {parameter['Type']}: store it as a String, as docs/profile.md says.")
        return str(parameter["Value"])

    def lend(self, text: str) -> None:
        """Give the application another profile. Its own one is kept first."""
        if self._get(self._kept_path) is None:
            self._put(self._kept_path, self.read())
        self._put(self._path, text)

    def put_back(self) -> bool:
        """Give the application its own profile back, if one is kept. Return whether it has its own one again.

        A profile that somebody else has written meanwhile stays.
        """
        kept = self._get(self._kept_path)
        if kept is None:
            return False
        present = self._get(self._path)
        lent = present is None or is_trial_profile(present["Value"])
        if lent:
            self._put(self._path, kept["Value"])
        self._ssm.delete_parameter(Name=self._kept_path)
        return lent

    def _get(self, path: str) -> Any:
        try:
            return self._ssm.get_parameter(Name=path)["Parameter"]
        except self._ssm.exceptions.ParameterNotFound:
            return None

    def _put(self, path: str, text: str) -> None:
        self._ssm.put_parameter(Name=path, Value=text, Type="String", Overwrite=True, Tier=self._tier)

    @cached_property
    def _tier(self) -> ParameterTierType:
        """The tier of the profile, also for what is kept of it.

        SSM refuses to make an advanced parameter a standard one: "PutParameter" in the API reference of Systems Manager
        and in AWS's SDK for Java, read in November 2026.
        """
        found = self._ssm.describe_parameters(ParameterFilters=[{"Key": "Name", "Values": [self._path]}])["Parameters"]
        return found[0]["Tier"] if found and found[0].get("Tier") == "Advanced" else "Standard"
