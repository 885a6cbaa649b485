import itertools
import json
import os
import signal

import numpy as np
import pytest
import torch
from PIL import Image

from unshrink import weights
from unshrink.errors import ConfigError
from unshrink.network.network import build
from unshrink.training import config
from unshrink.training import loop as train


@pytest.fixture
def settings(tmp_path):
    """A configuration of a tiny run, with any values replaced."""
    rng = np.random.default_rng(0)
    (tmp_path / "photos").mkdir()
    for i in range(3):
        y, x = np.mgrid[:40, :48]
        waves = sum(np.sin(a * x + b * y) for a, b in rng.normal(scale=0.6, size=(4, 2)))
        picture = np.uint8(np.where(waves > 0, 220, 30))[..., None].repeat(3, axis=2)  # sharp edges: much to learn
        Image.fromarray(picture).save(tmp_path / "photos" / f"{i}.png")

    def make(**changes) -> config.TrainConfig:
        photos = str(tmp_path / "photos")
        tree = {
            "model": {"scale": 2, "blocks": [2], "growth": 4},
            "data": {"train": [photos], "validation": photos, "crop": 16, "batch": 2, "candidates": 2},
            "loss": {},
            "optim": {"name": "muon", "lr": 1e-3, "clip_factor": 2.0},
            "run": {"name": "tiny", "folder": str(tmp_path / "run"), "steps": 4, "log_every": 1, "threads": 1},
        }
        for section, values in changes.items():
            tree[section] |= values
        return config.from_dict(tree)

    return make


def assert_same(a, b, where=""):
    """Equal to the last bit, through any nesting."""
    assert type(a) is type(b), where
    if isinstance(a, torch.Tensor):
        assert torch.equal(a, b), where
    elif isinstance(a, dict):
        assert a.keys() == b.keys(), where
        for key in a:
            assert_same(a[key], b[key], f"{where}.{key}")
    elif isinstance(a, list):
        for i, (x, y) in enumerate(zip(a, b, strict=True)):
            assert_same(x, y, f"{where}[{i}]")
    else:
        assert a == b, where


def checkpoint(folder) -> dict:
    state = torch.load(os.path.join(folder, "checkpoint.pt"), weights_only=True)
    del state["config"]["run"]["folder"], state["progress"]["seconds"], state["progress"]["reserve"]
    return state


@pytest.mark.parametrize("optimiser", ["adam", "muon"])
@pytest.mark.parametrize("latent", ["zero", "gaussian"])
def test_four_steps_equal_two_and_two_more_bit_for_bit(settings, tmp_path, optimiser, latent):
    changes = {"optim": {"name": optimiser}, "model": {"latent": latent}, "loss": {"lr_noise": 2.0}}
    whole, parts = (
        settings(**changes, run={"folder": str(tmp_path / name), "precision": "float32"}) for name in ("whole", "parts")
    )
    train.train(whole)

    def stop_after_two(line: str) -> None:
        if line.startswith("step 2 "):
            os.kill(os.getpid(), signal.SIGINT)

    assert train.train(parts, report=stop_after_two) is None
    assert checkpoint(parts.run.folder)["progress"]["step"] == 2
    assert train.train(parts, resume=True) is not None
    assert_same(checkpoint(whole.run.folder), checkpoint(parts.run.folder))
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler, "the handler of before must be back"


def test_training_learns_and_ships_what_it_measured(settings):
    lines = []
    made = settings(
        run={"steps": 120, "log_every": 50},
        optim={"lr": 3e-3},
        model={"growth": 8},
        data={"batch": 8},
        loss={"guide": 1.0},
    )
    path = train.train(made, report=lines.append)
    made = weights.load(path)
    shipped = next(iter(made.about["figures"].values()))
    untrained = train.validate(build("irn", made.config), settings().data.validation, "cpu")
    assert shipped["psnr_y"] > untrained.psnr_y + 1
    assert all(tensor.dtype == np.float16 for tensor in made.tensors.values())
    network = build("irn", made.config)
    network.load_state_dict({name: torch.from_numpy(value).float() for name, value in made.tensors.items()})
    assert train.validate(network, settings().data.validation, "cpu").psnr_y == pytest.approx(shipped["psnr_y"])
    assert made.about["training"]["steps"] == 120
    assert any("steps/s" in line and "min left" in line for line in lines)


