"""PyTorch: any device, and weights without graphs."""

import numpy as np
import torch

from unshrink.errors import ConfigError
from unshrink.models import build
from unshrink.weights import Weights


class Torch:
    """A network in PyTorch, run eagerly in float32.

    Args:
        weights: what to run.
        threads: how many to compute with, for the whole process as torch has it; 0 leaves torch's own number.
        device: "cpu", "cuda", "mps", ...

    Raises:
        ConfigError: torch has no such device.
    """

    name = "torch"

    def __init__(self, weights: Weights, threads: int = 0, device: str = "cpu") -> None:
        if threads:
            torch.set_num_threads(threads)
        net = build(weights.architecture, weights.config)
        net.load_state_dict({name: torch.tensor(values) for name, values in weights.tensors.items()})
        try:
            self._net = net.float().to(device).eval().requires_grad_(False)
        except (RuntimeError, AssertionError) as exc:
            raise ConfigError(f"torch cannot use the device {device!r}: {exc}") from exc
        self._device = device
        # Nineteen bits of a product, the default on recent GPUs, would make other small pictures than a CPU does.
        torch.backends.cudnn.allow_tf32 = False

    def down(self, hr: np.ndarray) -> np.ndarray:
        """hr (1, 3, H, W) -> lr (1, 3, H/s, W/s)."""
        with torch.inference_mode():
            return _to_array(self._net(self._to_tensor(hr))[0])

    def up(self, lr: np.ndarray, z: np.ndarray) -> np.ndarray:
        """lr (1, 3, h, w) and z (1, 3s^2-3, h, w) -> hr (1, 3, sh, sw)."""
        with torch.inference_mode():
            return _to_array(self._net.inverse(self._to_tensor(lr), self._to_tensor(z)))

    def gradient(self, lr: np.ndarray, z: np.ndarray, hr: np.ndarray) -> np.ndarray:
        """lr (1, 3, h, w), z (1, 3s^2-3, h, w) and hr (1, 3, sh, sw) -> gradient (1, 3, h, w)."""
        return _to_array(self._net.gradient(*map(self._to_tensor, (lr, z, hr))))

    def _to_tensor(self, array: np.ndarray) -> torch.Tensor:
        return torch.tensor(array, device=self._device)


def _to_array(tensor: torch.Tensor) -> np.ndarray:
    return tensor.contiguous().cpu().numpy()
