"""Stores a probe in Azure Blob Storage, with the access key of the storage account.

Sources of the codes, read in November 2026: "Common REST API error codes" and "Blob Storage error codes" of Azure
Storage; ``AuthenticationErrorDetail`` and what ``AuthorizationFailure`` means: answers that others quote.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit

from call_recorder_cli.probes.faults import (
    SERVER_ERROR,
    Fault,
    ProbeRefused,
    describe_network_fault,
    find_network_fault,
)

if TYPE_CHECKING:
    from azure.storage.blob import BlobClient

    from call_recorder.facts.storage_urls import ObjectPointer

_SECONDS: Final = 10
_FAULTS: Final = {
    "AuthenticationFailed": Fault.WRONG_SECRET,
    "InvalidAuthenticationInfo": Fault.WRONG_SECRET,
    "AuthorizationFailure": Fault.NO_RIGHT,
    "KeyBasedAuthenticationNotPermitted": Fault.NO_RIGHT,
    "AccountIsDisabled": Fault.NO_RIGHT,
    "InsufficientAccountPermissions": Fault.NO_RIGHT,
    "ContainerNotFound": Fault.NO_CONTAINER,
    "ContainerBeingDeleted": Fault.NO_CONTAINER,
    "ServerBusy": Fault.BUSY,
    "InternalError": Fault.BUSY,
    "OperationTimedOut": Fault.BUSY,
}
_NO_RIGHT: Final = {
    "AuthorizationFailure": "its firewall refuses this network: allow it, and the addresses of Sinch",
    "KeyBasedAuthenticationNotPermitted": "it accepts no access keys: allow shared key access",
    "AccountIsDisabled": "it is disabled: enable it in the Azure portal",
}


class AzureBlob:
    """One container, with the credentials of an application.

    Args:
        pointer: the probe's location.
        credentials: the access key of the storage account.
        endpoint: the URL of an emulator, which the name of the account follows; ``None`` is Azure.
    """

    def __init__(self, pointer: ObjectPointer, credentials: str, endpoint: str | None) -> None:
        self._account, _, self._container = (pointer.bucket or "").partition("/")
        self._key = credentials
        self._name = pointer.key or ""
        self._url = f"{endpoint}/{self._account}" if endpoint else f"https://{self._account}.blob.core.windows.net"

    def store(self, body: bytes) -> None:
        """Store the probe.

        Raises:
            ProbeRefused: the store did not accept it.
        """
        from azure.core.exceptions import AzureError, HttpResponseError

        try:
            self._make_client().upload_blob(body, overwrite=True)
        except HttpResponseError as error:
            raise self._refuse(error) from None
        except AzureError as error:
            raise self._refuse_without_answer(error) from None

    def remove(self) -> bool:
        """Remove the probe, and return whether the store has done it."""
        from azure.core.exceptions import AzureError

        try:
            self._make_client().delete_blob()
        except AzureError:
            return False
        return True

    def _make_client(self) -> BlobClient:
        from azure.storage.blob import BlobClient

        return BlobClient(
            self._url,
            self._container,
            self._name,
            credential={"account_name": self._account, "account_key": self._key},
            retry_total=0,
            connection_timeout=_SECONDS,
            read_timeout=_SECONDS,
        )

    def _refuse(self, error: Any) -> ProbeRefused:
        code = str(getattr(error.error_code, "value", error.error_code or ""))
        detail = " ".join(filter(None, (str(error.message), *map(str, getattr(error, "additional_info", {}).values()))))
        fault = find_fault(code, error.status_code or 0, detail)
        return ProbeRefused(fault, f"{self._describe(fault, code)}.")

    def _describe(self, fault: Fault, code: str) -> str:
        """Return the sentence about a fault."""
        match fault:
            case Fault.WRONG_SECRET:
                return f"The access key is none of the storage account {self._account}: write one of its two keys"
            case Fault.NO_CONTAINER:
                return (
                    f"The storage account {self._account} has no container {self._container}: create it, or correct "
                    "the destination in the profile"
                )
            case Fault.NO_RIGHT:
                reason = _NO_RIGHT.get(code, f"it refuses the key ({code}): look at its settings")
                return f"The storage account {self._account} takes no file, since {reason}"
            case Fault.CLOCK:
                return "The clock of this machine differs too much from that of Azure: set it, then check again"
            case Fault.BUSY:
                return f"Azure fails or limits the rate of requests ({code}): check again in a minute"
            case _:
                return f"Azure refuses the file with {code or 'no code'}: look this code up in its documentation"

    def _refuse_without_answer(self, error: Exception) -> ProbeRefused:
        fault, host = find_network_fault(error), urlsplit(self._url).hostname or ""
        sentence = describe_network_fault(fault, host)
        if fault is Fault.DNS:
            sentence = (
                f"There is no storage account {self._account}: correct the destination in the profile, or the DNS."
            )
        return ProbeRefused(fault, sentence)


def find_fault(code: str, status: int, detail: str) -> Fault:
    """Return the fault that an answer of Azure shows.

    Args:
        code: the error code.
        status: the HTTP status.
        detail: the message and what else the answer says.
    """
    if code == "AuthenticationFailed" and "Request date header" in detail:
        return Fault.CLOCK
    if code == "AuthorizationFailure" and "failed to authenticate" in detail:
        return Fault.WRONG_SECRET  # Azure's emulator answers a wrong key so.
    return _FAULTS.get(code) or (Fault.BUSY if status >= SERVER_ERROR else Fault.OTHER)
