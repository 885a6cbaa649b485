"""The service behind the routes: who may come in, who has to wait, and for how long."""

import asyncio
import contextlib
import hashlib
import hmac
import logging
import math
import time
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from prometheus_client import CollectorRegistry, Gauge
from starlette.requests import ClientDisconnect, Request

from unshrink.batch.worker import Bug, Worker, WorkerDied
from unshrink.errors import UnshrinkError
from unshrink.server import work
from unshrink.server.jobs import LEASE, MOST_JOBS, Job, Jobs
from unshrink.server.pool import Pool
from unshrink.server.watch import BUG
from unshrink.server.work import Answer, Limits, Options

BODY_SECONDS = 30  # for a body to arrive: whoever is slower would keep a place from others
RETRY_SECONDS = 2
STARTING_SECONDS = 120  # for a worker to import and read all that it needs
JOB_SECONDS = 3600.0  # for one job
SWEEP_SECONDS = 60.0
JOB_POLL_SECONDS = 0.5  # between looks at an empty queue: other services may share it
STOPPING = "the service is stopping; try again in a moment"
DIED = "the process that worked on this picture died; it may need more memory than there is"

logger = logging.getLogger("unshrink.server")


class Refusal(Exception):
    """What a request is told instead of an answer.

    Args:
        status: of HTTP.
        error: one sentence.
        retry: seconds after which to come again, where that is told.
    """

    def __init__(self, status: int, error: str, retry: int = RETRY_SECONDS) -> None:
        super().__init__(error)
        self.status, self.retry = status, retry


@dataclass(frozen=True)
class Settings:
    """What the operator of a service decides.

    Attributes:
        max_body: bytes of a request.
        max_pixels: of a picture, in or out.
        queue: requests that may wait while all workers are busy.
        concurrency: pictures worked on at once, each in a process of its own.
        threads: of one of them, to compute with; 0 for all cores.
        timeout: seconds that a request may wait, and then be worked on.
        keys: API keys; without any, everybody may come.
        rate: pictures a minute from each key, or each address where there are no keys; 0 for any number.
        jobs: database of jobs.
        keep: seconds that the result of a job is kept.
    """

    max_body: int
    max_pixels: int
    queue: int
    concurrency: int
    threads: int
    timeout: float
    keys: tuple[str, ...]
    rate: int
    jobs: Path
    keep: float


