"""The mark inside a small picture: 24 bits in its pixels, for when its metadata are gone (docs/file-format.md).

Sites strip the record.  The mark says as much as is needed to come back: which weights made the picture, and how much
of what they restore was padding.  It lives in two luma coefficients of the 8x8 blocks that JPEG makes too, each moved
to the nearest point of a grid that the bit and a fixed dither shift.  Whoever reads it adds up, for each bit, how well
the coefficients sit on the one grid or the other.  Re-encoding wears that down; resizing ends it.

Reference: Chen, Wornell, Quantization index modulation, IEEE Trans. Information Theory 47(4), 2001.

Shapes:  n, m blocks down and across; T the side of a tile, in blocks, after which dither and bits repeat.
"""

import hashlib
import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from unshrink.errors import ImageError
from unshrink.pictures.colour import LUMA
from unshrink.pictures.image import Size

LARGEST_NUMBER, LARGEST_CUT = 255, 15
CERTAIN = 100.0
"""The `strength` that counts as a mark; without one, chance gives as much to one picture in 10^11."""

_BITS = 24
_BLOCK = 8
_STEP = 24.0  # twice JPEG's own step at quality 50: there the least change for the same certainty
_CARRIERS = 4096  # blocks that carry it; those of a larger picture are spread over it
_TILE = 32
_FLAT = 2.0  # levels of luma: blocks of one colour stay so, and say nothing
_CERTAIN_ANYWHERE = 150.0  # the same, of the strongest of 65,536 places
_CLEAR = 4.0  # least vote of each bit right after embedding, in standard deviations: enough for quality 70
_SEARCHED = 2048  # pixels of each side in which a mark is looked for that has moved

Pixels = NDArray[np.unsignedinteger[Any]]
Values = NDArray[np.float64]
Phases = NDArray[np.complex128]

_WAVE = np.cos((2 * np.arange(_BLOCK) + 1) * np.pi / 16) / math.sqrt(32)  # of the orthonormal DCT: one half period


@dataclass(frozen=True)
class Mark:
    """What the pixels themselves say about where a small picture comes from.

    Attributes:
        weights: the number of the weights in the catalogue, 1 to 255.
        cut: (columns at the right, rows at the bottom) of what they restore that were padding, each 0 to 15.

    Raises:
        ImageError: a value outside its range.
    """

    weights: int
    cut: tuple[int, int]

    def __post_init__(self) -> None:
        if not (1 <= self.weights <= LARGEST_NUMBER and all(0 <= side <= LARGEST_CUT for side in self.cut)):
            raise ImageError(
                f"a mark cannot hold weights {self.weights} with a cut of {self.cut}: "
                f"allowed are 1 to {LARGEST_NUMBER} with 0 to {LARGEST_CUT} on each side"
            )

    def word(self, size: Size) -> int:
        """The 24 bits in a small picture of (width, height): weights, cut, and a checksum of both and of the size."""
        text = f"{self.weights} {self.cut[0]} {self.cut[1]} {size[0]} {size[1]}"
        check = hashlib.sha256(text.encode()).digest()[0]
        return self.weights << 16 | self.cut[0] << 12 | self.cut[1] << 8 | check

    @classmethod
    def of_word(cls, word: int, size: Size) -> "Mark | None":
        """The mark that has this word in a picture of this size; None if none has."""
        if not word >> 16:
            return None
        mark = cls(word >> 16, (word >> 12 & 15, word >> 8 & 15))
        return mark if mark.word(size) == word else None


