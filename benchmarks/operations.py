"""How much a network computes."""

from collections.abc import Callable

import torch
from torch.utils.flop_counter import FlopCounterMode


def operations(run: Callable[[], object], pixels: int) -> float:
    """Multiply-adds of a run's convolutions for each pixel of the large picture."""
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        run()
    return counter.get_total_flops() / 2 / pixels
