"""Images through the network: their size, their colour, their alpha, and the record of a small picture.

Shapes:  H, W the large picture, h, w the small one; how one lies over the other says a `Frame`.
"""

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from unshrink import weights as zoo
from unshrink.errors import ConfigError, ImageError, UnshrinkWarning
from unshrink.pictures import alpha as transparency
from unshrink.pictures import mark as marks
from unshrink.pictures import record as provenance
from unshrink.pictures.image import Image, PassingImage
from unshrink.pictures.record import Record
from unshrink.pictures.resample import resampled
from unshrink.pictures.resize import resize
from unshrink.pictures.sizes import Frame, Size
from unshrink.pictures.strips import Strips
from unshrink.runtime import backends
from unshrink.runtime import search as refine
from unshrink.runtime.pieces import Planes, as_values, to_pixels, to_planes
from unshrink.runtime.search import Refined
from unshrink.runtime.streaming import Pipeline, Progress, padded_strips

Pixels = NDArray[np.unsignedinteger]
Report = Callable[[Refined], object]

_SOFT = "expect a soft or disturbed enlargement, not the original"


def ignore(news: object) -> None:
    """Nobody wants to know."""


@dataclass(frozen=True)
class Search:
    """How much effort to spend on each picture, whom to tell what it came to, and how far the work is.

    Raises:
        ConfigError: an effort that there is not.
    """

    effort: int
    report: Report
    progress: Progress

    def __post_init__(self) -> None:
        if self.effort not in range(refine.MOST_EFFORT + 1):
            met = f"effort is {self.effort!r:.20}"
            raise ConfigError(f"{met}: allowed are 0 (the network alone) to {refine.MOST_EFFORT}")


