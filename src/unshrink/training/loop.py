"""The training loop.

    unshrink train configs/irn-x2.toml                       # as the file says
    unshrink train configs/irn-x2.toml --max-time 30         # half an hour, its schedule ending with it
    unshrink train configs/irn-x2.toml --resume              # goes on from the run folder's checkpoint, bit for bit
    torchrun --nproc-per-node 2 -m unshrink train configs/irn-x2.toml        # the same batches, shared by two processes

The run folder holds ``config.toml`` (every setting), ``log.jsonl``, TensorBoard events, ``checkpoint.pt`` and, at the
end, ``<name>.safetensors``.
"""

import copy
import math
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, replace
from pathlib import Path
from types import FrameType
from typing import Any

import numpy as np
import torch
from torch import nn

from unshrink import weights
from unshrink.errors import ConfigError
from unshrink.evaluation.protocol import Figures
from unshrink.network import architectures
from unshrink.network.network import Network
from unshrink.training.checkpoint import HELD, Run, read, save
from unshrink.training.config import TrainConfig, to_dict, to_toml
from unshrink.training.data import Crops
from unshrink.training.distributed import ALONE, Processes, joined, threads
from unshrink.training.learned import LearnedLosses
from unshrink.training.log import Log
from unshrink.training.optim import fall_begins, make_optimizers
from unshrink.training.step import advance, make_step, to_device
from unshrink.training.validation import bicubic, validate

Report = Callable[[str], None]


def train(config: TrainConfig, *, resume: bool = False, report: Report = lambda line: None) -> Path | None:
    """Trains a network and writes its averaged weights; with others, where torchrun started several processes.

    Args:
        config: the whole configuration.
        resume: go on from the run folder's checkpoint; without one, or with False, the run starts anew.
        report: called with each line of progress, in the first process.

    Returns:
        The weights file, or None if the run was interrupted (its checkpoint is saved).

    Raises:
        ConfigError: the run folder holds an earlier run and ``resume`` is False, or the configuration cannot be used.
    """
    began, folder = time.monotonic(), Path(config.run.folder)
    with joined(config.run.device) as processes:
        report = report if processes.first else lambda line: None
        run = start(config, resume, processes)
        began -= run.position.seconds
        if processes.first:
            (folder / "config.toml").write_text(to_toml(run.config), encoding="utf-8")
        report(
            f"{len(run.crops.files)} pictures, {parameters(run.network):,} parameters, from step {run.position.step}"
        )
        with Log(folder if processes.first else None) as log, interruptible() as interrupted:
            loop(run, log, report, interrupted, lambda: time.monotonic() - began)
            if run.position.step == 0 and not interrupted():
                raise ConfigError(
                    f"run.max_time = {config.run.max_time:g} minutes were over before the first step: "
                    f"loading and validating took {run.position.seconds:.0f} s; give more"
                )
            save(run)
            if run.position.share(config) < 1:
                report(f"interrupted at step {run.position.step}: saved, go on with `resume`")
                return None
            path, result = finish(run, folder)
            log.write({"step": run.position.step, "final": asdict(result) if result else None})
        report(f"{path}: {result or 'not validated'}")
    return path


def start(config: TrainConfig, resume: bool, processes: Processes = ALONE, network: Network | None = None) -> Run:
    """A run at its first step, or where its checkpoint left it; of another network than the configured one if given."""
    device = processes.device
    saved = processes.from_first(lambda: read(Path(config.run.folder), resume))
    torch.set_num_threads(threads(config.run.threads))
    if config.run.precision == "auto":
        given = saved["config"]["run"]["precision"] if saved else None
        precision = given or processes.from_first(lambda: faster_precision(device))
        config = replace(config, run=replace(config.run, precision=precision))
    torch.manual_seed(config.run.seed)
    network = (network or initial_network(config)).to(device)
    network = network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    run = Run(
        config=config,
        network=network,
        average=copy.deepcopy(network).requires_grad_(False),
        optimizers=make_optimizers(network, config.optim),
        learned=LearnedLosses(config.learned).to(device),
        crops=Crops(config.data, config.model.scale, config.run.seed, processes, config.optim.accumulate),
        generator=torch.Generator(device).manual_seed(config.run.seed),
        processes=processes,
    )
    if saved:
        run.restore(saved)
    return run


def faster_precision(device: str) -> str:
    """The precision in which a convolution is faster here: "bfloat16" is emulated by many processors."""
    conv = nn.Conv2d(96, 32, 3, padding=1).to(device)
    x = torch.rand(2, 96, 32, 32, device=device)

    def seconds(bfloat16: bool) -> float:
        began = time.perf_counter()
        with torch.autocast(device.partition(":")[0], torch.bfloat16, enabled=bfloat16):
            conv(x).sum().item()
        return time.perf_counter() - began

    times = {bfloat16: min(seconds(bfloat16) for _ in range(5)) for bfloat16 in (False, True)}
    return "bfloat16" if times[True] < times[False] else "float32"


