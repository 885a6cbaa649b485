"""The losses of invertible rescaling, each a function of tensors to one number per crop.

Each is a mean per value of the large picture: the published sums over a picture divided by 3HW.  So the weights of
the publications hold (guidance 4 / 16 / 64 at x2 / x4 / x8), and no figure depends on the crop.

Shapes:  hr (N, 3, H, W), lr (N, 3, H/s, W/s), z (N, 3s^2-3, H/s, W/s).

Reference: Xiao et al., Invertible Image Rescaling, ECCV 2020, section 3.3.
"""

from collections.abc import Callable

import torch
from torch import Tensor


def charbonnier(difference: Tensor) -> Tensor:
    """sqrt(d^2 + 1e-6): the smooth absolute value of the published reconstruction loss."""
    return torch.sqrt(difference.square() + 1e-6)


LUMA = (65.481 / 255, 128.553 / 255, 24.966 / 255)  # of R, G and B

CHROMA = (  # Cb and Cr of R, G and B, without their offset
    (-37.797 / 255, -74.203 / 255, 112.0 / 255),
    (112.0 / 255, -93.786 / 255, -18.214 / 255),
)

PENALTIES: dict[str, Callable[[Tensor], Tensor]] = {
    "charbonnier": charbonnier,
    "l1": torch.abs,
    "l2": torch.square,
}


def reconstruction(restored: Tensor, hr: Tensor, penalty: str = "charbonnier") -> Tensor:
    """How far the restored picture is from the original: two (N, 3, H, W) -> (N,)."""
    return per_value(PENALTIES[penalty](restored - hr), hr)


def luma(restored: Tensor, hr: Tensor, penalty: str = "charbonnier") -> Tensor:
    """How far the restored picture's luma (BT.601, of the published PSNR) is off: two (N, 3, H, W) -> (N,)."""
    difference = torch.einsum("nchw,c->nhw", restored - hr, hr.new_tensor(LUMA))
    return PENALTIES[penalty](difference).mean(dim=(1, 2))


def chroma(difference: Tensor, penalty: str = "charbonnier", block: int = 1) -> Tensor:
    """How far chroma (Cb and Cr, BT.601) is off, mean of both: a difference of pictures (N, 3, H, W) -> (N,).

    With ``block``, the chroma of means over blocks of so many pixels: what an eye sees from a distance.
    """
    if block > 1:
        difference = torch.nn.functional.avg_pool2d(difference, block)
    matrix = difference.new_tensor(CHROMA)
    return PENALTIES[penalty](torch.einsum("nchw,kc->nkhw", difference, matrix)).mean(dim=(1, 2, 3))


def guidance(lr: Tensor, reference: Tensor, hr: Tensor, penalty: str = "l2") -> Tensor:
    """How far the small picture, not yet quantised, is from the bicubic one: two (N, 3, H/s, W/s) -> (N,)."""
    return per_value(PENALTIES[penalty](lr - reference), hr)


def latent(z: Tensor, hr: Tensor) -> Tensor:
    """The negative log-likelihood of z under N(0, 1), up to constants: (N, 3s^2-3, H/s, W/s) -> (N,)."""
    return per_value(z.square(), hr)


def per_value(values: Tensor, hr: Tensor) -> Tensor:
    """Sums over each crop, divided by the number of values of its large picture: (N, C, h, w) -> (N,)."""
    return values.flatten(1).sum(dim=1) / hr[0].numel()
