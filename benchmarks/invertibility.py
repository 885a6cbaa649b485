"""What invertibility alone does: IRN beside encoders and decoders that need not undo each other, trained alike.

    python benchmarks/baselines.py 'short-*' --data Set5 Set14

Every network starts as the Haar transform with its details restored as zero, and is trained as configs/pair-x2.toml
says, for the computation that IRN takes in `STEPS` steps of two 48x48 crops: minutes of one core.

    short-irn-x2         IRN, whose 1.7 million parameters serve both directions
    short-pair-x2        encoder and decoder of as many parameters in all: half the work of a step, twice the steps
    short-large-pair-x2  encoder and decoder of as many parameters each: the work of a step and the steps are IRN's

Weights stay in runs/invertibility, and are trained only where they are not there.
"""

import dataclasses
from functools import cached_property
from pathlib import Path
from typing import Any

import torch

from unshrink import weights
from unshrink.evaluation.run import about_rescaler
from unshrink.pictures.image import Image
from unshrink.runtime import backends
from unshrink.runtime.rescaler import Rescaler
from unshrink.training import config
from unshrink.training.config import TrainConfig
from unshrink.training.loop import train

ROOT = Path(__file__).parents[1]
RUNS = ROOT / "runs" / "invertibility"
STEPS = 400  # of IRN
SETTINGS: tuple[str, ...] = ()  # what else differs from configs/pair-x2.toml


@dataclasses.dataclass(frozen=True)
class Short:
    """A network after a short training, as a method of `unshrink.evaluation`."""

    name: str
    architecture: str
    blocks: str
    steps: int
    scale: int = 2

    @property
    def config(self) -> TrainConfig:
        """How it is trained."""
        model = (f"model.architecture={self.architecture}", f"model.blocks={self.blocks}")
        run = (f"run.name={self.name}", f"run.folder={RUNS / self.name}", f"run.steps={self.steps}")
        return config.load(ROOT / "configs" / "pair-x2.toml", [*model, *run, *SETTINGS])

    @property
    def about(self) -> dict[str, Any]:
        training = self.rescaler.weights.about["training"]
        made = {"training": {"steps": training["steps"], "minutes": training["minutes"]}}
        return about_rescaler(self.rescaler, torch.get_num_threads()) | made

    def downscale(self, picture: Image) -> Image:
        return self.rescaler.downscale(picture)

    def upscale(self, picture: Image) -> Image:
        return self.rescaler.upscale(picture)

    @cached_property
    def rescaler(self) -> Rescaler:
        """The trained weights, from the run where they were made already."""
        file = RUNS / self.name / f"{self.name}.safetensors"
        if not file.exists():
            train(self.config, report=print)
        made = weights.load(file)
        return Rescaler(made, backends.make(made, "torch"))


TRIALS = (
    Short("short-irn-x2", "irn", "[8]", STEPS),
    Short("short-pair-x2", "pair", "4", 2 * STEPS),
    Short("short-large-pair-x2", "pair", "8", STEPS),
)
