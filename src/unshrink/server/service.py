"""The service behind the routes: who may come in, who has to wait, and for how long."""

import asyncio
import contextlib
import hmac
import logging
import math
import time
import warnings
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from prometheus_client import CollectorRegistry, Gauge
from starlette.requests import Request

from unshrink.batch.worker import WorkerDied
from unshrink.errors import ImageError, VideoError
from unshrink.pictures.formats import is_clip
from unshrink.runtime.backends import compiled
from unshrink.server import clips, weigh, work
from unshrink.server.bodies import Disk, Judge, Memory, read_body
from unshrink.server.guard import neighbourhood
from unshrink.server.jobs import Full, Job, Jobs
from unshrink.server.options import Action, Bound, FileOptions, Kind, Options, UpscaleOptions
from unshrink.server.pool import Pool
from unshrink.server.refusal import Refusal
from unshrink.server.runner import DIED, JOB_SECONDS, Runner
from unshrink.server.shares import Rate, Shares, Speed
from unshrink.server.work import Answer, Limits

STARTING_SECONDS = 120  # for a worker to import and read all that it needs
WEIGHING_SECONDS = 5.0  # for the header of a job's picture to be read
WEIGHING_CLIP_SECONDS = 10.0  # for a clip to be looked through
CLIPS_KEPT = 64  # of the largest: so many bytes may the files of all jobs take
SWEEP_SECONDS = 60.0
NO_PICTURE = "it is a video clip and not a picture; clips are done as jobs: POST /v1/jobs?action=downscale, or upscale"
STOPPING = "the service is stopping; try again in a moment"

logger = logging.getLogger("unshrink.server")


