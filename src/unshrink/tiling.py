"""Large pictures through the network piece by piece, each with the surroundings that its result depends on.

Sizes are in pixels of the small picture; ``scale`` of them make one of the large picture.
"""

import math
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import pairwise, product
from typing import Any

import numpy as np
from numpy.typing import NDArray

Planes = NDArray[np.float32]
# Per pixel of the large picture, at the peak of a run: measured with OpenVINO, the hungriest backend
BYTES_PER_PIXEL = 1000
BYTES_PER_PIXEL_OF_GRADIENT = 11_000  # on the way back, it needs the features of all layers
LEAST_MEMORY = 4 << 30
RADIUS = 10  # of one coupling block at its own level: five 3x3 convolutions, twice one after the other


@dataclass(frozen=True)
class Tile:
    """One piece: ``core`` is kept, ``outer`` is run.  Each is (top, bottom, left, right)."""

    core: tuple[int, int, int, int]
    outer: tuple[int, int, int, int]


def halo(config: dict[str, Any]) -> int:
    """How far away a small pixel may be and still change a result: the network's receptive radius, rounded up."""
    levels = len(config["blocks"])
    return sum(-(-RADIUS * blocks // 2 ** (levels - 1 - level)) for level, blocks in enumerate(config["blocks"]))


def largest_side(height: int, width: int, scale: int, halo: int, bytes_per_pixel: int = BYTES_PER_PIXEL) -> int:
    """The largest core for which half of the machine's memory is enough: the whole picture, or a part of it."""
    area = max(machine_memory() // 2, LEAST_MEMORY) // bytes_per_pixel
    if height * width * scale**2 <= area:
        return max(height, width)
    return max(math.isqrt(area) // scale - 2 * halo, halo)  # smaller, and surroundings would be most of the work


def machine_memory() -> int:
    """Bytes of physical memory; 8 GiB where the system does not tell."""
    try:
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, ValueError, OSError):
        return 8 << 30


def tiles(height: int, width: int, side: int, halo: int) -> Iterator[Tile]:
    """Cuts (height, width) into cores of at most ``side``, each with ``halo`` around it as far as there is any."""
    for (top, bottom), (left, right) in product(_spans(height, side), _spans(width, side)):
        outer = max(top - halo, 0), min(bottom + halo, height), max(left - halo, 0), min(right + halo, width)
        yield Tile((top, bottom, left, right), outer)


def run_tiled(
    run: Callable[..., Planes], inputs: list[tuple[Planes, int]], out: tuple[int, int], side: int, halo: int
) -> Planes:
    """Runs a function of one or more pictures tile by tile.

    Args:
        run: (1, C, H, W) arrays of one tile -> (1, D, H', W') array.
        inputs: each a (C, H, W) array and how many of its pixels, along one side, make one small pixel.
        out: channels D of the result, and how many of its pixels make one small pixel.
        side: largest core.
        halo: surroundings on each side.

    Returns:
        (D, H', W'), the same as running the whole at once.
    """
    first, factor = inputs[0]
    height, width = first.shape[1] // factor, first.shape[2] // factor
    channels, zoom = out
    result = np.empty((channels, height * zoom, width * zoom), np.float32)
    for tile in tiles(height, width, side, halo):
        pieces = [np.ascontiguousarray(_cut(array, tile.outer, f))[None] for array, f in inputs]
        done = run(*pieces)[0]
        top, bottom, left, right = tile.core
        inside = top - tile.outer[0], bottom - tile.outer[0], left - tile.outer[2], right - tile.outer[2]
        _cut(result, tile.core, zoom)[...] = _cut(done, inside, zoom)
    return result


def _spans(length: int, side: int) -> list[tuple[int, int]]:
    pieces = -(-length // side)  # of nearly equal length, so that no sliver pays for a whole halo
    edges = [length * i // pieces for i in range(pieces + 1)]
    return list(pairwise(edges))


def _cut(array: Planes, box: tuple[int, int, int, int], factor: int) -> Planes:
    top, bottom, left, right = (edge * factor for edge in box)
    return array[:, top:bottom, left:right]
