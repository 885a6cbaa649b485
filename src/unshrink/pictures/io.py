"""Pictures in and out of files, losing nothing: 8 and 16 bit, alpha, colour profile, EXIF, XMP, resolution.

    image = read("photo.tif")
    write(image, "photo.png")

libvips reads PNG and TIFF, the formats with 16 bits, and JPEG, row by row; Pillow the others. PNG and TIFF are written
as their rows come. What is read is decided by the content of the file, never by its name; the size is checked before
anything is decoded; whatever is wrong with a file, the error is an `ImageError` with one line that says what to do.
"""

import contextlib
import dataclasses
import io
import os
import weakref
from collections.abc import Callable, Iterator
from importlib import import_module
from pathlib import PurePath
from typing import TYPE_CHECKING, BinaryIO, Protocol, cast

import numpy as np

from unshrink.errors import ImageError
from unshrink.files import atomic_write
from unshrink.pictures import formats
from unshrink.pictures.carried import fitted
from unshrink.pictures.formats import Format, Loss
from unshrink.pictures.image import Image, PassingImage
from unshrink.pictures.meaning import note_of
from unshrink.pictures.pillow import from_pil
from unshrink.pictures.strips import Strips

if TYPE_CHECKING:
    import PIL.Image

Source = str | os.PathLike[str] | bytes | BinaryIO
"""A picture file: its path, its bytes, or a binary stream of them."""

MAX_PIXELS = 178_956_970
"""Pixels that `read` accepts unless told otherwise: half a gigabyte of 8-bit RGB, which is where Pillow refuses too."""


_LONGEST_NAME = 4096


class _Codec(Protocol):
    """What reads and writes a format: a module that the table of formats names."""

    def decode(self, stream: BinaryIO, form: Format, check: Callable[[int, int], None]) -> PassingImage: ...

    def encode(self, image: Image | PassingImage, stream: BinaryIO, form: Format) -> None: ...


def read(source: Source, *, max_pixels: int = MAX_PIXELS) -> Image:
    """Read a PNG, JPEG, WebP, TIFF, AVIF, BMP, GIF or PPM picture.

    Pixels come as stored: 16 bits to the last bit, nothing turned (the orientation is in `exif`, also for TIFF). Bits,
    palettes and colour keys are expanded to 8-bit grey or RGB with or without alpha; CMYK becomes sRGB; AVIF of 10 or
    12 bits is stretched to 16; of an animation or a file of several pages comes the first picture, of a TIFF file that
    begins with a small copy the full one. `Image.notes` says which of these has happened. Raw files of cameras are
    refused: what of them could be read is a preview.

    Args:
        source: a path, the bytes of a file, or a binary stream (read to its end).
        max_pixels: refuse a picture with more pixels before decoding it.

    Raises:
        ImageError: no such file, not a picture, damaged, cut off, too large or of an unsupported kind.
    """
    return scan(source, max_pixels=max_pixels).whole()


def scan(source: Source, *, max_pixels: int = MAX_PIXELS) -> PassingImage:
    """Like `read`, but the pixels pass by: those of PNG, TIFF and JPEG are decoded when they are asked for.

    Raises:
        ImageError: as `read`; of damage further down in the file, when its pixels are asked for.
    """
    name = _name(source)
    with _refused(name), contextlib.ExitStack() as opened:
        stream = opened.enter_context(_load(source))
        image = _decode(stream, max_pixels)
        opened.pop_all()  # it is read on below

    def guarded() -> Iterator[np.ndarray]:
        with _refused(name), stream:
            yield from image.pixels

    pixels = guarded()
    weakref.finalize(pixels, stream.close)  # of a picture that nobody has read to its end
    return image.with_pixels(Strips(image.pixels.shape, image.pixels.dtype, pixels))


def write(
    image: Image | PassingImage,
    target: str | os.PathLike[str] | BinaryIO,
    *,
    format: str | None = None,
    lossy: bool = False,
    loss: Loss | None = None,
    overwrite: bool = False,
) -> None:
    """Write a picture with all that the format can carry of it; a file appears whole or not at all.

    Blocks are kept byte for byte, except that AVIF keeps the orientation outside EXIF. WebP and AVIF have no place for
    the resolution and no grey: grey comes back as RGB with three equal channels. PNG alone holds texts, and numbers
    that say what the values mean: elsewhere these become an ICC profile. JPEG holds comments, TIFF and JPEG hold IPTC.

    Args:
        image: what to write.
        target: a path, or a binary stream.
        format: "png", "webp", "tiff", "jpeg", "avif"; by default the extension of the path, for a stream "png".
        lossy: allow formats that change values: JPEG and AVIF, and WebP with a ``loss``.
        loss: how much they lose; by default little: quality 95, all of the chroma.
        overwrite: replace an existing file.

    Warns:
        UnshrinkWarning: of what the format cannot carry, once.

    Raises:
        ImageError: a format that is unknown, lossy without leave or unable to hold the picture; the file exists, its
            folder does not, the disk is full, no permission.
    """
    if not isinstance(image, Image | PassingImage):
        raise ImageError(
            f"cannot write a {type(image).__name__}: give an unshrink.Image, or a PIL image to unshrink.save"
        )
    if isinstance(target, str | os.PathLike):
        form = formats.writable(format) if format else formats.of_path(target)
        form = formats.losing(form, loss) if loss else form
        with atomic_write(target, overwrite, error=ImageError) as stream:
            _encode(image, stream, form, lossy)
        return
    form = formats.writable(format or "png")
    form = formats.losing(form, loss) if loss else form
    if getattr(target, "seekable", lambda: False)():
        _encode(image, target, form, lossy)
    else:
        memory = io.BytesIO()
        _encode(image, memory, form, lossy)
        target.write(memory.getbuffer())


