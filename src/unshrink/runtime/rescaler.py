"""A model ready to run on pictures: weights, a backend to run them, and the kinds of pictures that users hand in."""

import os
import re
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, Protocol, TypeVar, overload

import numpy as np

from unshrink import weights as zoo
from unshrink.errors import ConfigError, ImageError
from unshrink.pictures import formats
from unshrink.pictures import io as images
from unshrink.pictures.formats import Loss
from unshrink.pictures.image import Image, PassingImage
from unshrink.pictures.sizes import MOST_REDUCED, SUFFIX, Goal, Size, shrunk
from unshrink.runtime import backends, memory
from unshrink.runtime.images import ImagePipeline, Report, Search, ignore
from unshrink.runtime.inputs import is_path, is_tensor, unwrap
from unshrink.runtime.pieces import Planes
from unshrink.runtime.streaming import Progress

if TYPE_CHECKING:
    import PIL.Image


class _Tensor(Protocol):
    """A torch tensor, as far as type checkers need to know: they often have no torch."""

    def detach(self) -> Any: ...


Picture = TypeVar("Picture", bound="str | os.PathLike[str] | Image | PIL.Image.Image | np.ndarray | _Tensor")


def load(
    model: str | os.PathLike[str] | None = None,
    *,
    scale: int | None = None,
    backend: str = "auto",
    device: str = "cpu",
    threads: int = 0,
    tile: int = 0,
    precision: str = "auto",
) -> "Rescaler":
    """A rescaler with the given weights.

    Args:
        model: the name of installed weights, such as "irn-x4", or the path of a weights file.  Default: the weights
            for the scale.
        scale: how many times smaller each side becomes.  Default: that of the model; without a model, 2.
        backend: "kernels", "openvino", "onnxruntime", "torch", or "auto" for the fastest that is installed.
        device: where the torch backend runs: "cpu", "cuda", ...
        threads: CPU threads; 0 for all cores.
        tile: see `Rescaler`.
        precision: "float32" for small pictures that are all but the same on all machines, "bfloat16" for speed, or
            "auto" for bfloat16 where the processor is fast at it: with AMX, or AMD's AVX-512 BF16.  Either restores
            what the other made, and bfloat16 is at most 0.02 dB worse.

    Raises:
        ConfigError: a scale that is not the model's, a backend, a device or a precision that there is not,
            or a tile that is too small for the network.
        ModelNotFoundError: no such weights.
        WeightsError: the file is damaged, altered or cannot be run here.
        MissingDependencyError: the backend is not installed.

    Example:
        >>> r = load(scale=4)
        >>> small = r.downscale(np.zeros((480, 640, 3), np.uint8))
        >>> small.shape
        (120, 160, 3)
    """
    weights = zoo.load(zoo.for_scale(scale or zoo.DEFAULT_SCALE).name if model is None else model)
    if scale not in (None, weights.scale):
        raise ConfigError(f"scale {scale} contradicts the model: {weights.name} has scale {weights.scale}")
    return Rescaler(weights, backends.make(weights, backend, threads=threads, device=device, precision=precision), tile)


