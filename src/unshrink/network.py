"""A network on pictures of any size: pads them, runs them piece by piece as the memory allows, and joins the results.

Shapes:  H, W the large picture, h, w the small one, s the scale.  Pictures are (H, W, C): integers, or float32 in
[0, 1], whole or `Rows`; what a backend runs are planes (C, H, W) float32 in [0, 1], grey as three equal ones.
"""

import itertools
import sys
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from unshrink import backends, refine, tiling
from unshrink import weights as zoo
from unshrink.errors import ConfigError, UnshrinkError, UnshrinkWarning
from unshrink.rows import Rows, strips_of

Pixels = NDArray[Any]
Planes = NDArray[np.float32]
Size = tuple[int, int]  # height, width
Inputs = Sequence[tuple[Any, int]]  # pictures, and how many of their pixels along a side make one small pixel
Finish = Callable[[Planes], Pixels]
Progress = Callable[[float], object]


@dataclass(frozen=True)
class _Run:
    """What a backend does with planes, and what is made of its result.

    Attributes:
        run: planes with a batch of one -> the same.
        zoom: how many pixels of the result, along a side, make one small pixel.
        finish: planes -> picture.
        halo: small pixels around a piece that its result depends on.
        bytes_per_pixel: memory that it takes for each pixel of the large picture.
    """

    run: Callable[..., Planes]
    zoom: int
    finish: Finish
    halo: int
    bytes_per_pixel: int = tiling.BYTES_PER_PIXEL


