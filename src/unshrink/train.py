"""The training loop.

    unshrink train configs/irn-x2.toml                       # as the file says
    unshrink train configs/irn-x2.toml --max-time 30         # half an hour, its schedule ending with it
    unshrink train configs/irn-x2.toml --resume              # goes on from the run folder's checkpoint, bit for bit

The run folder holds ``config.toml`` (every setting), ``log.jsonl``, TensorBoard events, ``checkpoint.pt`` and, at the
end, ``<name>.safetensors``.  A checkpoint holds everything that the next step depends on: network, averaged weights,
optimisers, random states, the place in the sequence of crops, and the time used.
"""

import copy
import json
import os
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from types import FrameType
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from unshrink import losses, weights
from unshrink.config import LossConfig, TrainConfig, to_dict, to_toml
from unshrink.data import Crops, read_rgb
from unshrink.errors import ConfigError
from unshrink.evaluate import Figures, figures, mean, to_uint8
from unshrink.files import find_pictures
from unshrink.layers import quantize
from unshrink.models import IRN
from unshrink.optim import make_optimizers, rate
from unshrink.resize import crop_to_multiple

Report = Callable[[str], None]


class TrainStep(nn.Module):
    """Large pictures in, losses out: the whole of one step, so that data parallelism can wrap it.

    Wrapping the network alone would not do: gradients are synchronised in ``forward`` only, and a step runs the
    network in both directions.
    """

    def __init__(self, network: IRN, loss: LossConfig, precision: str) -> None:
        super().__init__()
        self.network, self.loss, self.precision = network, loss, precision

    def forward(self, hr: Tensor, reference: Tensor, generator: torch.Generator) -> dict[str, Tensor]:
        """hr (N, 3, H, W) and its bicubic reference (N, 3, H/s, W/s) -> losses by name, "total" among them."""
        with torch.autocast(hr.device.type, torch.bfloat16, enabled=self.precision == "bfloat16"):
            lr, z = self.network(hr)
            restored = self.network.upscale(quantize(lr), generator)
        parts = {
            "reconstruction": losses.reconstruction(restored, hr, self.loss.reconstruction),
            "guide": losses.guidance(lr, reference, hr, self.loss.guide_penalty),
            "latent": losses.latent(z, hr),
        }
        total = parts["reconstruction"] + self.loss.guide * parts["guide"] + self.loss.latent * parts["latent"]
        return {"total": total, **parts}


@dataclass
class Progress:
    """Where a run is: steps made, seconds used, steps skipped, and the running mean of the gradient's norm."""

    step: int = 0
    seconds: float = 0.0
    skipped: int = 0
    norm: float = 0.0

    def share(self, config: TrainConfig) -> float:
        """How much of the run is over, from 0 to 1, by steps or by time, whichever is further."""
        by_time = self.seconds / (60 * config.run.max_time) if config.run.max_time else 0.0
        return min(1.0, max(self.step / config.run.steps, by_time))


