"""What a command hands to the command line: pieces of work, each with a name, and what each of them gives."""

import logging
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from unshrink.errors import UnshrinkError, UnshrinkWarning

logger = logging.getLogger("unshrink")

PATIENCE = 1.0  # seconds of work before progress is shown

# How far the picture at hand is; each message takes the last one's place.
steps = logging.getLogger("unshrink.progress")
steps.propagate = False


@dataclass(frozen=True)
class Result:
    """What one piece of work gives.

    Attributes:
        data: for programs; written as JSON.
        text: for people, on standard output; "" where the work itself is the result.
        ok: False if the work was done and found something broken, or could not be done: ``data["error"]`` says why.
    """

    data: dict[str, Any]
    text: str = ""
    ok: bool = True


@dataclass(frozen=True)
class Task:
    """One piece of work: a name for messages ("" where there is only one), and what does it."""

    name: str
    run: Callable[[], Result]


def attempt(task: Task) -> Result:
    """Does a piece of work; what the user can mend is no exception but a result that says so."""
    try:
        with _warnings_about(task.name):
            return task.run()
    except UnshrinkError as error:
        return failure(task.name, str(error))


def failure(name: str, error: str) -> Result:
    """The result of a piece of work that could not be done."""
    return Result({"input": name, "error": error} if name else {"error": error}, ok=False)


@contextmanager
def _warnings_about(name: str) -> Iterator[None]:
    """Logs UnshrinkWarnings with the name of what they are about; what libraries warn of, for --verbose alone."""

    def show_warning(message: Warning | str, category: type[Warning], *where: Any, **options: Any) -> None:
        level = logging.WARNING if issubclass(category, UnshrinkWarning) else logging.DEBUG
        logger.log(level, f"{name}: {message}")

    with warnings.catch_warnings():
        warnings.showwarning = show_warning
        warnings.simplefilter("always", UnshrinkWarning)
        yield
