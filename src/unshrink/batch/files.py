"""The file of one picture, or the stream that stands for it: what is read, and what is written to."""

import io
import logging
import os
import sys
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from unshrink.batch.items import STANDARD, is_pipe, is_stream
from unshrink.errors import ImageError
from unshrink.files import atomic_write
from unshrink.pictures import io as images
from unshrink.pictures.image import Image, PassingImage

logger = logging.getLogger("unshrink")


@dataclass(frozen=True)
class Source:
    """A picture that was read.

    Attributes:
        name: what messages call it.
        image: the picture.
        bytes: of its file.
    """

    name: str
    image: Image | PassingImage
    bytes: int


def opened(source: str, target: str, overwrite: bool) -> AbstractContextManager[BinaryIO]:
    """What to write to; a file is opened before the work, so that a place that cannot be written is found out first.

    Args:
        source: what the picture is made from: who cannot read it cannot read a new file either.
        target: a file, or what `is_stream`.
        overwrite: replace an existing file.
    """
    if is_stream(target):
        return _streamed(target)
    return atomic_write(target, overwrite, error=ImageError, origin=None if is_stream(source) else source)


@contextmanager
def _streamed(target: str) -> Iterator[BinaryIO]:
    """Memory, which goes to a stream when all is done: encoders seek in what they write, and it begins anywhere."""
    memory = io.BytesIO()
    yield memory
    try:
        with nullcontext(sys.stdout.buffer) if target == STANDARD else open(target, "wb") as stream:
            stream.write(memory.getbuffer())
            stream.flush()
    except BrokenPipeError:
        raise
    except OSError as error:
        name = "standard output" if target == STANDARD else target
        raise ImageError(f"cannot write to {name}: {error.strerror}") from error


def contents(name: str) -> str | bytes:
    """What a picture is read from: the name of its file, or all that comes through a pipe.

    Raises:
        ImageError: nothing comes.
    """
    try:
        if name == STANDARD:
            return sys.stdin.buffer.read()
        return Path(name).read_bytes() if is_pipe(name) else name
    except OSError as error:
        source = "standard input" if name == STANDARD else name
        raise ImageError(f"cannot read {source}: {error.strerror}") from error


def read(name: str, max_pixels: int | None) -> Source:
    """A picture that passes by; what had to be converted is said."""
    file = contents(name)
    image = images.scan(file, max_pixels=max_pixels or images.MAX_PIXELS)
    for note in image.notes:
        logger.info(f"{name}: {note}")
    return Source(name, image, len(file) if isinstance(file, bytes) else os.path.getsize(file))