def test_the_run_folder_tells_the_whole_story(settings, tmp_path):
    made = settings(run={"validate_every": 0.0})
    train.train(made)
    rows = [json.loads(line) for line in (tmp_path / "run" / "log.jsonl").read_text().splitlines()]
    assert [row["step"] for row in rows if "total" in row] == [1, 2, 3, 4]
    assert all({"psnr_y", "lr_psnr_y"} <= row.keys() for row in rows if "ssim_y" in row)
    assert sum("ssim_y" in row for row in rows) == 4
    assert config.load(tmp_path / "run" / "config.toml").optim == made.optim
    assert list((tmp_path / "run").glob("events*")), "TensorBoard events"


def test_an_earlier_run_is_not_overwritten(settings):
    train.train(settings())
    with pytest.raises(ConfigError, match="go on with --resume"):
        train.train(settings())


def test_a_checkpoint_of_another_network_is_refused(settings):
    train.train(settings())
    with pytest.raises(ConfigError, match="of another network"):
        train.train(settings(model={"blocks": [1]}), resume=True)
    with pytest.raises(ConfigError, match=r"of another optimiser \(muon\)"):
        train.train(settings(optim={"name": "adam"}), resume=True)


def test_a_resumed_run_takes_its_rates_from_the_configuration(settings):
    train.train(settings())
    run = train.start(settings(optim={"lr": 7e-4, "bias_lr": 5e-4}, run={"steps": 8}), resume=True)
    assert [group["peak"] for optimizer in run.optimizers for group in optimizer.param_groups] == [7e-4, 5e-4]
    assert run.optimizers[0].state, "while the averages of the optimisers are kept"


def make_run(settings, **changes) -> train.Run:
    return train.start(settings(**changes), resume=False)


def advance(run: train.Run, poison: float = 0.0, scale: float = 1.0) -> dict[str, float]:
    step = train.TrainStep(run.network, run.config.loss, "float32")
    hr, reference = next(iter(run.crops))
    return train.advance(run, step, scale * hr + poison, reference)


@pytest.mark.parametrize("poison", [float("nan"), float("inf")])
def test_a_step_that_is_not_finite_is_skipped_and_counted(settings, poison):
    run = make_run(settings, optim={"warmup": 0.0})
    advance(run)
    before = [p.clone() for p in run.network.parameters()]
    advance(run, poison)
    assert run.progress.skipped == 1
    assert all(torch.equal(a, b) for a, b in zip(before, run.network.parameters(), strict=True))
    advance(run)
    assert run.progress.skipped == 1
    assert any(not torch.equal(a, b) for a, b in zip(before, run.network.parameters(), strict=True))


def test_an_exploding_step_is_skipped_but_a_lasting_rise_is_not(settings):
    run = make_run(
        settings, optim={"warmup": 0.0, "lr": 0.0, "bias_lr": 0.0, "skip_factor": 10.0}, run={"steps": 10**6}
    )
    for _ in range(train.SETTLED):
        advance(run)
    usual = run.progress.norm
    assert run.progress.skipped == 0
    assert advance(run, scale=1e4)["norm"] > 100 * usual
    assert run.progress.skipped == 1
    assert run.progress.norm < 2 * usual, "one explosion must not lift the mean"
    advance(run)
    assert run.progress.skipped == 1
    for _ in range(200):
        advance(run, scale=1e4)
    assert run.progress.skipped < 100, "what lasts is let through in the end"
    skipped = run.progress.skipped
    advance(run, scale=1e4)
    assert run.progress.skipped == skipped


def test_no_step_is_called_exploding_before_the_mean_has_settled_nor_with_the_rule_off(settings):
    run = make_run(settings)
    run.progress.norm, run.progress.step = 1.0, train.SETTLED - 1
    assert train.skip_limit(run) == float("inf")
    run.progress.step += 1
    assert train.skip_limit(run) == 10.0
    off = make_run(settings, optim={"skip_factor": 0.0})
    off.progress.norm, off.progress.step = 1.0, 10**4
    assert train.skip_limit(off) == float("inf")


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
    run = make_run(settings, optim=changes)
    run.progress.norm = mean_norm
    assert train.clip_limit(run) == limit


def test_gradients_are_clipped_by_their_global_norm(settings):
    run = make_run(settings, optim={"name": "adam", "clip_norm": 1e-3, "clip_factor": 0.0})
    assert advance(run)["norm"] > 1e-3
    grads = torch.cat([p.grad.flatten() for p in run.network.parameters() if p.grad is not None])
    assert grads.norm() == pytest.approx(1e-3, rel=1e-3)


