"""The routes: what is asked for, where the answer comes from, how it is sent."""

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Annotated, Any

import prometheus_client
from fastapi import APIRouter, Depends, FastAPI, Query, Request, Response, Security
from fastapi.exceptions import RequestValidationError
from fastapi.responses import FileResponse, HTMLResponse, JSONResponse
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer
from fastapi.staticfiles import StaticFiles
from pydantic import ValidationError
from starlette.exceptions import HTTPException

from unshrink import __version__
from unshrink import weights as zoo
from unshrink.errors import UnshrinkError
from unshrink.server import work
from unshrink.server.answers import Comparison, Error, JobStatus, Models, Status, Weights
from unshrink.server.docs import docs_page
from unshrink.server.guard import Hosts, Proxies, network, no_browser, same_site
from unshrink.server.jobs import Job
from unshrink.server.options import OF, CompareOptions, DownscaleOptions, FileOptions, JobOptions, Kind, UpscaleOptions
from unshrink.server.refusal import Refusal
from unshrink.server.service import Service, Settings
from unshrink.server.watch import Watch
from unshrink.text import decibels
from unshrink.weights import catalogue

WEB = Path(__file__).parents[1] / "web"
DESCRIPTION = (
    "Make a picture small in a way that can be undone. Pictures are sent as the body, and come back as it; "
    "clips likewise, as jobs."
)


def of_request(request: Request) -> Service:
    """The service that the application runs."""
    return request.app.state.service


Serving = Annotated[Service, Depends(of_request)]
Bearer = Annotated[HTTPAuthorizationCredentials | None, Security(HTTPBearer(auto_error=False))]


def owner(request: Request, service: Serving, bearer: Bearer) -> str:
    """Who asks, by the key; refuses wrong keys."""
    request.state.owner = service.owner(bearer.credentials if bearer else "")
    return str(request.state.owner)


Asker = Annotated[str, Depends(owner)]


REFUSALS: dict[int | str, dict[str, Any]] = {
    401: {"model": Error, "description": "The API key is missing or wrong"},
    403: {"model": Error, "description": "Sent by a page of another site"},
    408: {"model": Error, "description": "The body came too slowly"},
    413: {"model": Error, "description": "The body is too large"},
    415: {"model": Error, "description": "A form, not the picture itself"},
    421: {"model": Error, "description": "Asked for under a name that is not the service's"},
    422: {
        "model": Error,
        "description": "Not a picture, more than can be done in time, or options that there are not; "
        "a clip that is too long, or not sent as a job",
    },
    429: {"model": Error, "description": "Too many of yours are waiting; Retry-After says when to come again"},
    503: {"model": Error, "description": "It took too long, or the service is stopping"},
}
MISSING = "there is no such job, or no longer"
NO_JOB: dict[int | str, dict[str, Any]] = {404: {"model": Error, "description": "No such job of this key"}}
NO_RESULT: dict[int | str, dict[str, Any]] = {409: {"model": Error, "description": "The job is not done yet"}}
BINARY = {"schema": {"type": "string", "format": "binary"}}
PICTURES = {"image/*": BINARY}
PICTURE = {"requestBody": {"required": True, "content": PICTURES}}
PICTURE_BACK: dict[int | str, dict[str, Any]] = {200: {"description": "The picture", "content": PICTURES}}
EITHER = PICTURES | {"video/*": BINARY}
PICTURE_OR_CLIP = {"requestBody": {"required": True, "content": EITHER}}
EITHER_BACK: dict[int | str, dict[str, Any]] = {200: {"description": "The picture or the clip", "content": EITHER}}

public = APIRouter()
v1 = APIRouter(prefix="/v1", dependencies=[Depends(same_site), Depends(owner)], responses=REFUSALS)


@v1.post("/downscale", response_class=Response, responses=PICTURE_BACK, openapi_extra=PICTURE)
async def downscale(
    request: Request, service: Serving, asker: Asker, options: Annotated[DownscaleOptions, Query()]
) -> Response:
    """Make a picture small, so that it can be restored."""
    answer = await service.answer(request, asker, work.downscale, options)
    return Response(answer.data, headers=about(options, answer.facts), media_type=options.media_type)


