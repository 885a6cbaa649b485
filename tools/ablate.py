"""Runs the trials of a study, one after the other, and writes what each gave.

    python tools/ablate.py results/ablations/plain-x2.toml             # every trial that has not been run yet
    python tools/ablate.py results/ablations/plain-x2.toml --only luma # these alone
    python tools/ablate.py results/ablations/plain-x2.toml --collect   # none: only writes the rows of finished ones
    python tools/ablate.py results/ablations/plain-x2.toml --time      # first, where trials share a budget

A study is a TOML file: ``config`` (a training configuration), ``set`` (what all trials change in it), and
``[[trial]]`` tables of ``name``, ``why`` and ``set``.  Runs go to ``runs/<study>/<trial>``; their figures to the
file beside the study, ``results/ablations/<study>.json``, beside those of earlier runs.  Two calls side by side share
the work.

With ``budget``, every trial gets as many steps as that many processor seconds buy.  Processor seconds of one and the
same step vary by a half with what else the machine does, so ``--time`` times a step of every trial in turn with all
others, round after round, and keeps the lower quartiles in ``<study>.times.json``; and those of a pass of 512x512
pixels down, as torch runs it in bfloat16.
"""

import argparse
import json
import subprocess
import sys
import time
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

from unshrink.network.architectures import to_dict
from unshrink.network.layers import COLOURS
from unshrink.network.network import Network
from unshrink.runtime.backends.torch import Torch
from unshrink.training.config import TrainConfig, load
from unshrink.training.loop import parameters
from unshrink.training.optim import make_optimizers, set_rates
from unshrink.training.step import TrainStep, to_device
from unshrink.weights import Weights

ROOT = Path(__file__).parents[1]
ROUNDS = 4

Times = dict[str, dict[str, float]]  # of each trial: processor seconds of a "step" and a "pass", and its "parameters"


class Timed:
    """One trial, ready to make steps and passes."""

    def __init__(self, config: TrainConfig) -> None:
        self.network = Network(config.model).to(memory_format=torch.channels_last)
        self.step, self.optimizers = TrainStep(self.network, config), make_optimizers(self.network, config.optim)
        n, side, small = config.data.batch, config.data.crop, config.data.crop // config.model.scale
        hr, reference = torch.rand(n, COLOURS, side, side), torch.rand(n, COLOURS, small, small)
        self.batch = to_device(hr, "cpu"), to_device(reference, "cpu"), self.network.latent(reference), hr.new_empty(0)
        tensors = {name: value.numpy() for name, value in self.network.state_dict().items()}
        self.weights = Weights("timed", config.model.architecture, to_dict(config.model), tensors)
        self.backend = Torch(self.weights, threads=1, precision="bfloat16")

    def advance(self) -> None:
        """One step of training; the parameters stay as they are, so that values stay small."""
        self.step(*self.batch)["total"].backward()
        set_rates(self.optimizers, 0.0)
        for optimizer in self.optimizers:
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)

    def downscale(self) -> None:
        """One pass of 512x512 pixels."""
        x = np.random.default_rng(0).random((1, COLOURS, 512, 512), np.float32)
        self.backend.run(self.weights.steps["down"], x)


def config_of(study: dict[str, Any], trial: dict[str, Any]) -> TrainConfig:
    """What a trial trains."""
    return load(ROOT / study["config"], [*study["set"], *trial["set"]])


def measure(study: dict[str, Any], path: Path) -> None:
    """Processor seconds of a step and of a pass of every trial, in rounds; the first of each round is not counted."""
    torch.set_num_threads(1)
    trials = {trial["name"]: Timed(config_of(study, trial)) for trial in study["trial"]}
    taken: dict[str, list[list[float]]] = {name: [[], []] for name in trials}
    for _ in range(ROUNDS):
        for name, trial in trials.items():
            for kept, run in zip(taken[name], (trial.advance, trial.downscale), strict=True):
                kept += [seconds(run) for _ in range(3)][1:]
    quartiles = {name: [sorted(kept)[len(kept) // 4] for kept in pair] for name, pair in taken.items()}
    sizes = {name: parameters(trial.network) for name, trial in trials.items()}
    times = {
        name: {"step": step, "pass": one_pass, "parameters": sizes[name]}
        for name, (step, one_pass) in quartiles.items()
    }
    path.write_text(json.dumps(times, indent=1) + "\n")


def seconds(run: Callable[[], None]) -> float:
    """Processor seconds that a call takes."""
    began = time.process_time()
    run()
    return time.process_time() - began


def command(study: dict[str, Any], trial: dict[str, Any], folder: Path, times: Times) -> list[str]:
    """The command of one trial, as it can be typed."""
    settings = [*study["set"], *trial["set"], f"run.name={trial['name']}", f"run.folder={folder}"]
    if "budget" in study:
        settings += [f"run.steps={round(study['budget'] / times[trial['name']]['step'])}", "run.max_time=0"]
    return ["unshrink", "train", study["config"], *(word for setting in settings for word in ("--set", setting))]


def run(study: dict[str, Any], trial: dict[str, Any], folder: Path, times: Times) -> None:
    """One trial, unless its folder shows that it was begun."""
    try:
        (ROOT / folder).mkdir(parents=True)
    except FileExistsError:
        return
    words = command(study, trial, folder, times)
    print(" ".join(words), flush=True)
    subprocess.run([sys.executable, "-m", *words], cwd=ROOT, check=True)


def row(trial: dict[str, Any], folder: Path, times: Times) -> dict[str, Any] | None:
    """What a finished trial gave, or None."""
    log = ROOT / folder / "log.jsonl"
    lines = [json.loads(line) for line in log.read_text().splitlines()] if log.exists() else []
    if not lines or "final" not in lines[-1]:
        return None
    taken = max(line.get("seconds", 0.0) for line in lines)
    return {
        "name": trial["name"],
        "why": trial["why"],
        "set": trial["set"],
        "steps": lines[-1]["step"],
        "minutes": round(taken / 60, 1),
        **times.get(trial["name"], {}),
        **{name: round(value, 3) for name, value in lines[-1]["final"].items()},
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("study", type=Path)
    parser.add_argument("--only", nargs="+", metavar="TRIAL")
    parser.add_argument("--collect", action="store_true")
    parser.add_argument("--time", action="store_true")
    arguments = parser.parse_args()
    study, timed = tomllib.loads(arguments.study.read_text()), arguments.study.with_suffix(".times.json")
    if arguments.time:
        return measure(study, timed)
    times: Times = json.loads(timed.read_text()) if timed.exists() else {}
    folders = {trial["name"]: Path("runs") / arguments.study.stem / trial["name"] for trial in study["trial"]}
    for trial in study["trial"]:
        if not arguments.collect and (not arguments.only or trial["name"] in arguments.only):
            run(study, trial, folders[trial["name"]], times)
    figures = arguments.study.with_suffix(".json")
    earlier = {r["name"]: r for r in json.loads(figures.read_text())} if figures.exists() else {}
    rows = [row(trial, folders[trial["name"]], times) or earlier.get(trial["name"]) for trial in study["trial"]]
    figures.write_text(json.dumps([r for r in rows if r], indent=1) + "\n")
    return None


if __name__ == "__main__":
    main()