def test_averaged_weights_follow_the_network(settings):
    run = make_run(settings, optim={"warmup": 0.0, "average": 0.5})
    before = [p.clone() for p in run.average.parameters()]
    advance(run)
    triples = zip(before, run.average.parameters(), run.network.parameters(), strict=True)
    decay = 1 / 11  # still ramping up at the first step
    assert all(torch.allclose(a, decay * b + (1 - decay) * n, atol=1e-7) for b, a, n in triples)


class Clock:
    """A clock that only the steps and validations of a run move on."""

    def __init__(self, monkeypatch, step_takes, validation_takes):
        self.now, self.steps = 100.0, 0
        advance, validate = train.advance, train.validate

        def slow_advance(*args):
            self.steps += 1
            self.now += step_takes(self.steps)
            return advance(*args)

        def slow_validate(*args):
            self.now += validation_takes
            return validate(*args)

        monkeypatch.setattr(train.time, "monotonic", lambda: self.now)
        monkeypatch.setattr(train, "advance", slow_advance)
        monkeypatch.setattr(train, "validate", slow_validate)


@pytest.mark.parametrize(
    "step_takes", [lambda n: 1.0, lambda n: 0.1 * n, lambda n: 4.0 / n], ids=["even", "slower", "faster"]
)
def test_max_time_ends_the_run_its_schedule_and_its_last_validation(settings, monkeypatch, step_takes):
    clock = Clock(monkeypatch, step_takes, validation_takes=3.0)
    changes = {"steps": 10**6, "max_time": 25 / 60, "validate_every": 0.1, "precision": "float32"}
    path = train.train(settings(run=changes, optim={"warmup": 0.2}))
    last = step_takes(clock.steps)
    assert 25 <= clock.now - 100 <= 25 + last, "over by no more than the step in hand"
    rows = [json.loads(line) for line in (path.parent / "log.jsonl").read_text().splitlines()]
    rates = [(row["seconds"], row["rate"]) for row in rows if "rate" in row]
    assert rates[-1][1] <= (last + 0.1) / (0.8 * 22), "the rate has come down to that of the last step"
    assert max(rate for _, rate in rates) > 0.6
    warming = [rate for seconds, rate in rates if seconds < 0.2 * 22]
    assert warming == sorted(warming), "the share of warming up is one of time"


def test_a_time_that_is_over_before_the_first_step_is_an_error(settings, tmp_path):
    with pytest.raises(ConfigError, match="were over before the first step"):
        train.train(settings(run={"max_time": 1e-9}))
    assert not (tmp_path / "run" / "checkpoint.pt").exists(), "which would stand in the way of the next try"


def test_training_can_start_from_weights(settings, tmp_path):
    first = train.train(settings())
    again = settings(run={"folder": str(tmp_path / "again"), "start": str(first)})
    network = train.initial_network(again)
    assert_same(
        {name: value.half() for name, value in network.state_dict().items()},
        {name: torch.from_numpy(value) for name, value in weights.load(first).tensors.items()},
    )
    for other in ({"growth": 8}, {"blocks": [3]}, {"scale": 4, "blocks": [1, 1]}):
        with pytest.raises(ConfigError, match="of another network"):
            train.initial_network(settings(model=other, run={"start": str(first)}))


def test_weights_of_a_smaller_scale_give_the_first_levels(settings):
    first = train.train(settings())
    blocks = settings().model.blocks
    network = train.initial_network(settings(model={"scale": 4, "blocks": [*blocks, 2]}, run={"start": str(first)}))
    smaller = train.initial_network(settings(run={"start": str(first)}))
    hr = torch.rand(1, 3, 16, 16)
    with torch.no_grad():
        x = torch.cat(smaller(hr), dim=1)
        lr, z = network.layers[1 + blocks[0]](x).split([3, 45], dim=1)  # the untrained second level is Haar alone
        assert torch.equal(network(hr)[0], lr)
        assert torch.equal(network(hr)[1], z)


PAIR = {"architecture": "pair", "blocks": 1, "width": 6, "growth": 4}


