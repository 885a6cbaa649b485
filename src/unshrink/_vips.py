"""libvips, which reads and writes 16 bits a channel where Pillow silently cuts them to 8."""

from typing import Any

import numpy as np


def header(data: bytes) -> Any:
    """The picture in `data` as a `pyvips.Image`, not decoded yet; damage found later raises instead of turning grey.

    Raises:
        pyvips.Error: not a picture that libvips knows.
    """
    import pyvips

    return pyvips.Image.new_from_buffer(data, "", access="sequential", fail_on="error")


def pixels(picture: Any) -> np.ndarray:
    """Decode a `pyvips.Image`: -> (H, W, C), in its own dtype.

    Raises:
        pyvips.Error: the file is damaged or cut off.
    """
    array: np.ndarray = picture.numpy()  # without the axes of length 1
    return array.reshape(picture.height, picture.width, picture.bands)


def picture(pixels: np.ndarray) -> Any:
    """(H, W, C) uint8 or uint16 -> `pyvips.Image` that keeps every bit when it is saved."""
    import pyvips

    grey, wide = pixels.shape[2] < 3, pixels.dtype == np.uint16
    interpretation = ("grey16" if wide else "b-w") if grey else ("rgb16" if wide else "srgb")
    return pyvips.Image.new_from_array(pixels, interpretation=interpretation)
