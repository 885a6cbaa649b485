"""Layers as they are known without torch: channels, parameters, and what runs them piece by piece must know.

A network is two lists of `Step`s, an encoder from the large picture to the small one and a decoder back.  An invertible
network's decoder is its encoder mirrored, on the same parameters; others need not be.  `modules` holds what each layer
computes, `fast` the order in which runtimes are fast at it.

Shapes:  K channels of the low band (the small picture's colours), C all channels, s the factor of a downsampling.
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import numpy as np

from unshrink.network.subnets import Shape, Subnet

COLOURS = 3
SEEN = 8
"""Channels in multiples of which graphs take what a subnet sees of the low band; zeros fill them.

With fewer, or 12, OpenVINO sums a convolution in bfloat16 in another order where pieces are of another width.
"""


class Layer(ABC):
    """What every layer says of itself; most have no parameters, leave the size and look at one pixel at a time.

    Attributes:
        kind: its part of the names of graphs: layers of one kind, at one scale of a direction, differ in parameters
            alone.
    """

    kind: ClassVar[str]

    @property
    @abstractmethod
    def channels(self) -> tuple[int, int]:
        """Of what goes in and of what comes out."""

    @property
    def factor(self) -> int:
        """How many times smaller it makes each side."""
        return 1

    @property
    def reach(self) -> int:
        """How many pixels around a place its result depends on."""
        return 0

    @property
    def features(self) -> int:
        """Channels held at once at the peak of a run, beside what goes in and what comes out."""
        return 0

    @property
    def all_features(self) -> int:
        """Channels computed on the way, which its gradient needs."""
        return self.features

    @property
    def parts(self) -> Mapping[str, Mapping[str, int]]:
        """The graphs that it is run as, if it is not one of all that goes in: channels of each input of each."""
        return {}

    def shapes(self) -> Iterable[tuple[str, Shape]]:
        """Name and shape of every parameter."""
        return ()

    def parameters(self, stored: Mapping[str, np.ndarray], inverse: bool) -> Mapping[str, np.ndarray]:
        """The parameters of its graph, of those that weights store."""
        return stored


@dataclass(frozen=True)
class Haar(Layer):
    """`modules.HaarDownsample` of so many channels: C -> 4C."""

    inputs: int
    kind: ClassVar[str] = "split"

    @property
    def channels(self) -> tuple[int, int]:
        """C -> 4C."""
        return self.inputs, 4 * self.inputs

    @property
    def factor(self) -> int:
        """Two."""
        return 2


@dataclass(frozen=True)
class Dct(Layer):
    """`modules.DctDownsample` of so many channels: C -> 9C."""

    inputs: int
    kind: ClassVar[str] = "split"

    @property
    def channels(self) -> tuple[int, int]:
        """C -> 9C."""
        return self.inputs, 9 * self.inputs

    @property
    def factor(self) -> int:
        """Three."""
        return 3


@dataclass(frozen=True)
class Learned(Dct):
    """`modules.LearnedDownsample` of so many channels, by three: C -> 9C."""

    def shapes(self) -> Iterable[tuple[str, Shape]]:
        """A matrix for each channel."""
        return [("matrix", (self.inputs, self.factor**2, self.factor**2))]

    def parameters(self, stored: Mapping[str, np.ndarray], inverse: bool) -> Mapping[str, np.ndarray]:
        """The matrix, or its inverse: computed here, since ONNX cannot, and a rounded one would not be exact."""
        if not inverse:
            return stored
        return {"inverted": np.linalg.inv(stored["matrix"].astype(np.float64)).astype(np.float32)}


@dataclass(frozen=True)
class Coupling(Layer):
    """`modules.AffineCoupling`: C -> C.

    Attributes:
        size: channels C of low band and detail together.
        subnet: what computes shifts and scale.
        joint: whether shift and scale of the detail come from one subnet of twice the results.
        clamp: bound of the log scale.
        steady: whether g and h see the differences of neighbours in the low band instead of the band.  With subnets
            without biases, areas of one colour then pass as they are and leave no detail, by construction.
    """

    size: int
    subnet: Subnet
    joint: bool = False
    clamp: float = 1.0
    steady: bool = False
    kind: ClassVar[str] = "block"

    @property
    def channels(self) -> tuple[int, int]:
        """C -> C."""
        return self.size, self.size

    @property
    def reach(self) -> int:
        """Of two subnets one after the other, and of the differences of neighbours."""
        return 2 * self.subnet.reach + self.steady

    @property
    def features(self) -> int:
        """Of one subnet."""
        return self.subnet.features

    @property
    def all_features(self) -> int:
        """Of all subnets."""
        return (2 if self.joint else 3) * sum(self.subnet.widths)

    @property
    def subnets(self) -> dict[str, tuple[int, int]]:
        """Channels in and out of f, g and h, or of f and gh."""
        detail, seen = self.size - COLOURS, self.seen
        of_detail = {"gh": (seen, 2 * detail)} if self.joint else {"g": (seen, detail), "h": (seen, detail)}
        return {"f": (detail, COLOURS), **of_detail}

    @property
    def seen(self) -> int:
        """Channels that g and h see of the low band."""
        return COLOURS * (1 + self.steady)

    @property
    def parts(self) -> Mapping[str, Mapping[str, int]]:
        """What is added to the low band, and what then becomes of the detail."""
        detail = self.size - COLOURS
        seen = -(-self.seen // SEEN) * SEEN
        return {"low": {"low": COLOURS, "detail": detail}, "detail": {"detail": detail, "seen": seen}}

    def shapes(self) -> Iterable[tuple[str, Shape]]:
        """Of the subnets."""
        for name, (inputs, outputs) in self.subnets.items():
            yield from self.subnet.shapes(name, inputs, outputs)


@dataclass(frozen=True)
class Head(Layer):
    """`modules.Head`: what is carried -> the same, and features beside it.

    Attributes:
        carried: channels that come in.
        width: channels of the features.
        steady: whether features are made of the differences of neighbours and without a constant, so that areas of
            one colour have none.
    """

    carried: int
    width: int
    steady: bool = False
    kind: ClassVar[str] = "head"

    @property
    def channels(self) -> tuple[int, int]:
        """What is carried -> that, and the features."""
        return self.carried, self.carried + self.width

    @property
    def reach(self) -> int:
        """Of one convolution, and of the differences of neighbours."""
        return 1 + self.steady

    @property
    def seen(self) -> int:
        """Channels that the convolution reads."""
        return self.carried * (1 + self.steady)

    @property
    def parts(self) -> Mapping[str, Mapping[str, int]]:
        """One, which takes beside what is carried what the convolution reads."""
        return {"": {"x": self.carried, "seen": -(-self.seen // SEEN) * SEEN}}

    @property
    def subnet(self) -> Subnet:
        """One convolution."""
        return Subnet((), bias=not self.steady)

    def shapes(self) -> Iterable[tuple[str, Shape]]:
        """Of one convolution."""
        return self.subnet.shapes("subnet", self.seen, self.width)


@dataclass(frozen=True)
class Residual(Layer):
    """`modules.Residual`: adds to the features what a subnet makes of them."""

    carried: int
    width: int
    subnet: Subnet
    kind: ClassVar[str] = "residual"

    @property
    def channels(self) -> tuple[int, int]:
        """What is carried, and the features -> the same."""
        return self.carried + self.width, self.carried + self.width

    @property
    def reach(self) -> int:
        """Of the subnet."""
        return self.subnet.reach

    @property
    def features(self) -> int:
        """Of the subnet."""
        return self.subnet.features

    @property
    def all_features(self) -> int:
        """Of the subnet, and its result."""
        return sum(self.subnet.widths) + self.width

    def shapes(self) -> Iterable[tuple[str, Shape]]:
        """Of the subnet."""
        return self.subnet.shapes("subnet", self.width, self.width)


@dataclass(frozen=True)
class Tail(Layer):
    """`modules.Tail`: what is carried, and the features -> the result.

    Attributes:
        carried: channels that were carried.
        width: channels of the features.
        outputs: channels of the result.
        steady: whether the convolution adds no constant.
    """

    carried: int
    width: int
    outputs: int
    steady: bool = False
    kind: ClassVar[str] = "tail"

    @property
    def channels(self) -> tuple[int, int]:
        """What is carried, and the features -> the result."""
        return self.carried + self.width, self.outputs

    @property
    def subnet(self) -> Subnet:
        """One convolution."""
        return Subnet((), bias=not self.steady)

    @property
    def reach(self) -> int:
        """Of one convolution."""
        return 1

    def shapes(self) -> Iterable[tuple[str, Shape]]:
        """Of one convolution."""
        return self.subnet.shapes("subnet", self.width, self.outputs)


@dataclass(frozen=True)
class Step:
    """A layer in its place in a direction.

    Attributes:
        layer: what it is.
        path: of its module in the network, "layers.3": before the names of its parameters.
        direction: "down" (in the encoder) or "up" (in the decoder).
        scale: how many pixels of the large picture, along a side, make one of its coarser side.
        inverse: whether the layer's inverse is run.
        low: whether only the first three channels of its result are of use.
    """

    layer: Layer
    path: str
    direction: str
    scale: int
    inverse: bool = False
    low: bool = False

    @property
    def parts(self) -> dict[str, Mapping[str, int]]:
        """Channels of each input of each graph that runs it, in the order of `Layer.parts`."""
        parts = self.layer.parts or {"": {"x": self.channels[0]}}
        return {part: inputs for part, inputs in parts.items() if not (self.low and part == "detail")}

    def graph(self, part: str = "") -> str:
        """The name of the graph of a part; steps of one graph differ in parameters alone."""
        return ".".join(filter(None, (self.direction, f"x{self.scale}", self.layer.kind, part or "low" * self.low)))

    @property
    def graphs(self) -> list[str]:
        """The names of the graphs that run it."""
        return [self.graph(part) for part in self.parts]

    @property
    def shrinks(self) -> int:
        """How many pixels of what goes in, along a side, make one of its coarser side."""
        return 1 if self.inverse else self.layer.factor

    @property
    def grows(self) -> int:
        """How many pixels of its result, along a side, make one of its coarser side."""
        return self.layer.factor if self.inverse else 1

    @property
    def channels(self) -> tuple[int, int]:
        """Of what goes in and of what comes out."""
        into, out = reversed(self.layer.channels) if self.inverse else self.layer.channels
        return into, COLOURS if self.low else out

    def shapes(self) -> Iterator[tuple[str, Shape]]:
        """Name in the network and shape of every parameter that weights store."""
        return ((f"{self.path}.{name}", shape) for name, shape in self.layer.shapes())

    def parameters(self, tensors: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """The parameters of its graph by their names in it, of all tensors of the weights."""
        stored = {name: tensors[f"{self.path}.{name}"] for name, _ in self.layer.shapes()}
        return dict(self.layer.parameters(stored, self.inverse))


def chain(layers: Iterable[Layer], prefix: str, direction: str, scale: int = 1) -> list[Step]:
    """Layers as steps one after the other, from the size of ``scale`` on; their paths are ``prefix`` and a number."""
    steps = []
    for index, layer in enumerate(layers):
        scale *= layer.factor
        steps.append(Step(layer, f"{prefix}.{index}", direction, scale))
    return steps


def mirrored(steps: Iterable[Step]) -> list[Step]:
    """The inverse of an encoder, as a decoder on the same parameters."""
    return [replace(step, direction="up", inverse=True, low=False) for step in reversed(list(steps))]


def z_channels(decoder: Sequence[Step]) -> int:
    """How many channels of z a decoder takes beside the small picture."""
    return decoder[0].channels[0] - COLOURS


def operations(steps: Iterable[Step]) -> float:
    """Multiply-adds of the convolutions of a direction for each pixel of the large picture."""
    return sum(math.prod(shape) / step.scale**2 for step in steps for _, shape in step.shapes() if len(shape) == 4)


def is_whole(value: Any, low: int, high: int) -> bool:
    """Whether a value of a configuration, which may come from a stranger, is a whole number within these bounds."""
    return type(value) is int and low <= value <= high
