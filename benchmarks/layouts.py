"""What layouts of the x4 network cost on this processor, beside what they gave back for equal work of training.

    python benchmarks/layouts.py           # the layouts of results/ablations/x4.json; writes benchmarks/layouts.json

Processor seconds of one thread for each megapixel of the large picture, both ways together, the least of three runs in
turns.  What the parameters are does not matter for that, so they are zeros; a layer has the same graph in all layouts.
"""

import dataclasses
import json
import re
import time
from pathlib import Path

import numpy as np
from backends import machine, photo

from unshrink import weights as zoo
from unshrink.network.architectures import from_dict, shapes
from unshrink.network.layers import operations
from unshrink.runtime.backends import make
from unshrink.runtime.backends.machine import has_fast_bfloat16
from unshrink.runtime.rescaler import Rescaler
from unshrink.weights import Weights

ROOT = Path(__file__).parents[1]
TARGET = Path(__file__).with_suffix(".json")
ROUNDS = 3
SIDE = 512


def layouts() -> dict[str, list[int]]:
    """The trials that differ from the first in their blocks alone, and their blocks."""
    found = {"base": [8, 8]}
    for trial in json.loads((ROOT / "results" / "ablations" / "x4.json").read_text()):
        settings = [setting for setting in trial["set"] if not setting.startswith("run.steps")]
        if len(settings) == 1 and (match := re.fullmatch(r"model\.blocks=(.*)", settings[0])):
            found[trial["name"]] = json.loads(match[1])
    return found


def network(blocks: list[int]) -> Weights:
    """Weights of this layout, of zeros."""
    like = zoo.load("irn-x4")
    config = {**like.config, "blocks": blocks}
    tensors = {name: np.zeros(shape, np.float16) for name, shape in shapes(from_dict("irn", config)).items()}
    return dataclasses.replace(like, config=config, tensors=tensors)


def both_ways(rescaler: Rescaler, pixels: np.ndarray) -> float:
    start = time.process_time()
    rescaler.upscale(rescaler.downscale(pixels))
    return time.process_time() - start


def main() -> None:
    fast, pixels = has_fast_bfloat16(), photo(SIDE, SIDE, 4)
    made = {name: network(blocks) for name, blocks in layouts().items()}
    rescalers = {name: Rescaler(net, make(net, "openvino", 1, fast=fast)) for name, net in made.items()}
    times: dict[str, list[float]] = {name: [] for name in made}
    for number in range(ROUNDS + 1):
        for name, rescaler in rescalers.items():
            seconds = both_ways(rescaler, pixels)
            if number:  # the first compiles
                times[name].append(seconds)
    rows = [
        {
            "name": name,
            "blocks": net.config["blocks"],
            "operations": round(operations(net.steps["down"])),
            "seconds_per_megapixel": round(min(times[name]) / SIDE**2 * 1e6, 2),
        }
        for name, net in made.items()
    ]
    for row in rows:
        print(row)
    precision = "bfloat16" if fast else "float32"
    TARGET.write_text(json.dumps({"machine": machine(), "precision": precision, "rows": rows}, indent=1) + "\n")


if __name__ == "__main__":
    main()
