"""A network on pictures of any size: rows of pixels pass through its layers, one after the other.

A layer takes rows as they come, runs them piece by piece, and gives its own to the next.  A coupling block reaches ten
pixels far, so that is all that the pieces of a layer overlap by, and all that it holds of what has passed; the network
as a whole reaches dozens of times as far.

Shapes:  H, W the large picture, h, w the small one, s the scale.  Pictures are (H, W, C): integers, or float32 in
[0, 1], whole or `Rows`; what a backend runs are planes (C, H, W) float32 in [0, 1], grey as three equal ones.
"""

import itertools
import math
import sys
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from unshrink import weights as zoo
from unshrink.errors import ConfigError, UnshrinkError, UnshrinkWarning
from unshrink.pictures.strips import Rows, strips_of
from unshrink.runtime import backends, tiling
from unshrink.runtime import search as refine

Pixels = NDArray[Any]
Planes = NDArray[np.float32]
Size = tuple[int, int]  # height, width
Finish = Callable[[Planes], Pixels]
Progress = Callable[[float], object]


@dataclass(frozen=True)
class _Run:
    """What is done with planes, piece by piece; the pixels in which pieces are cut are those of its coarser side.

    Attributes:
        run: planes with a batch of one -> the same.
        scale: how many pixels of the large picture, along a side, make one of its pixels.
        factors: how many pixels of each input make one.
        zoom: how many pixels of the result make one.
        halo: pixels around a piece that its result depends on.
        memory: bytes that a piece and its strip may take.
        bytes_per_pixel: memory that it takes for each pixel.
        bytes_per_pixel_of_strip: and for each of a strip across the whole width.
    """

    run: Callable[..., Planes]
    scale: int
    factors: tuple[int, ...]
    zoom: int
    halo: int
    memory: int = tiling.BYTES_AT_ONCE
    bytes_per_pixel: int = tiling.BYTES_PER_PIXEL
    bytes_per_pixel_of_strip: int = 0


