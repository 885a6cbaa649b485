"""What comes back of a face, hair, leaves, brick, text and a night sky: writes docs/images/<weights>_subjects.png.

    python benchmarks/subjects.py                 # the weights of every scale
    python benchmarks/subjects.py irn-x4

The same place of each picture: the original, the small picture, and what bicubic, a super-resolution network on the
bicubic small picture (BSRN; left out where its checkpoint is not) and the weights make of it, with the PSNR of that
place's luma.  The pictures are in the public domain or CC0: examples/, and those that scikit-image brings.
"""

import argparse
from pathlib import Path

import numpy as np
import skimage
from baselines import WEIGHTS, SuperResolved
from PIL import Image as PIL
from PIL import ImageDraw, ImageFont

import unshrink
from unshrink.evaluation.compare import ordinary_round_trip
from unshrink.pictures import metrics
from unshrink.pictures.colour import RGB
from unshrink.pictures.image import Image
from unshrink.pictures.resize import crop_to_multiple
from unshrink.training.data import read_rgb

ROOT = Path(__file__).parents[1]
EXAMPLES, BUNDLED = ROOT / "examples", Path(skimage.__file__).parent / "data"
SIDE = 96  # of a place, in pixels of the large picture
SUBJECTS = {  # a picture, and the left and top of the place
    "face": (EXAMPLES / "astronaut.png", 176, 72),
    "hair": (EXAMPLES / "chelsea.png", 120, 96),
    "leaves": (BUNDLED / "grass.png", 200, 200),
    "brick": (BUNDLED / "brick.png", 200, 200),
    "text": (BUNDLED / "page.png", 64, 48),
    "night sky": (BUNDLED / "hubble_deep_field.jpg", 296, 328),
}
NETWORK = "bsrn"
ZOOM, GAP, HEAD = 2, 10, 22  # enlargement, and pixels between and over the panels


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", nargs="*", default=list(WEIGHTS.values()))
    for model in parser.parse_args().models:
        rescaler = unshrink.load(model)
        rows = {name: panels(rescaler, *subject) for name, subject in SUBJECTS.items()}
        page(rows).save(ROOT / "docs" / "images" / f"{model.replace('-', '_')}_subjects.png", optimize=True)


def panels(rescaler: unshrink.Rescaler, path: Path, left: int, top: int) -> list[tuple[str, RGB]]:
    """The place, way by way, each with its title."""
    scale = rescaler.scale
    hr = crop_to_multiple(read_rgb(path), scale)
    small = rescaler.downscale(hr)
    ways = {"bicubic": ordinary_round_trip(hr, scale, "bicubic")[1]}
    network = SuperResolved(NETWORK, scale)
    if network.is_here:
        ways["bicubic, BSRN"] = network.upscale(network.downscale(Image(hr))).pixels
    ways[rescaler.name] = rescaler.upscale(small)
    place = np.s_[top : top + SIDE, left : left + SIDE]
    of_small = small.repeat(scale, axis=0).repeat(scale, axis=1)[place]
    scored = [(f"{way} {metrics.psnr_y(hr[place], large[place]):.1f} dB", large[place]) for way, large in ways.items()]
    return [("original", hr[place]), ("small picture", of_small), *scored]


def page(rows: dict[str, list[tuple[str, RGB]]]) -> PIL.Image:
    """All places as one picture, a row for each subject."""
    columns, cell = max(map(len, rows.values())), SIDE * ZOOM + GAP
    sheet = PIL.new("RGB", (columns * cell + GAP, len(rows) * (cell + HEAD) + GAP), "white")
    draw, font = ImageDraw.Draw(sheet), ImageFont.load_default(13)
    for row, (subject, found) in enumerate(rows.items()):
        for column, (title, place) in enumerate(found):
            x, y = GAP + column * cell, GAP + row * (cell + HEAD)
            draw.text((x, y), f"{subject}: {title}" if column == 0 else title, fill="#1a1a1a", font=font)
            enlarged = PIL.fromarray(place).resize((SIDE * ZOOM, SIDE * ZOOM), PIL.Resampling.NEAREST)
            sheet.paste(enlarged, (x, y + HEAD - GAP // 2))
    return sheet


if __name__ == "__main__":
    main()
