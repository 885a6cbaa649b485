"""What bfloat16 costs on either side, against float32: whole pictures through 8-bit files.

    python benchmarks/precision.py                                  # all installed weights on two test sets
    python benchmarks/precision.py new.safetensors --sets Screens

Writes benchmarks/precision.json, where rows of other weights stay: per weights and set the mean PSNR in dB of luma, RGB
and chroma where both sides are float32, how far each changes with a decoder, an encoder, and both in bfloat16, and
how many values of the small pictures differ, by how much at most.
"""

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np
from backends import machine
from samples import sample

import unshrink
from unshrink.pictures import metrics
from unshrink.pictures.resize import crop_to_multiple
from unshrink.runtime.backends import PRECISIONS
from unshrink.training.data import read_rgb

TARGET = Path(__file__).with_suffix(".json")
SIDES = {"float32": (False, False), "decoder": (False, True), "encoder": (True, False), "both": (True, True)}
MEASURES = ("psnr_y", "psnr_rgb", "psnr_chroma")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", nargs="*", default=unshrink.list_models())
    parser.add_argument("--sets", nargs="+", default=["Set5", "Kodak12odd"])
    parser.add_argument("--most", type=int, default=14, help="pictures of a set, taken evenly from it (default: 14)")
    options = parser.parse_args()
    rows = []
    for model in options.models:
        pair = [unshrink.load(model, precision=precision) for precision in PRECISIONS]
        for name in options.sets:
            chosen = sample(name, options.most)
            rows.append({"weights": pair[0].name, "set": name, "pictures": len(chosen), **measure(pair, chosen)})
            print(*rows[-1].values(), flush=True)
    earlier = json.loads(TARGET.read_text())["rows"] if TARGET.exists() else []
    kept = [row for row in earlier if row["weights"] not in {row["weights"] for row in rows}]
    TARGET.write_text(json.dumps({"machine": machine(), "rows": kept + rows}, indent=1) + "\n")


def measure(pair: list[unshrink.Rescaler], pictures: list[Path]) -> dict[str, Any]:
    """Means in dB by what is in bfloat16; of all but float32, the difference to it."""
    found: dict[str, list[list[float]]] = {sides: [] for sides in SIDES}
    differences = []
    for path in pictures:
        hr = crop_to_multiple(read_rgb(path), pair[0].scale)
        small = [rescaler.downscale(hr) for rescaler in pair]
        differences.append(np.abs(small[0].astype(int) - small[1]).ravel())
        for sides, (encoder, decoder) in SIDES.items():
            found[sides].append(decibels(hr, pair[decoder].upscale(small[encoder]), pair[0].scale))
    means = {sides: np.mean(values, axis=0) for sides, values in found.items()}
    plain = means.pop("float32")
    all_differences = np.concatenate(differences)
    return {
        "float32": named(plain, 3),
        **{sides: named(values - plain, 4) for sides, values in means.items()},
        "differing": round(float(np.mean(all_differences > 0)), 4),
        "most_different": int(all_differences.max()),
    }


def decibels(hr: np.ndarray, restored: np.ndarray, border: int) -> list[float]:
    """PSNR of a restored picture, by `MEASURES`."""
    chroma = metrics.psnr_chroma(hr, restored, border)
    return [metrics.psnr_y(hr, restored, border), metrics.psnr(hr, restored, border), float(np.mean(chroma))]


def named(values: np.ndarray, digits: int) -> dict[str, float]:
    """Figures by their names."""
    return {name: round(float(value), digits) for name, value in zip(MEASURES, values, strict=True)}


if __name__ == "__main__":
    main()
