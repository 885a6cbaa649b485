"""PyTorch: any device, and weights without graphs."""

from collections.abc import Sequence
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
from unshrink.runtime.backends.host import Host
from unshrink.weights import Weights

_LITTLE = 20480  # values of one picture, not of two, that torch convolves with kernels of its own, which sum otherwise

_OTHER_DEVICE = 2 << 30  # bytes that a run may take of a device that does not say what is free


class Torch(Host):
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

    @property
    def device_memory(self) -> int:
        """Half of what is free of the device's own; 0 of the CPU."""
        kind = torch.device(self._device).type
        if kind == "cpu":
            return 0
        return torch.cuda.mem_get_info(self._device)[0] // 2 if kind == "cuda" else _OTHER_DEVICE

    def joins(self, before: Step, after: Step) -> bool:
        """All steps, on a device: each piece is copied there and back once."""
        return bool(self.device_memory) or super().joins(before, after)

    def run(self, steps: Sequence[Step], x: np.ndarray) -> np.ndarray:
        """x (1, C, H, W) through the steps; the same to the last bit wherever in a larger piece it is."""
        with torch.inference_mode():
            piece = self._to_tensor(x)
            for step in steps:
                piece = self._step(step, piece)
            return self._to_array(piece)

    def gradient(self, lr: np.ndarray, z: np.ndarray, hr: np.ndarray, metric: np.ndarray) -> np.ndarray:
        """lr (1, 3, h, w), z (1, Z, h, w), hr (1, 3, sh, sw) and metric (3, 3) -> gradient (1, 3, h, w)."""
        counts = torch.tensor(metric, device=self._device)
        return self._to_array(self._net.gradient(*map(self._to_tensor, (lr, z, hr)), counts))

    def release(self) -> None:
        """Gives back what a GPU's allocator keeps; on a CPU, nothing is kept."""
        if torch.cuda.is_initialized():
            torch.cuda.empty_cache()

    def _step(self, step: Step, piece: Tensor) -> Tensor:
        if piece.device.type == "cpu" and any(step.shapes()):
            # Where a row of values does not fill a vector, torch takes an exp that is another in the last bit.
            piece = piece.double()
            if COLOURS * piece.shape[2] * piece.shape[3] <= _LITTLE:
                piece = piece.expand(2, -1, -1, -1)
        return fast.run(step, self._running.module(step), piece)[:1].float()

    def _to_tensor(self, array: np.ndarray) -> Tensor:
        return torch.tensor(array, device=self._device).to(memory_format=torch.channels_last)

    def _to_array(self, tensor: Tensor) -> np.ndarray:
        return tensor.contiguous().cpu().numpy()


def _in_bfloat16(net: Network) -> Network:
    """A copy with the features of all subnets in bfloat16."""
    copy = deepcopy(net)
    for block in copy.modules():
        if isinstance(block, Subnet):
            block.convs[:-1].bfloat16()
    return copy