class Network:
    """Weights on a backend.

    Args:
        weights: the trained network.
        backend: what runs it.
        tile: longest side, in pixels of the large picture, of what is run at once; 0 to choose by the free memory.

    Raises:
        ConfigError: a tile in which nothing would be left beside the overlap.
    """

    def __init__(self, weights: zoo.Weights, backend: backends.Backend, tile: int = 0) -> None:
        self.weights, self.backend, self.tile = weights, backend, tile
        self.scale, self.halo = weights.scale, tiling.halo(weights.config)
        self._most_memory = sys.maxsize  # until a runtime says that there is less
        least = (2 * self.halo + 1) * self.scale
        if tile and tile < least:
            raise ConfigError(f"tile is {tile}: {weights.name} needs {least} or more, or 0 to choose by the memory")

    def down(self, hr: Pixels | Rows, finish: Finish, progress: Progress) -> Rows:
        """hr (H, W, 1 or 3) -> (h, w, ...): what ``finish`` makes of planes that are neither clipped nor rounded."""
        height, width, channels = hr.shape
        small = -(-height // self.scale), -(-width // self.scale)
        padded = Rows((small[0] * self.scale, small[1] * self.scale, channels), hr.dtype, padded_strips(hr, self.scale))
        run = _Run(self.backend.down, 1, finish, self.halo)
        return _rows(self._strips(run, [(padded, self.scale)], progress), small)

    def up(self, lr: Pixels, size: Size, seed: int, finish: Finish, progress: Progress) -> Rows:
        """lr (h, w, 1 or 3) -> (H, W, ...) of the given size, made by ``finish`` likewise."""
        inputs: list[tuple[Any, int]] = [(lr, 1)]
        if self.weights.latent == "zero":
            run = _Run(self._up_from_zero, self.scale, finish, self.halo)
        else:  # the draw is one for the whole picture
            inputs.append((self._latent(lr.shape[:2], seed).transpose(1, 2, 0), 1))
            run = _Run(self.backend.up, self.scale, finish, self.halo)
        return _rows(_cropped(self._strips(run, inputs, progress), size), size)

    def gradient(self, lr: Planes, hr: Planes) -> Planes:
        """lr (3, h, w), hr (3, sh, sw) -> half the gradient by lr of the squared error of what comes back (3, h, w)."""
        z = self._latent(lr.shape[1:], 0)
        pictures = [planes.transpose(1, 2, 0) for planes in (lr, z, hr)]
        inputs = list(zip(pictures, (1, 1, self.scale), strict=True))
        run = _Run(self.backend.gradient, 1, as_values, refine.HALO, tiling.BYTES_PER_PIXEL_OF_GRADIENT)
        return to_planes(np.concatenate(list(self._strips(run, inputs, lambda share: None))))

    def _up_from_zero(self, lr: Planes) -> Planes:
        return self.backend.up(lr, self._latent(lr.shape[2:], 0)[None])

    def _latent(self, size: tuple[int, ...], seed: int) -> Planes:
        shape = (3 * (self.scale**2 - 1), *size)
        if self.weights.latent == "zero":
            return np.zeros(shape, np.float32)
        return np.random.default_rng(seed).standard_normal(shape, np.float32)

    def _strips(self, run: _Run, inputs: Inputs, progress: Progress) -> Iterator[Pixels]:
        """The result of pictures, strip by strip."""
        size = _small_size(inputs)
        counts = self._counts(run, size)
        total, done = counts[0] * counts[1], 0

        def piece(*pieces: Pixels) -> Pixels:
            nonlocal done
            progress(done / total)
            result = self._piece(run, [(piece, factor) for piece, (_, factor) in zip(pieces, inputs, strict=True)])
            done += 1
            progress(done / total)
            return result

        rows, cols = (tiling.spans(*side, run.halo) for side in zip(size, counts, strict=True))
        return tiling.run_tiled(piece, inputs, run.zoom, rows, cols)

    def _counts(self, run: _Run, size: Size) -> tuple[int, int]:
        """Into how many pieces to cut pictures, down and across."""
        if self.tile:
            height, width = (tiling.count(side, self.tile // self.scale, run.halo) for side in size)
            return height, width
        memory = min(tiling.free_memory() // 2, self._most_memory)
        return tiling.counts(size, self.scale, run.halo, memory, run.bytes_per_pixel)

    def _piece(self, run: _Run, inputs: Inputs) -> Pixels:
        """The result of one piece; where the memory is not enough, of smaller ones, and from then on only such."""
        height, width = _small_size(inputs)
        memory = run.bytes_per_pixel * height * width * self.scale**2
        if memory <= self._most_memory or self._counts(run, (height, width)) == (1, 1):
            try:
                return run.finish(self._checked(run.run(*(to_planes(piece)[None] for piece, _ in inputs))[0]))
            except Exception as error:
                if not tiling.is_out_of_memory(error):
                    raise
                self._lower(memory // 2, error)
        if self._counts(run, (height, width)) == (1, 1):
            raise UnshrinkError("there is not enough memory for the smallest piece: close other programs")
        return np.concatenate(list(self._strips(run, inputs, lambda share: None)))

    def _lower(self, memory: int, error: Exception) -> None:
        """From now on, pieces take no more memory than this."""
        if self.tile:
            raise UnshrinkError(
                f"there is not enough memory for tiles of {self.tile}: choose smaller ones, or 0 for what fits"
            ) from error
        if self._most_memory == sys.maxsize:
            warnings.warn("not enough memory: going on with smaller tiles, slower", UnshrinkWarning, stacklevel=2)
        self._most_memory = memory

    def _checked(self, planes: Planes) -> Planes:
        if not np.isfinite(planes).all():
            raise UnshrinkError(
                f"{self.weights.name} on {self.backend.name} gave values that are not numbers: "
                "nothing was written; try another backend and report this"
            )
        return planes


def padded_strips(pixels: Pixels | Rows, scale: int) -> Iterator[Pixels]:
    """(H, W, C) -> strips of the same with sides that are multiples of the scale: reflected as far as legal."""
    down, right = (-side % scale for side in pixels.shape[:2])
    strips = strips_of(pixels)
    held = next(strips)
    for strip in strips:
        if len(held) > scale:
            yield _reflected(held[:-scale], 0, right)
            held = held[-scale:]  # enough for what is to be reflected below, if this is the end
        held = np.concatenate((held, strip))
    yield _reflected(held, down, right)


def to_planes(pixels: Pixels) -> Planes:
    """(H, W, C) -> (C, H, W) float32; of integers in [0, 1], and grey is repeated to three."""
    planes = pixels.transpose(2, 0, 1)
    if planes.dtype != np.float32:
        planes = planes.astype(np.float32) / np.float32(np.iinfo(planes.dtype).max)
        planes = np.broadcast_to(planes, (3, *planes.shape[1:]))
    return np.ascontiguousarray(planes)


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


def _reflected(strip: Pixels, down: int, right: int) -> Pixels:
    return np.pad(strip, [(0, down), (0, right), (0, 0)], mode="reflect") if down or right else strip


def _cropped(strips: Iterator[Pixels], size: Size) -> Iterator[Pixels]:
    height, width = size
    for strip in strips:
        yield strip[:height, :width]
        height -= len(strip)


def _rows(strips: Iterator[Pixels], size: Size) -> Rows:
    """Strips as a picture; the first is made at once, because it knows the channels and the type."""
    first = next(strips)
    return Rows((*size, first.shape[2]), first.dtype, itertools.chain([first], strips))


def _small_size(inputs: Inputs) -> Size:
    picture, factor = inputs[0]
    return picture.shape[0] // factor, picture.shape[1] // factor