@v1.post("/upscale", response_class=Response, responses=PICTURE_BACK, openapi_extra=PICTURE)
async def upscale(
    request: Request, service: Serving, asker: Asker, options: Annotated[UpscaleOptions, Query()]
) -> Response:
    """Restore the large picture from a small one."""
    answer = await service.answer(request, asker, work.upscale, options)
    return Response(answer.data, headers=about(options, answer.facts), media_type=options.media_type)


@v1.post("/compare", openapi_extra=PICTURE)
async def compare(
    request: Request, service: Serving, asker: Asker, options: Annotated[CompareOptions, Query()]
) -> Comparison:
    """Measure a round trip beside bicubic and Lanczos resizing."""
    answer = await service.answer(request, asker, work.compare, options)
    return Comparison(**answer.data, seconds=answer.facts["seconds"], notes=answer.facts["notes"])


@v1.get("/models")
async def models() -> Models:
    """List the installed weights."""
    return Models(
        models=[
            Weights(
                name=row.name,
                scale=row.scale,
                default=zoo.is_default(row),
                lossy=row.lossy,
                licence=row.licence,
                figures=dict(row.figures),
            )
            for row in catalogue.ENTRIES
        ]
    )


@v1.post("/jobs", status_code=202, openapi_extra=PICTURE_OR_CLIP)
async def add_job(
    request: Request, service: Serving, asker: Asker, options: Annotated[JobOptions, Query()]
) -> JobStatus:
    """Have a picture or a clip made small or restored in the background: for large pictures, and for all clips."""
    given = options.model_dump(exclude_unset=True, exclude={"action"})

    def allowed(kind: Kind) -> FileOptions:
        try:
            return OF[kind, options.action](**given)
        except ValidationError as invalid:
            faults = [{**fault, "loc": ("query", *fault["loc"])} for fault in invalid.errors()]
            none = f"there is no such option to {options.action} a {kind}"
            raise RequestValidationError(
                [{**fault, "msg": none} if fault["type"] == "extra_forbidden" else fault for fault in faults]
            ) from None

    return job_status(request, await service.add_job(request, asker, options.action, allowed))


@v1.get("/jobs/{job_id}", responses=NO_JOB)
async def see_job(request: Request, service: Serving, asker: Asker, job_id: str) -> JobStatus:
    """How far a job is."""
    return job_status(request, await job_of(service, asker, job_id))


@v1.get("/jobs/{job_id}/result", response_class=Response, responses=EITHER_BACK | NO_JOB | NO_RESULT)
async def job_result(service: Serving, asker: Asker, job_id: str) -> Response:
    """The picture or the clip that came out of a job."""
    job = await job_of(service, asker, job_id)
    if job.status == "failed":
        raise Refusal(422, str(job.error))
    path = service.jobs.result(job_id)
    if job.status != "done" or not path.exists():
        raise Refusal(409, f"the job is {job.status}; its result is there when it is done")
    options = OF[job.kind, job.action](**job.options)
    headers = about(options, job.facts) | {"Cache-Control": "no-store"}
    return FileResponse(path, headers=headers, media_type=options.media_type)


@v1.delete("/jobs/{job_id}", status_code=204, responses=NO_JOB)
async def delete_job(service: Serving, asker: Asker, job_id: str) -> None:
    """Stop a job and remove its files."""
    if not await service.delete_job(job_id, asker):
        raise Refusal(404, MISSING)


async def job_of(service: Service, asker: str, job_id: str) -> Job:
    """A job of this asker's; the jobs of others are as if they were not there."""
    job = await asyncio.to_thread(service.jobs.get, job_id, asker)
    if job is None:
        raise Refusal(404, MISSING)
    return job


def job_status(request: Request, job: Job) -> JobStatus:
    """A job as it is told."""
    here = f"{request.scope.get('root_path', '')}/v1/jobs/{job.id}"
    told = {**vars(job), "frames_done": job.frames_done}
    return JobStatus.model_validate({**told, "links": {"self": here, "result": f"{here}/result"}})


@public.get("/health")
async def health() -> Status:
    """Whether the service is alive."""
    return Status(status="alive")


@public.get("/ready", responses={503: {"model": Error, "description": "Stopping"}})
async def ready(service: Serving) -> Status:
    """Whether the service takes pictures."""
    if service.stopping.is_set():
        raise Refusal(503, "the service is stopping")
    return Status(status="ready")


