"""One round trip beside what ordinary resizing does, in figures; `drawing` makes a picture of them.

Protocol: that of `protocol`: 8 bits, RGB over white, a border of ``scale`` pixels of the large picture cut.
Sides that are no multiple of the scale are padded for the ordinary methods as they are for the network, and the
padding is cut off again, so every pixel counts.
"""

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from unshrink.evaluation.protocol import Closeness, Distance, NamedFigures, closeness, encoded, looks
from unshrink.pictures.colour import RGB, luma, over_white, to_uint8
from unshrink.pictures.image import Image
from unshrink.pictures.resize import resize
from unshrink.runtime.rescaler import Rescaler
from unshrink.text import align, decibels, human_bytes

Box = tuple[int, int, int, int]  # left, top, right, bottom

HEADINGS = ("PSNR-Y", "RGB", "Cb", "Cr", "SSIM-Y", "colour", "99 %")  # of the table; colour: the colour error
CROP = 88  # wanted side of the place that is enlarged, in pixels of the large picture


@dataclass(frozen=True, eq=False)
class Comparison:
    """One picture's round trip.

    Attributes:
        weights: name of the weights.
        scale: how many times smaller the small picture is, along each side.
        original, small, restored, bicubic: RGB over white, 8 bits; bicubic is down and up again.
        quality: of "unshrink", "bicubic" and "lanczos" against the original.
        looks: of the same, LPIPS by the name "lpips", where it was measured.
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
    quality: dict[str, Closeness]
    looks: dict[str, NamedFigures]
    fidelity: Closeness
    file_bytes: int | None
    small_bytes: int


def compare(
    image: Image, rescaler: Rescaler, file_bytes: int | None = None, lpips: Distance | None = None
) -> Comparison:
    """Makes the picture small (8 bits) and large again, with unshrink, bicubic and Lanczos, all in memory.

    Args:
        image: any picture.
        rescaler: what makes it small and large again.
        file_bytes: size of the picture's file, if there is one.
        lpips: also measure this, as `run.load_lpips` gives it.
    """
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
        quality={name: closeness(original, picture, scale) for name, picture in large.items()},
        looks={name: looks(original, picture, scale, lpips) for name, picture in large.items()},
        fidelity=closeness(bicubic_small, small, 0),
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
        **{name: asdict(value) | comparison.looks[name] for name, value in comparison.quality.items()},
        "small_fidelity": asdict(comparison.fidelity),
    }


# -- table ---------------------------------------------------------------------------------------------------------


def table(comparison: Comparison) -> str:
    """The figures for people."""
    size, small = pixels(comparison.original), pixels(comparison.small)
    file = human_bytes(comparison.file_bytes) if comparison.file_bytes else ""
    measured = {name: (*_numbers(one), *_looks(comparison.looks[name])) for name, one in comparison.quality.items()}
    headings = *HEADINGS, *("LPIPS" for _ in comparison.looks["unshrink"])
    fidelity = *_numbers(comparison.fidelity), *("" for _ in comparison.looks["unshrink"])
    rows = [
        ("", "pixels", "bytes", *headings, ""),
        ("original", size, file, *("" for _ in headings), ""),
        ("small", small, human_bytes(comparison.small_bytes), *fidelity, "against the bicubic small picture"),
        ("restored", size, "", *measured["unshrink"], f"{comparison.weights}, {gain(comparison)}"),
        ("bicubic", size, "", *measured["bicubic"], "down and up"),
        ("Lanczos", size, "", *measured["lanczos"], "down and up"),
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


def _numbers(quality: Closeness) -> tuple[str, ...]:
    """As `HEADINGS` has them."""
    psnr = quality.psnr_y, quality.psnr_rgb, quality.psnr_cb, quality.psnr_cr
    colour = quality.colour_error, quality.colour_error_99
    return *map(decibels, psnr), f"{quality.ssim_y:.4f}", *(f"{value:.2f}" for value in colour)


def _looks(looks: NamedFigures) -> tuple[str, ...]:
    return tuple(f"{value:.4f}" for value in looks.values())
