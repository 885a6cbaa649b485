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
from unshrink.training.h264 import draw_h264, h264


@dataclass(frozen=True)
class DegradationConfig:
    """What small pictures are trained to survive.

    Attributes:
        name: "none", or "noise": Gaussian noise on the quantised small picture, so that restoring survives small
            changes; "codecs": JPEG and WebP of many qualities, as `codecs` says; "h264": frames of moving clips in
            H.264, as `h264` says, which needs PyAV; "recoding": each of these two for half of the crops.
        strength: how strong it is; of "noise", the standard deviation in 8-bit levels; the others have none.
    """

    name: str = "none"
    strength: float = 0.0


Moved = Callable[[Tensor, Tensor], Tensor]
"""Which crops (M,), and how far each large one has moved, in pixels down and right (M, 2) -> the quantised small
pictures of these, without a gradient (M, 3, h, w).  What leaves a crop on one side comes in on the other."""


class Degradation(NamedTuple):
    """One row of the table.

    Attributes:
        draw: small pictures, of which only shape and device count, and a generator -> the numbers that it needs of
            each crop (N, ...).
        apply: small pictures, these numbers, the strength, and what makes `Moved` ones -> what arrives (N, 3, h, w),
            which need be neither quantised nor clamped.
    """

    draw: Callable[[Tensor, torch.Generator], Tensor]
    apply: Callable[[Tensor, Tensor, float, Moved], Tensor]


def nothing(small: Tensor, generator: torch.Generator) -> Tensor:
    """No numbers at all: (N, 0)."""
    return small.new_empty(len(small), 0)


def normal(small: Tensor, generator: torch.Generator) -> Tensor:
    """One number from N(0, 1) for each value."""
    return torch.randn(small.shape, generator=generator, device=small.device)


def unchanged(small: Tensor, drawn: Tensor, strength: float, moved: Moved) -> Tensor:
    """The small pictures as they are."""
    return small


def noise(small: Tensor, drawn: Tensor, strength: float, moved: Moved) -> Tensor:
    """The small pictures with noise of ``strength`` 8-bit levels."""
    return small + drawn * (strength / 255)


def draw_recoding(small: Tensor, generator: torch.Generator) -> Tensor:
    """Those of `codecs` and of `h264`, and which of the two it is: (N, 11)."""
    kind = torch.rand(len(small), 1, generator=generator, device=small.device)
    return torch.cat((draw_codecs(small, generator), draw_h264(small, generator), kind), dim=1)


def recoding(small: Tensor, drawn: Tensor, strength: float, moved: Moved) -> Tensor:
    """The small pictures as sites show them, or players of clips."""
    of_codecs, of_h264, kind = drawn.split((5, 5, 1), dim=1)
    arrived = small
    for apply, numbers, chosen in ((codecs, of_codecs, kind < 0.5), (h264, of_h264, kind >= 0.5)):
        which = chosen[:, 0].nonzero()[:, 0]
        if len(which):
            arrived = arrived.index_put((which,), apply(small[which], numbers[which], strength, among(which, moved)))
    return arrived


def among(which: Tensor, moved: Moved) -> Moved:
    """The same for some of the crops, which are counted among themselves."""
    return lambda own, shifts: moved(which[own], shifts)


DEGRADATIONS = {
    "none": Degradation(nothing, unchanged),
    "noise": Degradation(normal, noise),
    "codecs": Degradation(draw_codecs, codecs),
    "h264": Degradation(draw_h264, h264),
    "recoding": Degradation(draw_recoding, recoding),
}