def save(
    picture: "Image | PIL.Image.Image",
    target: str | os.PathLike[str] | BinaryIO,
    *,
    format: str | None = None,
    lossy: bool = False,
    overwrite: bool = False,
) -> None:
    """Write an `Image` or a PIL image with all that it carries, a small picture's record among it.

    Takes the same as `write`.  An array or a tensor is refused, because it carries no record: downscale an `Image` of
    the array instead, of which `numpy.asarray` gives the small pixels; or write ``Image(array)``, and give `upscale`
    the ``size`` to come back to.

    Example:
        >>> import unshrink
        >>> small = unshrink.load("irn-x4").downscale(PIL.Image.open("photo.jpg"))  # doctest: +SKIP
        >>> unshrink.save(small, "small.png")  # doctest: +SKIP

    Raises:
        ImageError: as `write`; or the picture is of another kind.
    """
    if not isinstance(picture, Image):
        import PIL.Image

        if not isinstance(picture, PIL.Image.Image):
            raise ImageError(
                f"cannot save a {type(picture).__name__}, which carries no record: downscale an unshrink.Image of it "
                "and save that; or save unshrink.Image(array), which comes back to its exact size with size="
            )
        picture = taken(picture)
    write(picture, target, format=format, lossy=lossy, overwrite=overwrite)


def taken(pil: "PIL.Image.Image") -> Image:
    """A Pillow picture as an `Image`: `from_pil`, whatever may be wrong with the file behind it.

    Raises:
        ImageError: it is damaged, cut off, closed or of an unsupported kind.
    """
    with _refused("the PIL image"):
        return from_pil(pil)


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
        raise ImageError(f"cannot read {name}: {_reason(exc)}") from exc


def _is_name(content: bytes) -> bool:
    """Whether bytes are the path of a picture rather than a picture."""
    is_short = len(content) <= _LONGEST_NAME and not {0, 10} & set(content)
    return is_short and (PurePath(os.fsdecode(content)).suffix.lower() in formats.EXTENSIONS or os.path.isfile(content))


def _reason(exc: Exception) -> str:
    if isinstance(exc, ImageError):
        return str(exc)
    if "closed image" in str(exc) or "closed file" in str(exc):  # Pillow's, when the pixels were not yet read
        return "it is closed; use it before it is closed, or load() it before"
    if "support is not configured" in str(exc):  # libtiff, when it comes to the pixels
        return f"its compression is not supported ({_line(exc)}); save it as PNG, or as TIFF without compression"
    return f"it is damaged ({_line(exc)}); get the file again"


def _load(source: Source) -> BinaryIO:
    """The file as a stream in which one can seek."""
    if isinstance(source, bytes):
        if _is_name(source):
            raise ImageError("bytes are the content of a picture file, and these are its name; give os.fsdecode(name)")
        return io.BytesIO(source)
    if not isinstance(source, str | os.PathLike):
        return io.BytesIO(source.read())
    if os.path.exists(source) and not os.path.isfile(source):
        raise ImageError("that is a folder or a device; give a picture file")
    try:
        return open(source, "rb")
    except OSError as exc:
        raise ImageError(f"{exc.strerror}; check the name and the permissions") from exc


def _decode(stream: BinaryIO, max_pixels: int) -> PassingImage:
    def check(width: int, height: int) -> None:
        if width * height > max_pixels:
            raise ImageError(
                f"{width} x {height} pixels are more than the limit of {max_pixels:,}; "
                "raise it with `max_pixels` if the file can be trusted"
            )

    start = stream.read(formats.SIGNATURE_BYTES)
    stream.seek(0)
    if not start:
        raise ImageError("the file is empty; get it again")
    form = formats.of_content(start)
    image = _codec(form).decode(stream, form, check)
    note = note_of(image.meaning, image.icc)
    return dataclasses.replace(image, notes=(*image.notes, note)) if note else image


def _encode(image: Image | PassingImage, stream: BinaryIO, form: Format, lossy: bool) -> None:
    exact = [row for row in formats.WRITTEN.values() if row.lossless]
    if not (form.lossless or lossy):
        extensions = ", ".join(extension for row in exact for extension in row.extensions)
        raise ImageError(
            f"{form.name} changes values, but only the exact values of the small picture bring back the large one; "
            f"write {extensions}, or allow the loss (`lossy`)"
        )
    if fault := _does_not_fit(image, form):
        instead = formats.listed(row for row in exact if not _does_not_fit(image, row))
        raise ImageError(f"{form.name} holds {fault}; write {instead}")
    _codec(form).encode(fitted(image, form), stream, form)


def _does_not_fit(image: Image | PassingImage, form: Format) -> str:
    """What of the picture the format cannot hold; "" where it holds all."""
    if image.depth > form.depth:
        return f"{form.depth} bits a channel, the picture has {image.depth}"
    if image.alpha and not form.alpha:
        return "no transparency, the picture has some"
    return f"at most {form.longest_side} pixels a side" if max(image.size) > form.longest_side else ""


def _codec(form: Format) -> _Codec:
    return cast(_Codec, import_module(f"unshrink.pictures.{form.codec}"))


def _line(exc: Exception) -> str:
    """The last line of a message, which is where libvips puts the cause."""
    lines = [line.strip() for line in str(exc).splitlines() if line.strip()]
    return lines[-1][:150] if lines else type(exc).__name__
