"""The key of the hashes of phone numbers (SSM Parameter Store)."""

from __future__ import annotations

import base64
import binascii
import secrets

from call_recorder.adapters.operations import CallFailed, Operations
from call_recorder.facts.errors import ParametersUnavailable

NUMBER_HASH_KEY = "number-hash-key"
"""The name of the parameter, below ``/<prefix>/``."""

_KEY_BYTES = 32  # as many as SHA-256 has


class NumberHashKey:
    """The key of a stack. Without it, no hash can be computed: RotationFunction makes it, and nothing replaces it.

    Args:
        ssm: SSM.
        prefix: the first part of every parameter's path, without slashes at its ends.
        kms_key: ARN of the KMS key that encrypts a new parameter, or ``""`` for the key ``aws/ssm``.
    """

    def __init__(self, ssm: Operations, prefix: str, *, kms_key: str = "") -> None:
        self._ssm = ssm
        self._name = f"/{prefix}/{NUMBER_HASH_KEY}"
        self._kms_key = kms_key
        self._known: bytes | None = None

    def read(self) -> bytes:
        """Return the key. It is read once, and then kept in memory.

        Raises:
            ParametersUnavailable: the key cannot be read, or does not exist.
        """
        if self._known is None:
            try:
                answer = self._ssm.call("GetParameter", {"Name": self._name, "WithDecryption": True})
            except CallFailed as error:
                if error.reason == "ParameterNotFound":
                    raise ParametersUnavailable(f"{NUMBER_HASH_KEY}: not there; RotationFunction makes it") from None
                raise ParametersUnavailable(str(error)) from error
            try:
                self._known = base64.b64decode(answer["Parameter"]["Value"], validate=True)
            except binascii.Error:
                raise ParametersUnavailable(f"{NUMBER_HASH_KEY}: not Base64") from None
        return self._known

    def make_if_absent(self) -> bool:
        """Make the key if there is none, and return whether it was made. An existing key is not read.

        Raises:
            ParametersUnavailable: SSM did not answer.
        """
        by_name = {"Key": "Name", "Option": "Equals", "Values": [self._name]}
        try:
            if self._ssm.call("DescribeParameters", {"ParameterFilters": [by_name]})["Parameters"]:
                return False
            self._ssm.call("PutParameter", self._new_parameter())
        except CallFailed as error:
            if error.reason == "ParameterAlreadyExists":  # the list was not up to date yet
                return False
            raise ParametersUnavailable(str(error)) from error
        return True

    def _new_parameter(self) -> dict[str, object]:
        value = base64.b64encode(secrets.token_bytes(_KEY_BYTES)).decode()
        parameter = {"Name": self._name, "Value": value, "Type": "SecureString", "Overwrite": False}
        return parameter | ({"KeyId": self._kms_key} if self._kms_key else {})
