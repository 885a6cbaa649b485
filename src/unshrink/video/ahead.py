"""Work that runs ahead of whoever takes it, in a thread of its own."""

import queue
import threading
from collections.abc import Generator, Iterable, Iterator
from contextlib import closing
from typing import TypeVar

T = TypeVar("T")

_LOOK = 0.1  # seconds between looks whether anybody still wants what is made


def ahead(items: Iterable[T], most: int) -> Generator[T]:
    """The items, made in a thread while earlier ones are worked on; closing it ends the thread.

    Args:
        items: what to make; closed in the end, if it is a generator.
        most: how many may wait.

    Raises:
        BaseException: whatever the making raises, where the item would have come.
    """
    waiting: queue.Queue[tuple[bool, T | BaseException | None]] = queue.Queue(most)
    unwanted = threading.Event()

    def put(is_item: bool, value: T | BaseException | None) -> bool:
        while not unwanted.is_set():
            try:
                waiting.put((is_item, value), timeout=_LOOK)
                return True
            except queue.Full:
                continue
        return False

    def make() -> None:
        try:
            for item in _closed(items):
                if not put(True, item):
                    return
            put(False, None)
        except BaseException as error:
            put(False, error)

    thread = threading.Thread(target=make, daemon=True)
    thread.start()
    try:
        while True:
            is_item, value = waiting.get()
            if is_item:
                yield value  # type: ignore[misc]  # an item is a T
            elif isinstance(value, BaseException):
                raise value
            else:
                return
    finally:
        unwanted.set()
        thread.join()


def _closed(items: Iterable[T]) -> Iterator[T]:
    if isinstance(items, Generator):
        with closing(items):
            yield from items
    else:
        yield from items
