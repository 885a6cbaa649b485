"""PNG: pixels through libvips, everything around them through its chunks, which are copied byte for byte.

Reference: Portable Network Graphics (PNG) Specification, third edition, W3C 2025.
"""

import re
import struct
import zlib
from collections.abc import Callable, Iterator
from typing import Any

from unshrink import _vips
from unshrink._picture import Image, bare_exif, sane_dpi
from unshrink.errors import ImageError

_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_PIXEL_CHUNKS = {b"IHDR", b"PLTE", b"tRNS", b"IDAT", b"IEND"}
_PALETTE = 3
_XMP = b"XML:com.adobe.xmp"
_RAW_PROFILES = {  # ImageMagick's, from before eXIf existed
    b"Raw profile type exif": "exif",
    b"Raw profile type APP1": "exif",
    b"Raw profile type xmp": "xmp",
}
_INFLATED_LIMIT = 64 << 20
_METRES_PER_INCH = 0.0254


def decode(data: bytes, check: Callable[[int, int], None]) -> Image:
    """Read a PNG file; `check(width, height)` may refuse it before any pixel is decoded.

    Raises:
        ImageError: cut off, or the header is damaged.
        pyvips.Error: the pixels are damaged.
    """
    chunks = list(_chunks(data))
    kind, header = chunks[0]
    if kind != b"IHDR" or len(header) != 25:
        raise ImageError("the PNG header is damaged; get the file again")
    width, height, _, colour = struct.unpack(">IIBB", header[8:18])
    check(width, height)
    # libvips gets the pixels alone: an odd profile or text must not make it refuse the picture
    bare = _SIGNATURE + b"".join(chunk for kind, chunk in chunks if kind in _PIXEL_CHUNKS)
    notes = ["the palette was expanded to full colour"] * (colour == _PALETTE)
    if any(kind == b"acTL" for kind, _ in chunks):
        notes.append("the animation was reduced to its first frame")
    metadata: dict[str, Any] = {}
    for kind, chunk in chunks:
        metadata |= {key: value for key, value in _read_metadata(kind, chunk[8:-4]).items() if value is not None}
    return Image(_vips.pixels(_vips.header(bare)), **metadata, notes=tuple(notes))


def encode(image: Image) -> bytes:
    """Write a PNG file, 8 or 16 bit, with ICC, EXIF and XMP byte for byte and the resolution in pixels per metre."""
    encoded = _vips.picture(image.pixels).pngsave_buffer(compression=6, filter="all", keep="none")
    header, *rest = (chunk for kind, chunk in _chunks(encoded) if kind in _PIXEL_CHUNKS)
    return b"".join([_SIGNATURE, header, *_write_metadata(image), *rest])


def _chunks(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    """(type, whole chunk) up to IEND; the checksums are left to libpng."""
    position, kind = len(_SIGNATURE), b""
    while kind != b"IEND":
        length = int.from_bytes(data[position : position + 4], "big")
        kind = data[position + 4 : position + 8]
        chunk = data[position : position + 12 + length]
        if len(chunk) < 12 + length:
            raise ImageError("the file is cut off; get it again")
        position += len(chunk)
        yield kind, chunk


def _chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def _write_metadata(image: Image) -> Iterator[bytes]:
    if image.icc is not None:
        yield _chunk(b"iCCP", b"ICC profile\0\0" + zlib.compress(image.icc))
    if image.dpi is not None:
        yield _chunk(b"pHYs", struct.pack(">IIB", *(round(dpi / _METRES_PER_INCH) for dpi in image.dpi), 1))
    if image.exif is not None:
        yield _chunk(b"eXIf", image.exif)
    if image.xmp is not None:
        yield _chunk(b"iTXt", _XMP + b"\0\0\0\0\0" + image.xmp)


def _read_metadata(kind: bytes, body: bytes) -> dict[str, Any]:
    """What one chunk says, as arguments of Image; None where it is damaged."""
    match kind:
        case b"iCCP":
            return {"icc": _inflate(body.partition(b"\0")[2][1:])}
        case b"eXIf":
            return {"exif": bare_exif(body)}
        case b"pHYs" if len(body) == 9:
            x, y, unit = struct.unpack(">IIB", body)
            return {"dpi": sane_dpi((x * _METRES_PER_INCH, y * _METRES_PER_INCH))} if unit == 1 else {}
        case b"iTXt" | b"zTXt" | b"tEXt":
            return _read_text(kind, body)
    return {}


def _read_text(kind: bytes, body: bytes) -> dict[str, Any]:
    keyword, _, text = body.partition(b"\0")
    if keyword != _XMP and keyword not in _RAW_PROFILES:
        return {}
    compressed = kind == b"zTXt" or (kind == b"iTXt" and text[:1] == b"\1")
    if kind == b"zTXt":
        text = text[1:]
    elif kind == b"iTXt":  # after the two flags: language and translated keyword, each ended by a zero
        text = text[2:].split(b"\0", 2)[-1]
    content = _inflate(text) if compressed else text
    if content is None or keyword == _XMP:
        return {"xmp": content}
    profile = _unhex(content)
    return {"xmp": profile} if _RAW_PROFILES[keyword] == "xmp" else {"exif": bare_exif(profile or b"")}


def _unhex(text: bytes) -> bytes | None:
    """The bytes of a raw profile: a line with its name, one with its length, then hexadecimal digits."""
    match = re.match(rb"\n\w+\n\s*(\d{1,9})\n([0-9a-fA-F\s]*)", text)
    try:
        return bytes.fromhex(match[2].decode())[: int(match[1])] if match else None
    except ValueError:  # an odd number of digits
        return None


def _inflate(data: bytes) -> bytes | None:
    """The zlib stream in `data`, or None where it is damaged or unreasonably large."""
    inflater = zlib.decompressobj()
    try:
        content = inflater.decompress(data, _INFLATED_LIMIT)
    except zlib.error:
        return None
    return content if inflater.eof else None
