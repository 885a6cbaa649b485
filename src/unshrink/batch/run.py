"""Many pictures: worker processes of which each may die, and a manifest by which an interrupted run goes on.

A picture whose worker dies is tried again, twice at most; one that takes too long is given up.
"""

import dataclasses
import logging
import os
import signal
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache, partial
from multiprocessing import connection
from types import FrameType

from unshrink.batch.manifest import Manifest
from unshrink.batch.plan import Job, skipped
from unshrink.batch.tasks import Result, Task, attempt, failure
from unshrink.batch.worker import Bug, Worker, WorkerDied
from unshrink.errors import UnshrinkError
from unshrink.files import sweep
from unshrink.runtime import memory

MOST_WORKERS = 4  # by default: each holds a network and a picture of its own
TRIES = 3  # of a picture whose worker dies
TICK = 0.5  # seconds between looks at the clock

Do = Callable[[Job], Result]
Messages = list[tuple[int, str]]

logger = logging.getLogger("unshrink")


def worker_count(asked: int | None, jobs: int) -> int:
    """How many workers there are: as many as cores, but few, unless asked for another number."""
    return max(1, min(asked or min(os.cpu_count() or 1, MOST_WORKERS), jobs))


def threads_each(asked: int, workers: int) -> int:
    """How many threads each worker computes with, so that together they use every core."""
    return asked or max(1, (os.cpu_count() or 1) // workers)


@dataclass(frozen=True)
class Batch:
    """Pictures to be done by several processes.

    Attributes:
        jobs: the pictures, those to be skipped among them.
        prepare: what each worker calls first, for the function that does a job.
        manifest: what is known of earlier runs, and where this one is written down.
        workers: how many processes.
        timeout: seconds that a picture may take.
    """

    jobs: list[Job]
    prepare: Callable[[], Do]
    manifest: Manifest
    workers: int
    timeout: float

    def __len__(self) -> int:
        return len(self.jobs)

    def outcomes(self) -> Iterator[Result]:
        """Does all, and gives the result of each picture as it comes; what is skipped comes first.

        Raises:
            UnshrinkError: the manifest cannot be written.
            KeyboardInterrupt: after Ctrl-C: the first ends it after the pictures in hand, the second at once.
        """
        aside, todo = [job for job in self.jobs if job.skip], [job for job in self.jobs if not job.skip]
        folders = {os.path.dirname(os.path.realpath(job.target)) for job in self.jobs}
        failed = 0
        self.manifest.open()
        try:
            _sweep(folders)
            yield from map(skipped, aside)
            for job, result in self._work(todo):
                self.manifest.write("done" if result.ok else "failed", job.source, job.target, result=result.data)
                failed += not result.ok
                yield result
        finally:
            _sweep(folders)
            self.manifest.close()
        logger.info(f"{len(todo) - failed} done, {failed} failed, {len(aside)} skipped")

    def _work(self, jobs: list[Job]) -> Iterator[tuple[Job, Result]]:
        waiting = deque(_Try(job) for job in jobs)
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
                        result = self._receive(worker, task := busy.pop(worker))
                        idle.append(worker)
                        if result:
                            yield task.job, result
                        else:
                            waiting.append(_Try(dataclasses.replace(task.job, overwrite=task.ours), task.number + 1))
            finally:
                for worker in crew:
                    worker.end()
            if waiting:
                raise KeyboardInterrupt

    def _hand(self, task: "_Try", worker: Worker) -> "_Try":
        job = task.job
        ours = job.overwrite or not os.path.exists(job.target)  # what will be there: a retry may replace it
        if ours and task.number == 1:
            self.manifest.write("begun", job.source, job.target)
        worker.send(self.timeout, _do, job)
        return dataclasses.replace(task, ours=ours)

    def _receive(self, worker: Worker, task: "_Try") -> Result | None:
        """What came of a picture; None if it is to be tried again.  What was said about it is logged."""
        name = task.job.source
        try:
            result, messages = worker.receive()
        except UnshrinkError as error:
            return failure(name, f"{error}; use fewer --workers")
        except TimeoutError:
            return failure(name, f"it took more than {self.timeout:g} s and was given up; allow more with --timeout")
        except WorkerDied as cause:
            died = failure(name, f"the process at work on it died {TRIES} times ({cause})")
            return died if task.number == TRIES else None
        except Bug as bug:  # costs this picture alone
            logger.debug(str(bug))
            return failure(name, f"unexpected {str(bug).splitlines()[-1]}; -v shows where")
        for level, message in messages:
            logger.log(logging.DEBUG if level == logging.INFO else level, message)
        return result


@dataclass(frozen=True)
class _Try:
    job: Job
    number: int = 1
    ours: bool = False


class _Interrupt:
    """Ctrl-C: the first is heard, the second is KeyboardInterrupt."""

    def __init__(self) -> None:
        self.heard = self._said = False

    def __enter__(self) -> "_Interrupt":
        self._usual = signal.getsignal(signal.SIGINT)
        if self._usual != signal.SIG_IGN:  # as in a background job
            signal.signal(signal.SIGINT, self._hear)
        return self

    def __exit__(self, *error: object) -> None:
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


def _sweep(folders: set[str]) -> None:
    for folder in folders:
        sweep(folder)


# -- in the worker -------------------------------------------------------------------------------------------------


class _Heard(logging.Handler):
    """Keeps what is logged, for the parent."""

    def __init__(self) -> None:
        super().__init__()
        self.messages: Messages = []

    def emit(self, record: logging.LogRecord) -> None:
        self.messages.append((record.levelno, record.getMessage()))


_heard = _Heard()
_make: Callable[[], Do]


def _prepare(make: Callable[[], Do], workers: int) -> None:
    global _make
    _make, memory.sharers = cache(make), workers
    logger.addHandler(_heard)
    logger.setLevel(logging.DEBUG)


def _do(job: Job) -> tuple[Result, Messages]:
    """The result of a job and what was said about it."""
    _heard.messages = []
    return attempt(Task(job.source, partial(_result, job))), _heard.messages


def _result(job: Job) -> Result:
    try:
        os.makedirs(os.path.dirname(job.target) or ".", exist_ok=True)
    except OSError as error:
        return failure(job.source, f"cannot write {job.target}: {error.strerror}")
    return _make()(job)
