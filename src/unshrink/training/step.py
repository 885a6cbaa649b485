"""One step of a run: what is drawn for it, what the network makes of it, and what its optimisers do with that."""

import functools
import importlib.util
import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from unshrink.network.modules import quantize
from unshrink.network.network import Network
from unshrink.training.checkpoint import Run
from unshrink.training.config import TrainConfig
from unshrink.training.degradations import DEGRADATIONS
from unshrink.training.distributed import held_back
from unshrink.training.losses import RoundTrip, weighed
from unshrink.training.optim import rate, set_rates

SETTLED = 50  # steps after which the running mean of the gradient's norm can tell an exploding one

Piece = tuple[Tensor, Tensor, Tensor, Tensor]  # hr, reference, z and what was drawn for the degradation
Judge = Callable[[RoundTrip], dict[str, Tensor]]  # the learned losses of a round trip by name, each (N,)


class TrainStep(nn.Module):
    """Large pictures in, losses out: the whole of one step, so that data parallelism can wrap it.

    Wrapping the network alone would not do: gradients are synchronised in ``forward`` only, and a step runs the
    network in both directions.  Nothing is drawn here, so that processes can share one draw.

    Args:
        network: which learns.
        config: of the run, its precision decided.
        judge: the learned losses.  Their parameters are not the step's, which takes no gradient of them.
    """

    def __init__(self, network: Network, config: TrainConfig, judge: Judge = lambda trip: {}) -> None:
        super().__init__()
        self.network, self.config, self.judge = network, config, judge

    def forward(self, hr: Tensor, reference: Tensor, z: Tensor, drawn: Tensor) -> dict[str, Tensor]:
        """The losses by name, "total" among them, each one number.

        Args:
            hr: (N, 3, H, W).
            reference: its bicubic small pictures (N, 3, H/s, W/s).
            z: to restore with (N, 3s^2-3, H/s, W/s).
            drawn: for the degradation of the small pictures (N, ...).
        """
        trip = self.round_trip(hr, reference, z, drawn)
        parts, learned = weighed(trip, self.config.loss), self.judge(trip)
        parts["total"] = parts["total"] + sum(getattr(self.config.learned, name) * learned[name] for name in learned)
        return {name: values.mean() for name, values in {**parts, **learned}.items()}

    def round_trip(self, hr: Tensor, reference: Tensor, z: Tensor, drawn: Tensor) -> RoundTrip:
        """Downscales, quantises, degrades and restores; arguments as for ``forward``."""
        degradation, device = self.config.degradation, hr.device.type
        half = functools.partial(torch.autocast, device, torch.bfloat16, self.config.run.precision == "bfloat16")

        def moved(which: Tensor, shifts: Tensor) -> Tensor:
            pairs = zip(hr[which], shifts.tolist(), strict=True)
            with torch.no_grad(), half():
                small, _ = self.network(torch.stack([picture.roll(shift, (1, 2)) for picture, shift in pairs]))
            return quantize(small.float())

        with half():
            lr, lost = self.network(hr)
            with torch.autocast(device, enabled=False):  # whatever it computes, levels of the picture stay exact
                arrived = DEGRADATIONS[degradation.name].apply(quantize(lr), drawn, degradation.strength, moved)
            restored = self.network.decode(arrived, z)
        return RoundTrip(hr, reference, lr, lost, restored)


def make_step(run: Run) -> nn.Module:
    """The step, compiled if wanted, its gradients averaged over the processes."""
    config = run.config.run
    step: Any = TrainStep(run.network, run.config, run.learned.judge)
    on_gpu = run.processes.device.startswith("cuda")
    if config.compile == "on" or (config.compile == "auto" and on_gpu and importlib.util.find_spec("triton")):
        # CUDA graphs are one launch for all kernels; but each replay overwrites gradients that wait to be added up.
        mode = "reduce-overhead" if run.config.optim.accumulate == 1 else "default"
        step = torch.compile(step, mode=mode, dynamic=False)
    return run.processes.wrap(step)


