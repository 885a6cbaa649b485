"""What is asked for with pictures and with clips alike.

Nothing heavy is imported here: the help pages read their defaults from what builds on it.
"""

from dataclasses import dataclass
from typing import Any

from unshrink.errors import UsageError


@dataclass(frozen=True, kw_only=True)
class CommonOptions:
    """Which network is run and how, and how large what it is given may be.

    Attributes:
        model: weights, a name or the path of a file; None for those that fit.
        max_pixels: the most that are read or restored at once, in one picture or frame; None for 178,956,970.
        backend: "kernels", "openvino", "onnxruntime", "torch", or "auto" for the fastest that is installed.
        device: where the torch backend runs: "cpu", "cuda", ...
        threads: CPU threads; 0 for all cores.
        tile: longest side, in large pixels, of what is run at once; 0 to choose by the free memory.
        precision: "float32", "bfloat16", or "auto" for what is fast here: see `load`.

    Raises:
        UsageError: a value that there is not; the message names the option.
    """

    model: str | None = None
    max_pixels: int | None = None
    backend: str = "auto"
    device: str = "cpu"
    threads: int = 0
    tile: int = 0
    precision: str = "auto"

    def __post_init__(self) -> None:
        self._require_whole("max_pixels", 1, optional=True)
        self._require_whole("threads", 0)
        self._require_whole("tile", 0)

    def _require(self, field: str, met: bool, allowed: str) -> None:
        if not met:
            raise UsageError(f"{field} is {getattr(self, field)!r:.60}: allowed are {allowed}")

    def _require_whole(self, field: str, least: int, optional: bool = False) -> None:
        value = getattr(self, field)
        met = (optional and value is None) or is_whole(value, least)
        self._require(field, met, f"{'None and ' if optional else ''}whole numbers from {least}")


def is_whole(value: Any, least: int) -> bool:
    """Whether it is a whole number of at least so much."""
    return isinstance(value, int) and value >= least
