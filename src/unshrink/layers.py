"""Invertible layers: each is an ``nn.Module`` with ``forward`` and an exact ``inverse``.

Shapes:  N batch, C channels, H height, W width, K channels of the low band, s factor of a downsampling.
Values:  float tensors of any real dtype; no layer clamps, pads or moves its input.
"""

import itertools
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

Subnet = Callable[[int, int], nn.Module]  # (in channels, out channels) -> same H and W


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

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) -> (N, s^2 C, H/s, W/s).  H and W must be multiples of s, else ValueError."""
        check_divisible(x, self.factor)
        blocks = nn.functional.pixel_unshuffle(x, self.factor).unflatten(1, (-1, self.factor**2))
        return torch.einsum("cbk,nckhw->nbchw", self.matrix, blocks).flatten(1, 2)

    def inverse(self, y: Tensor) -> Tensor:
        """(N, s^2 C, H/s, W/s) -> (N, C, H, W)."""
        bands = y.unflatten(1, (self.factor**2, -1))
        blocks = torch.einsum("ckb,nbchw->nckhw", torch.linalg.inv(self.matrix), bands)
        return nn.functional.pixel_shuffle(blocks.flatten(1, 2), self.factor)


class Coupling(nn.Module):
    """Adds detail to the low band, then scales and shifts the detail by the low band.

        low'    = low + f(detail)
        detail' = detail * exp(s(low')) + g(low'),    s = clamp * (2 sigmoid(h(low')) - 1)

    Low band and detail stay two tensors from block to block (``down`` and ``up``): joining them and taking them apart again
    costs copies.

    Reference: Xiao et al., Invertible Image Rescaling, ECCV 2020, section 3.2.

    Args:
        channels: channels of the input, low band and detail together.
        low: channels K of the low band, the first K of the input.
        subnet: builds the networks f, g and h.
        clamp: bound of the log scale s, so that one layer scales by at most e^clamp.
        joint: g and h are the two halves of the results of one subnet, gh.
        additive: s = 0, without h.
        steady: g and h see the differences of neighbours in the low band, not the band.  With subnets that make nothing of
            nothing, areas of one colour then pass unchanged and leave no detail behind.
    """

    def __init__(
        self,
        channels: int,
        low: int,
        subnet: Subnet,
        clamp: float = 1.0,
        joint: bool = False,
        additive: bool = False,
        steady: bool = False,
    ) -> None:
        super().__init__()
        if not 0 < low < channels:
            raise ValueError(f"low must be between 1 and {channels - 1}, got {low}")
        detail = channels - low
        self.sizes = (low, detail)
        self.clamp, self.joint, self.additive, self.steady = clamp, joint, additive, steady
        self.f = subnet(detail, low)
        low = 2 * low if steady else low
        if joint and not additive:
            self.gh = subnet(low, 2 * detail)
        else:
            self.g = subnet(low, detail)
            if not additive:
                self.h = subnet(low, detail)

    def shift_and_scale(self, low: Tensor) -> tuple[Tensor, Tensor | None]:
        """low (N, K, H, W) -> the shift and the log scale, in (-clamp, clamp), each (N, C - K, H, W); None for no scale."""
        if self.steady:
            low = differences(low)
        if self.additive:
            return self.g(low), None
        shift, h = self.gh(low).chunk(2, dim=1) if self.joint else (self.g(low), self.h(low))
        return shift, self.clamp * torch.tanh(h / 2)  # 2 sigmoid(h) - 1

    def down(self, low: Tensor, detail: Tensor) -> tuple[Tensor, Tensor]:
        """(N, K, H, W) and (N, C - K, H, W) -> the same."""
        low = low + self.f(detail)
        shift, scale = self.shift_and_scale(low)
        return low, (detail if scale is None else detail * torch.exp(scale)) + shift

    def up(self, low: Tensor, detail: Tensor) -> tuple[Tensor, Tensor]:
        """The inverse of ``down``."""
        shift, scale = self.shift_and_scale(low)
        detail = detail - shift
        if scale is not None:
            detail = detail * torch.exp(-scale)
        return low - self.f(detail), detail

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) -> (N, C, H, W)."""
        return torch.cat(self.down(*x.split(self.sizes, dim=1)), dim=1)

    def inverse(self, y: Tensor) -> Tensor:
        """(N, C, H, W) -> (N, C, H, W)."""
        return torch.cat(self.up(*y.split(self.sizes, dim=1)), dim=1)


