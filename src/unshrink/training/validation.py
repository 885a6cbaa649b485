"""Figures of a network over a folder of pictures, as training sees them."""

from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from unshrink.evaluation.protocol import Figures, figures, mean
from unshrink.network.network import Network
from unshrink.pictures.colour import to_uint8
from unshrink.pictures.find import find_pictures
from unshrink.pictures.resize import crop_to_multiple, resize
from unshrink.training.data import read_rgb
from unshrink.training.distributed import ALONE, Processes


@torch.no_grad()
def validate(network: Network, folder: str, device: str, processes: Processes = ALONE) -> Figures:
    """Mean figures over a folder of pictures, cut to multiples of the scale, through 8-bit small and large pictures.

    Args:
        network: it stays as it is.
        folder: of pictures; those who share the work all get the mean over all pictures.
        device: where the network is.
        processes: who share the work.

    Raises:
        ConfigError: no pictures there, or one that is damaged.
    """
    scale = network.config.scale

    def measure(path: Path) -> Figures:
        hr = crop_to_multiple(read_rgb(path), scale)
        lr = network.downscale(to_tensor(hr).to(device))
        restored = network.upscale(lr, torch.Generator(device).manual_seed(0))
        return figures(hr, to_picture(lr), to_picture(restored), scale)

    return mean(processes.spread(measure, find_pictures(folder)))


def bicubic(folder: str, scale: int, processes: Processes = ALONE) -> Figures:
    """The same figures of bicubic both ways, which every network is there to beat.

    Raises:
        ConfigError: no pictures there, or one that is damaged.
    """

    def measure(path: Path) -> Figures:
        hr = crop_to_multiple(read_rgb(path), scale)
        height, width = hr.shape[:2]
        lr = to_uint8(resize(hr, (width // scale, height // scale)))
        return figures(hr, lr, to_uint8(resize(lr, (width, height))), scale)

    return mean(processes.spread(measure, find_pictures(folder)))


def to_tensor(image: np.ndarray[Any, np.dtype[np.uint8]]) -> Tensor:
    """(H, W, 3) uint8 -> (1, 3, H, W) float32 in [0, 1]."""
    return torch.from_numpy(image.copy()).permute(2, 0, 1)[None].float() / 255


def to_picture(tensor: Tensor) -> np.ndarray[Any, np.dtype[np.uint8]]:
    """(1, 3, H, W) in [0, 1] -> (H, W, 3) uint8, rounded and clipped."""
    return to_uint8(tensor[0].permute(1, 2, 0).float().cpu().numpy() * 255)
