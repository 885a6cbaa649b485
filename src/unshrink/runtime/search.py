"""Searches, from the network's own small picture, for one that restores better: ``downscale --effort``.

The decoder is fixed and known, so only the small picture is to be found.  Over the few levels that the search moves,
the decoder is close to linear and the squared error of the restored picture close to a quadratic with a narrow
spectrum: conjugate gradients reach the bottom in about five steps, each of one gradient.  They run on real numbers; the
grid comes back at the end.  Choosing floor or ceiling with the neighbours in mind was tried (fixing a quarter of the
values after another and moving the rest) and gained 0.01 to 0.02 dB for three more gradients.

Shapes:  planes are (3, h, w) float32 in [0, 1], of the small picture.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from unshrink.pictures import metrics

Planes = NDArray[np.float32]

MOST_EFFORT = 9
HALO = 16  # small pixels around a tile: beyond, what is left of a gradient is less than 1e-4 of it (x2 and x4)
RATE = 0.07  # times 1/s^2: the first step's length; it suits all pictures alike, and later steps measure their own
LOSS = 0.5  # dB that the small picture may move away from the bicubic one, in luma and in RGB
SHARES = np.linspace(1, 0.1, 10)


@dataclass(frozen=True)
class Refined:
    """What a search came to.

    Attributes:
        gain_luma: dB of PSNR by which the restored picture's luma is closer; 0 if nothing better was found.
        gain_rgb: the same over all values.
        lr_change: dB of PSNR by which the small picture is closer to the bicubic one; at least -`LOSS`.
    """

    gain_luma: float
    gain_rgb: float
    lr_change: float


def descend(gradient: Callable[[Planes], Planes], start: Planes, steps: int, rate: float) -> Planes:
    """Conjugate gradients (Polak-Ribiere) within [0, 1], with one gradient a step.

    The gradient at the end of a step tells how the error bends along it, so where the step should have ended, and, by
    interpolation, the gradient there.  The last step is taken without looking back.

    Args:
        gradient: half the gradient of the squared error.
        start: where to begin.
        steps: how many gradients to take, at least 1.
        rate: length of the first step, times the gradient.

    Returns:
        Planes of a smaller error; not on any grid.
    """
    here, slope = start, gradient(start)
    direction = -slope
    for _ in range(steps - 1):
        move = (here + np.float32(rate) * direction).clip(0, 1) - here
        change = gradient(here + move) - slope
        bend = _dot(move, change)
        if bend <= 0:
            break
        share = -_dot(move, slope) / bend
        new = slope + np.float32(share) * change
        keep = max(0.0, _dot(new, new - slope) / _dot(slope, slope))
        here = (here + np.float32(share) * move).clip(0, 1)
        direction = np.float32(keep) * direction - new
        slope, rate = new, rate * share
    return (here + np.float32(rate) * direction).clip(0, 1)


def stay_close(
    found: Planes, start: Planes, reference: Planes, to_grid: Callable[[Planes], Planes], loss: float = LOSS
) -> Planes:
    """Goes as far from ``start`` towards ``found``, in tenths, as keeps the fidelity of the small picture.

    Args:
        found: where the search came to.
        start: what effort 0 gives, on the grid.
        reference: the bicubic small picture.
        to_grid: rounds planes to values that a picture can hold.
        loss: dB that may be lost, in luma and in RGB.

    Returns:
        Planes on the grid; ``start`` if no tenth will do.
    """
    least = [value - loss for value in fidelity(start, reference)]
    for share in SHARES:
        candidate = to_grid(start + np.float32(share) * (found - start))
        if all(value >= bound for value, bound in zip(fidelity(candidate, reference), least, strict=True)):
            return candidate
    return start


def fidelity(lr: Planes, reference: Planes) -> tuple[float, float]:
    """PSNR in dB of the small picture against the bicubic one: of the luma, and of RGB."""
    a, b = (255 * planes.transpose(1, 2, 0).astype(np.float64) for planes in (lr, reference))
    return metrics.psnr_y(a, b), metrics.psnr(a, b)


def _dot(a: Planes, b: Planes) -> float:
    return float(np.vdot(a, b))