class Network:
    """Weights on a backend.

    Args:
        weights: the trained network.
        backend: what runs it.
        tile: longest side, in pixels of the large picture, of what is run at once; 0 for what is fast.

    Raises:
        ConfigError: a tile in which nothing would be left beside the overlap.
    """

    def __init__(self, weights: zoo.Weights, backend: backends.Backend, tile: int = 0) -> None:
        self.weights, self.backend, self.tile = weights, backend, tile
        self.scale = weights.scale
        self._most_memory = sys.maxsize  # until a runtime says that there is less
        least = (2 * max(tiling.RADIUS, refine.HALO) + 1) * self.scale
        if tile and tile < least:
            raise ConfigError(f"tile is {tile}: {weights.name} needs {least} or more, or 0 for what is fast")

    def down(self, hr: Pixels | Rows, finish: Finish, progress: Progress) -> Rows:
        """hr (H, W, 1 or 3) -> (h, w, ...): what ``finish`` makes of planes that are neither clipped nor rounded."""
        height, width, channels = hr.shape
        small = -(-height // self.scale), -(-width // self.scale)
        padded = Rows((small[0] * self.scale, small[1] * self.scale, channels), hr.dtype, padded_strips(hr, self.scale))
        runs = [self._stage(stage, "down") for stage in self._stages()]
        return self._rows(self._chain([padded], runs, small, progress), small, finish)

    def up(self, lr: Pixels, size: Size, seed: int, finish: Finish, progress: Progress) -> Rows:
        """lr (h, w, 1 or 3) -> (H, W, ...) of the given size, made by ``finish`` likewise."""
        inputs, small = [lr], (lr.shape[0], lr.shape[1])
        if self.weights.latent == "gaussian":  # the draw is one for the whole picture
            inputs.append(self._latent(small, seed).transpose(1, 2, 0))
        first, *others = (self._stage(stage, "up") for stage in reversed(self._stages()))
        first = replace(first, run=partial(self._joined, first.run), factors=(1,) * len(inputs))
        return self._rows(_cropped(self._chain(inputs, [first, *others], small, progress), size), size, finish)

    def gradient(self, lr: Planes, hr: Planes) -> Planes:
        """lr (3, h, w), hr (3, sh, sw) -> half the gradient by lr of the squared error of what comes back (3, h, w)."""
        z = self._latent(lr.shape[1:], 0)
        inputs = [planes.transpose(1, 2, 0) for planes in (lr, z, hr)]
        run = _Run(
            self.backend.gradient,
            self.scale,
            factors=(1, 1, self.scale),
            zoom=1,
            halo=refine.HALO,
            memory=tiling.BYTES_AT_ONCE_OF_GRADIENT,
            bytes_per_pixel=tiling.BYTES_PER_PIXEL_OF_GRADIENT * self.scale**2,
        )
        strips = self._chain(inputs, [run], (lr.shape[1], lr.shape[2]), lambda share: None)
        return to_planes(np.concatenate(list(strips)))

    def _stages(self) -> list[list[int]]:
        """The layers that a piece passes through together: downsamplings, and the coupling block after them."""
        stages: list[list[int]] = [[]]
        for index, layer in enumerate(self.weights.layers):
            stages[-1].append(index)
            if layer.factor == 1 and not layer.last:
                stages.append([])
        return stages

    def _stage(self, indices: list[int], direction: str) -> _Run:
        layers = [self.weights.layers[index] for index in indices]
        factor, coarse = math.prod(layer.factor for layer in layers), layers[-1]
        one_layer = self.backend.down if direction == "down" else self.backend.up

        def run(planes: Planes) -> Planes:
            for index in indices if direction == "down" else reversed(indices):
                planes = one_layer(index, planes)
            return planes

        return _Run(
            run,
            coarse.scale,
            factors=(factor if direction == "down" else 1,),
            zoom=1 if direction == "down" else factor,
            halo=tiling.RADIUS if coarse.factor == 1 else 0,
            bytes_per_pixel_of_strip=tiling.BYTES_PER_VALUE_OF_STRIP * coarse.channels,
        )

    def _joined(self, run: Callable[[Planes], Planes], lr: Planes, z: Planes | None = None) -> Planes:
        """lr and z, or without it zeros, through a run of their layer."""
        return run(np.concatenate((lr, self._latent(lr.shape[2:], 0)[None] if z is None else z), axis=1))

    def _latent(self, size: tuple[int, ...], seed: int) -> Planes:
        shape = (3 * (self.scale**2 - 1), *size)
        if self.weights.latent == "zero":
            return np.zeros(shape, np.float32)
        return np.random.default_rng(seed).standard_normal(shape, np.float32)

    def _chain(
        self, pictures: Sequence[Pixels | Rows], runs: Sequence[_Run], small: Size, progress: Progress
    ) -> Iterator[Pixels]:
        """The strips that come out of the last of some runs, each of which takes those of the one before it."""
        sizes = [_times(small, self.scale // run.scale) for run in runs]
        total, done = sum(height * width for height, width in sizes), 0.0

        def step(area: float) -> None:
            nonlocal done
            done += area
            progress(min(done / total, 1.0))

        progress(0.0)
        for run, size in zip(runs, sizes, strict=True):
            strips = self._strips(run, pictures, size, step)
            pictures = [Rows((*_times(size, run.zoom), 0), np.float32, strips)]
        return strips

    def _strips(
        self, run: _Run, pictures: Sequence[Pixels | Rows], size: Size, step: Callable[[float], object]
    ) -> Iterator[Pixels]:
        """The result of pictures, of the given size in the run's pixels, strip by strip."""
        down, across = self._counts(run, size)
        most, cols = tiling.outer_length(size[0], down, run.halo), tiling.spans(size[1], across, run.halo)
        inputs = list(zip(pictures, run.factors, strict=True))
        piece = lambda *pieces: self._piece(run, pieces)

        def told(strip: Pixels) -> Pixels:
            step(len(strip) // run.zoom * size[1])
            return strip

        # A loop with a yield would hold each strip while the runs after this one work on it.
        return map(told, tiling.run_tiled(piece, inputs, run.zoom, size[0], most, run.halo, cols))

    def _counts(self, run: _Run, size: Size) -> tuple[int, int]:
        """Into how many pieces to cut pictures, down and across."""
        if self.tile:
            height, width = (tiling.count(side, self.tile // run.scale, run.halo) for side in size)
            return height, width
        memory = min(tiling.free_memory() // 2, self._most_memory, run.memory)
        return tiling.counts(size, run.halo, memory, run.bytes_per_pixel, run.bytes_per_pixel_of_strip)

    def _piece(self, run: _Run, pieces: Sequence[Pixels]) -> Pixels:
        """The result of one piece; where the memory is not enough, of smaller ones, and from then on only such."""
        height, width = (side // run.factors[0] for side in pieces[0].shape[:2])
        memory = run.bytes_per_pixel * height * width
        if memory <= self._most_memory or self._counts(run, (height, width)) == (1, 1):
            try:
                return as_values(run.run(*(to_planes(piece)[None] for piece in pieces))[0])
            except Exception as error:
                if not tiling.is_out_of_memory(error):
                    raise
                self._lower(memory // 2, error)
        if self._counts(run, (height, width)) == (1, 1):
            raise UnshrinkError("there is not enough memory for the smallest piece: close other programs")
        return np.concatenate(list(self._strips(run, pieces, (height, width), lambda area: None)))

    def _rows(self, strips: Iterator[Pixels], size: Size, finish: Finish) -> Rows:
        """Strips as a finished picture; the first is made at once, because it knows the channels and the type."""
        finished = (finish(self._checked(strip.transpose(2, 0, 1))) for strip in strips)
        first = next(finished)
        return Rows((*size, first.shape[2]), first.dtype, itertools.chain([first], finished))

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


def _times(size: Size, factor: int) -> Size:
    return size[0] * factor, size[1] * factor