AffineCoupling = Coupling


def differences(x: Tensor) -> Tensor:
    """Each value less its left neighbour, then each less its upper one, 0 at the edges: (N, C, H, W) -> (N, 2C, H, W)."""
    left, up = x[..., :, 1:] - x[..., :, :-1], x[..., 1:, :] - x[..., :-1, :]
    return torch.cat((nn.functional.pad(left, (1, 0)), nn.functional.pad(up, (0, 0, 1, 0))), dim=1)


class PlainBlock(nn.Module):
    """A chain of 3x3 convolutions with leaky rectifiers between them.

    At equal time far better than the dense block of the paper: its convolutions have the shapes that fast machines are fast
    in.  Starts as the zero function, so that an untrained network is exactly its downsampling transform.

    Args:
        channels_in: channels of the input.
        channels_out: channels of the result.
        width: channels between two convolutions.
        depth: convolutions.
        residual: the inner convolutions, from ``width`` to ``width`` channels, add to their input.
        bias: whether convolutions add a constant; without, zeros give zeros.
    """

    SLOPE = 0.2

    def __init__(
        self,
        channels_in: int,
        channels_out: int,
        width: int = 64,
        depth: int = 3,
        residual: bool = False,
        bias: bool = True,
    ) -> None:
        super().__init__()
        self.residual = residual
        channels = [channels_in, *[width] * (depth - 1), channels_out]
        self.convs = nn.ModuleList(nn.Conv2d(a, b, 3, padding=1, bias=bias) for a, b in itertools.pairwise(channels))
        for conv in self.convs:
            nn.init.kaiming_normal_(conv.weight, self.SLOPE)  # type: ignore[arg-type]
            if bias:
                nn.init.zeros_(conv.bias)  # type: ignore[arg-type]
        nn.init.zeros_(self.convs[-1].weight)  # type: ignore[arg-type]

    def forward(self, x: Tensor) -> Tensor:
        """(N, channels_in, H, W) -> (N, channels_out, H, W), in the dtype of x even under autocast."""
        features = x
        if torch.is_autocast_enabled(x.device.type):
            kind = torch.get_autocast_dtype(x.device.type)
            if x.device.type == "cpu" and kind == torch.bfloat16 and not self.residual:
                params = [param for conv in self.convs for param in (conv.weight, conv.bias)]
                return _PlainChain.apply(x, self.SLOPE, *params)
            features = features.to(kind)
        if self.convs[0].weight.is_contiguous(memory_format=torch.channels_last):  # type: ignore[operator]
            features = features.contiguous(memory_format=torch.channels_last)
        for i, conv in enumerate(self.convs[:-1]):
            new = nn.functional.leaky_relu(conv(features), self.SLOPE, inplace=True)
            features = features + new if self.residual and i else new
        return self.convs[-1](features).to(x.dtype)


