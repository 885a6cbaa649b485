"""libvips, which reads 16 bits a channel where Pillow silently cuts them to 8, and reads row by row."""

import functools
from collections.abc import Iterator
from typing import Any, Protocol

import numpy as np

from unshrink.pictures.strips import Strips

_TYPES = {"uchar": np.uint8, "ushort": np.uint16}
_STRIP_BYTES = 1 << 20


class Source(Protocol):
    """What libvips needs of a file."""

    def read(self, size: int, /) -> bytes:
        """At most ``size`` bytes, b"" at the end."""

    def seek(self, offset: int, whence: int, /) -> int:
        """Moves to a place, and returns it."""


@functools.cache
def _pyvips() -> Any:
    """pyvips, with those loaders blocked, in the whole process, that libvips does not trust with hostile files.

    The content has called for a format that is trusted before; this is for what looks like one and is another.
    """
    import pyvips

    pyvips.block_untrusted_set(True)
    return pyvips


def header(stream: Source, **options: Any) -> Any:
    """The picture in a file as a `pyvips.Image`, not decoded yet; damage found later raises instead of turning grey.

    Args:
        stream: the file.
        options: of the loader that the content calls for.

    Raises:
        pyvips.Error: not a picture that libvips knows.
    """
    pyvips = _pyvips()

    def seek(offset: int, whence: int) -> int:
        try:
            return stream.seek(offset, whence)
        except (OSError, ValueError):  # before the beginning: only a damaged file leads there
            return -1

    source = pyvips.SourceCustom()
    source.on_read(stream.read)
    source.on_seek(seek)
    return pyvips.Image.new_from_source(source, "", access="sequential", fail_on="error", **options)


def strips(picture: Any) -> Strips:
    """The pixels of a `pyvips.Image`, decoded when they are asked for, in its own type.

    Asking raises pyvips.Error where the file is damaged or cut off.
    """
    shape, dtype = (picture.height, picture.width, picture.bands), np.dtype(_TYPES[picture.format])
    return Strips(shape, dtype, _strips(picture, shape, dtype))


def _strips(picture: Any, shape: tuple[int, int, int], dtype: "np.dtype[Any]") -> Iterator[np.ndarray]:
    height, width, channels = shape
    region = _pyvips().Region.new(picture)
    step = max(1, _STRIP_BYTES // (width * channels * dtype.itemsize))
    for top in range(0, height, step):
        lines = min(step, height - top)
        yield np.frombuffer(region.fetch(0, top, width, lines), dtype).reshape(lines, width, channels)
