"""Every time limit of a call to something else, in seconds.

CallbackFunction calls AWS by our own client, whose limits are ``Limits``: a caller waits. The other functions call it
by boto3, whose limits are ``SdkLimits``: nobody waits, and the queue or a schedule brings the work again.

What must hold, and tests/unit/test_limits.py holds it:

- An ICE is answered within 3 s. It reads SSM at most twice, 2 x 1.0, and sends its fact, 0.8: 2.8 s.
- An ACE or PIE is answered within 4 s even if its backend answers late, the table and the queue not at all.
- A call by boto3 ends before NotifyFunction's timeout of 10 s. Two that take their longest do not: then Lambda
  ends the function, and the batch comes again. The timeout is shorter than a claim (30 s), the claim shorter than the
  queue's visibility timeout (60 s), so that a batch that comes again meets nobody.
"""

from __future__ import annotations

from typing import Final, NamedTuple


class Limits(NamedTuple):
    """How long a call by our own client takes at most, whatever the other side does.

    Attributes:
        attempt: one attempt: to look the name up, connect, shake hands, send, and read the whole answer.
        overall: all attempts together. The second has what the first leaves of it.
        attempts: how many. The second follows at once, on a new connection: a caller waits.
    """

    attempt: float
    overall: float
    attempts: int = 2


PARAMETERS: Final = Limits(attempt=0.6, overall=1.0)
"""SSM, before any callback can be verified."""

LISTING: Final = Limits(attempt=0.5, overall=0.5, attempts=1)
"""SSM, for a page of the list of applications, which comes before the parameters in a flood of made-up keys.
``LISTING_SECONDS`` in aws/registered_applications.py says for how long pages are asked for."""

FACT: Final = Limits(attempt=0.5, overall=0.8)
"""SQS, with what was decided on a call. A second attempt may bring the fact twice, which changes nothing."""

CALL: Final = Limits(attempt=0.5, overall=0.8)
"""DynamoDB, with what is known of a call, before its ACE or PIE is decided."""

NOTIFICATION: Final = Limits(attempt=0.7, overall=1.4)
"""SQS, with what Sinch sends once and no caller waits for. Sinch documents that its newer API waits 5 s."""

MAX_IDLE: Final = 60.0
"""How long a connection is kept without a call. Load balancers drop an idle one after 350 s without a word."""

UPSTREAM: Final = 2.0
"""A backend to which callbacks are forwarded."""

MAX_ANSWER: Final = 4.0
"""Sinch is answered within this, whatever a backend does. After 5 s Sinch gives up."""

LATEST_UPSTREAM: Final = MAX_ANSWER - CALL.overall - FACT.overall
"""When a backend must have answered at the latest, counted from the callback: table and queue come after it."""


class SdkLimits(NamedTuple):
    """How long a call by boto3 takes, with its ``standard`` retries.

    Attributes:
        connect: to connect.
        read: without a byte of the answer.
        attempts: how many. Before each other one boto3 waits, up to 1, 2, 4 s.
    """

    connect: float
    read: float
    attempts: int

    @property
    def longest(self) -> float:
        """The longest that a call takes which gets no answer."""
        back_off = sum(2.0**retry for retry in range(self.attempts - 1))
        return self.attempts * (self.connect + self.read) + back_off


BACKGROUND: Final = SdkLimits(connect=0.5, read=1.0, attempts=3)
"""DynamoDB, EventBridge and SQS for NotifyFunction, WatchdogFunction and RotationFunction."""

CREDENTIALS: Final = SdkLimits(connect=0.5, read=2.0, attempts=3)
"""SSM for RotationFunction, which has a minute and is run again after an hour."""

ACCESS_KEYS: Final = SdkLimits(connect=1.0, read=5.0, attempts=1)
"""IAM for RotationFunction. A second CreateAccessKey would make a second key."""

CLEANUP: Final = SdkLimits(connect=0.5, read=2.0, attempts=3)
"""IAM, EventBridge and CloudFormation for CleanupFunction, which has two minutes and may do everything twice."""

ANSWER: Final = SdkLimits(connect=0.5, read=4.5, attempts=3)
"""The answer of CleanupFunction to CloudFormation. It pauses a second between two attempts."""

PARALLEL_CALLS: Final = 10
"""Calls of one batch at once, and the connections that boto3 keeps for them: one for each message. Each of them takes
0.1 MB."""
