"""The training loop.

    unshrink train configs/irn-x2.toml                       # as the file says
    unshrink train configs/irn-x2.toml --max-time 30         # half an hour, its schedule ending with it
    unshrink train configs/irn-x2.toml --resume              # goes on from the run folder's checkpoint, bit for bit
    torchrun --nproc-per-node 2 -m unshrink train configs/irn-x2.toml        # the same batches, shared by two processes

The run folder holds ``config.toml`` (every setting), ``log.jsonl``, TensorBoard events, ``checkpoint.pt`` and, at the
end, ``<name>.safetensors``.
"""

import copy
import importlib.util
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
from torch import Tensor, nn

from unshrink import losses, weights
from unshrink.checkpoint import Run, read, save
from unshrink.config import LossConfig, TrainConfig, to_dict, to_toml
from unshrink.data import Crops
from unshrink.distributed import ALONE, Processes, joined, threads
from unshrink.errors import ConfigError
from unshrink.evaluate import Figures
from unshrink.journal import Journal
from unshrink.layers import quantize
from unshrink.models import IRN
from unshrink.optim import make_optimizers, rate
from unshrink.validation import validate

Report = Callable[[str], None]
SETTLED = 50  # steps after which the running mean of the gradient's norm can tell an exploding one


class TrainStep(nn.Module):
    """Large pictures in, losses out: the whole of one step, so that data parallelism can wrap it.

    Wrapping the network alone would not do: gradients are synchronised in ``forward`` only, and a step runs the
    network in both directions.  Nothing is drawn here, so that processes can share one draw.
    """

    def __init__(self, network: IRN, loss: LossConfig, precision: str) -> None:
        super().__init__()
        self.network, self.loss, self.precision = network, loss, precision

    def forward(self, hr: Tensor, reference: Tensor, z: Tensor, noise: Tensor | None = None) -> dict[str, Tensor]:
        """The losses by name, "total" among them, each one number.

        Args:
            hr: (N, 3, H, W).
            reference: its bicubic small pictures (N, 3, H/s, W/s).
            z: to restore with (N, 3s^2-3, H/s, W/s).
            noise: added to the small pictures before they are restored (N, 3, H/s, W/s).
        """
        with torch.autocast(hr.device.type, torch.bfloat16, enabled=self.precision == "bfloat16"):
            lr, lost = self.network(hr)
            small = quantize(lr)
            restored = self.network.inverse(small if noise is None else small + noise, z)
        loss = self.loss
        parts = {
            "reconstruction": losses.reconstruction(restored, hr, loss.reconstruction),
            "luma": losses.luma(restored, hr, loss.reconstruction),
            "chroma": losses.chroma(restored - hr, loss.reconstruction),
            "chroma_block": losses.chroma(restored - hr, loss.reconstruction, block=4),
            "guide": losses.guidance(lr, reference, hr, loss.guide_penalty),
            "guide_luma": losses.luma(lr, reference, loss.guide_penalty),
            "guide_chroma": losses.chroma(lr - reference, loss.guide_penalty),
            "latent": losses.latent(lost, hr),
        }
        parts["total"] = self.total(parts, lr[0].numel() / hr[0].numel())
        return {name: values.mean() for name, values in parts.items()}

    def total(self, parts: dict[str, Tensor], share: float) -> Tensor:
        """What is minimised, for each crop; ``share`` is the size of the small picture beside the large one."""
        loss = self.loss
        weights = {name: getattr(loss, name) for name in parts if name != "reconstruction"}
        if loss.apart:
            floors = {name: loss.guide_floor if name.startswith("guide") else loss.floor for name in parts}
            weights = {"reconstruction": 1.0, **weights}
            logs = [weight * (parts[name] + floors[name]).log() for name, weight in weights.items() if weight]
            return torch.stack(logs).sum(0) / sum(weights.values())
        for name in ("guide_luma", "guide_chroma"):
            weights[name] *= weights["guide"] * share
        total = parts["reconstruction"] + sum(weight * parts[name] for name, weight in weights.items() if weight)
        return (total + loss.floor).log() if loss.log else total


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
    folder = Path(config.run.folder)
    clock = time.process_time if config.run.max_cpu else time.monotonic
    began = clock()
    with joined(config.run.device) as processes:
        report = report if processes.first else lambda line: None
        run = start(config, resume, processes)
        began -= run.progress.seconds
        if processes.first:
            (folder / "config.toml").write_text(to_toml(run.config), encoding="utf-8")
        report(
            f"{len(run.crops.files)} pictures, {parameters(run.network):,} parameters, from step {run.progress.step}"
        )
        with Journal(folder if processes.first else None) as journal, interruptible() as interrupted:
            loop(run, journal, report, interrupted, lambda: clock() - began)
            if run.progress.step == 0 and not interrupted():
                raise ConfigError(
                    f"run.max_time = {config.run.limit:g} minutes were over before the first step: "
                    f"loading and validating took {run.progress.seconds:.0f} s; give more"
                )
            save(run)
            if run.progress.share(config) < 1:
                report(f"interrupted at step {run.progress.step}: saved, go on with --resume")
                return None
            path, result = finish(run, folder)
            journal.write({"step": run.progress.step, "final": asdict(result) if result else None})
        report(f"{path}: {result or 'not validated'}")
    return path