class Rescaler:
    """Downscales pictures, and restores what it downscaled.

    ``downscale`` and ``upscale`` take a picture of any of these kinds, and give back the same kind:

    - a path: the result is written to a file, and its path returned;
    - an ``Image``, or a PIL image;
    - an array (H, W) or (H, W, C) of uint8 or uint16;
    - a torch tensor (N, 3, H, W) in [0, 1];
    - a list of these: a list of the results.

    The bytes of a picture file, or a binary stream of them, give an ``Image``.

    Small pictures carry a record of what made them and how large the picture was: as files, as ``Image`` and as PIL
    images.  Save these with `unshrink.save`; Pillow's own ``save`` keeps it too, until Pillow makes a copy.  Arrays and
    tensors cannot carry it: give ``upscale`` the ``size`` to come back to, or downscale an ``Image`` of the array.

    A rescaler can be pickled: the weights go along, and the backend is made anew.

    Args:
        weights: the trained network.
        backend: what runs it.
        tile: longest side, in pixels of the large picture, of what is run at once; 0 to choose by the free memory.
            Each piece has the surroundings that its result depends on: the results are the same whatever the tile.

    Raises:
        ConfigError: a tile in which nothing would be left beside the surroundings.
    """

    def __init__(self, weights: zoo.Weights, backend: backends.Backend, tile: int = 0) -> None:
        self.weights, self.backend, self.tile = weights, backend, tile
        self.scale, self._pipeline = weights.scale, ImagePipeline(weights, backend, tile)

    @property
    def name(self) -> str:
        """The name of the weights."""
        return self.weights.name

    def __repr__(self) -> str:
        """Name, scale and backend."""
        return f"Rescaler({self.weights.name!r}, scale={self.scale}, backend={self.backend.name!r})"

    def __reduce__(self) -> tuple[Any, ...]:
        return Rescaler, (self.weights, self.backend, self.tile)

    @overload
    def downscale(
        self,
        picture: bytes | BinaryIO | PassingImage,
        *,
        scale: float | None = None,
        fit: int | Size | None = None,
        max_pixels_out: int | None = None,
        depth: int | None = None,
        mark: bool | None = None,
        effort: int = 0,
        report: Report | None = None,
        progress: Progress | None = None,
    ) -> Image: ...

    @overload
    def downscale(
        self,
        picture: list[Picture],
        *,
        scale: float | None = None,
        fit: int | Size | None = None,
        max_pixels_out: int | None = None,
        depth: int | None = None,
        mark: bool | None = None,
        effort: int = 0,
        report: Report | None = None,
        progress: Progress | None = None,
        overwrite: bool = False,
    ) -> list[Picture]: ...

    @overload
    def downscale(
        self,
        picture: Picture,
        out: str | os.PathLike[str] | None = None,
        *,
        scale: float | None = None,
        fit: int | Size | None = None,
        max_pixels_out: int | None = None,
        depth: int | None = None,
        mark: bool | None = None,
        effort: int = 0,
        report: Report | None = None,
        progress: Progress | None = None,
        overwrite: bool = False,
    ) -> Picture: ...

    def downscale(
        self,
        picture: Any,
        out: str | os.PathLike[str] | None = None,
        *,
        scale: float | None = None,
        fit: int | Size | None = None,
        max_pixels_out: int | None = None,
        depth: int | None = None,
        mark: bool | None = None,
        effort: int = 0,
        report: Report | None = None,
        progress: Progress | None = None,
        overwrite: bool = False,
    ) -> Any:
        """Makes a picture small.

        Args:
            picture: see the class.  Of a path, the small picture is written to a file and its path returned.
            out: for a path: the file to write, its extension choosing the format: a lossless one, unless the weights
                are made for lossy ones, which are then written at quality 85.  Default
                ``<stem>_x<scale>.png`` beside the picture, or ``<stem>_small.png`` where no scale is given but a size.
            scale: how many times smaller each side becomes, from 1.1 to 1.5 times the scale of the weights; default:
                theirs.  For another, the picture is resized to their multiple of the small one first, and what comes
                back to what it was: `pictures.resample`.
            fit: instead, the longest side of the small picture, or the (width, height) of a box that it fits into.
            max_pixels_out: instead, the most pixels of the small picture.
            depth: bits of the small picture's values, 8 or 16; default: the large one's, or what the format holds.
            mark: whether the pixels themselves are to say which weights made them, for when a site removes the record
                (`pictures.mark`): about 46 dB of the small picture, more of larger ones.  Default: as the weights are
                made; those for lossy formats mark.  A picture that is too small or too flat goes without, and a warning
                says so.
            effort: 0 to 9 gradient steps in search of a small picture of which more comes back (`runtime.search`).
                Each takes as long as a few runs of the network.  The small picture stays within 0.5 dB of its likeness
                to the bicubic one, or above 48 dB; what restores is the same, and never restores worse.
                Alpha is not searched.
            report: what to call with what a search came to, once a picture.
            progress: what to call with the share that is done, 0 to 1, before and after each piece of a run.
            overwrite: for a path: replace a file that exists.

        Returns:
            The small picture, ceil(W/s) x ceil(H/s), of the same kind.

        Raises:
            ImageError: the picture cannot be read, used or written; or it is as small already.
            UsageError: several of scale, fit and max_pixels_out, or one out of range.
            ConfigError: an effort that there is not, a scale that is too large for the weights, or a mark of weights
                that are not installed.
            WeightsError: an effort above 0 with weights without the graph of the gradient, unless on torch.
        """
        search, goal = Search(effort, report or ignore, progress or ignore), Goal(scale, fit, max_pixels_out)
        if isinstance(picture, list):
            options = {"depth": depth, "mark": mark, "effort": effort, "report": report, "overwrite": overwrite}
            options |= vars(goal)
            return _each_of(picture, out, partial(self.downscale, **options), search.progress)
        if is_path(picture):
            target = _target(picture, out, goal.suffix(self.scale))
            image = images.scan(picture)
            depth = depth or min(image.depth, formats.of_path(target).depth)
            small = self._pipeline.down(image, self._small_size(goal, image.size), depth, search, mark)
            loss = None if formats.of_path(target).lossless else Loss()
            images.write(small, target, lossy=zoo.bears_changes(self.weights), loss=loss, overwrite=overwrite)
            return type(picture)(target)
        _only_for_paths(out)
        if is_tensor(picture):
            size = lambda hr: self._small_size(goal, hr.shape[:0:-1])
            return _each_plane(picture, lambda hr: self._pipeline.down_planes(hr, size(hr), search, mark))
        given, wrap = unwrap(picture)
        small_size = self._small_size(goal, given.size)
        return wrap(self._pipeline.down(given, small_size, depth or given.depth, search, mark))

    def _small_size(self, goal: Goal, large: Size) -> Size:
        """What a picture becomes."""
        ratio = goal.ratio(large, self.scale)
        if ratio > self.scale * MOST_REDUCED:
            raise ConfigError(
                f"each side would become {float(ratio):.4g} times smaller, and {self.name} makes it "
                f"{float(self.scale * MOST_REDUCED):g} times smaller at most: choose weights of a larger scale"
            )
        return shrunk(large, ratio)

    @overload
    def upscale(
        self,
        picture: bytes | BinaryIO,
        *,
        size: Size | None = None,
        seed: int = 0,
        progress: Progress | None = None,
    ) -> Image: ...

    @overload
    def upscale(
        self,
        picture: PassingImage,
        *,
        size: Size | None = None,
        seed: int = 0,
        progress: Progress | None = None,
    ) -> PassingImage: ...

    @overload
    def upscale(
        self,
        picture: list[Picture],
        *,
        size: Size | None = None,
        seed: int = 0,
        progress: Progress | None = None,
        overwrite: bool = False,
    ) -> list[Picture]: ...

    @overload
    def upscale(
        self,
        picture: Picture,
        out: str | os.PathLike[str] | None = None,
        *,
        size: Size | None = None,
        seed: int = 0,
        progress: Progress | None = None,
        overwrite: bool = False,
    ) -> Picture: ...

    def upscale(
        self,
        picture: Any,
        out: str | os.PathLike[str] | None = None,
        *,
        size: Size | None = None,
        seed: int = 0,
        progress: Progress | None = None,
        overwrite: bool = False,
    ) -> Any:
        """Restores the large picture.

        Args:
            picture: see the class.  Of a path, the large picture is written to a file and its path returned.
            out: for a path: the file to write, its extension choosing the format.  Default ``<stem>_restored.png``
                beside the picture, without the ``_x<scale>`` of the small one.
            size: (width, height) to come back to; default: what the record or the mark says, else s times the small
                size.  It must be one that can have become the small size.
            seed: of the draw of z, for weights that draw it.
            progress: what to call with the share that is done, 0 to 1, before and after each piece of a run.
            overwrite: for a path: replace a file that exists.

        Returns:
            The large picture of the same kind.

        Warns:
            UnshrinkWarning: a picture that can carry a record has neither it nor a mark, was changed since though the
                weights are not made for that, or is of other weights.

        Raises:
            ImageError: the picture cannot be read or written, or ``size`` does not fit it.
            ProvenanceError: its record is malformed or from a newer version.
        """
        show = progress or ignore
        if isinstance(picture, list):
            options = {"size": size, "seed": seed, "overwrite": overwrite}
            return _each_of(picture, out, partial(self.upscale, **options), show)
        if is_path(picture):
            target = _target(picture, out, "_restored")
            large = self._pipeline.up(images.scan(picture), size, seed, show)
            images.write(large, target, lossy=True, overwrite=overwrite)
            return type(picture)(target)
        _only_for_paths(out)
        if is_tensor(picture):
            return _each_plane(picture, lambda lr: self._pipeline.up_planes(lr, size, seed, show))
        given, wrap = unwrap(picture)
        large = self._pipeline.up(given, size, seed, show, recorded=not isinstance(picture, np.ndarray))
        return large if isinstance(picture, PassingImage) else wrap(large.whole())

    def release(self) -> None:
        """Gives the system back what memory the last pictures left; for processes that live long between large ones."""
        self.backend.release()
        memory.trim()


