"""What layers compute, each an ``nn.Module`` with ``forward`` and, where it can be undone, an exact ``inverse``.

Shapes:  N batch, C channels, H height, W width, K channels of the low band, s factor of a downsampling.
Values:  float tensors of any real dtype; no layer clamps, pads or moves its input.
"""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from unshrink.network import layers, subnets
from unshrink.network.layers import COLOURS

SLOPE = 0.2  # of LeakyReLU below zero


class HaarDownsample(nn.Module):
    """Splits a picture into one low and three detail bands of half its size.

    The low band is the mean of each 2x2 block, so a picture in [0, 1] keeps a viewable low band in [0, 1].  It
    comes first in the channels, then the differences across columns, across rows, and across both.  Channel order
    within a band is kept: RGB in, R G B of the low band out as channels 0, 1, 2.

    Strided slices instead of a strided convolution: faster on a CPU, and safe on every ONNX runtime.

    Reference: Xiao et al., Invertible Image Rescaling, ECCV 2020, section 3.2.

    Example:
        >>> haar = HaarDownsample()
        >>> haar(torch.ones(1, 3, 4, 6)).shape
        torch.Size([1, 12, 2, 3])
    """

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) -> (N, 4C, H/2, W/2).  H and W must be even, else ValueError."""
        check_divisible(x, 2)
        a, b = x[..., 0::2, 0::2], x[..., 0::2, 1::2]
        c, d = x[..., 1::2, 0::2], x[..., 1::2, 1::2]
        return torch.cat((a + b + c + d, a - b + c - d, a + b - c - d, a - b - c + d), dim=1) / 4

    def inverse(self, y: Tensor) -> Tensor:
        """(N, 4C, H/2, W/2) -> (N, C, H, W)."""
        low, cols, rows, both = y.chunk(4, dim=1)
        top = interleave(low + cols + rows + both, low - cols + rows - both, dim=3)
        bottom = interleave(low + cols - rows - both, low - cols - rows + both, dim=3)
        return interleave(top, bottom, dim=2)


class DctDownsample(nn.Module):
    """Splits a picture into one low and eight detail bands of a third of its size: the DCT of each 3x3 block.

    `LearnedDownsample` before it learns, in sums and differences as Haar: of a block of one colour, the details are
    exactly zero.
    """

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) -> (N, 9C, H/3, W/3).  H and W must be multiples of 3, else ValueError."""
        check_divisible(x, 3)
        return torch.cat([band for rows in _in_thirds(x, 2) for band in _in_thirds(rows, 3)], dim=1)

    def inverse(self, y: Tensor) -> Tensor:
        """(N, 9C, H/3, W/3) -> (N, C, H, W)."""
        bands = y.chunk(9, dim=1)
        return _of_thirds([_of_thirds(bands[row : row + 3], dim=3) for row in (0, 3, 6)], dim=2)


def _in_thirds(x: Tensor, dim: int) -> Sequence[Tensor]:
    """The mean, slope and bend of every three values along ``dim``, each of a third of its length."""
    a, b, c = x.unflatten(dim, (-1, 3)).unbind(dim + 1)
    return (a + b + c) / 3, (a - c) / 6**0.5, (a + c - 2 * b) / 18**0.5


def _of_thirds(parts: Sequence[Tensor], dim: int) -> Tensor:
    """What has this mean, slope and bend."""
    mean, slope, bend = parts
    outer, half = mean + bend / 2**0.5, slope * 1.5**0.5
    return interleave(outer + half, mean - bend * 2**0.5, outer - half, dim=dim)


