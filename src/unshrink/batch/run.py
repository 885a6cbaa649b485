"""Many pictures: worker processes of which each may die, and a manifest by which an interrupted run goes on.

A picture whose worker dies is tried again, twice at most; one that takes too long is given up.  A picture alone is done
in this process.
"""

import dataclasses
import logging
import multiprocessing
import os
import signal
import threading
from collections import deque
from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass
from functools import cache
from multiprocessing import connection
from types import FrameType

from unshrink.batch.items import Item, Outcome, failed, skipped
from unshrink.batch.manifest import Manifest
from unshrink.batch.messages import Listener, Said, warnings_about
from unshrink.batch.worker import Bug, Worker, WorkerDied
from unshrink.errors import UnshrinkError, UsageError
from unshrink.files import sweep
from unshrink.runtime import memory

MOST_WORKERS = 4  # by default: each holds a network and a picture of its own
TRIES = 3  # of a picture whose worker dies
TICK = 0.5  # seconds between looks at the clock

DoItem = Callable[[Item], Outcome]  # raises UnshrinkError for what the user can mend

logger = logging.getLogger("unshrink")


def worker_count(asked: int | None, items: int) -> int:
    """How many workers there are: as many as cores, but few, unless asked for another number."""
    return max(1, min(asked or min(os.cpu_count() or 1, MOST_WORKERS), items))


