"""The workers of the service, and who may use them."""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from unshrink.batch.worker import Worker


class Pool:
    """Workers, and who may use them: at most ``count`` calls run at once.

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

    async def run(self, worker: Worker, timeout: float, function: Callable[..., Any], *args: Any) -> Any:
        """`Worker.run` without blocking.  Where nobody waits any more for the call, its process is killed.

        The worker is taken until the call has ended.
        """
        future = asyncio.get_running_loop().run_in_executor(self._threads, worker.run, timeout, function, *args)

        def give_back(done: "asyncio.Future[Any]") -> None:
            done.cancelled() or done.exception()  # nobody may be left to ask for it
            self._idle.put_nowait(worker)

        future.add_done_callback(give_back)
        try:
            return await asyncio.shield(future)
        except asyncio.CancelledError:
            if not future.done():
                worker.kill()
            raise

    def close(self) -> None:
        """Kills all workers and with them what they do."""
        for worker in self._workers:
            worker.kill()
        self._threads.shutdown(wait=True, cancel_futures=True)
