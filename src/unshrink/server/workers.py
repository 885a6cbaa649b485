"""Processes that work for the service: a picture that crashes, hangs or fills the memory costs one request.

Inference in threads would be simpler, but pictures come from strangers: a decoder that crashes would take the service
with it, one that hangs could not be stopped, and memory that a library keeps would be kept for ever.  Each worker has
a pipe of its own, not a shared pool: killed workers broke Pebble's (5.2.3) as a whole after a few kills, and executors
of the standard library break at the first.
"""

import asyncio
import multiprocessing
import os
import signal
import threading
import traceback
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from multiprocessing.connection import Connection
from typing import Any

from unshrink.errors import UnshrinkError

TASKS = 200  # of one process, then a fresh one takes its place: about 1.4 MiB more stay for every new size

_spawn = multiprocessing.get_context("spawn")  # a forked process would inherit threads that are not there


class WorkerDied(Exception):
    """The process ended in the middle of a task: a crash, or killed for want of memory."""


class Bug(Exception):
    """A task failed as no task should; the message is its traceback."""


class Worker:
    """One process, started when there is a task and none is running.  One thread at a time may use it.

    Args:
        prepare: called once in every new process.
        args: its arguments.
    """

    def __init__(self, prepare: Callable[..., object], *args: Any) -> None:
        self._prepare = prepare, args
        self._process: Any = None
        self._pipe: Connection
        self._tasks = 0

    def run(self, timeout: float, task: Callable[..., Any], *args: Any) -> Any:
        """Has the process do one task; waits for it.

        Raises:
            UnshrinkError: as the task raised it.
            Bug: the task raised anything else.
            TimeoutError: it took longer than ``timeout`` seconds; the process was killed.
            WorkerDied: the process ended before the task.
        """
        if self._process is None or not self._process.is_alive():
            self._start()
        try:
            self._pipe.send((task, args))
            if not self._pipe.poll(timeout):
                raise TimeoutError
            done, result = self._pipe.recv()
        except (EOFError, OSError) as error:  # a TimeoutError is an OSError, too
            self._end()
            raise error if isinstance(error, TimeoutError) else WorkerDied from None
        self._tasks += 1
        if self._tasks >= TASKS:
            self._end()
            self._start()
        if not done:
            raise result
        return result

    def kill(self) -> None:
        """Ends the process, whatever it is doing; any thread may do so."""
        if self._process is not None:
            self._process.kill()

    def _end(self) -> None:
        self.kill()
        self._process.join()

    def _start(self) -> None:
        self._pipe, theirs = _spawn.Pipe()
        process = _spawn.Process(target=_work, args=(theirs, *self._prepare), daemon=True)
        process.start()
        theirs.close()
        self._process, self._tasks = process, 0


def _work(pipe: Connection, prepare: Callable[..., object], args: tuple[Any, ...]) -> None:
    """What the process does until it is killed or the service is gone."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches every process of a terminal; the service decides
    threading.Thread(target=_end_with_parent, daemon=True).start()
    prepare(*args)
    while True:
        try:
            task, task_args = pipe.recv()
        except EOFError:
            return
        try:
            answer = True, task(*task_args)
        except UnshrinkError as error:
            answer = False, error
        except MemoryError:
            answer = False, UnshrinkError("there is not enough memory for this picture; send a smaller one")
        except Exception:
            answer = False, Bug(traceback.format_exc())
        pipe.send(answer)


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    os._exit(1)


class Pool:
    """Workers, and who may use them: at most ``count`` tasks run at once.

    Args:
        count: how many workers.
        prepare, args: as for `Worker`.
    """

    def __init__(self, count: int, prepare: Callable[..., object], *args: Any) -> None:
        self._workers = [Worker(prepare, *args) for _ in range(count)]
        self._threads = ThreadPoolExecutor(count, "worker")  # each waits for one process
        self._idle: asyncio.LifoQueue[Worker] = asyncio.LifoQueue()  # the last used has its network at hand
        for worker in self._workers:
            self._idle.put_nowait(worker)

    async def take(self) -> Worker:
        """Waits for an idle worker; `run` gives it back."""
        return await self._idle.get()

    async def run(self, worker: Worker, timeout: float, task: Callable[..., Any], *args: Any) -> Any:
        """`Worker.run` without blocking.  The worker is taken until the task has ended, even if nobody waits for it."""
        future = asyncio.get_running_loop().run_in_executor(self._threads, worker.run, timeout, task, *args)

        def give_back(done: "asyncio.Future[Any]") -> None:
            done.cancelled() or done.exception()  # nobody may be left to ask for it
            self._idle.put_nowait(worker)

        future.add_done_callback(give_back)
        return await asyncio.shield(future)

    def close(self) -> None:
        """Kills all workers and with them what they do."""
        for worker in self._workers:
            worker.kill()
        self._threads.shutdown(wait=True, cancel_futures=True)
