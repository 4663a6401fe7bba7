"""The uploader's access keys (IAM) and the parameters that hold them (SSM Parameter Store).

Of each application's parameters, only ``storage-credentials`` and ``recording-profile`` are read.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from pydantic import SecretStr

from call_recorder.adapters.boto_errors import translate_errors
from call_recorder.answering.parameter_names import CREDENTIALS, PROFILE
from call_recorder.facts.errors import AccessKeysUnavailable, ParametersUnavailable, UploaderMissing
from call_recorder.uploader_key.plan import AccessKey, Holder, NewestKey, NewKey, Observation, Parameter

if TYPE_CHECKING:
    from mypy_boto3_iam import IAMClient
    from mypy_boto3_ssm import SSMClient

NEWEST = "uploader-key"
"""The name of the parameter with the newest key, below ``/<prefix>/``."""

MAX_NAMES = 10
"""Maximum number of names in one GetParameters or DeleteParameters."""

_MAX_PAGE = 50  # parameters that one DescribeParameters returns


class UploaderKeys:
    """The access keys of one IAM user, and the parameters below one prefix.

    Args:
        iam: IAM, with a client that repeats no call.
        ssm: SSM.
        user: the name of the user.
        prefix: the first part of every parameter's path, without slashes at its ends.
        kms_key: ARN of the KMS key that encrypts the parameters, or ``""`` for the key ``aws/ssm``.
    """

    def __init__(self, iam: IAMClient, ssm: SSMClient, *, user: str, prefix: str, kms_key: str) -> None:
        self._iam = iam
        self._ssm = ssm
        self._user = user
        self._root = f"/{prefix}/"
        self._kms_key = kms_key

    def observe(self, *, profiles: bool = True) -> Observation:
        """Return the user's keys, the newest key with its secret, and the applications.

        Args:
            profiles: whether to read the profiles of the applications too.

        Raises:
            UploaderMissing: the user does not exist.
            AccessKeysUnavailable: the keys could not be listed.
            ParametersUnavailable: the parameters could not be read.
        """
        keys = tuple(self._list_keys())
        with translate_errors("DescribeParameters", ParametersUnavailable):
            applications = self._list_applications()
        kinds = (CREDENTIALS, PROFILE) if profiles else (CREDENTIALS,)
        names = [self._parameter_name(application, kind) for application in applications for kind in kinds]
        with translate_errors("GetParameters", ParametersUnavailable):
            stored = self._get_parameters([self._root + NEWEST, *names])
        newest = stored.get(self._root + NEWEST)
        return Observation(
            user=self._user,
            keys=keys,
            newest=NewestKey.read(newest) if newest else None,
            holders=tuple(
                Holder(
                    application=application,
                    credentials=stored.get(self._parameter_name(application, CREDENTIALS)),
                    profile=stored.get(self._parameter_name(application, PROFILE)),
                )
                for application in applications
            ),
        )

    def create(self) -> NewKey:
        """Create a key.

        Raises:
            AccessKeysUnavailable: IAM did not confirm it. It may have created a key.
        """
        with translate_errors("CreateAccessKey", AccessKeysUnavailable):
            created = self._iam.create_access_key(UserName=self._user)["AccessKey"]
        key = AccessKey(id=created["AccessKeyId"], active=created["Status"] == "Active", created=created["CreateDate"])
        return NewKey(key, SecretStr(created["SecretAccessKey"]))

    def deactivate(self, key_id: str) -> None:
        """Deactivate a key.

        Raises:
            AccessKeysUnavailable: IAM did not confirm it.
        """
        with translate_errors("UpdateAccessKey", AccessKeysUnavailable):
            self._iam.update_access_key(UserName=self._user, AccessKeyId=key_id, Status="Inactive")

    def delete(self, key_id: str) -> None:
        """Delete a key. If it does not exist, do nothing.

        Raises:
            AccessKeysUnavailable: IAM did not confirm it.
        """
        not_found = self._iam.exceptions.NoSuchEntityException
        with translate_errors("DeleteAccessKey", AccessKeysUnavailable), suppress(not_found):
            self._iam.delete_access_key(UserName=self._user, AccessKeyId=key_id)

    def save_newest(self, newest: NewestKey, *, overwrite: bool) -> None:
        """Write the parameter with the newest key.

        Args:
            newest: the newest key.
            overwrite: whether to write if the parameter exists.

        Raises:
            ParametersUnavailable: SSM did not confirm it, or the parameter exists and must not be overwritten.
        """
        self._put(self._root + NEWEST, newest.to_text(), overwrite=overwrite)

    def hand_out(self, application: str, credentials: SecretStr) -> None:
        """Write the storage credentials of an application.

        Raises:
            ParametersUnavailable: SSM did not confirm it.
        """
        self._put(self._parameter_name(application, CREDENTIALS), credentials)

    def delete_credentials(self, applications: Sequence[str], *, newest: bool) -> None:
        """Delete the storage credentials of applications. Those that do not exist are skipped.

        Args:
            applications: the keys of the applications.
            newest: whether to delete the parameter with the newest key too.

        Raises:
            ParametersUnavailable: SSM did not confirm it.
        """
        names = [self._parameter_name(application, CREDENTIALS) for application in applications]
        names += [self._root + NEWEST] if newest else []
        with translate_errors("DeleteParameters", ParametersUnavailable):
            for first in range(0, len(names), MAX_NAMES):
                self._ssm.delete_parameters(Names=names[first : first + MAX_NAMES])

    def _list_keys(self) -> Iterator[AccessKey]:
        with translate_errors("ListAccessKeys", AccessKeysUnavailable):
            try:
                listed = self._iam.list_access_keys(UserName=self._user)["AccessKeyMetadata"]
            except self._iam.exceptions.NoSuchEntityException:
                raise UploaderMissing("ListAccessKeys: NoSuchEntity") from None
        for key in listed:
            yield AccessKey(id=key["AccessKeyId"], active=key["Status"] == "Active", created=key["CreateDate"])

    def _list_applications(self) -> list[str]:
        """Return the applications that have credentials or a profile. Parameters below them belong to another stack."""
        pages = self._ssm.get_paginator("describe_parameters").paginate(
            ParameterFilters=[{"Key": "Path", "Option": "Recursive", "Values": [self._root.rstrip("/")]}],
            PaginationConfig={"PageSize": _MAX_PAGE},
        )
        applications = set()
        for page in pages:
            for parameter in page["Parameters"]:
                application, _, name = parameter["Name"].removeprefix(self._root).partition("/")
                if name in (CREDENTIALS, PROFILE):
                    applications.add(application)
        return sorted(applications)

    def _get_parameters(self, names: Sequence[str]) -> dict[str, Parameter]:
        """Return the parameters that exist, by name."""
        stored = {}
        for first in range(0, len(names), MAX_NAMES):
            answer = self._ssm.get_parameters(Names=names[first : first + MAX_NAMES], WithDecryption=True)
            for each in answer["Parameters"]:
                stored[each["Name"]] = Parameter(SecretStr(each["Value"]), each["LastModifiedDate"])
        return stored

    def _parameter_name(self, application: str, kind: str) -> str:
        return f"{self._root}{application}/{kind}"

    def _put(self, name: str, value: SecretStr, *, overwrite: bool = True) -> None:
        # Without a key id, an overwrite encrypts with aws/ssm, even if another key encrypted the former value.
        key: dict[str, Any] = {"KeyId": self._kms_key} if self._kms_key else {}
        with translate_errors(f"PutParameter {name}", ParametersUnavailable):
            self._ssm.put_parameter(
                Name=name, Value=value.get_secret_value(), Type="SecureString", Overwrite=overwrite, **key
            )
