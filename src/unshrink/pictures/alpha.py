"""Transparency: what the network may not touch stays exact.

An alpha plane goes through the network as a grey picture.  Blocks of the large picture that are wholly opaque or
wholly transparent are then pinned: the small alpha says so with its two extreme values, which nothing else may use,
and restoring reads it back.  Colours under full transparency are invisible and not kept.

Shapes:  colour (H, W, 1 or 3), alpha (H, W, 1), small alpha (ceil(H/s), ceil(W/s), 1); integers of one depth.
"""

import numpy as np
from numpy.typing import NDArray

Pixels = NDArray[np.unsignedinteger]


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


def pin_small(small: Pixels, alpha: Pixels, scale: int) -> Pixels:
    """The small alpha with its extremes exactly where the whole block under it is extreme."""
    top = np.iinfo(small.dtype).max
    lowest, highest = _block_extremes(alpha, scale)
    mixed = np.clip(small, 1, top - 1)
    return np.where(lowest == top, top, np.where(highest == 0, 0, mixed)).astype(small.dtype)


def pin_restored(restored: Pixels, small: Pixels, scale: int) -> Pixels:
    """The restored alpha with whole blocks opaque or transparent where the small alpha is extreme."""
    height, width = restored.shape[:2]
    block = small.repeat(scale, axis=0).repeat(scale, axis=1)[:height, :width]
    top, full = np.iinfo(small.dtype).max, np.iinfo(restored.dtype).max
    return np.where(block == top, full, np.where(block == 0, 0, restored)).astype(restored.dtype)


def _block_extremes(alpha: Pixels, scale: int) -> tuple[Pixels, Pixels]:
    height, width = alpha.shape[:2]
    padded = np.pad(alpha, ((0, -height % scale), (0, -width % scale), (0, 0)), mode="edge")
    blocks = padded.reshape(padded.shape[0] // scale, scale, padded.shape[1] // scale, scale, 1)
    return blocks.min(axis=(1, 3)), blocks.max(axis=(1, 3))


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
