"""The routes: what is asked for, where the answer comes from, how it is sent."""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Annotated, Any

import prometheus_client
from fastapi import APIRouter, Depends, FastAPI, Query, Request, Response, Security
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer
from fastapi.staticfiles import StaticFiles
from pydantic import BaseModel
from starlette.exceptions import HTTPException

from unshrink import __version__
from unshrink import weights as zoo
from unshrink.errors import UnshrinkError
from unshrink.server import work
from unshrink.server.service import RETRY_SECONDS, Refusal, Service, Settings
from unshrink.server.watch import Watch
from unshrink.server.work import Answer, CompareOptions, DownscaleOptions, UpscaleOptions

WEB = Path(__file__).parents[1] / "web"
DESCRIPTION = "Make a picture small in a way that can be undone. Pictures are sent as the body, and come back as it."


class Error(BaseModel):
    """Why there is no answer, in one sentence."""

    error: str


class Quality(BaseModel):
    """How close one picture is to another: PSNR in dB (null: they are equal) and SSIM of the luma."""

    psnr_y: float | None
    ssim_y: float


class Comparison(BaseModel):
    """A round trip beside ordinary resizing, each measured against the original."""

    model: str
    scale: int
    size: tuple[int, int]
    small_size: tuple[int, int]
    bytes: int
    small_bytes: int
    unshrink: Quality
    bicubic: Quality
    lanczos: Quality
    small_fidelity: Quality
    seconds: float
    notes: list[str]


class Weights(BaseModel):
    """Weights that are installed."""

    name: str
    scale: int
    default: bool
    licence: str
    figures: dict[str, float]


class Models(BaseModel):
    """All weights that are installed."""

    models: list[Weights]


class Status(BaseModel):
    """How the service is."""

    status: str


def of_request(request: Request) -> Service:
    """The service that the application runs."""
    return request.app.state.service


Serving = Annotated[Service, Depends(of_request)]
Bearer = Annotated[HTTPAuthorizationCredentials | None, Security(HTTPBearer(auto_error=False))]


def owner(service: Serving, bearer: Bearer) -> str:
    """Who asks, by the key; refuses wrong keys."""
    return service.owner(bearer.credentials if bearer else None)


def same_site(request: Request) -> None:
    """Refuses what other web sites make a browser send: the service may listen where only its owner should reach it."""
    if request.headers.get("sec-fetch-site") in ("cross-site", "same-site"):
        raise Refusal(403, "this service answers no pages of other sites")


REFUSALS: dict[int | str, dict[str, Any]] = {
    401: {"model": Error, "description": "The API key is missing or wrong"},
    403: {"model": Error, "description": "Sent by a page of another site"},
    408: {"model": Error, "description": "The body did not arrive in time"},
    413: {"model": Error, "description": "The body is too large"},
    422: {"model": Error, "description": "Not a picture, too many pixels, or options that there are not"},
    429: {"model": Error, "description": "Too many are waiting; Retry-After says when to come again"},
    503: {"model": Error, "description": "It took too long, or the service is stopping"},
}
PICTURE = {
    "requestBody": {"required": True, "content": {"image/*": {"schema": {"type": "string", "format": "binary"}}}}
}
PICTURE_BACK: dict[int | str, dict[str, Any]] = {
    200: {"description": "The picture", "content": {"image/*": {"schema": {"type": "string", "format": "binary"}}}}
}

public = APIRouter()
v1 = APIRouter(prefix="/v1", dependencies=[Depends(same_site), Depends(owner)], responses=REFUSALS)


@v1.post("/downscale", response_class=Response, responses=PICTURE_BACK, openapi_extra=PICTURE)
async def downscale(request: Request, service: Serving, options: Annotated[DownscaleOptions, Query()]) -> Response:
    """Make a picture small, so that it can be restored."""
    answer = await service.answer(request, work.downscale, options)
    return picture(answer, options.format, f"picture_x{answer.facts['scale']}")


@v1.post("/upscale", response_class=Response, responses=PICTURE_BACK, openapi_extra=PICTURE)
async def upscale(request: Request, service: Serving, options: Annotated[UpscaleOptions, Query()]) -> Response:
    """Restore the large picture from a small one."""
    answer = await service.answer(request, work.upscale, options)
    return picture(answer, options.format, "picture_restored")


