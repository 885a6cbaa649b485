"""What bfloat16 costs in dB on either side: `--fast` against float32, through 8-bit files.

    python benchmarks/precision.py                                  # all installed weights on five test sets
    python benchmarks/precision.py new.safetensors --sets Set5

Writes benchmarks/precision.json, where rows of other weights stay: per weights and set the mean PSNR-Y where both sides
are float32, and how far it changes with a fast decoder, a fast encoder, and both.  Of each picture the middle
is taken, at most 320 pixels a side.
"""

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np
from backends import machine
from samples import middle, sample

import unshrink
from unshrink.evaluation.protocol import closeness
from unshrink.pictures.resize import crop_to_multiple
from unshrink.training.data import read_rgb

TARGET = Path(__file__).with_suffix(".json")
SIDE = 320
SIDES = {"float32": (False, False), "decoder": (False, True), "encoder": (True, False), "both": (True, True)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", nargs="*", default=unshrink.list_models())
    parser.add_argument("--sets", nargs="+", default=["Set5", "Set14", "BSD100", "Kodak12odd", "Screens"])
    parser.add_argument("--most", type=int, default=14, help="pictures of a set, taken evenly from it (default: 14)")
    options = parser.parse_args()
    rows = []
    for model in options.models:
        pair = [unshrink.load(model, fast=fast) for fast in (False, True)]
        for name in options.sets:
            chosen = sample(name, options.most)
            rows.append(
                {"weights": pair[0].weights.name, "set": name, "pictures": len(chosen), **measure(pair, chosen)}
            )
            print(*rows[-1].values())
    earlier = json.loads(TARGET.read_text())["rows"] if TARGET.exists() else []
    kept = [row for row in earlier if row["weights"] not in {row["weights"] for row in rows}]
    TARGET.write_text(json.dumps({"machine": machine(), "rows": kept + rows}, indent=1) + "\n")


def measure(pair: list[unshrink.Rescaler], pictures: list[Path]) -> dict[str, Any]:
    """The mean PSNR-Y in dB by what is fast; of all but float32, the difference to it."""
    found: dict[str, list[float]] = {sides: [] for sides in SIDES}
    for path in pictures:
        hr = crop_to_multiple(middle(read_rgb(path), SIDE), pair[0].scale)
        small = [rescaler.downscale(hr) for rescaler in pair]
        for sides, (encoder, decoder) in SIDES.items():
            restored = pair[decoder].upscale(small[encoder])
            found[sides].append(closeness(hr, restored, pair[0].scale)["psnr_y"])
    means = {sides: float(np.mean(values)) for sides, values in found.items()}
    plain = means.pop("float32")
    return {"float32": round(plain, 3), **{sides: round(value - plain, 4) for sides, value in means.items()}}


if __name__ == "__main__":
    main()
