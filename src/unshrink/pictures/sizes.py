"""How small a picture is to become, and how a large picture lies over its small one.

The argument parser imports this module, so it needs no numpy.
"""

import bisect
import re
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

from unshrink.errors import ImageError, UsageError

Size = tuple[int, int]
"""(width, height) in pixels."""

LEAST_SCALE, MOST_SCALE = 1.1, 8
SUFFIX = r"(_x[1-8](\.\d+)?|_small)$"  # what the name of a small picture ends in, unless its maker chose another
MOST_REDUCED = Fraction(
    3, 2
)  # times that a picture is made smaller before a network does: beyond, larger ones are better


@dataclass(frozen=True)
class Goal:
    """How small a picture is to become: by a scale, into a box or to a number of pixels; by none of them, nothing said.

    Attributes:
        scale: how many times smaller each side becomes, 1.1 to 8; sides are rounded up.
        fit: the longest side, or the (width, height) of a box, in pixels: as large as fits into it.
        max_pixels_out: the most pixels: as large as has no more.

    Raises:
        UsageError: several of them, or a value out of range.
    """

    scale: float | None = None
    fit: int | Size | None = None
    max_pixels_out: int | None = None

    def __post_init__(self) -> None:
        given = {name: value for name, value in vars(self).items() if value is not None}
        if len(given) > 1:
            raise UsageError(f"{' and '.join(given)} contradict each other: give one of them")
        if self.scale is not None and not _is_scale(self.scale):
            raise UsageError(f"scale is {self.scale!r:.60}: allowed are numbers from {LEAST_SCALE} to {MOST_SCALE}")
        if self.fit is not None and not (len(self._box) == 2 and all(map(_is_count, self._box))):
            raise UsageError(f"fit is {self.fit!r:.60}: allowed are a side and (width, height), whole numbers from 1")
        if self.max_pixels_out is not None and not _is_count(self.max_pixels_out):
            raise UsageError(f"max_pixels_out is {self.max_pixels_out!r:.60}: allowed are whole numbers from 1")

    @property
    def depends_on_size(self) -> bool:
        """Whether the scale is known only with the size of the picture."""
        return self.fit is not None or self.max_pixels_out is not None

    def as_json(self) -> dict[str, object]:
        """What is asked for, for a manifest."""
        return {"scale": self.scale, "fit": self.fit and list(self._box), "max_pixels_out": self.max_pixels_out}

    def ratio(self, large: Size, otherwise: int) -> Fraction:
        """How many times smaller a picture becomes; ``otherwise`` where nothing is said.

        Raises:
            ImageError: it is no larger than it may become.
        """
        if not self.depends_on_size:
            return Fraction(str(self.scale or otherwise))  # 2.3 as it is written, not as it is stored
        ratio = Fraction(max(large), self._longest(large)) if self.fit is None else self._over(large)
        if ratio <= 1:
            allowed = "x".join(map(str, self._box)) if self.fit is not None else f"{self.max_pixels_out:,} pixels"
            raise ImageError(
                f"it has {large[0]}x{large[1]} pixels and fits into {allowed} already: it can stay as it is"
            )
        return ratio

    def suffix(self, otherwise: float) -> str:
        """What the name of a small picture ends in: "_x2", "_x1.5"; "_small" where each has a scale of its own."""
        return "_small" if self.depends_on_size else f"_x{self.scale or otherwise:g}"

    def _over(self, large: Size) -> Fraction:
        return max(Fraction(side, most) for side, most in zip(large, self._box, strict=True))

    def _longest(self, large: Size) -> int:
        """The longest side with which a picture has no more pixels than are allowed; 1 where none has."""
        sides = range(1, max(large) + 1)
        return max(1, bisect.bisect_right(sides, self.max_pixels_out or 0, key=lambda side: _pixels(large, side)))

    @property
    def _box(self) -> tuple[Any, ...]:
        return tuple(self.fit) if isinstance(self.fit, tuple | list) else (self.fit, self.fit)


@dataclass(frozen=True)
class Frame:
    """How a large picture lies over the small one that a network makes of it.

    Attributes:
        large: size of the large picture.
        small: size of the small one.
        scale: how many times smaller the network makes each side.
    """

    large: Size
    small: Size
    scale: int

    @property
    def resized(self) -> bool:
        """Whether the large picture is resized for the network; if not, it is padded at the right and the bottom."""
        return self.small != shrunk(self.large, Fraction(self.scale))

    @property
    def between(self) -> Size:
        """Size of what goes through the network: ``scale`` times the small one."""
        return self.small[0] * self.scale, self.small[1] * self.scale

    @property
    def blocks(self) -> tuple[Fraction, Fraction]:
        """(height, width) of what lies under a pixel of the small picture, in pixels of the large one."""
        if not self.resized:
            return Fraction(self.scale), Fraction(self.scale)
        return Fraction(self.large[1], self.small[1]), Fraction(self.large[0], self.small[0])

    @property
    def fits(self) -> bool:
        """Whether the small picture can be one of the large picture: each side smaller by one ratio, and rounded up."""
        sides = list(zip(self.large, self.small, strict=True))
        least = max(Fraction(large, small) for large, small in sides)
        below = [Fraction(large, small - 1) for large, small in sides if small > 1]
        return 1 <= least <= self.scale * MOST_REDUCED and all(least < ratio for ratio in below)


def box(text: str) -> Size:
    """1280x720 -> (1280, 720); 1600 -> (1600, 1600), which the longest side fits into.

    Raises:
        ValueError: it is no such size.
    """
    match = re.fullmatch(r"([1-9]\d{0,6})(?:[xX]([1-9]\d{0,6}))?", text)
    if not match:
        raise ValueError(f"must be a side or WIDTHxHEIGHT in pixels, such as 1600 or 1280x720, not {text!r}")
    return int(match[1]), int(match[2] or match[1])


def shrunk(large: Size, ratio: Fraction) -> Size:
    """The size of a picture so many times smaller, each side rounded up."""
    width, height = (-(-side // ratio) for side in large)
    return width, height


def _pixels(large: Size, longest: int) -> int:
    width, height = shrunk(large, Fraction(max(large), longest))
    return width * height


def _is_scale(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and LEAST_SCALE <= value <= MOST_SCALE


def _is_count(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 1
