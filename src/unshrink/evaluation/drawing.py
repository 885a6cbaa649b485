"""A comparison as a picture to look at: both sizes, their figures, and the place where bicubic errs most, enlarged."""

import numpy as np
from PIL import Image as PIL
from PIL import ImageDraw, ImageFont

from unshrink.evaluation.compare import Box, Comparison, pixels, worst_place
from unshrink.evaluation.protocol import Closeness
from unshrink.pictures.colour import RGB
from unshrink.text import decibels, human_bytes

WIDTH, MARGIN, GAP = 1600, 40, 20  # of the figure, in pixels
LABELS = 80  # height of the two lines under a picture
TALLEST = 700  # of the pictures at the top
INK, FAINT, MARK = "#1a1a1a", "#6a6a6a", "#0095ff"


def figure(comparison: Comparison) -> PIL.Image:
    """A page of 1600 pixels' width: both pictures at their relative size, and the place where bicubic fails most."""
    box = worst_place(comparison)
    top, bottom = _overview(comparison, box), _crops(comparison, box)
    caption = (
        "PSNR of luma and of colours (mean of Cb and Cr), whole picture, against the original (*: the bicubic small "
        "picture). Enlarged: where bicubic errs most."
    )
    page = PIL.new("RGB", (WIDTH, MARGIN + top.height + GAP + bottom.height + GAP + 24 + MARGIN), "white")
    page.paste(top, (MARGIN, MARGIN))
    page.paste(bottom, (MARGIN, MARGIN + top.height + GAP))
    _write(ImageDraw.Draw(page), (MARGIN, page.height - MARGIN - 24), caption, 21, FAINT)
    return page


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
    left, top, right, bottom = (round(side * factor) for side in box)
    mark(panel, (left, top, right, bottom))
    draw = ImageDraw.Draw(panel)
    file = f", {human_bytes(comparison.file_bytes)}" if comparison.file_bytes else ""
    below = original.height + 10
    _labels(draw, (0, below), "original", pixels(comparison.original) + file)
    sizes = f"{pixels(comparison.small)}, {human_bytes(comparison.small_bytes)}"
    _labels(draw, (max(original.width + GAP, 300), below), f"small ({comparison.weights})", sizes)
    return panel


def mark(picture: PIL.Image, box: Box, width: int = 4) -> None:
    """A frame around a place, as wide as that many pixels, that is seen on any ground."""
    left, top, right, bottom = box
    draw = ImageDraw.Draw(picture)
    draw.rectangle((left - 3, top - 3, right + 2, bottom + 2), outline="white", width=width + 2)
    draw.rectangle((left - 2, top - 2, right + 1, bottom + 1), outline=MARK, width=width)


def _scaled(picture: RGB, factor: float) -> PIL.Image:
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
        (enlarged(comparison.original, box, factor), "original", ""),
        (
            enlarged(comparison.small, small_box, factor * scale),
            "small",
            f"{_figures(comparison.fidelity)} *",
        ),
        (enlarged(comparison.restored, box, factor), "restored by unshrink", _figures(quality["unshrink"])),
        (enlarged(comparison.bicubic, box, factor), "bicubic, down and up", _figures(quality["bicubic"])),
    ]
    panel = PIL.new("RGB", (WIDTH - 2 * MARGIN, size[1] + LABELS), "white")
    draw = ImageDraw.Draw(panel)
    for index, (crop, name, figures) in enumerate(panels):
        left = index * (column + GAP)
        panel.paste(crop.crop((0, 0, *size)), (left, 0))
        _labels(draw, (left, size[1] + 10), name, figures)
    return panel


def enlarged(picture: RGB, box: Box, factor: int) -> PIL.Image:
    """A place, enlarged by a whole number without smoothing."""
    crop = PIL.fromarray(picture[box[1] : box[3], box[0] : box[2]])
    return crop.resize((crop.width * factor, crop.height * factor), PIL.Resampling.NEAREST)


def _figures(quality: Closeness) -> str:
    if not np.isfinite(quality.psnr_rgb):
        return "exact"
    return f"{decibels(quality.psnr_y)} dB, colours {decibels(quality.psnr_chroma)} dB"


def _labels(draw: ImageDraw.ImageDraw, place: tuple[int, int], name: str, figures: str) -> None:
    _write(draw, place, name, 27, INK)
    _write(draw, (place[0], place[1] + 32), figures, 24, FAINT)


def _write(draw: ImageDraw.ImageDraw, place: tuple[int, int], text: str, size: int, colour: str) -> None:
    draw.text(place, text, fill=colour, font=ImageFont.load_default(size))
