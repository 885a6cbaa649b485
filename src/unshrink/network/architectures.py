"""The architectures that there are, and networks of them by their names and stored configurations.

Nothing here needs torch.
"""

import dataclasses
import typing
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from unshrink.errors import ConfigError, WeightsError
from unshrink.network import irn, pair
from unshrink.network.config import NetworkConfig
from unshrink.network.layers import Step
from unshrink.network.subnets import Shape


@dataclass(frozen=True)
class Architecture:
    """One kind of network.

    Attributes:
        config: the class of its configurations.
        encoder: a configuration -> the layers down, which give the small picture first, and z beside it.
        decoder: a configuration -> the layers up, which take the same.
    """

    config: type[Any]
    encoder: Callable[[Any], list[Step]]
    decoder: Callable[[Any], list[Step]]


ARCHITECTURES = {
    "irn": Architecture(irn.IRNConfig, irn.encoder, irn.decoder),
    "pair": Architecture(pair.PairConfig, pair.encoder, pair.decoder),
}


def encoder(config: NetworkConfig) -> list[Step]:
    """The layers from the large picture to the small one, in the order in which they run."""
    return ARCHITECTURES[config.architecture].encoder(config)


def decoder(config: NetworkConfig) -> list[Step]:
    """The layers from the small picture to the large one, in the order in which they run."""
    return ARCHITECTURES[config.architecture].decoder(config)


def from_dict(architecture: str, stored: Mapping[str, Any]) -> NetworkConfig:
    """The configuration that a weights file states in plain lists and numbers; what it leaves out has its default.

    Raises:
        WeightsError: unknown architecture, or a configuration that it does not have.

    Example:
        >>> from_dict("irn", {"scale": 4, "blocks": [1, 8]}).growth
        32
    """
    if architecture not in ARCHITECTURES:
        raise WeightsError(f"unknown architecture {architecture!r:.100}: known are {', '.join(ARCHITECTURES)}")
    kind = ARCHITECTURES[architecture].config
    fields = {field.name for field in dataclasses.fields(kind)}
    if unknown := sorted(set(stored) - fields):
        raise WeightsError(f"its config has {', '.join(unknown)!r:.100}, which this unshrink does not know: update it")
    values = {name: tuple(value) if isinstance(value, list) else value for name, value in stored.items()}
    try:
        return typing.cast(NetworkConfig, kind(**values))
    except ConfigError as error:
        raise WeightsError(f"its config is impossible: {error}") from None


def to_dict(config: NetworkConfig) -> dict[str, Any]:
    """A configuration as weights store it: all fields, in plain lists and numbers."""
    fields = dataclasses.asdict(typing.cast(Any, config))
    return {name: list(value) if isinstance(value, tuple) else value for name, value in fields.items()}


def shapes(config: NetworkConfig) -> dict[str, Shape]:
    """Name and shape of every parameter of a network, in the order of its ``state_dict``.

    Example:
        >>> shapes(irn.IRNConfig(scale=2, blocks=(1,)))["layers.1.f.convs.0.weight"]
        (32, 9, 3, 3)
    """
    return {name: shape for step in (*encoder(config), *decoder(config)) for name, shape in step.shapes()}
