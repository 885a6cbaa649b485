"""Pictures in and out of files, losing nothing: 8 and 16 bit, alpha, colour profile, EXIF, XMP, resolution.

    image = read("photo.tif")
    write(image, "photo.png")

libvips reads PNG and TIFF, the formats with 16 bits, and JPEG, row by row; Pillow the others. PNG and TIFF are written
as their rows come. What is read is decided by the content of the file, never by its name; the size is checked before
anything is decoded; whatever is wrong with a file, the error is an `ImageError` with one line that says what to do.
"""

import contextlib
import io
import os
import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import PurePath
from typing import BinaryIO, cast

import numpy as np

from unshrink.errors import ImageError
from unshrink.files import atomic_write
from unshrink.pictures import pillow as _pillow
from unshrink.pictures import png as _png
from unshrink.pictures import tiff as _tiff
from unshrink.pictures.image import Image
from unshrink.pictures.pillow import from_pil, to_pil
from unshrink.pictures.strips import Rows, strips_of

__all__ = [
    "LOSSLESS",
    "LOSSY",
    "MAX_PIXELS",
    "Image",
    "format_of",
    "from_pil",
    "kind_of",
    "max_depth",
    "passing",
    "read",
    "scan",
    "to_pil",
    "whole",
    "write",
]

MAX_PIXELS = 178_956_970
"""Pixels that `read` accepts unless told otherwise: half a gigabyte of 8-bit RGB, which is where Pillow refuses too."""

LOSSLESS = {"png": (".png",), "webp": (".webp",), "tiff": (".tif", ".tiff")}
"""Formats that keep every value, and their extensions. WebP is written lossless; it holds 8 bits only."""

LOSSY = {"jpeg": (".jpg", ".jpeg"), "avif": (".avif",)}
"""Formats that change values, written on request only, and their extensions."""

_SIGNATURES = {
    "Png": rb"\x89PNG\r\n\x1a\n",
    "Tiff": rb"II[*+]\0|MM\0[*+]",
    "Jpeg": rb"\xff\xd8\xff",
    "WebP": rb"RIFF....WEBP",
    "Avif": rb"....ftyp(avif|avis|mif1|msf1)",
    "Gif": rb"GIF8[79]a",
    "Bmp": rb"BM",
    "Ppm": rb"P[1-6]\s",
}
_SIGNATURE_BYTES = 16


def read(source: str | os.PathLike[str] | bytes | BinaryIO, *, max_pixels: int = MAX_PIXELS) -> Image:
    """Read a PNG, JPEG, WebP, TIFF, AVIF, BMP, GIF or PPM picture.

    Pixels come as stored: 16 bits to the last bit, nothing turned (the orientation is in `exif`, also for TIFF). Bits,
    palettes and colour keys are expanded to 8-bit grey or RGB with or without alpha; CMYK becomes sRGB; AVIF of 10 or
    12 bits is stretched to 16; of an animation or a file of several pages comes the first picture. `Image.notes` says
    which of these has happened.

    Args:
        source: a path, the bytes of a file, or a binary stream (read to its end).
        max_pixels: refuse a picture with more pixels before decoding it.

    Raises:
        ImageError: no such file, not a picture, damaged, cut off, too large or of an unsupported kind.
    """

    name = _name(source)
    with _refused(name):
        return whole(_decode(_load(source), max_pixels))


def scan(source: str | os.PathLike[str] | bytes | BinaryIO, *, max_pixels: int = MAX_PIXELS) -> Image:
    """Like `read`, but the pixels of PNG, TIFF and JPEG are `Rows`, which are decoded when they are asked for.

    Raises:
        ImageError: as `read`; of damage further down in the file, when its pixels are asked for.
    """
    name = _name(source)
    with _refused(name):
        image = _decode(_load(source), max_pixels)
    if not isinstance(image.pixels, Rows):
        return image
    shape, dtype, strips = image.pixels.shape, image.pixels.dtype, image.pixels.strips

    def guarded() -> Iterator[np.ndarray]:
        with _refused(name):
            yield from strips

    return replace(image, pixels=cast(np.ndarray, Rows(shape, dtype, guarded())))


def whole(image: Image) -> Image:
    """The picture with its pixels as an array."""
    return replace(image, pixels=np.asarray(image.pixels)) if isinstance(image.pixels, Rows) else image


def passing(image: Image) -> Image:
    """The picture with its pixels as `Rows`: of a network's result, then, no more is held than is needed at once."""
    pixels = image.pixels
    return replace(image, pixels=cast(np.ndarray, Rows(pixels.shape, pixels.dtype, strips_of(pixels))))


def write(
    image: Image,
    target: str | os.PathLike[str] | BinaryIO,
    *,
    format: str | None = None,
    lossy: bool = False,
    overwrite: bool = False,
) -> None:
    """Write a picture with its profile, EXIF, XMP and resolution; a file appears whole or not at all.

    Blocks are kept byte for byte, except that AVIF keeps the orientation outside EXIF. WebP and AVIF have no place for
    the resolution and no grey: grey comes back as RGB with three equal channels.

    Args:
        image: what to write.
        target: a path, or a binary stream.
        format: "png", "webp", "tiff", "jpeg", "avif"; by default the extension of the path, for a stream "png".
        lossy: allow JPEG and AVIF, at high quality.
        overwrite: replace an existing file.

    Raises:
        ImageError: a format that is unknown, lossy without leave or unable to hold the picture; the file exists, its
            folder does not, the disk is full, no permission.
    """
    if isinstance(target, str | os.PathLike):
        form = format or format_of(target)
        with atomic_write(target, overwrite, error=ImageError) as stream:
            _encode(image, stream, form, lossy)
    elif getattr(target, "seekable", lambda: False)():
        _encode(image, target, format or "png", lossy)
    else:
        memory = io.BytesIO()
        _encode(image, memory, format or "png", lossy)
        target.write(memory.getbuffer())