class LearnedDownsample(nn.Module):
    """Gathers each s x s block of a colour and mixes its values by a learnable matrix, one per colour.

    Row 0 starts as the mean of the block and the other rows as its two-dimensional DCT, so the layer starts where
    Haar would: a viewable low band first, then the details.  Channel order is band-major, as in Haar.

    Reference: Xiao et al., Invertible Image Rescaling, ECCV 2020, section 4.1 (the x3 variant).

    Args:
        channels: colours C.
        factor: block size s.
    """

    def __init__(self, channels: int, factor: int) -> None:
        super().__init__()
        self.factor = factor
        self.matrix = nn.Parameter(block_dct(factor).expand(channels, -1, -1).clone())
        self.inverted: Tensor | None
        self.register_buffer("inverted", None)

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) -> (N, s^2 C, H/s, W/s).  H and W must be multiples of s, else ValueError."""
        check_divisible(x, self.factor)
        bands = mixed(nn.functional.pixel_unshuffle(x, self.factor), self.matrix)
        return bands.unflatten(1, (-1, self.factor**2)).transpose(1, 2).flatten(1, 2)

    def inverse(self, y: Tensor) -> Tensor:
        """(N, s^2 C, H/s, W/s) -> (N, C, H, W)."""
        matrix = torch.linalg.inv(self.matrix) if self.inverted is None else self.inverted
        blocks = y.unflatten(1, (self.factor**2, -1)).transpose(1, 2).flatten(1, 2)
        return nn.functional.pixel_shuffle(mixed(blocks, matrix), self.factor)

    def fix(self) -> None:
        """Inverts the matrix once and for all, for use: ONNX cannot, and every piece would pay for it."""
        # In float64, as `layers.Learned` does for graphs: so both restore alike
        self.inverted = torch.linalg.inv(self.matrix.detach().double()).to(self.matrix)


def mixed(x: Tensor, matrices: Tensor) -> Tensor:
    """Each run of B channels of (N, C B, H, W) multiplied by its own of the matrices (C, B, B)."""
    return nn.functional.conv2d(x, matrices.to(x.dtype).flatten(0, 1)[..., None, None], groups=len(matrices))


class Subnet(nn.Module):
    """3x3 convolutions one after the other, with LeakyReLU 0.2 after all but the last: see `subnets.Subnet`.

    Starts as the zero function, so that an untrained network is exactly its downsampling transform.

    Reference: Xiao et al., Invertible Image Rescaling, ECCV 2020, section 4; Wang et al., ESRGAN, 2018, for the dense
    one.

    Args:
        shape: the features between input and result.
        channels_in: channels of the input.
        channels_out: channels of the result.
    """

    def __init__(self, shape: subnets.Subnet, channels_in: int, channels_out: int) -> None:
        super().__init__()
        self.shape = shape
        sizes = [size for name, size in shape.shapes("", channels_in, channels_out) if name.endswith("weight")]
        self.convs = nn.ModuleList(nn.Conv2d(read, made, 3, padding=1, bias=shape.bias) for made, read, *_ in sizes)
        for conv in self.convs:
            if shape.dense:
                nn.init.xavier_normal_(conv.weight, gain=0.1)  # type: ignore[arg-type]
            else:
                nn.init.kaiming_normal_(conv.weight, SLOPE)  # type: ignore[arg-type]
            if shape.bias:
                nn.init.zeros_(conv.bias)  # type: ignore[arg-type]
        nn.init.zeros_(self.convs[-1].weight)  # type: ignore[arg-type]

    def forward(self, x: Tensor) -> Tensor:
        """(N, channels_in, H, W) -> (N, channels_out, H, W), in the dtype of x even under autocast."""
        features = x
        if self.convs[0].weight.is_contiguous(memory_format=torch.channels_last):  # type: ignore[operator]
            # A band is a slice of channels, which sends concatenations down a slow path: a tenth of a training step.
            features = x.contiguous(memory_format=torch.channels_last)
        if torch.is_autocast_enabled(x.device.type):
            # Once here: a float32 input would promote every concatenation below back to float32.
            features = features.to(torch.get_autocast_dtype(x.device.type))
        for conv in self.convs[:-1]:
            new = nn.functional.leaky_relu(conv(features), SLOPE, inplace=True)
            features = torch.cat((features, new), dim=1) if self.shape.dense else new
        return self.convs[-1](features).to(x.dtype)


class AffineCoupling(nn.Module):
    """Adds detail to the low band, then scales and shifts the detail by the low band.

        low'    = low + f(detail)
        detail' = detail * exp(s(low')) + g(low'),    s = clamp * (2 sigmoid(h(low')) - 1)

    Reference: Xiao et al., Invertible Image Rescaling, ECCV 2020, section 3.2.

    Args:
        shape: channels, subnets and clamp; where it is joint, g and h are the two halves of one subnet's result, and
            where it is steady, they see `differences` of the low band.
    """

    f: Subnet
    g: Subnet
    h: Subnet
    gh: Subnet

    def __init__(self, shape: layers.Coupling) -> None:
        super().__init__()
        detail = shape.size - COLOURS
        self.sizes = (COLOURS, detail)
        self.clamp = shape.clamp
        self.joint, self.steady = shape.joint, shape.steady
        for name, channels in shape.subnets.items():
            self.add_module(name, Subnet(shape.subnet, *channels))

    def seen(self, low: Tensor) -> Tensor:
        """What g and h see of the low band: (N, K, H, W) -> the same, or (N, 2K, H, W)."""
        return differences(low) if self.steady else low

    def shift_and_log_scale(self, low: Tensor) -> tuple[Tensor, Tensor]:
        """(N, K, H, W) -> two (N, C - K, H, W), the second within (-clamp, clamp)."""
        seen = self.seen(low)
        shift, scale = self.gh(seen).chunk(2, dim=1) if self.joint else (self.g(seen), self.h(seen))
        return shift, self.clamp * (2 * torch.sigmoid(scale) - 1)

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) -> (N, C, H, W)."""
        low, detail = x.split(self.sizes, dim=1)
        low = low + self.f(detail)
        shift, log_scale = self.shift_and_log_scale(low)
        return torch.cat((low, detail * torch.exp(log_scale) + shift), dim=1)

    def inverse(self, y: Tensor) -> Tensor:
        """(N, C, H, W) -> (N, C, H, W)."""
        low, detail = y.split(self.sizes, dim=1)
        shift, log_scale = self.shift_and_log_scale(low)
        detail = (detail - shift) * torch.exp(-log_scale)
        return torch.cat((low - self.f(detail), detail), dim=1)


