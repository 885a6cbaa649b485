"""TIFF: pixels as stored, 8 or 16 bit.

libvips decodes (Pillow would cut 16-bit colour to 8 bit, rotate by itself and let libtiff talk to standard error); the
writer is our own, because no library at hand writes 16-bit colour together with its whole metadata.

A TIFF file has no place for an EXIF block as such: EXIF entries are entries of the file. They are written so for other
programs, and the block also goes byte for byte into the Photoshop resource that exists for it.

Reference: TIFF Revision 6.0, Adobe 1992; Adobe Photoshop File Formats Specification, image resource 0x0422.
"""

import io
import itertools
import struct
import zlib
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from unshrink import _vips
from unshrink._picture import Image, bare_exif, sane_dpi
from unshrink.errors import ImageError

_PHOTOMETRIC, _EXTRA_SAMPLES, _XMP, _PHOTOSHOP, _ICC = 262, 338, 700, 34377, 34675
_RESOLUTION, _RESOLUTION_UNIT = (282, 283), 296
_ORIENTATION, _EXIF, _GPS, _INTEROP = 274, 34665, 34853, 40965
_DESCRIPTIVE = (270, 271, 272, 305, 306, 315, 33432)  # description, make, model, software, date, artist, copyright
_PALETTE, _PREMULTIPLIED = 3, 1
_INCHES = {2: 1.0, 3: 1 / 2.54}
_SHORT, _LONG, _RATIONAL, _BYTE, _UNDEFINED = 3, 4, 5, 1, 7
_HEADER = b"II*\0\x08\0\0\0"
_STRIP_BYTES = 1 << 18
_MOST_BYTES = (1 << 32) - (1 << 26)  # of pixels: offsets have 32 bits, and the metadata needs some room
_EXIF_RESOURCE = b"8BIM\x04\x22\0\0"
_CHANNELS = {"b-w": (1, 2), "grey16": (1, 2), "rgb": (3, 4), "srgb": (3, 4), "rgb16": (3, 4), "cmyk": (4,)}


def decode(data: bytes, check: Callable[[int, int], None]) -> Image:
    """Read a TIFF file; `check(width, height)` may refuse it before any pixel is decoded.

    Raises:
        ImageError: a kind of TIFF that is not supported.
        Exception: of many types, from libvips and from Pillow's tag reader: damaged or cut off.
    """
    picture = _vips.header(data)
    check(picture.width, picture.height)
    cmyk = picture.interpretation == "cmyk"
    known = picture.bands in _CHANNELS.get(picture.interpretation, ())
    if not known or picture.format not in (["uchar"] if cmyk else ["uchar", "ushort"]):
        met = f"{picture.bands} channels of {picture.format}, {picture.interpretation}"
        raise ImageError(f"this kind of TIFF is not supported ({met}); save it as grey or RGB of 8 or 16 bit")
    pixels, tags = _vips.pixels(picture), _read_tags(data)
    icc, notes = _bytes(tags, _ICC), list(_notes(picture, tags))
    if cmyk:
        from unshrink import _pillow

        pixels, note = _pillow.cmyk_to_rgb(pixels, icc)
        icc, notes = None, [*notes, note]
    return Image(pixels, icc, _read_exif(tags), _bytes(tags, _XMP), _read_dpi(tags), tuple(notes))


