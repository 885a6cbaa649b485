"""ONNX Runtime: runs everywhere."""

from functools import cached_property

import numpy as np
import onnxruntime

from unshrink.backends.onnx_model import whole_model
from unshrink.weights import Weights


class OnnxRuntime:
    """A network on ONNX Runtime's CPU provider.  A graph is loaded when it is first used.

    Args:
        weights: what to run; must carry graphs.
        threads: how many to compute with; 0 for as many as there are cores.
    """

    name = "onnxruntime"
    fast = False  # its convolutions know no bfloat16

    def __init__(self, weights: Weights, threads: int = 0) -> None:
        self._weights = weights
        self._options = onnxruntime.SessionOptions()
        self._options.intra_op_num_threads = threads
        self._options.log_severity_level = 3  # it would warn of parameters that only another graph uses

    def down(self, hr: np.ndarray) -> np.ndarray:
        """hr (1, 3, H, W) -> lr (1, 3, H/s, W/s)."""
        return self._down.run(None, {"hr": hr})[0]

    def up(self, lr: np.ndarray, z: np.ndarray) -> np.ndarray:
        """lr (1, 3, h, w) and z (1, 3s^2-3, h, w) -> hr (1, 3, sh, sw)."""
        return self._up.run(None, {"lr": lr, "z": z})[0]

    def gradient(self, lr: np.ndarray, z: np.ndarray, hr: np.ndarray) -> np.ndarray:
        """lr (1, 3, h, w), z (1, 3s^2-3, h, w) and hr (1, 3, sh, sw) -> gradient (1, 3, h, w)."""
        return self._gradient.run(None, {"lr": lr, "z": z, "hr": hr})[0]

    @cached_property
    def _down(self) -> onnxruntime.InferenceSession:
        return self._session("down")

    @cached_property
    def _up(self) -> onnxruntime.InferenceSession:
        return self._session("up")

    @cached_property
    def _gradient(self) -> onnxruntime.InferenceSession:
        return self._session("gradient")

    def _session(self, name: str) -> onnxruntime.InferenceSession:
        model = whole_model(self._weights, name)
        return onnxruntime.InferenceSession(model, self._options, providers=["CPUExecutionProvider"])
