"""Weights made ready as the options of pictures and of clips say, and what both say of what ran."""

import time
from typing import Any

from unshrink import weights as zoo
from unshrink.runtime import backends
from unshrink.runtime.options import CommonOptions
from unshrink.runtime.rescaler import Rescaler


def ready(weights: zoo.Weights, options: CommonOptions) -> Rescaler:
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
