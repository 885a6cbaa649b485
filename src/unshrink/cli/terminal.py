"""What the user sees: results on standard output; messages, and how far the work is, on standard error."""

import json
import logging
import math
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from unshrink.cli.tasks import Result

PATIENCE = 1.0  # seconds of work before it is shown how far it is

logger = logging.getLogger("unshrink")


def show(result: Result, as_json: bool) -> None:
    """Prints a result, on one line for programs."""
    if as_json:
        print(json.dumps(_plain(result.data)))
    elif result.text:
        status.clear()
        print(_printable(result.text))


class StatusLine:
    """One line on the terminal that says what is being worked on, and goes away before anything else is printed."""

    def __init__(self) -> None:
        self.shown = False

    def show(self, text: str) -> None:
        """Shows it, where standard error is a terminal and --quiet was not asked for."""
        if text and sys.stderr.isatty() and logger.isEnabledFor(logging.INFO):
            print(f"\r\033[K{_printable(text)[:78]}", end="", file=sys.stderr, flush=True)
            self.shown = True

    def clear(self) -> None:
        """Takes it away."""
        if self.shown:
            print("\r\033[K", end="", file=sys.stderr, flush=True)
            self.shown = False


status = StatusLine()


class Pace:
    """How far the work has come, and how fast it goes on."""

    def __init__(self, total: int) -> None:
        self.total, self.began, self.passed, self.worked = total, time.monotonic(), 0, 0

    def count(self, result: Result) -> None:
        """One more is done, or was skipped, which says nothing about the rate."""
        self.passed += 1
        self.worked += "skipped" not in result.data

    def line(self, failed: int) -> str:
        """A bar, numbers, the rate and the time left; "" where there is no need to know."""
        seconds = time.monotonic() - self.began
        if not self.worked or self.total == 1 or seconds < PATIENCE:
            return ""
        rate = self.worked / seconds
        left = round((self.total - self.passed) / rate)
        bar = ("#" * (20 * self.passed // self.total)).ljust(20, "-")
        numbers = f"{self.passed}/{self.total}" + (f", {failed} failed" if failed else "")
        pace = f"{rate:.1f}/s" if rate >= 1 else f"{1 / rate:.1f} s each"
        return f"[{bar}] {numbers}, {pace}, {left // 60}:{left % 60:02d} left"


class Lines(logging.Handler):
    """Prints what the package logs to standard error, one line each."""

    def emit(self, record: logging.LogRecord) -> None:
        """Prints one message."""
        status.clear()
        kind = "warning: " if record.levelno == logging.WARNING else ""
        print(f"unshrink: {kind}{_printable(record.getMessage(), ' ')}", file=sys.stderr)


@contextmanager
def messages(quiet: bool, verbose: bool) -> Iterator[None]:
    """Shows what the package logs."""
    handler = Lines()
    logger.addHandler(handler)
    logger.setLevel(logging.WARNING if quiet else logging.DEBUG if verbose else logging.INFO)
    try:
        yield
    finally:
        status.clear()
        logger.removeHandler(handler)


def _printable(text: str, newline: str = "\n") -> str:
    """The text without what could steer a terminal: names and headers come from strangers."""
    return "".join(newline if c == "\n" else c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in text)


def _plain(value: Any) -> Any:
    """The value as JSON has it: no number there is infinite."""
    if isinstance(value, dict):
        return {key: _plain(entry) for key, entry in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(entry) for entry in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
