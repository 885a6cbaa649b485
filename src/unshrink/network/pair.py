"""An encoder and a decoder that need not undo each other: two residual networks on the bands of a Haar transform.

    hr ── Haar ── head, residual blocks, tail ──> lr (N, 3, H/2, W/2) ── head, residual blocks, tail ── Haar ──> hr

Features of any width stand beside what is carried along: the bands on the way down, the small picture on the way up.
Both start as IRN does: the small picture is the low band, and its details come back as zero.  There is no z.

The study that it serves is ``benchmarks/invertibility.py``: what invertibility alone does.
"""

from dataclasses import dataclass
from typing import ClassVar

from unshrink.network.config import refuse
from unshrink.network.layers import COLOURS, Haar, Head, Layer, Residual, Step, Tail, chain, is_whole, mirrored
from unshrink.network.subnets import dense


@dataclass(frozen=True)
class PairConfig:
    """The shape of one pair.

    Attributes:
        blocks: residual blocks of the encoder, and of the decoder.
        width: channels of the features.
        growth: channels that each convolution of a block adds.
        scale: 2.
        latent: "zero": there is no z to draw.

    Raises:
        ConfigError: a value that no network has.
    """

    blocks: int = 4
    width: int = 54
    growth: int = 32
    scale: int = 2
    latent: str = "zero"
    architecture: ClassVar[str] = "pair"

    def __post_init__(self) -> None:
        """Refuses shapes that do not exist; values may come from a file of a stranger."""
        refuse(
            self,
            blocks=(is_whole(self.blocks, 0, 64), "allowed are 0 to 64"),
            width=(is_whole(self.width, 1, 1024), "allowed are 1 to 1024"),
            growth=(is_whole(self.growth, 1, 1024), "allowed are 1 to 1024"),
            scale=(self.scale == 2, "allowed is 2"),
            latent=(self.latent == "zero", "allowed is zero"),
        )


def encoder(config: PairConfig) -> list[Step]:
    """Haar, then the residual network from all bands to the small picture."""
    return chain([Haar(COLOURS), *_residual_network(config, 4 * COLOURS, COLOURS)], "encoder", "down")


def decoder(config: PairConfig) -> list[Step]:
    """The residual network from the small picture to all bands, then Haar's inverse."""
    steps = chain(_residual_network(config, COLOURS, 4 * COLOURS), "decoder", "up", scale=config.scale)
    return [*steps, *mirrored(encoder(config)[:1])]


def _residual_network(config: PairConfig, inputs: int, outputs: int) -> list[Layer]:
    blocks = [Residual(inputs, config.width, dense(config.growth))] * config.blocks
    return [Head(inputs, config.width), *blocks, Tail(inputs, config.width, outputs)]
