"""What can go wrong outside the domain, in the domain's words. Adapters raise these; handlers map them."""

from __future__ import annotations


class CallRecorderError(Exception):
    """Base of the errors that the entry points know what to do with."""


class UnknownApplication(CallRecorderError):
    """No application secret is stored under this application key."""


class ParametersUnavailable(CallRecorderError):
    """The application's parameters cannot be read, or cannot be used, and no earlier value is at hand."""


class QueueUnavailable(CallRecorderError):
    """The queue did not take a call fact."""


class TableUnavailable(CallRecorderError):
    """The table could not be read or written; the fact must be delivered again."""


class BusUnavailable(CallRecorderError):
    """The event bus took none of the events; they must be sent again. Or its rules could not be listed or removed."""


class AccessKeysUnavailable(CallRecorderError):
    """The uploader's access keys could not be listed or changed."""


class UploaderMissing(AccessKeysUnavailable):
    """There is no such user."""


class StackUnavailable(CallRecorderError):
    """CloudFormation did not tell what becomes of the stack."""


class CleanupIncomplete(CallRecorderError):
    """Something is left that keeps the stack from being deleted; deleting it again takes it up."""


class RotationIncomplete(CallRecorderError):
    """A step of the rotation failed; the next run takes it up."""
