"""PyTorch: any device, and weights without graphs."""

from copy import deepcopy
from typing import Any

import numpy as np
import torch
from torch import Tensor

from unshrink.errors import ConfigError
from unshrink.network import fast
from unshrink.network.layers import COLOURS, Step
from unshrink.network.modules import Subnet
from unshrink.network.network import Network, build
from unshrink.runtime.backends import parts
from unshrink.weights import Weights

_LITTLE = 20480  # values of one picture, not of two, that torch convolves with kernels of its own, which sum otherwise


class Torch:
    """A network in PyTorch, run eagerly.

    Args:
        weights: what to run.
        threads: how many to compute with, for the whole process as torch has it; 0 leaves torch's own number.
        device: "cpu", "cuda", "mps", ...
        precision: of subnets; the result of their last convolution, rounded to bfloat16, would cost 0.04 dB: so it is
            float32 in any.

    Raises:
        ConfigError: torch has no such device.
    """

    name = "torch"
    bytes_per_feature = parts.BYTES_PER_FEATURE

    def __init__(self, weights: Weights, threads: int = 0, device: str = "cpu", precision: str = "float32") -> None:
        self._made_of = weights, threads, device, precision
        if threads:
            torch.set_num_threads(threads)
        net = build(weights.architecture, weights.config)
        net.load_state_dict({name: torch.tensor(values) for name, values in weights.tensors.items()})
        try:
            # Channels together in memory: a quarter to a third less time on a CPU, and kernels that sum in one order
            net = net.float().to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
            self._net = net.fix()
            self._running = _in_bfloat16(self._net) if precision == "bfloat16" else self._net
        except (RuntimeError, AssertionError) as exc:
            raise ConfigError(f"torch cannot use the device {device!r}: {exc}") from exc
        self._device, self.precision = device, precision
        # Nineteen bits of a product, the default on recent GPUs, would make other small pictures than a CPU does.
        torch.backends.cudnn.allow_tf32 = False

    def __reduce__(self) -> tuple[Any, ...]:
        return Torch, self._made_of

    def run(self, step: Step, x: np.ndarray) -> np.ndarray:
        """x (1, C, H, W) through the step; the same to the last bit wherever in a larger piece it is."""
        piece = self._to_tensor(x)
        if piece.device.type == "cpu" and any(step.shapes()):
            # Where a row of values does not fill a vector, torch takes an exp that is another in the last bit.
            piece = piece.double()
            if COLOURS * x.shape[2] * x.shape[3] <= _LITTLE:
                piece = piece.expand(2, -1, -1, -1)
        with torch.inference_mode():
            return _to_array(fast.run(step, self._running.module(step), piece)[:1].float())

    def gradient(self, lr: np.ndarray, z: np.ndarray, hr: np.ndarray, metric: np.ndarray) -> np.ndarray:
        """lr (1, 3, h, w), z (1, Z, h, w), hr (1, 3, sh, sw) and metric (3, 3) -> gradient (1, 3, h, w)."""
        counts = torch.tensor(metric, device=self._device)
        return _to_array(self._net.gradient(*map(self._to_tensor, (lr, z, hr)), counts))

    def release(self) -> None:
        """Gives back what a GPU's allocator keeps; on a CPU, nothing is kept."""
        if torch.cuda.is_initialized():
            torch.cuda.empty_cache()

    def _to_tensor(self, array: np.ndarray) -> Tensor:
        return torch.tensor(array, device=self._device).to(memory_format=torch.channels_last)


def _in_bfloat16(net: Network) -> Network:
    """A copy with the features of all subnets in bfloat16."""
    copy = deepcopy(net)
    for block in copy.modules():
        if isinstance(block, Subnet):
            block.convs[:-1].bfloat16()
    return copy


def _to_array(tensor: Tensor) -> np.ndarray:
    return tensor.contiguous().cpu().numpy()
