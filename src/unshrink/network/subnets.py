"""Subnets of layers as they are known without torch: their parameters, and how far they look."""

import itertools
from collections.abc import Iterator
from dataclasses import dataclass

Shape = tuple[int, ...]


@dataclass(frozen=True)
class Subnet:
    """3x3 convolutions one after the other, with LeakyReLU 0.2 after all but the last.

    Attributes:
        widths: channels of the features between the input and the result.
        dense: whether each convolution reads the input and all features before it, joined, or only the last of them.
        bias: whether convolutions add a constant; without, zeros give zeros.
    """

    widths: tuple[int, ...]
    dense: bool = False
    bias: bool = True

    @property
    def reach(self) -> int:
        """How many pixels around a place its result depends on."""
        return len(self.widths) + 1

    @property
    def features(self) -> int:
        """Channels that are held at once, beside input and result."""
        held = itertools.accumulate(self.widths) if self.dense else self.widths
        return max(map(sum, itertools.pairwise((0, *held))), default=0)

    def shapes(self, prefix: str, inputs: int, outputs: int) -> Iterator[tuple[str, Shape]]:
        """Name and shape of every parameter, for so many channels in and out."""
        read = inputs
        for index, width in enumerate((*self.widths, outputs)):
            yield f"{prefix}.convs.{index}.weight", (width, read, 3, 3)
            if self.bias:
                yield f"{prefix}.convs.{index}.bias", (width,)
            read = read + width if self.dense else width


def dense(growth: int = 32, bias: bool = True) -> Subnet:
    """The subnet of the paper: five convolutions.  Reference: Xiao et al., ECCV 2020, section 4."""
    return Subnet((growth,) * 4, dense=True, bias=bias)


def plain(width: int = 64, depth: int = 3, bias: bool = True) -> Subnet:
    """``depth`` convolutions with ``width`` features between them."""
    return Subnet((width,) * (depth - 1), bias=bias)