class ImagePipeline:
    """Weights on a backend, for images; the arguments are those of `streaming.Pipeline`."""

    def __init__(self, weights: zoo.Weights, backend: backends.Backend, tile: int) -> None:
        self.weights, self.scale, self._precision = weights, weights.scale, backend.precision
        self._pipeline = Pipeline(weights, backend, tile)

    def down(
        self, image: Image | PassingImage, small_size: Size, depth: int, search: Search, mark: bool | None = None
    ) -> Image:
        """A picture -> the small one of a size and of ``depth`` bits, with record, and a mark if it is to have one."""
        number, frame = zoo.number_to_mark(self.weights, mark), Frame(image.size, small_size, self.scale)
        if image.alpha or search.effort:
            image = image.whole()
        if isinstance(image.pixels, Strips):
            small = self._down_pixels(image.pixels, frame, depth, search.progress)
        else:
            small = self._down_array(image.pixels, frame, depth, search)
        small = self._marked(small, frame, number)
        record = Record(
            model=self.weights.name,
            weights=self.weights.identity[: zoo.IDENTITY_DIGITS],
            scale=self.scale,
            size=image.size,
            depth=image.depth,
            channels=image.channels,
            pixels=provenance.checksum(small),
            resized=frame.between if frame.resized else None,
            precision=self._precision,
        )
        return provenance.embed(image.with_pixels(small), record)

    def up(
        self, image: Image | PassingImage, size: Size | None, seed: int, progress: Progress, recorded: bool = True
    ) -> PassingImage:
        """A small picture -> the large one; says where it lacks a right record, if it should be ``recorded``."""
        record, small = provenance.extract(image.whole())
        doubt = provenance.fault(record, small) if record else ""
        mark = None if record else marks.read(small.pixels)
        true_size = self._true_size(record, mark, small.size)
        if recorded:
            _warn_of(record, "" if true_size and zoo.bears_changes(self.weights) else doubt, mark, self.weights)
        depth = record.depth if record else small.depth
        frame = self._frame(small.size, size or true_size)
        colour, alpha = _split(_with_channels(small.pixels, record.channels) if record and not doubt else small.pixels)
        large = self._up_pixels(colour, frame, depth, seed, progress)
        if alpha is None:
            return small.with_pixels(large)
        colour = np.asarray(large)
        large_alpha = np.full_like(colour[..., :1], 2**depth - 1)
        if not _is_opaque(alpha):
            large_alpha = np.asarray(self._up_pixels(alpha, frame, depth, seed, progress))
            large_alpha = transparency.pin_restored(large_alpha, alpha, frame.blocks)
        pixels = np.concatenate((np.where(large_alpha == 0, 0, colour), large_alpha), axis=2)
        return small.with_pixels(pixels).passing()

    def down_planes(self, hr: Planes, small_size: Size, search: Search, mark: bool | None = None) -> Planes:
        """(3, H, W) in [0, 1] -> (3, h, w) on the 8-bit grid."""
        number, frame = zoo.number_to_mark(self.weights, mark), Frame(hr.shape[:0:-1], small_size, self.scale)
        seen = _seen(as_values(hr), frame)
        small = np.asarray(self._pipeline.down(seen, lambda lr: to_pixels(lr, 3, 8), search.progress))
        small = self._searched(small, to_pixels(hr, 3, 16), frame, search)
        return to_planes(self._marked(small, frame, number))

    def up_planes(self, lr: Planes, size: Size | None, seed: int, progress: Progress) -> Planes:
        """(3, h, w) in [0, 1] -> (3, H, W) in [0, 1]."""
        frame = self._frame((lr.shape[2], lr.shape[1]), size)
        return to_planes(np.asarray(self._restored_values(as_values(lr), frame, seed, progress))).clip(0, 1)

    def _marked(self, small: Pixels, frame: Frame, number: int) -> Pixels:
        """Small pixels with a mark; as they are for the number 0, or if it must be.

        A mark has no room for a size beside what is to be cut: a picture that was resized comes back as it was resized.
        """
        if not number:
            return small
        true_size = frame.between if frame.resized else frame.large
        right, bottom = (side - true for side, true in zip(frame.between, true_size, strict=True))
        try:
            return marks.embed(small, marks.Mark(number, (right, bottom)))
        except ImageError as error:
            reason = f"{error}: what its metadata say of it does not survive where they are removed"
            warnings.warn(reason, UnshrinkWarning, stacklevel=5)
            return small

    def _true_size(self, record: Record | None, mark: marks.Mark | None, small: Size) -> Size | None:
        """What record or mark say of the size to come back to; None where they say nothing that can be so."""
        if record:
            frame = Frame(record.size, small, self.scale)
            return record.size if frame.fits and frame.resized == (record.resized is not None) else None
        if not mark or mark.weights != _number(self.weights):
            return None
        width, height = (little * self.scale - cut for little, cut in zip(small, mark.cut, strict=True))
        return None if Frame((width, height), small, self.scale).resized else (width, height)

    def _down_array(self, pixels: Pixels, frame: Frame, depth: int, search: Search) -> Pixels:
        """(H, W, C) integers -> (h, w, C) integers of ``depth`` bits."""
        colour, alpha = _split(pixels)
        if alpha is not None:
            colour = transparency.spread(colour, alpha)
        small = self._searched(self._down_pixels(colour, frame, depth, search.progress), colour, frame, search)
        if alpha is None:
            return small
        small_alpha = np.full_like(small[..., :1], 2**depth - 1)
        if not _is_opaque(alpha):
            small_alpha = self._down_pixels(alpha, frame, depth, search.progress)
            small_alpha = transparency.pin_small(small_alpha, alpha, frame.blocks)
        return np.concatenate((small, small_alpha), axis=2)

    def _down_pixels(self, pixels: Pixels | Strips, frame: Frame, depth: int, progress: Progress) -> Pixels:
        """(H, W, 1 or 3) integers -> (h, w, same) integers of ``depth`` bits."""
        channels = pixels.shape[2]
        return np.asarray(
            self._pipeline.down(_seen(pixels, frame), lambda lr: to_pixels(lr, channels, depth), progress)
        )

    def _up_pixels(self, pixels: Pixels, frame: Frame, depth: int, seed: int, progress: Progress) -> Strips:
        """(h, w, 1 or 3) integers -> (H, W, same) integers of ``depth`` bits."""
        channels = pixels.shape[2]
        to_integers = lambda values: to_pixels(values.transpose(2, 0, 1), channels, depth)
        strips = map(to_integers, self._restored_values(pixels, frame, seed, progress))
        return Strips((frame.large[1], frame.large[0], channels), f"uint{depth}", strips)

    def _restored_values(self, pixels: Pixels, frame: Frame, seed: int, progress: Progress) -> Strips:
        """(h, w, 1 or 3) -> (H, W, 3) float32, neither rounded nor clipped."""
        width, height = frame.between if frame.resized else frame.large
        values = self._pipeline.up(pixels, (height, width), seed, as_values, progress)
        return resampled(values, (frame.large[1], frame.large[0])) if frame.resized else values

    def _frame(self, small: Size, large: Size | None) -> Frame:
        """How what is to come back lies over a small picture.  Raises ImageError where it cannot."""
        frame = Frame(large or (small[0] * self.scale, small[1] * self.scale), small, self.scale)
        if not frame.fits:
            raise ImageError(
                "size {}x{} does not fit a small picture of {}x{}: ".format(*frame.large, *small)
                + f"{self.weights.name} restores pictures of the same shape, up to "
                + "{}x{}".format(*frame.between)
            )
        return frame

    # -- search ----------------------------------------------------------------------------------------------------

    def _searched(self, small: Pixels, large: Pixels, frame: Frame, search: Search) -> Pixels:
        """The small pixels (h, w, 1 or 3), or others of which more of ``large`` (H, W, same) comes back."""
        if not search.effort:
            return small
        depth, channels = 8 * small.itemsize, small.shape[2]
        start, hr = to_planes(small), to_planes(np.concatenate(list(padded_strips(_seen(large, frame), self.scale))))
        reference = resize(hr.transpose(1, 2, 0), (small.shape[1], small.shape[0])).transpose(2, 0, 1)
        reference = to_planes(to_pixels(reference.astype(np.float32), channels, depth))
        before = self._restored(small, large, frame)
        gradient = self._gradient(hr, channels, refine.metric(before) if channels == 3 else refine.GREY)
        found = refine.descend(gradient, start, search.effort, refine.RATE / self.scale**2)
        near = refine.stay_close(found, start, reference, lambda lr: to_planes(to_pixels(lr, channels, depth)))
        other = to_pixels(near, channels, depth)
        gains = refine.gained(before, self._restored(other, large, frame))
        if max(gains) == 0 or min(gains) < 0:
            search.report(Refined(0.0, 0.0, 0.0, 0.0, 0.0))
            return small
        moved = refine.gained(refine.fidelity(start, reference), refine.fidelity(near, reference))
        search.report(Refined(*gains, moved.luma, moved.chroma))
        return other

    def _gradient(self, hr: Planes, channels: int, metric: Planes) -> Callable[[Planes], Planes]:
        """Planes (3, h, w) -> half the gradient of what errors against ``hr`` count; for grey, that of equal planes."""

        def gradient(lr: Planes) -> Planes:
            slope = self._pipeline.gradient(lr, hr, metric)
            return slope if channels == 3 else np.broadcast_to(slope.mean(axis=0), slope.shape)

        return gradient

    def _restored(self, small: Pixels, large: Pixels, frame: Frame) -> refine.Fidelity:
        """How close what comes back of ``small`` is to ``large``."""
        restored = self._up_pixels(small, frame, 8 * large.itemsize, 0, ignore)
        return refine.fidelity(*(to_planes(pixels) for pixels in (np.asarray(restored), large)))


