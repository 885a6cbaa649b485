"""Several processes on the CPU (gloo) do what one does with the same batch; and none is left behind.

Each process takes seconds to start, so there are few tests here, and each looks at many things.
"""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image

from unshrink.errors import ConfigError
from unshrink.training import config
from unshrink.training import loop as train
from unshrink.training.distributed import ALONE, Processes, choose_device, joined


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def environment(**values) -> dict[str, str]:
    return os.environ | {"OMP_NUM_THREADS": "1", "GLOO_SOCKET_IFNAME": "lo"} | {k: str(v) for k, v in values.items()}


@pytest.fixture
def settings(tmp_path):
    """A tiny run that draws everything that can be drawn, and learns all that can be learned."""
    rng = np.random.default_rng(0)
    (tmp_path / "photos").mkdir()
    for i in range(3):
        noise = rng.integers(0, 256, (12, 10, 3), np.uint8)
        Image.fromarray(noise).resize((40, 48), Image.Resampling.BICUBIC).save(tmp_path / "photos" / f"{i}.png")

    def make(**run) -> config.TrainConfig:
        photos = str(tmp_path / "photos")
        tree = {
            "model": {"scale": 2, "blocks": [2], "growth": 4, "latent": "gaussian"},
            "data": {"train": [photos], "validation": photos, "crop": 16, "batch": 4, "candidates": 2},
            "degradation": {"name": "noise", "strength": 1.0},
            "loss": {"latent": 1.0},
            "learned": {"patch": 0.1},
            "optim": {"name": "adam", "warmup": 0.0, "schedule": "step", "milestones": [], "average": 0.5}
            | {"accumulate": 2},
            "run": {"steps": 4, "log_every": 1, "threads": 1, "precision": "float32", **run},
        }
        return config.from_dict(tree)

    return make


# Gradients of the first step, where the network is far from its start, so that every subnet takes part.
GRADIENTS = """
import sys, torch
from unshrink.training import config, step
from unshrink.training import loop as train
from unshrink.training.distributed import joined
made, out = config.load(sys.argv[1]), sys.argv[2]
with joined("cpu") as processes:
    run = train.start(made, False, processes)
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in run.network.parameters():
            parameter.add_(0.05 * torch.randn(parameter.shape, generator=generator))
    values = train.advance(run, step.make_step(run), *next(iter(run.crops)))
    losses = processes.mean({name: float(value) for name, value in values.items()})
    both = [*run.network.parameters(), *run.learned.parameters()]
    torch.save((losses, [parameter.grad.clone() for parameter in both]), f"{out}.{processes.rank}")
"""


def test_gradients_and_losses_of_two_processes_are_those_of_one(settings, tmp_path):
    path, port, found = tmp_path / "config.toml", free_port(), []
    for count in (1, 2):
        path.write_text(config.to_toml(settings(folder=str(tmp_path / f"run{count}"))))
        alone = [environment()]
        pair = [
            environment(RANK=rank, LOCAL_RANK=rank, WORLD_SIZE=2, MASTER_ADDR="127.0.0.1", MASTER_PORT=port)
            for rank in range(2)
        ]
        command = [sys.executable, "-c", GRADIENTS, str(path), str(tmp_path / f"gradients{count}")]
        workers = [subprocess.Popen(command, env=env) for env in (alone if count == 1 else pair)]
        assert [worker.wait(120) for worker in workers] == [0] * count
        found += [torch.load(tmp_path / f"gradients{count}.{rank}") for rank in range(count)]
    (losses, gradients), *shared = found
    assert all(gradient.abs().sum() > 0 for gradient in gradients)
    for their_losses, their_gradients in shared:
        assert their_losses == pytest.approx(losses, rel=1e-5)
        for one, two in zip(gradients, their_gradients, strict=True):
            assert torch.allclose(one, two, rtol=1e-4, atol=1e-6 * float(one.abs().max()))


def torchrun(made: config.TrainConfig, *arguments: str, **options) -> subprocess.Popen:
    """The command that the training guide names, with two processes."""
    path = f"{made.run.folder}.toml"
    with open(path, "w") as stream:
        stream.write(config.to_toml(made))
    launch = ["torch.distributed.run", "--nproc-per-node=2", "--master-addr=127.0.0.1", f"--master-port={free_port()}"]
    command = [sys.executable, "-m", *launch, "-m", "unshrink", "train", path, *arguments]
    return subprocess.Popen(command, env=environment(), stderr=subprocess.PIPE, text=True, **options)


def rows(made: config.TrainConfig) -> list[dict]:
    path = os.path.join(made.run.folder, "log.jsonl")
    return [json.loads(line) for line in open(path)] if os.path.exists(path) else []


