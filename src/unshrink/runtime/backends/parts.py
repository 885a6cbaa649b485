"""The graphs of a step, one after the other, and what is computed between them: in float32, whatever they compute in.

Shapes:  x and y (1, C, H, W), low (1, K, H, W), detail (1, C - K, H, W).
"""

from collections.abc import Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from unshrink.network.layers import COLOURS, SEEN, Coupling, Head, Step

Planes = NDArray[np.float32]


class Graph(Protocol):
    """What runs a graph of a step."""

    def __call__(self, step: Step, part: str, inputs: dict[str, Planes], out: Planes) -> None:
        """Writes into ``out`` what the graph of a part gives for its inputs, those of `Step.parts`."""


def run(steps: Sequence[Step], x: Planes, graph: Graph) -> Planes:
    """The result of steps, by their graphs."""
    for step in steps:
        x = _run(step, np.ascontiguousarray(x), graph)
    return x


def _run(step: Step, x: Planes, graph: Graph) -> Planes:
    height, width = (side // step.shrinks * step.grows for side in x.shape[2:])
    y = np.empty((1, step.channels[1], height, width), np.float32)
    match step.layer:
        case Coupling(steady=steady):
            _run_coupling(step, steady, x, y, graph)
        case Head(steady=steady):
            graph(step, "", {"x": x, "seen": _seen(x, steady)}, y)
        case _:
            graph(step, "", {"x": x}, y)
    return y


def _run_coupling(step: Step, steady: bool, x: Planes, y: Planes, graph: Graph) -> None:
    low, detail = x[:, :COLOURS], x[:, COLOURS:]
    new_low, new_detail = y[:, :COLOURS], y[:, COLOURS:]
    if step.inverse:
        graph(step, "detail", {"detail": detail, "seen": _seen(low, steady)}, new_detail)
        graph(step, "low", {"low": low, "detail": new_detail}, new_low)
        return
    graph(step, "low", {"low": low, "detail": detail}, new_low)
    if not step.low:
        graph(step, "detail", {"detail": detail, "seen": _seen(new_low, steady)}, new_detail)


def _seen(x: Planes, steady: bool) -> Planes:
    """`modules.differences` of (1, K, H, W), or the values themselves where a subnet sees these; zeros behind them."""
    channels = x.shape[1]
    seen = np.zeros((1, -(-(1 + steady) * channels // SEEN) * SEEN, *x.shape[2:]), np.float32)
    if steady:
        np.subtract(x[..., 1:], x[..., :-1], out=seen[:, :channels, :, 1:])
        np.subtract(x[..., 1:, :], x[..., :-1, :], out=seen[:, channels : 2 * channels, 1:])
    else:
        seen[:, :channels] = x
    return seen
