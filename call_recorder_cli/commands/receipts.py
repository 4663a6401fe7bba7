"""Show the receipts of erasures: ``call-recorder receipts``."""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING, Any, Final, Literal

import click

from call_recorder.custody.commands import ReadReceipt, Receipt
from call_recorder_cli.custody.client import CustodyClient
from call_recorder_cli.errors import NotFound
from call_recorder_cli.invocation import PRIVACY_OFFICER, Invocation, stack_command
from call_recorder_cli.options import write_examples
from call_recorder_cli.output import Output, Report, format_time, print_sentences, print_table

if TYPE_CHECKING:
    from collections.abc import Iterator

    from rich.console import Console

    from call_recorder_cli.stack import Stack

_KEY: Final = "receipt:"


class ReceiptReport(Report):
    """A receipt as it is stored now.

    ``digest`` is the SHA-256 of the receipt as canonical JSON: without the fields that are null, with sorted names, no
    spaces, and in UTF-8. It is of the stored receipt, whose ``note`` is printed with masked numbers.
    """

    receipt: Receipt
    digest: str

    @classmethod
    def of(cls, receipt: Receipt, output: Output) -> ReceiptReport:
        """Return the report on a stored receipt."""
        return cls(receipt=mask_note(receipt, output), digest=make_digest(receipt))


class ReceiptsListReport(Report):
    """The receipts, the latest first, and how many more there are."""

    receipts: tuple[ReceiptReport, ...]
    more: int


@click.group("receipts")
def receipts() -> None:
    """Show the receipts of erasures."""


@receipts.command(
    "list",
    epilog=write_examples(
        "receipts list",
        "receipts list --reason request --json",
    ),
)
@click.option("--reason", type=click.Choice(["request", "retention"]), help="Only erasures for this reason.")
@click.option("--limit", type=click.IntRange(min=1), default=50, show_default=True, help="Print at most this many.")
@stack_command(PRIVACY_OFFICER, ReceiptsListReport)
def list_receipts(invocation: Invocation, reason: str | None, limit: int) -> None:
    """List the receipts, the latest first."""
    opened = sorted(_find_receipts(invocation.stack, reason), reverse=True)
    if not opened:
        raise NotFound("There is no receipt.")
    commands = [ReadReceipt(receipt_id=receipt_id) for _, receipt_id in opened[:limit]]
    answers = CustodyClient(invocation.stack).send_all(commands)
    found = tuple(ReceiptReport.of(each.receipt, invocation.output) for each in answers if each.receipt)
    report = ReceiptsListReport(receipts=found, more=len(opened) - len(commands))
    invocation.output.emit(report, lambda console: _print_list(report, console))


@receipts.command(
    "show",
    epilog=write_examples(
        "receipts show 0c4f6f0e-5b7c-4c39-9a53-6f2c1f6f3c11",
    ),
)
@click.argument("receipt_id", metavar="RECEIPT", type=click.UUID)
@stack_command(PRIVACY_OFFICER, ReceiptReport)
def show_receipt(invocation: Invocation, receipt_id: object) -> None:
    """Show a receipt: what was erased, when and by whom.

    A printed receipt is genuine if it has the digest that is shown here. The digest changes when more is
    erased under the receipt.
    """
    receipt = CustodyClient(invocation.stack).read_receipt(ReadReceipt(receipt_id=str(receipt_id)))
    report = ReceiptReport.of(receipt, invocation.output)
    invocation.output.emit(report, lambda console: print_receipt(report.receipt, report.digest, console))


def make_digest(receipt: Receipt) -> str:
    """Return the digest of a receipt."""
    content = receipt.model_dump(mode="json", by_alias=True, exclude_none=True)
    canonical = json.dumps(content, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return f"sha256:{hashlib.sha256(canonical.encode()).hexdigest()}"


def mask_note(receipt: Receipt, output: Output) -> Receipt:
    """Return a receipt as it is printed."""
    return receipt.model_copy(update={"note": output.text(receipt.note)})


def print_receipt(receipt: Receipt, digest: str, console: Console) -> None:
    """Print a receipt for people."""
    counts = receipt.counts
    unfinished = f", of which {receipt.unfinished} must be erased again" if receipt.unfinished else ""
    rows: list[tuple[str, Any]] = [
        ("Receipt", receipt.receipt_id),
        ("Opened", f"{format_time(receipt.opened_at)} by {receipt.opened_by}"),
        ("Reason", receipt.reason),
        ("Note", receipt.note),
        ("Erased", f"{_show_time(receipt.first_at)} to {_show_time(receipt.last_at)}"),
        ("Erased by", ", ".join(receipt.erased_by) or None),
        ("Recordings", f"{receipt.recordings}{unfinished}"),
        ("Files", f"{counts.files}, and {counts.transcripts} transcripts: {counts.versions} versions"),
        ("Object locations", counts.locations),
        ("Files elsewhere", f"{counts.elsewhere}, not erased" if counts.elsewhere else 0),
        ("Traces", counts.traces),
        ("Digest", digest),
    ]
    print_table(console, ("", ""), rows)


def _print_list(report: ReceiptsListReport, console: Console) -> None:
    headings = ("OPENED", "RECEIPT", "REASON", "RECORDINGS", "FILES", "VERSIONS", "STATE", "BY", "NOTE")
    rows = [
        (
            format_time(each.opened_at),
            each.receipt_id,
            each.reason,
            each.recordings,
            each.counts.files + each.counts.transcripts,
            each.counts.versions,
            _name_state(each),
            each.opened_by,
            each.note,
        )
        for each in (shown.receipt for shown in report.receipts)
    ]
    print_table(console, headings, rows)
    if report.more:
        print_sentences(console, f"Not shown: {report.more}. Pass --limit to see them.")


def _name_state(receipt: Receipt) -> Literal["unfinished", "complete"]:
    return "unfinished" if receipt.unfinished else "complete"


def _show_time(at: Any) -> str:
    return format_time(at) if at else "-"


def _find_receipts(stack: Stack, reason: str | None) -> Iterator[tuple[str, str]]:
    """Yield the time at which each receipt was opened, and its id. This reads the whole table of tombstones."""
    client = stack.session.resource("dynamodb").meta.client
    pages = client.get_paginator("scan").paginate(
        TableName=stack.output("CustodyTableName"),
        FilterExpression="begins_with(custodyId, :receipt)",
        ExpressionAttributeValues={":receipt": _KEY},
    )
    for item in (item for page in pages for item in page["Items"]):
        if reason is None or str(item["reason"]) == reason:
            yield str(item["openedAt"]), str(item["custodyId"]).removeprefix(_KEY)
