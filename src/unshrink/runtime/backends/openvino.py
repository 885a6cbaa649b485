"""OpenVINO: the fastest convolutions on x86."""

import contextlib
import hashlib
import os
import sys
from collections.abc import Callable, Sequence
from functools import cache, cached_property, partial
from threading import Lock
from typing import Any

import numpy as np

from unshrink.network.layers import Step
from unshrink.runtime.backends import compiled, parts
from unshrink.runtime.backends.host import Host
from unshrink.runtime.backends.machine import cpu_features
from unshrink.runtime.backends.onnx_model import gradient_model, open_model
from unshrink.weights import Weights

# Every new size costs primitives, of which the cache of oneDNN below OpenVINO would keep 1,024: memory grew by 1 MiB
# with each size.  One run needs fewer than these, and they save as much time.
os.environ.setdefault("ONEDNN_PRIMITIVE_CACHE_CAPACITY", "64")

# Importing openvino imports its model converter, which reports that to Google Analytics and triples the time.
# Hidden, it is left out; whoever wants it can still import openvino.tools.ovc.
_CONVERTER = "openvino.tools.ovc"
sys.modules.setdefault(_CONVERTER, None)  # type: ignore[arg-type]
try:
    import openvino
finally:
    if sys.modules[_CONVERTER] is None:
        del sys.modules[_CONVERTER]


@cache
def _core() -> Any:
    """The one Core of the process, kept until it ends.

    Each Core gives the thread another stack for signal handlers and gives back the one it found when it goes.  Two
    that go in the order in which they came leave the thread a stack that is freed: then the next Ctrl-C is a crash.
    """
    return openvino.Core()


class OpenVINO(Host):
    """A network on OpenVINO's CPU plug-in.  A graph is compiled when it is first used.

    Args:
        weights: what to run; must carry graphs.
        threads: how many to compute with; 0 for as many as there are cores.
        precision: of subnets.  Even in bfloat16, OpenVINO keeps in float32 what lies between convolutions and the
            result: so the picture and the couplings, in the order of `network.fast`.  The gradient, which has no such
            order, is float32.
    """

    name = "openvino"

    def __init__(self, weights: Weights, threads: int = 0, precision: str = "float32") -> None:
        self._weights, self.precision = weights, precision
        self._compiled: dict[str, Any] = {}
        self._parameters: dict[Step, dict[str, np.ndarray]] = {}
        self._lock = Lock()  # a compiled model runs one request at a time, and each uses every thread
        self._config: dict[str, Any] = {
            "PERFORMANCE_HINT": "LATENCY",
            "INFERENCE_NUM_THREADS": threads,
            "CPU_RUNTIME_CACHE_CAPACITY": 0,  # a second cache of the same, which would keep 5,000
            "ENABLE_CPU_PINNING": False,  # pinned, two processes would share the first cores and leave the others idle
        }

    def __reduce__(self) -> tuple[Any, ...]:
        return OpenVINO, (self._weights, self._config["INFERENCE_NUM_THREADS"], self.precision)

    def run(self, steps: Sequence[Step], x: np.ndarray) -> np.ndarray:
        """x (1, C, H, W) through the steps.

        Layers alike are one compiled model, which takes their parameters as inputs: so they share its memory.
        """
        return parts.run(steps, x, self._run_graph)

    def gradient(self, lr: np.ndarray, z: np.ndarray, hr: np.ndarray, metric: np.ndarray) -> np.ndarray:
        """lr (1, 3, h, w), z (1, Z, h, w), hr (1, 3, sh, sw) and metric (3, 3) -> gradient (1, 3, h, w)."""
        inputs, result = {"lr": lr, "z": z, "hr": hr, "metric": metric}, np.empty_like(lr)
        self._run("gradient", partial(gradient_model, self._weights), inputs, result)
        return result

    def release(self) -> None:
        """Gives back the memory of the features, which each graph keeps as large as the largest piece needed it."""
        with self._lock:
            for model in self._compiled.values():
                model.release_memory()

    def _parameters_of(self, step: Step) -> dict[str, np.ndarray]:
        if step not in self._parameters:
            self._parameters[step] = step.parameters(self._tensors)
        return self._parameters[step]

    @cached_property
    def _tensors(self) -> dict[str, np.ndarray]:
        """All parameters in float32, shared by both directions."""
        return {name: values.astype(np.float32) for name, values in self._weights.tensors.items()}

    def _run_graph(self, step: Step, part: str, inputs: dict[str, np.ndarray], out: np.ndarray) -> None:
        source = partial(open_model, self._weights, step, part)
        self._run(step.graph(part), source, {**inputs, **self._parameters_of(step)}, out)

    def _run(self, name: str, source: Callable[[], bytes], inputs: dict[str, np.ndarray], out: np.ndarray) -> None:
        with self._lock:
            if name in self._compiled:
                _infer(self._compiled[name], inputs, out)
            else:
                self._first(name, source(), inputs, out)

    def _first(self, name: str, source: bytes, inputs: dict[str, np.ndarray], out: np.ndarray) -> None:
        """Runs what an earlier process compiled, if that fits this one in all that matters; else compiles."""
        precision = "bf16" if self.precision == "bfloat16" and name != "gradient" else "f32"
        config = {**self._config, "INFERENCE_PRECISION_HINT": precision}
        key = openvino.__version__, sorted(cpu_features()), sorted(config.items()), hashlib.sha256(source).hexdigest()
        if blob := compiled.load(*key):
            with contextlib.suppress(Exception):  # of many types, as it is read or runs: of no use after all
                kept = _core().import_model(blob, "CPU", config)
                _infer(kept, inputs, out)
                self._compiled[name] = kept
                return
        made = self._compiled[name] = _core().compile_model(_core().read_model(source), "CPU", config)
        compiled.store(made.export_model().getvalue(), *key)
        _infer(made, inputs, out)


def _infer(model: Any, inputs: dict[str, np.ndarray], out: np.ndarray) -> None:
    used = {port.any_name: inputs[port.any_name] for port in model.inputs}  # without what it does not depend on
    out[:] = model(used, share_inputs=True, share_outputs=True)[0]
