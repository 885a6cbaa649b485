"""Figures of the installed weights over the test sets, through real PNG files, by the published protocol.

    python benchmarks/quality.py                          # all weights, Set5
    python benchmarks/quality.py irn-x4 --sets Set5 Set14 Kodak12odd

Writes results/<weights>/<set>.json: every picture's figures, their mean, and what made them.  Bicubic both ways
stands beside each, by the same protocol.
"""

import argparse
import json
import os
import platform
import subprocess
import tempfile
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

import unshrink
from unshrink import metrics, weights
from unshrink.data import crop_to_multiple, find_pictures, read_rgb
from unshrink.evaluate import figures, to_uint8
from unshrink.resize import resize

ROOT = Path(__file__).parents[1]
DATA = Path(os.environ.get("UNSHRINK_DATA", ROOT.parent / "shared" / "data")) / "test"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", nargs="*", default=unshrink.list_models())
    parser.add_argument("--sets", nargs="+", default=["Set5"])
    arguments = parser.parse_args()
    for model in arguments.models:
        rescaler = unshrink.load(model)
        for name in arguments.sets:
            result = measure(rescaler, DATA / name)
            path = ROOT / "results" / rescaler.weights.name / f"{name}.json"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(json.dumps(result, indent=1) + "\n")
            print(model, name, {key: round(value, 4) for key, value in result["mean"].items()}, flush=True)


def measure(rescaler: unshrink.Rescaler, folder: Path) -> dict[str, Any]:
    """Per picture and mean: ours and bicubic, bytes, and seconds per megapixel of the large picture each way."""
    rows = {
        path.stem: one(rescaler, crop_to_multiple(read_rgb(path), rescaler.scale)) for path in find_pictures(folder)
    }
    return {
        "model": rescaler.weights.name,
        "weights": rescaler.weights.identity[: weights.IDENTITY_DIGITS],
        "set": folder.name,
        "protocol": "8-bit PNG files; HR cut to a multiple; luma, border = scale; LR against MATLAB bicubic",
        "backend": rescaler.backend.name,
        "machine": f"{platform.machine()}, {os.cpu_count()} cores",
        "commit": subprocess.run(
            ["git", "rev-parse", "--short", "HEAD"], cwd=ROOT, capture_output=True, text=True
        ).stdout.strip(),
        "mean": {key: float(np.mean([row[key] for row in rows.values()])) for key in next(iter(rows.values()))},
        "pictures": rows,
    }


def one(rescaler: unshrink.Rescaler, hr: np.ndarray) -> dict[str, Any]:
    """One picture down to a PNG file and back through another."""
    scale, (height, width) = rescaler.scale, hr.shape[:2]
    with tempfile.TemporaryDirectory() as folder:
        source, small, large = (Path(folder) / f"{name}.png" for name in ("source", "small", "large"))
        unshrink.write(unshrink.Image(hr), source)
        began = time.perf_counter()
        rescaler.downscale(source, small)
        rescaler.upscale(small, large)
        seconds = time.perf_counter() - began
        ours = figures(hr, unshrink.read(small).pixels, unshrink.read(large).pixels, scale)
        size = small.stat().st_size
    bicubic = to_uint8(resize(hr, (width // scale, height // scale)))
    back = to_uint8(resize(bicubic, (width, height)))
    return {
        **asdict(ours),
        "bicubic_psnr_y": metrics.psnr_y(hr, back, scale),
        "bicubic_ssim_y": metrics.ssim_y(hr, back, scale),
        "bicubic_psnr_rgb": metrics.psnr(hr, back, scale),
        "bits_per_pixel": 8 * size / (height * width),
        "seconds_per_megapixel": seconds / 2 / (height * width / 1e6),
    }


if __name__ == "__main__":
    main()
