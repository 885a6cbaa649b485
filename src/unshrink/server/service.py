"""The service behind the routes: who may come in, who has to wait, and for how long."""

import asyncio
import hashlib
import hmac
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from starlette.requests import ClientDisconnect, Request

from unshrink.server import work
from unshrink.server.work import Answer, Limits, Options
from unshrink.server.workers import Pool, Worker, WorkerDied

BODY_SECONDS = 30  # for a body to arrive: whoever is slower would keep a place from others
RETRY_SECONDS = 2


class Refusal(Exception):
    """What a request is told instead of an answer.

    Args:
        status: of HTTP.
        error: one sentence.
    """

    def __init__(self, status: int, error: str) -> None:
        super().__init__(error)
        self.status = status


@dataclass(frozen=True)
class Settings:
    """What the operator of a service decides.

    Attributes:
        max_body: bytes of a request.
        max_pixels: of a picture, in or out.
        queue: requests that may wait while all workers are busy.
        concurrency: pictures worked on at once, each in a process of its own.
        threads: of one of them, to compute with.
        timeout: seconds that a request may wait, and then be worked on.
        keys: API keys; without any, everybody may come.
    """

    max_body: int
    max_pixels: int
    queue: int
    concurrency: int
    threads: int
    timeout: float
    keys: tuple[str, ...]


class Service:
    """Takes requests in, up to what it can hold, and has them done one after the other.

    Args:
        settings: the limits.
    """

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.stopping = asyncio.Event()  # no more requests
        self.stopped = asyncio.Event()  # no more waiting either
        self.inside = 0  # requests taken in and not answered
        self.ready = False
        limits = Limits(settings.max_pixels, settings.threads, settings.concurrency)
        self.pool = Pool(settings.concurrency, work.prepare, limits)

    async def start(self) -> None:
        """Starts the workers; `ready` once all are."""
        workers = [await self.pool.take() for _ in range(self.settings.concurrency)]
        await asyncio.gather(*(self.pool.run(worker, self.settings.timeout, work.ready) for worker in workers))
        self.ready = True

    def owner(self, key: str | None) -> str:
        """Whose key it is, as a hash; "" if keys are not asked for.  Raises Refusal for a wrong one."""
        if not self.settings.keys:
            return ""
        digest = hashlib.sha256((key or "").encode()).digest()
        matches = [hmac.compare_digest(digest, hashlib.sha256(known.encode()).digest()) for known in self.settings.keys]
        if not any(matches):
            raise Refusal(401, "the API key is missing or wrong; send the header Authorization: Bearer KEY")
        return digest.hex()

    async def answer(self, request: Request, task: Callable[[bytes, Any], Answer], options: Options) -> Answer:
        """Reads the picture, waits for a worker and has it do the task.

        Raises:
            Refusal: full, stopping, too slow, or the client has gone.
            UnshrinkError: what is wrong with the picture or the options.
        """
        if self.stopping.is_set():
            raise Refusal(503, "the service is stopping; try again in a moment")
        if self.inside >= self.settings.concurrency + self.settings.queue:
            raise Refusal(429, f"all places are taken; try again in {RETRY_SECONDS} seconds")
        self.inside += 1
        try:
            body = await read_body(request, self.settings.max_body)
            worker = await self._worker(request)
            return await self._run(worker, task, body, options)
        finally:
            self.inside -= 1

    async def _worker(self, request: Request) -> Worker:
        """An idle worker, unless the client goes or the service stops while it waits."""
        got = asyncio.create_task(self.pool.take())
        gone = asyncio.create_task(request.receive())  # after the body comes only the news that the client has gone
        stopped = asyncio.create_task(self.stopped.wait())
        tasks = {got, gone, stopped}
        try:
            await asyncio.wait(tasks, timeout=self.settings.timeout, return_when=asyncio.FIRST_COMPLETED)
            if got.done():
                return got.result()
        finally:
            for task in tasks:
                task.cancel()
        if gone.done():
            raise Refusal(499, "the client has gone")
        raise Refusal(503, "no worker had time for this picture; try again later")

    async def _run(self, worker: Worker, task: Callable[..., Any], *args: Any) -> Any:
        try:
            return await self.pool.run(worker, self.settings.timeout, task, *args)
        except TimeoutError:
            raise Refusal(503, f"the picture took longer than {self.settings.timeout:g} s; send it as a job") from None
        except WorkerDied:
            raise Refusal(
                503, "the process working on this picture died; it may need more memory than there is"
            ) from None


async def read_body(request: Request, limit: int) -> bytes:
    """The body of a request.  Raises Refusal if it does not come, or is longer than ``limit``."""
    body = bytearray()
    too_large = Refusal(413, f"the body is larger than the limit of {limit:,} bytes")
    if int(request.headers.get("content-length", 0)) > limit:
        raise too_large
    try:
        async with asyncio.timeout(BODY_SECONDS):
            async for chunk in request.stream():
                body += chunk
                if len(body) > limit:
                    raise too_large
    except TimeoutError:
        raise Refusal(408, f"the picture did not arrive within {BODY_SECONDS} seconds") from None
    except ClientDisconnect:
        raise Refusal(499, "the client has gone") from None
    return bytes(body)
