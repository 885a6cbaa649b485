"""What the mark in the pixels survives, what it costs, and what is taken for one: writes benchmarks/mark.json.

    python benchmarks/mark.py                # everything; needs the test sets and training pictures
    python benchmarks/mark.py --only chance  # 10,000 pictures and crops without a mark, whether one is read in them

Small pictures are bicubic ones at half of each side, so that no network is in the figures but those of what comes back.
"""

import argparse
import io
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image

import unshrink
from unshrink.errors import ImageError
from unshrink.evaluation.environment import commit
from unshrink.pictures import mark as marks
from unshrink.pictures import metrics
from unshrink.pictures.colour import RGB
from unshrink.pictures.find import find_pictures
from unshrink.pictures.mark import Mark
from unshrink.weights import catalogue

DATA = Path(os.environ.get("UNSHRINK_DATA", "../shared/data"))
OUT = Path(__file__).with_name("mark.json")
SETS = ("BSD100", "Kodak12odd", "Screens", "CLIC2025val")
PATHS: dict[str, list[tuple[str, dict[str, Any]]]] = {
    "JPEG 90 4:4:4": [("JPEG", {"quality": 90, "subsampling": "4:4:4"})],
    "JPEG 80": [("JPEG", {"quality": 80})],
    "JPEG 70": [("JPEG", {"quality": 70})],
    "JPEG 50": [("JPEG", {"quality": 50})],
    "JPEG 30": [("JPEG", {"quality": 30})],
    "WebP 85": [("WEBP", {"quality": 85})],
    "WebP 75": [("WEBP", {"quality": 75})],
    "AVIF 75": [("AVIF", {"quality": 75})],
    "JPEG 80 then 75": [("JPEG", {"quality": 80}), ("JPEG", {"quality": 75})],
    "JPEG 85 ten times": [("JPEG", {"quality": 85})] * 10,
}
CHANCES, DISPLACED = 10_000, 500
RESTORED = {"values exact": [], "JPEG 90 4:4:4": PATHS["JPEG 90 4:4:4"], "JPEG 75": [("JPEG", {"quality": 75})]}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", choices=("survival", "chance", "restored"))
    parser.add_argument("--models", nargs="*", default=["irn-x2", "irn-x4"], help="for what comes back")
    parser.add_argument("--pictures", type=int, default=4, help="of Kodak, for what comes back (default: %(default)s)")
    options = parser.parse_args()
    found = json.loads(OUT.read_text()) if OUT.exists() else {}
    if options.only in (None, "survival"):
        found["survival"] = [survival(name) for name in SETS]
    if options.only in (None, "chance"):
        found["chance"] = chance()
    if options.only in (None, "restored"):
        found["restored"] = [restored(model, options.pictures) for model in options.models]
    OUT.write_text(json.dumps({**found, "commit": commit()}, indent=1) + "\n")


def survival(name: str) -> dict[str, Any]:
    """Of a set: how many pictures can hold a mark, what it costs them, and of how many it is read after each path."""
    held, read, cost = [], dict.fromkeys(PATHS, 0), []
    paths = find_pictures(DATA / "test" / name)
    for number, path in enumerate(paths):
        pixels, said = half(path), Mark(1 + number, (number % 2, number % 3))
        try:
            marked = marks.embed(pixels, said)
        except ImageError as error:
            print(f"{path.name}: {error}", flush=True)
            continue
        held.append(pixels)
        cost.append(metrics.psnr(marked, pixels))
        for title, steps in PATHS.items():
            read[title] += marks.read(sent(marked, steps)) == said
    row = {"set": name, "pictures": len(paths), "held": len(held), "psnr": round(float(np.mean(cost)), 2), "read": read}
    print(json.dumps(row), flush=True)
    return row


def chance() -> dict[str, Any]:
    """Of pictures and crops without a mark, half of them re-encoded: in how many one is read, or thought displaced."""
    draw = np.random.default_rng(0)
    marked, displaced, strongest, tried = 0, 0, 0.0, 0
    for pixels in crops(draw):
        strongest = max(strongest, marks.strength(pixels))
        marked += marks.read(pixels) is not None
        if tried % (CHANCES // DISPLACED) == 0:
            displaced += marks.is_displaced(pixels)
        tried += 1
    found = {"tried": tried, "read": marked, "strongest": round(strongest, 1), "needed": marks.CERTAIN}
    found |= {"tried_for_displaced": DISPLACED, "displaced": displaced}
    print(json.dumps(found), flush=True)
    return found


def crops(draw: np.random.Generator) -> Iterator[RGB]:
    """Ten thousand pictures: crops of all sets, photographs and graphics, some as they are, some through JPEG."""
    folders = [*(DATA / "test").iterdir(), *(DATA / "train").iterdir()]
    paths = [
        path
        for folder in sorted(folders)
        if folder.is_dir() and folder.name != "Formats"
        for path in find_pictures(folder)
    ]
    for number, path in enumerate(paths):
        pixels = half(path)
        for _ in range(CHANCES * (number + 1) // len(paths) - CHANCES * number // len(paths)):
            height, width = (min(int(draw.integers(96, 400)), side) for side in pixels.shape[:2])
            top, left = (
                int(draw.integers(0, side - part + 1))
                for side, part in ((pixels.shape[0], height), (pixels.shape[1], width))
            )
            crop = pixels[top : top + height, left : left + width]
            quality = int(draw.integers(30, 100))
            yield sent(crop, [("JPEG", {"quality": quality})]) if draw.random() < 0.5 else crop


def restored(model: str, count: int) -> dict[str, Any]:
    """What comes back of small pictures with and without a mark: mean PSNR-Y, after each path."""
    rescaler = unshrink.load(model, threads=1)
    entry = next(row for row in catalogue.ENTRIES if row.name == model)
    figures: dict[str, list[list[float]]] = {title: [] for title in RESTORED}
    for path in find_pictures(DATA / "test" / "Kodak12odd")[:count]:
        large = np.asarray(PIL.Image.open(path).convert("RGB"))
        size = (large.shape[1], large.shape[0])
        plain = rescaler.downscale(large, mark=False)
        marked = marks.embed(plain, Mark(entry.number, (0, 0)))
        for title, steps in RESTORED.items():
            both = (rescaler.upscale(sent(small, steps), size=size) for small in (plain, marked))
            figures[title].append([metrics.psnr_y(large, back, rescaler.scale) for back in both])
        print(model, path.name, {title: values[-1] for title, values in figures.items()}, flush=True)
    means = {title: [round(float(value), 2) for value in np.mean(values, axis=0)] for title, values in figures.items()}
    return {"model": model, "weights": rescaler.weights.identity, "pictures": count, "plain_and_marked": means}


def half(path: Path) -> RGB:
    """A picture at half of each side."""
    picture = PIL.Image.open(path).convert("RGB")
    size = max(1, picture.width // 2), max(1, picture.height // 2)
    return np.asarray(picture.resize(size, PIL.Image.Resampling.BICUBIC))


def sent(pixels: RGB, steps: list[tuple[str, dict[str, Any]]]) -> RGB:
    """What is left of pixels after they were written in these formats, one after the other."""
    for form, options in steps:
        stream = io.BytesIO()
        PIL.Image.fromarray(pixels).save(stream, form, **options)
        pixels = np.asarray(PIL.Image.open(stream).convert("RGB"))
    return pixels


if __name__ == "__main__":
    main()
