"""Log lines and metrics of the functions.

A log line names the recording, the event, the outcome and the rule. It never contains headers, bodies or credentials.
Phone numbers are masked here in every text, except for their last two digits.
"""

from __future__ import annotations

import json
import logging
import os
import re
import sys
from collections.abc import Mapping
from typing import Any

from aws_lambda_powertools import Logger
from aws_lambda_powertools.metrics import Metrics

_CHATTY = ("boto3", "botocore", "urllib3")
_MIN_DIGITS = 5  # of a phone number, in addresses and ids: extensions are this short
_MIN_DIGITS_IN_TEXT = 7  # of a phone number, in other texts: shorter numbers are limits and sizes

# Sinch's ids are not masked, so that a call can be found by them: a UUID, also with a short number behind it, 32
# hexadecimal digits, or the address of a SIP trunk. Dates are not masked either. Other digits may be a phone number.
_KEPT = re.compile(
    r"""
      (?<![0-9a-f]) (?=[0-9-]{0,35}[a-f]) [0-9a-f]{8} (?:-[0-9a-f]{4}){3} -[0-9a-f]{12} (?![0-9a-f]) (?:_\d{1,4}(?!\d))?
    | (?<![0-9a-f]) (?=[0-9]{0,31}[a-f]) [0-9a-f]{32} (?![0-9a-f])
    | @ \d{1,3} (?:\.\d{1,3}){3} (?![\d.])
    | (?<!\d) (?<!\d[\s().+_-]) 20\d\d-[01]\d-[0-3]\d
      (?:[T\ ]\d\d:\d\d(?::\d\d(?:\.\d{1,6})?)?(?:[+]00:00)?)? (?![\s().+_-]*\d)
    """,
    re.VERBOSE | re.IGNORECASE,
)
_NUMBER = re.compile(r"\d(?:[\s().+_-]*\d)*")
_encode = json.JSONEncoder(separators=(",", ":")).encode
_NOT_LAST_TWO = re.compile(r"\d(?=(?:\D*\d){2})")


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


def mask_address(address: str | None) -> str | None:
    """Mask all but the last two digits of an address, if it has enough digits for a phone number."""
    if address is None or sum(map(str.isdigit, address)) < _MIN_DIGITS:
        return address
    return _NOT_LAST_TWO.sub("*", address)


def masked_id(recording_id: str | None) -> str | None:
    """Mask what may be a phone number in the id of a recording."""
    return None if recording_id is None else _mask_numbers(recording_id, _MIN_DIGITS)


def _mask_numbers(text: str, min_digits: int) -> str:
    """Mask each run of at least ``min_digits`` digits, whatever separates them, except in ids and dates."""
    if _KEPT.fullmatch(text) or sum(map(str.isdecimal, text)) < min_digits:
        return text  # Most texts need no masking, and a caller waits.

    def mask(match: re.Match[str]) -> str:
        long_enough = sum(map(str.isdecimal, match[0])) >= min_digits
        return mask_address(match[0]) or "" if long_enough else match[0]

    masked, end = "", 0
    for kept in _KEPT.finditer(text):
        masked += _NUMBER.sub(mask, text[end : kept.start()]) + kept[0]
        end = kept.end()
    return masked + _NUMBER.sub(mask, text[end:])


def _prepare(fields: dict[str, Any]) -> dict[str, Any]:
    """Return the fields that are not ``None``, with phone numbers masked."""
    return {
        name: _mask_numbers(value, _MIN_DIGITS_IN_TEXT) if isinstance(value, str) else value
        for name, value in fields.items()
        if value is not None
    }