def start(config: TrainConfig, resume: bool, processes: Processes = ALONE, network: IRN | None = None) -> Run:
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
        crops=Crops(config.data, config.model.scale, config.run.seed, processes),
        generator=torch.Generator(device).manual_seed(config.run.seed),
        processes=processes,
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
    """The untrained network, or the one that ``run.start`` names; one of a smaller scale gives the first levels."""
    network = IRN(config.model)
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


def loop(
    run: Run, journal: Journal, report: Report, interrupted: Callable[[], bool], clock: Callable[[], float]
) -> None:
    """Steps until the run is over or interrupted; validates, saves and logs on its way.

    The first validation comes before the first step: a wrong folder shows at once, and how long the last one will take.
    """
    config, progress = run.config.run, run.progress
    step, batches = make_step(run), iter(run.crops)
    saved, validated = progress.seconds, progress.seconds if progress.step else -math.inf
    marked = progress.step, clock()
    while goes_on(run, interrupted, clock):
        must_validate = progress.seconds - validated > 60 * config.validate_every
        if progress.step and (must_validate or progress.seconds - saved > 60 * config.checkpoint_every):
            saved = progress.seconds
            save(run)
        if must_validate and progress.share(run.config, ahead=progress.reserve) < 1:
            validated = progress.seconds
            validate_and_log(run, journal, report, clock)
        values = advance(run, step, *(to_device(batch, run.processes.device) for batch in next(batches)))
        if progress.step % config.log_every == 0:
            before, marked = marked, (progress.step, clock())
            speed = (marked[0] - before[0]) / (marked[1] - before[1])
            log_step(run, journal, report, values, speed)


def goes_on(run: Run, interrupted: Callable[[], bool], clock: Callable[[], float]) -> bool:
    """Whether there is another step, by the latest of the processes' clocks, which becomes the run's."""
    stop, run.progress.seconds = run.processes.largest(interrupted(), clock())
    return not stop and run.progress.share(run.config) < 1


def make_step(run: Run) -> nn.Module:
    """The step, compiled if wanted, its gradients averaged over the processes."""
    config = run.config.run
    step: Any = TrainStep(run.network, run.config.loss, config.precision)
    on_gpu = run.processes.device.startswith("cuda")
    if config.compile == "on" or (config.compile == "auto" and on_gpu and importlib.util.find_spec("triton")):
        step = torch.compile(step, mode="reduce-overhead", dynamic=False)  # CUDA graphs: one launch for all kernels
    return run.processes.wrap(step)


def advance(run: Run, step: nn.Module, hr: Tensor, reference: Tensor) -> dict[str, Any]:
    """One step of the optimisers, or none where the gradient is not finite or explodes.

    The norm is read back from the device, once a step, for that choice; the losses stay there until they are logged.
    """
    config, progress = run.config.optim, run.progress
    factor = rate(config, progress.share(run.config))
    for optimizer in run.optimizers:
        for group in optimizer.param_groups:
            group["lr"] = group["peak"] * factor
        optimizer.zero_grad(set_to_none=True)
    parts = step(hr, reference, *draw(run, reference))
    parts["total"].backward()
    norm = float(nn.utils.clip_grad_norm_(run.network.parameters(), clip_limit(run), foreach=True))
    limit = skip_limit(run)
    progress.step += 1
    if math.isfinite(norm):
        seen = min(norm, limit)  # an explosion counts with the limit: what lasts lifts the mean until it is let through
        progress.norm = 0.98 * progress.norm + 0.02 * seen if progress.norm else seen
    if math.isfinite(norm) and norm <= limit:
        for optimizer in run.optimizers:
            optimizer.step()
        update_average(run, min(config.average, progress.step / (progress.step + 10)))
    else:
        progress.skipped += 1
    return {**{name: value.detach() for name, value in parts.items()}, "norm": norm, "rate": factor}


