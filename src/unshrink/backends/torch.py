"""PyTorch: any device, and weights without graphs."""

from copy import deepcopy

import numpy as np
import torch

from unshrink import fused
from unshrink.errors import ConfigError
from unshrink.layers import DenseBlock
from unshrink.models import IRN, build
from unshrink.weights import Weights


class Torch:
    """A network in PyTorch, run eagerly.

    Args:
        weights: what to run.
        threads: how many to compute with, for the whole process as torch has it; 0 leaves torch's own number.
        device: "cpu", "cuda", "mps", ...
        fast: subnets in bfloat16, but for their last convolution: its result, rounded, would cost 0.04 dB.

    Raises:
        ConfigError: torch has no such device.
    """

    name = "torch"

    def __init__(self, weights: Weights, threads: int = 0, device: str = "cpu", fast: bool = False) -> None:
        if threads:
            torch.set_num_threads(threads)
        net = build(weights.architecture, weights.config)
        net.load_state_dict({name: torch.tensor(values) for name, values in weights.tensors.items()})
        try:
            self._net = net.float().to(device).eval().requires_grad_(False)
            self._quick = _in_bfloat16(self._net) if fast else None
        except (RuntimeError, AssertionError) as exc:
            raise ConfigError(f"torch cannot use the device {device!r}: {exc}") from exc
        self._device, self.fast = device, fast
        # Nineteen bits of a product, the default on recent GPUs, would make other small pictures than a CPU does.
        torch.backends.cudnn.allow_tf32 = False

    def down(self, hr: np.ndarray) -> np.ndarray:
        """hr (1, 3, H, W) -> lr (1, 3, H/s, W/s)."""
        with torch.inference_mode():
            if self._quick:
                return _to_array(fused.down(self._quick, self._to_tensor(hr)))
            return _to_array(self._net(self._to_tensor(hr))[0])

    def up(self, lr: np.ndarray, z: np.ndarray) -> np.ndarray:
        """lr (1, 3, h, w) and z (1, 3s^2-3, h, w) -> hr (1, 3, sh, sw)."""
        with torch.inference_mode():
            if self._quick:
                return _to_array(fused.up(self._quick, self._to_tensor(lr), self._to_tensor(z)))
            return _to_array(self._net.inverse(self._to_tensor(lr), self._to_tensor(z)))

    def gradient(self, lr: np.ndarray, z: np.ndarray, hr: np.ndarray) -> np.ndarray:
        """lr (1, 3, h, w), z (1, 3s^2-3, h, w) and hr (1, 3, sh, sw) -> gradient (1, 3, h, w)."""
        return _to_array(self._net.gradient(*map(self._to_tensor, (lr, z, hr))))

    def _to_tensor(self, array: np.ndarray) -> torch.Tensor:
        return torch.tensor(array, device=self._device)


def _in_bfloat16(net: IRN) -> IRN:
    """A copy with the features of all subnets in bfloat16, their channels together in memory."""
    copy = deepcopy(net).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    for block in copy.modules():
        if isinstance(block, DenseBlock):
            block.convs[:-1].bfloat16()
    return copy


def _to_array(tensor: torch.Tensor) -> np.ndarray:
    return tensor.contiguous().cpu().numpy()
