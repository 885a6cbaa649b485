"""Small networks with random weights, whose graphs are exported once per test process."""

import dataclasses
from functools import cache
from typing import Any

import numpy as np

from unshrink.network.architectures import expected_shapes
from unshrink.runtime.backends import Backend
from unshrink.weights import Weights

LAYOUTS = {2: [1], 4: [1, 1]}  # few blocks: exporting takes seconds for each


def config(scale: int, blocks: list[int] | None = None) -> dict[str, Any]:
    return {"scale": scale, "blocks": blocks or LAYOUTS[scale], "growth": 8, "clamp": 1.0, "latent": "zero"}


def random_weights(scale: int, seed: int = 0, blocks: list[int] | None = None) -> Weights:
    """Values large enough that every parameter shows in the small picture."""
    draw = np.random.default_rng(seed)
    made = config(scale, blocks)
    shapes = expected_shapes("irn", made)
    tensors = {name: draw.normal(0, 0.04, shape).astype(np.float16) for name, shape in shapes.items()}
    return Weights(f"random-x{scale}", "irn", made, tensors, about={"licence": "none"})


@cache
def graphs(scale: int) -> dict[str, bytes]:
    from unshrink.weights.export import export

    return export(random_weights(scale)).graphs


def portable_weights(scale: int) -> Weights:
    return dataclasses.replace(random_weights(scale), graphs=graphs(scale))


def down(weights: Weights, backend: Backend, hr: np.ndarray) -> np.ndarray:
    """hr (1, 3, H, W) -> lr (1, 3, H/s, W/s), in one piece."""
    for index in range(len(weights.layers)):
        hr = backend.down(index, hr)
    return hr


def up(weights: Weights, backend: Backend, lr: np.ndarray, z: np.ndarray) -> np.ndarray:
    """lr (1, 3, h, w) and z (1, 3s^2-3, h, w) -> hr (1, 3, sh, sw), in one piece."""
    y = np.concatenate((lr, z), axis=1)
    for index in reversed(range(len(weights.layers))):
        y = backend.up(index, y)
    return y


class Samples:
    """A backend as quick as it can be: one value of each block down, repetition up."""

    name = "samples"
    fast = False

    def __init__(self, weights: Weights) -> None:
        self._layers = weights.layers

    def down(self, layer: int, x: np.ndarray) -> np.ndarray:
        """The first band alone, beside zeros."""
        made = self._layers[layer]
        low = x[:, :3, :: made.factor, :: made.factor]
        return low if made.last else np.pad(low, [(0, 0), (0, made.channels - 3), (0, 0), (0, 0)])

    def up(self, layer: int, y: np.ndarray) -> np.ndarray:
        """The first bands, repeated."""
        made = self._layers[layer]
        return y[:, : made.channels // made.factor**2].repeat(made.factor, 2).repeat(made.factor, 3)

    def gradient(self, lr: np.ndarray, z: np.ndarray, hr: np.ndarray) -> np.ndarray:
        """Of flat pictures, exactly."""
        scale = hr.shape[2] // lr.shape[2]
        return lr.clip(0, 1) - hr[..., ::scale, ::scale]

    def release(self) -> None:
        """Nothing is kept."""
