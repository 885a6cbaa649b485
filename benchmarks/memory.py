"""Peak memory of whole commands, `unshrink downscale` and `upscale`, by the size of the picture.

python benchmarks/memory.py                                      # 1, 10 and 100 megapixels with irn-x2
python benchmarks/memory.py 500 --model tiny.safetensors         # that size alone; the other rows of the file stay
python benchmarks/memory.py 100 --format tiff --scale 4 --precision float32

Writes benchmarks/memory.json, row by row.
"""

import argparse
import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from backends import machine

from unshrink.pictures.image import PassingImage
from unshrink.pictures.io import write
from unshrink.pictures.strips import Strips

TARGET = Path(__file__).with_suffix(".json")
MEASURE = """
import resource, runpy, sys
sys.argv[0] = "unshrink"
try:
    runpy.run_module("unshrink", run_name="__main__")
finally:
    used = resource.getrusage(resource.RUSAGE_SELF)  # its ru_maxrss would be no less than what the parent had
    peak = next(line for line in open("/proc/self/status") if line.startswith("VmHWM"))
    print(int(peak.split()[1]) >> 10, used.ru_utime + used.ru_stime)
"""


def picture(megapixels: float) -> PassingImage:
    """A large picture, made while it is written: waves with noise, so that files are as large as those of photos."""
    side = round((megapixels * 1e6) ** 0.5)

    def strips() -> Iterator[np.ndarray]:
        draw = np.random.default_rng(0)
        x = np.arange(side)[None, :, None] / 37 + np.arange(3)
        for top in range(0, side, 64):
            y = np.arange(top, min(top + 64, side))[:, None, None] / 53
            yield (128 + 90 * np.sin(x) * np.cos(y) + draw.normal(0, 4, (len(y), side, 3))).astype(np.uint8)

    return PassingImage(Strips((side, side, 3), np.uint8, strips()))


def command(*arguments: object) -> tuple[int, float]:
    """Runs a command of unshrink; its peak memory in MB, and the processor seconds that it took."""
    done = subprocess.run(
        [sys.executable, "-c", MEASURE, *map(str, arguments)], capture_output=True, text=True, check=False
    )
    if done.returncode:
        sys.exit(done.stderr)
    peak, seconds = done.stdout.split()[-2:]
    return int(peak), float(seconds)


def measure(megapixels: float, model: list[str], form: str, options: list[str], folder: Path) -> Iterator[dict]:
    """A picture there and back."""
    large, small, back = (folder / f"{name}.{form}" for name in ("large", "small", "back"))
    write(picture(megapixels), large, overwrite=True)
    limit = ["--max-pixels", str(round(megapixels * 1.1e6)), "--overwrite", *options]
    for way, source, target in (("down", large, small), ("up", small, back)):
        chosen = model if way == "down" or model[0] == "--model" else []
        peak, seconds = command(f"{way}scale", source, "-o", target, *chosen, *limit)
        run = {"megapixels": megapixels, "format": form, "way": way}
        yield {**run, "peak_mb": peak, "processor_seconds": round(seconds, 1)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("sizes", nargs="*", type=float, default=[1, 10, 100], help="in megapixels")
    parser.add_argument("--model", help="a weights file (default: those for the scale)")
    parser.add_argument("--scale", type=int, default=2)
    parser.add_argument("--format", choices=["png", "tiff"], default="png")
    parser.add_argument("--tile", default="0")
    parser.add_argument("--backend", default="auto")
    parser.add_argument("--precision", default="auto")
    options = parser.parse_args()
    model = ["--model", options.model] if options.model else ["--scale", str(options.scale)]
    name = Path(options.model).stem if options.model else f"irn-x{options.scale}"
    run = {"weights": name, "backend": options.backend, "precision": options.precision, "tile": int(options.tile)}
    choice = ["--tile", options.tile, "--backend", options.backend, "--precision", options.precision]
    measured = json.loads(TARGET.read_text()) if TARGET.exists() else {"rows": []}
    with tempfile.TemporaryDirectory(dir=Path.cwd()) as folder:
        for size in options.sizes:
            for row in measure(size, model, options.format, choice, Path(folder)):
                row = run | row
                print(row, flush=True)
                same = lambda other, row=row: all(
                    other[key] == row[key] for key in row if key not in ("peak_mb", "processor_seconds")
                )
                measured["rows"] = [*(other for other in measured["rows"] if not same(other)), row]
                measured["machine"] = machine()
                TARGET.write_text(json.dumps(measured, indent=1) + "\n")


if __name__ == "__main__":
    main()
