"""Trials at equal processor time on a busy machine: a study of tools/ablate.py with a ``budget``.

    python tools/study.py time results/ablations/plain-x2.toml      # seconds of a step and of a pass of every trial's shape
    python tools/study.py run results/ablations/plain-x2.toml       # every trial not run yet, one after the other
    python tools/study.py run results/ablations/plain-x2.toml --only w96 d2
    python tools/study.py collect results/ablations/plain-x2.toml   # rows of the finished ones

Processor seconds of one and the same step vary by a half with what else the machine does.  So the step of every shape
is timed in turn with all others, round after round, and its lower quartile decides how many steps the budget buys.
"""

import argparse
import json
import subprocess
import sys
import time
import tomllib
from pathlib import Path
from typing import Any

import torch

from unshrink import config as configuration
from unshrink import weights
from unshrink.config import TrainConfig
from unshrink.models import IRN
from unshrink.optim import make_optimizers
from unshrink.train import TrainStep, parameters
from unshrink.validation import validate

ROOT = Path(__file__).parents[1]
KODAK = ROOT / "../shared/data/test/Kodak12odd"
FIGURES = ("psnr_y", "psnr_rgb", "chroma", "lr_psnr_y", "lr_chroma")


def config_of(study: dict[str, Any], trial: dict[str, Any]) -> TrainConfig:
    return configuration.load(ROOT / study["config"], [*study["set"], *trial["set"]])


def shape_of(study: dict[str, Any], trial: dict[str, Any]) -> str:
    """What decides how long a step takes, as text."""
    config = config_of(study, trial)
    return repr((config.model, config.data.batch, config.data.crop))