def embed(pixels: Pixels, mark: Mark) -> Pixels:
    """Puts a mark into a picture; alpha, and blocks of one colour, stay as they are.

    Args:
        pixels: (h, w, 1 to 4) uint8 or uint16.
        mark: what to say.

    Returns:
        New pixels: of 240x160 about 46 dB from the given ones, of larger pictures more.

    Raises:
        ImageError: the picture is too small or too flat to hold it.
    """
    marked, bits = pixels.copy(), _bits_of(mark.word(_size(pixels)))
    for top, luma in _lumas(pixels):
        grid = (_cut(_dither(), luma.shape) + (1 - bits[_cut(_places(), luma.shape)]) / 2) % 1
        coefficients = _coefficients(luma)
        moved = _STEP * (grid + np.rint(coefficients / _STEP - grid)) - coefficients
        change = _pattern(moved * (_carriers(pixels, top, luma.shape) & _uneven(luma))[..., None])
        _add(marked[top : top + len(luma), : luma.shape[1]], change)
    clear = _votes(_folded(marked)) * (2 * bits - 1)
    if clear.min() < _CLEAR:
        blocks = math.prod(side // _BLOCK for side in pixels.shape[:2])
        what = "small" if blocks < 2 * _CLEAR**2 * _BITS / 4 else "flat"
        raise ImageError(f"this picture of {pixels.shape[1]}x{pixels.shape[0]} is too {what} to hold a mark")
    return marked


def read(pixels: Pixels) -> Mark | None:
    """The mark in a picture (h, w, 1 to 4) of uint8 or uint16; None if there is none, or none that can be trusted."""
    votes = _votes(_folded(pixels))
    if (votes**2).sum() < CERTAIN:
        return None
    return Mark.of_word(int("".join(str(int(vote > 0)) for vote in votes), 2), _size(pixels))


def strength(pixels: Pixels) -> float:
    """How much speaks for a mark in a picture: the sum of the squared votes, on average 24 where there is none."""
    return float((_votes(_folded(pixels)) ** 2).sum())


def is_displaced(pixels: Pixels) -> bool:
    """Whether a picture holds a mark, wherever its blocks now begin.

    Of a picture in which `read` finds none, this says that it was cropped, or re-encoded until bits were lost.
    """
    tried = pixels[:_SEARCHED, :_SEARCHED]
    return any(
        _strongest(_folded(tried[top:, left:], everywhere=True)) > _CERTAIN_ANYWHERE
        for top in range(_BLOCK)
        for left in range(_BLOCK)
    )


# -- what is fixed -------------------------------------------------------------------------------------------------


def _table(name: str, *shape: int) -> Values:
    """Values in [0, 1) as good as random, the same everywhere and for ever."""
    digits = hashlib.shake_128(f"unshrink mark {name}".encode()).digest(2 * math.prod(shape))
    return np.frombuffer(digits, "<u2").reshape(shape) / 65536


@cache
def _dither() -> Values:
    """(T, T, 2): where the grid of each coefficient begins, as a share of the step."""
    return _table("dither", _TILE, _TILE, 2)


@cache
def _places() -> NDArray[np.int64]:
    """(T, T, 2): which bit each coefficient carries, so that every bit has its share of any part of the tile."""
    down, across, which = np.indices((_TILE, _TILE, 2))
    return np.asarray((2 * (across + 5 * down) + which) % _BITS, np.int64)


@cache
def _thinning() -> Values:
    """(61, 67): blocks whose value is below a share of 1 are that share of all; coprime with the tile."""
    return _table("blocks", 61, 67)


def _cut(table: NDArray[Any], shape: tuple[int, ...], top: int = 0) -> NDArray[Any]:
    """The table repeated over the blocks of pixels of a shape (8n, 8m), from row ``top`` of pixels: (n, m, ...)."""
    down, across = (np.arange(side // _BLOCK) for side in shape[:2])
    return np.asarray(table[(down[:, None] + top // _BLOCK) % table.shape[0], across % table.shape[1]])


def _carriers(pixels: Pixels, top: int, shape: tuple[int, ...]) -> NDArray[np.bool_]:
    """(n, m): which blocks of a strip carry the mark of the picture."""
    blocks = math.prod(side // _BLOCK for side in pixels.shape[:2])
    return np.asarray(_cut(_thinning(), shape, top) < _CARRIERS / blocks)


# -- pixels and coefficients ---------------------------------------------------------------------------------------


def _lumas(pixels: Pixels) -> Iterator[tuple[int, Values]]:
    """The luma of a picture in [0, 255], in strips of a tile's height: the row where each begins, and (8n, 8m)."""
    height, width = (side - side % _BLOCK for side in pixels.shape[:2])
    unit = 255 / np.iinfo(pixels.dtype).max
    weights = np.array(LUMA) / sum(LUMA) * unit if pixels.shape[2] > 2 else np.array([unit])
    for top in range(0, height if width else 0, _TILE * _BLOCK):
        strip = pixels[top : min(top + _TILE * _BLOCK, height), :width]
        yield top, np.asarray(strip[..., : len(weights)] @ weights)


def _coefficients(luma: Values) -> Values:
    """(8n, 8m) -> (n, m, 2): of each block the half period across, and the one down."""
    blocks = luma.reshape(luma.shape[0] // _BLOCK, _BLOCK, -1, _BLOCK)
    return np.stack([blocks.sum(axis=1) @ _WAVE, blocks.sum(axis=3).transpose(0, 2, 1) @ _WAVE], axis=-1)


def _pattern(coefficients: Values) -> Values:
    """(n, m, 2) -> (8n, 8m): what these coefficients add to the luma."""
    across, down = coefficients[:, None, :, None, 0], coefficients[:, None, :, None, 1]
    pattern = across * _WAVE + down * _WAVE[:, None, None]
    return np.asarray(pattern.reshape(_BLOCK * len(coefficients), -1))


def _uneven(luma: Values) -> NDArray[np.bool_]:
    """(8n, 8m) -> (n, m): which blocks are not of one colour."""
    blocks = luma.reshape(luma.shape[0] // _BLOCK, _BLOCK, -1, _BLOCK)
    return np.asarray(blocks.max(axis=(1, 3)) - blocks.min(axis=(1, 3)) > _FLAT)


def _add(pixels: Pixels, luma: Values) -> None:
    """Adds to the luma of pixels, in place: alike to each channel, so that the colour stays."""
    top, colours = np.iinfo(pixels.dtype).max, 1 if pixels.shape[2] < 3 else 3
    values = pixels[..., :colours] + luma[..., None] * (top / 255)
    pixels[..., :colours] = np.rint(np.clip(values, 0, top))


# -- votes ---------------------------------------------------------------------------------------------------------


def _folded(pixels: Pixels, everywhere: bool = False) -> Phases:
    """(T, T, 2): where the coefficients of the carriers, or of all blocks, lie between two points of the grid.

    As complex numbers of length one, added up over the tiles.
    """
    folded = np.zeros((_TILE, _TILE, 2), np.complex128)
    for top, luma in _lumas(pixels):
        coefficients = _coefficients(luma)
        counted = np.abs(coefficients).max(axis=-1) > _FLAT
        if not everywhere:
            counted &= _carriers(pixels, top, luma.shape)
        phases = np.exp(2j * np.pi / _STEP * coefficients) * counted[..., None]
        for left in range(0, phases.shape[1], _TILE):
            part = phases[:, left : left + _TILE]
            folded[: part.shape[0], : part.shape[1]] += part
    return folded


def _votes(folded: Phases) -> Values:
    """(24,): how much speaks for each bit being 1, or against it, in standard deviations of what chance gives.

    That is exact whatever the picture shows: each place of the tile has a dither of its own.
    """
    agreement = (folded * np.exp(-2j * np.pi * _dither())).real
    variance = np.abs(folded) ** 2 / 2
    added, variances = (np.bincount(_places().ravel(), x.ravel(), _BITS) for x in (agreement, variance))
    return np.asarray(added / np.sqrt(np.maximum(variances, 1e-9)))


@cache
def _spectra() -> Phases:
    """(24, T, T, 2): of the dither of each bit, for correlating with all offsets at once."""
    mine = np.arange(_BITS)[:, None, None, None] == _places()
    return np.asarray(np.fft.fft2(mine * np.exp(2j * np.pi * _dither()), axes=(1, 2)))


def _strongest(folded: Phases) -> float:
    """The sum of the squared votes, of that offset of the tile where it is largest."""
    spectrum = np.fft.fft2(folded, axes=(0, 1))
    agreement = np.fft.ifft2((spectrum * _spectra().conj()).sum(axis=-1), axes=(1, 2)).real
    variance = (np.abs(folded) ** 2).sum() / 2 / _BITS
    return float((agreement**2).sum(axis=0).max() / max(variance, 1e-9))


def _bits_of(word: int) -> NDArray[np.int64]:
    return np.array([word >> (_BITS - 1 - place) & 1 for place in range(_BITS)])


def _size(pixels: Pixels) -> Size:
    return pixels.shape[1], pixels.shape[0]
