"""What the values of a frame mean, and frames as RGB and back.

The numbers are those of ITU-T H.273 (2024), as FFmpeg has them.
"""

from dataclasses import dataclass, replace
from typing import Any

import av
import numpy as np
from av.video.reformatter import Interpolation
from numpy.typing import NDArray

from unshrink.errors import VideoError
from unshrink.pictures.sizes import Size
from unshrink.video.containers import Codec

Pixels = NDArray[np.uint8]

RGB, BT709, UNSPECIFIED, BT470BG, SMPTE170M = 0, 1, 2, 5, 6
LIMITED, FULL = 1, 2  # FFmpeg's numbers of ranges
_HDR = {16: "PQ", 18: "HLG"}
_MATRICES = {1: 1, 4: 4, 5: 5, 6: 5, 7: 7, 9: 9}  # those that FFmpeg computes with, and their numbers there
# Chroma is interpolated, not repeated, and halved by averages: 0.6 dB more of a 4:2:0 frame comes back
_EXACT = int(
    Interpolation.BICUBIC | Interpolation.ACCURATE_RND | Interpolation.FULL_CHR_H_INT | Interpolation.FULL_CHR_H_INP
)


@dataclass(frozen=True)
class Colour:
    """What values mean: the numbers of H.273.

    Attributes:
        matrix: of luma and chroma; 0 where the values are red, green and blue.
        range: 1 for luma from 16 to 235, 2 for 0 to 255.
        primaries: of red, green, blue and white.
        transfer: from light to values.
    """

    matrix: int
    range: int
    primaries: int = UNSPECIFIED
    transfer: int = UNSPECIFIED


def colour_of(frame: Any) -> Colour:
    """What the values of a decoded frame mean; what the file leaves open is taken as players take it.

    Raises:
        VideoError: HDR, more than 8 bits, or a matrix that cannot be computed with.
    """
    deep = max(component.bits for component in frame.format.components)
    if frame.color_trc in _HDR or deep > 8:
        kind = _HDR.get(frame.color_trc, f"{deep} bits a value")
        raise VideoError(
            f"it is HDR or of high depth ({kind}), which would be flattened; convert it to 8-bit SDR first"
        )
    if frame.format.is_rgb:
        return Colour(RGB, FULL, frame.color_primaries, frame.color_trc)
    matrix = frame.colorspace
    if matrix in (RGB, UNSPECIFIED):
        matrix = usual_matrix(frame.width, frame.height)
    if matrix not in _MATRICES:
        raise VideoError(
            f"its luma and chroma are of matrix {matrix} of H.273, which is not known; convert it to BT.709"
        )
    is_full = frame.color_range == FULL or frame.format.name.startswith("yuvj")
    return Colour(matrix, FULL if is_full else LIMITED, frame.color_primaries, frame.color_trc)


def usual_matrix(width: int, height: int) -> int:
    """What players take where a file does not say: BT.709 for HD, BT.601 below."""
    if width >= 1280 or height > 576:
        return BT709
    return BT470BG if height == 576 else SMPTE170M


def encoded(colour: Colour, codec: Codec, size: Size) -> Colour:
    """What the values of frames mean once a codec holds them: those of red, green and blue in luma are as players take.

    Args:
        colour: what they mean before; of a clip of red, green and blue, its matrix is 0.
        codec: what holds them.
        size: of the frames.
    """
    if codec.is_rgb:
        return replace(colour, matrix=RGB, range=FULL)
    return colour if colour.matrix != RGB else replace(colour, matrix=usual_matrix(*size), range=LIMITED)


def to_rgb(frame: Any, colour: Colour) -> Pixels:
    """A decoded frame -> (H, W, 3)."""
    if colour.matrix == RGB:
        return np.asarray(frame.to_ndarray(format="rgb24"))
    frame.colorspace, frame.color_range = colour.matrix, colour.range
    return np.asarray(frame.reformat(format="rgb24", interpolation=_EXACT, dst_color_range=FULL).to_ndarray())


def to_frame(pixels: Pixels, codec: Codec, colour: Colour) -> Any:
    """(H, W, 3) -> a frame as an encoder takes it, with values that mean what `encoded` says.

    For halved chroma, an odd side gets its last values twice.
    """
    if codec.is_rgb:
        frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(pixels), "rgb24")
        frame = frame.reformat(format=codec.pixels) if codec.pixels != "rgb24" else frame
    else:
        frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(_padded(pixels)), "rgb24")
        matrix = _MATRICES[colour.matrix]
        frame = frame.reformat(
            format=codec.pixels, interpolation=_EXACT, dst_colorspace=matrix, dst_color_range=colour.range
        )
    frame.colorspace, frame.color_range = colour.matrix, colour.range
    frame.color_primaries, frame.color_trc = colour.primaries, colour.transfer
    return frame


def _padded(pixels: Pixels) -> Pixels:
    """(H, W, 3) with even sides: the last row or column twice where they were odd."""
    down, right = pixels.shape[0] % 2, pixels.shape[1] % 2
    return np.pad(pixels, [(0, down), (0, right), (0, 0)], mode="edge") if down or right else pixels
