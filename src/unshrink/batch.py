"""Many pictures: worker processes of which each may die, and a manifest by which an interrupted run goes on.

Every worker has a pipe of its own and one picture at a time, so that its death, whatever the cause, takes nothing else
along.  A picture whose worker dies is tried again, twice at most; one that takes too long is given up.
"""

import contextlib
import dataclasses
import logging
import math
import multiprocessing
import os
import signal
import threading
import time
import traceback
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from multiprocessing import connection
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from types import FrameType
from typing import Any

from unshrink.files import sweep
from unshrink.manifest import Manifest
from unshrink.plan import Job, skipped
from unshrink.tasks import Result, Task, attempt, failure

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
        crew: list[_Worker] = []
        with _Interrupt() as interrupt:
            try:
                while True:
                    while waiting and not interrupt.heard and (worker := self._idle(crew)):
                        self._hand(waiting.popleft(), worker)
                    busy = [worker for worker in crew if worker.task]
                    if not busy:
                        break
                    connection.wait([worker.pipe for worker in busy], TICK)
                    interrupt.acknowledge()
                    for worker in busy:
                        if outcome := self._look_at(worker, waiting):
                            yield outcome
            finally:
                for worker in crew:
                    worker.end()
            if waiting:
                raise KeyboardInterrupt

    def _idle(self, crew: list["_Worker"]) -> "_Worker | None":
        """A worker with nothing to do, started if there may be one more."""
        for worker in [worker for worker in crew if not worker.task]:
            if worker.process.is_alive():
                return worker
            worker.end()
            crew.remove(worker)
        if len(crew) < self.workers:
            crew.append(_Worker.start(self.prepare))
            return crew[-1]
        return None

    def _hand(self, task: "_Try", worker: "_Worker") -> None:
        job = task.job
        ours = job.overwrite or not os.path.exists(job.target)  # what will be there: a retry may replace it
        if ours and task.number == 1:
            self.manifest.write("begun", job.source, job.target)
        worker.take(dataclasses.replace(task, ours=ours), self.timeout)

    def _look_at(self, worker: "_Worker", waiting: deque["_Try"]) -> tuple[Job, Result] | None:
        """The result of a worker's job; None if there is none yet, or if the job has to be tried again."""
        task = worker.task
        assert task is not None
        try:
            if worker.pipe.poll():
                return task.job, worker.answer()
        except (EOFError, OSError):
            cause = worker.end()
            if task.number < TRIES:
                waiting.append(_Try(dataclasses.replace(task.job, overwrite=task.ours), task.number + 1))
                return None
            return task.job, failure(task.job.source, f"the process at work on it died {TRIES} times ({cause})")
        if time.monotonic() < worker.deadline:
            return None
        worker.end()
        late = f"it took more than {self.timeout:g} s and was given up; allow more with --timeout"
        return task.job, failure(task.job.source, late)


@dataclass(frozen=True)
class _Try:
    job: Job
    number: int = 1
    ours: bool = False


@dataclass
class _Worker:
    """A process that does one job at a time, and what it is at."""

    process: BaseProcess
    pipe: Connection
    task: _Try | None = None
    deadline: float = math.inf

    @classmethod
    def start(cls, prepare: Callable[[], Do]) -> "_Worker":
        context = multiprocessing.get_context("spawn")  # a fork would copy the locks that other threads hold
        ours, theirs = context.Pipe()
        process = context.Process(target=_serve, args=(theirs, prepare), daemon=True)
        process.start()
        theirs.close()
        return cls(process, ours)

    def take(self, task: _Try, timeout: float) -> None:
        """Sends it a job."""
        self.task, self.deadline = task, time.monotonic() + timeout
        with contextlib.suppress(OSError):  # it has just died, as looking at it will show
            self.pipe.send(task.job)

    def answer(self) -> Result:
        """What came of its job, once there is something to read; what was said about it is logged."""
        result, messages = self.pipe.recv()
        self.task = None
        for level, message in messages:
            logger.log(logging.DEBUG if level == logging.INFO else level, message)
        return result

    def end(self) -> str:
        """Ends it, and says what had ended it if it was dead."""
        self.task = None
        self.process.kill()
        self.process.join()
        self.pipe.close()
        code = self.process.exitcode or 0
        return f"signal {-code}, as when memory runs out" if code < 0 else f"exit code {code}"


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


def _serve(pipe: Connection, prepare: Callable[[], Do]) -> None:
    """The life of a worker: a job in, its result and what was said about it out, until the pipe is closed."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # which a terminal sends to all processes
    threading.Thread(target=_end_with_the_parent, daemon=True).start()
    heard = _Heard()
    logger.addHandler(heard)
    logger.setLevel(logging.DEBUG)
    do: Do | None = None
    while True:
        try:
            job = pipe.recv()
        except EOFError:
            return
        try:
            do = do or prepare()
            result = attempt(Task(job.source, partial(_do, do, job)))
        except MemoryError:
            result = failure(job.source, "not enough memory for it; use fewer --workers or close other programs")
        except Exception as bug:  # costs this picture alone
            logger.debug(traceback.format_exc())
            result = failure(job.source, f"unexpected {type(bug).__name__}: {bug}; -v shows where")
        pipe.send((result, heard.messages))
        heard.messages = []


def _do(do: Do, job: Job) -> Result:
    try:
        os.makedirs(os.path.dirname(job.target) or ".", exist_ok=True)
    except OSError as error:
        return failure(job.source, f"cannot write {job.target}: {error.strerror}")
    return do(job)


def _end_with_the_parent() -> None:
    """A killed run leaves no workers behind."""
    parent: Any = multiprocessing.parent_process()
    parent.join()
    os._exit(1)


class _Heard(logging.Handler):
    """Keeps what is logged, for the parent."""

    def __init__(self) -> None:
        super().__init__()
        self.messages: Messages = []

    def emit(self, record: logging.LogRecord) -> None:
        self.messages.append((record.levelno, record.getMessage()))
