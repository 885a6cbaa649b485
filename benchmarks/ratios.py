"""Any scale: what comes back at ratios from 1.25 to 8, by the weights below and above; writes results/ratios.json.

python benchmarks/ratios.py          # Set5, a few minutes; docs/any-scale.md is made of it

`unshrink.weights.catalogue.UP_TO`, by which weights are chosen for a ratio, is to agree with what is found here.

Protocol: 8-bit pictures whole, not cut to a multiple; a border of the ratio, rounded up, is left out.
"""

import argparse
import json
from fractions import Fraction
from pathlib import Path
from statistics import fmean
from typing import Any

import unshrink
from unshrink.evaluation.environment import commit
from unshrink.evaluation.sets import find_set
from unshrink.pictures import metrics
from unshrink.pictures.colour import RGB, over_white, to_uint8
from unshrink.pictures.image import Image
from unshrink.pictures.resize import resize
from unshrink.pictures.sizes import MOST_REDUCED, shrunk
from unshrink.runtime.rescaler import Rescaler
from unshrink.weights import catalogue

ROOT = Path(__file__).parents[1]
RATIOS = (1.25, 1.5, 1.75, 2, 2.25, 2.5, 2.75, 3, 3.25, 3.5, 4, 5, 6, 7, 8)
PUBLISHED = {
    "method": "AIDN",
    "source": "Pan et al., Towards Bidirectional Arbitrary Image Rescaling, CVPR 2022: Set5, PSNR-Y",
    "psnr_y": {"1.5": 50.61, "2.5": 40.77, "3.5": 37.25},
}


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", default="Set5", help="a folder of pictures or a test set (default: %(default)s)")
    parser.add_argument("--ratios", type=float, nargs="+", default=RATIOS)
    parser.add_argument("--threads", type=int, default=0)
    parser.add_argument("--out", type=Path, default=ROOT / "results" / "ratios.json")
    options = parser.parse_args(argv)
    pictures = [over_white(unshrink.read(path)) for path in find_set(options.data).files]
    scales = sorted({row.scale for row in catalogue.ENTRIES})
    rescalers = {scale: unshrink.load(scale=scale, threads=options.threads) for scale in scales}
    rows = []
    for ratio in options.ratios:
        for scale in neighbours(ratio, scales):
            rows.append(row(ratio, rescalers[scale], pictures))
            print(rows[-1], flush=True)
    found = {"data": Path(options.data).name, "commit": commit(), "published": PUBLISHED, "rows": rows}
    options.out.write_text(json.dumps(found, indent=1) + "\n")


def neighbours(ratio: float, scales: list[int]) -> list[int]:
    """The scale of just that ratio, or the ones below and above."""
    if ratio in scales:
        return [int(ratio)]
    below = [scale for scale in scales if scale < ratio <= scale * MOST_REDUCED]
    return [*below[-1:], *[scale for scale in scales if scale > ratio][:1]]


def row(ratio: float, rescaler: Rescaler, pictures: list[RGB]) -> dict[str, Any]:
    """Means over pictures: ours, and bicubic both ways."""
    border = -int(-ratio // 1)
    ours = [rescaler.upscale(rescaler.downscale(Image(hr), scale=ratio)).pixels for hr in pictures]
    bicubic = [bicubic_round_trip(hr, ratio) for hr in pictures]
    return {
        "ratio": ratio,
        "model": rescaler.name,
        "weights": rescaler.weights.identity,
        "psnr_y": fmean(metrics.psnr_y(hr, back, border) for hr, back in zip(pictures, ours, strict=True)),
        "psnr_rgb": fmean(metrics.psnr(hr, back, border) for hr, back in zip(pictures, ours, strict=True)),
        "bicubic_psnr_y": fmean(metrics.psnr_y(hr, back, border) for hr, back in zip(pictures, bicubic, strict=True)),
    }


def bicubic_round_trip(hr: RGB, ratio: float) -> RGB:
    size = hr.shape[1], hr.shape[0]
    return to_uint8(resize(to_uint8(resize(hr, shrunk(size, Fraction(str(ratio))))), size))


if __name__ == "__main__":
    main()
