"""Processes that work: whatever happens to one, the next task finds another.

What they do is in `tasks`, which imports nothing heavy: every process imports it.
"""

import asyncio
import os
import signal
import time

import pytest

from tasks import divide, nothing, refuse
from unshrink.batch.worker import Bug, Worker, WorkerDied
from unshrink.errors import ImageError
from unshrink.server.pool import Pool


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


def test_a_worker_that_is_killed_costs_no_later_task(worker):
    pids = set()
    for _ in range(3):
        pids.add(worker.run(60, os.getpid))
        worker.kill()  # it may still be alive when the next task comes
    assert len(pids) == 3


def test_never_more_tasks_at_once_than_workers_and_none_for_nobody():
    async def tasks():
        pool = Pool(1, nothing)
        try:
            worker = await pool.take()
            pid = await pool.run(worker, 60, os.getpid)
            first = asyncio.create_task(pool.run(await pool.take(), 60, time.sleep, 600))
            waiting = asyncio.create_task(pool.take())
            await asyncio.sleep(0.1)
            assert not waiting.done()
            first.cancel()
            assert await pool.run(await asyncio.wait_for(waiting, 10), 60, os.getpid) != pid
            with pytest.raises(ProcessLookupError):
                os.kill(pid, 0)
        finally:
            pool.close()

    asyncio.run(tasks())
