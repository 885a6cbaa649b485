"""What searching at encode time gains and costs: `downscale --effort`, by the published protocol.

    python benchmarks/effort.py                  # x2, x4 and x8, crops of three pictures a set: minutes of one core
    python benchmarks/effort.py new.safetensors --sets BSD100 --most 20 --side 2000 --efforts 1 2 3 4 5 6 7 8 9

Prints rows as they come and writes benchmarks/effort.json, where rows of other weights stay: per weights, set and
effort the mean of the differences to effort 0, the worst of them, and processor seconds of the whole downscale per
megapixel of the large one.
"""

import argparse
import json
import time
from pathlib import Path
from typing import Any

import numpy as np
from backends import machine
from samples import middle, sample

import unshrink
from unshrink import weights as zoo
from unshrink.evaluation.protocol import Figures, figures
from unshrink.pictures.resize import crop_to_multiple
from unshrink.training.data import read_rgb

HERE = Path(__file__).parent
MODELS = ("irn-x2", "irn-x4", "irn-x8")
GAINS = ("psnr_y", "psnr_rgb", "psnr_chroma", "lr_psnr_y", "lr_psnr_chroma")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", nargs="*", default=MODELS)
    parser.add_argument("--sets", nargs="+", default=["BSD100", "Screens"])
    parser.add_argument("--efforts", type=int, nargs="+", default=[1, 3, 5])
    parser.add_argument("--most", type=int, default=3, help="pictures of a set, taken evenly from it (default: 3)")
    parser.add_argument("--side", type=int, default=256, help="of what is taken from their middle (default: 256)")
    parser.add_argument("--backend", default="auto")
    parser.add_argument("--threads", type=int, default=0)
    parser.add_argument("--out", type=Path, default=HERE / "effort.json")
    options = parser.parse_args()
    rows = []
    for model in options.models:
        rescaler = unshrink.load(model, backend=options.backend, threads=options.threads)
        warm_up(rescaler)
        for name in options.sets:
            pictures = sample(name, options.most)
            for effort, row in measure(rescaler, pictures, options.side, options.efforts).items():
                about = {"weights": rescaler.weights.name, "set": name, "pictures": len(pictures), "effort": effort}
                rows.append(about | row)
                said = (f"{key} {value:.3f}" if isinstance(value, float) else value for key, value in rows[-1].items())
                print(*said, flush=True)
    earlier = json.loads(options.out.read_text()) if options.out.exists() else {"rows": [], "identities": {}}
    measured = {row["weights"] for row in rows}
    rows = [row for row in earlier["rows"] if row["weights"] not in measured] + rows
    result = {"machine": machine(), "backend": rescaler.backend.name, "threads": options.threads, "side": options.side}
    result["rows"] = rows
    identities = {name: zoo.load(name).identity[: zoo.IDENTITY_DIGITS] for name in measured}
    result["identities"] = earlier["identities"] | identities
    options.out.write_text(json.dumps(result, indent=1) + "\n")


def warm_up(rescaler: unshrink.Rescaler) -> None:
    """Compiles all graphs, so that the first picture does not pay for it."""
    rescaler.downscale(np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8), effort=1)


def measure(
    rescaler: unshrink.Rescaler, pictures: list[Path], side: int, efforts: list[int]
) -> dict[int, dict[str, Any]]:
    """Effort -> means over the pictures."""
    rows: dict[int, list[dict[str, float]]] = {effort: [] for effort in efforts}
    for path in pictures:
        hr = crop_to_multiple(middle(read_rgb(path), side), rescaler.scale)
        plain, plain_seconds = one(rescaler, hr, 0)
        for effort in efforts:
            found, seconds = one(rescaler, hr, effort)
            rows[effort].append(differences(plain, found, seconds, plain_seconds, hr.shape[0] * hr.shape[1] / 1e6))
    return {effort: summary(found) for effort, found in rows.items()}


def one(rescaler: unshrink.Rescaler, hr: np.ndarray, effort: int) -> tuple[Figures, float]:
    """The figures of a round trip, and the processor seconds of its downscale."""
    began = time.process_time()
    small = rescaler.downscale(hr, effort=effort)
    seconds = time.process_time() - began
    size = hr.shape[1], hr.shape[0]
    return figures(hr, small, rescaler.upscale(small, size=size), rescaler.scale), seconds


def differences(plain: Figures, found: Figures, seconds: float, before: float, megapixels: float) -> dict[str, float]:
    return {
        **{f"plain_{name}": getattr(plain, name) for name in GAINS},
        **{f"gain_{name}": gain(getattr(plain, name), getattr(found, name)) for name in GAINS},
        "seconds_per_megapixel": seconds / megapixels,
        "plain_seconds_per_megapixel": before / megapixels,
    }


def gain(before: float, after: float) -> float:
    """In dB; none where both are exact."""
    return 0.0 if after == before else after - before


def summary(rows: list[dict[str, float]]) -> dict[str, float]:
    """Means, and the least of the gains."""
    means = {key: float(np.mean([row[key] for row in rows])) for key in rows[0]}
    least = {f"least_{key}": min(row[key] for row in rows) for key in rows[0] if key.startswith("gain_")}
    return means | least


if __name__ == "__main__":
    main()
