"""The same photo at every scale: the figure at the top of the README, the table in the tutorial.

python benchmarks/scales.py             # writes docs/images/astronaut_scales.png and results/scales.json
"""

import json
from pathlib import Path

import numpy as np
from baselines import WEIGHTS
from PIL import Image as PIL
from PIL import ImageDraw, ImageFont

import unshrink
from unshrink.evaluation.compare import Box, Comparison, as_json, compare, pixels, worst_place
from unshrink.evaluation.drawing import FAINT, INK, enlarged, mark
from unshrink.text import human_bytes

ROOT = Path(__file__).parents[1]
PHOTO = ROOT / "examples" / "astronaut.png"
FIGURE = ROOT / "docs" / "images" / "astronaut_scales.png"
OUT = ROOT / "results" / "scales.json"
ENLARGED, GAP, MARGIN, LABELS = 3, 16, 24, 64  # times; pixels


def main() -> None:
    rescalers = [unshrink.load(name) for name in WEIGHTS.values()]
    found = [compare(unshrink.read(PHOTO), rescaler, PHOTO.stat().st_size) for rescaler in rescalers]
    rows = [row(one, rescaler.weights.identity) for one, rescaler in zip(found, rescalers, strict=True)]
    OUT.write_text(json.dumps({"picture": PHOTO.name, "rows": rows}, indent=1) + "\n")
    figure(found).save(FIGURE, optimize=True)


def row(one: Comparison, identity: str) -> dict[str, object]:
    """What the table needs, with what identifies the weights."""
    return {**as_json(one), "weights": identity}


def figure(found: list[Comparison]) -> PIL.Image:
    """The photo and its small pictures in their true sizes; below a place of it, restored from each, and by bicubic."""
    box = worst_place(found[1])
    side = ENLARGED * (box[2] - box[0])
    original = found[0].original
    top = MARGIN + original.shape[0] + LABELS
    above = sum(width + GAP for width in (original.shape[1], *(one.small.shape[1] for one in found)))
    wide = max(above, (len(found) + 1) * (side + GAP)) - GAP
    page = PIL.new("RGB", (2 * MARGIN + wide, top + 2 * (side + LABELS)), "white")
    sizes = (*found[0].original.shape[1::-1],)
    x = panel(page, (MARGIN, MARGIN), marked(original, box), "original", f"{pixels(original)}, {bytes_of(found[0])}")
    for one in found:
        place = (x + GAP, MARGIN + sizes[1] - one.small.shape[0])
        x = panel(page, place, PIL.fromarray(one.small), f"x{one.scale}", human_bytes(one.small_bytes))
    panel(page, (MARGIN, top), enlarged(original, box, ENLARGED), "original", "")
    for number, one in enumerate(found, 1):
        x = MARGIN + number * (side + GAP)
        for y, what, picture in ((top, "unshrink", one.restored), (top + side + LABELS, "bicubic", one.bicubic)):
            panel(
                page,
                (x, y),
                enlarged(picture, box, ENLARGED),
                f"{what} x{one.scale}",
                f"{one.quality[what].psnr_y:.2f} dB",
            )
    return page


def bytes_of(one: Comparison) -> str:
    return human_bytes(one.file_bytes or 0)


def panel(page: PIL.Image, place: tuple[int, int], picture: PIL.Image, name: str, figures: str) -> int:
    """A picture with two lines below it; returns where its right edge is."""
    page.paste(picture, place)
    draw, below = ImageDraw.Draw(page), place[1] + picture.height + 6
    draw.text((place[0], below), name, fill=INK, font=ImageFont.load_default(20))
    draw.text((place[0], below + 25), figures, fill=FAINT, font=ImageFont.load_default(18))
    return place[0] + picture.width


def marked(picture: np.ndarray, box: Box) -> PIL.Image:
    image = PIL.fromarray(picture)
    mark(image, box, width=2)
    return image


if __name__ == "__main__":
    main()
