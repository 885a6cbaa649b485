"""The layers in the order in which runtimes are fast: what `export` writes down.  Same parameters, same function.

- What the small picture does not depend on, the last shift and scale, is not computed.
- A dense block copies fewer features: a convolution of several inputs is the sum of a convolution of each.
- What the result of a subnet is added to goes into its last sum.  Runtimes add inside the convolution, and there the
  sum stays in float32 even where the features are bfloat16; rounded on its own it would cost 0.04 dB.

Convolutions compute in the dtype of their parameters; the picture and the couplings keep its own.

Shapes:  x and y (N, C, H, W), low (N, K, H, W), detail (N, C - K, H, W), features (N, any, H, W).
"""

from typing import cast

import torch
from torch import Tensor, nn
from torch.nn.functional import conv2d, leaky_relu

from unshrink.network.architectures import COLOURS
from unshrink.network.layers import AffineCoupling, DenseBlock


def down(layer: nn.Module, x: Tensor) -> Tensor:
    """As ``layer(x)``."""
    if not isinstance(layer, AffineCoupling):
        return cast(Tensor, layer(x))
    low, detail = x[:, :COLOURS], x[:, COLOURS:]
    low = _subnet(layer.f, detail, low)
    return torch.cat((low, _subnet(layer.g, low, detail * torch.exp(_log_scale(layer, low)))), dim=1)


def low(layer: nn.Module, x: Tensor) -> Tensor:
    """The low band of ``layer(x)``, (N, K, H, W)."""
    if not isinstance(layer, AffineCoupling):
        return cast(Tensor, layer(x))[:, :COLOURS]
    return _subnet(layer.f, x[:, COLOURS:], x[:, :COLOURS])


def up(layer: nn.Module, y: Tensor) -> Tensor:
    """As ``layer.inverse(y)``."""
    if not isinstance(layer, AffineCoupling):
        return cast(Tensor, layer.inverse(y))  # type: ignore[operator]
    low, detail = y[:, :COLOURS], y[:, COLOURS:]
    # a - b as -(b - a): only what is added goes into the sum
    detail = -torch.exp(-_log_scale(layer, low)) * _subnet(layer.g, low, -detail)
    return torch.cat((-_subnet(layer.f, detail, -low), detail), dim=1)


def _log_scale(layer: AffineCoupling, low: Tensor) -> Tensor:
    return layer.clamp * (2 * torch.sigmoid(_subnet(layer.h, low).to(low.dtype)) - 1)


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
