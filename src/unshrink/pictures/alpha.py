"""Transparency: what the network may not touch stays exact.

An alpha plane goes through the network as a grey picture.  Blocks of the large picture that are wholly opaque or
wholly transparent are then pinned: the small alpha says so with its two extreme values, which nothing else may use,
and restoring reads it back.  Colours under full transparency are invisible and not kept.

Shapes:  colour (H, W, 1 or 3), alpha (H, W, 1), small alpha (h, w, 1); integers of one depth.  Blocks are how many
pixels of the large picture lie under one of the small one, (down, across): the scale, or for other ratios H/h and W/w.
"""

from fractions import Fraction

import numpy as np
from numpy.typing import NDArray

Pixels = NDArray[np.unsignedinteger]
Blocks = tuple[Fraction, Fraction]


def spread(colour: Pixels, alpha: Pixels) -> Pixels:
    """Colours with those under full transparency replaced by the visible ones nearby.

    Otherwise hidden colours, often black, would leak into the edges of the small picture.
    """
    hidden = alpha == 0
    if not hidden.any() or hidden.all():
        return colour
    weight = (~hidden).astype(np.float32)
    filled = _fill(colour.astype(np.float32) * weight, weight)
    return np.where(hidden, np.rint(filled), colour).astype(colour.dtype)


def pin_small(small: Pixels, alpha: Pixels, blocks: Blocks) -> Pixels:
    """The small alpha with its extremes exactly where the whole block under it is extreme."""
    top = np.iinfo(small.dtype).max
    lowest, highest = _block_extremes(alpha, small.shape, blocks)
    mixed = np.clip(small, 1, top - 1)
    return np.where(lowest == top, top, np.where(highest == 0, 0, mixed)).astype(small.dtype)


def pin_restored(restored: Pixels, small: Pixels, blocks: Blocks) -> Pixels:
    """The restored alpha opaque or transparent wherever the small alpha is extreme over the whole of a pixel."""
    lowest = highest = small
    for axis, block in enumerate(blocks):
        first, last = _over(np.arange(restored.shape[axis]), block)
        lowest = np.minimum(lowest.take(first, axis), lowest.take(last, axis))
        highest = np.maximum(highest.take(first, axis), highest.take(last, axis))
    top, full = np.iinfo(small.dtype).max, np.iinfo(restored.dtype).max
    return np.where(lowest == top, full, np.where(highest == 0, 0, restored)).astype(restored.dtype)


def _block_extremes(alpha: Pixels, small: tuple[int, ...], blocks: Blocks) -> tuple[Pixels, Pixels]:
    """The lowest and the highest of the large pixels that lie under each of the small ones, be it in part."""
    lowest = highest = alpha
    for axis, block in enumerate(blocks):
        first, last = _under(np.arange(small[axis]), block, alpha.shape[axis])
        # A pixel beyond the end, so that a block may end there; from each block's end to the next start is left out
        edges, apart = np.stack((first, last + 1), axis=1).ravel(), (slice(None),) * axis + (slice(None, None, 2),)
        lowest, highest = (np.concatenate((one, one.take([-1], axis)), axis) for one in (lowest, highest))
        lowest = np.minimum.reduceat(lowest, edges, axis)[apart]
        highest = np.maximum.reduceat(highest, edges, axis)[apart]
    return lowest, highest


def _under(places: NDArray[np.intp], block: Fraction, end: int) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """The first and the last large pixel under each of some small ones; there are ``end``."""
    up, down = block.numerator, block.denominator
    return places * up // down, np.minimum(-(-(places + 1) * up // down), end) - 1


def _over(places: NDArray[np.intp], block: Fraction) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """The first and the last small pixel over each of some large ones: two at most, since a block is no smaller."""
    up, down = block.numerator, block.denominator
    return places * down // up, ((places + 1) * down - 1) // up


def _fill(colour: NDArray[np.float32], weight: NDArray[np.float32]) -> NDArray[np.float32]:
    """Colours, each weighted by 0 or more, averaged at half the size until there is no gap, then handed back down."""
    if weight.min() > 0 or max(weight.shape) == 1:
        return np.asarray(colour / np.maximum(weight, 1e-6), np.float32)
    height, width = weight.shape[:2]
    coarse = _fill(_halve(colour), _halve(weight)).repeat(2, axis=0).repeat(2, axis=1)[:height, :width]
    return np.asarray(np.where(weight > 0, colour / np.maximum(weight, 1e-6), coarse), np.float32)


def _halve(image: NDArray[np.float32]) -> NDArray[np.float32]:
    padded = np.pad(image, ((0, image.shape[0] % 2), (0, image.shape[1] % 2), (0, 0)), mode="edge")
    return np.asarray(padded[0::2, 0::2] + padded[1::2, 0::2] + padded[0::2, 1::2] + padded[1::2, 1::2])
