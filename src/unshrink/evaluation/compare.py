"""One round trip beside what ordinary resizing does, in figures; `drawing` makes a picture of them.

Protocol: that of `protocol`: 8 bits, RGB over white, luma, a border of ``scale`` pixels of the large picture cut.
Sides that are no multiple of the scale are padded for the ordinary methods as they are for the network, and the
padding is cut off again, so every pixel counts.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from unshrink.evaluation.protocol import encoded
from unshrink.pictures import metrics
from unshrink.pictures.colour import RGB, luma, over_white, to_uint8
from unshrink.pictures.image import Image
from unshrink.pictures.resize import resize
from unshrink.runtime.rescaler import Rescaler
from unshrink.text import align, decibels, human_bytes

Box = tuple[int, int, int, int]  # left, top, right, bottom

CROP = 88  # wanted side of the place that is enlarged, in pixels of the large picture


@dataclass(frozen=True)
class Quality:
    """How close one picture is to another: PSNR in dB and SSIM of the luma."""

    psnr_y: float
    ssim_y: float


@dataclass(frozen=True, eq=False)
class Comparison:
    """One picture's round trip.

    Attributes:
        weights: name of the weights.
        scale: how many times smaller the small picture is, along each side.
        original, small, restored, bicubic: RGB over white, 8 bits; bicubic is down and up again.
        quality: of "unshrink", "bicubic" and "lanczos" against the original.
        fidelity: of the small picture against the bicubic small one.
        file_bytes: size of the original's file, if there is one.
        small_bytes: size of the small picture's PNG file.
    """

    weights: str
    scale: int
    original: RGB
    small: RGB
    restored: RGB
    bicubic: RGB
    quality: dict[str, Quality]
    fidelity: Quality
    file_bytes: int | None
    small_bytes: int


def compare(image: Image, rescaler: Rescaler, file_bytes: int | None = None) -> Comparison:
    """Makes the picture small (8 bits) and large again, with unshrink, bicubic and Lanczos, all in memory."""
    made = rescaler.downscale(image, depth=8)
    scale, original, small = rescaler.scale, over_white(image), over_white(made)
    restored = over_white(rescaler.upscale(made))
    bicubic_small, bicubic = ordinary_round_trip(original, scale, "bicubic")
    _, lanczos = ordinary_round_trip(original, scale, "lanczos")
    large = {"unshrink": restored, "bicubic": bicubic, "lanczos": lanczos}
    return Comparison(
        weights=rescaler.weights.name,
        scale=scale,
        original=original,
        small=small,
        restored=restored,
        bicubic=bicubic,
        quality={name: quality(original, picture, scale) for name, picture in large.items()},
        fidelity=quality(bicubic_small, small, 0),
        file_bytes=file_bytes,
        small_bytes=len(encoded(made, "png")),
    )


def ordinary_round_trip(original: RGB, scale: int, kernel: str) -> tuple[RGB, RGB]:
    """The small and the restored picture of MATLAB's imresize, both in 8 bits."""
    height, width = original.shape[:2]
    padded = np.pad(original, ((0, -height % scale), (0, -width % scale), (0, 0)), mode="reflect")
    large = (padded.shape[1], padded.shape[0])
    small = to_uint8(resize(padded, (large[0] // scale, large[1] // scale), kernel))
    return small, to_uint8(resize(small, large, kernel))[:height, :width]


def quality(a: RGB, b: RGB, border: int) -> Quality:
    """Quality of b against a."""
    return Quality(metrics.psnr_y(a, b, border), metrics.ssim_y(a, b, border))


def worst_place(comparison: Comparison) -> Box:
    """Where the luma of bicubic errs most in a square of about 88 pixels, on the grid of the small picture."""
    scale, (height, width) = comparison.scale, comparison.original.shape[:2]
    side = max(min(CROP, height, width) // scale, 1)
    error = (luma(comparison.original) - luma(comparison.bicubic))[..., 0] ** 2
    blocks = _block_sums(error, scale)
    total = np.pad(blocks.cumsum(0).cumsum(1), ((1, 0), (1, 0)))
    rows, columns = min(side, blocks.shape[0]), min(side, blocks.shape[1])
    windows = total[rows:, columns:] - total[:-rows, columns:] - total[rows:, :-columns] + total[:-rows, :-columns]
    y, x = np.unravel_index(windows.argmax(), windows.shape)
    left, top = int(x) * scale, int(y) * scale
    return left, top, min(left + columns * scale, width), min(top + rows * scale, height)


def _block_sums(error: NDArray[np.float64], scale: int) -> NDArray[np.float64]:
    """(H, W) -> sums over squares of the scale (ceil(H/s), ceil(W/s))."""
    height, width = error.shape
    padded = np.pad(error, ((0, -height % scale), (0, -width % scale)))
    return np.asarray(padded.reshape(padded.shape[0] // scale, scale, -1, scale).sum(axis=(1, 3)))


def as_json(comparison: Comparison) -> dict[str, Any]:
    """Sizes, bytes and figures, without the pictures."""
    height, width = comparison.original.shape[:2]
    return {
        "model": comparison.weights,
        "scale": comparison.scale,
        "size": [width, height],
        "small_size": [comparison.small.shape[1], comparison.small.shape[0]],
        "bytes": comparison.file_bytes,
        "small_bytes": comparison.small_bytes,
        **{name: vars(value) for name, value in comparison.quality.items()},
        "small_fidelity": vars(comparison.fidelity),
    }


# -- table ---------------------------------------------------------------------------------------------------------


def table(comparison: Comparison) -> str:
    """The figures for people."""
    quality, fidelity = comparison.quality, comparison.fidelity
    size, small = pixels(comparison.original), pixels(comparison.small)
    file = human_bytes(comparison.file_bytes) if comparison.file_bytes else ""
    rows = [
        ("", "pixels", "bytes", "PSNR-Y", "SSIM-Y", ""),
        ("original", size, file, "", "", ""),
        ("small", small, human_bytes(comparison.small_bytes), *_numbers(fidelity), "against the bicubic small picture"),
        ("restored", size, "", *_numbers(quality["unshrink"]), f"{comparison.weights}, {gain(comparison)}"),
        ("bicubic", size, "", *_numbers(quality["bicubic"]), "down and up"),
        ("Lanczos", size, "", *_numbers(quality["lanczos"]), "down and up"),
    ]
    return "\n".join(align(rows))


def gain(comparison: Comparison) -> str:
    """How much better than bicubic, in words."""
    ours, bicubic = comparison.quality["unshrink"].psnr_y, comparison.quality["bicubic"].psnr_y
    if np.isfinite(ours) and np.isfinite(bicubic):
        return f"{ours - bicubic:+.2f} dB against bicubic"
    return "as exact as bicubic" if ours == bicubic else "exact" if ours > bicubic else "bicubic is exact"


def pixels(picture: RGB) -> str:
    """2040x1356."""
    return f"{picture.shape[1]}x{picture.shape[0]}"


def _numbers(quality: Quality) -> tuple[str, str]:
    return decibels(quality.psnr_y), f"{quality.ssim_y:.4f}"
