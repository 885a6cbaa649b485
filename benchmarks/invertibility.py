"""What invertibility alone does: IRN beside encoders and decoders that need not undo each other, trained alike.

    python benchmarks/baselines.py 'short-*' --data Set5 Set14

Every network starts as the Haar transform with its details restored as zero, and has the losses of `SETTINGS` and the
optimiser of configs/irn-x2.toml, for the computation that IRN takes in `STEPS` steps of two 48x48 crops: minutes of one
core.

    short-irn-x2         IRN, whose 1.7 million parameters serve both directions
    short-pair-x2        encoder and decoder of as many parameters in all: half the work of a step, twice the steps
    short-large-pair-x2  encoder and decoder of as many parameters each: the work of a step and the steps are IRN's

Weights stay in runs/invertibility, and are trained only where they are not there.

Shapes:  hr (N, 3, H, W), lr (N, 3, H/2, W/2).
"""

import dataclasses
import importlib.metadata
import time
from collections.abc import Callable
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from operations import operations
from torch import Tensor, nn

from unshrink.network.architectures import IRNConfig
from unshrink.network.irn import IRN
from unshrink.network.layers import DenseBlock, HaarDownsample
from unshrink.pictures.image import Image
from unshrink.training import config
from unshrink.training import loop as train
from unshrink.training.log import Journal
from unshrink.training.validation import to_picture, to_tensor

ROOT = Path(__file__).parents[1]
RUNS = ROOT / "runs" / "invertibility"
STEPS = 400  # of IRN
WIDTH = 54  # channels of a pair's features: four blocks each way have the parameters of IRN's eight couplings
SETTINGS = ("run.precision=bfloat16", "run.threads=1", "run.max_time=0", "run.validate_every=60", "optim.average=0.99")
SETTINGS += ("loss.reconstruction=charbonnier", "loss.log=false", "loss.luma=1", "loss.guide=3")
SETTINGS += ("data.batch=2", "data.crop=48", "data.train=['../shared/data/train/photos_a']", "data.shares=[]")


class Pair(nn.Module):
    """An encoder and a decoder in the place of `IRN`: nothing makes one the inverse of the other.

    Both are residual networks of the dense blocks of IRN's couplings, on features that may be as wide as they like.
    """

    def __init__(self, shape: IRNConfig, blocks: int) -> None:
        super().__init__()
        self.config = shape
        self.haar = HaarDownsample()
        self.encoder, self.decoder = ResidualNetwork(12, 3, blocks), ResidualNetwork(3, 12, blocks)

    def forward(self, hr: Tensor) -> tuple[Tensor, Tensor]:
        """hr -> lr, and zeros for z."""
        bands = self.haar(hr)
        return bands[:, :3] + self.encoder(bands), torch.zeros_like(bands[:, 3:])

    def inverse(self, lr: Tensor, z: Tensor) -> Tensor:
        """lr and zeros -> hr."""
        return self.haar.inverse(torch.cat((lr, z), dim=1) + self.decoder(lr))

    latent, downscale, upscale = IRN.latent, IRN.downscale, IRN.upscale


class ResidualNetwork(nn.Module):
    """Dense blocks, each added to its input: (N, channels_in, H, W) -> (N, channels_out, H, W); starts as zero."""

    def __init__(self, channels_in: int, channels_out: int, blocks: int) -> None:
        super().__init__()
        self.head = nn.Conv2d(channels_in, WIDTH, 3, padding=1)
        self.blocks = nn.Sequential(*(AddedBlock(WIDTH, WIDTH) for _ in range(blocks)))
        self.tail = nn.Conv2d(WIDTH, channels_out, 3, padding=1)
        nn.init.zeros_(self.tail.weight)
        nn.init.zeros_(self.tail.bias)

    def forward(self, x: Tensor) -> Tensor:
        return self.tail(self.blocks(self.head(x))).to(x.dtype)


class AddedBlock(DenseBlock):
    """A dense block that is added to its input."""

    def forward(self, x: Tensor) -> Tensor:
        return x + super().forward(x)


@dataclasses.dataclass(frozen=True)
class Short:
    """A network after a short training, as a method of `unshrink.evaluate`."""

    name: str
    build: Callable[[IRNConfig], nn.Module]
    steps: int
    scale: int = 2

    @property
    def about(self) -> dict[str, Any]:
        network = self._loaded
        hr = torch.rand(1, 3, 64, 64)
        return {
            "parameters": train.parameters(network),
            "operations": operations(lambda: network.upscale(network.downscale(hr)), 64 * 64),
            "backend": f"torch {importlib.metadata.version('torch')}",
            "threads": torch.get_num_threads(),
            "training": {"steps": self.steps, "minutes": round(self._trained["minutes"], 1)},
        }

    def downscale(self, picture: Image) -> Image:
        network = self._loaded
        with torch.inference_mode():
            return Image(to_picture(network.downscale(to_tensor(picture.pixels))))

    def upscale(self, picture: Image) -> Image:
        network = self._loaded
        with torch.inference_mode():
            return Image(to_picture(network.upscale(to_tensor(picture.pixels))))

    @cached_property
    def _loaded(self) -> nn.Module:
        network = self.build(IRNConfig())
        network.load_state_dict(self._trained["network"])
        return network

    @cached_property
    def _trained(self) -> dict[str, Any]:
        """Averaged weights and the minutes that they took; from the run where it was made already."""
        file = RUNS / self.name / "weights.pt"
        if not file.exists():
            result = self._train()
            torch.save(result, file)
        return torch.load(file, weights_only=True)

    def _train(self) -> dict[str, Any]:
        own = (f"run.name={self.name}", f"run.folder={RUNS / self.name}", f"run.steps={self.steps}")
        settings = config.load(ROOT / "configs" / "irn-x2.toml", [*SETTINGS, *own])
        began = time.monotonic()
        torch.manual_seed(settings.run.seed)
        run = train.start(settings, resume=False, network=self.build(settings.model))
        with Journal(RUNS / self.name) as journal:
            train.loop(run, journal, print, lambda: False, lambda: time.monotonic() - began)
        return {"network": run.average.state_dict(), "minutes": (time.monotonic() - began) / 60}


TRIALS = (
    Short("short-irn-x2", IRN, STEPS),
    Short("short-pair-x2", lambda shape: Pair(shape, blocks=4), 2 * STEPS),
    Short("short-large-pair-x2", lambda shape: Pair(shape, blocks=8), STEPS),
)
