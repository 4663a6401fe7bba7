"""One log line and one metrics line for each invocation.

Log lines say which recording, which event, what came of it and by which rule. They never carry headers,
bodies or credentials, and of phone numbers only the end.
"""

from __future__ import annotations

import logging
import re
from typing import Any

from aws_lambda_powertools import Logger
from aws_lambda_powertools.metrics import Metrics, MetricUnit

_CHATTY = ("boto3", "botocore", "urllib3")
_SHORTEST_NUMBER = 5
_A_NUMBER = re.compile(r"[\d\s+().-]+")


class Telemetry:
    """Writes the log and the metrics. Powertools' own variables say service, namespace and log level."""

    def __init__(self) -> None:
        # At DEBUG, botocore prints requests and answers whole, secrets included. The log level is a stack
        # parameter, so these stay above DEBUG whatever it says.
        for name in _CHATTY:
            logging.getLogger(name).setLevel(logging.INFO)
        self._log = Logger(location=None)
        self._metrics = Metrics()

    def count(self, metric: str, value: int = 1) -> None:
        """Add to a metric of this invocation."""
        self._metrics.add_metric(name=metric, unit=MetricUnit.Count, value=value)

    def measure(self, metric: str, seconds: float) -> None:
        """Add a duration to a metric of this invocation; it is written in milliseconds."""
        self._metrics.add_metric(name=metric, unit=MetricUnit.Milliseconds, value=seconds * 1000)

    def info(self, message: str, **fields: Any) -> None:
        """Write a log line; fields that are ``None`` are left out."""
        self._log.info(message, extra=_present(fields))

    def warning(self, message: str, **fields: Any) -> None:
        """Write a log line about something that an operator should see to."""
        self._log.warning(message, extra=_present(fields))

    def exception(self, message: str, **fields: Any) -> None:
        """Write a log line with the trace of the exception being handled."""
        self._log.exception(message, extra=_present(fields))

    def flush(self, **dimensions: str) -> None:
        """Write the metrics of this invocation, for the whole service and again by ``dimensions``."""
        if dimensions:
            self._metrics.add_dimensions(service=self._metrics.service, **dimensions)
        self._metrics.flush_metrics()


def masked(address: str | None) -> str | None:
    """Return an address with all but the last two digits masked, if it has enough for a phone number."""
    if address is None or sum(char.isdigit() for char in address) < _SHORTEST_NUMBER:
        return address
    return re.sub(r"\d(?=(?:\D*\d){2})", "*", address)


def traced(recording_id: str | None) -> str | None:
    """Return a recording's id for a log line, masked if it is a conference that is named by a phone number."""
    return masked(recording_id) if recording_id and _A_NUMBER.fullmatch(recording_id) else recording_id


def _present(fields: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in fields.items() if value is not None}
