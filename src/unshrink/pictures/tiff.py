"""TIFF: pixels as stored, 8 or 16 bit.

libvips decodes (Pillow would cut 16-bit colour to 8 bit, rotate by itself and let libtiff talk to standard error); the
writer is our own, because no library at hand writes 16-bit colour together with its whole metadata.  The directory
stands before the pixels, written once to leave room and once when the strips are there and their lengths known.

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
from typing import Any, BinaryIO

import numpy as np

from unshrink.errors import ImageError
from unshrink.pictures import vips as _vips
from unshrink.pictures.directories import Directory, directories, meant
from unshrink.pictures.exif import bare_exif
from unshrink.pictures.formats import Format
from unshrink.pictures.image import COMPRESSION, Image, PassingImage, note_of_aspect, sane_dpi
from unshrink.pictures.meaning import Meaning
from unshrink.pictures.photoshop import iptc_of as photoshop_iptc
from unshrink.pictures.pillow import cmyk_to_rgb
from unshrink.pictures.strips import beside, in_strips

_PHOTOMETRIC, _EXTRA_SAMPLES, _XMP, _PHOTOSHOP, _ICC = 262, 338, 700, 34377, 34675
_STRIP_OFFSETS, _STRIP_LENGTHS = 273, 279
_IPTC, _WHITE_POINT, _CHROMATICITIES = 33723, 318, 319
_RESOLUTION, _RESOLUTION_UNIT = (282, 283), 296
_ORIENTATION, _EXIF, _GPS, _INTEROP = 274, 34665, 34853, 40965
_DESCRIPTIVE = (270, 271, 272, 305, 306, 315, 33432)  # description, make, model, software, date, artist, copyright
_METADATA = (_XMP, _PHOTOSHOP, _ICC, _IPTC, _ORIENTATION, *_DESCRIPTIVE, _EXIF, _GPS)
_BITS, _SAMPLE_FORMAT = 258, 339
_PHOTOMETRICS = (0, 1, 2, 3, 5, 6)  # grey twice, RGB, palette, CMYK, YCbCr
_OTHER_PHOTOMETRICS = {
    4: "a mask",
    8: "LAB colours",
    9: "ICC LAB colours",
    10: "ITU LAB colours",
    32844: "LogL",
    32845: "LogLuv",
}
_SAMPLE_FORMATS = {2: "whole numbers with a sign", 3: "floating point", 5: "complex integers", 6: "complex numbers"}
_PALETTE, _PREMULTIPLIED = 3, 1
_NO_UNIT = 1
_INCHES = {2: 1.0, 3: 1 / 2.54}
_SHORT, _LONG, _LONG8, _RATIONAL, _BYTE, _UNDEFINED = 3, 4, 16, 5, 1, 7
_STRIP_BYTES = 1 << 18
_MOST_BYTES = (1 << 32) - (1 << 26)  # of pixels: offsets have 32 bits, and the metadata needs some room
_EXIF_RESOURCE = b"8BIM\x04\x22\0\0"
_CHANNELS = {"b-w": (1, 2), "grey16": (1, 2), "rgb": (3, 4), "srgb": (3, 4), "rgb16": (3, 4), "cmyk": (4,)}


def decode(stream: BinaryIO, form: Format, check: Callable[[int, int], None]) -> PassingImage:
    """Read a TIFF file; `check(width, height)` may refuse it before any pixel is decoded.

    Raises:
        ImageError: a kind of TIFF that is not supported.
        Exception: of many types, from libvips and from Pillow's tag reader: damaged or cut off.
    """
    found = directories(stream)
    stream.seek(0)
    directory = meant(found, stream.read(16))
    check(*directory.size)
    _refuse_unsupported(directory)
    tags = _read_tags(stream, found[0].offset)
    if directory is not found[0]:
        own = _read_tags(stream, directory.offset)
        tags = {tag: tags[tag] for tag in _METADATA if tag in tags} | own
    stream.seek(0)
    picture = _vips.header(stream, page=directory.page, subifd=directory.sub)
    check(picture.width, picture.height)
    cmyk = picture.interpretation == "cmyk"
    known = picture.bands in _CHANNELS.get(picture.interpretation, ())
    if not known or picture.format not in (["uchar"] if cmyk else ["uchar", "ushort"]):
        raise _unsupported(f"{picture.bands} channels of {picture.format}, {picture.interpretation}")
    pixels = _vips.strips(picture)
    icc, exif, xmp, notes = (
        _bytes(tags, _ICC),
        _read_exif(tags),
        _bytes(tags, _XMP),
        tuple(_notes(found, directory, tags)),
    )
    if cmyk:
        rgb, note = cmyk_to_rgb(np.asarray(pixels), icc)
        return Image(rgb, None, exif, xmp, _read_dpi(tags), (*notes, note), iptc=_read_iptc(tags)).passing()
    return PassingImage(pixels, icc, exif, xmp, _read_dpi(tags), notes, _read_meaning(tags), iptc=_read_iptc(tags))


def encode(image: Image | PassingImage, stream: BinaryIO, form: Format) -> None:
    """Write a TIFF file (deflate, horizontal differences), 8 or 16 bit, with ICC, EXIF and XMP byte for byte.

    BigTIFF where the pixels might not fit into the 4 GiB of TIFF.

    Args:
        image: what to write.
        stream: can be sought in: how long each strip is stands before them all, in the directory.
        form: TIFF.
    """
    height, width, channels = image.pixels.shape
    line = width * channels * image.depth // 8
    rows = max(1, _STRIP_BYTES // line)
    layout = _Layout(big=height * line > _MOST_BYTES)
    plain, typed = _exif_tags(image.exif), _pixel_tags(image, rows) | dict(_metadata_tags(image))

    def beginning(lengths: list[int]) -> bytes:
        """The file up to its first strip; its length is the same for any lengths of as many strips."""
        offsets = itertools.accumulate(lengths[:-1], initial=0)
        strips = {_STRIP_OFFSETS: (layout.offset_type, tuple(offsets)), _STRIP_LENGTHS: (_LONG, tuple(lengths))}
        return layout.header + _directory(plain, typed | strips, layout)

    begin, lengths = stream.tell(), []
    stream.write(beginning([0] * -(-height // rows)))
    for data in beside(_deflate, in_strips(image.pixels, rows)):
        stream.write(data)
        lengths.append(len(data))
    end = stream.tell()
    stream.seek(begin)
    stream.write(beginning(lengths))
    stream.seek(end)


def descriptive_exif(exif: bytes) -> bytes:
    """An EXIF block with those entries alone that mean the same in a TIFF file."""
    return _Layout().header + _directory(_exif_tags(exif), {})


def _deflate(rows: np.ndarray) -> bytes:
    little = rows.astype(rows.dtype.newbyteorder("<"))
    little[:, 1:] -= rows[:, :-1]
    return zlib.compress(little.tobytes(), COMPRESSION)


def _pixel_tags(image: Image | PassingImage, rows: int) -> dict[int, tuple[int, Any]]:
    """What the pixels are, in strips of so many rows."""
    tags: dict[int, tuple[int, Any]] = {
        256: (_LONG, image.size[0]),
        257: (_LONG, image.size[1]),
        258: (_SHORT, (image.depth,) * image.channels),
        259: (_SHORT, 8),  # deflate
        _PHOTOMETRIC: (_SHORT, 1 if image.channels < 3 else 2),
        277: (_SHORT, image.channels),
        278: (_LONG, rows),
        284: (_SHORT, 1),  # channels interleaved
        317: (_SHORT, 2),  # horizontal differences
    }
    return tags | ({_EXTRA_SAMPLES: (_SHORT, (2,))} if image.alpha else {})  # straight alpha


def blocks(image: Image | PassingImage) -> dict[int, tuple[int, bytes]]:
    """The blocks that a picture carries as entries of TIFF, with their types."""
    exif = _EXIF_RESOURCE + struct.pack(">I", len(image.exif)) + image.exif if image.exif is not None else None
    entries = {
        _ICC: (_UNDEFINED, image.icc),
        _XMP: (_BYTE, image.xmp),
        _PHOTOSHOP: (_BYTE, exif),
        _IPTC: (_UNDEFINED, image.iptc),
    }
    return {tag: (kind, block) for tag, (kind, block) in entries.items() if block is not None}


def _metadata_tags(image: Image | PassingImage) -> Iterator[tuple[int, tuple[int, Any]]]:
    yield from blocks(image).items()
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

    @property
    def header(self) -> bytes:
        """The beginning of a file whose directory follows at once."""
        return struct.pack("<2sHHHQ", b"II", 43, 8, 0, 16) if self.big else struct.pack("<2sHI", b"II", 42, 8)


def _directory(plain: dict[int, Any], typed: dict[int, tuple[int, Any]], layout: _Layout = _Layout()) -> bytes:
    """A TIFF directory that follows the header; Pillow chooses the types of the `plain` entries.

    The offsets of strips are to be given from its end: that is where Pillow takes them to begin.
    """
    from PIL.TiffImagePlugin import ImageFileDirectory_v2

    directory = ImageFileDirectory_v2(layout.header)
    for tag, value in plain.items():
        directory[tag] = value
    for tag, (kind, value) in typed.items():
        directory.tagtype[tag] = kind
        directory[tag] = value
    return directory.tobytes(len(layout.header))


def _refuse_unsupported(directory: Directory) -> None:
    """Raises ImageError for kinds of pixels of which libvips would say that they are damaged."""
    photometric, bits = directory.number(_PHOTOMETRIC), directory.number(_BITS, 1)
    if photometric not in _PHOTOMETRICS:
        raise _unsupported(_OTHER_PHOTOMETRICS.get(photometric, f"photometric interpretation {photometric}"))
    if (kind := directory.number(_SAMPLE_FORMAT, 1)) not in (1, 4):
        raise _unsupported(f"{bits}-bit {_SAMPLE_FORMATS.get(kind, f'samples of format {kind}')}")
    if bits not in (1, 2, 4, 8, 16):
        raise _unsupported(f"{bits}-bit samples")


def _unsupported(met: str) -> ImageError:
    return ImageError(f"this kind of TIFF is not supported ({met}); save it as grey or RGB of 8 or 16 bit")


def _read_tags(stream: BinaryIO, offset: int | None = None) -> dict[int, Any]:
    """A directory of a TIFF file or an EXIF block, with its EXIF and GPS directories as dictionaries.

    Args:
        stream: the file or the block.
        offset: where the directory stands; by default, the first one.
    """
    from PIL.TiffImagePlugin import ImageFileDirectory_v2

    stream.seek(0)
    head = stream.read(8)
    is_big = 43 in head[2:4]
    if is_big:  # Pillow would take no such header in the order MM
        head = b"II*\0\0\0\0\0" if head[:2] == b"II" else b"MM\0*\0\0\0\0"

    def read(offset: int, group: int | None) -> dict[int, Any]:
        directory = ImageFileDirectory_v2(head, group=group)
        directory._bigtiff = is_big
        stream.seek(offset)
        directory.load(stream)
        # bytes, because text that is not ASCII would come out as question marks
        return {tag: value.encode("latin-1") if isinstance(value, str) else value for tag, value in directory.items()}

    tags = read(ImageFileDirectory_v2(head).next if offset is None else offset, None)
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
    return _Layout().header + _directory(kept, {})


def _read_dpi(tags: dict[int, Any]) -> tuple[float, float] | None:
    inches = _INCHES.get(tags.get(_RESOLUTION_UNIT, 2))
    x, y = (tags.get(tag) for tag in _RESOLUTION)
    return sane_dpi((x / inches, y / inches)) if inches and x and y else None


def _read_iptc(tags: dict[int, Any]) -> bytes | None:
    """The block in its own entry, or among the resources of Photoshop."""
    own = tags.get(_IPTC)
    if isinstance(own, tuple):  # as LONG, which many write, in the order of bytes of little-endian files
        own = struct.pack(f"<{len(own)}I", *own).rstrip(b"\0") if all(isinstance(value, int) for value in own) else None
    return own or photoshop_iptc(_bytes(tags, _PHOTOSHOP) or b"")


def _read_meaning(tags: dict[int, Any]) -> Meaning | None:
    values = (*tags.get(_WHITE_POINT, ()), *tags.get(_CHROMATICITIES, ()))
    return (
        Meaning(chromaticities=tuple(round(float(value) * 100_000) for value in values)) if len(values) == 8 else None
    )


def _bytes(tags: dict[int, Any], tag: int) -> bytes | None:
    value = tags.get(tag)
    return value if isinstance(value, bytes) and value else None


def _notes(found: list[Directory], directory: Directory, tags: dict[int, Any]) -> Iterator[str]:
    if tags.get(_PHOTOMETRIC) == _PALETTE:
        yield "the palette was expanded to full colour"
    if tags.get(_EXTRA_SAMPLES) in (_PREMULTIPLIED, (_PREMULTIPLIED,)):
        yield "premultiplied alpha was converted to straight alpha"
    x, y = (tags.get(tag) for tag in _RESOLUTION)
    if tags.get(_RESOLUTION_UNIT) == _NO_UNIT and x and y:
        yield from note_of_aspect(float(x), float(y))
    if directory is not found[0]:
        yield "the first picture in the file is a copy of {}x{} pixels; the full one was read".format(*found[0].size)
    if sum(one.sub < 0 and one.is_full for one in found) > 1:
        yield "only the first of several pages was read"
