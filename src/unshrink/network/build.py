"""The networks, one file per method."""

from collections.abc import Mapping
from typing import Any

from unshrink.network.architectures import from_dict
from unshrink.network.irn import IRN

__all__ = ["IRN", "build"]


def build(architecture: str, config: Mapping[str, Any]) -> IRN:
    """The untrained network of an architecture and its whole configuration.

    Raises:
        WeightsError: unknown architecture, or a configuration that it does not have.
    """
    return IRN(from_dict(architecture, config))
