"""One round trip beside what ordinary resizing does: the figures, and the picture that shows them.

Protocol: that of `evaluate`: 8 bits, RGB over white, luma, a border of ``scale`` pixels of the large picture cut.
Sides that are no multiple of the scale are padded for the ordinary methods as they are for the network, and the
padding is cut off again, so every pixel counts.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image as PIL
from PIL import ImageDraw, ImageFont

from unshrink.evaluation.protocol import encoded
from unshrink.pictures import metrics
from unshrink.pictures.colour import luma, over_white, to_uint8
from unshrink.pictures.image import Image
from unshrink.pictures.resize import resize
from unshrink.runtime.rescaler import Rescaler

Picture = NDArray[np.uint8]  # (H, W, 3) RGB
Box = tuple[int, int, int, int]  # left, top, right, bottom

WIDTH, MARGIN, GAP = 1600, 40, 20  # of the figure, in pixels
LABELS = 80  # height of the two lines under a picture
TALLEST = 700  # of the pictures at the top
CROP = 88  # wanted side of the enlarged place, in pixels of the large picture
INK, FAINT, MARK = "#1a1a1a", "#6a6a6a", "#0095ff"


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
    original: Picture
    small: Picture
    restored: Picture
    bicubic: Picture
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


def ordinary_round_trip(original: Picture, scale: int, kernel: str) -> tuple[Picture, Picture]:
    """The small and the restored picture of MATLAB's imresize, both in 8 bits."""
    height, width = original.shape[:2]
    padded = np.pad(original, ((0, -height % scale), (0, -width % scale), (0, 0)), mode="reflect")
    large = (padded.shape[1], padded.shape[0])
    small = to_uint8(resize(padded, (large[0] // scale, large[1] // scale), kernel))
    return small, to_uint8(resize(small, large, kernel))[:height, :width]


def quality(a: Picture, b: Picture, border: int) -> Quality:
    """Quality of b against a."""
    return Quality(metrics.psnr_y(a, b, border), metrics.ssim_y(a, b, border))


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


def align(rows: Sequence[tuple[str, ...]]) -> list[str]:
    """Lines with columns: the first and last to the left, those between to the right."""
    widths = [max(len(cell) for cell in column) for column in zip(*rows, strict=True)]
    lines = []
    for first, *middle, last in rows:
        cells = [first.ljust(widths[0])]
        cells += [cell.rjust(width) for cell, width in zip(middle, widths[1:], strict=False)]
        lines.append("  ".join([*cells, last]).rstrip())
    return lines


def human_bytes(count: int) -> str:
    """412 kB, 3.1 MB."""
    if count < 1000:
        return f"{count} B"
    if count < 999_500:
        return f"{count / 1e3:.3g} kB"
    return f"{count / 1e6:.{1 if count < 1e8 else 0}f} MB"


def pixels(picture: Picture) -> str:
    """2040x1356."""
    return f"{picture.shape[1]}x{picture.shape[0]}"


def decibels(value: float) -> str:
    """34.56, or "exact" where nothing differs."""
    return f"{value:.2f}" if np.isfinite(value) else "exact"


def _numbers(quality: Quality) -> tuple[str, str]:
    return decibels(quality.psnr_y), f"{quality.ssim_y:.4f}"


# -- figure --------------------------------------------------------------------------------------------------------


def figure(comparison: Comparison) -> PIL.Image:
    """A page of 1600 pixels' width: both pictures at their relative size, and the place where bicubic fails most."""
    box = worst_place(comparison)
    top, bottom = _overview(comparison, box), _crops(comparison, box)
    caption = (
        "PSNR and SSIM of the luma, whole picture, against the original (*: against the bicubic small picture). "
        "Enlarged: where bicubic errs most."
    )
    page = PIL.new("RGB", (WIDTH, MARGIN + top.height + GAP + bottom.height + GAP + 24 + MARGIN), "white")
    page.paste(top, (MARGIN, MARGIN))
    page.paste(bottom, (MARGIN, MARGIN + top.height + GAP))
    _write(ImageDraw.Draw(page), (MARGIN, page.height - MARGIN - 24), caption, 21, FAINT)
    return page


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


def _overview(comparison: Comparison, box: Box) -> PIL.Image:
    """The original with the place marked, and the small picture beside it at its true relative size."""
    height, width = comparison.original.shape[:2]
    room = WIDTH - 2 * MARGIN
    factor = min((room - GAP) / (width + comparison.small.shape[1]), TALLEST / height)
    factor = float(int(factor)) if factor >= 2 else factor
    original, small = _scaled(comparison.original, factor), _scaled(comparison.small, factor)
    panel = PIL.new("RGB", (room, original.height + LABELS), "white")
    panel.paste(original)
    panel.paste(small, (original.width + GAP, original.height - small.height))
    draw = ImageDraw.Draw(panel)
    left, top, right, bottom = (round(side * factor) for side in box)
    draw.rectangle((left - 3, top - 3, right + 2, bottom + 2), outline="white", width=6)
    draw.rectangle((left - 2, top - 2, right + 1, bottom + 1), outline=MARK, width=4)
    file = f", {human_bytes(comparison.file_bytes)}" if comparison.file_bytes else ""
    below = original.height + 10
    _labels(draw, (0, below), "original", pixels(comparison.original) + file)
    sizes = f"{pixels(comparison.small)}, {human_bytes(comparison.small_bytes)}"
    _labels(draw, (max(original.width + GAP, 300), below), f"small ({comparison.weights})", sizes)
    return panel


def _scaled(picture: Picture, factor: float) -> PIL.Image:
    height, width = picture.shape[:2]
    size = (max(1, round(width * factor)), max(1, round(height * factor)))
    return PIL.fromarray(picture).resize(size, PIL.Resampling.NEAREST if factor >= 2 else PIL.Resampling.LANCZOS)


def _crops(comparison: Comparison, box: Box) -> PIL.Image:
    """The same place four times, enlarged by a whole number without smoothing."""
    quality, scale = comparison.quality, comparison.scale
    column = (WIDTH - 2 * MARGIN - 3 * GAP) // 4
    factor = max(1, column // max(box[2] - box[0], box[3] - box[1]))
    size = ((box[2] - box[0]) * factor, (box[3] - box[1]) * factor)
    small_box = (box[0] // scale, box[1] // scale, -(-box[2] // scale), -(-box[3] // scale))
    panels = [
        (_enlarged(comparison.original, box, factor), "original", ""),
        (
            _enlarged(comparison.small, small_box, factor * scale),
            "small",
            f"{_figures(comparison.fidelity)} *",
        ),
        (_enlarged(comparison.restored, box, factor), "restored by unshrink", _figures(quality["unshrink"])),
        (_enlarged(comparison.bicubic, box, factor), "bicubic, down and up", _figures(quality["bicubic"])),
    ]
    panel = PIL.new("RGB", (WIDTH - 2 * MARGIN, size[1] + LABELS), "white")
    draw = ImageDraw.Draw(panel)
    for index, (crop, name, figures) in enumerate(panels):
        left = index * (column + GAP)
        panel.paste(crop.crop((0, 0, *size)), (left, 0))
        _labels(draw, (left, size[1] + 10), name, figures)
    return panel


def _enlarged(picture: Picture, box: Box, factor: int) -> PIL.Image:
    crop = PIL.fromarray(picture[box[1] : box[3], box[0] : box[2]])
    return crop.resize((crop.width * factor, crop.height * factor), PIL.Resampling.NEAREST)


def _figures(quality: Quality) -> str:
    if not np.isfinite(quality.psnr_y):
        return "exact"
    return f"{quality.psnr_y:.2f} dB, SSIM {quality.ssim_y:.3f}"


def _labels(draw: ImageDraw.ImageDraw, place: tuple[int, int], name: str, figures: str) -> None:
    _write(draw, place, name, 27, INK)
    _write(draw, (place[0], place[1] + 32), figures, 24, FAINT)


def _write(draw: ImageDraw.ImageDraw, place: tuple[int, int], text: str, size: int, colour: str) -> None:
    draw.text(place, text, fill=colour, font=ImageFont.load_default(size))


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
