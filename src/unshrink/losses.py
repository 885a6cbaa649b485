"""The losses of invertible rescaling, each a function of tensors to one number.

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


PENALTIES: dict[str, Callable[[Tensor], Tensor]] = {
    "charbonnier": charbonnier,
    "l1": torch.abs,
    "l2": torch.square,
}


def reconstruction(restored: Tensor, hr: Tensor, penalty: str = "charbonnier") -> Tensor:
    """How far the restored picture is from the original: two (N, 3, H, W) -> ()."""
    return PENALTIES[penalty](restored - hr).mean()


def guidance(lr: Tensor, reference: Tensor, hr: Tensor, penalty: str = "l2") -> Tensor:
    """How far the small picture, not yet quantised, is from the bicubic one: two (N, 3, H/s, W/s) -> ()."""
    return PENALTIES[penalty](lr - reference).sum() / hr.numel()


def latent(z: Tensor, hr: Tensor) -> Tensor:
    """The negative log-likelihood of z under N(0, 1), up to constants: (N, 3s^2-3, H/s, W/s) -> ()."""
    return z.square().sum() / hr.numel()
