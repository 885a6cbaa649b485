"""The same place of a picture as every way gives it back, for the report: writes results/crops/<picture>-x<scale>/.

    python benchmarks/crops.py                              # two photos of examples/, all scales
    python benchmarks/crops.py photo.jpg --scales 4

The place is where bicubic errs most.  The row of a super-resolution network (bsrn) is there where its checkpoint is.
"""

import argparse
import json
from pathlib import Path

import numpy as np
from baselines import WEIGHTS, SuperResolved
from PIL import Image as PIL

import unshrink
from unshrink.evaluation.compare import Box, compare, worst_place
from unshrink.pictures import metrics
from unshrink.pictures.colour import RGB
from unshrink.pictures.image import Image
from unshrink.pictures.resize import crop_to_multiple

ROOT = Path(__file__).parents[1]
PHOTOS = ("astronaut.png", "coffee.png")
NETWORK = "bsrn"
WHOLE = 480  # longest side of the whole picture, in pixels


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("pictures", nargs="*", type=Path, default=[ROOT / "examples" / n for n in PHOTOS])
    parser.add_argument("--scales", type=int, nargs="+", default=list(WEIGHTS))
    parser.add_argument("--out", type=Path, default=ROOT / "results" / "crops")
    options = parser.parse_args()
    for scale in options.scales:
        rescaler = unshrink.load(WEIGHTS[scale])
        for path in options.pictures:
            hr = crop_to_multiple(unshrink.read(path).pixels[..., :3], scale)
            save(options.out / f"{path.stem}-x{scale}", path.stem, hr, rescaler)


def save(folder: Path, name: str, hr: RGB, rescaler: unshrink.Rescaler) -> None:
    """Writes the crops, the whole picture and crop.json."""
    found, scale = compare(Image(hr), rescaler), rescaler.scale
    box = worst_place(found)
    network = SuperResolved(NETWORK, scale)
    panels = [("original", hr), (f"small, {rescaler.name}", found.small), (f"bicubic-x{scale}", found.bicubic)]
    if network.is_here:
        panels.append((network.name, network.upscale(network.downscale(Image(hr))).pixels))
    panels.append((rescaler.name, found.restored))
    folder.mkdir(parents=True, exist_ok=True)
    listed = []
    for number, (title, picture) in enumerate(panels):
        place = cut(picture, box, hr.shape[1] // picture.shape[1])
        PIL.fromarray(place).save(folder / f"{number}.webp", lossless=True, method=6)
        whole = metrics.psnr_y(hr, picture, scale) if number and picture.shape == hr.shape else None
        listed.append({"title": title, "file": f"{number}.webp", "psnr_y": whole})
    whole = PIL.fromarray(hr)
    whole.thumbnail((WHOLE, WHOLE), PIL.Resampling.LANCZOS)
    whole.save(folder / "whole.webp", quality=80, method=6)
    size = [hr.shape[1], hr.shape[0]]
    about = {"picture": name, "scale": scale, "size": size, "place": [int(side) for side in box], "panels": listed}
    (folder / "crop.json").write_text(json.dumps(about, indent=1) + "\n")


def cut(picture: RGB, box: Box, shrunk: int) -> RGB:
    """The place in a picture that is so many times smaller."""
    left, top, right, bottom = (side // shrunk for side in box)
    return np.ascontiguousarray(picture[top:bottom, left:right])


if __name__ == "__main__":
    main()
