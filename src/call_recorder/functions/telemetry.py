"""Log lines and metrics of the functions.

A log line names the recording, the event, the outcome and the rule. It never contains headers, bodies or credentials.
Phone numbers are masked here in every text, except for their last two digits.
"""

from __future__ import annotations

import logging
import re
from typing import Any

from aws_lambda_powertools import Logger
from aws_lambda_powertools.metrics import Metrics, MetricUnit

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
    | (?<!\d) (?<!\d[\s().+_-]) 20\d\d-[01]\d-[0-3]\d (?:[T\ ][\d:.]+(?:[+]00:00)?)? (?![\s().+_-]*\d)
    """,
    re.VERBOSE | re.IGNORECASE,
)
_NUMBER = re.compile(r"\d(?:[\s().+_-]*\d)*")


class Telemetry:
    """Writes the log and the metrics. Powertools reads service, namespace and log level from its own variables."""

    def __init__(self) -> None:
        # At DEBUG, botocore logs whole requests and answers with their secrets. At INFO, it logs where it found
        # credentials. The log level is a stack parameter, so these loggers have a fixed level.
        for name in _CHATTY:
            logging.getLogger(name).setLevel(logging.WARNING)
        self._log = Logger(location=None)
        self._metrics = Metrics()

    def count(self, metric: str, value: int = 1) -> None:
        """Add to a metric of this invocation."""
        self._metrics.add_metric(name=metric, unit=MetricUnit.Count, value=value)

    def measure(self, metric: str, seconds: float) -> None:
        """Add a duration to a metric of this invocation. The metric is in milliseconds."""
        self._metrics.add_metric(name=metric, unit=MetricUnit.Milliseconds, value=seconds * 1000)

    def info(self, message: str, **fields: Any) -> None:
        """Write a log line. Fields that are ``None`` are left out."""
        self._log.info(message, extra=_prepare(fields))

    def warning(self, message: str, **fields: Any) -> None:
        """Write a log line about something that an operator should check."""
        self._log.warning(message, extra=_prepare(fields))

    def exception(self, message: str, **fields: Any) -> None:
        """Write a log line with the trace of the exception that is being handled."""
        self._log.exception(message, extra=_prepare(fields))

    def flush(self, **dimensions: str) -> None:
        """Write the metrics of this invocation for the whole service, and again by ``dimensions``."""
        if dimensions:
            self._metrics.add_dimensions(service=self._metrics.service, **dimensions)
        self._metrics.flush_metrics()


def mask_address(address: str | None) -> str | None:
    """Mask all but the last two digits of an address, if it has enough digits for a phone number."""
    if address is None or sum(char.isdigit() for char in address) < _MIN_DIGITS:
        return address
    return re.sub(r"\d(?=(?:\D*\d){2})", "*", address)


def masked_id(recording_id: str | None) -> str | None:
    """Mask what may be a phone number in the id of a recording."""
    return None if recording_id is None else _mask_numbers(recording_id, _MIN_DIGITS)


def _mask_numbers(text: str, min_digits: int) -> str:
    """Mask each run of at least ``min_digits`` digits, whatever separates them, except in ids and dates."""

    def mask(match: re.Match[str]) -> str:
        long_enough = sum(char.isdecimal() for char in match[0]) >= min_digits
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
