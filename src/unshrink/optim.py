"""Optimisers and schedules.

``Muon`` replaces each convolution's averaged gradient, seen as an (out, in * 3 * 3) matrix, by the nearest
semi-orthogonal one, so that all directions learn at one pace.  It gains about a third of a decibel over Adam at
equal time here.
"""

import math
from collections.abc import Callable, Iterable, Sequence

import torch
from torch import Tensor, nn

from unshrink.config import OptimConfig


class Muon(torch.optim.Optimizer):
    """Momentum, orthogonalised by Newton-Schulz iteration, for weights of two or more dimensions.

    Args:
        params: weights; dimensions after the first are flattened.
        lr: learning rate: the step is scaled to the RMS that Adam's would have, so rates are of Adam's size.
        momentum: decay of the averaged gradient, with Nesterov's look ahead.
        weight_decay: share of each weight lost per unit of rate.

    Reference: Jordan et al., Muon: an optimizer for hidden layers, 2024; Liu et al., Muon is scalable for LLM
    training, 2025, arXiv 2502.16982 (the 0.2 sqrt(max(rows, cols)) scale).
    """

    def __init__(
        self, params: Iterable[Tensor], lr: float = 5e-4, momentum: float = 0.95, weight_decay: float = 0.0
    ) -> None:
        super().__init__(params, {"lr": lr, "momentum": momentum, "weight_decay": weight_decay})

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> None:  # type: ignore[override]
        """Updates every weight that has a gradient."""
        for group in self.param_groups:
            params = [p for p in group["params"] if p.grad is not None]
            grads = [p.grad for p in params]
            for p in params:
                if not self.state[p]:
                    self.state[p]["average"] = torch.zeros_like(p)
            averages = [self.state[p]["average"] for p in params]
            torch._foreach_lerp_(averages, grads, 1 - group["momentum"])
            directions = torch._foreach_lerp(grads, averages, group["momentum"])
            torch._foreach_mul_(params, 1 - group["lr"] * group["weight_decay"])
            torch._foreach_sub_(params, orthogonal_updates(directions, group["lr"]))


def orthogonal_updates(directions: Sequence[Tensor], lr: float) -> list[Tensor]:
    """Each direction, seen as a matrix, made orthogonal and scaled to the RMS of Adam's step.

    Those of one shape go through the iteration together: a few launches on a GPU instead of thousands.
    """
    updates = list(directions)
    by_shape: dict[torch.Size, list[int]] = {}
    for index, direction in enumerate(directions):
        by_shape.setdefault(direction.shape, []).append(index)
    for indices in by_shape.values():
        last = [directions[index].movedim(1, -1) for index in indices]  # as they lie in memory: the order is free
        matrices = torch.stack([direction.flatten(1) for direction in last])
        scale = 0.2 * math.sqrt(max(matrices.shape[1:])) * lr
        for index, update in zip(indices, orthogonalize(matrices).mul_(scale), strict=True):
            updates[index] = update.view(last[0].shape).movedim(-1, 1)
    return updates


def orthogonalize(matrices: Tensor, steps: int = 5) -> Tensor:
    """Brings all singular values of (..., R, C) matrices near 1 by a quintic Newton-Schulz iteration.

    Every step multiplies from the left by a polynomial of the Gram matrix x x^T.  So the small Gram matrix is iterated
    alone and their product applied once: the long matrices are touched twice, not ten times.
    """
    a, b, c = 3.4445, -4.7750, 2.0315  # steepest at zero: singular values end between about 0.7 and 1.2
    tall = matrices.shape[-2] > matrices.shape[-1]
    x = matrices.mT if tall else matrices
    gram = x @ x.mT
    norm = gram.diagonal(dim1=-2, dim2=-1).sum(-1).sqrt()[..., None, None] + 1e-7
    gram = gram / norm.square()
    one = torch.eye(gram.shape[-1], device=gram.device, dtype=gram.dtype)
    product = one
    for _ in range(steps):
        factor = a * one + b * gram + c * gram @ gram
        product = factor @ product
        gram = factor @ gram @ factor
    x = (product / norm) @ x
    return x.mT if tall else x


def make_optimizers(network: nn.Module, config: OptimConfig) -> list[torch.optim.Optimizer]:
    """The optimisers of one run, together covering every parameter once; the "peak" of a group is its rate at most."""
    optimizers = _make(list(network.parameters()), config)
    for group in (group for optimizer in optimizers for group in optimizer.param_groups):
        group["peak"] = group["lr"]
    return optimizers


def _make(params: list[nn.Parameter], config: OptimConfig) -> list[torch.optim.Optimizer]:
    decay = config.weight_decay
    way = {"fused": True} if params[0].is_cuda else {"foreach": True}
    if config.name == "adam":
        return [torch.optim.Adam(params, config.lr, config.betas, weight_decay=decay, **way)]
    if config.name == "adamw":
        return [torch.optim.AdamW(params, config.lr, config.betas, weight_decay=decay, **way)]
    weights, biases = [p for p in params if p.ndim > 1], [p for p in params if p.ndim <= 1]
    muon = Muon(weights, config.lr, weight_decay=decay)
    return [muon, torch.optim.Adam(biases, config.bias_lr, config.betas, **way)] if biases else [muon]


def rate(config: OptimConfig, progress: float) -> float:
    """The learning rate as a share of its peak, ``progress`` from 0 (start of the run) to 1 (end)."""
    if progress < config.warmup:
        return progress / config.warmup
    begin = max(config.hold, config.warmup)
    rest = max(0.0, (progress - begin) / (1 - begin))
    if config.schedule == "linear":
        return max(0.0, 1 - rest)
    if config.schedule == "cosine":
        return 0.5 + 0.5 * math.cos(math.pi * min(1.0, rest))
    return 0.5 ** sum(progress >= milestone for milestone in config.milestones)
