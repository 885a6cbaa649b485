"""Training pictures: folders of large pictures in memory, random crops of them with their bicubic small ones.

Shapes:  N crops, s scale, H side of a crop; hr (N, 3, H, H), reference (N, 3, H/s, H/s).
Values:  float32 in [0, 1]; the reference is made from the whole picture, neither rounded nor clipped.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image as PilImage
from torch import Tensor

from unshrink.config import DataConfig
from unshrink.errors import ConfigError
from unshrink.files import find_pictures
from unshrink.resize import crop_to_multiple, resize


@dataclass(frozen=True)
class Picture:
    """One training picture: ``hr`` (H, W, 3) uint8 and its bicubic ``reference`` (H/s, W/s, 3) float32 in [0, 255]."""

    hr: NDArray[np.uint8]
    reference: NDArray[np.float32]


def read_rgb(path: Path) -> NDArray[np.uint8]:
    """A picture file as (H, W, 3) uint8.  Pillow alone, so that a training machine needs nothing else."""
    with PilImage.open(path) as picture:
        return np.asarray(picture.convert("RGB"))


class Crops:
    """Endless random crops of the pictures in some folders, with the eight symmetries.

    The position in the random sequence is the whole state: two iterators with equal state give equal batches for ever.

    Args:
        config: folders, shares, crop, batch, candidates.
        scale: of the network.
        seed: of the random sequence.

    Raises:
        ConfigError: a folder without pictures, or a picture smaller than the crop.
    """

    def __init__(self, config: DataConfig, scale: int, seed: int) -> None:
        if not config.train:
            raise ConfigError("data.train names no folder: give at least one folder of pictures")
        self.config, self.scale = config, scale
        self.random = np.random.default_rng(seed)
        folders = [[self._load(path) for path in find_pictures(folder)] for folder in config.train]
        self.pictures = [picture for folder in folders for picture in folder]
        self.odds = np.concatenate([self._odds(folder, i) for i, folder in enumerate(folders)])
        self.odds /= self.odds.sum()

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        """Batches of (hr, reference), without end."""
        while True:
            crops = [self._busiest() for _ in range(self.config.batch)]
            yield _batch([hr for hr, _ in crops]), _batch([reference for _, reference in crops])

    def state(self) -> dict[str, Any]:
        """The position in the random sequence, for a checkpoint."""
        return dict(self.random.bit_generator.state)

    def restore(self, state: dict[str, Any]) -> None:
        """Goes on from a position that ``state`` gave."""
        self.random.bit_generator.state = state

    def _load(self, path: Path) -> Picture:
        hr = crop_to_multiple(read_rgb(path), self.scale)
        if min(hr.shape[:2]) < self.config.crop:
            raise ConfigError(
                f"{path} is {hr.shape[1]}x{hr.shape[0]}, smaller than data.crop = {self.config.crop}: "
                "remove it or choose a smaller crop"
            )
        return Picture(hr, resize(hr, (hr.shape[1] // self.scale, hr.shape[0] // self.scale)))

    def _odds(self, folder: list[Picture], index: int) -> NDArray[np.float64]:
        pixels = np.array([picture.hr.shape[0] * picture.hr.shape[1] for picture in folder], np.float64)
        if not self.config.shares:
            return pixels
        return np.asarray(pixels / pixels.sum() * self.config.shares[index])

    def _busiest(self) -> tuple[NDArray[np.uint8], NDArray[np.float32]]:
        candidates = [self._draw() for _ in range(self.config.candidates)]
        if len(candidates) == 1:
            return candidates[0]
        return max(candidates, key=lambda pair: busyness(pair[0]))

    def _draw(self) -> tuple[NDArray[np.uint8], NDArray[np.float32]]:
        picture = self.pictures[self.random.choice(len(self.pictures), p=self.odds)]
        small = self.config.crop // self.scale
        height, width = picture.reference.shape[:2]
        top, left = self.random.integers(height - small + 1), self.random.integers(width - small + 1)
        turn = int(self.random.integers(8))
        rows, cols = slice(top, top + small), slice(left, left + small)
        large = tuple(slice(part.start * self.scale, part.stop * self.scale) for part in (rows, cols))
        return symmetry(picture.hr[large], turn), symmetry(picture.reference[rows, cols], turn)


def symmetry(image: NDArray[Any], turn: int) -> NDArray[Any]:
    """One of the eight symmetries of the square, 0 to 7: (H, H, C) -> (H, H, C)."""
    turned = np.rot90(image, turn % 4)
    return turned[:, ::-1] if turn >= 4 else turned


def busyness(image: NDArray[np.uint8]) -> float:
    """Mean absolute difference between neighbours: how much detail a crop would lose."""
    values = image.astype(np.int16)
    return float(np.abs(np.diff(values, axis=0)).mean() + np.abs(np.diff(values, axis=1)).mean())


def _batch(images: list[NDArray[Any]]) -> Tensor:
    stacked = np.ascontiguousarray(np.stack(images).transpose(0, 3, 1, 2))
    return torch.from_numpy(stacked).float() / 255
