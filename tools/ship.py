"""Puts trained weights into the package: their file, their row in the catalogue, and the log of their run.

    python tools/ship.py runs/irn-x2/irn-x2.safetensors
    python tools/ship.py runs/irn-x2-jpeg/irn-x2-jpeg.safetensors --lossy --mean before.safetensors

Adds the ONNX graphs, the licence and the commit, writes src/unshrink/weights/zoo/<name>.safetensors in float16,
measures Set5 with it for its row of ``catalogue.ENTRIES``, and copies the log of the run to
results/<name>/training.jsonl.  The figures of its card follow: `make eval-weights pages MODELS=<name>`.
"""

import argparse
import dataclasses
import hashlib
import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np

from unshrink import weights
from unshrink.weights import Weights, catalogue
from unshrink.weights.export import export

ROOT = Path(__file__).parents[1]
ZOO = ROOT / "src" / "unshrink" / "weights" / "zoo"
CATALOGUE = ZOO.with_name("catalogue.py")
RESULTS = ROOT / "results"
LICENCE = "Apache-2.0"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("file", type=Path, help="as training wrote it")
    parser.add_argument("--lossy", action="store_true", help="made for formats that change values: JPEG, lossy WebP")
    parser.add_argument("--mean", type=Path, metavar="FILE", help="weights that the run began with: ship their mean")
    options = parser.parse_args()
    file, made = options.file, weights.load(options.file)
    made = finished(mean(weights.load(options.mean), made) if options.mean else made)
    path = ZOO / f"{made.name}.safetensors"
    weights.save(path, made)
    install(made, path, {}, options.lossy)
    install(
        made, path, measured(made.name), options.lossy
    )  # with its row: weights for lossy formats mark what they make
    if (log := file.with_name("log.jsonl")).exists():
        shutil.copyfile(log, RESULTS / made.name / "training.jsonl")


def mean(before: Weights, after: Weights) -> Weights:
    """The weights halfway between those that a run began with and those that it made.

    What was learned before is kept, and most of what is new.  Reference: Wortsman et al., Robust fine-tuning of
    zero-shot models, CVPR 2022.
    """
    between = {
        name: ((before.tensors[name].astype(np.float32) + value) / 2).astype(value.dtype)
        for name, value in after.tensors.items()
    }
    return dataclasses.replace(after, tensors=between)


def finished(made: Weights) -> Weights:
    """The same weights with graphs, licence and commit."""
    command = ["git", "rev-parse", "--short", "HEAD"]
    commit = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout.strip()
    training = {"commit": commit, **made.about.get("training", {})}
    return export(dataclasses.replace(made, about={**made.about, "licence": LICENCE, "training": training}))


def install(made: Weights, path: Path, figures: dict[str, float], lossy: bool) -> None:
    """Writes the row of the catalogue."""
    CATALOGUE.write_text(with_row(CATALOGUE.read_text(), made.name, row(made, path, figures, lossy)))


def measured(name: str) -> dict[str, float]:
    """Figures of Set5, which go to results/<name>/Set5.json too; in a process of its own, which knows the new row."""
    options = ["--data", "Set5", "--output", str(RESULTS), "--precision", "float32", "--overwrite"]
    subprocess.run([sys.executable, "-m", "unshrink", "eval", name, *options], check=True)
    mean = json.loads((RESULTS / name / "Set5.json").read_text())["mean"]
    return {"Set5 PSNR-Y": round(mean["psnr_y"], 2), "Set5 chroma": round(mean["psnr_chroma"], 2)}


def with_row(catalogue: str, name: str, row: str) -> str:
    """The catalogue with its row of that name replaced; SystemExit where there is none: a new one needs a place."""
    earlier = re.compile(rf'    Entry\(\n        name="{name}",\n.*?\n    \),\n', re.DOTALL)
    changed, count = earlier.subn(lambda _: row, catalogue)
    if not count:
        raise SystemExit(f"{CATALOGUE} has no row of {name}: put this where it belongs\n{row}")
    return changed


def number(made: Weights) -> int:
    """The number of weights that have a row already; for others the next one: numbers are never used again."""
    entry = weights.of_identity(made.identity)
    return entry.number if entry else max(row.number for row in catalogue.ENTRIES) + 1


def row(made: Weights, path: Path, figures: dict[str, float], lossy: bool) -> str:
    """The row of the catalogue."""
    data = path.read_bytes()
    return f"""    Entry(
        name="{made.name}",
        file="{path.name}",
        sha256="{hashlib.sha256(data).hexdigest()}",
        bytes={len(data)},
        identity="{made.identity}",
        architecture="{made.architecture}",
        scale={made.scale},
        latent="{made.latent}",
        licence="{LICENCE}",
        card="cards/{made.name}.md",
        figures={json.dumps(figures)},
        number={number(made)},
        lossy={lossy},
    ),
"""


if __name__ == "__main__":
    main()
