"""The service: ``unshrink serve``."""

import os
from argparse import Namespace
from pathlib import Path

import platformdirs

from unshrink.cli.tasks import Result, Task
from unshrink.errors import not_installed


def serve(args: Namespace) -> list[Task]:
    """Answers requests until it is told to stop."""
    try:
        from unshrink.server.run import run
        from unshrink.server.service import Settings
    except ModuleNotFoundError as error:
        if error.name not in ("fastapi", "h11", "uvicorn", "prometheus_client", "pydantic", "starlette"):
            raise
        raise not_installed("serve needs a web framework", "server") from None
    named = [key.strip() for key in os.environ.get("UNSHRINK_API_KEYS", "").split(",")]
    settings = Settings(
        max_body=args.max_body << 20,
        max_pixels=args.max_pixels,
        max_clip=args.max_clip << 20,
        max_seconds=args.max_seconds,
        queue=args.queue,
        concurrency=args.concurrency,
        threads=args.threads,
        timeout=args.timeout,
        keys=tuple(key for key in [*named, *args.api_key] if key),
        rate=args.rate or 0,
        jobs=Path(args.jobs_db) if args.jobs_db else platformdirs.user_state_path("unshrink") / "jobs.sqlite3",
        keep=args.keep * 3600,
        allow_hosts=tuple(name.lower() for name in args.allow_host),
        proxies=tuple(args.proxy),
    )

    def work() -> Result:
        run(settings, args.host, args.port)
        return Result({"stopped": True})

    return [Task("", work)]