def threads_each(asked: int, workers: int) -> int:
    """How many threads each worker computes with, so that together they use every core."""
    return asked or max(1, (os.cpu_count() or 1) // workers)


def attempt(item: Item, do: DoItem) -> Outcome:
    """Does one picture; what the user can mend is no exception but an outcome that says so."""
    try:
        with warnings_about(item.source) as warned:
            outcome = do(item)
    except UnshrinkError as error:
        return failed(item, str(error))
    notes = [*outcome.facts.get("notes", ()), *warned]
    return dataclasses.replace(outcome, facts={**outcome.facts, "notes": notes})


@dataclass(frozen=True)
class Batch:
    """Pictures to be done by several processes.

    Attributes:
        items: the pictures, those to be skipped among them.
        prepare: what each worker calls first, for the function that does a picture.
        manifest: what is known of earlier runs, and where this one is written down.
        workers: how many processes.
        timeout: seconds that a picture may take.
    """

    items: list[Item]
    prepare: Callable[[], DoItem]
    manifest: Manifest
    workers: int
    timeout: float

    def outcomes(self) -> Generator[Outcome]:
        """Does all, and gives the outcome of each picture as it comes; what is not tried comes first.

        Raises:
            UnshrinkError: the manifest cannot be written.
            UsageError: this process is such a worker itself.
            KeyboardInterrupt: after Ctrl-C: the first ends it after the pictures in hand, the second at once.
        """
        _refuse_in_worker()
        aside = [item for item in self.items if item.skip]
        hopeless = [failed(item, item.fault) for item in self.items if item.fault]
        todo = [item for item in self.items if not (item.skip or item.fault)]
        folders = {os.path.dirname(os.path.realpath(item.target)) for item in self.items}
        failures = len(hopeless)
        self.manifest.open()
        try:
            _sweep(folders)
            yield from map(skipped, aside)
            yield from hopeless
            for item, outcome in self._work(todo):
                state = "done" if outcome.ok else "failed"
                self.manifest.write(state, item.source, item.target, result=outcome.as_json())
                failures += not outcome.ok
                yield outcome
        finally:
            _sweep(folders)
            self.manifest.close()
        logger.info(f"{len(todo) + len(hopeless) - failures} done, {failures} failed, {len(aside)} skipped")

    def _work(self, items: list[Item]) -> Iterator[tuple[Item, Outcome]]:
        waiting = deque(_Try(item) for item in items)
        crew = [Worker(_prepare, self.prepare, self.workers) for _ in range(self.workers)]
        idle = list(crew)
        busy: dict[Worker, _Try] = {}
        with _Interrupt() as interrupt:
            try:
                while True:
                    while waiting and idle and not interrupt.heard:
                        worker = idle.pop()
                        busy[worker] = self._hand(waiting.popleft(), worker)
                    if not busy:
                        break
                    connection.wait([worker.pipe for worker in busy], TICK)
                    interrupt.acknowledge()
                    for worker in [worker for worker in busy if worker.ready()]:
                        outcome = self._receive(worker, tried := busy.pop(worker))
                        idle.append(worker)
                        if outcome:
                            yield tried.item, outcome
                        else:
                            waiting.append(tried.again())
            finally:
                for worker in crew:
                    worker.end()
            if waiting:
                raise KeyboardInterrupt

    def _hand(self, tried: "_Try", worker: Worker) -> "_Try":
        item = tried.item
        ours = item.overwrite or not os.path.lexists(item.target)  # what will be there: a retry may replace it
        if ours and tried.number == 1:
            self.manifest.write("begun", item.source, item.target)
        worker.send(self.timeout, _do, item)
        return dataclasses.replace(tried, ours=ours)

    def _receive(self, worker: Worker, tried: "_Try") -> Outcome | None:
        """What came of a picture; None if it is to be tried again.  What was said about it is logged."""
        item = tried.item
        try:
            outcome, said = worker.receive()
        except UnshrinkError as error:
            return failed(item, f"{error}; use fewer `workers`")
        except TimeoutError:
            return failed(item, f"it took more than {self.timeout:g} s and was given up; allow more with `timeout`")
        except WorkerDied as cause:
            died = failed(item, f"the process at work on it died {TRIES} times ({cause})")
            return died if tried.number == TRIES else None
        except Bug as bug:  # costs this picture alone
            logger.debug(str(bug))
            return failed(item, f"unexpected {str(bug).splitlines()[-1]}; the log has its traceback (`verbose`)")
        for level, message in said:
            logger.log(level, message)
        return outcome


@dataclass(frozen=True)
class _Try:
    item: Item
    number: int = 1
    ours: bool = False

    def again(self) -> "_Try":
        """The next one, which may replace what this one has left."""
        return _Try(dataclasses.replace(self.item, overwrite=self.ours), self.number + 1)


class _Interrupt:
    """Ctrl-C: the first is heard, the second is KeyboardInterrupt.  Only the main thread can hear it."""

    def __init__(self) -> None:
        self.heard = self._said = False

    def __enter__(self) -> "_Interrupt":
        usual = signal.getsignal(signal.SIGINT)
        self._hears = usual not in (None, signal.SIG_IGN) and _in_main_thread()  # shells ignore it in the background
        if self._hears:
            self._usual = signal.signal(signal.SIGINT, self._hear)
        return self

    def __exit__(self, *error: object) -> None:
        if self._hears and _in_main_thread():
            signal.signal(signal.SIGINT, self._usual)

    def _hear(self, number: int, frame: FrameType | None) -> None:
        if self.heard:
            raise KeyboardInterrupt
        self.heard = True

    def acknowledge(self) -> None:
        """Says that it was heard; not in the signal handler, which may interrupt another message."""
        if self.heard and not self._said:
            logger.warning("finishing the pictures in hand; Ctrl-C again stops at once")
            self._said = True


def _in_main_thread() -> bool:
    return threading.current_thread() is threading.main_thread()


def _refuse_in_worker() -> None:
    """So that a script without a guard does not start workers that start workers."""
    process = multiprocessing.current_process()
    if process.daemon or getattr(process, "_inheriting", False):  # while it imports the script; nothing public tells
        raise UsageError(
            "workers import the script that starts them, and this one would start workers again: "
            'put what it does under if __name__ == "__main__":'
        )


def _sweep(folders: set[str]) -> None:
    for folder in folders:
        sweep(folder)


# -- in the worker -------------------------------------------------------------------------------------------------


_listener = Listener()
_make: Callable[[], DoItem]


def _prepare(make: Callable[[], DoItem], workers: int) -> None:
    global _make
    _make, memory.sharers = cache(make), workers
    logger.addHandler(_listener)
    logger.setLevel(logging.DEBUG)


def _do(item: Item) -> tuple[Outcome, Said]:
    """What becomes of an item, and what was said about it."""
    _listener.said = []
    return attempt(item, _done), _listener.said


def _done(item: Item) -> Outcome:
    try:
        os.makedirs(os.path.dirname(item.target) or ".", exist_ok=True)
    except OSError as error:
        raise UnshrinkError(f"cannot write {item.target}: {error.strerror}") from error
    return _make()(item)
