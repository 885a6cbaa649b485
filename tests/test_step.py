"""One step: what it draws, what it computes, and what is done with its gradient."""

import functools

import pytest
import torch
from torch import Tensor

from training_runs import begin, draw_photos, tiny
from unshrink.network.modules import quantize
from unshrink.training import step
from unshrink.training.checkpoint import Run
from unshrink.training.degradations import DEGRADATIONS, Degradation, nothing


@pytest.fixture
def settings(tmp_path):
    """A configuration of a tiny run, with any values replaced."""
    return functools.partial(tiny, tmp_path / "run", draw_photos(tmp_path / "photos"))


def advance(run: Run, poison: float = 0.0, scale: float = 1.0) -> dict[str, float]:
    hr, reference = next(iter(run.crops))
    return step.advance(run, step.make_step(run), scale * hr + poison, reference)


def shake(run: Run) -> None:
    """Brings the network far from its start, so that every subnet takes part."""
    torch.manual_seed(1)
    for parameter in run.network.parameters():
        torch.nn.init.normal_(parameter, std=0.05)


@pytest.mark.parametrize("poison", [float("nan"), float("inf")])
def test_a_step_that_is_not_finite_is_skipped_and_counted(settings, poison):
    run = begin(settings(optim={"warmup": 0.0}))
    advance(run)
    before = [p.clone() for p in run.network.parameters()]
    advance(run, poison)
    assert run.position.skipped == 1
    assert all(torch.equal(a, b) for a, b in zip(before, run.network.parameters(), strict=True))
    advance(run)
    assert run.position.skipped == 1
    assert any(not torch.equal(a, b) for a, b in zip(before, run.network.parameters(), strict=True))


def test_an_exploding_step_is_skipped_but_a_lasting_rise_is_not(settings):
    still = {"warmup": 0.0, "lr": 0.0, "bias_lr": 0.0, "skip_factor": 10.0}
    run = begin(settings(optim=still, run={"steps": 10**6}))
    for _ in range(step.SETTLED):
        advance(run)
    usual = run.position.norm
    assert run.position.skipped == 0
    assert advance(run, scale=1e4)["norm"] > 100 * usual
    assert run.position.skipped == 1
    assert run.position.norm < 2 * usual, "one explosion must not lift the mean"
    advance(run)
    assert run.position.skipped == 1
    for _ in range(200):
        advance(run, scale=1e4)
    assert run.position.skipped < 100, "what lasts is let through in the end"
    skipped = run.position.skipped
    advance(run, scale=1e4)
    assert run.position.skipped == skipped


def test_no_step_is_called_exploding_before_the_mean_has_settled_nor_with_the_rule_off(settings):
    run = begin(settings())
    run.position.norm, run.position.step = 1.0, step.SETTLED - 1
    assert step.skip_limit(run) == float("inf")
    run.position.step += 1
    assert step.skip_limit(run) == 10.0
    off = begin(settings(optim={"skip_factor": 0.0}))
    off.position.norm, off.position.step = 1.0, 10**4
    assert step.skip_limit(off) == float("inf")


@pytest.mark.parametrize(
    "changes, mean_norm, limit",
    [
        ({"clip_norm": 10.0, "clip_factor": 0.0}, 3.0, 10.0),
        ({"clip_norm": 0.0, "clip_factor": 2.0}, 3.0, 6.0),
        ({"clip_norm": 5.0, "clip_factor": 2.0}, 3.0, 5.0),
        ({"clip_norm": 0.0, "clip_factor": 2.0}, 0.0, float("inf")),
        ({"clip_norm": 0.0, "clip_factor": 0.0}, 3.0, float("inf")),
    ],
)
def test_the_clipping_limit(settings, changes, mean_norm, limit):
    run = begin(settings(optim=changes))
    run.position.norm = mean_norm
    assert step.clip_limit(run) == limit


def test_gradients_are_clipped_by_their_global_norm(settings):
    run = begin(settings(optim={"name": "adam", "clip_norm": 1e-3, "clip_factor": 0.0}))
    assert advance(run)["norm"] > 1e-3
    grads = torch.cat([p.grad.flatten() for p in run.network.parameters() if p.grad is not None])
    assert grads.norm() == pytest.approx(1e-3, rel=1e-3)


