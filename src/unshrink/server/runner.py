"""Who does the jobs: one after the other, each on a worker."""

import asyncio
import logging
from typing import TYPE_CHECKING, Any

from unshrink.batch.worker import Bug, Worker, WorkerDied
from unshrink.errors import UnshrinkError
from unshrink.server import work
from unshrink.server.jobs import LEASE, Job
from unshrink.server.options import OF
from unshrink.server.watch import BUG

if TYPE_CHECKING:
    from unshrink.server.service import Service

JOB_SECONDS = 3600.0  # for one job
JOB_POLL_SECONDS = 0.5  # between looks at an empty queue: other services may share it
DIED = "the process that worked on it died; it may need more memory than there is"

logger = logging.getLogger("unshrink.server")


class Runner:
    """Does jobs, one after the other, on one worker at a time.

    Args:
        service: where they are, and who does them.
    """

    def __init__(self, service: "Service") -> None:
        self._service, self._jobs, self._pool = service, service.jobs, service.pool
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

    async def _work(self, job: Job) -> dict[str, Any]:
        options = OF[job.kind, job.action](**job.options)
        bound = self._service.job_bound(options)
        worker = await self._pool.take(job.asker)
        self._working = job.id, worker
        try:
            facts: dict[str, Any] = await self._pool.run(
                worker, JOB_SECONDS, work.do_job, self._jobs, job, options, bound
            )
        finally:
            self._working = None
        self._service.note(facts, options)
        return facts

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
