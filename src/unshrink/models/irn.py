"""IRN: Haar transforms and coupling blocks, the network of the paper.

    hr (N, 3, H, W) ── Haar, blocks ── Haar, blocks ── ... ──> lr (N, 3, H/s, W/s), z (N, 3s^2-3, H/s, W/s)

Every level halves the picture; z is what is left beside the small picture.  It is dropped, and set to zero or drawn
again to restore: which of both belongs to the weights, since a network trained with one does badly with the other.

Reference: Xiao et al., Invertible Image Rescaling, ECCV 2020, arXiv 2005.05650.
"""

from functools import partial

import torch
from torch import Tensor, nn

from unshrink.architectures import COLOURS, IRNConfig
from unshrink.layers import Coupling, DenseBlock, HaarDownsample, LearnedDownsample, PlainBlock, quantize
from unshrink.losses import LUMA

LUMA_WEIGHT = 9.0  # of luma beside each of R, G and B, in the gradient: three times their mean, as in training


class IRN(nn.Module):
    """The invertible rescaling network.

    Example:
        >>> net = IRN(IRNConfig(scale=4, blocks=(1, 1)))
        >>> lr, z = net(torch.rand(1, 3, 8, 12))
        >>> lr.shape, z.shape
        (torch.Size([1, 3, 2, 3]), torch.Size([1, 45, 2, 3]))
    """

    def __init__(self, config: IRNConfig) -> None:
        super().__init__()
        self.config = config
        subnet = (
            partial(PlainBlock, width=config.width, depth=config.depth, residual=config.residual, bias=not config.steady)
            if config.subnet == "plain"
            else partial(DenseBlock, growth=config.growth)
        )
        layers: list[nn.Module] = []
        channels = COLOURS
        for blocks in config.blocks:
            factor = 3 if config.scale == 3 else 2
            layers.append(LearnedDownsample(channels, 3) if factor == 3 else HaarDownsample())
            channels *= factor**2
            layers += [
                Coupling(channels, COLOURS, subnet, config.clamp, config.joint, config.additive, config.steady)
                for _ in range(blocks)
            ]
        self.layers = nn.ModuleList(layers)

    def forward(self, hr: Tensor) -> tuple[Tensor, Tensor]:
        """hr (N, 3, H, W) -> lr (N, 3, H/s, W/s), neither clamped nor rounded, and z (N, 3s^2-3, H/s, W/s)."""
        low, detail = hr, hr[:, :0]
        for layer in self.layers:
            if isinstance(layer, Coupling):
                low, detail = layer.down(low, detail)
            else:
                x = layer(torch.cat((low, detail), dim=1) if detail.shape[1] else low)
                low, detail = x[:, :COLOURS], x[:, COLOURS:]
        return low, detail

    def inverse(self, lr: Tensor, z: Tensor) -> Tensor:
        """Exact inverse of ``forward``: lr and z -> hr (N, 3, H, W)."""
        low, detail = lr, z
        for layer in reversed(self.layers):
            if isinstance(layer, Coupling):
                low, detail = layer.up(low, detail)
            else:
                y = layer.inverse(torch.cat((low, detail), dim=1))  # type: ignore[operator]
                low, detail = y[:, :COLOURS], y[:, COLOURS:]
        return low

    def gradient(self, lr: Tensor, z: Tensor, hr: Tensor) -> Tensor:
        """How to change lr so that hr comes back: half the gradient, by lr, of the squared error of ``inverse``.

        Of the error in R, G, B and, with the weight `LUMA_WEIGHT`, in luma: a picture that gains in both.
        Restored values beyond [0, 1] count as clamped, but their gradient passes.

        Args:
            lr: (N, 3, H/s, W/s).
            z: (N, 3s^2-3, H/s, W/s).
            hr: (N, 3, H, W) in [0, 1], what should come back.

        Returns:
            (N, 3, H/s, W/s), summed over the error of all values of hr.
        """
        with torch.enable_grad():
            lr = lr.detach().requires_grad_()
            restored = self.inverse(lr, z)
            error = (restored.detach().clamp(0, 1) - hr).unbind(1)
            luma = sum(share * colour for share, colour in zip(LUMA, error, strict=True))
            weighted = [colour + LUMA_WEIGHT * share * luma for share, colour in zip(LUMA, error, strict=True)]
            (gradient,) = torch.autograd.grad(restored, lr, torch.stack(weighted, dim=1))
        return gradient

    def downscale(self, hr: Tensor) -> Tensor:
        """hr (N, 3, H, W) in [0, 1] -> lr (N, 3, H/s, W/s) on the 8-bit grid, multiples of 1/255 in [0, 1]."""
        return quantize(self(hr)[0])

    def upscale(self, lr: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """lr (N, 3, H/s, W/s) -> hr (N, 3, H, W), not clamped, with z as the weights want it."""
        return self.inverse(lr, self.latent(lr, generator))

    def latent(self, lr: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """lr (N, 3, H/s, W/s) -> z (N, 3s^2-3, H/s, W/s): zeros, or a draw from N(0, 1) by ``generator``."""
        n, _, h, w = lr.shape
        shape = (n, COLOURS * (self.config.scale**2 - 1), h, w)
        if self.config.latent == "zero":
            return lr.new_zeros(shape)
        return torch.randn(shape, generator=generator, device=lr.device, dtype=lr.dtype)