def differences(x: Tensor) -> Tensor:
    """(N, C, H, W) -> (N, 2C, H, W): each value less its left neighbour, then each less its upper one; 0 at edges."""
    left, up = x[..., :, 1:] - x[..., :, :-1], x[..., 1:, :] - x[..., :-1, :]
    return torch.cat((nn.functional.pad(left, (1, 0)), nn.functional.pad(up, (0, 0, 1, 0))), dim=1)


class Head(nn.Module):
    """Puts features beside what comes in: a convolution of it, or of its differences where it is steady."""

    def __init__(self, shape: layers.Head) -> None:
        super().__init__()
        self.steady = shape.steady
        self.subnet = Subnet(shape.subnet, shape.seen, shape.width)
        nn.init.xavier_normal_(self.subnet.convs[0].weight)  # type: ignore[arg-type]

    def seen(self, x: Tensor) -> Tensor:
        """What the convolution reads: (N, C, H, W) -> the same, or (N, 2C, H, W)."""
        return differences(x) if self.steady else x

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) -> (N, C + features, H, W)."""
        return torch.cat((x, self.subnet(self.seen(x))), dim=1)


class Residual(nn.Module):
    """Adds to the features what a subnet makes of them; what is carried before them passes."""

    def __init__(self, shape: layers.Residual) -> None:
        super().__init__()
        self.sizes = (shape.carried, shape.width)
        self.subnet = Subnet(shape.subnet, shape.width, shape.width)

    def forward(self, x: Tensor) -> Tensor:
        """(N, C + features, H, W) -> (N, C + features, H, W)."""
        carried, features = x.split(self.sizes, dim=1)
        return torch.cat((carried, features + self.subnet(features)), dim=1)


class Tail(nn.Module):
    """Adds a convolution of the features to what was carried before them: cut, or with zeros behind, to its size."""

    def __init__(self, shape: layers.Tail) -> None:
        super().__init__()
        self.sizes = (shape.carried, shape.width)
        self.missing = shape.outputs - shape.carried
        self.subnet = Subnet(shape.subnet, shape.width, shape.outputs)

    def forward(self, x: Tensor) -> Tensor:
        """(N, C + features, H, W) -> (N, outputs, H, W)."""
        carried, features = x.split(self.sizes, dim=1)
        return self.subnet(features) + nn.functional.pad(carried, (0, 0, 0, 0, 0, self.missing))


MODULES: dict[type, Callable[[Any], nn.Module]] = {
    layers.Haar: lambda shape: HaarDownsample(),
    layers.Dct: lambda shape: DctDownsample(),
    layers.Learned: lambda shape: LearnedDownsample(shape.inputs, shape.factor),
    layers.Coupling: AffineCoupling,
    layers.Head: Head,
    layers.Residual: Residual,
    layers.Tail: Tail,
}
"""What computes each kind of layer."""


class _Quantize(torch.autograd.Function):
    """Clamp and round forward, identity backward."""

    @staticmethod
    def forward(ctx: object, x: Tensor, levels: int) -> Tensor:
        """Clamped to [0, 1] and rounded."""
        return (x.clamp(0, 1) * levels).round() / levels

    @staticmethod
    def backward(ctx: object, grad: Tensor) -> tuple[Tensor, None]:
        """As it comes."""
        return grad, None


def quantize(x: Tensor, levels: int = 255) -> Tensor:
    """Clamps to [0, 1] and rounds to multiples of 1/levels; the gradient passes through both unchanged.

    Reference: Xiao et al., Invertible Image Rescaling, ECCV 2020, section 3.3; Bengio et al., 2013.
    """
    return _Quantize.apply(x, levels)


def interleave(*parts: Tensor, dim: int) -> Tensor:
    """Tensors of one shape -> one as long as all of them along ``dim``, their slices in turn."""
    return torch.stack(parts, dim=dim + 1).flatten(dim, dim + 1)


def dct(size: int) -> Tensor:
    """The orthonormal DCT-II of so many values, a row for each coefficient: (s, s)."""
    k, i = torch.arange(size)[:, None], torch.arange(size)[None]
    basis = torch.cos(torch.pi * (i + 0.5) * k / size) * (2 / size) ** 0.5
    basis[0] /= 2**0.5
    return basis


def block_dct(factor: int) -> Tensor:
    """The two-dimensional DCT-II of an s x s block as an (s^2, s^2) matrix, scaled so that row 0 is the mean."""
    return torch.kron(dct(factor), dct(factor)) / factor


def check_divisible(x: Tensor, factor: int) -> None:
    """Raises ValueError unless height and width are multiples of ``factor``."""
    if x.shape[-2] % factor or x.shape[-1] % factor:
        raise ValueError(f"height and width must be multiples of {factor}, got {tuple(x.shape[-2:])}: pad first")
