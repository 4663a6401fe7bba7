"""Log lines and metrics of the functions.

A log line names the recording, the event, the outcome and the rule. It never contains headers, bodies or credentials.
Phone numbers are masked here in every text, except for their last two digits.
"""

from __future__ import annotations

import json
import logging
import os
import sys
from collections.abc import Mapping
from typing import Any

from aws_lambda_powertools import Logger
from aws_lambda_powertools.metrics import Metrics

from call_recorder.functions.masking import mask_numbers

_CHATTY = ("boto3", "botocore", "urllib3")
_encode = json.JSONEncoder(separators=(",", ":")).encode


class Telemetry:
    """Writes the log and the metrics. Powertools reads service, namespace and log level from its own variables."""

    def __init__(self) -> None:
        # At DEBUG, botocore logs whole requests and answers with their secrets. At INFO, it logs where it found
        # credentials. The log level is a stack parameter, so these loggers have a fixed level.
        for name in _CHATTY:
            logging.getLogger(name).setLevel(logging.WARNING)
        self._log = Logger(location=None)
        # Powertools serializes the metrics. They are collected here, since its add_metric takes several times as long.
        self._metrics = Metrics()
        self._collected: dict[str, Any] = {}
        self._service = {"service": self._metrics.service or "service_undefined"}  # as in Powertools' log lines

    def count(self, metric: str, value: int = 1) -> None:
        """Add to a metric of this invocation."""
        self._add(metric, "Count", value)

    def measure(self, metric: str, seconds: float) -> None:
        """Add a duration to a metric of this invocation. The metric is in milliseconds, to the microsecond."""
        self._add(metric, "Milliseconds", round(seconds * 1000, 3))

    def info(self, message: str, **fields: Any) -> None:
        """Write a log line. Fields that are ``None`` are left out."""
        self._log.info(message, extra=_prepare(fields))

    def warning(self, message: str, **fields: Any) -> None:
        """Write a log line about something that an operator should check."""
        self._log.warning(message, extra=_prepare(fields))

    def exception(self, message: str, **fields: Any) -> None:
        """Write a log line with the trace of the exception that is being handled."""
        self._log.exception(message, extra=_prepare(fields))

    def record(self, message: str, **fields: Any) -> None:
        """Write a log line at every log level, because an operator has asked for it. ``None`` is left out."""
        sys.stdout.write(_encode({"level": "INFO", "message": message, **_prepare(fields), **self._service}) + "\n")

    def flush(self) -> None:
        """Write the metrics of this invocation, if there are any."""
        if self._collected:
            self._write(self._serialize(self._collected, {}))

    def summarize(self, message: str, total: str, dimensions: Mapping[str, str], *, warns: bool, **fields: Any) -> None:
        """Write a log line about this invocation and its metrics as one line.

        CloudWatch charges for every byte, and a line in its embedded metric format may have other fields too. Its time
        is that of the metrics. If the log level leaves the log line out, the metrics are written alone.

        Args:
            message: the message of the log line.
            total: the metric that counts this invocation, for the service and again by ``dimensions``. All other
                metrics are for the service only: CloudWatch charges for each combination of a metric and dimensions.
            dimensions: the dimensions of ``total``. They are fields of the log line too.
            warns: whether an operator should check this invocation.
            fields: further fields of the log line. Fields that are ``None`` are left out.
        """
        level = logging.WARNING if warns else logging.INFO
        line: dict[str, Any] = {**dimensions}
        if level >= self._log.log_level:
            line |= {"level": "WARNING" if warns else "INFO", "message": message}
            line |= _prepare(fields)
            line |= _find_trace()
        metrics = {total: {"Unit": "Count", "Value": [1]}, **self._collected}
        document = self._serialize(metrics, line)
        _split(document["_aws"]["CloudWatchMetrics"], dimensions)
        self._write(document)

    def _add(self, metric: str, unit: str, value: float) -> None:
        self._collected.setdefault(metric, {"Unit": unit, "Value": []})["Value"].append(value)

    def _serialize(self, metrics: dict[str, Any], fields: dict[str, Any]) -> Any:
        return self._metrics.serialize_metric_set(metrics=metrics, dimensions=self._service, metadata=fields)

    def _write(self, document: Any) -> None:
        self._collected = {}
        sys.stdout.write(_encode(document) + "\n")


def _split(directives: list[Any], dimensions: Mapping[str, str]) -> None:
    """Let CloudWatch count the first metric by dimensions too, and the others for the service only.

    ``CloudWatchMetrics`` is a list of directives, each with its own metrics and their dimensions. Sources, read in
    November 2026: "Specification: Embedded metric format" in the user guide of CloudWatch, and its older text in the
    repository awsdocs/amazon-cloudwatch-user-guide.
    """
    [others] = directives
    [total, *others["Metrics"]], [service] = others["Metrics"], others["Dimensions"]
    by_both = others | {"Dimensions": [service, [*service, *dimensions]], "Metrics": [total]}
    directives[:] = [by_both, others] if others["Metrics"] else [by_both]


def _find_trace() -> dict[str, str]:
    """Return the field with the id of the trace that X-Ray keeps of this invocation, if it keeps one."""
    root, _, rest = os.environ.get("_X_AMZN_TRACE_ID", "").partition(";")
    return {"xray_trace_id": root.removeprefix("Root=")} if "Sampled=1" in rest else {}


def _prepare(fields: dict[str, Any]) -> dict[str, Any]:
    """Return the fields that are not ``None``, with phone numbers masked."""
    return {
        name: mask_numbers(value) if isinstance(value, str) else value
        for name, value in fields.items()
        if value is not None
    }
