"""The shapes of networks, known without building them, and so without torch."""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from unshrink.errors import ConfigError, WeightsError

Shape = tuple[int, ...]

COLOURS = 3
LATENTS = ("zero", "gaussian")
LEVELS = {2: 1, 3: 1, 4: 2, 8: 3}


@dataclass(frozen=True)
class IRNConfig:
    """The shape of one network of `models.irn`.

    Attributes:
        scale: 2, 4 or 8 (one, two or three Haar levels), or 3 (one learned downsampling).
        blocks: coupling blocks per level, first level first.
        growth: channels that each convolution of a subnet adds.
        clamp: bound of the log scale in a coupling.
        latent: how z is chosen to restore: "zero", or "gaussian" (drawn from N(0, 1)).

    Raises:
        ConfigError: a value that no network has.
    """

    scale: int = 2
    blocks: tuple[int, ...] = (8,)
    growth: int = 32
    clamp: float = 1.0
    latent: str = "zero"

    def __post_init__(self) -> None:
        """Refuses shapes that do not exist; values may come from a file of a stranger."""
        levels = LEVELS.get(self.scale, 0) if type(self.scale) is int else 0
        blocks = self.blocks if isinstance(self.blocks, tuple) else ()
        allowed = {
            "scale": (levels > 0, f"allowed are {', '.join(map(str, LEVELS))}"),
            "blocks": (
                len(blocks) == levels and all(type(count) is int and 0 <= count <= 64 for count in blocks),
                f"scale {self.scale} takes {levels} numbers of blocks, one per level, each 0 to 64",
            ),
            "growth": (type(self.growth) is int and 1 <= self.growth <= 1024, "allowed are 1 to 1024"),
            "clamp": (
                type(self.clamp) in (int, float) and math.isfinite(self.clamp) and self.clamp > 0,
                "it must be a positive number",
            ),
            "latent": (self.latent in LATENTS, f"allowed are {', '.join(LATENTS)}"),
        }
        for name, (valid, rule) in allowed.items():
            if not valid:
                raise ConfigError(f"model.{name} is {getattr(self, name)!r:.100}: {rule}")


@dataclass(frozen=True)
class Layer:
    """A layer of a network: a downsampling, or a coupling block.

    Attributes:
        factor: how many times smaller it makes each side; 1 for a coupling block.
        scale: how many times smaller than the large picture its result is.
        channels: of its result.
        last: whether nothing follows: then only the low band of its result is of use.
    """

    factor: int
    scale: int
    channels: int
    last: bool

    def graph(self, direction: str) -> str:
        """The name of the graph that runs it "down" or "up"; layers of one graph differ in parameters alone."""
        kind = "split" if self.factor > 1 else "block"
        return f"{direction}.x{self.scale}.{kind}{'.low' if self.last and direction == 'down' else ''}"


def layers(architecture: str, config: Mapping[str, Any]) -> list[Layer]:
    """The layers of a network from the large picture to the small one; the parameters of the third are ``layers.2.*``.

    Raises:
        WeightsError: as in `from_dict`.

    Example:
        >>> config = {"scale": 2, "blocks": [1], "growth": 32, "clamp": 1.0, "latent": "zero"}
        >>> [layer.graph("down") for layer in layers("irn", config)]
        ['down.x2.split', 'down.x2.block.low']
    """
    return _layers(from_dict(architecture, config))


def from_dict(architecture: str, config: Mapping[str, Any]) -> IRNConfig:
    """The configuration that a weights file states in plain lists and numbers; every field must be there.

    Raises:
        WeightsError: unknown architecture, or a configuration that it does not have.
    """
    if architecture != "irn":
        raise WeightsError(f"unknown architecture {architecture!r:.100}: known is irn")
    fields = set(IRNConfig.__dataclass_fields__)
    if set(config) != fields:
        raise WeightsError(f"its config has the fields {sorted(config)} instead of {sorted(fields)}")
    blocks = config["blocks"]
    try:
        return IRNConfig(**{**config, "blocks": tuple(blocks) if isinstance(blocks, list | tuple) else blocks})
    except ConfigError as error:
        raise WeightsError(f"its config is impossible: {error}") from None


def expected_shapes(architecture: str, config: Mapping[str, Any]) -> dict[str, Shape]:
    """Name and shape of every parameter of a network, in the order of its ``state_dict``.

    Raises:
        WeightsError: as in `from_dict`.

    Example:
        >>> config = {"scale": 2, "blocks": [1], "growth": 32, "clamp": 1.0, "latent": "zero"}
        >>> expected_shapes("irn", config)["layers.1.f.convs.0.weight"]
        (32, 9, 3, 3)
    """
    return dict(_irn_shapes(from_dict(architecture, config)))


def operations(architecture: str, config: Mapping[str, Any]) -> float:
    """Multiply-adds of a network's convolutions for each pixel of the large picture, in one direction.

    Raises:
        WeightsError: as in `from_dict`.

    Example:
        >>> operations("irn", {"scale": 2, "blocks": [8], "growth": 32, "clamp": 1.0, "latent": "zero"})
        416178.0
    """
    made = from_dict(architecture, config)
    scales = [layer.scale for layer in _layers(made)]
    convolutions = [(name, shape) for name, shape in _irn_shapes(made) if len(shape) == 4]
    return sum(math.prod(shape) / scales[int(name.split(".")[1])] ** 2 for name, shape in convolutions)


def _layers(config: IRNConfig) -> list[Layer]:
    factor, made = 3 if config.scale == 3 else 2, []
    for level, blocks in enumerate(config.blocks, 1):
        scale = factor**level
        made += [Layer(size, scale, COLOURS * scale**2, last=False) for size in [factor] + [1] * blocks]
    return [*made[:-1], replace(made[-1], last=True)]


def _irn_shapes(config: IRNConfig) -> Iterator[tuple[str, Shape]]:
    for index, layer in enumerate(_layers(config)):
        if layer.factor == 3:
            yield f"layers.{index}.matrix", (layer.channels // 9, 9, 9)
        elif layer.factor == 1:
            detail = layer.channels - COLOURS
            for subnet, inputs, outputs in (("f", detail, COLOURS), ("g", COLOURS, detail), ("h", COLOURS, detail)):
                yield from _dense_block(f"layers.{index}.{subnet}.convs", inputs, outputs, config.growth)


def _dense_block(prefix: str, inputs: int, outputs: int, growth: int) -> Iterator[tuple[str, Shape]]:
    for i, width in enumerate([growth] * 4 + [outputs]):
        yield f"{prefix}.{i}.weight", (width, inputs + i * growth, 3, 3)
        yield f"{prefix}.{i}.bias", (width,)
