"""Our own compiled convolutions, unshrink-kernels: the fastest on x86.

They know plain subnets without biases, as the shipped weights have them, and a whole restorer at once.  Whatever else a
network has, and gradients, another backend computes.
"""

from collections.abc import Callable, Iterator, Sequence
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray
from unshrink_kernels import Chain, arithmetics, merge, split

from unshrink.errors import ConfigError
from unshrink.network.layers import COLOURS, Coupling, Haar, Head, Residual, Step, Tail
from unshrink.network.subnets import Subnet
from unshrink.runtime.backends.host import Host, bytes_at_peak
from unshrink.runtime.backends.machine import cpu_count
from unshrink.weights import Weights

Planes = NDArray[np.float32]


class Kernels(Host):
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

    def joins(self, before: Step, after: Step) -> bool:
        """Also the steps of a restorer."""
        return super().joins(before, after) or (_is_of_restorer(before) and _is_of_restorer(after))

    def bytes_per_pixel(self, steps: Sequence[Step]) -> int:
        """Of planes alone: a few rows of features at a time pass through a cache."""
        return bytes_at_peak(units(steps), bytes_per_feature=0)

    def run(self, steps: Sequence[Step], x: Planes) -> Planes:
        """x (1, C, H, W) through the steps; values of a row lie side by side."""
        for unit in units(steps):
            x = self._unit(unit, x) if knows(unit) else self._other.run(unit, x)
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

    def _unit(self, unit: Sequence[Step], x: Planes) -> Planes:
        first, last = unit[0], unit[-1]
        height, width = (side // first.shrinks * last.grows for side in x.shape[2:])
        y = np.empty((1, last.channels[1], height, width), np.float32)
        match first.layer:
            case Haar():
                (merge if first.inverse else split)(x[0], y[0], self._threads)
            case Coupling():
                self._couple(first, first.layer, x[0], y[0])
            case Head():
                self._restore(unit, first.layer, x[0], y[0])
        return y

    def _couple(self, step: Step, layer: Coupling, x: Planes, y: Planes) -> None:
        low, detail, new_low, new_detail = x[:COLOURS], x[COLOURS:], y[:COLOURS], y[COLOURS:]
        f, gh = self._chain([step], "f"), self._chain([step], "gh", scaled=True, differences=layer.steady)
        if step.inverse:
            gh.scale(detail, low, new_detail, layer.clamp, True, self._threads)
            f.add_to(low, new_detail, new_low, True, self._threads)
            return
        f.add_to(low, detail, new_low, False, self._threads)
        if not step.low:
            gh.scale(detail, new_low, new_detail, layer.clamp, False, self._threads)

    def _restore(self, unit: Sequence[Step], head: Head, x: Planes, y: Planes) -> None:
        carried = np.zeros_like(y)
        carried[: head.carried] = x
        chain = self._chain(unit, "subnet", differences=head.steady, residual=True)
        chain.add_to(carried, x, y, False, self._threads)

    def _chain(self, unit: Sequence[Step], subnet: str, **kind: bool) -> Chain:
        """The subnets of this name, one after the other."""
        key = unit[0], subnet
        if key not in self._chains:
            kernels = [
                values.astype(np.float32)
                for step in unit
                for name, values in step.parameters(self._weights.tensors).items()
                if name.startswith(f"{subnet}.")
            ]
            self._chains[key] = Chain(kernels, self._arithmetic, **kind)
        return self._chains[key]


def units(steps: Sequence[Step]) -> Iterator[Sequence[Step]]:
    """Steps in the order in which they are run: a restorer is one, and so is every other step."""
    first = 0
    while first < len(steps):
        last = first
        if isinstance(steps[first].layer, Head):
            last = next((i for i, step in enumerate(steps) if i > first and isinstance(step.layer, Tail)), first)
        yield steps[first : last + 1]
        first = last + 1


def knows(unit: Sequence[Step]) -> bool:
    """Whether the kernels compute a unit."""
    match unit[0].layer:
        case Haar():
            return True
        case Coupling(subnet=subnet, joint=joint):
            return joint and _knows(subnet, COLOURS)
        case Head():
            return len(unit) > 1 and all(map(_is_of_restorer, unit))
    return False


def _is_of_restorer(step: Step) -> bool:
    """Whether it is a step of a restorer that the kernels compute."""
    match step.layer:
        case Head(subnet=subnet, width=width) | Residual(subnet=subnet, width=width):
            depth = 2 if isinstance(step.layer, Residual) else 1
            return len(subnet.widths) + 1 == depth and _knows(subnet, width) and _goes_on(width)
        case Tail(subnet=subnet, outputs=outputs):
            return _knows(subnet, outputs)
    return False


def _knows(subnet: Subnet, outputs: int) -> bool:
    """Whether the kernels compute a subnet with so many results."""
    if subnet.dense or subnet.bias:
        return False
    return all(map(_goes_on, subnet.widths)) and (outputs % 8 == 0 or outputs % 3 == 0)


def _goes_on(width: int) -> bool:
    """Whether so many results can be what a convolution reads: they are computed by eights or sixes."""
    return width % 8 == 0 or width % 6 == 0