@v1.post("/compare", openapi_extra=PICTURE)
async def compare(request: Request, service: Serving, options: Annotated[CompareOptions, Query()]) -> Comparison:
    """Measure a round trip beside bicubic and Lanczos resizing."""
    answer = await service.answer(request, work.compare, options)
    return Comparison(**answer.data, seconds=answer.facts["seconds"], notes=answer.facts["notes"])


@v1.get("/models")
async def models() -> Models:
    """List the installed weights."""
    return Models(
        models=[
            Weights(
                name=row.name,
                scale=row.scale,
                default=zoo.for_scale(row.scale) is row,
                licence=row.licence,
                figures=dict(row.figures),
            )
            for row in zoo.ROWS
        ]
    )


@public.get("/health")
async def health() -> Status:
    """Whether the service is alive."""
    return Status(status="alive")


@public.get("/ready", responses={503: {"model": Error, "description": "Starting or stopping"}})
async def ready(service: Serving) -> Status:
    """Whether the service takes pictures."""
    if service.stopping.is_set() or not service.ready:
        raise Refusal(503, "the service is stopping" if service.stopping.is_set() else "the service is starting")
    return Status(status="ready")


@public.get("/metrics", response_class=Response, dependencies=[Depends(owner)], responses={401: REFUSALS[401]})
async def metrics(request: Request) -> Response:
    """Counters, as Prometheus reads them."""
    text = prometheus_client.generate_latest(request.app.state.registry)
    return Response(text, media_type=prometheus_client.CONTENT_TYPE_LATEST)


def picture(answer: Answer, form: str, stem: str) -> Response:
    """A picture with what is to be known of it in the headers."""
    extension, facts = work.commands.EXTENSIONS[form], answer.facts
    headers = {
        "X-Unshrink-Model": facts["model"],
        "X-Unshrink-Scale": str(facts["scale"]),
        "X-Unshrink-Size": "{}x{}".format(*facts["size"]),
        "X-Unshrink-Seconds": str(facts["seconds"]),
        "Content-Disposition": f'attachment; filename="{stem}{extension}"',
    }
    if facts["notes"]:
        headers["X-Unshrink-Notes"] = "; ".join(facts["notes"]).encode("ascii", "replace").decode()
    return Response(answer.data, headers=headers, media_type=f"image/{form}")


# -- refusals ------------------------------------------------------------------------------------------------------


def error(status: int, sentence: str) -> Response:
    """An error as all are sent."""
    headers = {429: {"Retry-After": str(RETRY_SECONDS)}, 503: {"Retry-After": str(RETRY_SECONDS)}}
    headers[401] = {"WWW-Authenticate": "Bearer"}
    return JSONResponse({"error": sentence}, status, headers.get(status))


async def on_refusal(request: Request, refusal: Refusal) -> Response:
    """Refusals of the service."""
    return error(refusal.status, str(refusal))


async def on_unshrink_error(request: Request, fault: UnshrinkError) -> Response:
    """What is wrong with the picture, in the words of the library."""
    return error(422, str(fault))


async def on_invalid(request: Request, invalid: RequestValidationError) -> Response:
    """Parameters that there are not."""
    faults = [f"{'.'.join(str(part) for part in fault['loc'][1:])}: {fault['msg']}" for fault in invalid.errors()]
    return error(422, "; ".join(faults))


async def on_http(request: Request, fault: HTTPException) -> Response:
    """What the framework refuses: unknown places, methods and bodies that are too large."""
    return error(fault.status_code, fault.detail)


HANDLERS: dict[Any, Callable[[Request, Any], Awaitable[Response]]] = {
    Refusal: on_refusal,
    UnshrinkError: on_unshrink_error,
    RequestValidationError: on_invalid,
    HTTPException: on_http,
}


def create_app(settings: Settings) -> FastAPI:
    """The application, with its workers once its lifespan begins."""

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        service = app.state.service = Service(settings)
        try:
            await service.start()
            yield
        finally:
            service.pool.close()

    app = FastAPI(
        title="unshrink",
        version=__version__,
        description=DESCRIPTION,
        lifespan=lifespan,
        docs_url=None,
        redoc_url=None,
        exception_handlers=HANDLERS,
    )
    app.state.registry = prometheus_client.CollectorRegistry()
    app.add_middleware(Watch, registry=app.state.registry)
    app.include_router(public)
    app.include_router(v1)
    static = StaticFiles(directory=WEB)
    app.mount("/static", static)

    @app.get("/", include_in_schema=False)
    async def page(request: Request) -> Response:
        return await static.get_response("index.html", request.scope)

    return app
