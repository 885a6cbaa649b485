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
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from unshrink.pictures.colour import CHROMA, LUMA

Planes = NDArray[np.float32]

MOST_EFFORT = 9
HALO = 12  # small pixels around a tile: beyond, what is left of a gradient is less than 3e-4 of it (x2 and x4)
RATE = 0.12  # times 1/s^2: the first step's length, too long for no picture; later steps measure their own
LOSS = 0.5  # dB that the small picture may move away from the bicubic one, in luma and in chroma
ENOUGH = 48.0  # dB that the small picture may always fall to: off by one level of 255, which no eye sees
FLOOR = 3e-6  # added to each error in what it counts, as in training: less than 8 bits can say is no matter
CHROMA_WEIGHT = 1.5  # beside luma and RGB, one each: rounding takes more of its gain, which is of smaller steps
EXACT = 1e-12  # mean squared error of what is the same, so that nothing is infinite
SHARES = np.linspace(1, 0.1, 10)
GREY = np.full((3, 3), 1 / 3, np.float32)  # the metric of a grey picture, of which the mean of R, G and B comes back


@dataclass(frozen=True)
class Refined:
    """What a search came to.

    Attributes:
        gain_luma: dB of PSNR by which the restored picture's luma is closer; 0 if nothing better was found.
        gain_rgb: the same over all values.
        gain_chroma: the same of its Cb and Cr.
        lr_change_luma: dB of PSNR by which the small picture's luma is closer to that of the bicubic one; at least
            -`LOSS`, unless it is above `ENOUGH`.
        lr_change_chroma: the same of its Cb and Cr.
    """

    gain_luma: float
    gain_rgb: float
    gain_chroma: float
    lr_change_luma: float
    lr_change_chroma: float


class Fidelity(NamedTuple):
    """How close one picture is to another: PSNR in dB; 120 where nothing differs.

    Attributes:
        luma: of the luma of BT.601.
        rgb: over all values.
        chroma: of Cb and Cr together.
    """

    luma: float
    rgb: float
    chroma: float


def descend(gradient: Callable[[Planes], Planes], start: Planes, steps: int, rate: float) -> Planes:
    """Conjugate gradients (Polak-Ribiere) within [0, 1], with one gradient a step.

    The gradient at the end of a step tells how the error bends along it, so where the step should have ended, and, by
    interpolation, the gradient there.  The last step is taken without looking back.

    Args:
        gradient: half the gradient of the error, a sum of squares.
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


def stay_close(found: Planes, start: Planes, reference: Planes, to_grid: Callable[[Planes], Planes]) -> Planes:
    """Goes as far from ``start`` towards ``found``, in tenths, as keeps the fidelity of the small picture.

    Args:
        found: where the search came to.
        start: what effort 0 gives, on the grid.
        reference: the bicubic small picture.
        to_grid: rounds planes to values that a picture can hold.

    Returns:
        Planes on the grid; ``start`` if no tenth will do.
    """
    before = fidelity(start, reference)
    for share in SHARES:
        candidate = to_grid(start + np.float32(share) * (found - start))
        after = fidelity(candidate, reference)
        if _close(after.luma, before.luma) and _close(after.chroma, before.chroma):
            return candidate
    return start


def _close(after: float, before: float) -> bool:
    return after >= min(before - LOSS, ENOUGH)


def metric(restored: Fidelity) -> NDArray[np.float32]:
    """What errors count in a search that starts from this: (3, 3), for `network.network.Network.gradient`.

    That of R, G and B, that of luma and that of chroma, each in parts of what it is at the start: the gradient is that
    of their logarithms, as in training, so all three gain decibels.  Scaled so that an error along the direction of
    luma counts its square, which the length of the first step takes for granted.
    """
    luma, rgb, chroma = (1 / (10 ** (-value / 10) + FLOOR) for value in restored)
    of_luma, of_chroma = np.array(LUMA), np.array(CHROMA)
    counts = luma * np.outer(of_luma, of_luma) + rgb / 3 * np.eye(3)
    counts += CHROMA_WEIGHT * chroma / 2 * of_chroma.T @ of_chroma
    return (counts * (of_luma @ of_luma) / (of_luma @ counts @ of_luma)).astype(np.float32)


def fidelity(planes: Planes, reference: Planes) -> Fidelity:
    """How close planes are to others of their size."""
    error = (planes - reference).reshape(3, -1).astype(np.float64)
    moments = error @ error.T / error.shape[1]
    of_luma, of_chroma = np.array(LUMA), np.array(CHROMA)
    errors = (
        of_luma @ moments @ of_luma,
        np.trace(moments) / 3,
        np.trace(of_chroma @ moments @ of_chroma.T) / 2,
    )
    return Fidelity(*(float(-10 * np.log10(max(value, 0) + EXACT)) for value in errors))


def gained(before: Fidelity, after: Fidelity) -> Fidelity:
    """The difference of two fidelities, in dB."""
    return Fidelity(*(new - old for old, new in zip(before, after, strict=True)))


def _dot(a: Planes, b: Planes) -> float:
    return float(np.vdot(a, b))
