"""What happens to the small picture between downscaling and restoring: the table that `DegradationConfig` names.

A degradation gets the quantised small pictures and numbers that were drawn for each crop, and gives what arrives.  The
numbers are drawn before the step, for the batch of all processes at once, so that processes and pieces of a batch can
share one draw.  The gradient of what is restored goes through to the small picture: a degradation without a useful
gradient of its own passes it straight, as `modules.quantize` does.

Shapes:  N crops, small (N, 3, h, w) in [0, 1] on the 8-bit grid.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from unshrink.training.codecs import codecs, draw_codecs


@dataclass(frozen=True)
class DegradationConfig:
    """What small pictures are trained to survive.

    Attributes:
        name: "none", or "noise": Gaussian noise on the quantised small picture, so that restoring survives small
            changes; "codecs": JPEG and WebP of many qualities, as `codecs` says.
        strength: how strong it is; of "noise", the standard deviation in 8-bit levels; the others have none.
    """

    name: str = "none"
    strength: float = 0.0


class Degradation(NamedTuple):
    """One row of the table.

    Attributes:
        draw: small pictures, of which only shape and device count, and a generator -> the numbers that it needs of
            each crop (N, ...).
        apply: small pictures, these numbers and the strength -> what arrives (N, 3, h, w), which need be neither
            quantised nor clamped.
    """

    draw: Callable[[Tensor, torch.Generator], Tensor]
    apply: Callable[[Tensor, Tensor, float], Tensor]


def nothing(small: Tensor, generator: torch.Generator) -> Tensor:
    """No numbers at all: (N, 0)."""
    return small.new_empty(len(small), 0)


def normal(small: Tensor, generator: torch.Generator) -> Tensor:
    """One number from N(0, 1) for each value."""
    return torch.randn(small.shape, generator=generator, device=small.device)


def unchanged(small: Tensor, drawn: Tensor, strength: float) -> Tensor:
    """The small pictures as they are."""
    return small


def noise(small: Tensor, drawn: Tensor, strength: float) -> Tensor:
    """The small pictures with noise of ``strength`` 8-bit levels."""
    return small + drawn * (strength / 255)


DEGRADATIONS = {
    "none": Degradation(nothing, unchanged),
    "noise": Degradation(normal, noise),
    "codecs": Degradation(draw_codecs, codecs),
}
