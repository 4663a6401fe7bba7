"""The figures of the model, each with its source: AWS's quotas, durations, the parameters of the stack.

The quotas are those of us-east-1. AWS's pages were read in November 2026, in copies of different age.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final, Literal, NamedTuple

Cost = Literal["callers", "recordings", "delay"]
"""The effect of an exceeded quota: calls fail, calls are not recorded, or the table and the events are late."""


class Quota(NamedTuple):
    """A quota.

    Attributes:
        name: its name in the report.
        limit: the maximum at once or in a second.
        costs: the effect if it is exceeded.
    """

    name: str
    limit: float
    costs: Cost


@dataclass(frozen=True, slots=True)
class Account:
    """The quotas of the account. The defaults are those of a region with the largest quotas.

    Attributes:
        api_rate: requests a second of all HTTP APIs.
            https://docs.aws.amazon.com/apigateway/latest/developerguide/limits.html
        concurrency: executions of all functions at once. New accounts may have 10.
            https://docs.aws.amazon.com/lambda/latest/dg/gettingstarted-limits.html
        get_parameters: GetParameters a second; 40 is the standard throughput, shared by GetParameter and
            GetParametersByPath. The higher throughput is 1,000; older pages say 3,000.
            https://docs.aws.amazon.com/general/latest/gr/ssm.html
        describe_parameters: DescribeParameters a second. AWS publishes no number; 10 is of the order that users report.
        warm_writes: write units a second that a table and each index take at once. A new one takes 4,000.
            https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/warm-throughput-scenarios.html
        warm_reads: the same for read units, 12,000.
        table_units: units a second of one table, or of one of its indexes, for reads and for writes.
            https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/ServiceQuotas.html
        put_events: PutEvents a second. AWS counts requests; entries are counted here, which is stricter.
            https://docs.aws.amazon.com/eventbridge/latest/userguide/eb-quota.html
        invocations: events that match a rule, a second; above it, EventBridge delivers late. The same page.
    """

    api_rate: float = 10_000
    concurrency: float = 1_000
    get_parameters: float = 40
    describe_parameters: float = 10
    warm_writes: float = 4_000
    warm_reads: float = 12_000
    table_units: float = 40_000
    put_events: float = 10_000
    invocations: float = 18_750


@dataclass(frozen=True, slots=True)
class Stack:
    """Parameters of the stack that matter for its size, with the template's names and defaults."""

    throttling_rate_limit: float = 200
    callback_reserved_concurrency: float = 0
    callback_provisioned_concurrency: float = 0
    prefetched_application: bool = False
    notify_maximum_concurrency: float = 5
    parameters_ttl_seconds: float = 300
    grace_seconds: float = 1_800
    longest_call_seconds: float = 14_400


PARTITION_WRITES: Final = 1_000
"""Write units a second of one partition, in a table or an index.
https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/burst-adaptive-capacity.html, and the page on warm
throughput above."""

ON_DEMAND_GROWTH, ON_DEMAND_SECONDS = 2.0, 1_800.0
"""A table on demand takes twice its previous peak at once, and throttles what is more within 30 minutes.
https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/on-demand-capacity-mode.html"""

STARTS_A_SECOND: Final = 100
"""Environments that Lambda starts for one function: 1,000 in any 10 seconds, refilled continuously.
https://docs.aws.amazon.com/lambda/latest/dg/scaling-behavior.html"""

STARTS_SECONDS: Final = 10.0

REQUESTS_OF_AN_EXECUTION: Final = 10
"""Requests a second for each execution that the quota of concurrency allows.
https://docs.aws.amazon.com/lambda/latest/dg/lambda-concurrency.html"""

POLLERS_AT_FIRST, POLLERS_A_MINUTE, POLLERS_AT_MOST = 5, 300, 1_000
"""Batches of a standard queue that Lambda processes at once: at first, how many more each minute while messages wait,
and at most. https://docs.aws.amazon.com/lambda/latest/dg/services-sqs-scaling.html"""

IN_FLIGHT: Final = 120_000
"""Messages of a standard queue that are received and not deleted.
https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/quotas-queues.html"""

S3_PUTS: Final = 3_500
"""PUTs a second under one prefix. https://docs.aws.amazon.com/AmazonS3/latest/userguide/optimizing-performance.html"""

SINCH_SECONDS: Final = 5.0
"""Sinch gives up a call whose callback is not answered by then (adapters/limits.py)."""

VISIBILITY_SECONDS, MAX_RECEIVES, BATCH, NOTIFY_TIMEOUT = 60.0, 90, 10, 10.0
"""RecordingQueue and NotifyFunction in template.yaml."""

