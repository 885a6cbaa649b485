"""The layers in the order in which runtimes are fast: what `export` writes down.  Same parameters, same function.

- What the small picture does not depend on, the last shift and scale, is not computed.
- What a subnet sees of the low band comes from outside of a graph.  Differences of neighbours are small: of values
  that were rounded to bfloat16 before, as runtimes do, they would cost 0.08 dB.
- What the result of a subnet is added to goes into its last sum.  Runtimes add inside the convolution, and there the
  sum stays in float32 even where the features are bfloat16; rounded on its own it would cost 0.04 dB.

Convolutions compute in the dtype of their parameters; the picture and the couplings keep its own.

Shapes:  x and y (N, C, H, W), low (N, K, H, W), detail (N, C - K, H, W), seen (N, K or 2K, H, W),
    features (N, any, H, W).
"""

from collections.abc import Callable
from functools import singledispatch
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn.functional import conv2d, leaky_relu, pad

from unshrink.network import layers
from unshrink.network.layers import COLOURS, Step
from unshrink.network.modules import SLOPE, AffineCoupling, Head, Residual, Subnet, Tail


def run(step: Step, module: nn.Module, x: Tensor) -> Tensor:
    """The result of a step; of one that is ``low``, the first three channels."""
    if step.inverse:
        return _inverse(module, x)
    return _low(module, x) if step.low else _forward(module, x)


def part(step: Step, name: str) -> Callable[..., Tensor]:
    """What the graph of a part of a step computes, of the module and the inputs of `Step.parts`."""
    match step.layer, name:
        case layers.Head(), _:
            return _beside
        case layers.Coupling(), "low":
            return _less_low if step.inverse else _more_low
        case layers.Coupling(), _:
            return _detail_back if step.inverse else _detail_on
    return lambda module, x: run(step, module, x)


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
    low = _low(module, x)
    return torch.cat((low, _detail_on(module, x[:, COLOURS:], module.seen(low))), dim=1)


@_low.register
def _(module: AffineCoupling, x: Tensor) -> Tensor:
    return _more_low(module, x[:, :COLOURS], x[:, COLOURS:])


@_inverse.register
def _(module: AffineCoupling, y: Tensor) -> Tensor:
    low = y[:, :COLOURS]
    detail = _detail_back(module, y[:, COLOURS:], module.seen(low))
    return torch.cat((_less_low(module, low, detail), detail), dim=1)


@_forward.register
def _(module: Head, x: Tensor) -> Tensor:
    return _beside(module, x, module.seen(x))


@_forward.register
def _(module: Residual, x: Tensor) -> Tensor:
    carried, features = x.split(module.sizes, dim=1)
    return torch.cat((carried, _subnet(module.subnet, features, features)), dim=1)


@_forward.register
def _(module: Tail, x: Tensor) -> Tensor:
    carried, features = x.split(module.sizes, dim=1)
    return _subnet(module.subnet, features, pad(carried, (0, 0, 0, 0, 0, module.missing)))


def _more_low(module: AffineCoupling, low: Tensor, detail: Tensor) -> Tensor:
    return _subnet(module.f, detail, low)


def _less_low(module: AffineCoupling, low: Tensor, detail: Tensor) -> Tensor:
    # a - b as -(b - a): only what is added goes into the sum
    return -_subnet(module.f, detail, -low)


def _detail_on(module: AffineCoupling, detail: Tensor, seen: Tensor) -> Tensor:
    log_scale, shifted = _scale_and_shift(module, seen, detail.dtype)
    return shifted(detail * torch.exp(log_scale))


def _detail_back(module: AffineCoupling, detail: Tensor, seen: Tensor) -> Tensor:
    log_scale, shifted = _scale_and_shift(module, seen, detail.dtype)
    return -torch.exp(-log_scale) * shifted(-detail)


def _beside(module: Head, x: Tensor, seen: Tensor) -> Tensor:
    return torch.cat((x, _subnet(module.subnet, seen).to(x.dtype)), dim=1)


def _scale_and_shift(
    module: AffineCoupling, seen: Tensor, dtype: torch.dtype
) -> tuple[Tensor, Callable[[Tensor], Tensor]]:
    """The log scale of the detail, and what adds the shift to a tensor."""
    half = module.sizes[1]
    if module.joint:
        scale = shift = _features(module.gh, seen)
        of_scale, of_shift = (module.gh, slice(half, None)), (module.gh, slice(half))
    else:
        scale, shift = _features(module.h, seen), _features(module.g, seen)
        of_scale, of_shift = (module.h, slice(None)), (module.g, slice(None))
    log_scale = module.clamp * (2 * torch.sigmoid(_last(*of_scale, scale).to(dtype)) - 1)
    return log_scale, lambda onto: _last(*of_shift, shift, onto)


def _subnet(subnet: Subnet, x: Tensor, onto: Tensor | None = None) -> Tensor:
    """onto + subnet(x)."""
    return _last(subnet, slice(None), _features(subnet, x), onto)


def _features(subnet: Subnet, x: Tensor) -> Tensor:
    """What the last convolution reads."""
    features = x.to(subnet.convs[0].weight.dtype)  # type: ignore[arg-type]
    for conv in subnet.convs[:-1]:
        assert isinstance(conv, nn.Conv2d)
        new = leaky_relu(conv2d(features, _wide(subnet, conv, features), conv.bias, padding=1), SLOPE)
        features = torch.cat((features, new), dim=1) if subnet.shape.dense else new
    return features


def _last(subnet: Subnet, results: slice, features: Tensor, onto: Tensor | None = None) -> Tensor:
    """onto + the last convolution of a subnet, or some of its results."""
    conv = subnet.convs[-1]
    assert isinstance(conv, nn.Conv2d)
    whole = results == slice(None)
    weight = _wide(subnet, conv, features) if whole else _wide(subnet, conv, features)[results]
    bias = conv.bias if whole or conv.bias is None else conv.bias[results]
    features = features.to(weight.dtype)
    if onto is None:
        return conv2d(features, weight, bias, padding=1)
    # the bias goes to what it is added to: a convolution without one takes the sum into itself
    return conv2d(features, weight, padding=1) + (onto if bias is None else onto + bias[:, None, None])


def _wide(subnet: Subnet, conv: nn.Conv2d, features: Tensor) -> Tensor:
    """The kernel of a convolution, with zeros for channels that stand behind what the subnet reads."""
    behind = features.shape[1] - conv.in_channels
    if not behind:
        return conv.weight
    read = cast(nn.Conv2d, subnet.convs[0]).in_channels
    wide = pad(conv.weight[:, :read], (0, 0, 0, 0, 0, behind))
    return torch.cat((wide, conv.weight[:, read:]), dim=1) if conv.in_channels > read else wide
