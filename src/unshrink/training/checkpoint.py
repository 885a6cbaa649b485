"""The whole state of a run, and the file that holds it.

A checkpoint holds everything that the next step depends on: network, averaged weights, optimisers, learned losses,
random states, the place in the sequence of crops, and the time used.  None of it depends on how many processes there
are: every one draws and averages the same, and takes its share of the batch.
"""

import os
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch

from unshrink.errors import ConfigError
from unshrink.network.network import Network
from unshrink.training.config import TrainConfig, to_dict
from unshrink.training.data import Crops
from unshrink.training.distributed import ALONE, Processes
from unshrink.training.learned import LearnedLosses
from unshrink.training.optim import Optimizers, restore_optimizer

CHECKPOINT = "checkpoint.pt"
HELD = "held.pt"
"""The state from before the rate began to fall.  A longer run that goes on from there loses nothing to the fall."""


@dataclass
class Position:
    """Where a run is.

    Attributes:
        step: steps made, the skipped ones among them.
        seconds: used so far, resumed parts included.
        skipped: steps whose gradient was not finite, or exploded.
        norm: running mean of the gradient's norm.
        reserve: seconds that the last validation took, and that the one at the end will take.
    """

    step: int = 0
    seconds: float = 0.0
    skipped: int = 0
    norm: float = 0.0
    reserve: float = 0.0

    def share(self, config: TrainConfig, ahead: float = 0.0) -> float:
        """How much of the run is over in ``ahead`` seconds, 0 to 1: by steps or by time, whichever is further."""
        limit = max(60 * config.run.max_time - self.reserve, 1e-9)
        by_time = (self.seconds + ahead) / limit if config.run.max_time else 0.0
        return min(1.0, max(self.step / config.run.steps, by_time))


@dataclass
class Run:
    """Everything that changes in a run, and goes into its checkpoint; and the processes that share it."""

    config: TrainConfig
    network: Network
    average: Network
    optimizers: Optimizers
    learned: LearnedLosses
    crops: Crops
    generator: torch.Generator
    position: Position = field(default_factory=Position)
    processes: Processes = ALONE

    def state(self) -> dict[str, Any]:
        """The whole state as tensors, numbers and strings."""
        return {
            "config": to_dict(self.config),
            "network": self.network.state_dict(),
            "average": self.average.state_dict(),
            "optimizers": [optimizer.state_dict() for optimizer in self.optimizers],
            "learned": self.learned.state(),
            "crops": self.crops.state(),
            "generator": self.generator.get_state(),
            "position": asdict(self.position),
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Goes back to a state that ``state`` gave.  Rates and the like stay those of this run's configuration.

        Raises:
            ConfigError: it is of another network or another optimiser.
        """
        was, now = state["config"], to_dict(self.config)
        for what, a, b in (
            ("network", was["model"], now["model"]),
            ("optimiser", was["optim"]["name"], now["optim"]["name"]),
        ):
            if a != b:
                raise ConfigError(
                    f"the checkpoint is of another {what} ({a}): "
                    "resume with its own configuration, or choose another run.folder"
                )
        self.network.load_state_dict(state["network"])
        self.average.load_state_dict(state["average"])
        for optimizer, saved in zip(self.optimizers, state["optimizers"], strict=True):
            restore_optimizer(optimizer, saved)
        self.learned.restore(state["learned"])
        self.crops.restore(state["crops"])
        self.generator.set_state(state["generator"])
        self.position = Position(**state["position"])


def read(folder: Path, resume: bool) -> dict[str, Any] | None:
    """The checkpoint of a run's folder, which is made if need be; None for a new run.

    Raises:
        ConfigError: there is one, and ``resume`` is False.
    """
    path = folder / CHECKPOINT
    folder.mkdir(parents=True, exist_ok=True)
    if not path.exists():
        return None
    if not resume:
        raise ConfigError(f"{path} exists: go on with `resume`, delete it, or choose another run.folder")
    return torch.load(path, map_location="cpu", weights_only=True)


def save(run: Run, name: str = CHECKPOINT) -> None:
    """Writes the state to a temporary name, then renames it: a kill leaves the old file or the new one."""
    if not run.processes.first:
        return
    path = Path(run.config.run.folder) / name
    temporary = path.with_suffix(".tmp")
    with temporary.open("wb") as stream:
        torch.save(run.state(), stream)
        stream.flush()
        os.fsync(stream.fileno())
    os.replace(temporary, path)
