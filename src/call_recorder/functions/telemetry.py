"""One log line and one metrics line for each invocation.

Log lines say which recording, which event, what came of it and by which rule. They never carry headers,
bodies or credentials, and of phone numbers only the end: whatever a line says, the numbers in it are masked here.
"""

from __future__ import annotations

import logging
import re
from typing import Any

from aws_lambda_powertools import Logger
from aws_lambda_powertools.metrics import Metrics, MetricUnit

_CHATTY = ("boto3", "botocore", "urllib3")
_MIN_DIGITS = 5  # of a phone number where a caller names something; extensions are that short
_MIN_DIGITS_IN_TEXT = 7  # elsewhere, where shorter ones are limits and sizes

# Sinch's own ids are kept whole, to find a call by: a UUID, which may have a short number behind it, 32 hexadecimal
# digits, the address of a SIP trunk. So are dates. What else has digits in a row may be a phone number.
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
    """Writes the log and the metrics. Powertools' own variables say service, namespace and log level."""

    def __init__(self) -> None:
        # At DEBUG, botocore prints requests and answers whole, secrets included; at INFO, where it found credentials.
        # The log level is a stack parameter, so these stay above both whatever it says.
        for name in _CHATTY:
            logging.getLogger(name).setLevel(logging.WARNING)
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


def mask_address(address: str | None) -> str | None:
    """Return an address with all but the last two digits masked, if it has enough for a phone number."""
    if address is None or sum(char.isdigit() for char in address) < _MIN_DIGITS:
        return address
    return re.sub(r"\d(?=(?:\D*\d){2})", "*", address)


def masked_id(recording_id: str | None) -> str | None:
    """Return a recording's id for a log line: whatever in it can be a phone number is masked, as by ``masked``."""
    return None if recording_id is None else _mask_numbers(recording_id, _MIN_DIGITS)


def _mask_numbers(text: str, min_digits: int) -> str:
    """Mask each run of at least so many digits, whatever separates them, but in what is kept."""

    def mask(match: re.Match[str]) -> str:
        long_enough = sum(char.isdecimal() for char in match[0]) >= min_digits
        return mask_address(match[0]) or "" if long_enough else match[0]

    shown, end = "", 0
    for kept in _KEPT.finditer(text):
        shown += _NUMBER.sub(mask, text[end : kept.start()]) + kept[0]
        end = kept.end()
    return shown + _NUMBER.sub(mask, text[end:])


def _present(fields: dict[str, Any]) -> dict[str, Any]:
    """Leave out what is not known, and mask phone numbers in what is."""
    return {
        name: _mask_numbers(value, _MIN_DIGITS_IN_TEXT) if isinstance(value, str) else value
        for name, value in fields.items()
        if value is not None
    }
