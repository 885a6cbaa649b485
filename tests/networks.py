"""Small networks with random weights, whose graphs are exported once per test process."""

import dataclasses
from functools import cache
from typing import Any

import numpy as np

from unshrink.architectures import expected_shapes
from unshrink.weights import Weights

LAYOUTS = {2: [1], 4: [1, 1]}  # few blocks: exporting takes seconds for each


def config(scale: int) -> dict[str, Any]:
    return {"scale": scale, "blocks": LAYOUTS[scale], "growth": 8, "clamp": 1.0, "latent": "zero"}


def random_weights(scale: int, seed: int = 0) -> Weights:
    """Values large enough that every parameter shows in the small picture."""
    draw = np.random.default_rng(seed)
    shapes = expected_shapes("irn", config(scale))
    tensors = {name: draw.normal(0, 0.04, shape).astype(np.float16) for name, shape in shapes.items()}
    return Weights(f"random-x{scale}", "irn", config(scale), tensors, about={"licence": "none"})


@cache
def graphs(scale: int) -> dict[str, bytes]:
    from unshrink.export import export

    return export(random_weights(scale)).graphs


def portable_weights(scale: int) -> Weights:
    return dataclasses.replace(random_weights(scale), graphs=graphs(scale))
