"""What the user sees: results on standard output; messages, and how far the work is, on standard error."""

import io
import json
import logging
import math
import os
import re
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, TextIO

from unshrink.cli.tasks import Result
from unshrink.errors import UnshrinkError

PATIENCE = 1.0  # seconds of work before it is shown how far it is

_OPTION = re.compile("`([a-z_]+)`")
_SHORT = {"out": "-o", "recursive": "-r", "verbose": "-v"}
_SURROGATE = re.compile("[\ud800-\udfff]")

logger = logging.getLogger("unshrink")


def prepare() -> None:
    """Makes the standard streams fit for use, at the start of the process.

    What is closed is opened on nothing, so that no picture is written in its place: messages vanish there, and whoever
    reads or writes data gets an error.  Characters that the terminal does not have are written as their numbers.
    """
    for number, name, access in ((0, "stdin", os.O_WRONLY), (1, "stdout", os.O_RDONLY), (2, "stderr", os.O_WRONLY)):
        if getattr(sys, name) is None:
            _open_on_nothing(number, access)
            setattr(sys, name, open(number, "w" if number else "r", closefd=False))  # noqa: SIM115
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def discard(stream: TextIO) -> None:
    """Lets what is still to be written to a stream vanish, so that nothing is said of it at exit."""
    _open_on_nothing(stream.fileno(), os.O_WRONLY)


def _open_on_nothing(number: int, access: int) -> None:
    opened = os.open(os.devnull, access)
    if opened != number:
        os.dup2(opened, number)
        os.close(opened)


def show(result: Result, as_json: bool) -> None:
    """Prints a result, on one line for programs.

    Raises:
        UnshrinkError: standard output cannot be written.
    """
    data = {key: as_flags(value) if key == "error" else value for key, value in result.data.items()}
    text = json.dumps(_plain(data)) if as_json else _printable(result.text)
    if not text:
        return
    status.clear()
    try:
        print(text, flush=True)
    except BrokenPipeError:
        raise
    except OSError as error:
        discard(sys.stdout)
        raise UnshrinkError(f"cannot write to standard output: {error.strerror}") from error


class StatusLine:
    """One line on the terminal that says what is being worked on, and goes away before anything else is printed."""

    def __init__(self) -> None:
        self.shown = False

    def show(self, text: str) -> None:
        """Shows it, where standard error is a terminal and --quiet was not asked for."""
        if text and sys.stderr.isatty() and logger.isEnabledFor(logging.INFO):
            _say(f"\r\033[K{_printable(text)[:78]}")
            self.shown = True

    def clear(self) -> None:
        """Takes it away."""
        if self.shown:
            _say("\r\033[K")
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
        bar = ("#" * (20 * self.passed // self.total)).ljust(20, "-")
        numbers = f"{self.passed}/{self.total}" + (f", {failed} failed" if failed else "")
        pace = f"{rate:.1f}/s" if rate >= 1 else f"{1 / rate:.1f} s each"
        return f"[{bar}] {numbers}, {pace}, {minutes((self.total - self.passed) / rate)} left"


def minutes(seconds: float) -> str:
    """2:05; 1:00:00."""
    whole = round(seconds)
    hours = f"{whole // 3600}:{whole // 60 % 60:02d}" if whole >= 3600 else f"{whole // 60}"
    return f"{hours}:{whole % 60:02d}"


class Lines(logging.Handler):
    """Prints what the package logs to standard error, one line each."""

    def emit(self, record: logging.LogRecord) -> None:
        """Prints one message."""
        status.clear()
        kind = "warning: " if record.levelno == logging.WARNING else ""
        _say(f"unshrink: {kind}{as_flags(_printable(record.getMessage(), ' '))}\n")


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


def as_flags(message: str) -> str:
    """A message with the flags of options, which it names as Python does: `max_pixels` -> --max-pixels."""
    return _OPTION.sub(lambda match: _SHORT.get(match[1], f"--{match[1].replace('_', '-')}"), message)


def _say(text: str) -> None:
    """Writes to standard error; where that is not possible, nobody can be told."""
    try:
        print(text, end="", file=sys.stderr, flush=True)
    except OSError:
        discard(sys.stderr)


def _printable(text: str, newline: str = "\n") -> str:
    """The text without what could steer a terminal: names and headers come from strangers."""
    return "".join(newline if c == "\n" else c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in text)


def _plain(value: Any) -> Any:
    """The value as JSON has it: no number there is infinite, and text is Unicode, which names of files need not be."""
    if isinstance(value, str):
        return _SURROGATE.sub("\N{REPLACEMENT CHARACTER}", value)
    if isinstance(value, dict):
        return {_plain(key): _plain(entry) for key, entry in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(entry) for entry in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
