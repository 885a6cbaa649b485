"""The same place of a picture as every way gives it back, for the report: writes results/crops/<picture>-x<scale>/.

    python benchmarks/crops.py                              # two photos of examples/, all scales
    python benchmarks/crops.py photo.jpg --scales 4

The place is where bicubic errs most.  The row of a super-resolution network (bsrn) is there where its checkpoint is.
"""

import argparse
from pathlib import Path

from baselines import WEIGHTS, SuperResolved

import unshrink
from unshrink.evaluation.crops import FOLDER, save
from unshrink.pictures.image import Image
from unshrink.pictures.resize import crop_to_multiple

ROOT = Path(__file__).parents[1]
PHOTOS = ("astronaut.png", "coffee.png")
NETWORK = "bsrn"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("pictures", nargs="*", type=Path, default=[ROOT / "examples" / n for n in PHOTOS])
    parser.add_argument("--scales", type=int, nargs="+", default=list(WEIGHTS))
    parser.add_argument("--out", type=Path, default=ROOT / "results" / FOLDER)
    options = parser.parse_args()
    for scale in options.scales:
        rescaler, network = unshrink.load(WEIGHTS[scale]), SuperResolved(NETWORK, scale)
        for path in options.pictures:
            hr = crop_to_multiple(unshrink.read(path).pixels[..., :3], scale)
            others = {network.name: network.upscale(network.downscale(Image(hr))).pixels} if network.is_here else {}
            save(options.out / f"{path.stem}-x{scale}", path.stem, hr, rescaler, others)


if __name__ == "__main__":
    main()
