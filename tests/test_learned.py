"""Losses that learn beside the network."""

import functools

import pytest
import torch
from torch import Tensor

from training_runs import begin, draw_photos, tiny
from unshrink.training import learned, step
from unshrink.training.losses import RoundTrip


@pytest.fixture
def settings(tmp_path):
    """A configuration of a tiny run, with any values replaced."""
    return functools.partial(tiny, tmp_path / "run", draw_photos(tmp_path / "photos"))


def trip(hr: Tensor, restored: Tensor) -> RoundTrip:
    """A round trip of which only its ends count."""
    return RoundTrip(hr, hr, hr, hr, restored)


def advance(run, poison: float = 0.0) -> dict[str, float]:
    hr, reference = next(iter(run.crops))
    return step.advance(run, step.make_step(run), hr + poison, reference)


def test_the_discriminator_learns_to_tell_true_from_blurred():
    torch.manual_seed(0)
    losses = learned.LearnedLosses(learned.LearnedConfig(patch=1.0, lr=2e-3))
    for _ in range(150):
        hr = torch.rand(8, 3, 16, 16)
        losses.zero_grad()
        losses.own(trip(hr, torch.nn.functional.avg_pool2d(hr, 3, 1, 1)))["patch"].mean().backward()
        losses.optimizers[0].step()
    hr = torch.rand(8, 3, 16, 16)
    blurred = torch.nn.functional.avg_pool2d(hr, 3, 1, 1)
    assert losses.own(trip(hr, blurred))["patch"].mean() < 0.05
    assert losses.judge(trip(hr, blurred))["patch"].mean() > 0.5, "a blurred picture is not taken for true"
    assert losses.judge(trip(hr, torch.rand_like(hr)))["patch"].mean() < 0.1, "another sharp one is"


def test_the_network_learns_from_it_and_it_does_not_learn_from_that():
    losses = learned.LearnedLosses(learned.LearnedConfig(patch=1.0))
    restored = torch.rand(2, 3, 16, 16, requires_grad=True)
    judged = losses.judge(trip(torch.rand(2, 3, 16, 16), restored))["patch"]
    assert judged.shape == (2,)
    judged.sum().backward()
    assert restored.grad.abs().sum() > 0
    assert all(parameter.grad is None for parameter in losses.parameters())


def test_each_takes_its_own_step_and_only_that(settings):
    run = begin(settings(learned={"patch": 1.0}, optim={"warmup": 0.0, "lr": 0.0, "bias_lr": 0.0}))
    network, own = ([p.clone() for p in part.parameters()] for part in (run.network, run.learned))
    values = advance(run)
    assert {"patch", "patch_own"} <= values.keys()
    assert all(torch.equal(a, b) for a, b in zip(network, run.network.parameters(), strict=True)), "its rate is 0"
    assert all(not torch.equal(a, b) for a, b in zip(own, run.learned.parameters(), strict=True))


def test_the_weight_reaches_the_network(settings):
    def gradient(weight: float) -> Tensor:
        run = begin(settings(learned={"patch": weight}, optim={"clip_norm": 0.0, "clip_factor": 0.0}))
        advance(run)
        return torch.cat([p.grad.flatten() for p in run.network.parameters()])

    plain, light, heavy = map(gradient, (0.0, 0.1, 0.2))
    assert (light - plain).abs().max() > 0
    assert torch.allclose(heavy - plain, 2 * (light - plain), rtol=1e-2, atol=1e-5 * float(plain.abs().max()))


def test_a_step_that_is_not_finite_leaves_it_as_it_is(settings):
    run = begin(settings(learned={"patch": 1.0}, optim={"warmup": 0.0}))
    advance(run)
    before = [p.clone() for p in run.learned.parameters()]
    advance(run, float("nan"))
    assert all(torch.equal(a, b) for a, b in zip(before, run.learned.parameters(), strict=True))
    advance(run)
    assert any(not torch.equal(a, b) for a, b in zip(before, run.learned.parameters(), strict=True))


class Edges(learned.LearnedLoss):
    """A network that does not learn: how far the differences of neighbours are off."""

    def __init__(self) -> None:
        super().__init__()
        self.difference = torch.nn.Conv2d(3, 3, (1, 2), groups=3, bias=False).requires_grad_(False)
        self.difference.weight.copy_(torch.tensor([-1.0, 1.0]).expand(3, 1, 1, 2))

    def forward(self, trip: RoundTrip) -> Tensor:
        return self.difference(trip.restored - trip.hr).square().flatten(1).mean(dim=1)


def test_a_network_with_fixed_parameters_is_a_loss_without_a_step(settings, monkeypatch):
    monkeypatch.setitem(learned.LEARNED, "patch", Edges)
    run = begin(settings(learned={"patch": 1.0}))
    values = advance(run)
    assert values["patch"] > 0
    assert "patch_own" not in values
    assert run.learned.optimizers == []


def test_every_row_has_a_weight():
    assert learned.LEARNED.keys() <= set(learned.LearnedConfig.__dataclass_fields__)
