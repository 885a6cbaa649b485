"""Small networks with random weights, whose graphs are exported once per test process."""

import dataclasses
from collections.abc import Sequence
from functools import cache
from typing import Any

import numpy as np

from unshrink.network import architectures
from unshrink.network.layers import Step
from unshrink.runtime.backends import Backend
from unshrink.runtime.backends.host import Host
from unshrink.weights import Weights

KINDS: dict[int | str, tuple[str, dict[str, Any]]] = {  # few blocks: exporting takes seconds for each
    2: ("irn", {"scale": 2, "blocks": [1], "growth": 8, "clamp": 1.0, "latent": "zero"}),
    4: ("irn", {"scale": 4, "blocks": [1, 1], "growth": 8, "clamp": 1.0, "latent": "zero"}),
    "x3": ("irn", {"scale": 3, "blocks": [1], "growth": 8}),
    "plain": (
        "irn",
        {"scale": 2, "blocks": [2], "subnet": "plain", "width": 8, "depth": 3, "joint": True, "steady": True},
    ),
    "plain-x3": (
        "irn",
        {"scale": 3, "blocks": [1], "subnet": "plain", "width": 8, "depth": 3, "joint": True, "steady": True},
    ),
    "restorer": (
        "irn",
        {"scale": 2, "blocks": [1], "subnet": "plain", "width": 8, "joint": True, "steady": True, "restorer": 1},
    ),
    "pair": ("pair", {"blocks": 1, "width": 6, "growth": 4}),
}
OTHERS = ("x3", "plain", "plain-x3", "restorer", "pair")  # than the published network


def config(scale: int) -> dict[str, Any]:
    return dict(KINDS[scale][1])


def random_weights(kind: int | str, seed: int = 0, **changes: Any) -> Weights:
    """Values large enough that every parameter shows in the small picture."""
    draw = np.random.default_rng(seed)
    architecture, made = KINDS[kind][0], {**KINDS[kind][1], **changes}
    shapes = architectures.shapes(architectures.from_dict(architecture, made))
    tensors = {name: draw.normal(0, 0.04, shape).astype(np.float16) for name, shape in shapes.items()}
    for tensor in tensors.values():
        if tensor.ndim == 3:  # of a learned downsampling: not far from one that keeps the picture
            tensor += np.eye(9, dtype=np.float16)
    name = f"random-x{kind}" if isinstance(kind, int) else f"random-{kind}"
    return Weights(name, architecture, made, tensors, about={"licence": "none"})


@cache
def graphs(kind: int | str) -> dict[str, bytes]:
    from unshrink.weights.export import export

    return export(random_weights(kind)).graphs


def portable_weights(kind: int | str) -> Weights:
    return dataclasses.replace(random_weights(kind), graphs=graphs(kind))


def down(weights: Weights, backend: Backend, hr: np.ndarray) -> np.ndarray:
    """hr (1, 3, H, W) -> lr (1, 3, H/s, W/s), in one piece."""
    return backend.run(weights.steps["down"], hr)


def up(weights: Weights, backend: Backend, lr: np.ndarray, z: np.ndarray) -> np.ndarray:
    """lr (1, 3, h, w) and z (1, 3s^2-3, h, w) -> hr (1, 3, sh, sw), in one piece."""
    return backend.run(weights.steps["up"], np.concatenate((lr, z), axis=1))


class Samples(Host):
    """A backend as quick as it can be: one value of each block down, repetition up."""

    name = "samples"
    precision = "float32"

    def run(self, steps: Sequence[Step], x: np.ndarray) -> np.ndarray:
        """The first band alone beside zeros on the way down; the first bands, repeated, on the way up."""
        for step in steps:
            x = self._step(step, x)
        return x

    def _step(self, step: Step, x: np.ndarray) -> np.ndarray:
        if step.inverse:
            return x[:, : step.channels[1]].repeat(step.grows, 2).repeat(step.grows, 3)
        low = x[:, :3, :: step.shrinks, :: step.shrinks]
        return np.pad(low, [(0, 0), (0, step.channels[1] - 3), (0, 0), (0, 0)])

    def gradient(self, lr: np.ndarray, z: np.ndarray, hr: np.ndarray, metric: np.ndarray) -> np.ndarray:
        """Of flat pictures, exactly."""
        scale = hr.shape[2] // lr.shape[2]
        return lr.clip(0, 1) - hr[..., ::scale, ::scale]

    def release(self) -> None:
        """Nothing is kept."""
