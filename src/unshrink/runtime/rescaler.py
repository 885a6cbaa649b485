"""A model ready to run on pictures: weights, a backend to run them, and what lies between pictures and tensors.

Colour, alpha and provenance are dealt with here and nowhere else.

Shapes:  H, W the large picture, s the scale, small sides are ceil(H/s) and ceil(W/s).
"""

import os
import re
import warnings
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar, cast

import numpy as np
from numpy.typing import NDArray

from unshrink import weights as zoo
from unshrink.errors import ConfigError, ImageError, UnshrinkWarning
from unshrink.pictures import alpha as transparency
from unshrink.pictures import io as images
from unshrink.pictures import record as provenance
from unshrink.pictures.image import Image
from unshrink.pictures.io import whole
from unshrink.pictures.record import Record
from unshrink.pictures.resize import resize
from unshrink.pictures.strips import Rows
from unshrink.runtime import backends, memory
from unshrink.runtime import search as refine
from unshrink.runtime.inputs import is_path, is_tensor, unwrap
from unshrink.runtime.pieces import Planes, as_values, to_pixels, to_planes
from unshrink.runtime.search import Refined
from unshrink.runtime.streaming import Pipeline, Progress, padded_strips

Picture = TypeVar("Picture")  # a path, an Image, a PIL image, an array (H, W[, C]) or a tensor (N, 3, H, W)
Pixels = NDArray[np.unsignedinteger]
Size = tuple[int, int]  # width, height
Report = Callable[[Refined], object]

SMALL = r"_x[2348]$"  # what the name of a small picture ends in, unless its maker chose another


def load(
    model: str | os.PathLike[str],
    *,
    backend: str = "auto",
    device: str = "cpu",
    threads: int = 0,
    tile: int = 0,
    fast: bool = False,
) -> "Rescaler":
    """A rescaler with the given weights.

    Args:
        model: the name of installed weights, such as "irn-x4", or the path of a weights file.
        backend: "openvino", "onnxruntime", "torch", or "auto" for the fastest one that is installed.
        device: where the torch backend runs: "cpu", "cuda", ...
        threads: CPU threads; 0 for all cores.
        tile: see `Rescaler`.
        fast: subnets in bfloat16, which is at most 0.03 dB worse.  Small pictures are then not byte for byte those of
            float32, but either restores those of the other.

    Raises:
        ConfigError: a backend or a device that there is not or that cannot be fast, or a tile that is too small for
            the network.
        ModelNotFoundError: no such weights.
        WeightsError: the file is damaged, altered or cannot be run here.
        MissingDependencyError: the backend is not installed.

    Example:
        >>> r = load("irn-x4")
        >>> small = r.downscale(np.zeros((480, 640, 3), np.uint8))
        >>> small.shape
        (120, 160, 3)
    """
    weights = zoo.load(model)
    return Rescaler(weights, backends.make(weights, backend, threads=threads, device=device, fast=fast), tile)


@dataclass(frozen=True)
class _Search:
    """How much effort to spend on each picture, whom to tell what it came to, and how far the work is."""

    effort: int
    report: Report
    progress: Progress


