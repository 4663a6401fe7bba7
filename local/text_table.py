"""Formats tables for a terminal and for a page."""

from __future__ import annotations

from collections.abc import Sequence


def format_table(rows: Sequence[Sequence[str]], alignment: str) -> list[str]:
    """Return rows as lines in which each column is as wide as its longest cell.

    Args:
        rows: the cells, with the titles in the first row.
        alignment: ``<`` or ``>`` for each column, to align it left or right.
    """
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return [
        "  ".join(f"{cell:{side}{width}}" for cell, side, width in zip(row, alignment, widths, strict=True)).rstrip()
        for row in rows
    ]


def format_markdown(rows: Sequence[Sequence[str]]) -> list[str]:
    """Return rows as lines of Markdown, with the titles in the first row."""
    lines = [f"| {' | '.join(row)} |" for row in rows]
    return [lines[0], "|" + "---|" * len(rows[0]), *lines[1:]]
