"""What a command hands to the command line: tasks, each with a name, or results as they come."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from unshrink.batch.messages import warnings_about
from unshrink.errors import UnshrinkError


@dataclass(frozen=True)
class Result:
    """What one task gives.

    Attributes:
        data: for programs; written as JSON.
        text: for people, on standard output; "" where the work itself is the result.
        ok: False if the work was done and found something broken, or could not be done: ``data["error"]`` says why.
        partly: whether it was done, but not wholly.
    """

    data: dict[str, Any]
    text: str = ""
    ok: bool = True
    partly: bool = False


@dataclass(frozen=True)
class Task:
    """One piece of work: a name for messages ("" where there is only one), and what does it."""

    name: str
    run: Callable[[], Result]


@dataclass(frozen=True)
class Results:
    """The results of what is done elsewhere, as they come, and how many there will be."""

    each: Iterable[Result]
    total: int

    def __len__(self) -> int:
        return self.total

    def __iter__(self) -> Iterator[Result]:
        return iter(self.each)


def attempt(task: Task) -> Result:
    """Does a task; what the user can mend is no exception but a result that says so."""
    try:
        with warnings_about(task.name):
            return task.run()
    except UnshrinkError as error:
        return Result({"input": task.name, "error": str(error)} if task.name else {"error": str(error)}, ok=False)