@public.get(
    "/metrics",
    response_class=Response,
    dependencies=[Depends(no_browser), Depends(owner)],
    responses={status: REFUSALS[status] for status in (401, 403)},
)
async def metrics(service: Serving) -> Response:
    """Counters, as Prometheus reads them."""
    text = prometheus_client.generate_latest(service.registry)
    return Response(text, media_type=prometheus_client.CONTENT_TYPE_LATEST)


def about(options: FileOptions, facts: dict[str, Any]) -> dict[str, str]:
    """What is to be known of a picture or a clip, as headers."""
    stem = f"{options.kind}_restored" if options.enlarges else f"{options.kind}_x{facts['scale']}"
    headers = {
        "X-Unshrink-Model": facts["model"],
        "X-Unshrink-Scale": str(facts["scale"]),
        "X-Unshrink-Size": "{}x{}".format(*facts["size"]),
        "X-Unshrink-Seconds": str(facts["seconds"]),
        "Content-Disposition": f'attachment; filename="{stem}{options.extension}"',
    }
    if "frames" in facts:
        headers["X-Unshrink-Frames"] = str(facts["frames"])
    if "psnr_y" in facts:
        headers["X-Unshrink-PSNR-Y"], headers["X-Unshrink-PSNR-RGB"] = map(
            decibels, (facts["psnr_y"], facts["psnr_rgb"])
        )
    if "quality" in facts:
        headers["X-Unshrink-Quality"] = f"{facts['quality']}, {facts['chroma']}"
    if "site" in facts:
        headers["X-Unshrink-Arrives"] = f"{facts['site']}: {facts['arrives']}"
    if facts["notes"]:
        headers["X-Unshrink-Notes"] = "; ".join(facts["notes"]).encode("ascii", "replace").decode()
    return headers


# -- refusals ------------------------------------------------------------------------------------------------------


def error(status: int, sentence: str, headers: dict[str, str] | None = None) -> Response:
    """An error as all are sent."""
    return JSONResponse({"error": sentence}, status, headers)


async def on_refusal(request: Request, refusal: Refusal) -> Response:
    """Refusals of the service."""
    retry = {"Retry-After": str(refusal.retry)}
    headers = {401: {"WWW-Authenticate": "Bearer"}, 429: retry, 503: retry}
    return error(refusal.status, str(refusal), headers.get(refusal.status))


async def on_unshrink_error(request: Request, fault: UnshrinkError) -> Response:
    """What is wrong with the picture, in the words of the library."""
    return error(422, str(fault))


async def on_invalid(request: Request, invalid: RequestValidationError) -> Response:
    """Parameters that there are not."""
    faults = [f"{'.'.join(str(part) for part in fault['loc'][1:])}: {fault['msg']}" for fault in invalid.errors()]
    return error(422, "; ".join(faults))


async def on_http(request: Request, fault: HTTPException) -> Response:
    """What the framework refuses: unknown places, methods and bodies that are too large."""
    return JSONResponse({"error": fault.detail}, fault.status_code, fault.headers)


HANDLERS: dict[Any, Callable[[Request, Any], Coroutine[Any, Any, Response]]] = {
    Refusal: on_refusal,
    UnshrinkError: on_unshrink_error,
    RequestValidationError: on_invalid,
    HTTPException: on_http,
}


def create_app(settings: Settings, host: str = "127.0.0.1") -> FastAPI:
    """The application, with its workers once its lifespan begins; ``host`` is the address that it will listen at.

    Raises:
        ConfigError: a proxy is no address.
        UnshrinkError: jobs cannot be kept where they should.
    """
    proxies = [network(name) for name in settings.proxies]
    service = Service(settings)

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        async with service.running():
            yield

    app = FastAPI(
        title="unshrink",
        version=__version__,
        description=DESCRIPTION,
        lifespan=lifespan,
        docs_url=None,
        redoc_url=None,
        exception_handlers=HANDLERS,
    )
    app.state.service = service
    app.add_middleware(Hosts, bound=host, allowed=settings.allow_hosts)
    app.add_middleware(Watch, registry=service.registry)
    app.add_middleware(Proxies, networks=proxies)  # the first of all
    app.include_router(public)
    app.include_router(v1)
    static = StaticFiles(directory=WEB)
    app.mount("/static", static)

    @app.get("/docs", include_in_schema=False)
    async def docs() -> Response:
        return HTMLResponse(docs_page(app.openapi()))

    @app.get("/", include_in_schema=False)
    async def page(request: Request) -> Response:
        return await static.get_response("index.html", request.scope)

    return app
