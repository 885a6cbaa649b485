"""Pictures turned as their EXIF says, for places where EXIF does not go with them."""

import numpy as np

from unshrink.pictures.exif import orientation

_ON_ITS_SIDE, _MIRRORED, _UPSIDE_DOWN = {5, 6, 7, 8}, {2, 3, 6, 7}, {3, 4, 7, 8}  # orientations of EXIF


def upright(pixels: np.ndarray, exif: bytes | None) -> np.ndarray:
    """(H, W, C) as stored -> (H, W, C) or (W, H, C) as viewers show it.

    Reference: Exif 3.0, CIPA DC-008-2023, 4.6.5.1.6 (orientation).
    """
    turned = orientation(exif)
    if turned in _ON_ITS_SIDE:
        pixels = pixels.swapaxes(0, 1)
    if turned in _MIRRORED:
        pixels = pixels[:, ::-1]
    if turned in _UPSIDE_DOWN:
        pixels = pixels[::-1]
    return np.ascontiguousarray(pixels)
