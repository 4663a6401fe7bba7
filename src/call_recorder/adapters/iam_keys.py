"""The uploader's access keys (IAM) and the parameters that hold them (SSM Parameter Store).

Of the applications' parameters only ``storage-credentials`` and ``recording-profile`` are read.
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
"""Names that one GetParameters takes, and one DeleteParameters."""

_PAGE = 50  # the most that DescribeParameters gives at once


class UploaderKeys:
    """The access keys of one IAM user, and the parameters below one prefix.

    Args:
        iam: IAM; a client that repeats no call.
        ssm: SSM.
        user: the name of the user.
        prefix: first part of every parameter's path, without slashes at its ends.
        kms_key: ARN of the KMS key that encrypts the parameters, or ``""`` for the key ``aws/ssm``.
    """

    def __init__(self, iam: IAMClient, ssm: SSMClient, *, user: str, prefix: str, kms_key: str) -> None:
        self._iam = iam
        self._ssm = ssm
        self._user = user
        self._root = f"/{prefix}/"
        self._kms_key = kms_key

    def observe(self, *, profiles: bool = True) -> Observation:
        """Return the user's keys, the newest with its secret, and the applications.

        Args:
            profiles: whether the applications' profiles are read too.

        Raises:
            AccessKeysUnavailable: the keys could not be listed. ``UploaderMissing`` if there is no such user.
            ParametersUnavailable: the parameters could not be read.
        """
        keys = tuple(self._keys())
        with translate_errors("DescribeParameters", ParametersUnavailable):
            applications = self._applications()
        read = (CREDENTIALS, PROFILE) if profiles else (CREDENTIALS,)
        names = [self._name(application, name) for application in applications for name in read]
        with translate_errors("GetParameters", ParametersUnavailable):
            stored = self._read([self._root + NEWEST, *names])
        newest = stored.get(self._root + NEWEST)
        return Observation(
            user=self._user,
            keys=keys,
            newest=NewestKey.read(newest) if newest else None,
            holders=tuple(
                Holder(
                    application=application,
                    credentials=stored.get(self._name(application, CREDENTIALS)),
                    profile=stored.get(self._name(application, PROFILE)),
                )
                for application in applications
            ),
        )

    def create(self) -> NewKey:
        """Make a key.

        Raises:
            AccessKeysUnavailable: IAM did not say that it made one.
        """
        with translate_errors("CreateAccessKey", AccessKeysUnavailable):
            made = self._iam.create_access_key(UserName=self._user)["AccessKey"]
        key = AccessKey(id=made["AccessKeyId"], active=made["Status"] == "Active", created=made["CreateDate"])
        return NewKey(key, SecretStr(made["SecretAccessKey"]))

    def deactivate(self, key_id: str) -> None:
        """Switch a key off.

        Raises:
            AccessKeysUnavailable: IAM did not say that it did.
        """
        with translate_errors("UpdateAccessKey", AccessKeysUnavailable):
            self._iam.update_access_key(UserName=self._user, AccessKeyId=key_id, Status="Inactive")

    def delete(self, key_id: str) -> None:
        """Delete a key. One that does not exist is deleted.

        Raises:
            AccessKeysUnavailable: IAM did not say that it did.
        """
        gone = self._iam.exceptions.NoSuchEntityException
        with translate_errors("DeleteAccessKey", AccessKeysUnavailable), suppress(gone):
            self._iam.delete_access_key(UserName=self._user, AccessKeyId=key_id)

    def keep(self, newest: NewestKey, *, over: bool) -> None:
        """Write the newest key.

        Args:
            newest: the key.
            over: whether to write over the one that is there.

        Raises:
            ParametersUnavailable: SSM did not say that it took it, or there is one.
        """
        self._put(self._root + NEWEST, newest.text(), over=over)

    def hand_out(self, application: str, credentials: SecretStr) -> None:
        """Write an application's storage credentials.

        Raises:
            ParametersUnavailable: SSM did not say that it took them.
        """
        self._put(self._name(application, CREDENTIALS), credentials)

    def forget(self, applications: Sequence[str], *, newest: bool) -> None:
        """Delete the storage credentials of applications. Those that do not exist are deleted.

        Args:
            applications: whose.
            newest: whether the newest key is to be forgotten too.

        Raises:
            ParametersUnavailable: SSM did not say that it deleted them.
        """
        names = [self._name(application, CREDENTIALS) for application in applications]
        names += [self._root + NEWEST] if newest else []
        with translate_errors("DeleteParameters", ParametersUnavailable):
            for first in range(0, len(names), MAX_NAMES):
                self._ssm.delete_parameters(Names=names[first : first + MAX_NAMES])

    def _keys(self) -> Iterator[AccessKey]:
        with translate_errors("ListAccessKeys", AccessKeysUnavailable):
            try:
                listed = self._iam.list_access_keys(UserName=self._user)["AccessKeyMetadata"]
            except self._iam.exceptions.NoSuchEntityException:
                raise UploaderMissing("ListAccessKeys: NoSuchEntity") from None
        for key in listed:
            yield AccessKey(id=key["AccessKeyId"], active=key["Status"] == "Active", created=key["CreateDate"])

    def _applications(self) -> list[str]:
        """Return the applications that have either parameter. What lies deeper is another stack's."""
        pages = self._ssm.get_paginator("describe_parameters").paginate(
            ParameterFilters=[{"Key": "Path", "Option": "Recursive", "Values": [self._root.rstrip("/")]}],
            PaginationConfig={"PageSize": _PAGE},
        )
        applications = set()
        for page in pages:
            for parameter in page["Parameters"]:
                application, _, name = parameter["Name"].removeprefix(self._root).partition("/")
                if name in (CREDENTIALS, PROFILE):
                    applications.add(application)
        return sorted(applications)

    def _read(self, names: Sequence[str]) -> dict[str, Parameter]:
        """Return the parameters that exist, by name."""
        stored = {}
        for first in range(0, len(names), MAX_NAMES):
            answer = self._ssm.get_parameters(Names=names[first : first + MAX_NAMES], WithDecryption=True)
            for each in answer["Parameters"]:
                stored[each["Name"]] = Parameter(SecretStr(each["Value"]), each["LastModifiedDate"])
        return stored

    def _name(self, application: str, name: str) -> str:
        return f"{self._root}{application}/{name}"

    def _put(self, name: str, value: SecretStr, *, over: bool = True) -> None:
        # An overwrite that names no key would encrypt with aws/ssm, whatever encrypted the value before.
        key: dict[str, Any] = {"KeyId": self._kms_key} if self._kms_key else {}
        with translate_errors(f"PutParameter {name}", ParametersUnavailable):
            self._ssm.put_parameter(
                Name=name, Value=value.get_secret_value(), Type="SecureString", Overwrite=over, **key
            )
