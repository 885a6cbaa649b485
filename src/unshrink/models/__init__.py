"""The networks, one file per method."""

from typing import Any

from unshrink.errors import ConfigError
from unshrink.models.irn import IRN, IRNConfig

__all__ = ["ARCHITECTURES", "IRN", "IRNConfig", "build"]

ARCHITECTURES = {"irn": (IRN, IRNConfig)}


def build(architecture: str, config: dict[str, Any]) -> IRN:
    """The untrained network of that architecture and configuration.  Raises ConfigError for an unknown one."""
    if architecture not in ARCHITECTURES:
        raise ConfigError(f"unknown architecture {architecture!r}: known are {', '.join(ARCHITECTURES)}")
    network, config_class = ARCHITECTURES[architecture]
    return network(config_class(**{**config, "blocks": tuple(config.get("blocks", ()))}))
