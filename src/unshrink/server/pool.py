"""The workers of the service, and who may use them."""

import asyncio
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from unshrink.batch.worker import Worker


class Pool:
    """Workers, and who may use them: at most ``count`` calls run at once.

    Of those who wait, the first of the askers with the fewest workers is next: many calls of one asker cost the others
    one turn each, not all of theirs.

    Args:
        count: how many workers.
        prepare, args: as for `Worker`.
    """

    def __init__(self, count: int, prepare: Callable[..., object], *args: Any) -> None:
        self._workers = [Worker(prepare, *args) for _ in range(count)]
        self._threads = ThreadPoolExecutor(count, "worker")  # each waits for one process
        self._idle = list(self._workers)  # the last used, with its network at hand, is the first taken
        self._waiting: list[tuple[str, asyncio.Future[Worker]]] = []
        self._taken: dict[Worker, str] = {}  # by whom

    async def take(self, asker: str = "") -> Worker:
        """Waits for an idle worker; `run` or `give_back` gives it back."""
        turn: asyncio.Future[Worker] = asyncio.get_running_loop().create_future()
        self._waiting.append((asker, turn))
        self._hand_out()
        try:
            return await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled():
                self.give_back(turn.result())
            raise

    def give_back(self, worker: Worker) -> None:
        """Says that a worker is idle again."""
        del self._taken[worker]
        self._idle.append(worker)
        self._hand_out()

    async def run(self, worker: Worker, timeout: float, function: Callable[..., Any], *args: Any) -> Any:
        """`Worker.run` without blocking.  Where nobody waits any more for the call, its process is killed.

        The worker is taken until the call has ended.
        """
        future = asyncio.get_running_loop().run_in_executor(self._threads, worker.run, timeout, function, *args)

        def give_back(done: "asyncio.Future[Any]") -> None:
            done.cancelled() or done.exception()  # nobody may be left to ask for it
            self.give_back(worker)

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

    def _hand_out(self) -> None:
        self._waiting = [(asker, turn) for asker, turn in self._waiting if not turn.done()]  # without who has gone
        while self._idle and self._waiting:
            busy = Counter(self._taken.values())
            asker, turn = chosen = min(self._waiting, key=lambda waiting: busy[waiting[0]])
            self._waiting.remove(chosen)
            worker = self._idle.pop()
            self._taken[worker] = asker
            turn.set_result(worker)
