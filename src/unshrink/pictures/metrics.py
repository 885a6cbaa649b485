"""How close two pictures are: PSNR and SSIM as the super-resolution field computes them, and how far colours are off.

Every function takes pictures (H, W, C) with values in [0, 255] and says of one pair of pictures, never of many.  The
field's protocol: both rounded to 8 bits first, luma and chroma of BT.601, a border of ``scale`` pixels cut.
"""

from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from unshrink.pictures.ciede2000 import ciede2000, lab, linear
from unshrink.pictures.colour import RGB, chroma, luma

Value = TypeVar("Value", bound=np.generic)
Pixels = NDArray[np.generic]

BLOCK = 4  # side of the blocks whose mean colours are compared, in pixels: what an eye makes of them from a distance


def cut(image: NDArray[Value], border: int) -> NDArray[Value]:
    """The picture without ``border`` pixels at each side; a picture too small for that is kept whole."""
    height, width = image.shape[:2]
    if border == 0 or min(height, width) <= 2 * border:
        return image
    return image[border : height - border, border : width - border]


def psnr(a: Pixels, b: Pixels, border: int = 0, peak: float = 255.0) -> float:
    """Peak signal-to-noise ratio in dB over all values of both pictures; infinite where they are equal."""
    difference = np.asarray(cut(a, border), np.float64) - np.asarray(cut(b, border), np.float64)
    error = float(np.mean(difference**2))
    return float("inf") if error == 0 else float(10 * np.log10(peak**2 / error))


def psnr_y(a: Pixels, b: Pixels, border: int = 0) -> float:
    """PSNR in dB of the luma of two RGB pictures, peak 255."""
    return psnr(luma(a), luma(b), border)


def psnr_chroma(a: Pixels, b: Pixels, border: int = 0) -> tuple[float, float]:
    """PSNR in dB of Cb and of Cr of two RGB pictures, peak 255."""
    x, y = chroma(a), chroma(b)
    return psnr(x[..., :1], y[..., :1], border), psnr(x[..., 1:], y[..., 1:], border)


def colour_error(a: RGB, b: RGB, border: int = 0) -> tuple[float, float]:
    """How far colours seen from a distance are off: CIEDE2000 of block means, its mean and its 99th percentile.

    Blocks are of 4x4 pixels, and their means those of light (linear RGB), as an eye adds up what it cannot tell apart.
    What is left of a side over a multiple of 4 is not counted; a side of less than 4 is one block.
    """
    means = (lab(block_means(linear(cut(image, border)), BLOCK)) for image in (a, b))
    difference = ciede2000(*means)
    return float(difference.mean()), float(np.percentile(difference, 99))


def block_means(values: NDArray[np.float64], side: int) -> NDArray[np.float64]:
    """(H, W, C) -> (H // n, W // n, C), means of squares; a side of the picture below n is one block."""
    rows, columns = (min(side, length) for length in values.shape[:2])
    height, width = values.shape[0] // rows, values.shape[1] // columns
    whole = values[: height * rows, : width * columns]
    return np.asarray(whole.reshape(height, rows, width, columns, -1).mean(axis=(1, 3)))


def ssim(a: Pixels, b: Pixels, border: int = 0, peak: float = 255.0) -> float:
    """Structural similarity, mean over the valid region and channels: Gaussian window 11x11 of sigma 1.5.

    A picture smaller than the window is compared under the largest odd window that fits.

    Reference: Wang, Bovik, Sheikh, Simoncelli, Image quality assessment, IEEE TIP 13(4), 2004.
    """
    x, y = (np.asarray(cut(image, border), np.float64) for image in (a, b))
    c1, c2 = (0.01 * peak) ** 2, (0.03 * peak) ** 2
    window = gaussian(min(11, *(side - 1 + side % 2 for side in x.shape[:2])))
    mx, my = smooth(x, window), smooth(y, window)
    vx, vy = smooth(x * x, window) - mx * mx, smooth(y * y, window) - my * my
    cov = smooth(x * y, window) - mx * my
    index = (2 * mx * my + c1) * (2 * cov + c2) / ((mx * mx + my * my + c1) * (vx + vy + c2))
    return float(index.mean())


def ssim_y(a: Pixels, b: Pixels, border: int = 0) -> float:
    """SSIM of the luma of two RGB pictures."""
    return ssim(luma(a), luma(b), border)


def gaussian(length: int, sigma: float = 1.5) -> NDArray[np.float64]:
    """(length,) weights of a normal window, summing to one."""
    x = np.arange(length) - (length - 1) / 2
    weights = np.exp(-(x**2) / (2 * sigma**2))
    return np.asarray(weights / weights.sum())


def smooth(image: NDArray[np.float64], window: NDArray[np.float64]) -> NDArray[np.float64]:
    """Separable filter without padding: (H, W, C) -> (H - n + 1, W - n + 1, C)."""
    n = len(window)
    height, width = image.shape[0] - n + 1, image.shape[1] - n + 1
    rows = sum(w * image[i : i + height] for i, w in enumerate(window))
    return np.asarray(sum(w * rows[:, i : i + width] for i, w in enumerate(window)))
