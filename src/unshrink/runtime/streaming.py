"""A network on pictures of any size: rows of pixels pass through its layers, one after the other.

A layer takes rows as they come, runs them piece by piece, and gives its own to the next.  A coupling block reaches ten
pixels far, so that is all that the pieces of a layer overlap by, and all that it holds of what has passed; the network
as a whole reaches dozens of times as far.

Shapes:  H, W the large picture, h, w the small one, s the scale.  Pictures are (H, W, C): integers, or float32 in
[0, 1], whole or `Strips`; what a backend runs are planes (C, H, W) float32 in [0, 1], grey as three equal ones.
"""

import itertools
import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial

import numpy as np

from unshrink import weights as zoo
from unshrink.errors import ConfigError, UnshrinkError
from unshrink.network.layers import Step, z_channels
from unshrink.pictures.strips import Strips, strips_of
from unshrink.runtime import backends, search
from unshrink.runtime.backends.host import BYTES_PER_FEATURE
from unshrink.runtime.pieces import BYTES_AT_ONCE, Pieces, Pixels, Planes, Shape, Stage, as_values, to_planes

BYTES_PER_VALUE_OF_STRIP = 12  # what comes in, what is made, and what is joined
BYTES_AT_ONCE_OF_GRADIENT = 1_500_000_000  # twice as much takes a tenth less time

Finish = Callable[[Planes], Pixels]
Progress = Callable[[float], object]


