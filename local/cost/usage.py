"""The counts of played calls: the quantities that AWS bills, and nothing that depends on the machine."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Final

CHUNK_BYTES: Final = 64 * 1024
"""SQS and EventBridge bill each 64 KB of a request or event as one."""

API_CHUNK_BYTES: Final = 512 * 1024
"""An HTTP API bills each 512 KB of a request as one."""

LOG_ENTRY_BYTES: Final = 26
"""What CloudWatch Logs adds to each entry (PutLogEvents in its API reference)."""

_MEASURED = re.compile(r"\d+\.\d+(?=\])")  # a value of a metric
_TYPICAL = "23.419"

Index = tuple[str, str | None]
"""A table, and one of its indexes or ``None`` for the table itself."""

Metric = tuple[str, tuple[tuple[str, str], ...]]
"""The name and the dimensions of a metric."""


@dataclass
class Usage:
    """The use of AWS by some work.

    Attributes:
        counts: numbers of requests, events, files and bytes.
        writes: write units by table and index.
        reads: read units by table and index.
        metrics: the custom metrics that were written.
    """

    counts: dict[str, float] = field(default_factory=dict)
    writes: dict[Index, float] = field(default_factory=dict)
    reads: dict[Index, float] = field(default_factory=dict)
    metrics: set[Metric] = field(default_factory=set)

    def count(self, name: str, number: float = 1) -> None:
        """Add to a count."""
        self.counts[name] = self.counts.get(name, 0) + number

    def get(self, name: str) -> float:
        """Return a count."""
        return self.counts.get(name, 0)

    def write(self, index: Index, units: float) -> None:
        """Add write units."""
        self.writes[index] = self.writes.get(index, 0) + units

    def read(self, index: Index, units: float) -> None:
        """Add read units."""
        self.reads[index] = self.reads.get(index, 0) + units

    def log(self, line: str) -> None:
        """Add one log entry, with the metrics in it if it has CloudWatch's embedded metric format.

        A measured duration takes a typical number of digits, so that the size is the same each time.
        """
        self.count("log bytes", len(_MEASURED.sub(_TYPICAL, line).encode()) + LOG_ENTRY_BYTES)
        if '"CloudWatchMetrics"' in line:
            self.metrics.update(_read_metrics(json.loads(line)))

    def add(self, other: Usage, times: float = 1) -> None:
        """Add what some work uses that is done so many times."""
        if not times:
            return
        for name, number in other.counts.items():
            self.count(name, number * times)
        for index, units in other.writes.items():
            self.write(index, units * times)
        for index, units in other.reads.items():
            self.read(index, units * times)
        self.metrics |= other.metrics


def count_chunks(size: int, chunk: int = CHUNK_BYTES) -> int:
    """Return how many requests or events one of so many bytes is billed as."""
    return max(1, math.ceil(size / chunk))


def _read_metrics(entry: dict[str, Any]) -> Iterator[Metric]:
    for directive in entry["_aws"]["CloudWatchMetrics"]:
        for dimensions in directive["Dimensions"]:
            values = tuple(sorted((name, str(entry[name])) for name in dimensions))
            yield from ((metric["Name"], values) for metric in directive["Metrics"])