def encode(image: Image) -> bytes:
    """Write a TIFF file (deflate, horizontal differences), 8 or 16 bit, with ICC, EXIF and XMP byte for byte.

    Raises:
        ImageError: the file would exceed the 4 GiB of TIFF.
    """
    height, width, channels = image.pixels.shape
    rows = max(1, _STRIP_BYTES // (width * channels * image.pixels.itemsize))
    strips = [_deflate(image.pixels[top : top + rows]) for top in range(0, height, rows)]
    sizes = tuple(len(strip) for strip in strips)
    tags = {
        256: (_LONG, width),
        257: (_LONG, height),
        258: (_SHORT, (image.depth,) * channels),
        259: (_SHORT, 8),  # deflate
        _PHOTOMETRIC: (_SHORT, 1 if channels < 3 else 2),
        273: (_LONG, (0, *itertools.accumulate(sizes[:-1]))),  # strip offsets; Pillow adds where the directory ends
        277: (_SHORT, channels),
        278: (_LONG, rows),
        279: (_LONG, sizes),
        284: (_SHORT, 1),  # channels interleaved
        317: (_SHORT, 2),  # horizontal differences
    }
    if image.alpha:
        tags[_EXTRA_SAMPLES] = (_SHORT, (2,))  # straight alpha
    if sum(sizes) > _MOST_BYTES:
        raise ImageError("the picture is too large for TIFF (4 GiB); write PNG")
    return b"".join([_HEADER, _directory(_exif_tags(image.exif), tags | dict(_metadata_tags(image))), *strips])


def _deflate(rows: np.ndarray) -> bytes:
    little = rows.astype(rows.dtype.newbyteorder("<"))
    little[:, 1:] -= rows[:, :-1]
    return zlib.compress(little.tobytes())


def _metadata_tags(image: Image) -> Iterator[tuple[int, tuple[int, Any]]]:
    if image.icc is not None:
        yield _ICC, (_UNDEFINED, image.icc)
    if image.xmp is not None:
        yield _XMP, (_BYTE, image.xmp)
    if image.exif is not None:
        yield _PHOTOSHOP, (_BYTE, _EXIF_RESOURCE + struct.pack(">I", len(image.exif)) + image.exif)
    if image.dpi is not None:
        yield _RESOLUTION_UNIT, (_SHORT, 2)
        yield from ((tag, (_RATIONAL, dpi)) for tag, dpi in zip(_RESOLUTION, image.dpi, strict=True))


def _directory(plain: dict[int, Any], typed: dict[int, tuple[int, Any]]) -> bytes:
    """A TIFF directory for byte 8 of a file; Pillow chooses the types of the `plain` entries."""
    from PIL.TiffImagePlugin import ImageFileDirectory_v2

    directory = ImageFileDirectory_v2(_HEADER)
    for tag, value in plain.items():
        directory[tag] = value
    for tag, (kind, value) in typed.items():
        directory.tagtype[tag] = kind
        directory[tag] = value
    return directory.tobytes(len(_HEADER))


def _read_tags(data: bytes) -> dict[int, Any]:
    """The first directory of a TIFF file or an EXIF block; its EXIF and GPS directories as dictionaries."""
    from PIL.TiffImagePlugin import ImageFileDirectory_v2

    stream = io.BytesIO(data)
    head = data[:16] if 43 in data[2:4] else data[:8]  # 43: BigTIFF

    def read(offset: int, group: int | None) -> dict[int, Any]:
        directory = ImageFileDirectory_v2(head, group=group)
        stream.seek(offset)
        directory.load(stream)
        # bytes, because text that is not ASCII would come out as question marks
        return {tag: value.encode("latin-1") if isinstance(value, str) else value for tag, value in directory.items()}

    tags = read(ImageFileDirectory_v2(head).next, None)
    for pointer in (_EXIF, _GPS):
        if isinstance(offset := tags.pop(pointer, None), int):
            tags[pointer] = read(offset, pointer)
            tags[pointer].pop(_INTEROP, None)  # a pointer that would lead nowhere in another file
    return tags


def _exif_tags(exif: bytes | None) -> dict[int, Any]:
    """The entries of an EXIF block that mean the same in a TIFF file; none where the block cannot be understood."""
    try:
        tags = _read_tags(exif) if exif else {}
        kept = {tag: tags[tag] for tag in (_ORIENTATION, *_DESCRIPTIVE, _EXIF, _GPS) if tag in tags}
        _directory(kept, {})
    except Exception:  # whatever Pillow makes of a damaged block: it travels as it is, in its resource
        return {}
    return kept


def _read_exif(tags: dict[int, Any]) -> bytes | None:
    """The block as written by `encode` unless another program has turned the picture since; else one made of tags."""
    resource = _bytes(tags, _PHOTOSHOP) or b""
    if resource.startswith(_EXIF_RESOURCE):
        size = int.from_bytes(resource[8:12], "big")
        block = bare_exif(resource[12 : 12 + size])
        orientation = tags.get(_ORIENTATION)
        if block and orientation in (None, _exif_tags(block).get(_ORIENTATION)):
            return block
    kept = {tag: tags[tag] for tag in (_ORIENTATION, *_DESCRIPTIVE, _EXIF, _GPS) if tag in tags}
    if kept in ({}, {_ORIENTATION: 1}):
        return None
    return _HEADER + _directory(kept, {})


def _read_dpi(tags: dict[int, Any]) -> tuple[float, float] | None:
    inches = _INCHES.get(tags.get(_RESOLUTION_UNIT, 2))
    x, y = (tags.get(tag) for tag in _RESOLUTION)
    return sane_dpi((x / inches, y / inches)) if inches and x and y else None


def _bytes(tags: dict[int, Any], tag: int) -> bytes | None:
    value = tags.get(tag)
    return value if isinstance(value, bytes) and value else None


def _notes(picture: Any, tags: dict[int, Any]) -> Iterator[str]:
    if tags.get(_PHOTOMETRIC) == _PALETTE:
        yield "the palette was expanded to full colour"
    if tags.get(_EXTRA_SAMPLES) in (_PREMULTIPLIED, (_PREMULTIPLIED,)):
        yield "premultiplied alpha was converted to straight alpha"
    if picture.get_typeof("n-pages") and picture.get("n-pages") > 1:
        yield "only the first of several pages was read"
