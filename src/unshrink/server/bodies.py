"""The bodies of requests, as they arrive: pictures into memory, clips onto the disk."""

import asyncio
import os
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

from starlette.requests import ClientDisconnect, Request

from unshrink.pictures.formats import SIGNATURE_BYTES
from unshrink.server.refusal import Refusal

FIRST_SECONDS = 5.0  # in which nothing need come
LEAST_RATE = 16 << 10  # bytes a second, after that: 128 kbit/s
BODY_SECONDS = 30.0  # for the whole
CLIP_SECONDS = 600.0  # for the whole of a clip, which takes no memory meanwhile

Take = Callable[[int], bool]
"""Asks for room for so many more bytes, and is told whether there is some."""


@dataclass
class Memory:
    """A body in memory.

    Attributes:
        limit: most bytes.
        take: see `Take`.
        body: what has come.
        seconds: for the whole.
    """

    limit: int
    take: Take
    body: bytearray = field(default_factory=bytearray)
    seconds: float = BODY_SECONDS

    async def write(self, piece: bytes) -> None:
        """One more piece."""
        self.body += piece


@dataclass
class Disk:
    """A body in a file.

    Attributes:
        limit: most bytes.
        take: see `Take`.
        stream: of the file.
        seconds: for the whole.
    """

    limit: int
    take: Take
    stream: BinaryIO
    seconds: float = CLIP_SECONDS

    async def write(self, piece: bytes) -> None:
        """One more piece; whoever waits for the disk keeps nobody else waiting."""
        await asyncio.to_thread(self.stream.write, piece)

    async def settle(self) -> Path:
        """Waits until all of it is on the disk; says in which file."""

        def flush() -> None:
            self.stream.flush()
            os.fsync(self.stream.fileno())

        await asyncio.to_thread(flush)
        return Path(self.stream.name)


Judge = Callable[[bytes], Memory | Disk]
"""Says by the beginning of a body where it goes: it may be shorter than `SIGNATURE_BYTES` if the body is."""


async def read_body(request: Request, memory: Memory, judge: Judge, most: int) -> Memory | Disk:
    """Takes in the body of a request.

    Args:
        request: whose body has not been read.
        memory: where it begins.
        judge: says where it goes on.
        most: bytes of the largest body that is taken anywhere.

    Returns:
        Where it is.

    Raises:
        Refusal: it is a form, is too long, comes too slowly, or there is no room for it.
    """
    said = _said_size(request, most)
    clock = asyncio.get_running_loop()
    began, size, kept = clock.time(), 0, None
    try:
        async with asyncio.timeout(FIRST_SECONDS) as patience:
            async for piece in request.stream():
                size += len(piece)
                if kept and size > kept.limit:
                    raise _too_large(kept.limit)
                await _put(kept or memory, piece)
                if kept is None and size >= SIGNATURE_BYTES:
                    kept = await _moved(memory, judge, max(size, said))
                seconds = (kept or memory).seconds
                patience.reschedule(began + min(seconds, FIRST_SECONDS + size / LEAST_RATE))
            kept = kept or await _moved(memory, judge, size)
    except TimeoutError:
        raise Refusal(408, _slow(size, clock.time() - began, (kept or memory).seconds)) from None
    except ClientDisconnect:
        raise Refusal(499, "the client has gone") from None
    return kept


async def _moved(memory: Memory, judge: Judge, size: int) -> Memory | Disk:
    """Where a body of so many bytes at least goes, with what of it has come."""
    kept = judge(bytes(memory.body[:SIGNATURE_BYTES]))
    if size > kept.limit:
        raise _too_large(kept.limit)
    if kept is not memory:
        await _put(kept, bytes(memory.body))
    return kept


async def _put(kept: Memory | Disk, piece: bytes) -> None:
    if not kept.take(len(piece)):
        raise Refusal(429, "too many files arrive at once; try again in a moment")
    await kept.write(piece)


def _said_size(request: Request, most: int) -> int:
    """Bytes that are announced; 0 where none are.  Refuses forms, and what is too large everywhere."""
    if request.headers.get("content-type", "").lower().startswith("multipart/"):
        raise Refusal(
            415, "this is a form (multipart); send the picture itself as the body: curl --data-binary @photo.jpg"
        )
    size = int(request.headers.get("content-length", 0))
    if size > most:
        raise _too_large(most)
    return size


def _too_large(limit: int) -> Refusal:
    return Refusal(413, f"the body is larger than the limit of {limit:,} bytes")


def _slow(size: int, seconds: float, most: float) -> str:
    if seconds >= most:
        return f"the file did not arrive within {most:g} seconds"
    return f"the file arrives too slowly: {size:,} bytes in {seconds:.0f} seconds, at least {LEAST_RATE:,} a second"
