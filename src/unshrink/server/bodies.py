"""The bodies of requests, as they arrive."""

import asyncio
from collections.abc import Callable

from starlette.requests import ClientDisconnect, Request

from unshrink.server.refusal import Refusal

FIRST_SECONDS = 5.0  # in which nothing need come
LEAST_RATE = 16 << 10  # bytes a second, after that: 128 kbit/s
BODY_SECONDS = 30.0  # for the whole


async def read_body(request: Request, limit: int, take: Callable[[int], bool]) -> bytes:
    """The body of a request.

    Args:
        request: whose body has not been read.
        limit: most bytes.
        take: asks for room for so many more bytes, and is told whether there is some.

    Raises:
        Refusal: it is no picture alone, is too long, comes too slowly, or there is no room for it.
    """
    _refuse_unsuitable(request, limit)
    body, clock = bytearray(), asyncio.get_running_loop()
    began = clock.time()
    try:
        async with asyncio.timeout(FIRST_SECONDS) as patience:
            async for chunk in request.stream():
                body += chunk
                if len(body) > limit:
                    raise _too_large(limit)
                if not take(len(chunk)):
                    raise Refusal(429, "too many pictures arrive at once; try again in a moment")
                patience.reschedule(began + min(BODY_SECONDS, FIRST_SECONDS + len(body) / LEAST_RATE))
    except TimeoutError:
        raise Refusal(408, _slow(len(body), clock.time() - began)) from None
    except ClientDisconnect:
        raise Refusal(499, "the client has gone") from None
    return bytes(body)


def _refuse_unsuitable(request: Request, limit: int) -> None:
    if request.headers.get("content-type", "").lower().startswith("multipart/"):
        raise Refusal(
            415, "this is a form (multipart); send the picture itself as the body: curl --data-binary @photo.jpg"
        )
    if int(request.headers.get("content-length", 0)) > limit:
        raise _too_large(limit)


def _too_large(limit: int) -> Refusal:
    return Refusal(413, f"the body is larger than the limit of {limit:,} bytes")


def _slow(size: int, seconds: float) -> str:
    if seconds >= BODY_SECONDS:
        return f"the picture did not arrive within {BODY_SECONDS:g} seconds"
    return f"the picture arrives too slowly: {size:,} bytes in {seconds:.0f} seconds, at least {LEAST_RATE:,} a second"
