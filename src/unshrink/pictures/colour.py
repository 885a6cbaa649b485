"""Luma and chroma, and pictures as plain 8-bit RGB."""

import numpy as np
from numpy.typing import NDArray

from unshrink.pictures.image import Image
from unshrink.pictures.resize import resize

RGB = NDArray[np.uint8]
"""(H, W, 3) in [0, 255]."""

LUMA = (65.481 / 255, 128.553 / 255, 24.966 / 255)
"""What R, G and B, each in [0, 1], give to the luma of BT.601, which lies in 16/255 to 235/255."""

CHROMA = ((-37.797 / 255, -74.203 / 255, 112.0 / 255), (112.0 / 255, -93.786 / 255, -18.214 / 255))
"""What R, G and B, each in [0, 1], give to Cb and Cr of BT.601, which lie in 16/255 to 240/255 around 128/255."""


def luma(image: NDArray[np.generic]) -> NDArray[np.float64]:
    """(H, W, 3) RGB in [0, 255] -> (H, W, 1) BT.601 luma in [16, 235], not rounded."""
    return (np.asarray(image, np.float64) @ np.array(LUMA) + 16)[..., None]


def chroma(image: NDArray[np.generic]) -> NDArray[np.float64]:
    """(H, W, 3) RGB in [0, 255] -> (H, W, 2) BT.601 Cb and Cr in [16, 240], not rounded; 128 of a grey."""
    return np.asarray(np.asarray(image, np.float64) @ np.array(CHROMA).T + 128)


def to_uint8(image: NDArray[np.floating]) -> NDArray[np.uint8]:
    """Rounds values in [0, 255] to 8 bits, clipped."""
    return np.asarray(np.rint(np.clip(image, 0, 255)), np.uint8)


def over_white(image: Image) -> RGB:
    """Any picture as 8-bit RGB, transparency over white."""
    top = np.iinfo(image.pixels.dtype).max
    values = image.pixels.astype(np.float32) / np.float32(top)
    if image.alpha:
        alpha = values[..., -1:]
        values = values[..., :-1] * alpha + (1 - alpha)
    return to_uint8(np.broadcast_to(values * 255, (*values.shape[:2], 3)))


def thumbnail(image: Image, longest: int) -> Image:
    """The picture with 8 bits and at most ``longest`` pixels a side, with its profile and EXIF alone."""
    factor = min(1.0, longest / max(image.size))
    width, height = (max(1, round(side * factor)) for side in image.size)
    values = resize(image.pixels, (width, height)) * np.float32(255 / np.iinfo(image.pixels.dtype).max)
    return Image(to_uint8(values), image.icc, image.exif, meaning=image.meaning)