class Service:
    """Takes requests in, up to what it can hold, and has them done one after the other; between them, jobs.

    Args:
        settings: the limits.
    """

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.stopping = asyncio.Event()  # no more requests
        self.stopped = asyncio.Event()  # no more waiting either
        self.rate = Rate(settings.rate)
        self.inside = 0  # requests taken in and not answered
        self.registry = CollectorRegistry()
        Gauge("unshrink_inside", "Requests not answered yet", registry=self.registry).set_function(lambda: self.inside)
        limits = Limits(settings.max_pixels, settings.threads, settings.concurrency)
        self.pool = Pool(settings.concurrency, work.prepare, limits)
        self.jobs = Jobs(settings.jobs, settings.keep)
        # One worker is left to requests, if there are two: nobody waits for an hour
        self._runners = [Runner(self.jobs, self.pool) for _ in range(max(1, settings.concurrency - 1))]
        self._tasks: list[asyncio.Future[None]] = []

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Works; begins once all workers are ready."""
        try:
            workers = [await self.pool.take() for _ in range(self.settings.concurrency)]
            await asyncio.gather(*(self.pool.run(worker, STARTING_SECONDS, work.ready) for worker in workers))
            self._tasks = [
                asyncio.ensure_future(task) for task in (*(one.run() for one in self._runners), self._sweep())
            ]
            yield
        finally:
            await self._end()

    async def drain(self, seconds: float) -> None:
        """Finishes what is in, for so long at most, and takes nothing more; then ends."""
        self.stopping.set()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                while self.inside:
                    await asyncio.sleep(0.05)
        await self._end()

    async def _end(self) -> None:
        """Gives jobs back to the queue, and kills the workers and with them what they do."""
        self.stopped.set()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self.pool.close()

    async def _sweep(self) -> None:
        while True:
            try:
                await asyncio.to_thread(self.jobs.sweep)
            except Exception:
                logger.exception("bug")
            await asyncio.sleep(SWEEP_SECONDS)

    async def add_job(self, request: Request, owner: str, action: str, options: Options) -> Job:
        """Reads the picture and puts a job into the queue.  Raises Refusal as `answer`, or if there are too many."""
        with self.place(request, owner):
            body = await read_body(request, self.settings.max_body)
            try:
                job = await asyncio.to_thread(self.jobs.add, owner, action, options.model_dump(), body)
            except UnshrinkError as fault:  # the message names a place that is nobody's business
                logger.error(str(fault))
                raise Refusal(503, "there is no room to keep another job; try again later") from None
        if job is None:
            raise Refusal(429, f"{MOST_JOBS} jobs are kept already; delete one, or wait until one expires")
        return job

    async def delete_job(self, job_id: str, owner: str) -> bool:
        """Removes a job, and stops the work on it; False if there is none."""
        found = await asyncio.to_thread(self.jobs.delete, job_id, owner)
        if found:
            for runner in self._runners:
                runner.stop(job_id)
        return found

    def owner(self, key: str) -> str:
        """Whose key it is, as a hash; "" if keys are not asked for.  Raises Refusal for a wrong one."""
        if not self.settings.keys:
            return ""
        digests = [hashlib.sha256(text.encode()).digest() for text in (key, *self.settings.keys)]
        if not sum(hmac.compare_digest(digests[0], digest) for digest in digests[1:]):  # all: time tells nothing
            raise Refusal(401, "the API key is missing or wrong; send the header Authorization: Bearer KEY")
        return digests[0].hex()

    async def answer(
        self, request: Request, owner: str, action: Callable[[bytes, Any], Answer], options: Options
    ) -> Answer:
        """Reads the picture, waits for a worker and has it do the action.

        Raises:
            Refusal: full, too often, stopping, too slow, or the client has gone; then the work ends.
            UnshrinkError: what is wrong with the picture or the options.
        """
        with self.place(request, owner):
            body = await read_body(request, self.settings.max_body)
            doing = asyncio.ensure_future(self._work(action, body, options))
            gone = asyncio.ensure_future(request.receive())  # after the body comes only the news of that
            stopped = asyncio.ensure_future(self.stopped.wait())
            events: set[asyncio.Future[Any]] = {doing, gone, stopped}
            try:
                await asyncio.wait(events, return_when=asyncio.FIRST_COMPLETED)
                if doing.done():
                    return doing.result()
            finally:
                for event in events:
                    event.cancel()
        raise Refusal(503, STOPPING) if stopped.done() else Refusal(499, "the client has gone")

    async def _work(self, action: Callable[[bytes, Any], Answer], body: bytes, options: Options) -> Answer:
        seconds = self.settings.timeout
        try:
            async with asyncio.timeout(seconds):
                worker = await self.pool.take()
        except TimeoutError:
            raise Refusal(503, "no worker had time for this picture; try again later") from None
        try:
            return await self.pool.run(worker, seconds, action, body, options)
        except TimeoutError:
            raise Refusal(503, f"it took longer than {seconds:g} seconds; send it as a job") from None
        except WorkerDied:
            raise Refusal(503, STOPPING if self.stopped.is_set() else DIED) from None

    @contextlib.contextmanager
    def place(self, request: Request, owner: str) -> Iterator[None]:
        """One of the places for requests, taken before the body is read so that bodies cannot fill the memory."""
        if self.stopping.is_set():
            raise Refusal(503, STOPPING)
        if self.inside >= self.settings.concurrency + self.settings.queue:
            raise Refusal(429, f"all places are taken; try again in {RETRY_SECONDS} seconds")
        if seconds := self.rate.wait(owner or (request.client.host if request.client else "")):
            raise Refusal(429, f"more than {self.settings.rate} pictures a minute; try again in {seconds} s", seconds)
        self.inside += 1
        try:
            yield
        finally:
            self.inside -= 1


class Rate:
    """So many a minute from each asker, at once or one after the other: a bucket of tokens for each.

    Args:
        per_minute: 0 for any number.
    """

    def __init__(self, per_minute: int) -> None:
        self._seconds = 60 / per_minute if per_minute else 0.0  # for one more
        self._full: dict[str, float] = {}  # when the bucket of each asker will be full again

    def wait(self, asker: str) -> int:
        """Whole seconds until the asker may come again; 0 if it may come now, which counts."""
        now = time.monotonic()
        full = max(self._full.get(asker, now), now) + self._seconds
        if full - now > 60 + 1e-6:
            return math.ceil(full - now - 60)
        self._full = {one: when for one, when in self._full.items() if when > now}
        self._full[asker] = full
        return 0


class Runner:
    """Does jobs, one after the other, on one worker at a time.

    Args:
        jobs: where they are.
        pool: who does them.
    """

    def __init__(self, jobs: Jobs, pool: Pool) -> None:
        self._jobs, self._pool = jobs, pool
        self._working: tuple[str, Worker] | None = None

    async def run(self) -> None:
        """Does jobs until it is cancelled."""
        while True:
            try:
                if await self._next():
                    continue
            except Exception:  # a full disk, for one: it may have room again
                logger.exception("bug")
            await asyncio.sleep(JOB_POLL_SECONDS)

    async def _next(self) -> bool:
        """Does a job, if there is one; when cancelled, it goes back into the queue."""
        job = await asyncio.to_thread(self._jobs.claim)
        if job is None:
            return False
        beat = asyncio.ensure_future(self._renew(job))
        try:
            await self._do(job)
        except asyncio.CancelledError:
            self._jobs.release(job)
            raise
        finally:
            beat.cancel()
        return True

    def stop(self, job_id: str) -> None:
        """Stops working on a job that was deleted, if it is the one."""
        if self._working and self._working[0] == job_id:
            self._working[1].kill()

    async def _do(self, job: Job) -> None:
        try:
            facts = await self._work(job)
        except (UnshrinkError, WorkerDied, TimeoutError, Bug) as fault:
            await asyncio.to_thread(self._jobs.fail, job, _sentence(fault))
            status = "failed"
        else:
            await asyncio.to_thread(self._jobs.finish, job, facts)
            status = "done"
        logger.info("job", extra={"about": {"job": job.id[:8], "attempt": job.attempt, "status": status}})

    async def _work(self, job: Job) -> Any:
        worker = await self._pool.take()
        self._working = job.id, worker
        try:
            return await self._pool.run(worker, JOB_SECONDS, work.do_job, self._jobs, job)
        finally:
            self._working = None

    async def _renew(self, job: Job) -> None:
        while True:
            await asyncio.sleep(LEASE / 3)
            await asyncio.to_thread(self._jobs.renew, job)


def _sentence(fault: Exception) -> str:
    """What is told of a job that failed."""
    match fault:
        case Bug():
            logger.error("bug", extra={"about": {"traceback": str(fault)}})
            return BUG
        case WorkerDied():
            return DIED
        case TimeoutError():
            return f"it took longer than {JOB_SECONDS:g} seconds"
    return str(fault)


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