class _PlainChain(torch.autograd.Function):
    """A plain block in bfloat16 on a CPU, its rectifiers inside the convolutions and all of it channels-last.

    Within 2 % of separate steps in step time on a busy machine (measured in turn): keep it only if a quiet machine says more.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, slope: float, *params: Tensor | None) -> Tensor:
        with torch.autocast("cpu", enabled=False):
            params = tuple(None if p is None else _bfloat16(p) for p in params)
            weights, biases = params[::2], params[1::2]
            features = [_bfloat16(x)]
            for weight, bias in zip(weights[:-1], biases[:-1], strict=True):
                features.append(
                    torch.ops.mkldnn._convolution_pointwise(
                        features[-1], weight, bias, [1, 1], [1, 1], [1, 1], 1, "leaky_relu", [slope], ""
                    )
                )
            result = nn.functional.conv2d(features[-1], weights[-1], biases[-1], padding=1).to(x.dtype)
        ctx.save_for_backward(*features, *weights)
        ctx.slope = slope
        return result

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        saved = ctx.saved_tensors
        depth = len(saved) // 2
        grads: list[Tensor | None] = []
        dtype = grad.dtype
        grad = _bfloat16(grad)
        for i in reversed(range(depth)):
            feature, weight = saved[i], saved[depth + i]
            bias = ctx.needs_input_grad[3 + 2 * i]
            wanted = [i > 0 or ctx.needs_input_grad[0], True, bias]
            below, of_weight, of_bias = torch.ops.aten.convolution_backward(
                grad, feature, weight, [weight.shape[0]], [1, 1], [1, 1], [1, 1], False, [0, 0], 1, wanted
            )
            grads = [of_weight.to(dtype), of_bias.to(dtype) if bias else None, *grads]
            grad = torch.ops.aten.leaky_relu_backward(below, feature, ctx.slope, True) if i else below
        return (grad.to(dtype) if ctx.needs_input_grad[0] else None), None, *grads


def _bfloat16(x: Tensor) -> Tensor:
    if x.ndim < 4:
        return x.bfloat16()
    return x.to(torch.bfloat16, memory_format=torch.channels_last)


class DenseBlock(nn.Module):
    """Five 3x3 convolutions, each fed with the input and all earlier features: the subnet of the paper.

    Starts as the zero function, so that an untrained network is exactly its downsampling transform.

    Reference: Xiao et al., Invertible Image Rescaling, ECCV 2020, section 4; Wang et al., ESRGAN, 2018, for the block.

    Args:
        channels_in: channels of the input.
        channels_out: channels of the result.
        growth: channels that each of the first four convolutions adds.
    """

    def __init__(self, channels_in: int, channels_out: int, growth: int = 32) -> None:
        super().__init__()
        widths = [growth] * 4 + [channels_out]
        self.convs = nn.ModuleList(
            nn.Conv2d(channels_in + i * growth, width, 3, padding=1) for i, width in enumerate(widths)
        )
        for conv in self.convs:
            nn.init.xavier_normal_(conv.weight, gain=0.1)  # type: ignore[arg-type]
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
            new = nn.functional.leaky_relu(conv(features), 0.2, inplace=True)
            features = torch.cat((features, new), dim=1)
        return self.convs[-1](features).to(x.dtype)


class _Quantize(torch.autograd.Function):
    """Clamp and round forward, identity backward."""

    @staticmethod
    def forward(ctx: object, x: Tensor, levels: int) -> Tensor:
        return (x.clamp(0, 1) * levels).round() / levels

    @staticmethod
    def backward(ctx: object, grad: Tensor) -> tuple[Tensor, None]:
        return grad, None


def quantize(x: Tensor, levels: int = 255) -> Tensor:
    """Clamps to [0, 1] and rounds to multiples of 1/levels; the gradient passes through both unchanged.

    Reference: Xiao et al., Invertible Image Rescaling, ECCV 2020, section 3.3; Bengio et al., 2013.
    """
    return _Quantize.apply(x, levels)


def interleave(even: Tensor, odd: Tensor, dim: int) -> Tensor:
    """Two tensors of one shape -> one of twice the length along ``dim``, their slices in turn."""
    return torch.stack((even, odd), dim=dim + 1).flatten(dim, dim + 1)


def block_dct(factor: int) -> Tensor:
    """The two-dimensional DCT-II of an s x s block as an (s^2, s^2) matrix, scaled so that row 0 is the mean."""
    k, i = torch.arange(factor)[:, None], torch.arange(factor)[None]
    basis = torch.cos(torch.pi * (i + 0.5) * k / factor) * (2 / factor) ** 0.5
    basis[0] /= 2**0.5
    return torch.kron(basis, basis) / factor


def check_divisible(x: Tensor, factor: int) -> None:
    """Raises ValueError unless height and width are multiples of ``factor``."""
    if x.shape[-2] % factor or x.shape[-1] % factor:
        raise ValueError(f"height and width must be multiples of {factor}, got {tuple(x.shape[-2:])}: pad first")
