"""The runtimes that run a network: the same functions each, chosen by name or "auto".

In float32 small pictures agree between them to at most one value in 10,000, by one level of 255.  With subnets in
bfloat16, one in thirty is a level off; what comes back, here or elsewhere, is less than 0.02 dB worse.
"""

from collections.abc import Sequence
from functools import partial
from importlib.util import find_spec
from typing import Protocol

import numpy as np

from unshrink.errors import ConfigError, MissingDependencyError, WeightsError, not_installed
from unshrink.network.layers import Coupling, Residual, Step
from unshrink.runtime.backends.machine import has_amx, has_fast_bfloat16, has_kernels
from unshrink.weights import Weights

__all__ = ["NAMES", "PRECISIONS", "Backend", "available", "distribution", "make"]

NAMES = ("kernels", "openvino", "onnxruntime", "torch")  # fastest first, by `make bench`
PRECISIONS = ("float32", "bfloat16")  # of subnets: the picture and the couplings are float32 in both
_OF_GRAPHS = ("openvino", "onnxruntime")
_EXTRAS = {"onnxruntime": "ort", "torch": "torch"}


class Backend(Protocol):
    """A network ready to run, step by step of `weights.Weights.steps`.

    Arrays are float32, NCHW; results are C-contiguous, of the others the values of a row lie side by side.  RGB is in
    [0, 1], neither clamped nor rounded.  Threads may share it.
    Pickled, it is made anew from its arguments.

    Attributes:
        name: one of `NAMES`.
        precision: of subnets, one of `PRECISIONS`.
        device_memory: bytes that a run may take of a device of its own; 0: it computes in the memory of the machine.
    """

    name: str
    precision: str

    @property
    def device_memory(self) -> int: ...  # noqa: D102

    def joins(self, before: Step, after: Step) -> bool:
        """Whether pieces pass from a step to the next at once, rather than as strips of a picture."""
        ...

    def bytes_per_pixel(self, steps: Sequence[Step]) -> int:
        """Memory that a run takes at its peak for each pixel of the coarsest of the steps."""
        ...

    def run(self, steps: Sequence[Step], x: np.ndarray) -> np.ndarray:
        """x (1, C, H, W) through steps of the network, one after the other.

        A device of its own takes x once, and gives the result back once.
        """
        ...

    def gradient(self, lr: np.ndarray, z: np.ndarray, hr: np.ndarray, metric: np.ndarray) -> np.ndarray:
        """`network.network.Network.gradient`: lr (1, 3, h, w), z (1, Z, h, w), hr (1, 3, sh, sw), metric (3, 3).

        Returns:
            (1, 3, h, w).

        Raises:
            WeightsError: the weights carry no graph of it, and the backend needs one.
        """
        ...

    def release(self) -> None:
        """Gives back memory that is kept for the next run, as far as the runtime can."""
        ...


def available() -> tuple[str, ...]:
    """The names of the backends that are installed and that this processor can run, fastest first."""
    return tuple(name for name in NAMES if find_spec(_module(name)) and (name != "kernels" or has_kernels()))


def distribution(name: str) -> str:
    """What a backend is installed as."""
    return _module(name).replace("_", "-")


def _module(name: str) -> str:
    return "unshrink_kernels" if name == "kernels" else name


def make(
    weights: Weights, name: str = "auto", threads: int = 0, device: str = "cpu", precision: str = "auto"
) -> Backend:
    """Weights -> a network ready to run.

    Args:
        weights: what to run.
        name: one of `NAMES`, or "auto": the fastest that is installed and can run these weights on this device.
        threads: how many to compute with; 0 for as many as there are cores.
        device: where to compute: "cpu"; backend torch also takes "cuda", "cuda:1", "mps", ...
        precision: of subnets, one of `PRECISIONS`, or "auto": bfloat16 of plain subnets with the kernels and OpenVINO,
            where the processor is fast at it: `machine.has_fast_bfloat16`; float32 elsewhere.

    Raises:
        ConfigError: unknown backend or precision, or a device or a precision that the backend does not have.
        MissingDependencyError: the backend is not installed.
        WeightsError: the weights carry no graphs, and the backend needs them.
    """
    if name == "auto":
        name = _choose(weights, device, precision)
    if name not in NAMES:
        raise ConfigError(f"unknown backend {name!r}: known are auto, {', '.join(NAMES)}")
    if name != "torch" and device != "cpu":
        raise ConfigError(f"backend {name} runs on the cpu only, not on {device!r}: use backend torch")
    if name in _OF_GRAPHS and not weights.graphs:
        raise WeightsError(
            f"weights {weights.name} carry no ONNX graphs, which backend {name} needs: "
            "add them with `unshrink export FILE`, or use backend torch"
        )
    if precision == "auto":
        fast = name in ("kernels", "openvino") and has_fast_bfloat16() and _is_plain(weights)
        precision = "bfloat16" if fast else "float32"
    if precision not in PRECISIONS:
        raise ConfigError(f"unknown precision {precision!r}: known are auto, {', '.join(PRECISIONS)}")
    if name == "onnxruntime" and precision != "float32":
        raise ConfigError(f"backend onnxruntime computes in float32 only, not in {precision}: use openvino or torch")
    try:
        return _make(weights, name, threads, device, precision)
    except ImportError as exc:
        what = f"backend {name} is not installed or broken ({exc})"
        if name in _EXTRAS:
            raise not_installed(what, _EXTRAS[name]) from exc
        raise MissingDependencyError(f"{what}: pip install {distribution(name)}") from exc


def _is_plain(weights: Weights) -> bool:
    """Whether no subnet is dense: of those, bfloat16 costs more, and sums depend on how wide a piece is."""
    layers = [step.layer for steps in weights.steps.values() for step in steps]
    return not any(layer.subnet.dense for layer in layers if isinstance(layer, Coupling | Residual))


def _choose(weights: Weights, device: str, precision: str = "auto", besides: str = "") -> str:
    """The fastest backend for these weights on this device, in this precision."""
    # In bfloat16, OpenVINO computes with AMX, and the kernels do not.
    may = {
        "kernels": device == "cpu" and _is_plain(weights) and (precision == "float32" or not has_amx()),
        **dict.fromkeys(_OF_GRAPHS, bool(weights.graphs) and device == "cpu"),
    }
    return next((name for name in available() if name != besides and may.get(name, True)), "torch")


def _make(weights: Weights, name: str, threads: int, device: str, precision: str) -> Backend:
    # Imported here: each brings a runtime that may be absent, and takes up to seconds.
    if name == "kernels":
        from unshrink.runtime.backends.kernels import Kernels

        other = _choose(weights, device, precision, besides=name)
        of_other = precision if other != "onnxruntime" else "float32"
        return Kernels(weights, threads, precision, partial(make, weights, other, threads, precision=of_other))
    if name == "openvino":
        from unshrink.runtime.backends.openvino import OpenVINO

        return OpenVINO(weights, threads, precision)
    if name == "onnxruntime":
        from unshrink.runtime.backends.onnxruntime import OnnxRuntime

        return OnnxRuntime(weights, threads)
    from unshrink.runtime.backends.torch import Torch

    return Torch(weights, threads, device, precision)