class Timed:
    """One shape, ready to step and to pass."""

    def __init__(self, config: TrainConfig) -> None:
        self.network = IRN(config.model).to(memory_format=torch.channels_last)
        self.step = TrainStep(self.network, config.loss, "bfloat16")
        self.optimizers = make_optimizers(self.network, config.optim)
        n, side, scale = config.data.batch, config.data.crop, config.model.scale
        layout = torch.channels_last
        self.hr = torch.rand(n, 3, side, side).contiguous(memory_format=layout)
        self.reference = torch.rand(n, 3, side // scale, side // scale).contiguous(memory_format=layout)
        self.z = self.network.latent(self.reference)
        self.large = torch.rand(1, 3, 512, 512).contiguous(memory_format=layout)
        self.steps: list[float] = []
        self.passes: list[float] = []

    def run(self, times: int) -> None:
        for number in range(times + 1):  # the first of a round is not counted: caches are cold
            began = time.process_time()
            for optimizer in self.optimizers:
                optimizer.zero_grad(set_to_none=True)
            self.step(self.hr, self.reference, self.z)["total"].backward()
            for optimizer in self.optimizers:
                for group in optimizer.param_groups:
                    group["lr"] = 0.0
                optimizer.step()
            if number:
                self.steps.append(time.process_time() - began)

    @torch.no_grad()
    def forward(self, times: int) -> None:
        for number in range(times + 1):
            began = time.process_time()
            with torch.autocast("cpu", torch.bfloat16):
                self.network(self.large)
            if number:
                self.passes.append(time.process_time() - began)


def quartile(values: list[float]) -> float:
    return sorted(values)[len(values) // 4]


def measure(study: dict[str, Any], path: Path, rounds: int) -> None:
    """Times all shapes; with earlier times, only the new ones, beside the first and in proportion to it."""
    shapes = {shape_of(study, trial): config_of(study, trial) for trial in study["trial"]}
    first, earlier = next(iter(shapes)), json.loads(path.read_text()) if path.exists() else {}
    shapes = {shape: config for shape, config in shapes.items() if shape == first or shape not in earlier}
    timed = {shape: Timed(config) for shape, config in shapes.items()}
    for _ in range(rounds):
        for one in timed.values():
            one.run(3)
            one.forward(2)
    times = {shape: [quartile(one.steps), quartile(one.passes)] for shape, one in timed.items()}
    if first in earlier:
        scale = [now / before for now, before in zip(times[first], earlier[first], strict=True)]
        times = {shape: [value / s for value, s in zip(pair, scale, strict=True)] for shape, pair in times.items()}
    times = earlier | times
    path.write_text(json.dumps(times, indent=1) + "\n")
    for shape, (step, forward) in times.items():
        print(f"{1e3 * step:7.1f} ms a step, {1e3 * forward:7.1f} ms a pass: {shape}")


def train(study: dict[str, Any], trial: dict[str, Any], folder: Path, seconds: float) -> None:
    try:
        (ROOT / folder).mkdir(parents=True)
    except FileExistsError:
        return
    settings = [*study["set"], *trial["set"], f"run.name={trial['name']}", f"run.folder={folder}"]
    settings += [f"run.steps={round(study['budget'] / seconds)}", "run.max_time=0.0"]
    words = ["unshrink", "train", study["config"], *(word for setting in settings for word in ("--set", setting))]
    print(" ".join(words), flush=True)
    began = time.monotonic()
    subprocess.run([sys.executable, "-m", *words], cwd=ROOT, check=True)
    print(f"{(time.monotonic() - began) / 60:.1f} minutes", flush=True)


@torch.no_grad()
def kodak(folder: Path, trial: dict[str, Any]) -> dict[str, float]:
    """Figures of four Kodak pictures, kept beside the weights."""
    kept = folder / "kodak4.json"
    if not kept.exists():
        few = folder / "kodak4"
        few.mkdir(exist_ok=True)
        for picture in sorted(KODAK.iterdir())[:4]:
            (few / picture.name).unlink(missing_ok=True)
            (few / picture.name).symlink_to(picture.resolve())
        network = network_of(weights.load(folder / f"{trial['name']}.safetensors"))
        result = validate(network, str(few), "cpu")
        kept.write_text(json.dumps({name: getattr(result, name) for name in FIGURES}))
    return dict(json.loads(kept.read_text()))


def network_of(given: weights.Weights) -> IRN:
    config = {**given.config, "blocks": tuple(given.config["blocks"])}
    network = IRN(configuration.IRNConfig(**config))
    network.load_state_dict({name: torch.from_numpy(value).float() for name, value in given.tensors.items()})
    return network.to(memory_format=torch.channels_last)


def row(study: dict[str, Any], trial: dict[str, Any], folder: Path, times: list[float]) -> dict[str, Any] | None:
    """What a finished trial gave, or None."""
    log = folder / "log.jsonl"
    lines = [json.loads(line) for line in log.read_text().splitlines()] if log.exists() else []
    if not lines or "final" not in lines[-1]:
        return None
    final, steps = lines[-1]["final"], lines[-1]["step"]
    config = config_of(study, trial)
    final["chroma"] = (final["psnr_cb"] + final["psnr_cr"]) / 2
    final["lr_chroma"] = (final["lr_psnr_cb"] + final["lr_psnr_cr"]) / 2
    return {
        "name": trial["name"],
        "why": trial["why"],
        "set": trial["set"],
        "steps": steps,
        "crops": config.data.batch,
        "processor_minutes": round(steps * times[0] / 60, 2),
        "parameters": parameters(IRN(config.model)),
        "step_ms": round(1e3 * times[0], 1),
        "forward_ms_512": round(1e3 * times[1], 1),
        **{name: round(value, 3) for name, value in final.items()},
        **{f"kodak_{name}": round(value, 3) for name, value in kodak(folder, trial).items()},
    }


def collect(study: dict[str, Any], path: Path, times: dict[str, list[float]]) -> None:
    figures = path.with_suffix(".json")
    earlier = {r["name"]: r for r in json.loads(figures.read_text())} if figures.exists() else {}
    rows = []
    for trial in study["trial"]:
        folder = ROOT / "runs" / path.stem / trial["name"]
        seconds = times.get(shape_of(study, trial))
        rows.append((row(study, trial, folder, seconds) if seconds else None) or earlier.get(trial["name"]))
    figures.write_text(json.dumps([r for r in rows if r], indent=1) + "\n")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("time", "run", "collect"))
    parser.add_argument("study", type=Path)
    parser.add_argument("--only", nargs="+", metavar="TRIAL")
    parser.add_argument("--rounds", type=int, default=6)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    study = tomllib.loads(arguments.study.read_text())
    kept = arguments.study.with_suffix(".times.json")
    if arguments.what == "time":
        return measure(study, kept, arguments.rounds)
    times = json.loads(kept.read_text())
    if arguments.what == "run":
        for trial in study["trial"]:
            seconds = times.get(shape_of(study, trial))
            if seconds and (not arguments.only or trial["name"] in arguments.only):
                train(study, trial, Path("runs") / arguments.study.stem / trial["name"], seconds[0])
                collect(study, arguments.study, times)
    return collect(study, arguments.study, times)


if __name__ == "__main__":
    main()
