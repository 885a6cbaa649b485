"""What sites show of a photo, and what comes back of its small picture: the figure at the top of the README.

    python benchmarks/story.py                                      # writes docs/images/sites_story.png
    python benchmarks/story.py --photo examples/coffee.png --sites signal --scale 4 -o /tmp/figure.png

The photos in examples/ are small, so the sites are too, in proportion, as in benchmarks/sites.py.
"""

import argparse
from pathlib import Path

import numpy as np
from PIL import Image as PIL
from scales import marked, panel
from sites import Ways, made_small, model_for, ways

import unshrink
from unshrink.evaluation.compare import Box
from unshrink.evaluation.drawing import enlarged
from unshrink.pictures import metrics
from unshrink.pictures.colour import RGB, over_white
from unshrink.pictures.resize import crop_to_multiple
from unshrink.sites import find
from unshrink.text import human_bytes

ROOT = Path(__file__).parents[1]
FIGURE = ROOT / "docs" / "images" / "sites_story.png"
PLACE, ENLARGED, GAP, MARGIN, LABELS = 80, 3, 16, 24, 64  # side of the place that is enlarged, times; pixels


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--photo", type=Path, default=ROOT / "examples" / "astronaut.png")
    parser.add_argument("--sites", nargs="+", default=["telegram", "whatsapp"])
    parser.add_argument("--scale", type=int, default=2)
    parser.add_argument("--at", type=int, nargs=2, help="left and top of the place (default: where the sites err most)")
    parser.add_argument("-o", "--output", type=Path, default=FIGURE)
    args = parser.parse_args(argv)
    photo = crop_to_multiple(over_white(unshrink.read(args.photo)), args.scale)
    found = {name: both_ways(photo, name, args.scale) for name in args.sites}
    left, top = args.at or worst(photo, [both.enlarged for both in found.values()])
    figure(photo, found, (left, top, left + PLACE, top + PLACE), args.scale).save(args.output, optimize=True)
    for name, both in found.items():
        shown, back = (metrics.psnr_y(photo, picture, args.scale) for picture in (both.enlarged, both.restored))
        print(f"{name}: shows {shown:.2f} dB, {back:.2f} dB comes back; the small picture was {both.arrived}")


def both_ways(photo: RGB, name: str, scale: int) -> Ways:
    site = find(name)
    model = unshrink.load(model_for(site, scale))
    return ways(photo, made_small(photo, model, scale), model, site)


def worst(photo: RGB, shown: list[RGB]) -> tuple[int, int]:
    """Left and top of the place where the sites together err most, on a grid of half its side."""
    error = sum(np.square(picture.astype(float) - photo).sum(axis=2) for picture in shown)
    step, sums = PLACE // 2, {}
    for top in range(0, photo.shape[0] - PLACE + 1, step):
        for left in range(0, photo.shape[1] - PLACE + 1, step):
            sums[left, top] = error[top : top + PLACE, left : left + PLACE].sum()
    return max(sums, key=sums.__getitem__)


def figure(photo: RGB, found: dict[str, Ways], box: Box, scale: int) -> PIL.Image:
    """The photo with the place marked; beside it, enlarged, that place, what each site shows, and what comes back."""
    side = ENLARGED * PLACE
    rows = [(find(name).label, both) for name, both in found.items()]
    height = max(photo.shape[0], len(rows) * (side + LABELS) - LABELS)
    wide = photo.shape[1] + 3 * (side + GAP)
    page = PIL.new("RGB", (2 * MARGIN + wide, MARGIN + height + LABELS), "white")
    panel(page, (MARGIN, MARGIN), marked(photo, box), "the photo", "{}x{} pixels".format(*photo.shape[1::-1]))
    for number, (label, both) in enumerate(rows):
        place = MARGIN + photo.shape[1] + GAP, MARGIN + number * (side + LABELS)
        for picture, name, bytes_of in (
            (photo, "the photo", None),
            (both.enlarged, f"{label} shows", len(both.usual.data)),
            (both.restored, "unshrink brings back", len(both.arrived.data)),
        ):
            figures = f"{metrics.psnr_y(photo, picture, scale):.1f} dB, of {human_bytes(bytes_of)}" if bytes_of else ""
            right = panel(page, place, enlarged(picture, box, ENLARGED), name, figures)
            place = right + GAP, place[1]
    return page


if __name__ == "__main__":
    main()
