"""The kinds of pictures that the library takes: what each is, and how each becomes an Image and comes back."""

import os
import sys
from collections.abc import Callable
from typing import Any

import numpy as np

from unshrink.errors import ImageError
from unshrink.pictures import io as images
from unshrink.pictures.image import Image, PassingImage
from unshrink.pictures.pillow import to_pil

ALLOWED = (
    "a path, an unshrink.Image, a PIL image, an array (H, W) or (H, W, C) of uint8 or uint16 with 1 to 4 channels, "
    "a torch tensor (N, 3, H, W) of floats, the bytes of a file, a binary stream of them, or a list of pictures"
)


def is_path(picture: object) -> bool:
    """Whether the picture is named by a path."""
    return isinstance(picture, str | os.PathLike)


def is_tensor(picture: object) -> bool:
    """Whether the picture is a torch tensor; torch is not imported to find out."""
    torch = sys.modules.get("torch")
    return torch is not None and isinstance(picture, torch.Tensor)


def unwrap(picture: Any) -> tuple[Image | PassingImage, Callable[[Image], Any]]:
    """A picture in memory as an image, and the function that turns an Image into its kind.

    Raises:
        ImageError: the picture is of no allowed kind, type or shape.
    """
    if isinstance(picture, Image | PassingImage):
        return picture, _itself
    if isinstance(picture, np.ndarray):
        flat = picture.ndim == 2
        return _from_array(picture), lambda image: image.pixels[..., 0] if flat else image.pixels
    pil = sys.modules.get("PIL.Image")
    if pil is not None and isinstance(picture, pil.Image):
        return images.taken(picture), to_pil
    if isinstance(picture, bytes) or hasattr(picture, "read"):
        return images.scan(picture), _itself
    raise ImageError(f"cannot use a {type(picture).__name__}: give {ALLOWED}")


def _itself(image: Image) -> Image:
    return image


def _from_array(array: np.ndarray[Any, Any]) -> Image:
    pixels = array[..., None] if array.ndim == 2 else array
    if array.dtype not in (np.uint8, np.uint16) or pixels.ndim != 3 or not 1 <= pixels.shape[2] <= 4 or not array.size:
        raise ImageError(f"cannot use an array of {array.dtype} and shape {array.shape}: give {ALLOWED}")
    return Image(np.ascontiguousarray(pixels))
