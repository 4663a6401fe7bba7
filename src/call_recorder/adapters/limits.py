"""Every time limit of a call to another service, in seconds.

CallbackFunction calls AWS with our own client, whose limits are ``Limits``: a caller waits. The other functions use
boto3, whose limits are ``SdkLimits``: no caller waits, and the queue or a schedule repeats the work.

tests/unit/test_limits.py checks these rules:

- An ICE is answered within 3 s. It calls SSM at most twice (2 x 1.0 s) and sends its fact (0.8 s): 2.8 s.
- An ACE or PIE is answered within 4 s, even if its backend answers late and neither the table nor the queue answers.
- A call with boto3 ends before NotifyFunction's timeout of 10 s. If two calls take their maximum, Lambda ends the
  function, and SQS delivers the batch again. The timeout is shorter than a claim (30 s), and a claim is shorter than
  the visibility timeout of the queue (60 s or more), so the claims of the first delivery have ended by then.
"""

from __future__ import annotations

from typing import Final, NamedTuple


class Limits(NamedTuple):
    """The maximum duration of a call with our own client, even if the other side answers slowly or not at all.

    Attributes:
        attempt: seconds for one attempt: look up the name, connect, shake hands, send, and read the whole answer.
        overall: seconds for all attempts together. The second attempt has what the first one leaves.
        attempts: maximum number of attempts. The second follows at once, on a new connection: a caller waits.
    """

    attempt: float
    overall: float
    attempts: int = 2


PARAMETERS: Final = Limits(attempt=0.6, overall=1.0)
"""Limits for SSM, to read the parameters of an application. No callback can be verified before."""

LISTING: Final = Limits(attempt=0.5, overall=0.5, attempts=1)
"""Limits for SSM, to read one page of the list of applications. In a flood of made-up keys, the list is read before the
parameters. ``LISTING_SECONDS`` in answering/registered_applications.py limits the time in which pages are requested."""

FACT: Final = Limits(attempt=0.5, overall=0.8)
"""Limits for SQS, to send a decision on a call. A second attempt may send the fact twice, which changes nothing."""

KNOWN_CALL: Final = Limits(attempt=0.5, overall=0.8)
"""Limits for DynamoDB, to read what is known of a call before its ACE or PIE is decided."""

NOTIFICATION: Final = Limits(attempt=0.7, overall=1.4)
"""Limits for SQS, to send callbacks that Sinch sends once and for which no caller waits. For its newer API, Sinch
documents that it waits for 5 s."""

MAX_IDLE_SECONDS: Final = 60.0
"""Maximum time for which a connection is kept without a call, in seconds. Load balancers drop an idle connection after
350 s, without notice."""

MAX_UPSTREAM_SECONDS: Final = 2.0
"""Maximum duration of a call to a backend to which callbacks are forwarded, in seconds."""

MAX_ANSWER_SECONDS: Final = 4.0
"""Maximum time for an answer to Sinch, in seconds, even if a backend is slow. Sinch gives up after 5 s."""

UPSTREAM_DEADLINE_SECONDS: Final = MAX_ANSWER_SECONDS - KNOWN_CALL.overall - FACT.overall
"""Time by which a backend must have answered, in seconds after the callback arrived. Calls to the table and the queue
follow."""


class SdkLimits(NamedTuple):
    """The duration of a call with boto3 and its ``standard`` retries.

    Attributes:
        connect: maximum number of seconds to connect.
        read: maximum number of seconds without a byte of the answer.
        attempts: maximum number of attempts. Before each repetition boto3 waits, for up to 1, 2, 4 s.
    """

    connect: float
    read: float
    attempts: int

    @property
    def max_seconds(self) -> float:
        """Maximum duration of a call that is not answered, in seconds."""
        back_off = sum(2.0**retry for retry in range(self.attempts - 1))
        return self.attempts * (self.connect + self.read) + back_off


BACKGROUND: Final = SdkLimits(connect=0.5, read=1.0, attempts=3)
"""Limits for DynamoDB, EventBridge and SQS in the functions for which no caller waits: NotifyFunction, WatchdogFunction
and RotationFunction."""

FILES: Final = SdkLimits(connect=1.0, read=10.0, attempts=3)
"""Limits for S3 in CustodyFunction, which has five minutes. S3 may take seconds to delete a thousand versions."""

STORAGE_CREDENTIALS: Final = SdkLimits(connect=0.5, read=2.0, attempts=3)
"""Limits for SSM, to read and write storage credentials in RotationFunction and CleanupFunction. RotationFunction has a
minute, and runs again after an hour."""

ACCESS_KEYS: Final = SdkLimits(connect=1.0, read=5.0, attempts=1)
"""Limits for IAM in RotationFunction. It has one attempt: a second CreateAccessKey would create a second key."""

CLEANUP: Final = SdkLimits(connect=0.5, read=2.0, attempts=3)
"""Limits for IAM, EventBridge and CloudFormation in CleanupFunction, which has two minutes."""

STACK_RESPONSE: Final = SdkLimits(connect=0.5, read=4.5, attempts=3)
"""Limits for CleanupFunction's response to CloudFormation. It waits for one second between two attempts."""

MAX_PARALLEL_CALLS: Final = 10
"""Maximum number of parallel calls of one batch: one per message. It is also the number of connections that a boto3
client keeps. Each connection takes 0.1 MB of memory."""
