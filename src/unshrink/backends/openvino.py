"""OpenVINO: the fastest convolutions on x86."""

import contextlib
import hashlib
import os
import sys
from functools import cache
from threading import Lock
from typing import Any

import numpy as np

from unshrink.backends import compiled
from unshrink.backends.machine import cpu_features
from unshrink.backends.onnx_model import whole_model
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


class OpenVINO:
    """A network on OpenVINO's CPU plug-in.  A graph is compiled when it is first used.

    Args:
        weights: what to run; must carry graphs.
        threads: how many to compute with; 0 for as many as there are cores.
        fast: subnets in bfloat16.  OpenVINO keeps in float32 what lies between convolutions and the result: so the
            picture and the couplings of the graphs that `fused` makes.  Not the gradient, which has no such order.
    """

    name = "openvino"

    def __init__(self, weights: Weights, threads: int = 0, fast: bool = False) -> None:
        self._weights, self.fast = weights, fast
        self._compiled: dict[str, Any] = {}
        self._lock = Lock()  # a compiled model runs one request at a time, and each uses every thread
        self._config: dict[str, Any] = {
            "PERFORMANCE_HINT": "LATENCY",
            "INFERENCE_NUM_THREADS": threads,
            "CPU_RUNTIME_CACHE_CAPACITY": 0,  # a second cache of the same, which would keep 5,000
            "ENABLE_CPU_PINNING": False,  # pinned, two processes would share the first cores and leave the others idle
        }

    def down(self, hr: np.ndarray) -> np.ndarray:
        """hr (1, 3, H, W) -> lr (1, 3, H/s, W/s)."""
        return self._run("down", {"hr": hr})

    def up(self, lr: np.ndarray, z: np.ndarray) -> np.ndarray:
        """lr (1, 3, h, w) and z (1, 3s^2-3, h, w) -> hr (1, 3, sh, sw)."""
        return self._run("up", {"lr": lr, "z": z})

    def gradient(self, lr: np.ndarray, z: np.ndarray, hr: np.ndarray) -> np.ndarray:
        """lr (1, 3, h, w), z (1, 3s^2-3, h, w) and hr (1, 3, sh, sw) -> gradient (1, 3, h, w)."""
        return self._run("gradient", {"lr": lr, "z": z, "hr": hr})

    def _run(self, graph: str, inputs: dict[str, np.ndarray]) -> np.ndarray:
        with self._lock:
            if graph not in self._compiled:
                self._compiled[graph] = self._compile(graph)
            result: np.ndarray = self._compiled[graph](inputs, share_inputs=True, share_outputs=False)[0]
        return result

    def _compile(self, graph: str) -> Any:
        """The graph ready to run: what an earlier process compiled, if that fits this one in all that matters."""
        precision = "bf16" if self.fast and graph != "gradient" else "f32"
        config = {**self._config, "INFERENCE_PRECISION_HINT": precision}
        source = hashlib.sha256(self._weights.graphs.get(graph, b"")).hexdigest()
        key = openvino.__version__, sorted(cpu_features()), sorted(config.items()), self._weights.identity, source
        blob = compiled.load(*key)
        if blob is not None:
            with contextlib.suppress(RuntimeError):  # of no use after all: compile anew
                return _core().import_model(blob, "CPU", config)
        made = _core().compile_model(_core().read_model(whole_model(self._weights, graph)), "CPU", config)
        compiled.store(made.export_model().getvalue(), *key)
        return made
