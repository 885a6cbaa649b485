"""What comes back of small pictures that were written as JPEG again and again: writes results/generations.json.

    python benchmarks/generations.py bicubic-x2 irn-x2 irn-x2-jpeg    # ten times at quality 85, about a minute each

A method is one of baselines.py, or weights by name or file; docs/recoded.md is made of it.  What is there of the same
method is measured again; the rows of others stay.
"""

import argparse
import json
from pathlib import Path
from typing import Any

from baselines import decoded
from recoded import Hop, method_of
from samples import middle, sample
from sites import decibels

from unshrink.evaluation.environment import environment
from unshrink.evaluation.protocol import Method, mean_by_name
from unshrink.pictures import io as images
from unshrink.pictures.colour import RGB, over_white
from unshrink.pictures.image import Image
from unshrink.pictures.resize import crop_to_multiple
from unshrink.runtime.rescaler import Rescaler

OUT = Path(__file__).parents[1] / "results" / "generations.json"


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("methods", nargs="+", help="names of baselines.py, or weights by name or file")
    parser.add_argument(
        "--data", default="Kodak12odd", help="a folder of pictures or a test set (default: %(default)s)"
    )
    parser.add_argument("--most", type=int, default=4, help="photos, taken evenly from it (default: 4)")
    parser.add_argument("--side", type=int, default=768, help="pixels of the middle that is taken (default: 768)")
    parser.add_argument("--times", type=int, default=10, help="(default: %(default)s)")
    parser.add_argument("--quality", type=int, default=85, help="(default: %(default)s)")
    parser.add_argument("--threads", type=int, default=0)
    parser.add_argument("--out", type=Path, default=OUT)
    args = parser.parse_args(argv)
    photos = [middle(over_white(images.read(path)), args.side) for path in sample(args.data, args.most)]
    rows = {row["method"]: row for row in (json.loads(args.out.read_text())["rows"] if args.out.exists() else [])}
    about = {"set": Path(args.data).name, "pictures": len(photos), "quality": args.quality}
    for name in args.methods:
        method = method_of(name, args.threads)
        weights = method.weights.identity if isinstance(method, Rescaler) else None
        found = curve(method, photos, args.times, args.quality)
        rows[method.name] = {**about, "method": method.name, "weights": weights, "scale": method.scale, "times": found}
        args.out.write_text(json.dumps({"rows": list(rows.values()), **environment()}, indent=1) + "\n")
        print(method.name, [one["psnr_y"] for one in found], flush=True)


def curve(method: Method, photos: list[RGB], times: int, quality: int) -> list[dict[str, Any]]:
    """Figures after 0, 1, ... encodings, means of the photos."""
    photos = [crop_to_multiple(photo, method.scale) for photo in photos]
    smalls, found = [method.downscale(Image(photo)).pixels for photo in photos], []
    for time in range(times + 1):
        if time:
            smalls = [decoded(Hop("jpeg", quality).file(small)) for small in smalls]
        restored = [method.upscale(Image(small)).pixels for small in smalls]
        figures = [decibels(*pair, method.scale) for pair in zip(photos, restored, strict=True)]
        found.append({name: round(value, 4) for name, value in mean_by_name(figures).items()})
    return found


if __name__ == "__main__":
    main()
