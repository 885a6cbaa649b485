"""A network of any architecture: what its encoder and decoder compute, on tensors.

Shapes:  hr (N, 3, H, W), lr (N, 3, H/s, W/s), z (N, Z, H/s, W/s), s the scale; Z is 3s^2 - 3 where the decoder is the
encoder's inverse, and may be none.
"""

from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from unshrink.network.architectures import decoder, encoder, from_dict
from unshrink.network.config import NetworkConfig
from unshrink.network.layers import COLOURS, Step, z_channels
from unshrink.network.modules import MODULES, LearnedDownsample, quantize


class Network(nn.Module):
    """A rescaling network: an encoder that makes small pictures, a decoder that brings large ones back.

    Args:
        config: its architecture and shape.

    Example:
        >>> from unshrink.network.irn import IRNConfig
        >>> net = Network(IRNConfig(scale=4, blocks=(1, 1)))
        >>> lr, z = net(torch.rand(1, 3, 8, 12))
        >>> lr.shape, z.shape
        (torch.Size([1, 3, 2, 3]), torch.Size([1, 45, 2, 3]))
    """

    def __init__(self, config: NetworkConfig) -> None:
        super().__init__()
        self.config = config
        self.encoder_steps, self.decoder_steps = encoder(config), decoder(config)
        # Each once: a mirrored decoder has the paths of its encoder
        layers = {step.path: step.layer for step in (*self.encoder_steps, *self.decoder_steps)}
        lists: dict[str, nn.ModuleList] = {}
        for path, layer in layers.items():
            lists.setdefault(path.partition(".")[0], nn.ModuleList()).append(MODULES[type(layer)](layer))
        for name, modules in lists.items():
            self.add_module(name, modules)
        self.z_channels = z_channels(self.decoder_steps)

    def forward(self, hr: Tensor) -> tuple[Tensor, Tensor]:
        """hr (N, 3, H, W) -> lr (N, 3, H/s, W/s), neither clamped nor rounded, and z (N, Z, H/s, W/s)."""
        x = self._run(self.encoder_steps, hr)
        return x[:, :COLOURS], x[:, COLOURS:]

    def decode(self, lr: Tensor, z: Tensor) -> Tensor:
        """lr and z -> hr (N, 3, H, W): the exact inverse of ``forward`` in an invertible network."""
        return self._run(self.decoder_steps, torch.cat((lr, z), dim=1))

    def module(self, step: Step) -> nn.Module:
        """The module of a step."""
        return self.get_submodule(step.path)

    def fix(self) -> "Network":
        """The same network for use alone: what depends on the parameters only is computed once."""
        for module in self.modules():
            if isinstance(module, LearnedDownsample):
                module.fix()
        return self.eval().requires_grad_(False)

    def gradient(self, lr: Tensor, z: Tensor, hr: Tensor, metric: Tensor) -> Tensor:
        """How to change lr so that hr comes back: half the gradient, by lr, of what the error of ``decode`` counts.

        Restored values beyond [0, 1] count as clamped, but their gradient passes.

        Args:
            lr: (N, 3, H/s, W/s).
            z: (N, Z, H/s, W/s).
            hr: (N, 3, H, W) in [0, 1], what should come back.
            metric: (3, 3), symmetric: an error e of a pixel's R, G and B counts e' metric e; ones on the diagonal give
                the squared error.

        Returns:
            (N, 3, H/s, W/s), summed over the error of all pixels of hr.
        """
        with torch.enable_grad():
            lr = lr.detach().requires_grad_()
            restored = self.decode(lr, z)
            error = restored.detach().clamp(0, 1) - hr
            # A sum, not a convolution or a product of matrices: every runtime adds it up in this order
            red, green, blue = (column[:, None, None] * error[:, [i]] for i, column in enumerate(metric.unbind(1)))
            (gradient,) = torch.autograd.grad(restored, lr, red + green + blue)
        return gradient

    def downscale(self, hr: Tensor) -> Tensor:
        """hr (N, 3, H, W) in [0, 1] -> lr (N, 3, H/s, W/s) on the 8-bit grid, multiples of 1/255 in [0, 1]."""
        return quantize(self(hr)[0])

    def upscale(self, lr: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """lr (N, 3, H/s, W/s) -> hr (N, 3, H, W), not clamped, with z as the weights want it."""
        return self.decode(lr, self.latent(lr, generator))

    def latent(self, lr: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """lr (N, 3, H/s, W/s) -> z (N, Z, H/s, W/s): zeros, or a draw from N(0, 1) by ``generator``."""
        n, _, h, w = lr.shape
        shape = (n, self.z_channels, h, w)
        if self.config.latent == "zero":
            return lr.new_zeros(shape)
        return torch.randn(shape, generator=generator, device=lr.device, dtype=lr.dtype)

    def _run(self, steps: Iterable[Step], x: Tensor) -> Tensor:
        for step in steps:
            module = self.module(step)
            x = module.inverse(x) if step.inverse else module(x)  # type: ignore[operator]
        return x


def build(architecture: str, stored: Mapping[str, Any]) -> Network:
    """The untrained network of an architecture and a configuration as weights store it.

    Raises:
        WeightsError: unknown architecture, or a configuration that it does not have.
    """
    return Network(from_dict(architecture, stored))
