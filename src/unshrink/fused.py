"""The network in the order in which runtimes are fast: what `export` writes down.  Same parameters, same function.

- Low band and detail stay apart, so that nothing is joined only to be cut again, and what the small picture does not
  depend on, the last shift and scale, is not computed.
- A dense block copies fewer features: a convolution of several inputs is the sum of a convolution of each.
- What the result of a subnet is added to goes into its last sum.  Runtimes add inside the convolution, and there the
  sum stays in float32 even where the features are bfloat16; rounded on its own it would cost 0.04 dB.

Convolutions compute in the dtype of their parameters; the picture keeps its own.

Shapes:  low (N, K, H, W), detail (N, C - K, H, W), features (N, any, H, W).
"""

import torch
from torch import Tensor, nn
from torch.nn.functional import conv2d, leaky_relu

from unshrink.architectures import COLOURS
from unshrink.layers import AffineCoupling, DenseBlock
from unshrink.models import IRN


def down(net: IRN, hr: Tensor) -> Tensor:
    """hr (N, 3, H, W) -> lr (N, 3, H/s, W/s), as ``net(hr)[0]``."""
    bands = [hr]
    for layer in net.layers:
        if isinstance(layer, AffineCoupling):
            low, detail = bands
            low = _subnet(layer.f, detail, low)
            bands = [low, _subnet(layer.g, low, detail * torch.exp(_log_scale(layer, low)))]
        else:
            bands = _split(layer(_join(bands)))
    return bands[0]


def up(net: IRN, lr: Tensor, z: Tensor) -> Tensor:
    """lr (N, 3, H/s, W/s) and z (N, 3s^2-3, H/s, W/s) -> hr (N, 3, H, W), as ``net.inverse(lr, z)``."""
    bands = [lr, z]
    for layer in reversed(net.layers):
        if isinstance(layer, AffineCoupling):
            low, detail = bands
            # a - b as -(b - a): only what is added goes into the sum
            detail = -torch.exp(-_log_scale(layer, low)) * _subnet(layer.g, low, -detail)
            bands = [-_subnet(layer.f, detail, -low), detail]
        else:
            bands = _split(layer.inverse(_join(bands)))  # type: ignore[operator]
    return bands[0]


def _log_scale(layer: AffineCoupling, low: Tensor) -> Tensor:
    return layer.clamp * (2 * torch.sigmoid(_subnet(layer.h, low)) - 1)


def _subnet(block: nn.Module, x: Tensor, onto: Tensor | None = None) -> Tensor:
    """onto + block(x)."""
    assert isinstance(block, DenseBlock)
    first, second, third, fourth, last = block.convs
    near = torch.cat((x.to(first.weight.dtype), leaky_relu(_convolve(first, [x]), 0.2)), dim=1)  # type: ignore[arg-type]
    two = leaky_relu(_convolve(second, [near]), 0.2)
    far = torch.cat((two, leaky_relu(_convolve(third, [near, two]), 0.2)), dim=1)
    return _convolve(last, [near, far, leaky_relu(_convolve(fourth, [near, far]), 0.2)], onto)


def _convolve(conv: nn.Module, parts: list[Tensor], onto: Tensor | None = None) -> Tensor:
    """onto + conv(the parts joined), without joining them."""
    assert isinstance(conv, nn.Conv2d)
    assert conv.bias is not None
    parts = [part.to(conv.weight.dtype) for part in parts]
    weights = list(conv.weight.split([part.shape[1] for part in parts], dim=1)) if len(parts) > 1 else [conv.weight]
    if onto is None:
        total = conv2d(parts.pop(0), weights.pop(0), conv.bias, padding=1)
    else:
        total = onto + conv.bias[:, None, None]
    for part, weight in zip(parts, weights, strict=True):
        total = conv2d(part, weight, padding=1) + total
    return total


def _join(bands: list[Tensor]) -> Tensor:
    return torch.cat(bands, dim=1) if len(bands) > 1 else bands[0]


def _split(x: Tensor) -> list[Tensor]:
    return [x[:, :COLOURS], x[:, COLOURS:]] if x.shape[1] > COLOURS else [x]