@dataclass(frozen=True)
class Settings:
    """What the operator of a service decides.

    Attributes:
        max_body: bytes of a request.
        max_pixels: of a picture, or a frame of a clip, in or out.
        max_clip: bytes of a clip, which comes as a job alone.
        max_seconds: of a clip, from its beginning to its end.
        queue: requests of one asker that may wait while all workers are busy; of all together, about twice as many.
        concurrency: pictures worked on at once, each in a process of its own.
        threads: of one of them, to compute with; 0 for all cores.
        timeout: seconds that a request may wait, and then be worked on.
        keys: API keys; without any, everybody may come.
        rate: pictures a minute from each key, or each address where there are no keys; 0 for any number.
        jobs: database of jobs.
        keep: seconds that the result of a job is kept.
        allow_hosts: names under which the service is asked, beside its address and localhost.
        proxies: addresses or networks whose X-Forwarded-For and X-Forwarded-Prefix are believed.
    """

    max_body: int
    max_pixels: int
    max_clip: int
    max_seconds: float
    queue: int
    concurrency: int
    threads: int
    timeout: float
    keys: tuple[str, ...]
    rate: int
    jobs: Path
    keep: float
    allow_hosts: tuple[str, ...] = ()
    proxies: tuple[str, ...] = ()


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
        inside = settings.concurrency + settings.queue  # of one asker: half of what there is
        self.places = Shares(2 * inside)  # for requests whose body is there, until they are answered
        self.memory = Shares(max(2, inside) * settings.max_body)  # for bodies, from their first byte on
        self.disk = Shares(max(2, inside) * settings.max_clip)  # for clips, until they are jobs
        self.speed = Speed()
        self._usual = 1.0  # seconds of a request at work, lately
        self.registry = CollectorRegistry()
        inside_now = Gauge("unshrink_inside", "Requests not answered yet", registry=self.registry)
        inside_now.set_function(lambda: self.places.held)
        self.pool = Pool(settings.concurrency, work.prepare, Limits(settings.threads, settings.concurrency))
        self._scales = Pool(1, weigh.prepare)
        self.jobs = Jobs(settings.jobs, settings.keep, CLIPS_KEPT * settings.max_clip)
        # One worker is left to requests, if there are two: nobody waits for an hour
        self._runners = [Runner(self) for _ in range(max(1, settings.concurrency - 1))]
        self._tasks: list[asyncio.Future[None]] = []

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Works; begins once all workers are ready."""
        with warnings.catch_warnings(record=True) as caught:
            compiled.place()
        for warning in caught:
            logger.warning(str(warning.message))
        try:
            workers = [await self.pool.take() for _ in range(self.settings.concurrency)]
            speeds = await asyncio.gather(*(self.pool.run(worker, STARTING_SECONDS, work.speed) for worker in workers))
            for pixels, seconds in speeds:
                self.speed.note(pixels, seconds)
            await self._ready_to_weigh()
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
                while self.places.held:
                    await asyncio.sleep(0.05)
        await self._end()

    async def _end(self) -> None:
        """Gives jobs back to the queue, and kills the workers and with them what they do."""
        self.stopped.set()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self.pool.close()
        self._scales.close()

    async def _sweep(self) -> None:
        while True:
            try:
                await asyncio.to_thread(self.jobs.sweep)
            except Exception:
                logger.exception("bug")
            await asyncio.sleep(SWEEP_SECONDS)

    async def add_job(
        self, request: Request, owner: str, action: Action, allowed: Callable[[Kind], FileOptions]
    ) -> Job:
        """Reads the picture or the clip and puts a job into the queue.

        Args:
            request: whose body has not been read.
            owner: whose job it is to be.
            action: what to do.
            allowed: gives the options of the action on a kind of file, or refuses what is asked for.

        Raises:
            Refusal: as `answer`; or the asker keeps as much as is left for others.
            UnshrinkError: the picture is too large, or the clip too long or cannot be read.
        """
        asker = _asker(request, owner)
        options: FileOptions
        try:
            with self._held(request, asker) as memory, self.disk.hold(asker) as take, contextlib.ExitStack() as stack:

                def judge(start: bytes) -> Memory | Disk:
                    nonlocal options
                    options = allowed("clip" if is_clip(start) else "picture")
                    if options.kind == "picture":
                        return memory
                    return Disk(self.settings.max_clip, take, stack.enter_context(self.jobs.arriving()))

                kept = await self._read(request, memory, judge)
                if isinstance(kept, Memory):
                    body: bytes | Path = bytes(kept.body)
                    seconds, frames = await self._weigh(bytes(kept.body), asker, options), None
                else:
                    body = await kept.settle()
                    seconds, frames = await self._weigh_clip(body, asker, options)
                values = owner, action, options.model_dump(), body, asker, seconds, frames
                return await asyncio.to_thread(self.jobs.add, *values)
        except Full as full:
            raise self._too_many_jobs(full) from None
        except OSError as fault:  # the message names a place that is nobody's business
            logger.error(str(fault))
            raise Refusal(503, "there is no room to keep another job; try again later") from None

    def _too_many_jobs(self, full: Full) -> Refusal:
        if math.isinf(full.seconds):
            seconds = self.settings.keep
            what = "as many of your jobs are kept as there is room for; delete one, or wait until one expires"
        else:
            seconds = full.seconds / len(self._runners)
            what = f"as much work waits for you as there is room for; try again in {seconds:.0f} seconds"
        return Refusal(429, what, math.ceil(seconds))

    async def _weigh(self, body: bytes, asker: str, options: FileOptions) -> float:
        """Seconds that a job will take, about, at least one.  Raises as `add_job`."""
        bound = self.job_bound(options)
        if isinstance(options, UpscaleOptions):
            weighing: tuple[Any, ...] = weigh.upscaled, body, options.model, bound.pixels
        else:
            weighing = weigh.downscaled, body
        pixels = await self._on_scales(asker, "the head of the picture", WEIGHING_SECONDS, *weighing)
        if pixels > bound.pixels:
            raise ImageError(f"{pixels:,} pixels are more than the limit of {bound.pixels:,}; {bound.advice}")
        return max(1.0, self.speed.seconds(pixels * options.passes))

    async def _weigh_clip(self, file: Path, asker: str, options: FileOptions) -> tuple[float, int]:
        """Seconds that a job will take, about, at least one; and the frames of its clip.  Raises as `add_job`."""
        weighing = clips.weigh, file, options, self.job_bound(options)
        weight: clips.Weight = await self._on_scales(asker, "the clip", WEIGHING_CLIP_SECONDS, *weighing)
        part = "send a shorter one, or ask for a part with the option frames"
        if weight.seconds > self.settings.max_seconds:
            most = f"{weight.seconds:.1f} seconds, more than the limit of {self.settings.max_seconds:g}"
            raise VideoError(f"the clip lasts {most}; {part}")
        seconds = self.speed.seconds(weight.pixels)
        if seconds > JOB_SECONDS:
            work = f"{weight.frames} frames take about {seconds:.0f} seconds here, and a job may take {JOB_SECONDS:g}"
            raise VideoError(f"the clip is too much: its {work}; {part}")
        return max(1.0, seconds), weight.frames

    async def _on_scales(self, asker: str, what: str, seconds: float, function: Callable[..., Any], *args: Any) -> Any:
        """What the process says that weighs files.  Raises Refusal if it takes too long."""
        worker = await self._scales.take(asker)
        try:
            return await self._scales.run(worker, seconds, function, *args)
        except (TimeoutError, WorkerDied):
            self._weighing_again = asyncio.ensure_future(self._ready_to_weigh())  # not in the time of the next file
            raise Refusal(422, f"{what} cannot be read within {seconds:g} seconds") from None

    async def _ready_to_weigh(self) -> None:
        """Has the process that weighs files started, which takes longer than to weigh one."""
        with contextlib.suppress(TimeoutError, WorkerDied):
            await self._scales.run(await self._scales.take(), STARTING_SECONDS, weigh.downscaled, b"")

    def job_bound(self, options: FileOptions) -> Bound:
        """How large a picture, or a frame of a clip, may be that comes as a job."""
        less = "send a smaller clip" if options.kind == "clip" else "ask for less effort, or send a smaller picture"
        return self.bound(options, JOB_SECONDS, less)

    def bound(self, options: Options, seconds: float, otherwise: str) -> Bound:
        """How large a picture may be: what is allowed, and what can be done in time.

        Args:
            options: what is done with it.
            seconds: that it may take.
            otherwise: what to do with a larger one.
        """
        timely, most = self.speed.pixels(seconds) / options.passes, self.settings.max_pixels
        if timely < most:
            return Bound(int(timely), f"that many can be done here in {seconds:g} seconds; {otherwise}")
        return Bound(most, "this service takes no larger ones")

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
        digests = [hmac.digest(self.jobs.secret, text.encode(), "sha256") for text in (key, *self.settings.keys)]
        if not sum(hmac.compare_digest(digests[0], digest) for digest in digests[1:]):  # all: time tells nothing
            raise Refusal(401, "the API key is missing or wrong; send the header Authorization: Bearer KEY")
        return digests[0].hex()

    async def answer(
        self, request: Request, owner: str, action: Callable[[bytes, Any, Bound], Answer], options: Options
    ) -> Answer:
        """Reads the picture, waits for a worker and has it do the action.

        Raises:
            Refusal: full, too often, stopping, too slow, or the client has gone; then the work ends.
            UnshrinkError: what is wrong with the picture or the options.
        """
        asker = _asker(request, owner)
        with self._held(request, asker) as memory, self.places.hold(asker) as place:

            def judge(start: bytes) -> Memory:
                if is_clip(start):
                    raise Refusal(422, NO_PICTURE)
                return memory

            await self._read(request, memory, judge)
            picture = bytes(memory.body)
            self._refuse_if_stopping()
            if not place(1):
                raise self._no_place()
            doing = asyncio.ensure_future(self._work(asker, action, picture, options))
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

    async def _work(
        self, asker: str, action: Callable[[bytes, Any, Bound], Answer], body: bytes, options: Options
    ) -> Answer:
        seconds = self.settings.timeout
        bound = self.bound(options, seconds, "send it as a job (POST /v1/jobs)")
        try:
            async with asyncio.timeout(seconds):
                worker = await self.pool.take(asker)
        except TimeoutError:
            raise Refusal(503, "no worker had time for this picture; try again later") from None
        began = time.monotonic()
        try:
            answer: Answer = await self.pool.run(worker, seconds, action, body, options, bound)
        except TimeoutError:
            raise Refusal(503, f"it took longer than {seconds:g} seconds; send it as a job") from None
        except WorkerDied:
            raise Refusal(503, STOPPING if self.stopped.is_set() else DIED) from None
        finally:
            self._usual += (time.monotonic() - began - self._usual) / 10
        self.note(answer.facts, options)
        return answer

    def note(self, facts: dict[str, Any], options: Options) -> None:
        """Learns how fast the workers are."""
        width, height = facts["size"]
        enlarged = facts["scale"] ** 2 if options.enlarges else 1
        pixels = width * height * enlarged * facts.get("frames", 1)
        self.speed.note(pixels * options.passes, facts["seconds"])

    async def _read(self, request: Request, memory: Memory, judge: Judge) -> Memory | Disk:
        """`read_body`; even what is announced as too large for a picture is looked at: it may be a clip."""
        return await read_body(request, memory, judge, max(self.settings.max_body, self.settings.max_clip))

    @contextlib.contextmanager
    def _held(self, request: Request, asker: str) -> Iterator[Memory]:
        """Room for the body of a request, which counts as held until the end.

        Raises:
            Refusal: at once, where the request could not be taken in even with its body.
        """
        self._refuse_if_stopping()
        if not self.places.room(asker, 1):
            raise self._no_place()
        if seconds := self.rate.wait(asker):
            raise Refusal(429, f"more than {self.settings.rate} pictures a minute; try again in {seconds} s", seconds)
        with self.memory.hold(asker) as take:
            yield Memory(self.settings.max_body, take)

    def _refuse_if_stopping(self) -> None:
        if self.stopping.is_set():
            raise Refusal(503, STOPPING)

    def _no_place(self) -> Refusal:
        """Says when those that are in will be done, about."""
        seconds = max(1, math.ceil(self.places.held * self._usual / self.settings.concurrency))
        return Refusal(429, f"all places for you are taken; try again in {seconds} seconds", seconds)


def _asker(request: Request, owner: str) -> str:
    """On whose share a request is: the key's, or the address's."""
    return owner or (neighbourhood(request.client.host) if request.client else "")