def max_depth(path: str | os.PathLike[str]) -> int:
    """The most bits a channel that the format of `path` holds: 8 or 16.

    Raises:
        ImageError: the extension is none that can be written.
    """
    return 16 if format_of(path) in ("png", "tiff") else 8


def format_of(path: str | os.PathLike[str]) -> str:
    """The format that an extension asks for: "photo.TIF" -> "tiff".

    Raises:
        ImageError: the extension is none that can be written.
    """
    name = os.fspath(path)
    suffix = PurePath(name).suffix.lower()
    for form, extensions in (LOSSLESS | LOSSY).items():
        if suffix in extensions:
            return form
    raise ImageError(f"cannot write {name}: unknown extension {suffix!r}; allowed are {_extensions(LOSSLESS | LOSSY)}")


def kind_of(data: bytes) -> str | None:
    """The kind of picture that a file is by its first bytes, such as "Png" or "WebP"; None if it is none we read."""
    return next((kind for kind, pattern in _SIGNATURES.items() if re.match(pattern, data, re.DOTALL)), None)


def _name(source: object) -> str:
    return str(source if isinstance(source, str | os.PathLike) else getattr(source, "name", "the picture"))


@contextlib.contextmanager
def _refused(name: str) -> Iterator[None]:
    """Whatever is wrong with a file becomes one kind of error."""
    try:
        yield
    except MemoryError as exc:
        raise ImageError(f"cannot read {name}: not enough memory for it; close other programs") from exc
    except Exception as exc:  # decoders meet damage with almost any type
        reason = str(exc) if isinstance(exc, ImageError) else f"it is damaged ({_line(exc)}); get the file again"
        raise ImageError(f"cannot read {name}: {reason}") from exc


def _load(source: str | os.PathLike[str] | bytes | BinaryIO) -> BinaryIO:
    """The file as a stream in which one can seek."""
    if isinstance(source, bytes):
        return io.BytesIO(source)
    if not isinstance(source, str | os.PathLike):
        return io.BytesIO(source.read())
    if os.path.exists(source) and not os.path.isfile(source):
        raise ImageError("that is a folder or a device; give a picture file")
    try:
        return open(source, "rb")
    except OSError as exc:
        raise ImageError(f"{exc.strerror}; check the name and the permissions") from exc


def _decode(stream: BinaryIO, max_pixels: int) -> Image:
    def check(width: int, height: int) -> None:
        if width * height > max_pixels:
            raise ImageError(
                f"{width} x {height} pixels are more than the limit of {max_pixels:,}; "
                "raise it with --max-pixels if the file can be trusted"
            )

    start = stream.read(_SIGNATURE_BYTES)
    stream.seek(0)
    if not start:
        raise ImageError("the file is empty; get it again")
    kind = kind_of(start)
    match kind:
        case "Png":
            return _png.decode(stream, check)
        case "Tiff":
            return _tiff.decode(stream, check)
        case None:
            raise ImageError("it is not a PNG, JPEG, WebP, TIFF, AVIF, BMP, GIF or PPM picture; convert it to one")
    return _pillow.decode(stream, kind, check)


def _encode(image: Image, stream: BinaryIO, form: str, lossy: bool) -> None:
    if form not in LOSSLESS | LOSSY:
        raise ImageError(f"cannot write the format {form!r}; allowed are {', '.join(LOSSLESS | LOSSY)}")
    if form in LOSSY and not lossy:
        raise ImageError(
            f"{form} changes values, but only the exact values of the small picture bring back the large one; "
            f"write {_extensions(LOSSLESS)}, or allow the loss (--lossy)"
        )
    match form:
        case "png":
            _png.encode(image, stream)
        case "tiff":
            _tiff.encode(image, stream)
        case _:
            _encode_by_pillow(image, stream, form)


def _encode_by_pillow(image: Image, stream: BinaryIO, form: str) -> None:
    memory = io.BytesIO()  # so that what goes wrong with the disk is told apart from what the format cannot hold
    try:
        _pillow.encode(image, memory, form)
    except ImageError:
        raise
    except Exception as exc:  # encoders raise many types: an EXIF block too large for JPEG, for one
        raise ImageError(f"cannot write this picture as {form}: {_line(exc)}; write PNG or TIFF") from exc
    stream.write(memory.getbuffer())


def _line(exc: Exception) -> str:
    """The last line of a message, which is where libvips puts the cause."""
    lines = [line.strip() for line in str(exc).splitlines() if line.strip()]
    return lines[-1][:150] if lines else type(exc).__name__


def _extensions(formats: dict[str, tuple[str, ...]]) -> str:
    return ", ".join(extension for extensions in formats.values() for extension in extensions)
