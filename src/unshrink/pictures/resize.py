"""Antialiased bicubic (and the other classic) resizing as MATLAB's imresize does it.

It is the field's reference for a small picture: the guidance in training, the baseline in every table.

Shapes:  H, W the picture, h, w its new size, C channels.
Values:  float arrays in, float arrays out, neither rounded nor clipped.
"""

from collections.abc import Callable
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

Kernel = Callable[[NDArray[np.float64]], NDArray[np.float64]]


def cubic(x: NDArray[np.float64]) -> NDArray[np.float64]:
    """Keys' cubic convolution kernel with a = -0.5, support 4.  Reference: Keys, IEEE TASSP 29(6), 1981."""
    x = np.abs(x)
    inner = (1.5 * x - 2.5) * x**2 + 1
    outer = ((-0.5 * x + 2.5) * x - 4) * x + 2
    return np.where(x <= 1, inner, np.where(x <= 2, outer, 0.0))


def lanczos(x: NDArray[np.float64]) -> NDArray[np.float64]:
    """Windowed sinc with three lobes, support 6.  Reference: Duchon, J. Appl. Meteorology 18, 1979."""
    return np.where(np.abs(x) < 3, np.sinc(x) * np.sinc(x / 3), 0.0)


def triangle(x: NDArray[np.float64]) -> NDArray[np.float64]:
    """Linear interpolation, support 2."""
    return np.maximum(1 - np.abs(x), 0.0)


KERNELS: dict[str, tuple[Kernel, float]] = {
    "bilinear": (triangle, 2.0),
    "bicubic": (cubic, 4.0),
    "lanczos": (lanczos, 6.0),
}


def resize(image: NDArray[np.generic], size: tuple[int, int], kernel: str = "bicubic") -> NDArray[np.float32]:
    """Resizes a picture along both sides; shrinking widens the kernel (antialiasing), edges are mirrored.

    Args:
        image: (H, W, C), any float or integer dtype and range.
        size: the new (width, height).
        kernel: "bilinear", "bicubic" or "lanczos".

    Returns:
        (h, w, C) float32 in the range of ``image``, neither rounded nor clipped.
    """
    width, height = size
    rows = resize_matrix(image.shape[0], height, kernel)
    cols = resize_matrix(image.shape[1], width, kernel)
    return apply_along(apply_along(np.asarray(image, np.float32), rows, 0), cols, 1)


Taps = tuple[NDArray[np.intp], NDArray[np.float32]]


def crop_to_multiple(image: NDArray[np.uint8], scale: int) -> NDArray[np.uint8]:
    """The picture (H, W, C) without the last rows and columns that no multiple of ``scale`` covers."""
    height, width = (side - side % scale for side in image.shape[:2])
    return image[:height, :width]


@lru_cache(maxsize=64)
def resize_matrix(old: int, new: int, kernel: str) -> Taps:
    """For each of ``new`` places, the taps' positions in the old row and their weights: two (new, taps) arrays."""
    function, support = KERNELS[kernel]
    ratio = new / old
    stretch = min(ratio, 1.0)
    width = support / stretch
    centre = (np.arange(new) + 0.5) / ratio - 0.5
    first = np.floor(centre - width / 2).astype(np.intp)
    index = first[:, None] + np.arange(int(np.ceil(width)) + 2)
    weights = stretch * function(stretch * (centre[:, None] - index))
    weights /= weights.sum(axis=1, keepdims=True)
    used = np.any(weights != 0, axis=0)
    return mirror(index[:, used], old), weights[:, used].astype(np.float32)


def mirror(index: NDArray[np.intp], length: int) -> NDArray[np.intp]:
    """Positions beyond an edge, reflected with the edge value repeated: -1 -> 0, length -> length - 1."""
    index = np.mod(index, 2 * length)
    return np.where(index < length, index, 2 * length - 1 - index)


def apply_along(image: NDArray[np.float32], taps: Taps, axis: int) -> NDArray[np.float32]:
    """Weighted sums of slices along one axis; tap by tap, so that memory stays a few pictures."""
    index, weights = taps
    shape = [1] * image.ndim
    shape[axis] = -1
    result = np.zeros((*image.shape[:axis], len(index), *image.shape[axis + 1 :]), np.float32)
    for tap in range(index.shape[1]):
        result += np.take(image, index[:, tap], axis=axis) * weights[:, tap].reshape(shape)
    return result
