"""Pages that must come back flat: of one colour, and white with text, where nothing is near.

A flat area is off where a value differs by more than 1 from the page, or in the small picture from the bicubic one.
Flat is what has one colour for 8 pixels around, up to the picture's border and along it.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image as PIL
from PIL import ImageDraw, ImageFont

from unshrink.evaluation.protocol import Method
from unshrink.pictures.colour import RGB, to_uint8
from unshrink.pictures.image import Image
from unshrink.pictures.resize import crop_to_multiple, resize

SIDE = 512  # of a page, in pixels
REACH = 8  # pixels around a flat one that have its colour
COLOURS = {
    "white": (255, 255, 255),
    "black": (0, 0, 0),
    "red": (255, 0, 0),
    "green": (0, 255, 0),
    "blue": (0, 0, 255),
    "cyan": (0, 255, 255),
    "magenta": (255, 0, 255),
    "yellow": (255, 255, 0),
}
TEXT = "white with text"
WORDS = "Flat areas must stay flat: paper is white, and nothing is beside the letters."


@dataclass(frozen=True)
class Flatness:
    """What became of the flat areas of a page.

    Attributes:
        off: share of the restored values that differ by more than 1, in [0, 1].
        largest: the largest difference of a restored value, in levels.
        lr_off: share of the small picture's values that differ by more than 1, in [0, 1].
        lr_largest: the largest difference of one of these, in levels.
    """

    off: float
    largest: int
    lr_off: float
    lr_largest: int


def pages(side: int = SIDE) -> dict[str, RGB]:
    """The pages by name, each (side, side, 3)."""
    plain = {name: np.full((side, side, 3), colour, np.uint8) for name, colour in COLOURS.items()}
    return plain | {TEXT: text(side)}


def text(side: int) -> RGB:
    """Black lines of three sizes on white, with margins: (side, side, 3)."""
    page = PIL.new("RGB", (side, side), "white")
    draw, top = ImageDraw.Draw(page), side // 8
    for line in range(side // 40):
        size = (11, 14, 18)[line % 3]
        draw.text((side // 8, top), WORDS[: 3 * side // (2 * size)], fill="black", font=ImageFont.load_default(size))
        top += 28
    return np.asarray(page)


def flat(page: RGB) -> NDArray[np.bool_]:
    """(H, W, 3) -> (H, W): whether all pixels at most 8 rows and columns away, as far as there are, have one colour."""
    height, width = page.shape[:2]
    around = np.pad(page, ((REACH, REACH), (REACH, REACH), (0, 0)), mode="edge")
    spread = range(2 * REACH + 1)
    ends = []
    for extreme in (np.maximum, np.minimum):
        rows = extreme.reduce([around[i : i + height] for i in spread])
        ends.append(extreme.reduce([rows[:, i : i + width] for i in spread]))
    return np.asarray((ends[0] == ends[1]).all(axis=2))


def flatness(method: Method, page: RGB) -> Flatness:
    """What a round trip makes of the flat areas of a page, which is cut to a multiple of the scale."""
    scale, hr = method.scale, crop_to_multiple(page, method.scale)
    small = method.downscale(Image(hr))
    restored = method.upscale(small)
    ordinary = to_uint8(resize(hr, small.size))
    here = flat(hr)
    blocks = np.asarray(here.reshape(here.shape[0] // scale, scale, -1, scale).all(axis=(1, 3)))
    return Flatness(*_off(hr, restored.pixels, here), *_off(ordinary, small.pixels, blocks))


def _off(expected: RGB, found: NDArray[np.unsignedinteger], where: NDArray[np.bool_]) -> tuple[float, int]:
    difference = np.abs(found[where].astype(int) - expected[where])
    return float((difference > 1).mean()), int(difference.max())
