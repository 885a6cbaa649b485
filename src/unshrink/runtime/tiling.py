"""Large pictures through the network piece by piece, each with the surroundings that its result depends on.

Pieces side by side have one shape, and most strips too, so a runtime plans its memory once.  Each begins at an even
row, since a kernel may compute rows in pairs and round the two of a pair differently.

Shapes:  pictures are (H, W, C).
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from unshrink.pictures.strips import Strips, Window, strips_of

LEAST_SIDE = 32
LEAST_HALOS = 3  # smaller, and surroundings would be nearly all the work
JOINING = 1.1  # of the work, where pieces side by side are joined to strips: with the fastest backend


@dataclass(frozen=True)
class Span:
    """A piece along one side: ``core`` is kept, ``outer`` is run.  Each is (start, stop)."""

    core: tuple[int, int]
    outer: tuple[int, int]


def counts(
    size: tuple[int, int], halo: int, memory: int, bytes_per_pixel: int, bytes_per_pixel_of_strip: int = 0
) -> tuple[int, int]:
    """Into how many pieces to cut a picture, down and across: of what fits into the memory, the least work.

    Args:
        size: (height, width).
        halo: surroundings on each side.
        memory: bytes for one piece and for the strip of the picture across its whole width.
        bytes_per_pixel: what a run takes.
        bytes_per_pixel_of_strip: what the strip takes.
    """
    height, width = size
    least = max(LEAST_HALOS * halo, LEAST_SIDE)
    found = []
    for down in range(1, count(height, least, halo) + 1):
        tall = outer_length(height, down, halo)
        wide = (memory - bytes_per_pixel_of_strip * tall * width) // (bytes_per_pixel * tall)
        if wide >= min(width, least):
            across = count(width, wide, halo)
            work = down * tall * across * outer_length(width, across, halo)
            found.append((work * (JOINING if across > 1 else 1), down, across))
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
    inputs: Sequence[tuple[np.ndarray | Strips, int]],
    zoom: int,
    height: int,
    most: int,
    halo: int,
    cols: list[Span],
) -> Iterator[np.ndarray]:
    """Runs a function of one or more pictures piece by piece.

    Args:
        run: what makes a picture of one piece of each.
        inputs: each a picture and how many of its pixels, along one side, make one of those in which pieces are cut.
        zoom: how many pixels of the result make one of them.
        height: of the result, in these pixels.
        most: rows that are run at once, surroundings included; more than 2 halo + 1, or the height.
        halo: surroundings on each side; even.
        cols: the pieces from left to right.

    Yields:
        The strips of the result, together the same as running the whole at once.
    """
    windows = [Window(strips_of(picture)) for picture, _ in inputs]
    factors = [factor for _, factor in inputs]
    done = 0
    while done < height:
        row = _next_rows(windows, factors, done, height, most, halo)
        done = row.core[1]
        # Nothing of a strip may be held here while others work on it: it is made in a function of its own.
        yield _strip(run, windows, factors, zoom, row, max(done - halo, 0), cols)


def _next_rows(windows: list[Window], factors: list[int], done: int, height: int, most: int, halo: int) -> Span:
    """The rows to run next, after those that are ``done``.

    What comes is passed on, be it fewer rows than ``most``: so a run holds its surroundings and no more while those
    before it work.  Where several rows become one, as many are waited for as can be run at once.
    """
    start = max(done - halo, 0)
    wait = max(factors) > 1
    while True:
        there = min(window.bottom // factor for window, factor in zip(windows, factors, strict=True))
        pieces = count(there - start, most, halo)
        stop = min(there, start + most) if wait else start + outer_length(there - start, pieces, halo)
        end = height if stop == height else (stop - halo) // 2 * 2
        if end > done and (not wait or stop in (start + most, height)):
            return Span((done, end), (start, stop))
        for window, factor in zip(windows, factors, strict=True):
            if window.bottom // factor == there:
                window.pull()


def _strip(
    run: Callable[..., np.ndarray],
    windows: list[Window],
    factors: list[int],
    zoom: int,
    row: Span,
    keep: int,
    cols: list[Span],
) -> np.ndarray:
    bands = [window.rows(*_times(row.outer, f), keep * f) for window, f in zip(windows, factors, strict=True)]
    done = []
    for col in cols:
        result = run(*(band[:, slice(*_times(col.outer, f))] for band, f in zip(bands, factors, strict=True)))
        done.append(result[_inside(row, zoom), _inside(col, zoom)])
    return np.concatenate(done, axis=1) if len(done) > 1 else done[0]


def _inside(span: Span, zoom: int) -> slice:
    """Where the core is in the piece."""
    return slice(*_times((span.core[0] - span.outer[0], span.core[1] - span.outer[0]), zoom))


def _times(edges: tuple[int, int], factor: int) -> tuple[int, int]:
    return edges[0] * factor, edges[1] * factor
