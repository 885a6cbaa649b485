import functools
import itertools
import json
import os
import signal
from pathlib import Path

import numpy as np
import pytest
import torch

from training_runs import assert_same, begin, draw_photos, tiny
from unshrink import weights
from unshrink.errors import ConfigError
from unshrink.network.network import build
from unshrink.training import config
from unshrink.training import loop as train
from unshrink.training.checkpoint import CHECKPOINT, HELD
from unshrink.training.log import Log

ROOT = Path(__file__).parents[1]


@pytest.fixture
def settings(tmp_path):
    """A configuration of a tiny run, with any values replaced."""
    return functools.partial(tiny, tmp_path / "run", draw_photos(tmp_path / "photos"))


def checkpoint(folder) -> dict:
    state = torch.load(os.path.join(folder, "checkpoint.pt"), weights_only=True)
    del state["config"]["run"]["folder"], state["position"]["seconds"], state["position"]["reserve"]
    return state


@pytest.mark.parametrize(
    "changes",
    [
        {"optim": {"name": "adam"}, "degradation": {"name": "noise", "strength": 2.0}},
        {"model": {"latent": "gaussian"}},
        {
            "model": {"latent": "gaussian"},
            "optim": {"accumulate": 3},
            "degradation": {"name": "noise", "strength": 2.0},
        },
        {"learned": {"patch": 0.1}, "optim": {"name": "adamw", "accumulate": 2}},
    ],
    ids=["adam", "muon", "accumulated", "learned"],
)
def test_four_steps_equal_two_and_two_more_bit_for_bit(settings, tmp_path, changes):
    whole, parts = (settings(**changes, run={"folder": str(tmp_path / name)}) for name in ("whole", "parts"))
    train.train(whole)

    def stop_after_two(line: str) -> None:
        if line.startswith("step 2 "):
            os.kill(os.getpid(), signal.SIGINT)

    assert train.train(parts, report=stop_after_two) is None
    assert checkpoint(parts.run.folder)["position"]["step"] == 2
    assert train.train(parts, resume=True) is not None
    assert_same(checkpoint(whole.run.folder), checkpoint(parts.run.folder))
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler, "the handler of before must be back"


def test_training_learns_and_ships_what_it_measured(settings):
    lines = []
    made = settings(
        run={"steps": 120, "log_every": 50, "precision": "auto"},
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
    (plain,) = (line for line in lines if line.startswith("bicubic both ways: "))
    assert all(name in plain for name in (" dB Y, ", " RGB, ", " Cb, ", " Cr, ", "SSIM ", "colour error "))


def test_the_run_folder_tells_the_whole_story(settings, tmp_path):
    made = settings(run={"validate_every": 0.0})
    train.train(made)
    rows = [json.loads(line) for line in (tmp_path / "run" / "log.jsonl").read_text().splitlines()]
    assert [row["step"] for row in rows if "total" in row] == [1, 2, 3, 4]
    assert all(
        {"psnr_y", "psnr_cb", "colour_error", "lr_psnr_y", "lr_psnr_cr"} <= row.keys()
        for row in rows
        if "ssim_y" in row
    )
    assert sum("ssim_y" in row for row in rows) == 4
    assert config.load(tmp_path / "run" / "config.toml").optim == made.optim
    assert list((tmp_path / "run").glob("events*")), "TensorBoard events"


def test_an_earlier_run_is_not_overwritten(settings):
    train.train(settings())
    with pytest.raises(ConfigError, match="go on with `resume`"):
        train.train(settings())


def test_a_longer_run_goes_on_from_before_the_rate_fell(settings, tmp_path):
    """As if it had been longer from the start: what the fall did is left behind."""
    held = {"warmup": 0.0, "schedule": "linear", "hold": 0.5}
    short = settings(optim=held, run={"folder": str(tmp_path / "short"), "steps": 4})
    train.train(short)
    folder = tmp_path / "short"
    (folder / HELD).replace(folder / CHECKPOINT)
    longer = {"steps": 8}
    train.train(settings(optim=held, run={"folder": str(folder), **longer}), resume=True)
    train.train(settings(optim=held, run={"folder": str(tmp_path / "whole"), **longer}))
    assert_same(checkpoint(folder)["network"], checkpoint(tmp_path / "whole")["network"])


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


def test_a_learned_loss_can_be_added_to_a_run_that_goes_on(settings):
    train.train(settings())
    run = train.start(settings(learned={"patch": 0.1}, run={"steps": 8}), resume=True)
    assert run.position.step == 4
    assert not run.learned.optimizers[0].state, "its own optimiser begins"
    train.loop(run, Log(None), lambda line: None, lambda: False, itertools.count(1.0).__next__)
    assert run.learned.optimizers[0].state
    train.save(run)
    train.train(settings(run={"steps": 9}), resume=True)  # and be left out again


def test_one_picture_can_stand_for_a_folder(settings):
    made = settings()
    one = f"{made.data.train[0]}/0.png"
    run = begin(settings(data={"train": [one], "validation": one}))
    assert [str(path) for path in run.crops.files] == [one]
    alone, all_of_them = (train.validate(run.network, at, "cpu") for at in (one, made.data.validation))
    assert alone != all_of_them


def test_every_configuration_of_the_repository_can_be_read():
    paths = sorted((ROOT / "configs").glob("*.toml"))
    assert {config.load(path).model.scale for path in paths} == {2, 3, 4, 8}


def test_the_toy_of_the_training_page_beats_bicubic_within_a_few_steps(tmp_path, monkeypatch):
    monkeypatch.chdir(ROOT)
    few = ["run.max_time=0", "run.steps=40", f"run.folder={tmp_path}", "run.precision=float32"]
    path = train.train(config.load("configs/toy.toml", few))
    reached = weights.load(path).about["figures"]["chelsea.png"]
    assert reached["psnr_y"] > train.bicubic("examples/chelsea.png", 2).psnr_y + 0.3


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
    rates = [(row["seconds"], row["learning_rate"]) for row in rows if "learning_rate" in row]
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


def test_crops_come_in_the_same_order_from_the_same_seed(settings):
    first, second = (begin(settings(run={"folder": settings().run.folder + name})) for name in "ab")
    for (a, _), (b, _) in zip(itertools.islice(first.crops, 3), itertools.islice(second.crops, 3), strict=True):
        assert torch.equal(a, b)
