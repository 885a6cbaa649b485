"""Puts trained weights into the package, and prints their row for ``catalogue.ENTRIES``.

    python tools/ship.py runs/irn-x2/irn-x2.safetensors

Adds the ONNX graphs, the licence and the commit, and writes src/unshrink/weights/zoo/<name>.safetensors in float16.
"""

import argparse
import dataclasses
import hashlib
import subprocess
from pathlib import Path

from unshrink import weights
from unshrink.weights.export import export

ROOT = Path(__file__).parents[1]
ZOO = ROOT / "src" / "unshrink" / "weights" / "zoo"
LICENCE = "Apache-2.0"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("file", type=Path)
    made = weights.load(parser.parse_args().file)
    commit = subprocess.run(
        ["git", "rev-parse", "--short", "HEAD"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    training = {"commit": commit.stdout.strip(), **made.about["training"]}
    made = export(dataclasses.replace(made, about={**made.about, "licence": LICENCE, "training": training}))
    path = ZOO / f"{made.name}.safetensors"
    weights.save(path, made)
    data, set5 = path.read_bytes(), made.about["figures"]["Set5"]
    print(f"""    Entry(
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
        figures={{"Set5 PSNR-Y": {set5["psnr_y"]:.2f}, "Set5 chroma": {set5["psnr_chroma"]:.2f}}},
    ),""")


if __name__ == "__main__":
    main()
