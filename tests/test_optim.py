import pytest
import torch
from torch import nn

from unshrink.training.optim import OPTIMIZERS, SCHEDULES, Muon, OptimConfig, make_optimizers, orthogonalize, rate


@pytest.mark.parametrize("shape", [(32, 81), (81, 32), (3, 300)])
def test_orthogonalize_brings_all_singular_values_near_one(shape):
    matrix = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    values = torch.linalg.svdvals(orthogonalize(matrix))
    assert values.min() > 0.6
    assert values.max() < 1.3


def test_matrices_are_orthogonalised_together_as_alone():
    stack = torch.randn(5, 32, 90, generator=torch.Generator().manual_seed(0))
    together = orthogonalize(stack)
    assert all(
        torch.allclose(one, orthogonalize(matrix), atol=1e-5) for one, matrix in zip(together, stack, strict=True)
    )
    assert orthogonalize(torch.zeros(2, 3, 4)).abs().max() == 0


def test_muon_does_not_care_how_weights_lie_in_memory():
    torch.manual_seed(0)
    value, grad, made = torch.randn(8, 6, 3, 3), torch.randn(8, 6, 3, 3), []
    for layout in (torch.contiguous_format, torch.channels_last):
        weight = nn.Parameter(value.clone(memory_format=layout))
        weight.grad = grad.clone(memory_format=layout)
        Muon([weight], lr=0.1).step()
        made.append(weight.detach())
    assert torch.allclose(*made, atol=1e-6)
    assert not torch.allclose(made[0], value, atol=1e-3)


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_every_parameter_is_optimised_once_and_the_loss_falls(name):
    torch.manual_seed(0)
    network = nn.Sequential(nn.Conv2d(3, 8, 3), nn.Conv2d(8, 3, 3))
    optimizers = make_optimizers(network, OptimConfig(name=name, lr=3e-3))
    covered = [p for optimizer in optimizers for group in optimizer.param_groups for p in group["params"]]
    assert sorted(map(id, covered)) == sorted(map(id, network.parameters()))
    x, before, history = torch.rand(1, 3, 12, 12), [p.clone() for p in network.parameters()], []
    for _ in range(40):
        network.zero_grad()
        loss = (network(x) - 0.5).square().mean()
        loss.backward()
        history.append(loss.item())
        for optimizer in optimizers:
            optimizer.step()
    assert history[-1] < 0.5 * history[0]
    assert all(not torch.equal(p, b) for p, b in zip(network.parameters(), before, strict=True))


def test_muon_steps_have_the_size_of_adam_steps():
    weight = nn.Parameter(torch.zeros(32, 16, 3, 3))
    weight.grad = torch.randn(weight.shape, generator=torch.Generator().manual_seed(0))
    Muon([weight], lr=0.01).step()
    assert float(weight.square().mean().sqrt()) == pytest.approx(0.2 * 0.01, rel=0.25)


@pytest.mark.parametrize("schedule", sorted(SCHEDULES.keys() - {"step"}))
def test_schedules_warm_up_and_end_at_zero(schedule):
    config = OptimConfig(schedule=schedule, warmup=0.1)
    assert rate(config, 0) == 0
    assert rate(config, 0.05) == pytest.approx(0.5)
    assert rate(config, 0.1) == pytest.approx(1)
    assert rate(config, 0.55) == pytest.approx(0.5)
    assert rate(config, 1) == pytest.approx(0)


@pytest.mark.parametrize("schedule", sorted(SCHEDULES.keys() - {"step"}))
def test_schedules_hold_their_peak_for_a_while(schedule):
    config = OptimConfig(schedule=schedule, warmup=0.1, hold=0.5)
    assert [rate(config, p) for p in (0.1, 0.3, 0.6)] == [1, 1, 1]
    assert rate(config, 0.8) == pytest.approx(0.5)
    assert rate(config, 1) == pytest.approx(0)


def test_the_published_schedule_halves_at_its_milestones():
    config = OptimConfig(schedule="step", warmup=0, milestones=(0.2, 0.4, 0.6, 0.8))
    assert [rate(config, p) for p in (0, 0.19, 0.2, 0.5, 0.9)] == [1, 1, 0.5, 0.25, 0.0625]
