"""The losses of invertible rescaling, each a function of one round trip to one number per crop.

Each is a mean per value of the large picture: the published sums over a picture divided by 3HW.  So the weights of
the publications hold (guidance 4 / 16 / 64 at x2 / x4 / x8), and no figure depends on the crop.

A new loss is a function, its row in `LOSSES`, and a field of the same name in `LossConfig`: its weight.  One with
parameters of its own belongs to `learned`.

Shapes:  N crops; hr (N, 3, H, W), lr (N, 3, H/s, W/s), z (N, 3s^2-3, H/s, W/s).

Reference: Xiao et al., Invertible Image Rescaling, ECCV 2020, section 3.3.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from unshrink.pictures.colour import LUMA


@dataclass(frozen=True)
class LossConfig:
    """The losses and their weights, in the published scale (sums over a picture); a weight of 0 leaves one out.

    Attributes:
        reconstruction: penalty of the restored picture's error: "charbonnier", "l1" or "l2".  Its weight is 1.
        guide_penalty: penalty of the small picture's distance from the bicubic one: the same names.
        guide: weight of the guidance; published 4 / 9 / 16 / 64 at x2 / x3 / x4 / x8.
        latent: weight of z^2; needed only where z is drawn to restore.
        luma: weight of the same penalty of the restored picture's error in luma (BT.601), added to that in R, G and B.
        log: take the logarithm of each crop's total, so that crops of all difficulties count alike, as they do in a
            mean of PSNR.
    """

    reconstruction: str = "charbonnier"
    guide_penalty: str = "l2"
    guide: float = 4.0
    latent: float = 0.0
    luma: float = 0.0
    log: bool = False


class RoundTrip(NamedTuple):
    """What one step makes of its crops.

    Attributes:
        hr: the large pictures (N, 3, H, W) in [0, 1].
        reference: their bicubic small pictures (N, 3, H/s, W/s).
        lr: the network's small pictures, not yet quantised (N, 3, H/s, W/s).
        lost: z as the network made it, which is dropped (N, 3s^2-3, H/s, W/s).
        restored: from what arrived of the small pictures (N, 3, H, W), not clamped.
    """

    hr: Tensor
    reference: Tensor
    lr: Tensor
    lost: Tensor
    restored: Tensor


Loss = Callable[[RoundTrip, LossConfig], Tensor]


def charbonnier(difference: Tensor) -> Tensor:
    """sqrt(d^2 + 1e-6): the smooth absolute value of the published reconstruction loss."""
    return torch.sqrt(difference.square() + 1e-6)


PENALTIES: dict[str, Callable[[Tensor], Tensor]] = {
    "charbonnier": charbonnier,
    "l1": torch.abs,
    "l2": torch.square,
}


def reconstruction(trip: RoundTrip, config: LossConfig) -> Tensor:
    """How far the restored picture is from the original: (N,)."""
    return per_value(PENALTIES[config.reconstruction](trip.restored - trip.hr), trip.hr)


def luma(trip: RoundTrip, config: LossConfig) -> Tensor:
    """How far the restored picture's luma (BT.601, of the published PSNR) is off: (N,)."""
    difference = torch.einsum("nchw,c->nhw", trip.restored - trip.hr, trip.hr.new_tensor(LUMA))
    return PENALTIES[config.reconstruction](difference).mean(dim=(1, 2))


def guide(trip: RoundTrip, config: LossConfig) -> Tensor:
    """How far the small picture, not yet quantised, is from the bicubic one: (N,)."""
    return per_value(PENALTIES[config.guide_penalty](trip.lr - trip.reference), trip.hr)


def latent(trip: RoundTrip, config: LossConfig) -> Tensor:
    """The negative log-likelihood of z under N(0, 1), up to constants: (N,)."""
    return per_value(trip.lost.square(), trip.hr)


LOSSES: dict[str, Loss] = {"luma": luma, "guide": guide, "latent": latent}  # beside the reconstruction


def weighed(trip: RoundTrip, config: LossConfig) -> dict[str, Tensor]:
    """The losses that have a weight, by name, and their "total", each (N,)."""
    weights = {name: getattr(config, name) for name in LOSSES if getattr(config, name)}
    parts = {name: LOSSES[name](trip, config) for name in weights}
    parts["reconstruction"] = reconstruction(trip, config)
    total = parts["reconstruction"] + sum(weight * parts[name] for name, weight in weights.items())
    parts["total"] = total.log() if config.log else total
    return parts


def per_value(values: Tensor, hr: Tensor) -> Tensor:
    """Sums over each crop, divided by the number of values of its large picture: (N, C, h, w) -> (N,)."""
    return values.flatten(1).sum(dim=1) / hr[0].numel()
