"""The losses of invertible rescaling, each a function of one round trip to one number per crop.

Each is a mean per value of the large picture: the published sums over a picture divided by 3HW.  So the weights of
the publications hold (guidance 4 / 16 / 64 at x2 / x4 / x8), and no figure depends on the crop.

A new loss is a function, its row in `OF_RESTORED` or `OF_SMALL`, and a field of the same name in `LossConfig`: its
weight.  One with
parameters of its own belongs to `learned`.

Shapes:  N crops; hr (N, 3, H, W), lr (N, 3, H/s, W/s), z (N, 3s^2-3, H/s, W/s).

Reference: Xiao et al., Invertible Image Rescaling, ECCV 2020, section 3.3.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import avg_pool2d

from unshrink.pictures.colour import CHROMA, LUMA
from unshrink.training.jpeg import bits

RATED = 70
"""The quality at which the bits of a small picture are counted."""


@dataclass(frozen=True)
class LossConfig:
    """The losses and their weights, in the published scale (sums over a picture); a weight of 0 leaves one out.

    Attributes:
        reconstruction: penalty of the restored picture's error: "charbonnier", "l1" or "l2".  Its weight is 1.
        guide_penalty: penalty of the small picture's distance from the bicubic one: the same names.
        luma: weight of the same penalty of the restored picture's error in luma (BT.601), added to that in R, G and B.
        chroma: weight of the same penalty of its error in chroma, the mean of Cb and Cr.
        chroma_blocks: weight of the same of chroma averaged over blocks of 4x4 pixels: colours seen from a distance.
        guide: weight of the guidance; published 4 / 9 / 16 / 64 at x2 / x3 / x4 / x8.
        guide_luma: weight of the guidance in luma alone, a mean over the small picture.
        guide_chroma: weight of the guidance in chroma alone, likewise.
        guide_blocks: weight of the guidance in R, G and B averaged over blocks of 4x4 small pixels, likewise: tones
            as an eye sees them from a distance.
        rate: weight of the bits that the small picture takes as JPEG, for each pixel of the large one.
        latent: weight of z^2; needed only where z is drawn to restore.
        log: take the logarithm of each of the restored picture's losses of each crop, and their weighed mean: so
            crops of all difficulties count alike, as they do in a mean of PSNR, and weights are of decibels.  The
            others are added as they are: the small picture of every crop is held to the same closeness.
        floor: added before the logarithm, so that crops that come back almost exactly do not drown the others.
    """

    reconstruction: str = "charbonnier"
    guide_penalty: str = "l2"
    luma: float = 0.0
    chroma: float = 0.0
    chroma_blocks: float = 0.0
    guide: float = 4.0
    guide_luma: float = 0.0
    guide_chroma: float = 0.0
    guide_blocks: float = 0.0
    rate: float = 0.0
    latent: float = 0.0
    log: bool = False
    floor: float = 0.0


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
    return converted(trip.restored - trip.hr, [LUMA], config.reconstruction)


def chroma(trip: RoundTrip, config: LossConfig) -> Tensor:
    """How far the restored picture's Cb and Cr (BT.601) are off: (N,)."""
    return converted(trip.restored - trip.hr, CHROMA, config.reconstruction)


def chroma_blocks(trip: RoundTrip, config: LossConfig) -> Tensor:
    """How far the means of Cb and Cr over blocks of 4x4 pixels are off: (N,)."""
    return converted(avg_pool2d(trip.restored - trip.hr, 4), CHROMA, config.reconstruction)


def guide(trip: RoundTrip, config: LossConfig) -> Tensor:
    """How far the small picture, not yet quantised, is from the bicubic one: (N,)."""
    return per_value(PENALTIES[config.guide_penalty](trip.lr - trip.reference), trip.hr)


def guide_luma(trip: RoundTrip, config: LossConfig) -> Tensor:
    """How far the luma of the small picture is from that of the bicubic one: (N,)."""
    return converted(trip.lr - trip.reference, [LUMA], config.guide_penalty)


def guide_chroma(trip: RoundTrip, config: LossConfig) -> Tensor:
    """How far the Cb and Cr of the small picture are from those of the bicubic one: (N,)."""
    return converted(trip.lr - trip.reference, CHROMA, config.guide_penalty)


def guide_blocks(trip: RoundTrip, config: LossConfig) -> Tensor:
    """How far the means of the small picture over blocks of 4x4 are from those of the bicubic one: (N,)."""
    return PENALTIES[config.guide_penalty](avg_pool2d(trip.lr - trip.reference, 4)).mean(dim=(1, 2, 3))


def rate(trip: RoundTrip, config: LossConfig) -> Tensor:
    """Bits of the small picture as JPEG of middling quality in 4:2:0, for each pixel of the large one: (N,)."""
    return bits(trip.lr.clamp(0, 1), RATED) / trip.hr[0, 0].numel()


def latent(trip: RoundTrip, config: LossConfig) -> Tensor:
    """The negative log-likelihood of z under N(0, 1), up to constants: (N,)."""
    return per_value(trip.lost.square(), trip.hr)


OF_RESTORED: dict[str, Loss] = {
    "reconstruction": reconstruction,
    "luma": luma,
    "chroma": chroma,
    "chroma_blocks": chroma_blocks,
}
OF_SMALL: dict[str, Loss] = {
    "guide": guide,
    "guide_luma": guide_luma,
    "guide_chroma": guide_chroma,
    "guide_blocks": guide_blocks,
    "rate": rate,
    "latent": latent,
}
LOSSES = {**OF_RESTORED, **OF_SMALL}


def weighed(trip: RoundTrip, config: LossConfig) -> dict[str, Tensor]:
    """The losses that have a weight, by name, and their "total", each (N,)."""
    weights = {name: 1.0 if name == "reconstruction" else getattr(config, name) for name in LOSSES}
    parts = {name: LOSSES[name](trip, config) for name, weight in weights.items() if weight}
    of_restored = {name: weights[name] for name in OF_RESTORED if name in parts}
    if config.log:
        logarithms = [weight * (parts[name] + config.floor).log() for name, weight in of_restored.items()]
        restored = torch.stack(logarithms).sum(dim=0) / sum(of_restored.values())
    else:
        restored = torch.stack([weight * parts[name] for name, weight in of_restored.items()]).sum(dim=0)
    parts["total"] = restored + sum(weights[name] * parts[name] for name in OF_SMALL if name in parts)
    return parts


def converted(difference: Tensor, matrix: Sequence[Sequence[float]], penalty: str) -> Tensor:
    """The mean penalty of a difference of pictures in other colours: (N, 3, H, W), rows of R, G and B -> (N,)."""
    values = torch.einsum("nchw,kc->nkhw", difference, difference.new_tensor(matrix))
    return PENALTIES[penalty](values).mean(dim=(1, 2, 3))


def per_value(values: Tensor, hr: Tensor) -> Tensor:
    """Sums over each crop, divided by the number of values of its large picture: (N, C, h, w) -> (N,)."""
    return values.flatten(1).sum(dim=1) / hr[0].numel()