def _each_of(pictures: list[Any], out: object, run: Callable[..., Any], progress: Progress) -> list[Any]:
    """The results of a list; the progress is that of the whole."""
    _only_for_paths(out)

    def part(index: int) -> Progress:
        return lambda share: progress((index + share) / len(pictures))

    return [run(picture, progress=part(index)) for index, picture in enumerate(pictures)]


def _each_plane(tensor: Any, run: Callable[[Planes], Planes]) -> Any:
    """Runs a tensor (N, 3, H, W) picture by picture; the result is on its device and of its dtype."""
    import torch

    if tensor.ndim != 4 or tensor.shape[1] != 3 or not tensor.is_floating_point():
        raise ImageError(f"cannot use a {tensor.dtype} tensor of shape {tuple(tensor.shape)}: give float (N, 3, H, W)")
    done = [torch.from_numpy(run(picture.detach().float().cpu().numpy())) for picture in tensor]
    return torch.stack(done).to(tensor)


def _target(picture: Any, out: str | os.PathLike[str] | None, suffix: str) -> Path:
    """The file to write; its format is checked before any work is done."""
    source = Path(picture)
    target = Path(out) if out is not None else source.with_name(f"{re.sub(SUFFIX, '', source.stem)}{suffix}.png")
    formats.of_path(target)
    return target


def _only_for_paths(out: object) -> None:
    if out is not None:
        raise ImageError("out is for one path: write what comes back with unshrink.save(picture, path)")