def test_averaged_weights_follow_the_network(settings):
    run = begin(settings(optim={"warmup": 0.0, "average": 0.5}))
    before = [p.clone() for p in run.average.parameters()]
    advance(run)
    triples = zip(before, run.average.parameters(), run.network.parameters(), strict=True)
    decay = 1 / 11  # still ramping up at the first step
    assert all(torch.allclose(a, decay * b + (1 - decay) * n, atol=1e-7) for b, a, n in triples)


def test_losses_reach_every_parameter(settings):
    run = begin(settings())
    shake(run)
    advance(run)
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in run.network.parameters())


@pytest.mark.parametrize("log", [False, True])
def test_the_total_weighs_the_losses_of_each_crop(settings, log):
    """Of the restored picture's, the logarithms if wanted; what holds the small picture is added as it is."""
    of_restored, of_small = {"luma": 2.0, "chroma": 1.5}, {"guide": 3.0, "guide_chroma": 0.7, "latent": 0.5}
    run = begin(settings(loss={**of_restored, **of_small, "log": log, "floor": 1e-3}))
    hr, reference = next(iter(run.crops))
    made, (z, drawn) = step.make_step(run), step.draw(run, reference)
    with torch.no_grad():
        crops = [made(*(whole[i : i + 1] for whole in (hr, reference, z, drawn))) for i in range(2)]
        both = made(hr, reference, z, drawn)

    def total(crop):
        held = sum(weight * crop[name] for name, weight in of_small.items())
        weights = {"reconstruction": 1.0, **of_restored}
        if not log:
            return held + sum(weight * crop[name] for name, weight in weights.items())
        logarithms = (weight * (crop[name] + 1e-3).log() for name, weight in weights.items())
        return held + sum(logarithms) / sum(weights.values())

    assert both["total"].item() == pytest.approx(torch.stack([total(crop) for crop in crops]).mean().item(), rel=1e-4)


def test_a_loss_without_a_weight_is_not_computed(settings):
    assert {"luma", "latent"}.isdisjoint(advance(begin(settings())))
    assert "luma" in advance(begin(settings(loss={"luma": 1.0})))


def test_noise_on_the_small_picture_has_the_stated_size_and_reaches_the_restored_one(settings):
    run = begin(settings(degradation={"name": "noise", "strength": 3.0}, data={"batch": 50}))
    _, reference = next(iter(run.crops))
    z, noise = step.draw(run, reference)
    assert noise.shape == reference.shape
    assert noise.std() == pytest.approx(1.0, rel=0.05)
    assert noise.mean().abs() < 0.03
    made, hr = step.TrainStep(run.network, run.config), torch.full((50, 3, 16, 16), 0.5)
    with torch.no_grad():
        quiet, noisy = (made.round_trip(hr, reference, z, given).restored for given in (0 * noise, noise))
    assert (noisy - quiet).std() * 255 == pytest.approx(3.0, rel=0.05), "the untrained network repeats each value"


def test_a_degradation_is_a_row_of_the_table(settings, monkeypatch):
    """One that rounds to a few levels, draws nothing, and passes the gradient straight."""
    row = Degradation(nothing, lambda small, drawn, strength, moved: quantize(small, int(strength)))
    monkeypatch.setitem(DEGRADATIONS, "coarse", row)
    run = begin(settings(degradation={"name": "coarse", "strength": 7.0}))
    shake(run)
    losses = [advance(other)["reconstruction"] for other in (run, begin(settings()))]
    assert losses[0] > losses[1]
    weight = run.network.get_parameter("layers.1.f.convs.0.weight")  # it works on the small picture alone
    assert weight.grad.abs().sum() > 0


