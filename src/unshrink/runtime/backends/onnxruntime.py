"""ONNX Runtime: runs everywhere."""

from collections.abc import Sequence
from functools import cache, cached_property
from typing import Any

import numpy as np
import onnxruntime

from unshrink.network.layers import Step
from unshrink.runtime.backends import parts
from unshrink.runtime.backends.host import Host
from unshrink.runtime.backends.onnx_model import gradient_model, layer_model
from unshrink.weights import Weights


@cache
def _share_memory() -> None:
    """One arena for all sessions of the process: each layer is a session, and they run one after the other."""
    kind = onnxruntime.OrtAllocatorType.ORT_ARENA_ALLOCATOR
    place = onnxruntime.OrtMemoryInfo("Cpu", kind, 0, onnxruntime.OrtMemType.DEFAULT)
    onnxruntime.create_and_register_allocator(place, None)


class OnnxRuntime(Host):
    """A network on ONNX Runtime's CPU provider.  A layer is loaded when it is first used.

    Args:
        weights: what to run; must carry graphs.
        threads: how many to compute with; 0 for as many as there are cores.
    """

    name = "onnxruntime"
    precision = "float32"  # its convolutions know no bfloat16

    def __init__(self, weights: Weights, threads: int = 0) -> None:
        self._weights = weights
        self._graphs: dict[tuple[Step, str], onnxruntime.InferenceSession] = {}
        self._options = onnxruntime.SessionOptions()
        self._options.intra_op_num_threads = threads
        # It would warn of parameters that the graph of the last layer does not use.
        self._options.log_severity_level = 3
        self._options.add_session_config_entry("session.use_env_allocators", "1")
        # Threads of the layer before, waiting for more to do, would take the cores from those of the next.
        self._options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        _share_memory()

    def __reduce__(self) -> tuple[Any, ...]:
        return OnnxRuntime, (self._weights, self._options.intra_op_num_threads)

    def run(self, steps: Sequence[Step], x: np.ndarray) -> np.ndarray:
        """x (1, C, H, W) through the steps."""
        return parts.run(steps, x, self._run_graph)

    def gradient(self, lr: np.ndarray, z: np.ndarray, hr: np.ndarray, metric: np.ndarray) -> np.ndarray:
        """lr (1, 3, h, w), z (1, Z, h, w), hr (1, 3, sh, sw) and metric (3, 3) -> gradient (1, 3, h, w)."""
        given = {"lr": lr, "z": z, "hr": hr, "metric": metric}
        return self._gradient.run(None, {port.name: given[port.name] for port in self._gradient.get_inputs()})[0]

    def release(self) -> None:
        """Nothing: its arena is kept as large as it has ever been."""

    def _run_graph(self, step: Step, part: str, inputs: dict[str, np.ndarray], out: np.ndarray) -> None:
        if (step, part) not in self._graphs:
            self._graphs[step, part] = self._session(layer_model(self._weights, step, part))
        out[:] = self._graphs[step, part].run(None, inputs)[0]

    @cached_property
    def _gradient(self) -> onnxruntime.InferenceSession:
        return self._session(gradient_model(self._weights))

    def _session(self, model: bytes) -> onnxruntime.InferenceSession:
        return onnxruntime.InferenceSession(model, self._options, providers=["CPUExecutionProvider"])
