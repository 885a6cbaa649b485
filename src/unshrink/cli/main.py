"""The command line: reads the arguments, runs the command, prints what it gives and turns errors into exit codes.

Standard output carries results alone (tables, JSON, a picture); everything said about the work goes to standard error.
Heavy modules are imported by the commands that use them, so that help answers at once.
"""

import json
import logging
import math
import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from typing import TYPE_CHECKING, Any

from unshrink.batch.tasks import PATIENCE, Result, attempt, steps
from unshrink.cli.arguments import make_parser
from unshrink.errors import NothingMatchedError, UnshrinkError, UsageError

if TYPE_CHECKING:
    from unshrink.cli.pictures import Work

OK, FAILED, USAGE, PARTLY, NOTHING, INTERRUPTED = 0, 1, 2, 3, 4, 130

logger = logging.getLogger("unshrink")


def run() -> None:
    """What the command ``unshrink`` calls."""
    sys.exit(main())


def main(argv: list[str] | None = None) -> int:
    """Runs one command.

    Args:
        argv: the arguments; default: those of the process.

    Returns:
        The exit code: 0 done, 1 failed, 2 wrong usage, 3 some of several files failed,
        4 nothing matched, 130 interrupted.
    """
    try:
        args = make_parser().parse_args(argv)
    except SystemExit as stop:  # argparse has printed help, the version or what is wrong
        return int(stop.code or OK)
    with messages(args.quiet, args.verbose):
        try:
            module, function = args.run
            code = perform(getattr(import_module(f"unshrink.cli.{module}"), function)(args), args.json)
            sys.stdout.flush()
            return code
        except UsageError as error:
            logger.error(f"{error} (see unshrink {args.command} --help)")
            return USAGE
        except UnshrinkError as error:
            logger.error(error)
            show(Result({"error": str(error)}), args.json)
            return NOTHING if isinstance(error, NothingMatchedError) else FAILED
        except BrokenPipeError:  # whoever read our output has gone: nothing is to be said, at exit neither
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            return FAILED
        except KeyboardInterrupt:
            logger.error("interrupted")
            return INTERRUPTED


def perform(work: "Work", as_json: bool) -> int:
    """Shows what each piece of work gives; with several, a failure does not stop the rest."""
    failed, pace = 0, Pace(len(work))
    for result in map(attempt, work) if isinstance(work, list) else work.outcomes():
        if "error" in result.data and not result.ok:
            name, error = result.data.get("input", ""), result.data["error"]
            logger.error(error if name in error else f"{name}: {error}")
        failed += not result.ok
        show(result, as_json)
        pace.count(result)
        progress.show(pace.line(failed))
    return OK if not failed else FAILED if failed == len(work) else PARTLY


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


def show(result: Result, as_json: bool) -> None:
    """Prints a result, on one line for programs."""
    if as_json:
        print(json.dumps(_plain(result.data)))
    elif result.text:
        progress.clear()
        print(_printable(result.text))


class Progress:
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


progress = Progress()


class Lines(logging.Handler):
    """Prints what the package logs to standard error, one line each."""

    def emit(self, record: logging.LogRecord) -> None:
        """Prints one message."""
        progress.clear()
        kind = "warning: " if record.levelno == logging.WARNING else ""
        print(f"unshrink: {kind}{_printable(record.getMessage(), ' ')}", file=sys.stderr)


class Steps(logging.Handler):
    """Shows how far a picture is, in the line that goes away."""

    def emit(self, record: logging.LogRecord) -> None:
        """Shows one message."""
        progress.show(record.getMessage())


@contextmanager
def messages(quiet: bool, verbose: bool) -> Iterator[None]:
    """Shows what the package logs."""
    handler, handler_of_steps = Lines(), Steps()
    logger.addHandler(handler)
    steps.addHandler(handler_of_steps)
    logger.setLevel(logging.WARNING if quiet else logging.DEBUG if verbose else logging.INFO)
    try:
        yield
    finally:
        progress.clear()
        logger.removeHandler(handler)
        steps.removeHandler(handler_of_steps)


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


if __name__ == "__main__":
    run()