def _seen(pixels: Pixels | Strips, frame: Frame) -> Any:
    """What of a large picture goes into the network: itself, or it enlarged to a multiple of the small one."""
    if not frame.resized:
        return pixels
    width, height = frame.between
    return Strips((height, width, 3), np.float32, map(_in_three, resampled(pixels, (height, width))))


def _in_three(values: Pixels) -> Pixels:
    """(H, W, 1 or 3) -> (H, W, 3)"""
    return np.broadcast_to(values, (*values.shape[:2], 3))


def _warn_of(record: Record | None, doubt: str, mark: marks.Mark | None, weights: zoo.Weights) -> None:
    """Says what keeps a picture from coming back as it was, beside a ``doubt`` of its record."""
    expected = _SOFT
    if record:
        reason = doubt or _other_weights(record, weights)
    elif mark and mark.weights != _number(weights):
        reason = f"it was made by other weights (number {mark.weights} in its mark) than {weights.name}"
    elif mark:
        reason = (
            "" if zoo.bears_changes(weights) else "its metadata was removed, and its values perhaps changed with that"
        )
        expected = f"if no pixel was changed, it comes back; if not, {_SOFT}"
    else:
        reason = "it has no record of unshrink: it was not made by unshrink, or its metadata was removed"
        expected = f"if {weights.name} made it and no pixel was changed, it comes back; if not, {_SOFT}"
    if reason:
        warnings.warn(f"{reason}; {expected}", UnshrinkWarning, stacklevel=4)


def _other_weights(record: Record, weights: zoo.Weights) -> str:
    """What shows that these are not the weights that made a picture; "" where nothing does."""
    if record.weights != weights.identity[: zoo.IDENTITY_DIGITS]:
        return f"it was made by other weights ({record.model} {record.weights}) than {weights.name}"
    if (record.model, record.scale) == (weights.name, weights.scale):
        return ""
    said, met = f"{record.model} at scale {record.scale}", f"{weights.name} at scale {weights.scale}"
    return f"its record was altered, for it does not fit its weights (it says {said}, {record.weights} is {met})"


def _number(weights: zoo.Weights) -> int:
    """What a mark calls the weights; 0 where none does."""
    entry = zoo.of_identity(weights.identity)
    return entry.number if entry else 0


def _split(pixels: Pixels) -> tuple[Pixels, Pixels | None]:
    """(H, W, C) -> colour (H, W, 1 or 3) and alpha (H, W, 1), if there is one."""
    if pixels.shape[2] % 2:
        return pixels, None
    return pixels[..., :-1], pixels[..., -1:]


def _is_opaque(alpha: Pixels) -> bool:
    """Whether there is nothing to see through, as in most screenshots: then one run of the network is enough."""
    return bool(alpha.min() == np.iinfo(alpha.dtype).max)


def _with_channels(pixels: Pixels, channels: int) -> Pixels:
    """The small pixels with the large picture's channels: WebP has no grey and drops an opaque alpha."""
    colour, alpha = _split(pixels)
    colour = colour[..., :1] if channels <= 2 else np.broadcast_to(colour, (*colour.shape[:2], 3))
    if channels % 2:
        return colour
    opaque = np.full_like(colour[..., :1], np.iinfo(pixels.dtype).max)
    return np.concatenate((colour, opaque if alpha is None else alpha), axis=2)
