"""What a command hands to the command line: pieces of work, each with a name, and what each of them gives."""

import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from unshrink.errors import UnshrinkError

PATIENCE = 1.0  # seconds of work before progress is shown

steps = logging.getLogger(
    "unshrink.progress"
)  # how far the picture at hand is; each message takes the last one's place
steps.propagate = False


class UsageError(UnshrinkError):
    """The arguments contradict each other or what is there; found before any work is done."""


@dataclass(frozen=True)
class Result:
    """What one piece of work gives.

    Attributes:
        data: for programs; written as JSON.
        text: for people, on standard output; "" where the work itself is the result.
        ok: False if the work was done and found something broken.
    """

    data: dict[str, Any]
    text: str = ""
    ok: bool = True


@dataclass(frozen=True)
class Task:
    """One piece of work: a name for messages ("" where there is only one), and what does it."""

    name: str
    run: Callable[[], Result]