def test_a_degradation_can_ask_for_the_small_pictures_of_what_has_moved(settings, monkeypatch):
    """Moved by a pixel of the small picture, the network's small picture moves as far; without a gradient."""
    seen: list[Tensor] = []

    def look(small, drawn, strength, moved):
        last = torch.tensor([len(small) - 1])
        seen.extend((small[-1:], moved(last, torch.tensor([[2, 0]])), moved(last, torch.tensor([[1, 0]]))))
        return small

    monkeypatch.setitem(DEGRADATIONS, "look", Degradation(nothing, look))
    run = begin(settings(degradation={"name": "look"}, data={"crop": 40}))
    shake(run)
    advance(run)
    small, even, odd = seen
    inner = (..., slice(8, -8), slice(8, -8))
    assert torch.equal(even[inner], small.roll(1, 2)[inner])
    assert not torch.equal(odd[inner], small[inner])
    assert small.requires_grad
    assert not even.requires_grad


def test_batches_one_after_the_other_do_what_one_large_batch_does(settings):
    """Crops, z and noise are those of the large batch; with clipping, a learned loss and the averaged weights."""
    drawn = {"model": {"latent": "gaussian"}, "degradation": {"name": "noise", "strength": 2.0}}
    drawn |= {"loss": {"latent": 1.0, "luma": 1.0}, "learned": {"patch": 0.1}}
    whole = begin(settings(**drawn, data={"batch": 6}))
    pieces = begin(settings(**drawn, data={"batch": 2}, optim={"accumulate": 3}))
    for run in (whole, pieces):
        shake(run)
    for _ in range(3):
        one, other = advance(whole), advance(pieces)
        assert one.keys() == other.keys()
        assert {"patch", "patch_own", "total", "norm"} <= one.keys()
        for name in one:
            assert float(other[name]) == pytest.approx(float(one[name]), rel=1e-3), name
    for a, b in zip(whole.network.parameters(), pieces.network.parameters(), strict=True):
        assert torch.allclose(a.grad, b.grad, rtol=1e-2, atol=1e-3 * float(a.grad.abs().max()))
        assert torch.allclose(a, b, atol=1e-5)


def test_a_large_batch_is_not_the_first_of_its_pieces(settings):
    """The test above sees nothing if all pieces were one."""
    whole, piece = (begin(settings(data={"batch": batch})) for batch in (6, 2))
    assert advance(whole)["total"] != advance(piece)["total"]


def test_gaussian_weights_train_with_a_fresh_normal_z_at_each_step(settings):
    run = begin(settings(model={"latent": "gaussian"}, data={"batch": 50}))
    _, reference = next(iter(run.crops))
    first, second = (step.draw(run, reference)[0] for _ in range(2))
    assert first.shape == (50, 9, 8, 8)
    assert not torch.equal(first, second)
    assert first.std() == pytest.approx(1.0, rel=0.05)
    assert step.draw(begin(settings(data={"batch": 50})), reference)[0].abs().max() == 0


def test_the_step_compiles_without_a_break(settings):
    """In one graph, as CUDA graphs need it; traced only, since generating code takes minutes."""
    torch._dynamo.reset()
    noise, learned = {"name": "noise", "strength": 1.0}, {"patch": 0.1}
    run = begin(settings(run={"precision": "bfloat16"}, degradation=noise, learned=learned))
    made = step.make_step(run)
    shake(run)
    hr, reference = next(iter(run.crops))
    drawn = step.draw(run, reference)

    def gradients(module: torch.nn.Module) -> list[Tensor]:
        run.network.zero_grad()
        module(hr, reference, *drawn)["total"].backward()
        return [parameter.grad.clone() for parameter in run.network.parameters()]

    compiled = gradients(torch.compile(made, backend="aot_eager", fullgraph=True, dynamic=False))
    for a, b in zip(gradients(made), compiled, strict=True):
        assert torch.allclose(a, b, atol=0.02 * float(a.abs().max()))


@pytest.mark.parametrize("batches, mode", [(1, "reduce-overhead"), (2, "default")])
def test_gradients_that_are_added_up_are_not_left_in_cuda_graphs(settings, monkeypatch, batches, mode):
    seen = {}
    monkeypatch.setattr(step.torch, "compile", lambda module, **options: seen.update(options) or module)
    step.make_step(begin(settings(run={"compile": "on"}, optim={"accumulate": batches})))
    assert seen == {"mode": mode, "dynamic": False}
