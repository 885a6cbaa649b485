"""IRN: Haar transforms and coupling blocks, the network of the paper.

    hr (N, 3, H, W) ── Haar, blocks ── Haar, blocks ── ... ──> lr (N, 3, H/s, W/s), z (N, 3s^2-3, H/s, W/s)

Every level halves the picture; z is what is left beside the small picture.  It is dropped, and set to zero or drawn
again to restore: which of both belongs to the weights, since a network trained with one does badly with the other.

Reference: Xiao et al., Invertible Image Rescaling, ECCV 2020, arXiv 2005.05650.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import ClassVar

from unshrink.network.config import LATENTS, refuse
from unshrink.network.layers import (
    COLOURS,
    Coupling,
    Dct,
    Haar,
    Head,
    Layer,
    Learned,
    Residual,
    Step,
    Tail,
    chain,
    is_whole,
    mirrored,
)
from unshrink.network.subnets import dense, plain

LEVELS = {2: 1, 3: 1, 4: 2, 8: 3}


@dataclass(frozen=True)
class IRNConfig:
    """The shape of one network.

    Attributes:
        scale: 2, 4 or 8 (one, two or three Haar levels), or 3 (one level of 3x3 blocks).
        blocks: coupling blocks per level, first level first.
        growth: channels that each convolution of a dense subnet adds.
        clamp: bound of the log scale in a coupling.
        latent: how z is chosen to restore: "zero", or "gaussian" (drawn from N(0, 1)).
        subnet: "dense", as published, or "plain": convolutions one after the other.
        width: channels of the features of a plain subnet.
        depth: convolutions of a plain subnet.
        joint: whether one subnet gives both shift and scale of the detail.
        steady: whether areas of one colour stay exactly as they are: subnets have no biases, and see of the low band
            only the differences of neighbours; at x3 the downsampling is a DCT, where it is learned otherwise.
        restorer: residual blocks that see the small picture first, on the way up, where it does not arrive as it was
            made: they estimate what was made and z, which then go through the inverse.  0: neither is estimated.

    Raises:
        ConfigError: a value that no network has.
    """

    scale: int = 2
    blocks: tuple[int, ...] = (8,)
    growth: int = 32
    clamp: float = 1.0
    latent: str = "zero"
    subnet: str = "dense"
    width: int = 64
    depth: int = 3
    joint: bool = False
    steady: bool = False
    restorer: int = 0
    architecture: ClassVar[str] = "irn"

    def __post_init__(self) -> None:
        """Refuses shapes that do not exist; values may come from a file of a stranger."""
        levels = LEVELS.get(self.scale, 0) if type(self.scale) is int else 0
        blocks = self.blocks if isinstance(self.blocks, tuple) else ()
        clamp = type(self.clamp) in (int, float) and math.isfinite(self.clamp) and self.clamp > 0
        counts = f"scale {self.scale} takes {levels} numbers of blocks, one per level, each 0 to 64"
        refuse(
            self,
            scale=(levels > 0, f"allowed are {', '.join(map(str, LEVELS))}"),
            blocks=(len(blocks) == levels and all(is_whole(count, 0, 64) for count in blocks), counts),
            growth=(is_whole(self.growth, 1, 1024), "allowed are 1 to 1024"),
            clamp=(clamp, "it must be a positive number"),
            latent=(self.latent in LATENTS, f"allowed are {', '.join(LATENTS)}"),
            subnet=(self.subnet in ("dense", "plain"), "allowed are dense, plain"),
            width=(is_whole(self.width, 1, 1024), "allowed are 1 to 1024"),
            depth=(is_whole(self.depth, 2, 16), "allowed are 2 to 16"),
            joint=(type(self.joint) is bool, "allowed are true, false"),
            steady=(type(self.steady) is bool, "allowed are true, false"),
            restorer=(is_whole(self.restorer, 0, 64), "allowed are 0 to 64"),
        )


def encoder(config: IRNConfig) -> list[Step]:
    """The layers down to the small picture; of the last, only the small picture is wanted.

    Example:
        >>> [step.graphs for step in encoder(IRNConfig(scale=2, blocks=(1,)))]
        [['down.x2.split'], ['down.x2.block.low']]
    """
    *steps, last = chain(_layers(config), "layers", "down")
    return [*steps, replace(last, low=True)]


def decoder(config: IRNConfig) -> list[Step]:
    """The restorer if there is one, and the encoder mirrored."""
    return [*chain(_restorer(config), "restorer", "up", scale=config.scale), *mirrored(encoder(config))]


def _restorer(config: IRNConfig) -> Iterator[Layer]:
    if not config.restorer:
        return
    yield Head(COLOURS, config.width, config.steady)
    for _ in range(config.restorer):
        yield Residual(COLOURS, config.width, plain(config.width, 2, bias=not config.steady))
    yield Tail(COLOURS, config.width, COLOURS * config.scale**2, config.steady)


def _layers(config: IRNConfig) -> Iterator[Layer]:
    bias = not config.steady
    subnet = dense(config.growth, bias) if config.subnet == "dense" else plain(config.width, config.depth, bias)
    downsampling = Haar if config.scale != 3 else Dct if config.steady else Learned
    channels = COLOURS
    for blocks in config.blocks:
        split = downsampling(channels)
        yield split
        channels = split.channels[1]
        for _ in range(blocks):
            yield Coupling(channels, subnet, config.joint, config.clamp, config.steady)
