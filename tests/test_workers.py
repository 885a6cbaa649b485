"""Processes that work: whatever happens to one, the next task finds another.

What they do is in `tasks`, which imports nothing heavy: every process imports it.
"""

import asyncio
import os
import signal
import time

import pytest

from tasks import divide, nothing, refuse
from unshrink.errors import ImageError
from unshrink.server.workers import Bug, Pool, Worker, WorkerDied


@pytest.fixture
def worker():
    worker = Worker(nothing)
    yield worker
    worker.kill()


def test_a_worker_gives_results_and_errors(worker):
    assert worker.run(60, max, 1, 2) == 2
    pid = worker.run(60, os.getpid)
    assert pid != os.getpid()
    with pytest.raises(ImageError, match="no"):
        worker.run(60, refuse)
    with pytest.raises(Bug, match="ZeroDivisionError"):
        worker.run(60, divide)
    assert worker.run(60, os.getpid) == pid


def test_a_worker_that_hangs_or_dies_is_replaced(worker):
    pid = worker.run(60, os.getpid)
    with pytest.raises(TimeoutError):
        worker.run(0.05, time.sleep, 60)
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)
    with pytest.raises(WorkerDied):
        worker.run(60, os._exit, 1)
    pid = worker.run(60, os.getpid)
    os.kill(pid, signal.SIGKILL)  # while it is idle
    worker._process.join()
    assert worker.run(60, max, 1, 2) == 2


def test_a_worker_is_replaced_when_it_has_done_enough(worker, monkeypatch):
    monkeypatch.setattr("unshrink.server.workers.TASKS", 2)
    pids = [worker.run(60, os.getpid) for _ in range(4)]
    assert pids[0] == pids[1] != pids[2] == pids[3]


def test_never_more_tasks_at_once_than_workers():
    async def tasks():
        pool = Pool(1, nothing)
        try:
            first = asyncio.create_task(pool.run(await pool.take(), 60, time.sleep, 0.3))
            waiting = asyncio.create_task(pool.take())
            await asyncio.sleep(0.05)
            first.cancel()  # nobody waits for it any more, but it runs
            await asyncio.sleep(0.05)
            assert not waiting.done()
            assert await pool.run(await waiting, 60, max, 1, 2) == 2
        finally:
            pool.close()

    asyncio.run(tasks())
