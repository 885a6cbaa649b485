"""Pixels that pass by from the top down, so that of a large picture no more is held than is needed at once.

An array is the ordinary case: one strip, all there.  Strips are (rows, W, C), one after the other.
"""

import itertools
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, TypeVar

import numpy as np

_AHEAD = 128  # items that may wait: what a network gives at once, in the strips in which pictures are written

_Item = TypeVar("_Item")
_Result = TypeVar("_Result")


class Strips:
    """Pixels (H, W, C) that are decoded or computed when they are asked for, once; `np.asarray` asks for all of them.

    Args:
        shape: (H, W, C).
        dtype: of the values.
        strips: the pixels, in strips of any height.

    Raises:
        RuntimeError: on reading a second time, or where the strips do not add up to the shape.
    """

    def __init__(self, shape: tuple[int, int, int], dtype: Any, strips: Iterable[np.ndarray]) -> None:
        self.shape, self.dtype = shape, np.dtype(dtype)
        self._strips, self._begun, self._rows = iter(strips), False, 0

    def __iter__(self) -> Iterator[np.ndarray]:
        if self._begun:
            raise RuntimeError("these pixels have passed by already: whoever needs them twice must hold them")
        self._begun = True
        # A loop with a yield would hold each strip while others work on it
        return itertools.chain(map(self._counted, self._strips), self._end())

    def _counted(self, strip: np.ndarray) -> np.ndarray:
        self._rows += len(strip)
        # Whoever has all rows asks for no more, so this asks whether there are more
        complete = self._rows == self.shape[0] and next(self._strips, None) is None
        if not (complete or self._rows < self.shape[0]) or strip.shape[1] != self.shape[1]:
            raise RuntimeError(f"pixels of shape {self.shape} got a strip of shape {strip.shape} at row {self._rows}")
        return strip

    def _end(self) -> Iterator[np.ndarray]:
        if self._rows < self.shape[0]:
            raise RuntimeError(f"pixels of shape {self.shape} ended after {self._rows} rows")
        yield from ()

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        """All pixels at once."""
        strips = iter(self)
        pixels = next(strips)
        if len(pixels) < self.shape[0]:
            first, pixels = pixels, np.empty(self.shape, self.dtype)
            pixels[: len(first)] = first
            top = len(first)
            for strip in strips:
                pixels[top : top + len(strip)] = strip
                top += len(strip)
        return np.array(pixels, dtype, copy=copy)


def strips_of(pixels: np.ndarray | Strips) -> Iterator[np.ndarray]:
    """The strips of pixels of either kind."""
    return iter(pixels if isinstance(pixels, Strips) else [pixels])


def in_strips(pixels: np.ndarray | Strips, height: int) -> Iterator[np.ndarray]:
    """The same pixels in strips of ``height`` rows; the last may be lower."""
    window = Window(strips_of(pixels))
    for top in range(0, pixels.shape[0], height):
        bottom = min(top + height, pixels.shape[0])
        yield window.rows(top, bottom, bottom)


def beside(function: Callable[[_Item], _Result], items: Iterable[_Item]) -> Iterator[_Result]:
    """The function of each item, in their order; another thread computes it while the next items are made."""
    thread, waiting = ThreadPoolExecutor(1), deque[Future[_Result]]()
    try:
        for item in items:
            waiting.append(thread.submit(function, item))
            if len(waiting) > _AHEAD:
                yield waiting.popleft().result()
        yield from (future.result() for future in waiting)
    finally:
        thread.shutdown(cancel_futures=True)


class Window:
    """A part of a picture that moves down its strips; what lies above it is forgotten.

    Args:
        strips: what to move over.
    """

    def __init__(self, strips: Iterator[np.ndarray]) -> None:
        self._strips, self._parts = strips, [next(strips)]
        self._top, self.bottom = 0, len(self._parts[0])  # rows from ``_top`` to ``bottom`` are held

    def pull(self) -> None:
        """Moves the bottom by one strip."""
        self._parts.append(next(self._strips))
        self.bottom += len(self._parts[-1])

    def rows(self, top: int, bottom: int, keep: int) -> np.ndarray:
        """(bottom - top, W, C): the rows from ``top`` to ``bottom``; later calls may ask for those from ``keep`` on."""
        while self.bottom < bottom:
            self.pull()
        held = self._parts[0] if len(self._parts) == 1 else np.concatenate(self._parts)
        wanted, rest = held[top - self._top : bottom - self._top], held[keep - self._top :]
        # A view holds the memory of the whole; but of a whole picture that comes as one strip, no copies are made.
        self._parts, self._top = [rest.copy(order="K") if 2 * len(rest) < len(held) else rest], keep
        return wanted
