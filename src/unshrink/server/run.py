"""The service as a process: its log, its signals, its end."""

import asyncio
import logging
import os
import socket
from types import FrameType
from typing import Any

import h11
import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

from unshrink.errors import ConfigError
from unshrink.server.app import create_app
from unshrink.server.service import Service, Settings
from unshrink.server.watch import JsonLines

GRACE = 20.0  # seconds for what is being done, once the service is told to stop
MOST_CONNECTIONS = 1000
HEADER_SECONDS = 10.0  # for the head of a request to arrive: whoever is slower would keep a connection from others
READER_SECONDS = 30  # for a client to take some more of its answer

said = logging.getLogger("unshrink")


class Connection(H11Protocol):
    """Ends when no whole head of a request comes, of which uvicorn has no limit."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """A client is there."""
        super().connection_made(transport)
        self._look(None)

    def _look(self, before: Any) -> None:
        """Looks whether it waits for the same request as the last time."""
        now = (self.cycle,) if self.conn.their_state is h11.IDLE else None
        if now is not None and now == before:
            self.transport.abort()
        elif not self.transport.is_closing():
            self.loop.call_later(HEADER_SECONDS, self._look, now)


class Server(uvicorn.Server):
    """Stops in two steps: for a while it finishes what it has and refuses what comes, then it is gone."""

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """The first signal begins the end, a second one is the end."""
        service: Service = self.config.app.state.service  # type: ignore[union-attr]
        if service.stopping.is_set():
            super().handle_exit(sig, frame)
            return
        self._captured_signals.append(sig)
        self._drained = asyncio.get_running_loop().create_task(self._drain(service))

    async def _drain(self, service: Service) -> None:
        await service.drain(GRACE)
        await asyncio.sleep(0.1)  # for the last answers to leave
        self.should_exit = True


def run(settings: Settings, host: str, port: int) -> None:
    """Serves until a signal ends it."""
    os.umask(0o077)  # nothing that the service writes is for others
    os.environ.setdefault("MALLOC_ARENA_MAX", "2")  # for the workers: fewer arenas keep less of what was freed
    log = logging.StreamHandler()
    log.setFormatter(JsonLines())
    for name in ("unshrink.server", "uvicorn"):
        logger = logging.getLogger(name)
        logger.handlers, logger.propagate = [log], False
    logging.getLogger("uvicorn").setLevel(logging.WARNING)
    config = uvicorn.Config(
        create_app(settings, host),
        http=Connection,
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,  # of which uvicorn would believe any from this machine
        limit_concurrency=MOST_CONNECTIONS,
        timeout_graceful_shutdown=5,
    )
    with listening(host, port) as here:
        place = f"http://{f'[{host}]' if ':' in host else host}:{here.getsockname()[1]}"
        said.info(f"the page is at {place}/, what programs can ask for at {place}/docs")
        Server(config).run(sockets=[here])


def listening(host: str, port: int) -> socket.socket:
    """A socket that takes connections.  Raises ConfigError if that is not possible there."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        here = socket.create_server((host, port), family=family, backlog=2048)
        if hasattr(socket, "TCP_USER_TIMEOUT"):  # Linux
            here.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, 1000 * READER_SECONDS)
        return here
    except OSError as fault:
        raise ConfigError(f"cannot listen at {host}, port {port}: {fault.strerror}; choose another `port`") from None
