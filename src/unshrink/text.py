"""Numbers and tables as people read and write them, in commands, pages and pictures alike."""

import math
import re
from collections.abc import Sequence


def human_bytes(count: int) -> str:
    """412 kB, 3.1 MB."""
    if count < 1000:
        return f"{count} B"
    if count < 999_500:
        return f"{count / 1e3:.3g} kB"
    return f"{count / 1e6:.{1 if count < 1e8 else 0}f} MB"


def amount(text: str) -> int:
    """8.3M -> 8,300,000; 300k -> 300,000.

    Raises:
        ValueError: it is no such number, or less than 1.
    """
    match = re.fullmatch(r"(\d{1,15})(?:\.(\d{1,9}))?([kMG]?)", text)
    count = 0
    if match:
        whole, part, unit = match[1], match[2] or "", {"": 0, "k": 3, "M": 6, "G": 9}[match[3]]
        count = int(whole + part) * 10**unit // 10 ** len(part)
    if count < 1:
        raise ValueError(
            f"must be a number of at least 1, with k, M or G for thousands, millions or billions, not {text!r}"
        )
    return count


def decibels(value: float | None) -> str:
    """34.56; "exact" where nothing differs, which is an infinite PSNR, or null in JSON."""
    return "exact" if value is None or math.isinf(value) else f"{value:.2f}"


def align(rows: Sequence[tuple[str, ...]]) -> list[str]:
    """Lines with columns: the first and last to the left, those between to the right."""
    widths = [max(len(cell) for cell in column) for column in zip(*rows, strict=True)]
    lines = []
    for first, *middle, last in rows:
        cells = [first.ljust(widths[0])]
        cells += [cell.rjust(width) for cell, width in zip(middle, widths[1:], strict=False)]
        lines.append("  ".join([*cells, last]).rstrip())
    return lines
