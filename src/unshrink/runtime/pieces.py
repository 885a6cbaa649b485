"""Stages of a network over pictures of any size: cut into pieces that fit the memory, run, and joined to strips again.

A stage takes rows as they come, runs them piece by piece, and gives its own rows to the next.  Where the memory is not
enough after all, pieces become smaller, and stay so.

Shapes:  pictures are (H, W, C), whole or `Strips`; what a stage runs are planes (1, C, H, W) float32.
"""

import sys
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from unshrink.errors import UnshrinkError, UnshrinkWarning
from unshrink.pictures.strips import Strips
from unshrink.runtime import tiling
from unshrink.runtime.memory import free_memory, is_out_of_memory

BYTES_AT_ONCE = 320 << 20  # for a piece of a stage and its strip: more of it saves little work

Pixels = NDArray[Any]
Planes = NDArray[np.float32]
Shape = tuple[int, int]  # height, width
Passed = Callable[[float], object]  # is told how many more pixels of a stage are done


@dataclass(frozen=True)
class Stage:
    """What is done with planes, piece by piece; the pixels in which pieces are cut are those of its coarser side.

    Attributes:
        run: planes (1, C, H, W) of each input -> planes.
        scale: how many pixels of the large picture, along a side, make one of its pixels.
        shrinks: how many pixels of each input make one.
        grows: how many pixels of the result make one.
        reach: how many pixels around a piece its result depends on, an even number: the halo of each piece.
        bytes_per_pixel: memory that a run takes for each pixel.
        bytes_per_pixel_of_strip: and for each of a strip across the whole width: what comes in, is made, and is joined.
        bytes_at_once: that a piece and its strip may take.
    """

    run: Callable[..., Planes]
    scale: int
    shrinks: tuple[int, ...]
    grows: int
    reach: int
    bytes_per_pixel: int
    bytes_per_pixel_of_strip: int = 0
    bytes_at_once: int = BYTES_AT_ONCE


class Pieces:
    """Runs stages piece by piece.

    Args:
        tile: longest side, in pixels of the large picture, of a piece; 0 for what the memory allows.
    """

    def __init__(self, tile: int = 0) -> None:
        self._tile = tile
        self._most_memory = sys.maxsize  # until a runtime says that there is less

    def strips(
        self, stage: Stage, pictures: Sequence[Pixels | Strips], size: Shape, passed: Passed
    ) -> Iterator[Pixels]:
        """The result of a stage, strip by strip from the top down.

        Args:
            stage: what to run.
            pictures: its inputs.
            size: of the result, in the stage's pixels.
            passed: is told the pixels of each strip.
        """
        down, across = self._counts(stage, size)
        most, cols = tiling.outer_length(size[0], down, stage.reach), tiling.spans(size[1], across, stage.reach)
        inputs = list(zip(pictures, stage.shrinks, strict=True))
        run = lambda *pieces: self._run(stage, pieces)

        def told(strip: Pixels) -> Pixels:
            passed(len(strip) // stage.grows * size[1])
            return strip

        # A loop with a yield would hold each strip while the stages after this one work on it.
        return map(told, tiling.run_tiled(run, inputs, stage.grows, size[0], most, stage.reach, cols))

    def _counts(self, stage: Stage, size: Shape) -> tuple[int, int]:
        """Into how many pieces to cut pictures, down and across."""
        if self._tile:
            height, width = (tiling.count(side, self._tile // stage.scale, stage.reach) for side in size)
            return height, width
        memory = min(free_memory() // 2, self._most_memory, stage.bytes_at_once)
        return tiling.counts(size, stage.reach, memory, stage.bytes_per_pixel, stage.bytes_per_pixel_of_strip)

    def _run(self, stage: Stage, pieces: Sequence[Pixels]) -> Pixels:
        """The result of one piece; where the memory is not enough, of smaller ones, and from then on only such."""
        height, width = (side // stage.shrinks[0] for side in pieces[0].shape[:2])
        memory = stage.bytes_per_pixel * height * width
        if memory <= self._most_memory or self._counts(stage, (height, width)) == (1, 1):
            try:
                return as_values(stage.run(*(to_planes(piece)[None] for piece in pieces))[0])
            except Exception as error:
                if not is_out_of_memory(error):
                    raise
                self._lower(memory // 2, error)
        if self._counts(stage, (height, width)) == (1, 1):
            raise UnshrinkError("there is not enough memory for the smallest piece: close other programs")
        return np.concatenate(list(self.strips(stage, pieces, (height, width), lambda pixels: None)))

    def _lower(self, memory: int, error: Exception) -> None:
        """From now on, pieces take no more memory than this."""
        if self._tile:
            raise UnshrinkError(
                f"there is not enough memory for tiles of {self._tile}: choose smaller ones, or 0 for what fits"
            ) from error
        if self._most_memory == sys.maxsize:
            warnings.warn("not enough memory: going on with smaller tiles, slower", UnshrinkWarning, stacklevel=2)
        self._most_memory = memory


def to_planes(pixels: Pixels) -> Planes:
    """(H, W, C) -> (C, H, W) float32, rows contiguous; of integers in [0, 1], and grey is repeated to three."""
    planes = pixels.transpose(2, 0, 1)
    if planes.dtype != np.float32:
        planes = planes.astype(np.float32, order="C") / np.float32(np.iinfo(planes.dtype).max)
        planes = np.broadcast_to(planes, (3, *planes.shape[1:]))
    return planes if planes.strides[2] == planes.itemsize else np.ascontiguousarray(planes)


def to_pixels(planes: Planes, channels: int, depth: int) -> Pixels:
    """(3, H, W) -> (H, W, channels) integers of ``depth`` bits; grey is the mean of the three."""
    if channels == 1:
        planes = planes.mean(axis=0, keepdims=True)
    top = 2**depth - 1
    integers = np.rint(planes.clip(0, 1) * np.float32(top)).astype(np.uint8 if depth == 8 else np.uint16)
    return np.ascontiguousarray(integers.transpose(1, 2, 0))


def as_values(planes: Planes) -> Pixels:
    """(C, H, W) -> (H, W, C), the values as they are."""
    return planes.transpose(1, 2, 0)