CALLBACK_TIMEOUT, WATCHDOG_TIMEOUT, WATCHDOG_SECONDS = 5.0, 290.0, 300.0
"""CallbackFunction and WatchdogFunction in template.yaml."""


class Latency(NamedTuple):
    """The time of a call in seconds: half of the calls take less than ``median``; the logarithms have the deviation."""

    median: float
    deviation: float = 0.35


LATENCIES: Final = {
    "ssm": Latency(0.020),  # with decryption by KMS; assumed: docs/performance.md measures with 40 ms
    "sqs": Latency(0.008),  # assumed: AWS says "low tens of milliseconds" for most requests
    "dynamodb": Latency(0.005),  # AWS says "single-digit milliseconds"
    "events": Latency(0.015),  # assumed
}

NETWORK_SECONDS: Final = 0.060
"""Time from Sinch to the function and back, with TLS and the HTTP API. Assumed: Sinch is on the same continent."""

CALLBACK_SECONDS: Final = 0.004
"""Time of a warm callback without its calls to AWS. Assumed: 512 MB have 29 % of a processor. The callback alone takes
0.36 ms on a whole processor (benchmarks/results), so 1.2 ms, and 1.54 ms with Lambda's runtime, so 5.3 ms."""

START_SECONDS: Final = 0.70
"""A cold start before the first callback: 0.16 s in AWS's runtime emulator (benchmarks/results), doubled, and 0.38 s to
fetch the package and start the sandbox. Assumed: AWS documents "from under 100 ms to over 1 second"."""

BATCH_SECONDS, FACT_SECONDS = 0.010, 0.008
"""Processor time of a batch and of each of its facts: 26 ms for ten on a whole processor (benchmarks/results), and
512 MB have 29 % of one, so 90 ms. A ninth of it is assumed to be the same for any number of facts."""

COMMAND_SECONDS: Final = 0.00037
"""Time of one command of WatchdogFunction: 16 s of a whole processor for 150,000, and 512 MB have 29 % of one
(docs/decisions/0013). Its ten threads wait for SQS for less."""

POLL_SECONDS: Final = 0.05
"""Time from a message in the queue to its batch in NotifyFunction. Assumed: Lambda polls the queue all the time."""

BUCKET_SECONDS: Final = 1.0
"""Time from a stored file to the bucket's event in the queue, by EventBridge. Assumed."""

IDLE_SECONDS: Final = 600.0
"""Time after which Lambda ends an environment without callbacks. Assumed: AWS does not document it."""


class Slowness(NamedTuple):
    """An hour in which a service is slow: the factor of its latency, and the shares of errors and of throttles.

    The two are chosen, not measured. SQS fails less often than the others, since a fact that SQS refuses twice within
    0.8 s is lost by design (docs/guarantees.md), and a sample of calls cannot show what happens to one in 100,000.
    """

    factor: float
    errors: float
    throttles: float = 0.0


SLOW_HOURS: Final = {
    "ssm": Slowness(20, 0.05, 0.20),
    "sqs": Slowness(15, 0.001),
    "dynamodb": Slowness(20, 0.02, 0.05),
    "events": Slowness(20, 0.02, 0.05),
}


@dataclass(frozen=True, slots=True)
class Scenario:
    """A day to simulate.

    Attributes:
        rate: calls a second at the peak of the day.
        sample: number of calls of the day that are played, without the additional ones of the denser minutes.
        shards: parts of each key of an index.
        stack: the parameters of the stack.
        account: the quotas of the account.
        slow: the services that are slow for an hour, in this order.
        hours: the length of the day.
    """

    rate: float
    sample: int
    shards: int
    stack: Stack
    account: Account
    slow: tuple[str, ...] = tuple(SLOW_HOURS)
    hours: float = 24.0
    seed: int = 1


def recommend(rate: float) -> tuple[Stack, Account]:
    """Return the parameters and quotas that docs/scaling.md recommends for a rate ("For 1,000 calls a second")."""
    if rate <= 10:
        return Stack(), Account()
    if rate <= 100:
        stack = Stack(
            throttling_rate_limit=1_200,
            callback_reserved_concurrency=1_000,
            callback_provisioned_concurrency=25,
            prefetched_application=True,
            notify_maximum_concurrency=20,
        )
        return stack, Account(concurrency=2_000)
    share = rate / 1_000
    stack = Stack(
        throttling_rate_limit=10_000 * share,
        callback_reserved_concurrency=int(10_000 * share),
        callback_provisioned_concurrency=int(230 * share),
        prefetched_application=True,
        notify_maximum_concurrency=min(1_000, int(300 * share)),
    )
    account = Account(
        concurrency=12_000 * share, get_parameters=1_000, warm_writes=25_000 * share, warm_reads=25_000 * share
    )
    return stack, replace(account, api_rate=max(account.api_rate, 10_000 * share))