def draw(run: Run, reference: Tensor) -> tuple[Tensor, Tensor | None]:
    """z and noise for this process's crops: its share of what every process draws for the whole batch alike."""
    config, processes = run.config, run.processes
    share = processes.share(config.data.batch)
    whole = reference.new_empty(config.data.batch, *reference.shape[1:])
    z = to_device(run.network.latent(whole, run.generator)[share], processes.device)
    if not config.loss.lr_noise:
        return z, None
    noise = torch.randn(whole.shape, generator=run.generator, device=whole.device)[share]
    return z, to_device(noise * (config.loss.lr_noise / 255), processes.device)


def clip_limit(run: Run) -> float:
    """The gradient norm above which this step is scaled down."""
    config, mean_norm = run.config.optim, run.progress.norm
    relative = config.clip_factor * mean_norm or math.inf
    return min(config.clip_norm or math.inf, relative)


def skip_limit(run: Run) -> float:
    """The gradient norm above which this step is skipped."""
    settled = run.progress.step >= SETTLED
    return run.config.optim.skip_factor * run.progress.norm * settled or math.inf


@torch.no_grad()
def update_average(run: Run, decay: float) -> None:
    """average <- decay * average + (1 - decay) * network."""
    torch._foreach_lerp_(list(run.average.parameters()), list(run.network.parameters()), 1 - decay)


def log_step(run: Run, journal: Journal, report: Report, values: dict[str, Any], speed: float) -> None:
    """The numbers of a step, losses as means over the processes, to journal and report."""
    progress = run.progress
    means = run.processes.mean({name: float(value) for name, value in values.items()})
    journal.write({"step": progress.step, "seconds": round(progress.seconds, 1), "skipped": progress.skipped, **means})
    report(progress_line(run, means, speed))


def validate_and_log(run: Run, journal: Journal, report: Report, clock: Callable[[], float]) -> None:
    """Figures of the averaged weights, to journal and report; the clock moves on by what they took."""
    folder, processes, progress = run.config.data.validation, run.processes, run.progress
    if folder:
        result = validate(run.average, folder, processes.device, processes)
        before, (progress.seconds,) = progress.seconds, processes.largest(clock())
        progress.reserve = progress.seconds - before
        journal.write({"step": progress.step, "seconds": round(progress.seconds, 1), **asdict(result)})
        report(f"step {progress.step}: {result}")


def finish(run: Run, folder: Path) -> tuple[Path, Figures | None]:
    """Writes the averaged weights in float16, and the figures that exactly these reach."""
    config, validation = run.config, run.config.data.validation
    for value in run.average.parameters():
        value.copy_(value.half().float())
    result = validate(run.average, validation, run.processes.device, run.processes) if validation else None
    about = {
        "training": {
            "config": to_dict(config),
            "steps": run.progress.step,
            "minutes": round(run.progress.seconds / 60, 1),
            "skipped": run.progress.skipped,
            "pictures": len(run.crops.files),
            "torch": torch.__version__,
        },
        "figures": {Path(validation).name: asdict(result)} if result else {},
    }
    path = folder / f"{config.run.name}.safetensors"
    tensors = {name: value.cpu().half().numpy() for name, value in run.average.state_dict().items()}
    made = weights.Weights(config.run.name, "irn", to_dict(config)["model"], tensors, graphs={}, about=about)
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


def progress_line(run: Run, values: dict[str, float], speed: float) -> str:
    """Step, share, losses, steps per second and time left."""
    progress, config = run.progress, run.config.run
    by_time = 60 * config.limit - progress.seconds if config.limit else math.inf
    left = min(by_time, (config.steps - progress.step) / speed) / 60
    numbers = ", ".join(f"{name} {value:.5f}" for name, value in values.items() if name in ("total", "guide", "norm"))
    return (
        f"step {progress.step} ({progress.share(run.config):.0%}): {numbers}, {speed:.2f} steps/s, {left:.0f} min left"
    )


def parameters(network: nn.Module) -> int:
    """How many trainable numbers a network has."""
    return sum(p.numel() for p in network.parameters())


def to_device(batch: Tensor, device: str) -> Tensor:
    """(N, C, H, W) on a device, in the memory layout that convolutions are fastest in."""
    return batch.to(device, memory_format=torch.channels_last)