def initial_network(config: TrainConfig) -> Network:
    """The untrained network, or the one that ``run.start`` names; one of a smaller scale gives the first levels."""
    network = Network(config.model)
    if config.run.start:
        given = weights.load(config.run.start)
        shapes = {name: tuple(value.shape) for name, value in network.state_dict().items()}
        if given.scale < config.model.scale:
            shapes = {name: shape for name, shape in shapes.items() if name in given.tensors}
        wrong = weights.differences({name: value.shape for name, value in given.tensors.items()}, shapes)
        if wrong:
            raise ConfigError(f"run.start = {config.run.start!r} is of another network than model: {wrong}")
        tensors = {name: torch.from_numpy(np.asarray(value, np.float32)) for name, value in given.tensors.items()}
        network.load_state_dict({**network.state_dict(), **tensors})
    return network


def loop(run: Run, log: Log, report: Report, interrupted: Callable[[], bool], clock: Callable[[], float]) -> None:
    """Steps until the run is over or interrupted; validates, saves and logs on its way.

    The first validation comes before the first step: a wrong folder shows at once, and how long the last one will take.
    """
    config, position = run.config.run, run.position
    step, batches, held = make_step(run), iter(run.crops), is_held(run)
    saved, validated = position.seconds, position.seconds if position.step else -math.inf
    marked = position.step, clock()
    while goes_on(run, interrupted, clock):
        must_validate = position.seconds - validated > 60 * config.validate_every
        if position.step and (must_validate or position.seconds - saved > 60 * config.checkpoint_every):
            saved = position.seconds
            save(run)
        if must_validate and position.share(run.config, ahead=position.reserve) < 1:
            validated = position.seconds
            validate_and_log(run, log, report, clock)
        if held and not is_held(run):
            held = False
            save(run, HELD)
        values = advance(run, step, *(to_device(batch, run.processes.device) for batch in next(batches)))
        if position.step % config.log_every == 0:
            before, marked = marked, (position.step, clock())
            speed = (marked[0] - before[0]) / (marked[1] - before[1])
            log_step(run, log, report, values, speed)


def is_held(run: Run) -> bool:
    """Whether the rate has not begun to fall, in a run that holds it at its peak for a while."""
    optim = run.config.optim
    return optim.hold > 0 and run.position.share(run.config) < fall_begins(optim)


def goes_on(run: Run, interrupted: Callable[[], bool], clock: Callable[[], float]) -> bool:
    """Whether there is another step, by the latest of the processes' clocks, which becomes the run's."""
    stop, run.position.seconds = run.processes.largest(interrupted(), clock())
    return not stop and run.position.share(run.config) < 1


def log_step(run: Run, log: Log, report: Report, values: dict[str, Any], speed: float) -> None:
    """The numbers of a step, losses as means over the processes, to log and report."""
    position = run.position
    means = run.processes.mean({name: float(value) for name, value in values.items()})
    log.write({"step": position.step, "seconds": round(position.seconds, 1), "skipped": position.skipped, **means})
    report(step_line(run, means, speed))


def validate_and_log(run: Run, log: Log, report: Report, clock: Callable[[], float]) -> None:
    """Figures of the averaged weights, to log and report; the clock moves on by what they took."""
    folder, processes, position = run.config.data.validation, run.processes, run.position
    if folder:
        result = validate(run.average, folder, processes.device, processes)
        before, (position.seconds,) = position.seconds, processes.largest(clock())
        position.reserve = position.seconds - before
        log.write({"step": position.step, "seconds": round(position.seconds, 1), **asdict(result)})
        report(f"step {position.step}: {result}")
        if position.step == 0:
            report(f"bicubic both ways: {bicubic(folder, run.config.model.scale, processes)}")


def finish(run: Run, folder: Path) -> tuple[Path, Figures | None]:
    """Writes the averaged weights in float16, and the figures that exactly these reach."""
    config, validation = run.config, run.config.data.validation
    for value in run.average.parameters():
        value.copy_(value.half().float())
    result = validate(run.average, validation, run.processes.device, run.processes) if validation else None
    about = {
        "training": {
            "config": to_dict(config),
            "steps": run.position.step,
            "minutes": round(run.position.seconds / 60, 1),
            "skipped": run.position.skipped,
            "pictures": len(run.crops.files),
            "torch": torch.__version__,
        },
        "figures": {Path(validation).name: asdict(result)} if result else {},
    }
    path = folder / f"{config.run.name}.safetensors"
    tensors = {name: value.cpu().half().numpy() for name, value in run.average.state_dict().items()}
    made = weights.Weights(
        config.run.name, config.model.architecture, architectures.to_dict(config.model), tensors, about=about
    )
    if run.processes.first:
        weights.save(path, made)
    return path, result


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


def step_line(run: Run, values: dict[str, float], speed: float) -> str:
    """Step, share, losses, steps per second and time left."""
    position, config = run.position, run.config.run
    by_time = 60 * config.max_time - position.seconds if config.max_time else math.inf
    left = min(by_time, (config.steps - position.step) / speed) / 60
    numbers = ", ".join(f"{name} {value:.5f}" for name, value in values.items() if name in ("total", "guide", "norm"))
    return (
        f"step {position.step} ({position.share(run.config):.0%}): {numbers}, {speed:.2f} steps/s, {left:.0f} min left"
    )


def parameters(network: nn.Module) -> int:
    """How many trainable numbers a network has."""
    return sum(p.numel() for p in network.parameters())
