"""What sites do to a small picture, as a degradation: JPEG and WebP, once or twice, or nothing.

What arrives has the values of the real codecs, which have no gradient: `jpeg` lends its own.

Shapes:  N crops, small (N, 3, h, w) in [0, 1] on the 8-bit grid; drawn (N, 5) in [0, 1).
"""

import io

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image as PilImage
from torch import Tensor

from unshrink.training.jpeg import jpeg

WEBP, TWICE, UNTOUCHED = 0.1, 0.1, 0.05
"""Shares of crops that are written as WebP, as JPEG twice, and not at all; all others are written as JPEG once."""
QUALITIES = (30, 97)
SUBSAMPLED = 0.65
"""Share of the JPEGs whose chroma is in 4:2:0."""


def draw_codecs(small: Tensor, generator: torch.Generator) -> Tensor:
    """What happens to each crop, and quality and subsampling of the first time and of the second: (N, 5)."""
    return torch.rand(len(small), 5, generator=generator, device=small.device)


def codecs(small: Tensor, drawn: Tensor, strength: float, moved: object) -> Tensor:
    """The small pictures as they arrive, on the 8-bit grid."""
    what, first, second = drawn[:, 0], drawn[:, 1:3], drawn[:, 3:]
    arrived = _coded(small, first, webp=what < WEBP)
    twice = (what >= WEBP) & (what < WEBP + TWICE)
    if twice.any():
        arrived = arrived.index_put((twice,), _coded(arrived[twice], second[twice], webp=what[twice] < 0))
    return torch.where((what >= 1 - UNTOUCHED)[:, None, None, None], small, arrived)


def _coded(small: Tensor, drawn: Tensor, webp: Tensor) -> Tensor:
    low, high = QUALITIES
    quality, subsampled = (low + drawn[:, 0] * (high + 1 - low)).floor(), (drawn[:, 1] < SUBSAMPLED) | webp
    imitated = jpeg(small, quality, subsampled)
    crops = (small.detach() * 255).round().byte().permute(0, 2, 3, 1).cpu().numpy()
    settings = zip(crops, quality.tolist(), subsampled.tolist(), webp.tolist(), strict=True)
    real = np.stack([_through_file(*crop) for crop in settings])
    values = torch.from_numpy(real).permute(0, 3, 1, 2).to(small) / 255
    return imitated + (values - imitated).detach()


def _through_file(crop: NDArray[np.uint8], quality: float, subsampled: bool, webp: bool) -> NDArray[np.uint8]:
    """(h, w, 3) -> the same, written and read."""
    with io.BytesIO() as stream:
        options = {} if webp else {"subsampling": 2 if subsampled else 0}
        PilImage.fromarray(crop).save(stream, "WEBP" if webp else "JPEG", quality=int(quality), **options)
        with PilImage.open(stream) as picture:
            return np.asarray(picture.convert("RGB"))