def checkpoint(made: config.TrainConfig) -> dict:
    return torch.load(os.path.join(made.run.folder, "checkpoint.pt"), weights_only=True)


def test_torchrun_trains_as_one_process_does_stops_together_and_goes_on_alone(settings, tmp_path):
    endless = settings(folder=str(tmp_path / "pair"), steps=10**6, validate_every=1e9)
    launched = torchrun(endless)
    deadline = time.monotonic() + 120
    while sum("total" in row for row in rows(endless)) < 4 and time.monotonic() < deadline:
        time.sleep(0.05)
    launched.send_signal(signal.SIGINT)
    said = launched.communicate(timeout=60)[1]
    assert "saved, go on with --resume" in said
    assert said.count("from step 0") == 1, "one process alone reports"

    steps = checkpoint(endless)["position"]["step"]
    assert steps >= 4
    assert [row["step"] for row in rows(endless) if "total" in row] == list(range(1, steps + 1)), "one log of one run"
    same = replace(endless, run=replace(endless.run, folder=str(tmp_path / "same"), steps=steps))
    train.train(same)  # by the same schedule, alone
    for of_pair, of_one in zip(rows(endless), rows(same), strict=False):
        for key in of_pair.keys() - {"seconds"}:
            assert of_pair[key] == pytest.approx(of_one[key], rel=1e-3), key
    for key, value in checkpoint(same)["network"].items():
        assert torch.allclose(value, checkpoint(endless)["network"][key], atol=1e-5), key
    for key, value in checkpoint(same)["learned"]["losses"]["patch"].items():
        assert torch.allclose(value, checkpoint(endless)["learned"]["losses"]["patch"][key], atol=1e-4), key
    assert checkpoint(same)["crops"] == checkpoint(endless)["crops"]

    finished = replace(endless, run=replace(endless.run, steps=steps + 2))
    path = train.train(finished, resume=True)  # the checkpoint of two processes serves one
    assert path is not None
    assert checkpoint(finished)["position"]["step"] == steps + 2


def test_a_killed_run_goes_on_from_a_checkpoint_of_its_last_steps(settings, tmp_path):
    """Killed in the middle of anything, most of all of saving."""
    made = settings(folder=str(tmp_path / "killed"), checkpoint_every=0.0, steps=10**6, validate_every=1e9)
    path = tmp_path / "killed.toml"
    path.write_text(config.to_toml(made))
    for again in ([], ["--resume"]):
        before = len(rows(made))
        command = [sys.executable, "-m", "unshrink", "train", str(path), "-q", *again]
        process = subprocess.Popen(command, env=environment())
        deadline = time.monotonic() + 120
        while len(rows(made)) < before + 8 and time.monotonic() < deadline:
            time.sleep(0.01)
        process.send_signal(signal.SIGKILL)
        process.wait()
        logged, saved = rows(made)[-1], checkpoint(made)["position"]
        assert saved["step"] >= logged["step"] - 1, "no step is lost but the one in hand"
        assert saved["seconds"] > 0
    done = replace(made, run=replace(made.run, steps=saved["step"] + 1))
    assert train.train(done, resume=True) is not None


def test_a_batch_that_cannot_be_shared_is_refused():
    assert [Processes(rank, 3).share(6) for rank in range(3)] == [slice(0, 2), slice(2, 4), slice(4, 6)]
    assert [Processes(rank, 3).share(6, 2) for rank in range(3)] == [slice(0, 4), slice(4, 8), slice(8, 12)]
    with pytest.raises(ConfigError, match=r"data\.batch is 16: must be a multiple of the 3 processes"):
        Processes(0, 3).share(16)


def test_a_process_alone_agrees_with_itself(monkeypatch):
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    with joined("cpu") as processes:
        assert processes == ALONE
    assert ALONE.largest(True, 2.5) == [1.0, 2.5]
    assert ALONE.mean({"a": 2.0}) == {"a": 2.0}
    assert ALONE.spread(abs, [-1, -2]) == [1, 2]
    assert ALONE.from_first(lambda: 5) == 5


def test_devices_are_chosen_or_refused_with_a_reason():
    assert choose_device("auto") == ("cuda" if torch.cuda.is_available() else "cpu")
    assert choose_device("cpu") == "cpu"
    with pytest.raises(ConfigError, match=r"run\.device = 'gpu' cannot be used: .*say cpu, cuda or auto"):
        choose_device("gpu")
    if not torch.cuda.is_available():
        with pytest.raises(ConfigError, match=r"run\.device = 'cuda' cannot be used"):
            choose_device("cuda")