def advance(run: Run, step: nn.Module, hr: Tensor, reference: Tensor) -> dict[str, Any]:
    """One step of the optimisers, or none where the gradient is not finite or explodes.

    The norm is read back from the device, once a step, for that choice; the losses stay there until they are logged.

    Args:
        run: its learned losses take their own step first.
        step: as `make_step` gives it.
        hr: this process's crops of all batches of the step (N, 3, H, W).
        reference: their bicubic small pictures (N, 3, H/s, W/s).

    Returns:
        The losses as means over the crops, and "norm" and "learning_rate": as a share of the highest.
    """
    factor = rate(run.config.optim, run.position.share(run.config))
    set_rates([*run.optimizers, *run.learned.optimizers], factor)
    batches = run.config.optim.accumulate
    wholes = (hr, reference, *draw(run, reference))
    pieces: list[Piece] = list(zip(*(whole.chunk(batches) for whole in wholes), strict=True))
    own = advance_learned(run, pieces) if run.learned.optimizers else {}
    losses = accumulate(run, step, pieces)
    norm = float(nn.utils.clip_grad_norm_(run.network.parameters(), clip_limit(run), foreach=True))
    if takes(run, norm):
        for optimizer in run.optimizers:
            optimizer.step()
        update_average(run)
    return {**losses, **own, "norm": norm, "learning_rate": factor}


def draw(run: Run, reference: Tensor) -> tuple[Tensor, Tensor]:
    """z, and the numbers of the degradation, for this process's crops.

    They are its share of what every process draws for all batches of the step alike.
    """
    batch, batches, processes = run.config.data.batch, run.config.optim.accumulate, run.processes
    share = processes.share(batch, batches)
    whole = reference.new_empty(batch * batches, *reference.shape[1:])
    z = run.network.latent(whole, run.generator)[share]
    drawn = DEGRADATIONS[run.config.degradation.name].draw(whole, run.generator)[share]
    return to_device(z, processes.device), drawn


def accumulate(run: Run, step: nn.Module, pieces: list[Piece]) -> dict[str, Tensor]:
    """The gradient of the mean loss over the pieces, which are of one size; gives the losses."""
    for optimizer in run.optimizers:
        optimizer.zero_grad(set_to_none=True)
    means: dict[str, Tensor] = {}
    for number, piece in enumerate(pieces, 1):
        with held_back(step, number < len(pieces)):
            parts = step(*piece)
            (parts["total"] / len(pieces)).backward()
        _add(means, parts, len(pieces))
    return means


def advance_learned(run: Run, pieces: list[Piece]) -> dict[str, Tensor]:
    """One step of the learned losses' own parameters, on what the network makes as it is now; gives their losses.

    It is left out where its gradient is not finite.
    """
    step, learned = TrainStep(run.network, run.config), run.learned
    learned.zero_grad(set_to_none=True)
    means: dict[str, Tensor] = {}
    for piece in pieces:
        with torch.no_grad():
            trip = step.round_trip(*piece)
        own = {f"{name}_own": values.mean() for name, values in learned.own(trip).items()}
        (torch.stack(list(own.values())).sum() / len(pieces)).backward()
        _add(means, own, len(pieces))
    gradients = [parameter.grad for parameter in learned.parameters() if parameter.grad is not None]
    run.processes.average(gradients)
    if all(bool(gradient.isfinite().all()) for gradient in gradients):
        for optimizer in learned.optimizers:
            optimizer.step()
    return means


def takes(run: Run, norm: float) -> bool:
    """Counts a step, and says whether it is taken: not where its gradient is not finite, or explodes."""
    position, limit = run.position, skip_limit(run)
    position.step += 1
    if math.isfinite(norm):
        seen = min(norm, limit)  # an explosion counts with the limit: what lasts lifts the mean until it is let through
        position.norm = 0.98 * position.norm + 0.02 * seen if position.norm else seen
    taken = math.isfinite(norm) and norm <= limit
    position.skipped += not taken
    return taken


def clip_limit(run: Run) -> float:
    """The gradient norm above which this step is scaled down."""
    config, mean_norm = run.config.optim, run.position.norm
    relative = config.clip_factor * mean_norm or math.inf
    return min(config.clip_norm or math.inf, relative)


def skip_limit(run: Run) -> float:
    """The gradient norm above which this step is skipped."""
    settled = run.position.step >= SETTLED
    return run.config.optim.skip_factor * run.position.norm * settled or math.inf


@torch.no_grad()
def update_average(run: Run) -> None:
    """average <- decay * average + (1 - decay) * network; the decay rises over the first steps."""
    step = run.position.step
    decay = min(run.config.optim.average, step / (step + 10))
    torch._foreach_lerp_(list(run.average.parameters()), list(run.network.parameters()), 1 - decay)


def to_device(batch: Tensor, device: str) -> Tensor:
    """(N, C, H, W) on a device, in the memory layout that convolutions are fastest in."""
    return batch.to(device, memory_format=torch.channels_last)


def _add(means: dict[str, Tensor], parts: dict[str, Tensor], count: int) -> None:
    for name, value in parts.items():
        means[name] = means.get(name, 0.0) + value.detach() / count
