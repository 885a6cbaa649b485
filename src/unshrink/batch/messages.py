"""What is said about a picture while it is worked on, in this process or in a worker."""

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from unshrink.errors import UnshrinkWarning

logger = logging.getLogger("unshrink")

Said = list[tuple[int, str]]  # level and text of each message


class Listener(logging.Handler):
    """Keeps what a worker logs, for its parent."""

    def __init__(self) -> None:
        super().__init__()
        self.said: Said = []

    def emit(self, record: logging.LogRecord) -> None:
        """Keeps one message."""
        self.said.append((record.levelno, record.getMessage()))


@contextmanager
def warnings_about(name: str) -> Iterator[list[str]]:
    """Logs UnshrinkWarnings with what they are about, and lists them; logs what libraries warn of, as details."""
    ours: list[str] = []

    def show_warning(message: Warning | str, category: type[Warning], *where: Any, **options: Any) -> None:
        if issubclass(category, UnshrinkWarning):
            ours.append(str(message))
        logger.log(logging.WARNING if issubclass(category, UnshrinkWarning) else logging.DEBUG, f"{name}: {message}")

    with warnings.catch_warnings():
        warnings.showwarning = show_warning
        warnings.simplefilter("always", UnshrinkWarning)
        yield ours
