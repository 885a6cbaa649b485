"""How large a picture is that strangers sent, before any of its pixels is decoded.

As all that meets a stranger's bytes it runs in a process of its own, one that loads no network.
"""

import contextlib
import io
from importlib import import_module

from unshrink.errors import UnshrinkError
from unshrink.pictures import formats, record
from unshrink.pictures import io as images
from unshrink.pictures import mark as marks
from unshrink.weights import catalogue


class _Known(Exception):
    """What is asked for is known: no need to decode."""


def prepare() -> None:
    """Nothing: what is imported here is all that is needed."""


def downscaled(body: bytes) -> int:
    """Pixels of a picture file; 0 where it is none, which whoever decodes it will say."""
    pixels = 0

    def look(width: int, height: int) -> None:
        nonlocal pixels
        pixels = width * height
        raise _Known

    with contextlib.suppress(Exception):  # of any type, as decoders have it
        form = formats.of_content(body[: formats.SIGNATURE_BYTES])
        import_module(f"unshrink.pictures.{form.codec}").decode(io.BytesIO(body), form, look)
    return pixels


def upscaled(body: bytes, model: str | None, most: int) -> int:
    """Pixels of the picture that a file brings back by weights, named or those that made it; 0 where that is unknown.

    Args:
        body: the file.
        model: the name of the weights, if they are named.
        most: pixels that are allowed: a picture that is as large already is not decoded for its record.
    """
    pixels = downscaled(body)
    if model is not None:
        made = next((row for row in catalogue.ENTRIES if row.name == model), None)
    else:
        made = _made_by(body, most) if pixels <= most else None
    return pixels * made.scale**2 if made else pixels


def _made_by(body: bytes, most: int) -> catalogue.Entry | None:
    """The weights that made a picture, as its record says, or its mark; None without one that can be used."""
    try:
        image = images.scan(body, max_pixels=most)
        found, _ = record.extract(image)
        if found:
            return catalogue.of_identity(found.weights)
        mark = marks.read(image.whole().pixels)
        return catalogue.of_number(mark.weights) if mark else None
    except UnshrinkError:
        return None