def test_any_architecture_trains_and_gives_weights(settings, tmp_path):
    made = weights.load(train.train(config.from_dict(config.to_dict(settings()) | {"model": PAIR})))
    assert (made.architecture, made.scale, made.config["width"]) == ("pair", 2, 6)
    assert made.about["training"]["config"]["model"]["architecture"] == "pair"


def test_an_unknown_architecture_or_field_is_refused(settings):
    for model, message in (
        ({"architecture": "srcnn"}, "model.architecture is 'srcnn': allowed are irn, pair"),
        ({**PAIR, "growht": 4}, "unknown key model.growht: did you mean model.growth"),
    ):
        with pytest.raises(ConfigError, match=message):
            config.from_dict({"model": model})


def test_losses_reach_every_parameter(settings):
    run = make_run(settings)
    for parameter in run.network.parameters():
        torch.nn.init.normal_(parameter, std=0.05)
    advance(run)
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in run.network.parameters())


@pytest.mark.parametrize("log", [False, True])
def test_the_total_weighs_the_losses_of_each_crop(settings, log):
    weight = {"luma": 2.0, "guide": 3.0, "latent": 0.5}
    run = make_run(settings, loss={**weight, "log": log})
    hr, reference = next(iter(run.crops))
    step, z = train.TrainStep(run.network, run.config.loss, "float32"), torch.zeros(2, 9, 8, 8)
    with torch.no_grad():
        crops = [step(hr[i : i + 1], reference[i : i + 1], z[i : i + 1]) for i in range(2)]
        both = step(hr, reference, z)
    totals = [crop["reconstruction"] + sum(weight[name] * crop[name] for name in weight) for crop in crops]
    wanted = torch.stack(totals).log() if log else torch.stack(totals)
    assert both["total"] == pytest.approx(wanted.mean().item(), rel=1e-4)


def test_crops_come_in_the_same_order_from_the_same_seed(settings):
    first, second = (make_run(settings, run={"folder": settings().run.folder + name}) for name in "ab")
    for (a, _), (b, _) in zip(itertools.islice(first.crops, 3), itertools.islice(second.crops, 3), strict=True):
        assert torch.equal(a, b)


def test_noise_on_the_small_picture_has_the_stated_size_and_reaches_the_restored_one(settings):
    run = make_run(settings, loss={"lr_noise": 3.0}, data={"batch": 50})
    _, reference = next(iter(run.crops))
    z, noise = train.draw(run, reference)
    assert noise.shape == reference.shape
    assert noise.std() * 255 == pytest.approx(3.0, rel=0.05)
    assert noise.mean().abs() * 255 < 0.1
    step, hr = train.TrainStep(run.network, run.config.loss, "float32"), torch.full((50, 3, 16, 16), 0.5)
    with torch.no_grad():
        quiet, noisy = (step(hr, reference, z, given)["reconstruction"] for given in (None, noise))
    assert noisy > 2 * quiet


def test_gaussian_weights_train_with_a_fresh_normal_z_at_each_step(settings):
    run = make_run(settings, model={"latent": "gaussian"}, data={"batch": 50})
    _, reference = next(iter(run.crops))
    first, second = (train.draw(run, reference)[0] for _ in range(2))
    assert first.shape == (50, 9, 8, 8)
    assert not torch.equal(first, second)
    assert first.std() == pytest.approx(1.0, rel=0.05)
    assert train.draw(make_run(settings, run={"folder": run.config.run.folder + "zero"}), reference)[0].abs().max() == 0


def test_the_step_compiles_without_a_break(settings):
    """In one graph, as CUDA graphs need it; traced only, since generating code takes minutes."""
    torch._dynamo.reset()
    run = make_run(settings, run={"precision": "bfloat16"}, loss={"lr_noise": 1.0})
    step = train.TrainStep(run.network, run.config.loss, "bfloat16")
    for parameter in run.network.parameters():
        torch.nn.init.normal_(parameter, std=0.05)
    hr, reference = next(iter(run.crops))
    drawn = train.draw(run, reference)

    def gradients(module) -> list[torch.Tensor]:
        run.network.zero_grad()
        module(hr, reference, *drawn)["total"].backward()
        return [parameter.grad.clone() for parameter in run.network.parameters()]

    compiled = gradients(torch.compile(step, backend="aot_eager", fullgraph=True, dynamic=False))
    for a, b in zip(gradients(step), compiled, strict=True):
        assert torch.allclose(a, b, atol=0.02 * float(a.abs().max()))
