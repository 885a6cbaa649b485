"""The layers in the order in which runtimes are fast: what `export` writes down.  Same parameters, same function.

- What the small picture does not depend on, the last shift and scale, is not computed.
- What the result of a subnet is added to goes into its last sum.  Runtimes add inside the convolution, and there the
  sum stays in float32 even where the features are bfloat16; rounded on its own it would cost 0.04 dB.

Convolutions compute in the dtype of their parameters; the picture and the couplings keep its own.

Shapes:  x and y (N, C, H, W), low (N, K, H, W), detail (N, C - K, H, W), features (N, any, H, W).
"""

from collections.abc import Callable
from functools import singledispatch
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn.functional import conv2d, leaky_relu, pad

from unshrink.network.layers import COLOURS, Step
from unshrink.network.modules import SLOPE, AffineCoupling, Head, Residual, Subnet, Tail


def run(step: Step, module: nn.Module, x: Tensor) -> Tensor:
    """The result of a step; of one that is ``low``, the first three channels."""
    if step.inverse:
        return _inverse(module, x)
    return _low(module, x) if step.low else _forward(module, x)


@singledispatch
def _forward(module: Any, x: Tensor) -> Tensor:
    """As ``module(x)``."""
    return cast(Tensor, module(x))


@singledispatch
def _low(module: Any, x: Tensor) -> Tensor:
    """The first three channels of ``module(x)``."""
    return _forward(module, x)[:, :COLOURS]


@singledispatch
def _inverse(module: Any, y: Tensor) -> Tensor:
    """As ``module.inverse(y)``."""
    return cast(Tensor, module.inverse(y))


@_forward.register
def _(module: AffineCoupling, x: Tensor) -> Tensor:
    low, detail = _low(module, x), x[:, COLOURS:]
    log_scale, shifted = _scale_and_shift(module, low)
    return torch.cat((low, shifted(detail * torch.exp(log_scale))), dim=1)


@_low.register
def _(module: AffineCoupling, x: Tensor) -> Tensor:
    return _subnet(module.f, x[:, COLOURS:], x[:, :COLOURS])


@_inverse.register
def _(module: AffineCoupling, y: Tensor) -> Tensor:
    low, detail = y[:, :COLOURS], y[:, COLOURS:]
    log_scale, shifted = _scale_and_shift(module, low)
    # a - b as -(b - a): only what is added goes into the sum
    detail = -torch.exp(-log_scale) * shifted(-detail)
    return torch.cat((-_subnet(module.f, detail, -low), detail), dim=1)


@_forward.register
def _(module: Head, x: Tensor) -> Tensor:
    return torch.cat((x, _subnet(module.subnet, module.seen(x)).to(x.dtype)), dim=1)


@_forward.register
def _(module: Residual, x: Tensor) -> Tensor:
    carried, features = x.split(module.sizes, dim=1)
    return torch.cat((carried, _subnet(module.subnet, features, features)), dim=1)


@_forward.register
def _(module: Tail, x: Tensor) -> Tensor:
    carried, features = x.split(module.sizes, dim=1)
    return _subnet(module.subnet, features, pad(carried, (0, 0, 0, 0, 0, module.missing)))


def _scale_and_shift(module: AffineCoupling, low: Tensor) -> tuple[Tensor, Callable[[Tensor], Tensor]]:
    """The log scale of the detail, and what adds the shift to a tensor."""
    half, seen = module.sizes[1], module.seen(low)
    if module.joint:
        scale = shift = _features(module.gh, seen)
        of_scale, of_shift = (module.gh, slice(half, None)), (module.gh, slice(half))
    else:
        scale, shift = _features(module.h, seen), _features(module.g, seen)
        of_scale, of_shift = (module.h, slice(None)), (module.g, slice(None))
    log_scale = module.clamp * (2 * torch.sigmoid(_last(*of_scale, scale).to(low.dtype)) - 1)
    return log_scale, lambda onto: _last(*of_shift, shift, onto)


def _subnet(subnet: Subnet, x: Tensor, onto: Tensor | None = None) -> Tensor:
    """onto + subnet(x)."""
    return _last(subnet, slice(None), _features(subnet, x), onto)


def _features(subnet: Subnet, x: Tensor) -> Tensor:
    """What the last convolution reads."""
    features = x.to(subnet.convs[0].weight.dtype)  # type: ignore[arg-type]
    for conv in subnet.convs[:-1]:
        new = leaky_relu(conv(features), SLOPE)
        features = torch.cat((features, new), dim=1) if subnet.shape.dense else new
    return features


def _last(subnet: Subnet, results: slice, features: Tensor, onto: Tensor | None = None) -> Tensor:
    """onto + the last convolution of a subnet, or some of its results."""
    conv = subnet.convs[-1]
    assert isinstance(conv, nn.Conv2d)
    whole = results == slice(None)
    weight = conv.weight if whole else conv.weight[results]
    bias = conv.bias if whole or conv.bias is None else conv.bias[results]
    features = features.to(weight.dtype)
    if onto is None:
        return conv2d(features, weight, bias, padding=1)
    # the bias goes to what it is added to: a convolution without one takes the sum into itself
    return conv2d(features, weight, padding=1) + (onto if bias is None else onto + bias[:, None, None])
