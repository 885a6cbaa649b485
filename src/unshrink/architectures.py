"""The shapes of networks, known without building them, and so without torch."""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from unshrink.errors import ConfigError, WeightsError

Shape = tuple[int, ...]

COLOURS = 3
LATENTS = ("zero", "gaussian")
SUBNETS = ("dense", "plain")
_PUBLISHED = ("scale", "blocks", "growth", "clamp", "latent")
LEVELS = {2: 1, 3: 1, 4: 2, 8: 3}


@dataclass(frozen=True)
class IRNConfig:
    """The shape of one network of `models.irn`.

    Attributes:
        scale: 2, 4 or 8 (one, two or three Haar levels), or 3 (one learned downsampling).
        blocks: coupling blocks per level, first level first.
        growth: channels that each convolution of a dense subnet adds.
        clamp: bound of the log scale in a coupling.
        latent: how z is chosen to restore: "zero", or "gaussian" (drawn from N(0, 1)).
        subnet: what f, g and h are: "dense" (as published) or "plain" convolutions.
        width: channels between the convolutions of a plain subnet.
        depth: convolutions of a plain subnet.
        joint: whether shift and scale come from one subnet of twice the results.
        additive: whether blocks shift the detail without scaling it.
        steady: whether areas of one colour stay as they are, by construction: the subnets have no biases, and see of the low
            band only the differences of neighbours.
        residual: whether the inner convolutions of a plain subnet add to their input.

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
    additive: bool = False
    residual: bool = False
    steady: bool = False

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
            "subnet": (self.subnet in SUBNETS, f"allowed are {', '.join(SUBNETS)}"),
            "width": (type(self.width) is int and 1 <= self.width <= 1024, "allowed are 1 to 1024"),
            "depth": (type(self.depth) is int and 1 <= self.depth <= 16, "allowed are 1 to 16"),
            **{
                name: (type(getattr(self, name)) is bool, "allowed are true and false")
                for name in ("joint", "additive", "residual", "steady")
            },
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
    """The configuration that a weights file states in plain lists and numbers.

    Every field of the published network must be there; those of plain subnets have defaults.

    Raises:
        WeightsError: unknown architecture, or a configuration that it does not have.
    """
    if architecture != "irn":
        raise WeightsError(f"unknown architecture {architecture!r:.100}: known is irn")
    fields = set(IRNConfig.__dataclass_fields__)
    if not set(_PUBLISHED) <= set(config) <= fields:
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
            for subnet, inputs, outputs in (("f", detail, COLOURS), *scale_and_shift(config, detail)):
                yield from _subnet(f"layers.{index}.{subnet}.convs", inputs, outputs, config)


def scale_and_shift(config: IRNConfig, detail: int) -> list[tuple[str, int, int]]:
    """The subnets of a block that see the low band: name, inputs, results."""
    seen = 2 * COLOURS if config.steady else COLOURS
    if config.additive:
        return [("g", seen, detail)]
    if config.joint:
        return [("gh", seen, 2 * detail)]
    return [("g", seen, detail), ("h", seen, detail)]


def _subnet(prefix: str, inputs: int, outputs: int, config: IRNConfig) -> Iterator[tuple[str, Shape]]:
    dense = config.subnet == "dense"
    widths = [config.growth] * 4 + [outputs] if dense else [config.width] * (config.depth - 1) + [outputs]
    for i, width in enumerate(widths):
        seen = inputs + i * config.growth if dense else config.width if i else inputs
        yield f"{prefix}.{i}.weight", (width, seen, 3, 3)
        if not config.steady:
            yield f"{prefix}.{i}.bias", (width,)