@dataclass
class Run:
    """Everything that changes in a run, and goes into its checkpoint."""

    config: TrainConfig
    network: IRN
    average: IRN
    optimizers: list[torch.optim.Optimizer]
    crops: Crops
    generator: torch.Generator
    progress: Progress = field(default_factory=Progress)

    def state(self) -> dict[str, Any]:
        """The whole state as tensors, numbers and strings."""
        return {
            "config": to_dict(self.config),
            "network": self.network.state_dict(),
            "average": self.average.state_dict(),
            "optimizers": [optimizer.state_dict() for optimizer in self.optimizers],
            "crops": self.crops.state(),
            "generator": self.generator.get_state(),
            "progress": asdict(self.progress),
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Goes back to a state that ``state`` gave.  Raises ConfigError if it is of another network."""
        if state["config"]["model"] != to_dict(self.config)["model"]:
            raise ConfigError(
                f"the checkpoint is of another network ({state['config']['model']}): "
                "resume with its own configuration, or choose another run.folder"
            )
        self.network.load_state_dict(state["network"])
        self.average.load_state_dict(state["average"])
        for optimizer, saved in zip(self.optimizers, state["optimizers"], strict=True):
            optimizer.load_state_dict(saved)
        self.crops.restore(state["crops"])
        self.generator.set_state(state["generator"])
        self.progress = Progress(**state["progress"])


def train(config: TrainConfig, *, resume: bool = False, report: Report = lambda line: None) -> Path | None:
    """Trains a network and writes its averaged weights.

    Args:
        config: the whole configuration.
        resume: go on from the run folder's checkpoint; without one, or with False, the run starts anew.
        report: called with each line of progress.

    Returns:
        The weights file, or None if the run was interrupted (its checkpoint is saved).

    Raises:
        ConfigError: the run folder holds an earlier run and ``resume`` is False, or the configuration cannot be used.
    """
    folder = Path(config.run.folder)
    run = start(config, folder / "checkpoint.pt", resume)
    config = run.config
    (folder / "config.toml").write_text(to_toml(config), encoding="utf-8")
    report(f"{len(run.crops.pictures)} pictures, {parameters(run.network):,} parameters, from step {run.progress.step}")
    with Log(folder) as log, interruptible() as interrupted:
        loop(run, log, report, interrupted)
        save_checkpoint(folder / "checkpoint.pt", run)
        if run.progress.share(config) < 1:
            report(f"interrupted at step {run.progress.step}: saved, go on with --resume")
            return None
        path, result = finish(run, folder)
        log.write({"step": run.progress.step, "final": asdict(result) if result else None})
    report(f"{path}: {result or 'not validated'}")
    return path


def start(config: TrainConfig, checkpoint: Path, resume: bool) -> Run:
    """A run at its first step, or where its checkpoint left it."""
    if checkpoint.exists() and not resume:
        raise ConfigError(
            f"{checkpoint} exists: go on with --resume, delete it, or choose another folder by --set run.folder=..."
        )
    checkpoint.parent.mkdir(parents=True, exist_ok=True)
    saved = torch.load(checkpoint, map_location=config.run.device, weights_only=True) if checkpoint.exists() else None
    if config.run.precision == "auto":
        precision = saved["config"]["run"]["precision"] if saved else faster_precision(config.run.device)
        config = replace(config, run=replace(config.run, precision=precision))
    torch.set_num_threads(config.run.threads or os.cpu_count() or 1)
    torch.manual_seed(config.run.seed)
    network = initial_network(config).to(config.run.device)
    network = network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    run = Run(
        config=config,
        network=network,
        average=copy.deepcopy(network).requires_grad_(False),
        optimizers=make_optimizers(network, config.optim),
        crops=Crops(config.data, config.model.scale, config.run.seed),
        generator=torch.Generator(config.run.device).manual_seed(config.run.seed),
    )
    if saved:
        run.restore(saved)
    return run


def faster_precision(device: str) -> str:
    """The precision in which a convolution is faster here: "bfloat16" needs matrix units, else it is emulated."""
    conv = nn.Conv2d(96, 32, 3, padding=1).to(device)
    x = torch.rand(2, 96, 32, 32, device=device)

    def seconds(bfloat16: bool) -> float:
        began = time.perf_counter()
        with torch.autocast(device.partition(":")[0], torch.bfloat16, enabled=bfloat16):
            conv(x).sum().item()
        return time.perf_counter() - began

    times = {bfloat16: min(seconds(bfloat16) for _ in range(5)) for bfloat16 in (False, True)}
    return "bfloat16" if times[True] < times[False] else "float32"


def initial_network(config: TrainConfig) -> IRN:
    """The untrained network, or the one that ``run.start`` names."""
    network = IRN(config.model)
    if config.run.start:
        given = weights.load(config.run.start)
        state = {name: torch.from_numpy(np.asarray(value, np.float32)) for name, value in given.tensors.items()}
        if any(network.state_dict()[name].shape != value.shape for name, value in state.items()):
            raise ConfigError(f"run.start = {config.run.start!r} is of another network: its shapes differ from model")
        network.load_state_dict(state)
    return network


def loop(run: Run, log: "Log", report: Report, interrupted: Callable[[], bool]) -> None:
    """Steps until the run is over or interrupted; logs, validates and saves on its way."""
    config, progress = run.config.run, run.progress
    step = TrainStep(run.network, run.config.loss, config.precision)
    validated = saved = time.monotonic()
    began = validated - progress.seconds
    batches = iter(run.crops)
    while not interrupted() and progress.share(run.config) < 1:  # before drawing: a batch drawn is a batch used
        hr, reference = next(batches)
        values = advance(run, step, *(to_device(batch, config.device) for batch in (hr, reference)))
        now = time.monotonic()
        progress.seconds = now - began
        if progress.step % config.log_every == 0:
            row = {"step": progress.step, "seconds": round(progress.seconds, 1), "skipped": progress.skipped, **values}
            log.write(row)
            report(progress_line(run, values))
        if now - validated > 60 * config.validate_every:
            validated = now
            validate_and_log(run, log, report)
        if now - saved > 60 * config.checkpoint_every:
            saved = now
            save_checkpoint(Path(config.folder) / "checkpoint.pt", run)


def advance(run: Run, step: TrainStep, hr: Tensor, reference: Tensor) -> dict[str, float]:
    """One step of the optimisers, or none where the loss or the gradient is not finite."""
    config, progress = run.config.optim, run.progress
    factor = rate(config, progress.share(run.config))
    for optimizer in run.optimizers:
        for group in optimizer.param_groups:
            group["lr"] = group.setdefault("peak", group["lr"]) * factor
        optimizer.zero_grad(set_to_none=True)
    parts = step(hr, reference, run.generator)
    parts["total"].backward()
    norm = float(nn.utils.clip_grad_norm_(run.network.parameters(), clip_limit(run), foreach=True))
    values = {name: float(value.detach()) for name, value in parts.items()}
    progress.step += 1
    if not np.isfinite(norm) or not np.isfinite(values["total"]):
        progress.skipped += 1
    else:
        progress.norm = 0.98 * progress.norm + 0.02 * norm if progress.norm else norm
        for optimizer in run.optimizers:
            optimizer.step()
        update_average(run, min(config.average, progress.step / (progress.step + 10)))
    return {**values, "norm": norm, "rate": factor}


def clip_limit(run: Run) -> float:
    """The gradient norm above which this step is scaled down."""
    config, mean_norm = run.config.optim, run.progress.norm
    relative = config.clip_factor * mean_norm or float("inf")
    return min(config.clip_norm or float("inf"), relative)


@torch.no_grad()
def update_average(run: Run, decay: float) -> None:
    """average <- decay * average + (1 - decay) * network."""
    for average, value in zip(run.average.parameters(), run.network.parameters(), strict=True):
        average.lerp_(value, 1 - decay)


@torch.no_grad()
def validate(network: IRN, folder: str, device: str) -> Figures:
    """Mean figures over a folder of pictures, cut to multiples of the scale, through 8-bit small and large pictures."""
    scale, rows = network.config.scale, []
    for path in find_pictures(folder):
        hr = crop_to_multiple(read_rgb(path), scale)
        lr = network.downscale(to_tensor(hr).to(device))
        restored = network.upscale(lr, torch.Generator(device).manual_seed(0))
        rows.append(figures(hr, to_picture(lr), to_picture(restored), scale))
    return mean(rows)


def validate_and_log(run: Run, log: "Log", report: Report) -> None:
    """Figures of the averaged weights, to log and report."""
    if run.config.data.validation:
        result = validate(run.average, run.config.data.validation, run.config.run.device)
        log.write({"step": run.progress.step, "seconds": round(run.progress.seconds, 1), **asdict(result)})
        report(f"step {run.progress.step}: {result}")


def finish(run: Run, folder: Path) -> tuple[Path, Figures | None]:
    """Writes the averaged weights in float16, and the figures that exactly these reach."""
    config = run.config
    for value in run.average.parameters():
        value.copy_(value.half().float())
    validation = config.data.validation
    result = validate(run.average, validation, config.run.device) if validation else None
    about = {
        "training": {
            "config": to_dict(config),
            "steps": run.progress.step,
            "minutes": round(run.progress.seconds / 60, 1),
            "skipped": run.progress.skipped,
            "pictures": len(run.crops.pictures),
            "torch": torch.__version__,
        },
        "figures": {Path(validation).name: asdict(result)} if result else {},
    }
    path = folder / f"{config.run.name}.safetensors"
    tensors = {name: value.cpu().half().numpy() for name, value in run.average.state_dict().items()}
    made = weights.Weights(config.run.name, "irn", to_dict(config)["model"], tensors, graphs={}, about=about)
    weights.save(path, made)
    return path, result


def save_checkpoint(path: Path, run: Run) -> None:
    """Writes the state to a temporary name, then renames it: a kill leaves the old checkpoint or the new one."""
    temporary = path.with_suffix(".tmp")
    torch.save(run.state(), temporary)
    os.replace(temporary, path)


@contextmanager
def interruptible() -> Iterator[Callable[[], bool]]:
    """Turns the first Ctrl-C or SIGTERM into a flag, so that the step in hand ends and is saved; the second stops."""
    caught: list[int] = []

    def note(number: int, frame: FrameType | None) -> None:
        if caught:
            raise KeyboardInterrupt
        caught.append(number)

    before = {number: signal.signal(number, note) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield lambda: bool(caught)
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


class Log:
    """Lines of JSON in ``log.jsonl``, and the same numbers as TensorBoard events where that is installed."""

    def __init__(self, folder: Path) -> None:
        self.file = (folder / "log.jsonl").open("a", encoding="utf-8")
        try:
            from torch.utils.tensorboard import SummaryWriter
        except ImportError:
            self.board = None
        else:
            self.board = SummaryWriter(str(folder))

    def __enter__(self) -> "Log":
        return self

    def __exit__(self, *_: object) -> None:
        self.file.close()
        if self.board:
            self.board.close()

    def write(self, row: dict[str, Any]) -> None:
        """One row; it must have a "step"."""
        self.file.write(json.dumps(row) + "\n")
        self.file.flush()
        for key, value in row.items():
            if self.board and key != "step" and isinstance(value, int | float):
                self.board.add_scalar(key, value, row["step"])


def progress_line(run: Run, values: dict[str, float]) -> str:
    """Step, share, losses, rate of steps and time left."""
    progress, share = run.progress, run.progress.share(run.config)
    left = progress.seconds * (1 / share - 1) / 60 if share else 0.0
    numbers = ", ".join(f"{name} {value:.5f}" for name, value in values.items() if name in ("total", "guide", "norm"))
    speed = progress.step / progress.seconds
    return f"step {progress.step} ({share:.0%}): {numbers}, {speed:.2f} steps/s, {left:.0f} min left"


def parameters(network: nn.Module) -> int:
    """How many trainable numbers a network has."""
    return sum(p.numel() for p in network.parameters())


def to_device(batch: Tensor, device: str) -> Tensor:
    """The batch on a device, in the memory layout that convolutions are fastest in."""
    return batch.to(device, memory_format=torch.channels_last)


def to_tensor(image: np.ndarray[Any, np.dtype[np.uint8]]) -> Tensor:
    """(H, W, 3) uint8 -> (1, 3, H, W) float32 in [0, 1]."""
    return torch.from_numpy(image.copy()).permute(2, 0, 1)[None].float() / 255


def to_picture(tensor: Tensor) -> np.ndarray[Any, np.dtype[np.uint8]]:
    """(1, 3, H, W) in [0, 1] -> (H, W, 3) uint8, rounded and clipped."""
    return to_uint8(tensor[0].permute(1, 2, 0).float().cpu().numpy() * 255)
