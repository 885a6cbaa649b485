"""A model ready to run on pictures: weights, a backend to run them, and what lies between pictures and tensors.

Padding, colour, alpha, tiles and provenance are dealt with here and nowhere else.

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

from unshrink import alpha as transparency
from unshrink import backends, provenance, refine
from unshrink import image as images
from unshrink import weights as zoo
from unshrink.errors import ConfigError, ImageError, UnshrinkError, UnshrinkWarning
from unshrink.image import Image
from unshrink.kinds import is_path, is_tensor, unwrap
from unshrink.provenance import Record
from unshrink.refine import Refined
from unshrink.resize import resize
from unshrink.tiling import BYTES_PER_PIXEL, BYTES_PER_PIXEL_OF_GRADIENT, halo, largest_side, run_tiled

Picture = TypeVar("Picture")  # a path, an Image, a PIL image, an array (H, W[, C]) or a tensor (N, 3, H, W)
Pixels = NDArray[np.unsignedinteger]
Planes = NDArray[np.float32]
Size = tuple[int, int]
Report = Callable[[Refined], object]

SMALL = r"_x[2348]$"  # what the name of a small picture ends in, unless its maker chose another


def load(
    model: str | os.PathLike[str],
    *,
    backend: str = "auto",
    device: str = "cpu",
    threads: int = 0,
    fast: bool | None = None,
) -> "Rescaler":
    """A rescaler with the given weights.

    Args:
        model: the name of installed weights, such as "irn-x4", or the path of a weights file.
        backend: "openvino", "onnxruntime", "torch", or "auto" for the fastest one that is installed.
        device: where the torch backend runs: "cpu", "cuda", ...
        threads: CPU threads; 0 for all cores.
        fast: subnets in bfloat16, which is less than 0.02 dB worse; None: where the processor is fast at it.  Small
            pictures are then not byte for byte those of another machine, but either restores those of the other.

    Raises:
        ModelNotFoundError: no such weights.
        ConfigError: no such backend or device, or one that cannot be fast.
        WeightsError: the file is damaged, altered or cannot be run here.
        MissingDependencyError: the backend is not installed.

    Example:
        >>> r = load("irn-x4")
        >>> small = r.downscale(np.zeros((480, 640, 3), np.uint8))
        >>> small.shape
        (120, 160, 3)
    """
    weights = zoo.load(model)
    return Rescaler(weights, backends.make(weights, backend, threads=threads, device=device, fast=fast))


@dataclass(frozen=True)
class _Search:
    """How much effort to spend on each picture, and whom to tell what it came to."""

    effort: int
    report: Report


class Rescaler:
    """Downscales pictures, and restores what it downscaled.

    ``downscale`` and ``upscale`` take a path, an ``Image``, a PIL image, an array (H, W) or (H, W, C) of uint8 or
    uint16, or a torch tensor (N, 3, H, W) in [0, 1], and give back the same kind.

    Args:
        weights: the trained network.
        backend: what runs it.
        tile: largest side, in small pixels, of what is run at once; 0 to choose by the size of the picture.
    """

    def __init__(self, weights: zoo.Weights, backend: backends.Backend, tile: int = 0) -> None:
        self.weights, self.backend, self.tile = weights, backend, tile
        self.scale = weights.scale

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
        search = _Search(effort, report or (lambda refined: None))
        if is_path(picture):
            target = _target(picture, out, f"_x{self.scale}")
            image = images.read(picture)
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
        overwrite: bool = False,
    ) -> Picture:
        """Restores the large picture.

        Args:
            picture: see the class.  Of a path, the large picture is written to a file and its path returned.
            out: for a path: the file to write, its extension choosing the format.  Default ``<stem>_restored.png``
                beside the picture, without the ``_x<scale>`` of the small one.
            size: (width, height) to come back to; default: what the record says, else s times the small size.
            seed: of the draw of z, for weights that draw it.
            overwrite: for a path: replace a file that exists.

        Returns:
            The large picture of the same kind.

        Warns:
            UnshrinkWarning: a file or Image has no record, was changed since it was made, or is of other weights.

        Raises:
            ImageError: the picture cannot be read or written, or ``size`` does not fit it.
            ProvenanceError: its record is malformed or from a newer version.
        """
        if is_path(picture):
            target = _target(picture, out, "_restored")
            images.write(self._upscale(images.read(picture), size, seed), target, lossy=True, overwrite=overwrite)
            return cast(Picture, type(picture)(target))  # type: ignore[call-arg]
        _only_for_paths(out)
        if is_tensor(picture):
            return cast(Picture, _each(picture, lambda lr: self._up(lr, size, seed).clip(0, 1)))
        image, wrap = unwrap(picture)
        return cast(Picture, wrap(self._upscale(image, size, seed, recorded=not isinstance(picture, np.ndarray))))

    # -- images ----------------------------------------------------------------------------------------------------

    def _downscale(self, image: Image, depth: int, search: "_Search") -> Image:
        colour, alpha = _split(image.pixels)
        if alpha is not None:
            colour = transparency.spread(colour, alpha)
        small = self._refined(self._downscale_pixels(colour, depth), colour, search)
        if alpha is not None:
            small_alpha = np.full_like(small[..., :1], 2**depth - 1)
            if not _is_opaque(alpha):
                small_alpha = transparency.pin_small(self._downscale_pixels(alpha, depth), alpha, self.scale)
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

    def _upscale(self, image: Image, size: Size | None, seed: int, recorded: bool = True) -> Image:
        record, image = provenance.extract(image)
        intact = record is not None and record.pixels == provenance.checksum(image.pixels)
        if recorded:
            _warn_of(record, intact, self.weights)
        depth = record.depth if record else image.depth
        if record and size is None and self._fits(record.size, image.size):
            size = record.size
        colour, alpha = _split(_with_channels(image.pixels, record.channels) if record and intact else image.pixels)
        large = self._upscale_pixels(colour, depth, size, seed)
        if alpha is not None:
            large_alpha = np.full_like(large[..., :1], 2**depth - 1)
            if not _is_opaque(alpha):
                large_alpha = self._upscale_pixels(alpha, depth, size, seed)
                large_alpha = transparency.pin_restored(large_alpha, alpha, self.scale)
            large = np.concatenate((np.where(large_alpha == 0, 0, large), large_alpha), axis=2)
        return replace(image, pixels=large)

    def _downscale_pixels(self, pixels: Pixels, depth: int) -> Pixels:
        """(H, W, 1 or 3) integers -> (h, w, same) integers of ``depth`` bits."""
        return _to_pixels(self._down(_to_planes(pixels)), pixels.shape[2], depth)

    def _upscale_pixels(self, pixels: Pixels, depth: int, size: Size | None, seed: int) -> Pixels:
        """(h, w, 1 or 3) integers -> (H, W, same) integers of ``depth`` bits."""
        return _to_pixels(self._up(_to_planes(pixels), size, seed), pixels.shape[2], depth)

    def _downscale_planes(self, hr: Planes, search: "_Search") -> Planes:
        """(3, H, W) in [0, 1] -> (3, h, w) on the 8-bit grid."""
        small = _to_pixels(self._down(hr), 3, 8)
        return _to_planes(self._refined(small, _to_pixels(hr, 3, 16), search))

    # -- search ----------------------------------------------------------------------------------------------------

    def _refined(self, small: Pixels, large: Pixels, search: "_Search") -> Pixels:
        """The small pixels (h, w, 1 or 3), or others of which more of ``large`` (H, W, same) comes back."""
        if not search.effort:
            return small
        depth, channels = 8 * small.itemsize, small.shape[2]
        start, hr = _to_planes(small), self._padded(_to_planes(large))
        reference = resize(hr.transpose(1, 2, 0), (small.shape[1], small.shape[0])).transpose(2, 0, 1)
        reference = _to_planes(_to_pixels(reference.astype(np.float32), channels, depth))
        found = refine.descend(self._gradient(hr, channels), start, search.effort, refine.RATE / self.scale**2)
        near = refine.stay_close(found, start, reference, lambda lr: _to_planes(_to_pixels(lr, channels, depth)))
        other = _to_pixels(near, channels, depth)
        before, after = (self._restored_psnr(lr, large) for lr in (small, other))
        if after == before or any(a < b for a, b in zip(after, before, strict=True)):
            search.report(Refined(0.0, 0.0, 0.0))
            return small
        lr_before, lr_after = (refine.fidelity(lr, reference)[0] for lr in (start, near))
        search.report(Refined(after[0] - before[0], after[1] - before[1], lr_after - lr_before))
        return other

    def _gradient(self, hr: Planes, channels: int) -> Callable[[Planes], Planes]:
        """Planes (3, h, w) -> half the gradient of the squared error against ``hr``; for grey, that of equal planes."""
        z = self._latent(hr.shape[1] // self.scale, hr.shape[2] // self.scale, 0)

        def gradient(lr: Planes) -> Planes:
            inputs = [(lr, 1), (z, 1), (hr, self.scale)]
            slope = self._tiled(self.backend.gradient, inputs, (3, 1), refine.HALO, BYTES_PER_PIXEL_OF_GRADIENT)
            return slope if channels == 3 else np.broadcast_to(slope.mean(axis=0), slope.shape)

        return gradient

    def _restored_psnr(self, small: Pixels, large: Pixels) -> tuple[float, float]:
        """PSNR in dB of what comes back of ``small``: of the luma, and over all values."""
        restored = self._upscale_pixels(small, 8 * large.itemsize, (large.shape[1], large.shape[0]), 0)
        return refine.fidelity(*(_to_planes(pixels) for pixels in (restored, large)))

    # -- planes ----------------------------------------------------------------------------------------------------

    def _down(self, hr: Planes) -> Planes:
        """(3, H, W) in [0, 1] -> (3, h, w), neither clipped nor rounded."""
        return self._tiled(self.backend.down, [(self._padded(hr), self.scale)], (3, 1))

    def _padded(self, hr: Planes) -> Planes:
        """(3, H, W) -> the same with sides that are multiples of the scale."""
        padding = [(0, -side % self.scale) for side in hr.shape[1:]]
        return np.pad(hr, [(0, 0), *padding], mode="reflect")  # reflects as far as legal, then repeats

    def _up(self, lr: Planes, size: Size | None, seed: int) -> Planes:
        """(3, h, w) in [0, 1] -> (3, H, W), neither clipped nor rounded."""
        _, height, width = lr.shape
        size = size or (width * self.scale, height * self.scale)
        if not self._fits(size, (width, height)):
            raise ImageError(
                f"size {size[0]}x{size[1]} does not fit a small picture of {width}x{height}: "
                f"at scale {self.scale} it comes from pictures of up to {width * self.scale}x{height * self.scale}, "
                f"less than {self.scale} smaller on each side"
            )
        z = self._latent(height, width, seed)
        return self._tiled(self.backend.up, [(lr, 1), (z, 1)], (3, self.scale))[:, : size[1], : size[0]]

    def _latent(self, height: int, width: int, seed: int) -> Planes:
        shape = (3 * (self.scale**2 - 1), height, width)
        if self.weights.latent == "zero":
            return np.zeros(shape, np.float32)
        return np.random.default_rng(seed).standard_normal(shape, np.float32)

    def _tiled(
        self,
        run: Callable[..., Planes],
        inputs: list[tuple[Planes, int]],
        out: tuple[int, int],
        reach: int | None = None,
        bytes_per_pixel: int = BYTES_PER_PIXEL,
    ) -> Planes:
        reach = halo(self.weights.config) if reach is None else reach
        array, factor = inputs[0]
        height, width = array.shape[1] // factor, array.shape[2] // factor
        side = self.tile or largest_side(height, width, self.scale, reach, bytes_per_pixel)
        result = run_tiled(run, inputs, out, side, reach)
        if not np.isfinite(result).all():
            raise UnshrinkError(
                f"{self.weights.name} on {self.backend.name} gave values that are not numbers: "
                "nothing was written; try another backend and report this"
            )
        return result

    def _fits(self, large: Size, small: Size) -> bool:
        return all(-(-side // self.scale) == little for side, little in zip(large, small, strict=True))


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


def _to_planes(pixels: Pixels) -> Planes:
    """(H, W, 1 or 3) integers -> (3, H, W) float32 in [0, 1]; grey is repeated."""
    planes = pixels.transpose(2, 0, 1).astype(np.float32) / np.float32(np.iinfo(pixels.dtype).max)
    return np.ascontiguousarray(np.broadcast_to(planes, (3, *planes.shape[1:])))


def _to_pixels(planes: Planes, channels: int, depth: int) -> Pixels:
    """(3, H, W) -> (H, W, channels) integers of ``depth`` bits; grey is the mean of the three."""
    if channels == 1:
        planes = planes.mean(axis=0, keepdims=True)
    top = 2**depth - 1
    integers = np.rint(planes.clip(0, 1) * np.float32(top)).astype(np.uint8 if depth == 8 else np.uint16)
    return np.ascontiguousarray(integers.transpose(1, 2, 0))


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