class Pipeline:
    """Weights on a backend, for pictures of any size.

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
        self._pieces = Pieces(tile)
        reach = max(stage.reach for direction in weights.steps for stage in self._stages(direction))
        least = (2 * max(reach, search.HALO) + 2) * self.scale
        if tile and tile < least:
            raise ConfigError(f"tile is {tile}: {weights.name} needs {least} or more, or 0 for what is fast")

    def down(self, hr: Pixels | Strips, finish: Finish, progress: Progress) -> Strips:
        """hr (H, W, 1 or 3) -> (h, w, ...): what ``finish`` makes of planes that are neither clipped nor rounded."""
        height, width, channels = hr.shape
        small = -(-height // self.scale), -(-width // self.scale)
        padded = Strips(
            (small[0] * self.scale, small[1] * self.scale, channels), hr.dtype, padded_strips(hr, self.scale)
        )
        return self._finished(self._through(self._stages("down"), [padded], small, progress), small, finish)

    def up(self, lr: Pixels, size: Shape, seed: int, finish: Finish, progress: Progress) -> Strips:
        """lr (h, w, 1 or 3) -> (H, W, ...) of the given size, made by ``finish`` likewise."""
        small = lr.shape[0], lr.shape[1]
        strips = self._through(self._stages("up"), [lr, *self._drawn(small, seed)], small, progress)
        return self._finished(_cropped(strips, size), size, finish)

    def gradient(self, lr: Planes, hr: Planes, metric: Planes) -> Planes:
        """lr (3, h, w), hr (3, sh, sw), metric (3, 3) -> half the gradient by lr of what the error counts (3, h, w)."""
        small = lr.shape[1], lr.shape[2]
        features = sum(step.layer.all_features / step.scale**2 for step in self.weights.steps["up"])
        stage = Stage(
            partial(self.backend.gradient, metric=metric),
            self.scale,
            shrinks=(1, 1, self.scale),
            grows=1,
            reach=search.HALO,
            bytes_per_pixel=math.ceil(BYTES_PER_FEATURE * features * self.scale**2),
            bytes_at_once=BYTES_AT_ONCE_OF_GRADIENT,
        )
        z = self._drawn(small, 0) or [np.zeros((*small, self._z_channels), np.float32)]
        inputs = [as_values(lr), *z, as_values(hr)]
        return to_planes(np.concatenate(list(self._pieces.strips(stage, inputs, small, lambda pixels: None))))

    def _stages(self, direction: str) -> list[Stage]:
        """The stages of a direction; the first on the way up takes z beside the small picture."""
        first, *others = together(self.weights.steps[direction], self.backend.joins)
        run = partial(self.backend.run, first) if direction == "down" else partial(self._run_with_z, first)
        inputs = 1 if direction == "down" or self.weights.latent == "zero" else 2
        return [
            stage_of(run, first, self.backend, inputs),
            *(stage_of(partial(self.backend.run, steps), steps, self.backend) for steps in others),
        ]

    def _run_with_z(self, steps: list[Step], lr: Planes, z: Planes | None = None) -> Planes:
        """lr (1, 3, h, w) and z (1, Z, h, w), which is zero unless it is given."""
        if z is None:
            z = np.zeros((1, self._z_channels, *lr.shape[2:]), np.float32)
        return self.backend.run(steps, np.concatenate((lr, z), axis=1))

    def _drawn(self, size: Shape, seed: int) -> list[Pixels]:
        """z (h, w, Z), where it is drawn: one draw for the whole picture."""
        if self.weights.latent == "zero":
            return []
        shape = (self._z_channels, *size)
        return [as_values(np.random.default_rng(seed).standard_normal(shape, np.float32))]

    @property
    def _z_channels(self) -> int:
        return z_channels(self.weights.steps["up"])

    def _through(
        self, stages: list[Stage], pictures: Sequence[Pixels | Strips], small: Shape, progress: Progress
    ) -> Iterator[Pixels]:
        """The strips that come out of the last of some stages, each of which takes those of the one before it."""
        sizes = [_times(small, self.scale // stage.scale) for stage in stages]
        total, done = sum(height * width for height, width in sizes), 0.0

        def passed(pixels: float) -> None:
            nonlocal done
            done += pixels
            progress(min(done / total, 1.0))

        progress(0.0)
        for stage, size in zip(stages, sizes, strict=True):
            strips = self._pieces.strips(stage, pictures, size, passed)
            pictures = [Strips((*_times(size, stage.grows), 0), np.float32, strips)]
        return strips

    def _finished(self, strips: Iterator[Pixels], size: Shape, finish: Finish) -> Strips:
        """Strips as a finished picture; the first is made at once, because it knows the channels and the type."""
        finished = (finish(self._checked(strip.transpose(2, 0, 1))) for strip in strips)
        first = next(finished)
        return Strips((*size, first.shape[2]), first.dtype, itertools.chain([first], finished))

    def _checked(self, planes: Planes) -> Planes:
        if not np.isfinite(planes).all():
            raise UnshrinkError(
                f"{self.weights.name} on {self.backend.name} gave values that are not numbers: "
                "nothing was written; try another backend and report this"
            )
        return planes


def together(steps: Iterable[Step], joins: Callable[[Step, Step], bool]) -> list[list[Step]]:
    """Steps in groups that a piece passes through at once."""
    groups: list[list[Step]] = []
    for step in steps:
        if groups and joins(groups[-1][-1], step):
            groups[-1].append(step)
        else:
            groups.append([step])
    return groups


def stage_of(run: Callable[..., Planes], steps: Sequence[Step], backend: backends.Backend, inputs: int = 1) -> Stage:
    """A group of steps as one stage, with so many inputs of one size."""
    scale = max(step.scale for step in steps)
    shrinks, grows = math.prod(step.shrinks for step in steps), math.prod(step.grows for step in steps)
    values = max(steps[0].channels[0] * shrinks**2, steps[-1].channels[1] * grows**2)
    return Stage(
        run,
        scale,
        shrinks=(shrinks,) * inputs,
        grows=grows,
        reach=_even(sum(-(-step.layer.reach * step.scale // scale) for step in steps)),
        bytes_per_pixel=backend.bytes_per_pixel(steps),
        bytes_per_pixel_of_strip=BYTES_PER_VALUE_OF_STRIP * values,
        bytes_at_once=backend.device_memory or BYTES_AT_ONCE,
    )


def _even(reach: int) -> int:
    """As pieces begin at even rows, their surroundings are even."""
    return reach + reach % 2


def padded_strips(pixels: Pixels | Strips, scale: int) -> Iterator[Pixels]:
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


def _reflected(strip: Pixels, down: int, right: int) -> Pixels:
    return np.pad(strip, [(0, down), (0, right), (0, 0)], mode="reflect") if down or right else strip


def _cropped(strips: Iterator[Pixels], size: Shape) -> Iterator[Pixels]:
    height, width = size
    for strip in strips:
        yield strip[:height, :width]
        height -= len(strip)


def _times(size: Shape, factor: int) -> Shape:
    return size[0] * factor, size[1] * factor
