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
from dataclasses import dataclass
from typing import Any, BinaryIO, cast

import numpy as np

from unshrink.errors import ImageError
from unshrink.pictures import vips as _vips
from unshrink.pictures.image import COMPRESSION, Image, bare_exif, sane_dpi
from unshrink.pictures.strips import beside, in_strips

_PHOTOMETRIC, _STRIP_OFFSETS, _EXTRA_SAMPLES, _XMP, _PHOTOSHOP, _ICC = 262, 273, 338, 700, 34377, 34675
_RESOLUTION, _RESOLUTION_UNIT = (282, 283), 296
_ORIENTATION, _EXIF, _GPS, _INTEROP = 274, 34665, 34853, 40965
_DESCRIPTIVE = (270, 271, 272, 305, 306, 315, 33432)  # description, make, model, software, date, artist, copyright
_PALETTE, _PREMULTIPLIED = 3, 1
_INCHES = {2: 1.0, 3: 1 / 2.54}
_SHORT, _LONG, _LONG8, _RATIONAL, _BYTE, _UNDEFINED = 3, 4, 16, 5, 1, 7
_HEADER = b"II*\0\x08\0\0\0"
_STRIP_BYTES = 1 << 18
_MOST_BYTES = (1 << 32) - (1 << 26)  # of pixels: offsets have 32 bits, and the metadata needs some room
_EXIF_RESOURCE = b"8BIM\x04\x22\0\0"
_CHANNELS = {"b-w": (1, 2), "grey16": (1, 2), "rgb": (3, 4), "srgb": (3, 4), "rgb16": (3, 4), "cmyk": (4,)}


def decode(stream: BinaryIO, check: Callable[[int, int], None]) -> Image:
    """Read a TIFF file; `check(width, height)` may refuse it before any pixel is decoded.

    Returns:
        A picture whose pixels are `Rows`, unless they are CMYK.

    Raises:
        ImageError: a kind of TIFF that is not supported.
        Exception: of many types, from libvips and from Pillow's tag reader: damaged or cut off.
    """
    picture = _vips.header(stream)
    check(picture.width, picture.height)
    cmyk = picture.interpretation == "cmyk"
    known = picture.bands in _CHANNELS.get(picture.interpretation, ())
    if not known or picture.format not in (["uchar"] if cmyk else ["uchar", "ushort"]):
        met = f"{picture.bands} channels of {picture.format}, {picture.interpretation}"
        raise ImageError(f"this kind of TIFF is not supported ({met}); save it as grey or RGB of 8 or 16 bit")
    pixels = cast(np.ndarray, _vips.rows(picture))
    position = stream.tell()  # where libvips will go on
    stream.seek(0)
    tags = _read_tags(stream)
    stream.seek(position)
    icc, notes = _bytes(tags, _ICC), list(_notes(picture, tags))
    if cmyk:
        from unshrink.pictures import pillow as _pillow

        pixels, note = _pillow.cmyk_to_rgb(np.asarray(pixels), icc)
        icc, notes = None, [*notes, note]
    return Image(pixels, icc, _read_exif(tags), _bytes(tags, _XMP), _read_dpi(tags), tuple(notes))


def encode(image: Image, stream: BinaryIO) -> None:
    """Write a TIFF file (deflate, horizontal differences), 8 or 16 bit, with ICC, EXIF and XMP byte for byte.

    BigTIFF where the pixels might not fit into the 4 GiB of TIFF.

    Args:
        image: what to write.
        stream: can be sought in: the directory comes last, and the header says where.
    """
    height, width, channels = image.pixels.shape
    line = width * channels * image.depth // 8
    rows = max(1, _STRIP_BYTES // line)
    layout = _Layout(big=height * line > _MOST_BYTES)
    begin = stream.tell()
    stream.write(layout.header(0))
    ends = [stream.tell() - begin]
    for data in beside(_deflate, in_strips(image.pixels, rows)):
        stream.write(data)
        ends.append(stream.tell() - begin)
    place = ends[-1] + ends[-1] % 2
    tags = {
        256: (_LONG, width),
        257: (_LONG, height),
        258: (_SHORT, (image.depth,) * channels),
        259: (_SHORT, 8),  # deflate
        _PHOTOMETRIC: (_SHORT, 1 if channels < 3 else 2),
        _STRIP_OFFSETS: (layout.offset_type, tuple(ends[:-1])),
        277: (_SHORT, channels),
        278: (_LONG, rows),
        279: (_LONG, tuple(end - start for start, end in itertools.pairwise(ends))),
        284: (_SHORT, 1),  # channels interleaved
        317: (_SHORT, 2),  # horizontal differences
    }
    if image.alpha:
        tags[_EXTRA_SAMPLES] = (_SHORT, (2,))  # straight alpha
    directory = _directory(_exif_tags(image.exif), tags | dict(_metadata_tags(image)), layout, place)
    stream.write(bytes(place - ends[-1]) + directory)
    end = stream.tell()
    stream.seek(begin)
    stream.write(layout.header(place))
    stream.seek(end)


def _deflate(rows: np.ndarray) -> bytes:
    little = rows.astype(rows.dtype.newbyteorder("<"))
    little[:, 1:] -= rows[:, :-1]
    return zlib.compress(little.tobytes(), COMPRESSION)


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


@dataclass(frozen=True)
class _Layout:
    """How wide the numbers of a file are: 32 bits in TIFF, 64 in BigTIFF."""

    big: bool = False

    @property
    def offset_type(self) -> int:
        return _LONG8 if self.big else _LONG

    def header(self, place: int) -> bytes:
        """The beginning of a file whose directory is at ``place``."""
        return struct.pack("<2sHHHQ", b"II", 43, 8, 0, place) if self.big else struct.pack("<2sHI", b"II", 42, place)


def _directory(
    plain: dict[int, Any], typed: dict[int, tuple[int, Any]], layout: _Layout = _Layout(), place: int = 8
) -> bytes:
    """A TIFF directory for byte ``place`` of a file; Pillow chooses the types of the `plain` entries."""
    from PIL.TiffImagePlugin import ImageFileDirectory_v2

    directory = ImageFileDirectory_v2(layout.header(place))
    for tag, value in plain.items():
        directory[tag] = value
    for tag, (kind, value) in typed.items():
        directory.tagtype[tag] = kind
        directory[tag] = value
    encoded = directory.tobytes(place)
    if _STRIP_OFFSETS not in typed:
        return encoded
    # Pillow takes the strips to come after the directory, and has counted their offsets from its end
    head, entry, before, wide = (8, 20, 12, "Q") if layout.big else (2, 12, 8, "I")
    _, offsets = typed[_STRIP_OFFSETS]
    told = struct.pack(f"<{len(offsets)}{wide}", *offsets)
    at = head + entry * sorted(directory).index(_STRIP_OFFSETS) + before
    if len(offsets) > 1:
        at = struct.unpack_from(f"<{wide}", encoded, at)[0] - place
    return encoded[:at] + told + encoded[at + len(told) :]


def _read_tags(stream: BinaryIO) -> dict[int, Any]:
    """The first directory of a TIFF file or an EXIF block; its EXIF and GPS directories as dictionaries."""
    from PIL.TiffImagePlugin import ImageFileDirectory_v2

    head = stream.read(16)
    head = head if 43 in head[2:4] else head[:8]  # 43: BigTIFF

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
        tags = _read_tags(io.BytesIO(exif)) if exif else {}
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
