"""A process that calls one function at a time: whatever becomes of it, it costs that call alone.

Threads would be simpler, but a decoder that crashes would take everything with it, and one that hangs could not be
stopped.  Each process has a pipe of its own, not a shared pool: killed workers broke Pebble's (5.2.3) as a whole after
a few kills, and executors of the standard library break at the first.
"""

import contextlib
import math
import multiprocessing
import os
import signal
import threading
import time
import traceback
from collections.abc import Callable
from multiprocessing.connection import Connection
from typing import Any

from unshrink.errors import UnshrinkError

_spawn = multiprocessing.get_context("spawn")  # a fork would copy the locks that other threads hold


class WorkerDied(Exception):
    """The process ended in the middle of a call; the message is what ended it."""


class Bug(Exception):
    """A function failed as none should; the message is its traceback."""


class Worker:
    """One process, started when there is a call and none is running.  One thread at a time may use it.

    Args:
        prepare: called once in every new process.
        args: its arguments.
    """

    def __init__(self, prepare: Callable[..., object], *args: Any) -> None:
        self._prepare = prepare, args
        self._process: Any = None
        self._killed = False
        self._deadline = math.inf
        self.pipe: Connection  # to wait for, once there was a call

    def run(self, timeout: float, function: Callable[..., Any], *args: Any) -> Any:
        """Has the process call one function; waits for it.

        Raises:
            as `receive`.
        """
        self.send(timeout, function, *args)
        return self.receive()

    def send(self, timeout: float, function: Callable[..., Any], *args: Any) -> None:
        """Has the process begin a call, which may take ``timeout`` seconds."""
        if self._process is None or self._killed or not self._process.is_alive():
            self.end()
            self._start()
        self._deadline = time.monotonic() + timeout
        with contextlib.suppress(OSError):  # it has just died, as `receive` will tell
            self.pipe.send((function, args))

    def ready(self) -> bool:
        """Whether `receive` need not wait."""
        try:
            return time.monotonic() >= self._deadline or self.pipe.poll()
        except OSError:  # it has died
            return True

    def receive(self) -> Any:
        """What the function returns; waits for it.

        Raises:
            UnshrinkError: as the function raised it, or there was not enough memory.
            Bug: the function raised anything else.
            TimeoutError: it took too long; the process was killed.
            WorkerDied: the process ended before the function did.
        """
        try:
            late = not self.pipe.poll(max(0.0, self._deadline - time.monotonic()))
            done, result = (False, TimeoutError()) if late else self.pipe.recv()
        except (EOFError, OSError):
            raise WorkerDied(self.end()) from None
        if late:
            self.end()
        if not done:
            raise result
        return result

    def kill(self) -> None:
        """Ends the process, whatever it is doing; any thread may do so, at any time."""
        self._killed = True
        if self._process is not None:
            self._process.kill()

    def end(self) -> str:
        """Ends the process, waits for its end, and says what had ended it if it was dead."""
        if self._process is None:
            return ""
        self.kill()
        self._process.join()
        self.pipe.close()
        code = self._process.exitcode or 0
        self._process = None
        return f"signal {-code}, as when memory runs out" if code < 0 else f"exit code {code}"

    def _start(self) -> None:
        self.pipe, theirs = _spawn.Pipe()
        process = _spawn.Process(target=_work, args=(theirs, *self._prepare), daemon=True)
        process.start()
        theirs.close()
        self._process, self._killed = process, False


def _work(pipe: Connection, prepare: Callable[..., object], args: tuple[Any, ...]) -> None:
    """What the process does until it is killed or its parent is gone."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches every process of a terminal; the parent decides
    threading.Thread(target=_end_with_parent, daemon=True).start()
    prepare(*args)
    while True:
        try:
            function, its_args = pipe.recv()
        except EOFError:
            return
        try:
            answer = True, function(*its_args)
        except UnshrinkError as error:
            answer = False, error
        except MemoryError:
            answer = False, UnshrinkError("there is not enough memory for this picture beside what else is running")
        except Exception:
            answer = False, Bug(traceback.format_exc())
        pipe.send(answer)


def _end_with_parent() -> None:
    """A killed parent leaves no processes behind."""
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    os._exit(1)
