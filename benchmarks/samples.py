"""Which pictures of a set a benchmark takes, and which part of them."""

from pathlib import Path

import numpy as np

from unshrink.evaluation.sets import find_set


def sample(name: str, most: int) -> list[Path]:
    """At most so many pictures of a test set, taken evenly from it."""
    pictures = find_set(name).files
    return list(pictures[:: -(-len(pictures) // most)])


def middle(picture: np.ndarray, side: int) -> np.ndarray:
    """(H, W, 3) -> at most (side, side, 3)."""
    top, left = (max(0, length - side) // 2 for length in picture.shape[:2])
    return picture[top : top + side, left : left + side]
