"""Training pictures: folders of large pictures in memory, random crops of them with their bicubic small ones.

Shapes:  N crops, s scale, S side of a crop, K pictures; hr (N, 3, S, S), reference (N, 3, S/s, S/s).
Values:  float32 in [0, 1]; the reference is made from the whole picture, not clipped, and kept to 1/64 of a level.

Pictures live on one device as one long row of pixels.  A crop in any of the eight symmetries is then three numbers:
where it begins, and how far the pixel below and the pixel beside it lie.  So a whole batch is cut by one look-up, on a
GPU without going through the CPU.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image as PilImage
from torch import Tensor

from unshrink.errors import ConfigError
from unshrink.pictures.find import find_pictures
from unshrink.pictures.resize import crop_to_multiple, resize
from unshrink.training.config import DataConfig
from unshrink.training.distributed import ALONE, Processes

FINENESS = 64  # of the reference: steps to a level, so that 16 bits hold what overshoots [0, 255]

Integers = NDArray[np.int64]


def read_rgb(path: Path) -> NDArray[np.uint8]:
    """A picture file as (H, W, 3) uint8.  Pillow alone, so that a training machine needs nothing else.

    Raises:
        ConfigError: it is damaged or no picture.
    """
    try:
        with PilImage.open(path) as picture:
            return np.asarray(picture.convert("RGB"))
    except OSError as error:
        raise ConfigError(f"cannot read the picture {path} ({error}): mend it, or take it out of the folder") from None


class Pixels:
    """Pictures of any sizes as one row of pixels, from which many square crops are cut at once.

    Args:
        sizes: (K, 2) heights and widths.
        dtype: of the values.
    """

    def __init__(self, sizes: Integers, dtype: torch.dtype) -> None:
        areas = sizes.prod(axis=1)
        self.widths, self.starts = sizes[:, 1], np.cumsum(areas) - areas
        self.values = torch.zeros(int(areas.sum()), 3, dtype=dtype)

    def put(self, index: int, picture: NDArray[Any]) -> None:
        """Fills in a picture (H, W, 3)."""
        pixels = picture.reshape(-1, 3)
        self.values.numpy()[self.starts[index] :][: len(pixels)] = pixels

    def walks(self, index: Integers, top: Integers, left: Integers, turn: Integers, side: int) -> Integers:
        """Crops of a side at (top, left), in symmetry 0 to 7 -> (..., 3): first pixel, step down, step right."""
        upward, leftward, swapped = turn & 1, turn & 2, turn & 4
        top, left = np.where(upward, top + side - 1, top), np.where(leftward, left + side - 1, left)
        width = self.widths[index]
        down, right = np.where(upward, -width, width), np.where(leftward, -1, 1)
        down, right = np.where(swapped, right, down), np.where(swapped, down, right)
        return np.stack((self.starts[index] + top * width + left, down, right), axis=-1)

    def cut(self, walks: Tensor, side: int) -> Tensor:
        """(..., 3) -> (..., side, side, 3)."""
        start, down, right = walks[..., None, None].unbind(-3)
        steps = torch.arange(side, device=walks.device)
        return self.values[start + down * steps[:, None] + right * steps]


class Crops:
    """Endless random crops of the pictures in some folders, with the eight symmetries.

    The position in the random sequence is the whole state: two iterators with equal state give equal batches for ever.

    Args:
        config: folders, shares, crop, batch, candidates.
        scale: of the network.
        seed: of the random sequence.
        processes: who share the loading, and every batch: all of them draw the whole, and cut their own part.
        batches: how many batches are drawn at a time, for one step.

    Raises:
        ConfigError: a folder without pictures, or a picture that is damaged or smaller than the crop.
    """

    def __init__(
        self, config: DataConfig, scale: int, seed: int, processes: Processes = ALONE, batches: int = 1
    ) -> None:
        if not config.train:
            raise ConfigError(
                "data.train names no folder: give at least one folder of pictures, your own or one that "
                "tools/fetch_data.py has made"
            )
        self.config, self.scale = config, scale
        self.device, self.share = config.device or processes.device, processes.share(config.batch, batches)
        self.count = config.batch * batches
        self.random = np.random.default_rng(seed)
        folders = [find_pictures(folder) for folder in config.train]
        self.files = [path for folder in folders for path in folder]
        self.sizes = np.array([self._small_size(path) for path in self.files])
        self.odds = np.cumsum(self._odds([len(folder) for folder in folders]))
        self.hr, self.reference = Pixels(self.sizes * scale, torch.uint8), Pixels(self.sizes, torch.int16)
        for index in range(processes.rank, len(self.files), processes.count):
            self._load(index, self.files[index])
        for pixels in (self.hr, self.reference):
            pixels.values = pixels.values.to(self.device)
            processes.merge(pixels.values)

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        """Batches of (hr, reference), without end."""
        crop, small = self.config.crop, self.config.crop // self.scale
        while True:
            index, top, left, turn = (drawn[self.share] for drawn in self._draw())
            calm = self.random.random(self.count)[self.share] < self.config.calm
            large = self.hr.walks(index, top * self.scale, left * self.scale, turn, crop)
            walks = torch.from_numpy(np.stack((large, self.reference.walks(index, top, left, turn, small))))
            of_hr, of_reference = walks.to(self.device)  # each (N, candidates, 3)
            hr = self.hr.cut(of_hr, crop)
            each, best = torch.arange(len(hr), device=hr.device), busyness(hr).argmax(dim=1)
            best[torch.from_numpy(calm).to(self.device)] = 0
            reference = self.reference.cut(of_reference[each, best], small)
            yield _values(hr[each, best], 255), _values(reference, 255 * FINENESS)

    def state(self) -> dict[str, Any]:
        """The position in the random sequence, for a checkpoint."""
        return dict(self.random.bit_generator.state)

    def restore(self, state: dict[str, Any]) -> None:
        """Goes on from a position that ``state`` gave."""
        self.random.bit_generator.state = state

    def _small_size(self, path: Path) -> tuple[int, int]:
        try:
            with PilImage.open(path) as picture:
                width, height = picture.size
        except OSError:
            height, width = read_rgb(path).shape[:2]  # says what is wrong
        if min(width, height) < self.config.crop:
            raise ConfigError(
                f"{path} is {width}x{height}, smaller than data.crop = {self.config.crop}: "
                "remove it or choose a smaller crop"
            )
        return height // self.scale, width // self.scale

    def _load(self, index: int, path: Path) -> None:
        hr = crop_to_multiple(read_rgb(path), self.scale)
        height, width = self.sizes[index]
        self.hr.put(index, hr)
        self.reference.put(index, np.rint(resize(hr, (width, height)) * FINENESS).astype(np.int16))

    def _odds(self, counts: list[int]) -> NDArray[np.float64]:
        """How likely each picture is: by its pixels, within its folder's share if there are shares."""
        pixels = self.sizes.prod(axis=1).astype(np.float64)
        if self.config.shares:
            folders = np.split(pixels, np.cumsum(counts)[:-1])
            pairs = zip(folders, self.config.shares, strict=True)
            pixels = np.concatenate([folder / folder.sum() * share for folder, share in pairs])
        return np.asarray(pixels / pixels.sum())

    def _draw(self) -> tuple[Integers, Integers, Integers, Integers]:
        """Pictures, tops, lefts and turns of a step's crops and all their candidates, each (crops, candidates)."""
        shape = (self.count, self.config.candidates)
        index = np.searchsorted(self.odds[:-1], self.random.random(shape), side="right")
        room = self.sizes[index] - self.config.crop // self.scale + 1
        top, left = self.random.integers(room[..., 0]), self.random.integers(room[..., 1])
        return index, top, left, self.random.integers(8, size=shape)


def busyness(crops: Tensor) -> Tensor:
    """How much detail crops would lose, the sum of differences between neighbours: (..., S, S, 3) uint8 -> (...)."""
    values = crops.short()
    down, right = (values.diff(dim=dim).abs().sum(dim=(-3, -2, -1)) for dim in (-3, -2))
    return down + right


def _values(crops: Tensor, white: int) -> Tensor:
    return crops.permute(0, 3, 1, 2).float() / white
