"""The errors of other services, in the domain's terms. Adapters raise them, and ``functions`` handles them."""

from __future__ import annotations


class CallRecorderError(Exception):
    """Base of the errors that the functions handle."""


class UnknownApplication(CallRecorderError):
    """No application secret is stored under this application key."""


class ParametersUnavailable(CallRecorderError):
    """The parameters of the application cannot be read or used, and no earlier value is cached."""


class QueueUnavailable(CallRecorderError):
    """The queue did not take a message."""


class TableUnavailable(CallRecorderError):
    """The table cannot be read or written. The message must be delivered again."""


class BusUnavailable(CallRecorderError):
    """The event bus took no event, so all must be sent again. Or its rules cannot be listed or removed."""


class UpstreamFailed(CallRecorderError):
    """The application's own backend did not answer a callback with 2xx. The text holds no secret."""


class AccessKeysUnavailable(CallRecorderError):
    """The access keys of the uploader cannot be listed or changed."""


class UploaderMissing(AccessKeysUnavailable):
    """The IAM user of the uploader does not exist."""


class StackUnavailable(CallRecorderError):
    """CloudFormation did not return the state of the stack."""


class FilesUnavailable(CallRecorderError):
    """The versions of a file cannot be listed, deleted or held."""


class CustodyConflict(CallRecorderError):
    """Something else changes the same recording at the same time. Repeat the command."""


class CustodyIncomplete(CallRecorderError):
    """A part of a round of CustodyFunction failed. The next round continues."""


class CleanupIncomplete(CallRecorderError):
    """Something remains that prevents the deletion of the stack. The next deletion continues."""


class RotationIncomplete(CallRecorderError):
    """A step of the rotation failed. The next run continues."""
