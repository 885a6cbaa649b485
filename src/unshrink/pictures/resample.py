"""Enlarging that can be undone: a windowed sinc, and the inverse of what it does, in strips.

A network makes a picture smaller by a whole number, so for any other ratio the picture is enlarged to a multiple first
and what comes back is reduced.  Reducing with an ordinary kernel would blur once more; the regularised least squares of
the enlargement give back what was enlarged, and average out what the network adds beside it.  Along each side
separately, every row a sum of rows in one fixed order: whatever the strips are, the values are the same to the bit.

Shapes:  pictures are (H, W, C): integers, or float32 in [0, 1].
"""

from functools import lru_cache, partial
from math import ceil
from typing import Any

import numpy as np
from numpy.typing import NDArray

from unshrink.pictures.resize import mirror
from unshrink.pictures.strips import Strips, Window, strips_of

Pixels = NDArray[Any]
Values = NDArray[np.float32]
Taps = tuple[NDArray[np.intp], Values]  # (new, taps) each: where in the old row, and the weights

LOBES = 5  # of the sinc, on each side: with 3, half a decibel less comes back at x1.5
REACH = 14  # pixels around one that its least squares take in: with 10, a smooth picture is off by half a level
DAMPING = 0.1  # of the least squares: where an enlargement tells little, what is added would be made large
NOTHING = 1e-4  # weights that are left out
STRIP_BYTES = 16 << 20  # of a strip that is made at once
_ROWS_AT_ONCE = 512  # of the small matrices that are solved


def resampled(pixels: Pixels | Strips, size: tuple[int, int]) -> Strips:
    """Enlarges sides that are to be longer; where sides are to be shorter, undoes that.

    Args:
        pixels: (H, W, C), of which no more is held than a strip needs.
        size: the new (height, width).

    Returns:
        (h, w, C) float32, for integers of the range [0, 1]; neither rounded nor clipped.
    """
    height, width, channels = pixels.shape
    down, across = taps(height, size[0]), taps(width, size[1])
    window, rows = Window(strips_of(pixels)), max(1, STRIP_BYTES // (4 * channels * max(width, size[1])))
    needed = np.minimum.accumulate(down[0].min(axis=1)[::-1])[::-1]  # the first row that this one or a later one takes
    # Not a loop with a yield, which would hold each strip while others work on it
    strips = map(partial(_strip, window, down, across, needed, rows), range(0, size[0], rows))
    return Strips((*size, channels), np.float32, strips)


def _strip(window: Window, down: Taps, across: Taps, needed: NDArray[np.intp], rows: int, top: int) -> Values:
    """(rows, w, C): those from ``top`` on."""
    index, weights = down[0][top : top + rows], down[1][top : top + rows]
    first, last = int(index.min()), int(index.max()) + 1
    keep = int(needed[top + rows]) if top + rows < len(needed) else last
    held = _values(window.rows(first, last, min(keep, last)))
    tall = _sums(held, (index - first, weights))
    return np.ascontiguousarray(_sums(tall.transpose(1, 0, 2), across).transpose(1, 0, 2))


def _values(pixels: Pixels) -> Values:
    values = pixels.astype(np.float32, copy=False)
    return values if pixels.dtype == np.float32 else values / np.float32(np.iinfo(pixels.dtype).max)


def _sums(values: Values, along: Taps) -> Values:
    """(old, ...) -> (new, ...): weighted sums of rows.

    A row at a time stays in the cache, and sums in this order alone, which a matrix product does not promise.
    """
    index, weights = along
    rows = np.ascontiguousarray(values).reshape(len(values), -1)
    sums, part = np.zeros((len(index), rows.shape[1]), np.float32), np.empty(rows.shape[1], np.float32)
    for total, places, shares in zip(sums, index, weights, strict=True):
        for place, share in zip(places.tolist(), shares, strict=True):
            if share:
                np.multiply(rows[place], share, out=part)
                total += part
    return sums.reshape(len(index), *values.shape[1:])


@lru_cache(maxsize=16)
def taps(old: int, new: int) -> Taps:
    """For each of ``new`` places, the taps' places in the old row and their weights; they sum to one."""
    if new == old:
        return np.arange(old)[:, None], np.ones((old, 1), np.float32)
    if new > old:
        centre = _centres(np.arange(new), old / new)
        index = np.floor(centre).astype(np.intp)[:, None] + np.arange(1 - LOBES, LOBES + 1)
        weights = sinc(centre[:, None] - index)
        return _finished(index, weights, old)
    parts = [
        _undoing(np.arange(start, min(start + _ROWS_AT_ONCE, new)), old / new) for start in range(0, new, _ROWS_AT_ONCE)
    ]
    index, weights = (np.concatenate(each) for each in zip(*parts, strict=True))
    return _finished(index, weights, old)


def _undoing(places: NDArray[np.intp], ratio: float) -> tuple[NDArray[np.intp], NDArray[np.float64]]:
    """Taps of the damped least squares of an enlargement by ``ratio``, for some places of what was enlarged.

    Each place is solved for with its surroundings, on a row without ends: that of the mirrored picture.
    """
    around = places[:, None] + np.arange(-REACH - LOBES, REACH + LOBES + 1)
    first = np.ceil((places - REACH + 0.5) * ratio - 0.5).astype(np.intp)
    index = first[:, None] + np.arange(ceil(2 * REACH * ratio))
    centre = _centres(index, 1 / ratio)
    neighbours = np.floor(centre).astype(np.intp)[..., None] + np.arange(1 - LOBES, LOBES + 1)
    total = sinc(centre[..., None] - neighbours).sum(axis=-1)
    enlarged = sinc(centre[:, :, None] - around[:, None, :]) / total[..., None]
    wanted = np.eye(around.shape[1])[:, [REACH + LOBES]]
    squares = enlarged.transpose(0, 2, 1) @ enlarged + DAMPING * np.eye(len(wanted))
    solved = np.linalg.solve(squares, np.broadcast_to(wanted, (len(places), *wanted.shape)))
    return index, (enlarged @ solved)[..., 0]


def _finished(index: NDArray[np.intp], weights: NDArray[np.float64], old: int) -> Taps:
    """Taps of the mirrored row, without those that say nothing."""
    weights = np.where(np.abs(weights) < NOTHING, 0, weights)
    weights /= weights.sum(axis=1, keepdims=True)
    used = np.any(weights != 0, axis=0)
    return mirror(index[:, used], old), weights[:, used].astype(np.float32)


def _centres(places: NDArray[np.intp], step: float) -> NDArray[np.float64]:
    return np.asarray((places + 0.5) * step - 0.5)


def sinc(x: NDArray[np.float64]) -> NDArray[np.float64]:
    """Sinc windowed by the main lobe of a wider one.  Reference: Duchon, J. Appl. Meteorology 18, 1979."""
    return np.where(np.abs(x) < LOBES, np.sinc(x) * np.sinc(x / LOBES), 0.0)
