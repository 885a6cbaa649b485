"""What is around every request: the headers that keep browsers strict, the log, the counters, and an answer to bugs."""

import json
import logging
import secrets
import time
from typing import Any

from prometheus_client import CollectorRegistry, Counter, Histogram, ProcessCollector
from starlette.datastructures import MutableHeaders
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

BUG = "something went wrong here that is not the picture's fault; the log of the service has it"

logger = logging.getLogger("unshrink.server")

CONTENT_POLICY = (
    "default-src 'self'; img-src 'self' blob: data:; style-src 'self'; script-src 'self'; connect-src 'self'; "
    "object-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
HEADERS = {
    "content-security-policy": CONTENT_POLICY,
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cross-origin-resource-policy": "same-origin",
}


class JsonLines(logging.Formatter):
    """One JSON object a line: time, level, what happened, and what was given as ``extra={"about": {...}}``."""

    def format(self, record: logging.LogRecord) -> str:
        """The line."""
        line = {
            "time": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(record.created)),
            "level": record.levelname.lower(),
            "event": record.getMessage(),
            **getattr(record, "about", {}),
        }
        if record.exc_info:
            line["traceback"] = self.formatException(record.exc_info)
        return json.dumps(line, ensure_ascii=False)


class Watch:
    """Wraps the application.  Neither pictures nor names nor keys nor what is in a URL reach the log.

    HEAD is answered as GET, without the body.  What has an ETag, the parts of the page, browsers may keep and ask
    whether it still holds; they keep nothing else.

    Args:
        app: what answers.
        registry: where the counters go.
    """

    def __init__(self, app: ASGIApp, registry: CollectorRegistry) -> None:
        self._app = app
        self._requests = Counter("unshrink_requests", "Requests answered", ["route", "status"], registry=registry)
        self._seconds = Histogram("unshrink_request_seconds", "Time to answer", ["route"], registry=registry)
        ProcessCollector(registry=registry)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answers one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        began = time.perf_counter()
        about: dict[str, Any] = {"id": secrets.token_hex(4), "bytes_in": 0, "status": 0, "bytes_out": 0}
        head, state = scope["method"] == "HEAD", scope.setdefault("state", {})
        asked = {**scope, "method": "GET"} if head else scope

        async def counted_receive() -> Message:
            message = await receive()
            about["bytes_in"] += len(message.get("body", b""))
            return message

        async def strict_send(message: Message) -> None:
            if message["type"] == "http.response.start":
                about["status"] = message["status"]
                _make_strict(MutableHeaders(scope=message))
            elif head:
                message["body"] = b""
            about["bytes_out"] += len(message.get("body", b""))
            await send(message)

        try:
            await self._app(asked, counted_receive, strict_send)
        except Exception:
            logger.exception("bug", extra={"about": {"id": about["id"]}})
            if not about["status"]:
                await JSONResponse({"error": BUG}, 500)(asked, receive, strict_send)
        about |= {"client": (scope.get("client") or ("",))[0], "key": state.get("owner", "")[:8]}
        about |= {"method": scope["method"]}
        self._note(asked, about, time.perf_counter() - began)

    def _note(self, scope: Scope, about: dict[str, Any], seconds: float) -> None:
        route = getattr(scope.get("route"), "path", "other")
        self._requests.labels(route, about["status"]).inc()
        self._seconds.labels(route).observe(seconds)
        logger.info(
            "request",
            extra={"about": {**about, "route": route, "seconds": round(seconds, 4)}},
        )


def _make_strict(headers: MutableHeaders) -> None:
    headers.update(HEADERS)
    headers.setdefault("cache-control", "no-cache" if "etag" in headers else "no-store")
