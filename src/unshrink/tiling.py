"""Large pictures through the network piece by piece, each with the surroundings that its result depends on.

All pieces of a picture have one shape, so a runtime plans its memory once.  Sizes are in pixels of the small picture;
``scale`` of them, along one side, make one of the large picture.

Shapes:  pictures are (H, W, C).
"""

import os
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from unshrink.rows import Rows, Window, strips_of

# Per pixel of the large picture, at the peak of a run: measured with OpenVINO, the hungriest backend
BYTES_PER_PIXEL = 1000
BYTES_PER_PIXEL_OF_GRADIENT = 11_000  # on the way back, it needs the features of all layers
BYTES_PER_PIXEL_OF_STRIP = 16  # what is read and what is made, across the whole width: 16-bit colour, twice and more
LEAST_AREA = 1_000_000  # pixels of the large picture that are run at once wherever there is memory for it
HALOS = 8  # side of a piece, in halos, from which on more memory hardly saves work: its core is 6 wide
LEAST_HALOS = 3  # smaller, and surroundings would be nearly all the work
LEAST_SIDE = 32
RADIUS = 10  # of one coupling block at its own level: five 3x3 convolutions, twice one after the other
_MEMINFO, _CGROUP = Path("/proc/meminfo"), Path("/sys/fs/cgroup")
_REFUSED = re.compile(r"bad[_ ]alloc|out of memory|not enough memory|(can ?not|can't|failed to) allocate", re.I)

sharers = 1  # processes that work side by side, this one among them: each may take its share of the free memory


@dataclass(frozen=True)
class Span:
    """A piece along one side: ``core`` is kept, ``outer`` is run.  Each is (start, stop)."""

    core: tuple[int, int]
    outer: tuple[int, int]


def halo(config: dict[str, Any]) -> int:
    """How far away a small pixel may be and still change a result: the network's receptive radius, rounded up."""
    levels = len(config["blocks"])
    return sum(-(-RADIUS * blocks // 2 ** (levels - 1 - level)) for level, blocks in enumerate(config["blocks"]))


def free_memory() -> int:
    """Bytes that this process may still take, of the machine or of its control group; 8 GiB where nothing is told."""
    found = [8 << 30]
    if match := re.search(r"MemAvailable:\s*(\d+) kB", _text(_MEMINFO)):
        found = [int(match[1]) << 10]
    elif hasattr(os, "sysconf") and "SC_PHYS_PAGES" in os.sysconf_names:
        found = [os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")]
    limit, used = _text(_CGROUP / "memory.max").strip(), _text(_CGROUP / "memory.current").strip()
    if limit.isdecimal() and used.isdecimal():
        found.append(int(limit) - int(used))
    return max(min(found), 0) // sharers


def is_out_of_memory(error: Exception) -> bool:
    """Whether that is what numpy or a runtime, each with its own type and words, means."""
    return isinstance(error, MemoryError) or bool(_REFUSED.search(str(error)))


def counts(
    size: tuple[int, int], scale: int, halo: int, memory: int, bytes_per_pixel: int = BYTES_PER_PIXEL
) -> tuple[int, int]:
    """Into how many pieces to cut a picture, down and across: of what fits into the memory, the least work.

    Args:
        size: (height, width).
        scale: of the network.
        halo: surroundings on each side.
        memory: bytes for one piece and for the strip of the picture across its whole width.
        bytes_per_pixel: what a run takes.
    """
    height, width = size
    least = max(LEAST_HALOS * halo, LEAST_SIDE)
    most = max(LEAST_AREA // scale**2, (HALOS * halo) ** 2)
    found = []
    for down in range(1, count(height, least, halo) + 1):
        tall = outer_length(height, down, halo)
        left = memory // scale**2 - BYTES_PER_PIXEL_OF_STRIP * tall * width
        wide = min(left // bytes_per_pixel, most) // tall
        if wide >= min(width, least):
            across = count(width, wide, halo)
            found.append((down * tall * across * outer_length(width, across, halo), down, across))
    return min(found)[1:] if found else (count(height, least, halo), count(width, least, halo))


def count(length: int, most: int, halo: int) -> int:
    """The fewest pieces of at most ``most``, surroundings included, that cover a side.  most > 2 halo."""
    return 1 if length <= most else -(-(length - 2 * halo) // (most - 2 * halo))


def outer_length(length: int, pieces: int, halo: int) -> int:
    """How long each of the pieces of a side is, surroundings included."""
    return -(-(length + 2 * halo * (pieces - 1)) // pieces)


def spans(length: int, pieces: int, halo: int) -> list[Span]:
    """Cuts a side into pieces of one length; each core has ``halo`` around it, or ends where the picture does."""
    outer = outer_length(length, pieces, halo)
    result, done = [], 0
    for index in range(pieces):
        start = min(index * (outer - 2 * halo), length - outer)
        end = length if index == pieces - 1 else start + outer - halo
        result.append(Span((done, end), (start, start + outer)))
        done = end
    return result


def run_tiled(
    run: Callable[..., np.ndarray],
    inputs: Sequence[tuple[np.ndarray | Rows, int]],
    zoom: int,
    rows: list[Span],
    cols: list[Span],
) -> Iterator[np.ndarray]:
    """Runs a function of one or more pictures piece by piece.

    Args:
        run: what makes a picture of one piece of each.
        inputs: each a picture and how many of its pixels, along one side, make one small pixel.
        zoom: how many pixels of the result make one small pixel.
        rows: the pieces from the top down.
        cols: the pieces from left to right.

    Yields:
        The strips of the result, together the same as running the whole at once.
    """
    windows = [Window(strips_of(picture)) for picture, _ in inputs]
    for row in rows:
        bands = [window.rows(*_times(row.outer, f)) for window, (_, f) in zip(windows, inputs, strict=True)]
        done = []
        for col in cols:
            result = run(*(band[:, slice(*_times(col.outer, f))] for band, (_, f) in zip(bands, inputs, strict=True)))
            done.append(result[_inside(row, zoom), _inside(col, zoom)])
        yield np.concatenate(done, axis=1)


def _inside(span: Span, zoom: int) -> slice:
    """Where the core is in the piece."""
    return slice(*_times((span.core[0] - span.outer[0], span.core[1] - span.outer[0]), zoom))


def _times(edges: tuple[int, int], factor: int) -> tuple[int, int]:
    return edges[0] * factor, edges[1] * factor


def _text(path: Path) -> str:
    try:
        return path.read_text()
    except OSError:
        return ""
