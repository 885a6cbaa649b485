"""Weights made ready as the options of pictures and of clips say, and what both say of what ran."""

import time
from typing import Any, Protocol

from unshrink import weights as zoo
from unshrink.runtime import backends
from unshrink.runtime.rescaler import Rescaler


class Computing(Protocol):
    """Options of how the network is run: see `load`."""

    @property
    def backend(self) -> str:
        """Its name, or "auto"."""

    @property
    def device(self) -> str:
        """Where the torch backend runs."""

    @property
    def threads(self) -> int:
        """Of the processor; 0 for all cores."""

    @property
    def tile(self) -> int:
        """Longest side of what is run at once; 0 to choose by the free memory."""

    @property
    def precision(self) -> str:
        """ "float32", "bfloat16" or "auto"."""


def ready(weights: zoo.Weights, options: Computing) -> Rescaler:
    """Weights, ready to run as the options say."""
    backend = backends.make(weights, options.backend, options.threads, options.device, options.precision)
    return Rescaler(weights, backend, options.tile)


def about(model: Rescaler, began: float) -> dict[str, Any]:
    """What made a picture or a clip, and in how many seconds since ``began``, a time of `time.perf_counter`."""
    return {
        "model": model.weights.name,
        "weights": model.weights.identity[: zoo.IDENTITY_DIGITS],
        "scale": model.scale,
        "backend": model.backend.name,
        "precision": model.backend.precision,
        "seconds": round(time.perf_counter() - began, 3),
    }
