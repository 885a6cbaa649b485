"""Losses that learn beside the network: each has parameters and takes a step of its own before each of the network's.

A new one is a class, its row in `LEARNED`, and a field of the same name in `LearnedConfig`: its weight.  One whose
parameters are fixed (``requires_grad`` False, as of a network that measures how alike two pictures look) is such a
class as well, and takes no step.

Shapes:  N crops; hr and restored (N, 3, H, W).
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call

from unshrink.training.losses import RoundTrip
from unshrink.training.optim import restore_optimizer, with_peaks


@dataclass(frozen=True)
class LearnedConfig:
    """The weights of the learned losses, added to the total as it stands (after its logarithm); 0 leaves one out.

    Attributes:
        patch: weight of `PatchDiscriminator`.
        lr: learning rate of the losses' own parameters (Adam), which follows the schedule of the network's.
    """

    patch: float = 0.0
    lr: float = 1e-4


class LearnedLoss(nn.Module):
    """What a learned loss is: ``forward`` teaches the network, ``own`` teaches the loss."""

    def forward(self, trip: RoundTrip) -> Tensor:
        """What the network is to make small: (N,)."""
        raise NotImplementedError

    def own(self, trip: RoundTrip) -> Tensor:
        """What its own parameters are to make small, while the round trip stands: (N,)."""
        raise NotImplementedError


class PatchDiscriminator(LearnedLoss):
    """Tells restored pictures from true ones, patch by patch; the network is to be taken for true (least squares).

    Four convolutions that see patches of 18x18 pixels, small on purpose.  None of them mixes crops, so that a batch in
    pieces, or shared by processes, gives the same.

    Reference: Isola et al., Image-to-image translation with conditional adversarial networks, CVPR 2017, section 3.2;
    Mao et al., Least squares generative adversarial networks, ICCV 2017.
    """

    def __init__(self, width: int = 32) -> None:
        super().__init__()
        widths = (3, width, 2 * width, 2 * width)
        layers: list[nn.Module] = []
        for before, after, stride in zip(widths, widths[1:], (2, 2, 1), strict=False):
            layers += [nn.Conv2d(before, after, 4 if stride == 2 else 3, stride, padding=1), nn.LeakyReLU(0.2)]
        self.layers = nn.Sequential(*layers, nn.Conv2d(widths[-1], 1, 1))

    def forward(self, trip: RoundTrip) -> Tensor:
        """How far restored patches are from being taken for true: (N,)."""
        return self.off(trip.restored, 1.0)

    def own(self, trip: RoundTrip) -> Tensor:
        """How far patches are from being told apart, true ones as 1 and restored ones as 0: (N,)."""
        return (self.off(trip.hr, 1.0) + self.off(trip.restored, 0.0)) / 2

    def off(self, pictures: Tensor, truth: float) -> Tensor:
        """Mean squared distance of the judgement of each patch from the truth: (N, 3, H, W) -> (N,)."""
        return (self.layers(pictures) - truth).square().flatten(1).mean(dim=1)


LEARNED: dict[str, Callable[[], LearnedLoss]] = {"patch": PatchDiscriminator}


class LearnedLosses(nn.Module):
    """The learned losses of a run, those that have a weight, and the optimiser of their parameters."""

    def __init__(self, config: LearnedConfig) -> None:
        super().__init__()
        self.weights = {name: getattr(config, name) for name in LEARNED if getattr(config, name)}
        self.losses = nn.ModuleDict({name: LEARNED[name]() for name in self.weights})
        learning = [parameter for parameter in self.parameters() if parameter.requires_grad]
        self.optimizers = with_peaks([torch.optim.Adam(learning, config.lr, (0.5, 0.999))] if learning else [])

    def judge(self, trip: RoundTrip) -> dict[str, Tensor]:
        """The losses of the network by name, each (N,); the parameters stand still and take no gradient."""
        return {name: functional_call(loss, _fixed(loss), (trip,)) for name, loss in self._named()}

    def own(self, trip: RoundTrip) -> dict[str, Tensor]:
        """The losses of the parameters by name, each (N,), of those that learn."""
        return {name: loss.own(trip) for name, loss in self._named() if any(p.requires_grad for p in loss.parameters())}

    def state(self) -> dict[str, Any]:
        """Parameters and optimiser, for a checkpoint."""
        return {
            "losses": {name: loss.state_dict() for name, loss in self._named()},
            "optimizers": [optimizer.state_dict() for optimizer in self.optimizers],
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Goes back to what ``state`` gave; a loss that was not there begins anew, and the optimiser with it."""
        for name, loss in self._named():
            if name in state["losses"]:
                loss.load_state_dict(state["losses"][name])
        if state["losses"].keys() == self.weights.keys():
            for optimizer, saved in zip(self.optimizers, state["optimizers"], strict=True):
                restore_optimizer(optimizer, saved)

    def _named(self) -> Iterable[tuple[str, LearnedLoss]]:
        return self.losses.items()  # type: ignore[return-value]


def _fixed(loss: nn.Module) -> dict[str, Tensor]:
    return {name: parameter.detach() for name, parameter in loss.named_parameters()}
