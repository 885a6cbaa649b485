"""Our own compiled convolutions, unshrink-kernels: the fastest on x86.

They know plain subnets without biases, as the shipped weights have them.  Whatever else a network has, and gradients,
another backend computes.
"""

from collections.abc import Callable, Sequence
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray
from unshrink_kernels import Chain, arithmetics, merge, split

from unshrink.errors import ConfigError
from unshrink.network.layers import COLOURS, Coupling, Haar, Head, Residual, Step, Tail
from unshrink.network.subnets import Subnet
from unshrink.runtime.backends.machine import cpu_count
from unshrink.weights import Weights

Planes = NDArray[np.float32]


class Kernels:
    """A network on our own kernels.

    Args:
        weights: what to run.
        threads: how many to compute with; 0 for as many as there are cores.
        precision: of the convolutions; their sums, and all else, are float32 in any.
        other: makes the backend of all that the kernels do not know; it is made when it is first needed.

    Raises:
        ConfigError: the processor has no instructions for this precision.
    """

    name = "kernels"
    bytes_per_feature = 0  # a few rows of features at a time pass through a cache
    device_memory = 0

    def __init__(self, weights: Weights, threads: int, precision: str, other: Callable[[], Any]) -> None:
        self._made_of = weights, threads, precision, other
        self._weights, self._threads, self.precision, self._make = weights, threads or cpu_count(), precision, other
        self._chains: dict[tuple[Step, str], Chain] = {}
        fitting = [name for name in arithmetics() if name.startswith(precision)]
        if not fitting:
            raise ConfigError(f"backend kernels cannot compute in {precision} on this processor: use openvino or torch")
        self._arithmetic = fitting[0]

    def __reduce__(self) -> tuple[Any, ...]:
        return Kernels, self._made_of

    def run(self, steps: Sequence[Step], x: Planes) -> Planes:
        """x (1, C, H, W) through the steps; values of a row lie side by side."""
        for step in steps:
            x = self._step(step, x) if knows(step) else self._other.run([step], x)
        return x

    def gradient(self, lr: Planes, z: Planes, hr: Planes, metric: Planes) -> Planes:
        """lr (1, 3, h, w), z (1, Z, h, w), hr (1, 3, sh, sw) and metric (3, 3) -> gradient (1, 3, h, w)."""
        return self._other.gradient(lr, z, hr, metric)

    def release(self) -> None:
        """Gives back what the other backend keeps; the kernels keep nothing."""
        if "_other" in vars(self):
            self._other.release()

    @cached_property
    def _other(self) -> Any:
        return self._make()

    def _step(self, step: Step, x: Planes) -> Planes:
        height, width = (side // step.shrinks * step.grows for side in x.shape[2:])
        y = np.empty((1, step.channels[1], height, width), np.float32)
        self._run(step, x[0], y[0])
        return y

    def _run(self, step: Step, x: Planes, y: Planes) -> None:
        threads = self._threads
        match step.layer:
            case Haar():
                (merge if step.inverse else split)(x, y, threads)
            case Coupling():
                self._couple(step, step.layer, x, y, threads)
            case Head(carried=carried, steady=steady):
                y[:carried] = x
                onto = np.zeros_like(y[carried:])
                self._chain(step, "subnet", differences=steady).add_to(onto, x, y[carried:], False, threads)
            case Residual(carried=carried):
                y[:carried] = x[:carried]
                self._chain(step, "subnet").add_to(x[carried:], x[carried:], y[carried:], False, threads)
            case Tail(carried=carried):
                onto = np.zeros_like(y)
                onto[:carried] = x[:carried]
                self._chain(step, "subnet").add_to(onto, x[carried:], y, False, threads)

    def _couple(self, step: Step, layer: Coupling, x: Planes, y: Planes, threads: int) -> None:
        low, detail, new_low, new_detail = x[:COLOURS], x[COLOURS:], y[:COLOURS], y[COLOURS:]
        f, gh = self._chain(step, "f"), self._chain(step, "gh", scaled=True, differences=layer.steady)
        if step.inverse:
            gh.scale(detail, low, new_detail, layer.clamp, True, threads)
            f.add_to(low, new_detail, new_low, True, threads)
            return
        f.add_to(low, detail, new_low, False, threads)
        if not step.low:
            gh.scale(detail, new_low, new_detail, layer.clamp, False, threads)

    def _chain(self, step: Step, subnet: str, scaled: bool = False, differences: bool = False) -> Chain:
        if (step, subnet) not in self._chains:
            named = step.parameters(self._weights.tensors)
            kernels = [named[name].astype(np.float32) for name in named if name.startswith(f"{subnet}.")]
            self._chains[step, subnet] = Chain(kernels, scaled, differences, self._arithmetic)
        return self._chains[step, subnet]


def knows(step: Step) -> bool:
    """Whether the kernels compute a step."""
    match step.layer:
        case Haar():
            return True
        case Coupling(subnet=subnet, joint=joint):
            return joint and _knows(subnet, COLOURS)
        case Head(subnet=subnet, width=width) | Residual(subnet=subnet, width=width):
            return _knows(subnet, width)
        case Tail(subnet=subnet, outputs=outputs):
            return _knows(subnet, outputs)
    return False


def _knows(subnet: Subnet, outputs: int) -> bool:
    """Whether the kernels compute a subnet with so many results."""
    if subnet.dense or subnet.bias:
        return False
    # Results are computed by eights, sixes or threes, and features go in pairs
    return all(width % 8 == 0 or width % 6 == 0 for width in subnet.widths) and (outputs % 8 == 0 or outputs % 3 == 0)