class Rescaler:
    """Downscales pictures, and restores what it downscaled.

    ``downscale`` and ``upscale`` take a path, an ``Image``, a PIL image, an array (H, W) or (H, W, C) of uint8 or
    uint16, or a torch tensor (N, 3, H, W) in [0, 1], and give back the same kind.

    Args:
        weights: the trained network.
        backend: what runs it.
        tile: longest side, in pixels of the large picture, of what is run at once; 0 to choose by the free memory.
            Each piece has the surroundings that its result depends on: the results are the same whatever the tile.

    Raises:
        ConfigError: a tile in which nothing would be left beside the surroundings.
    """

    def __init__(self, weights: zoo.Weights, backend: backends.Backend, tile: int = 0) -> None:
        self.weights, self.backend = weights, backend
        self.scale, self._pipeline = weights.scale, Pipeline(weights, backend, tile)

    @property
    def name(self) -> str:
        """The name of the weights."""
        return self.weights.name

    def __repr__(self) -> str:
        """Name, scale and backend."""
        return f"Rescaler({self.weights.name!r}, scale={self.scale}, backend={self.backend.name!r})"

    def downscale(
        self,
        picture: Picture,
        out: str | os.PathLike[str] | None = None,
        *,
        depth: int | None = None,
        effort: int = 0,
        report: Report | None = None,
        progress: Progress | None = None,
        overwrite: bool = False,
    ) -> Picture:
        """Makes a picture small.

        Args:
            picture: see the class.  Of a path, the small picture is written to a file and its path returned.
            out: for a path: the file to write, its extension choosing a lossless format.  Default
                ``<stem>_x<scale>.png`` beside the picture.
            depth: bits of the small picture's values, 8 or 16; default: the large one's, or what the format holds.
            effort: 0 to 9 gradient steps in search of a small picture of which more comes back (`refine`).  Each takes
                as long as a few runs of the network.  The small picture stays within 0.5 dB of its likeness to the
                bicubic one; what restores is the same, and never restores worse.  Alpha is not searched.
            report: what to call with what a search came to, once a picture.
            progress: what to call with the share that is done, 0 to 1, before and after each piece of a run.
            overwrite: for a path: replace a file that exists.

        Returns:
            The small picture, ceil(W/s) x ceil(H/s), of the same kind.  Files, Images and PIL images carry the record
            that ``upscale`` reads; arrays and tensors cannot.

        Raises:
            ImageError: the picture cannot be read, used or written.
            ConfigError: an effort that there is not.
            WeightsError: an effort above 0 with weights without the graph of the gradient, unless on torch.
        """
        if effort not in range(refine.MOST_EFFORT + 1):
            raise ConfigError(f"effort is {effort!r:.20}: allowed are 0 (the network alone) to {refine.MOST_EFFORT}")
        search = _Search(effort, report or _ignore, progress or _ignore)
        if is_path(picture):
            target = _target(picture, out, f"_x{self.scale}")
            image = images.scan(picture)
            small = self._downscale(image, depth or min(image.depth, images.max_depth(target)), search)
            images.write(small, target, overwrite=overwrite)
            return cast(Picture, type(picture)(target))  # type: ignore[call-arg]
        _only_for_paths(out)
        if is_tensor(picture):
            return cast(Picture, _each(picture, lambda hr: self._downscale_planes(hr, search)))
        image, wrap = unwrap(picture)
        return cast(Picture, wrap(self._downscale(image, depth or image.depth, search)))

    def upscale(
        self,
        picture: Picture,
        out: str | os.PathLike[str] | None = None,
        *,
        size: Size | None = None,
        seed: int = 0,
        progress: Progress | None = None,
        overwrite: bool = False,
    ) -> Picture:
        """Restores the large picture.

        Args:
            picture: see the class.  Of a path, the large picture is written to a file and its path returned.
            out: for a path: the file to write, its extension choosing the format.  Default ``<stem>_restored.png``
                beside the picture, without the ``_x<scale>`` of the small one.
            size: (width, height) to come back to; default: what the record says, else s times the small size.
            seed: of the draw of z, for weights that draw it.
            progress: what to call with the share that is done, 0 to 1, before and after each piece of a run.
            overwrite: for a path: replace a file that exists.

        Returns:
            The large picture of the same kind.

        Warns:
            UnshrinkWarning: a file or Image has no record, was changed since it was made, or is of other weights.

        Raises:
            ImageError: the picture cannot be read or written, or ``size`` does not fit it.
            ProvenanceError: its record is malformed or from a newer version.
        """
        show = progress or _ignore
        if is_path(picture):
            target = _target(picture, out, "_restored")
            large = self._upscale(images.scan(picture), size, seed, show)
            images.write(large, target, lossy=True, overwrite=overwrite)
            return cast(Picture, type(picture)(target))  # type: ignore[call-arg]
        _only_for_paths(out)
        if is_tensor(picture):
            return cast(Picture, _each(picture, lambda lr: self._upscale_planes(lr, size, seed, show)))
        image, wrap = unwrap(picture)
        large = self._upscale(image, size, seed, show, recorded=not isinstance(picture, np.ndarray))
        return cast(Picture, wrap(large if isinstance(image.pixels, Rows) else whole(large)))

    def release(self) -> None:
        """Gives the system back what memory the last pictures left; for processes that live long between large ones."""
        self.backend.release()
        memory.trim()

    # -- images ----------------------------------------------------------------------------------------------------

    def _downscale(self, image: Image, depth: int, search: "_Search") -> Image:
        if image.alpha or search.effort:
            image = whole(image)
        colour, alpha = _split(image.pixels)
        if alpha is not None:
            colour = transparency.spread(colour, alpha)
        small = self._refined(self._downscale_pixels(colour, depth, search.progress), colour, search)
        if alpha is not None:
            small_alpha = np.full_like(small[..., :1], 2**depth - 1)
            if not _is_opaque(alpha):
                small_alpha = self._downscale_pixels(alpha, depth, search.progress)
                small_alpha = transparency.pin_small(small_alpha, alpha, self.scale)
            small = np.concatenate((small, small_alpha), axis=2)
        record = Record(
            model=self.weights.name,
            weights=self.weights.identity[: zoo.IDENTITY_DIGITS],
            scale=self.scale,
            size=image.size,
            depth=image.depth,
            channels=image.pixels.shape[2],
            pixels=provenance.checksum(small),
        )
        return provenance.embed(replace(image, pixels=small), record)

    def _upscale(self, image: Image, size: Size | None, seed: int, progress: Progress, recorded: bool = True) -> Image:
        """The large picture; its pixels are `Rows` unless there is alpha."""
        record, image = provenance.extract(whole(image))
        intact = record is not None and record.pixels == provenance.checksum(image.pixels)
        if recorded:
            _warn_of(record, intact, self.weights)
        depth = record.depth if record else image.depth
        if record and size is None and self._fits(record.size, image.size):
            size = record.size
        colour, alpha = _split(_with_channels(image.pixels, record.channels) if record and intact else image.pixels)
        large = self._upscale_pixels(colour, depth, size, seed, progress)
        if alpha is None:
            return replace(image, pixels=cast(Pixels, large))
        colour = np.asarray(large)
        large_alpha = np.full_like(colour[..., :1], 2**depth - 1)
        if not _is_opaque(alpha):
            large_alpha = np.asarray(self._upscale_pixels(alpha, depth, size, seed, progress))
            large_alpha = transparency.pin_restored(large_alpha, alpha, self.scale)
        return replace(image, pixels=np.concatenate((np.where(large_alpha == 0, 0, colour), large_alpha), axis=2))

    def _downscale_pixels(self, pixels: Pixels, depth: int, progress: Progress) -> Pixels:
        """(H, W, 1 or 3) integers -> (h, w, same) integers of ``depth`` bits."""
        channels = pixels.shape[2]
        return np.asarray(self._pipeline.down(pixels, lambda lr: to_pixels(lr, channels, depth), progress))

    def _upscale_pixels(self, pixels: Pixels, depth: int, size: Size | None, seed: int, progress: Progress) -> Rows:
        """(h, w, 1 or 3) integers -> (H, W, same) integers of ``depth`` bits."""
        channels, shape = pixels.shape[2], self._large_shape(pixels.shape[:2], size)
        return self._pipeline.up(pixels, shape, seed, lambda hr: to_pixels(hr, channels, depth), progress)

    def _downscale_planes(self, hr: Planes, search: "_Search") -> Planes:
        """(3, H, W) in [0, 1] -> (3, h, w) on the 8-bit grid."""
        small = np.asarray(self._pipeline.down(as_values(hr), lambda lr: to_pixels(lr, 3, 8), search.progress))
        return to_planes(self._refined(small, to_pixels(hr, 3, 16), search))

    def _upscale_planes(self, lr: Planes, size: Size | None, seed: int, progress: Progress) -> Planes:
        """(3, h, w) in [0, 1] -> (3, H, W) in [0, 1]."""
        shape = self._large_shape(lr.shape[1:], size)
        return to_planes(np.asarray(self._pipeline.up(as_values(lr), shape, seed, as_values, progress))).clip(0, 1)

    def _large_shape(self, small: tuple[int, ...], size: Size | None) -> tuple[int, int]:
        """(height, width) to come back to, of a small picture of (height, width)."""
        height, width = small
        size = size or (width * self.scale, height * self.scale)
        if not self._fits(size, (width, height)):
            raise ImageError(
                f"size {size[0]}x{size[1]} does not fit a small picture of {width}x{height}: "
                f"at scale {self.scale} it comes from pictures of up to {width * self.scale}x{height * self.scale}, "
                f"less than {self.scale} smaller on each side"
            )
        return size[1], size[0]

    def _fits(self, large: Size, small: Size) -> bool:
        return all(-(-side // self.scale) == little for side, little in zip(large, small, strict=True))

    # -- search ----------------------------------------------------------------------------------------------------

    def _refined(self, small: Pixels, large: Pixels, search: "_Search") -> Pixels:
        """The small pixels (h, w, 1 or 3), or others of which more of ``large`` (H, W, same) comes back."""
        if not search.effort:
            return small
        depth, channels = 8 * small.itemsize, small.shape[2]
        start, hr = to_planes(small), to_planes(np.concatenate(list(padded_strips(large, self.scale))))
        reference = resize(hr.transpose(1, 2, 0), (small.shape[1], small.shape[0])).transpose(2, 0, 1)
        reference = to_planes(to_pixels(reference.astype(np.float32), channels, depth))
        found = refine.descend(self._gradient(hr, channels), start, search.effort, refine.RATE / self.scale**2)
        near = refine.stay_close(found, start, reference, lambda lr: to_planes(to_pixels(lr, channels, depth)))
        other = to_pixels(near, channels, depth)
        before, after = (self._restored_psnr(lr, large) for lr in (small, other))
        if after == before or any(a < b for a, b in zip(after, before, strict=True)):
            search.report(Refined(0.0, 0.0, 0.0))
            return small
        lr_before, lr_after = (refine.fidelity(lr, reference)[0] for lr in (start, near))
        search.report(Refined(after[0] - before[0], after[1] - before[1], lr_after - lr_before))
        return other

    def _gradient(self, hr: Planes, channels: int) -> Callable[[Planes], Planes]:
        """Planes (3, h, w) -> half the gradient of the squared error against ``hr``; for grey, that of equal planes."""

        def gradient(lr: Planes) -> Planes:
            slope = self._pipeline.gradient(lr, hr)
            return slope if channels == 3 else np.broadcast_to(slope.mean(axis=0), slope.shape)

        return gradient

    def _restored_psnr(self, small: Pixels, large: Pixels) -> tuple[float, float]:
        """PSNR in dB of what comes back of ``small``: of the luma, and over all values."""
        restored = self._upscale_pixels(small, 8 * large.itemsize, (large.shape[1], large.shape[0]), 0, _ignore)
        return refine.fidelity(*(to_planes(pixels) for pixels in (np.asarray(restored), large)))


def _warn_of(record: Record | None, intact: bool, weights: zoo.Weights) -> None:
    """Says what keeps a picture from coming back as it was."""
    if record is None:
        reason = "it has no record of unshrink: it was not made by unshrink, or its metadata was removed"
    elif not intact:
        reason = "its pixels were changed since unshrink made it (resized, re-encoded or edited)"
    elif record.weights != weights.identity[: zoo.IDENTITY_DIGITS]:
        reason = f"it was made by other weights ({record.model} {record.weights}) than {weights.name}"
    else:
        return
    warnings.warn(f"{reason}; expect a soft or disturbed enlargement, not the original", UnshrinkWarning, stacklevel=4)


def _split(pixels: Pixels) -> tuple[Pixels, Pixels | None]:
    """(H, W, C) -> colour (H, W, 1 or 3) and alpha (H, W, 1), if there is one."""
    if pixels.shape[2] % 2:
        return pixels, None
    return pixels[..., :-1], pixels[..., -1:]


def _ignore(news: object) -> None:
    """Nobody wants to know."""


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


def _each(tensor: Any, run: Callable[[Planes], Planes]) -> Any:
    """Runs a tensor (N, 3, H, W) picture by picture; the result is on its device and of its dtype."""
    import torch

    if tensor.ndim != 4 or tensor.shape[1] != 3 or not tensor.is_floating_point():
        raise ImageError(f"cannot use a {tensor.dtype} tensor of shape {tuple(tensor.shape)}: give float (N, 3, H, W)")
    done = [torch.from_numpy(run(picture.detach().float().cpu().numpy())) for picture in tensor]
    return torch.stack(done).to(tensor)


def _target(picture: Any, out: str | os.PathLike[str] | None, suffix: str) -> Path:
    """The file to write; its format is checked before any work is done."""
    source = Path(picture)
    target = Path(out) if out is not None else source.with_name(f"{re.sub(SMALL, '', source.stem)}{suffix}.png")
    images.format_of(target)
    return target


def _only_for_paths(out: object) -> None:
    if out is not None:
        raise ImageError("out is for paths: write the picture that comes back with unshrink.write(image, path)")
