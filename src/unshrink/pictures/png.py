"""PNG: read through libvips, written line by line; what goes beside the pixels is copied byte for byte.

Reference: Portable Network Graphics (PNG) Specification, third edition, W3C 2025.
"""

import bisect
import contextlib
import io
import itertools
import re
import struct
import zlib
from collections.abc import Callable, Iterator
from typing import Any, BinaryIO

import numpy as np

from unshrink.errors import ImageError
from unshrink.pictures import vips as _vips
from unshrink.pictures.exif import bare_exif
from unshrink.pictures.formats import Format
from unshrink.pictures.image import COMPRESSION, Image, PassingImage, note_of_aspect, sane_dpi
from unshrink.pictures.meaning import Meaning
from unshrink.pictures.strips import beside, in_strips

_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_PIXEL_CHUNKS = {b"IHDR", b"PLTE", b"tRNS", b"IDAT", b"IEND"}
_PALETTE = 3
_XMP = b"XML:com.adobe.xmp"
_RAW_PROFILES = {  # ImageMagick's, from before eXIf existed
    b"Raw profile type exif": "exif",
    b"Raw profile type APP1": "exif",
    b"Raw profile type xmp": "xmp",
    b"Raw profile type iptc": "iptc",
}
_INFLATED_LIMIT = 64 << 20  # bytes of all profiles and texts of a file together
_MOST_INFLATED = 1032  # bytes that one byte of deflate becomes at most
_CHUNKS = 10_000  # that a file may have, and one more for each ...
_BYTES_A_CHUNK = 1024  # ... of its bytes: pixels come in chunks of 8 KiB and more
_METRES_PER_INCH = 0.0254
_MEANING = {  # chunks, and the attributes of `Meaning` that they say
    b"cICP": "code",
    b"sRGB": "intent",
    b"gAMA": "gamma",
    b"cHRM": "chromaticities",
    b"mDCV": "mastering",
    b"cLLI": "light",
}
_IPTC = b"Raw profile type iptc"
_TEXTS_LIMIT = 1 << 20  # bytes of all texts together, inflated
_COMPRESSED_FROM = 1024  # bytes of a text
_STRIP_BYTES = 1 << 18  # that a strip is filtered in the cache


def decode(stream: BinaryIO, form: Format, check: Callable[[int, int], None]) -> PassingImage:
    """Read a PNG file; `check(width, height)` may refuse it before any pixel is decoded.

    Raises:
        ImageError: cut off, or the header is damaged.
        pyvips.Error: the pixels are damaged.
    """
    chunks = list(_chunks(stream))
    kind, start, length = chunks[0]
    if kind != b"IHDR" or length != 25:
        raise ImageError("the PNG header is damaged; get the file again")
    width, height, _, colour = struct.unpack(">IIBB", _body(stream, start, length)[:10])
    check(width, height)
    notes = ["the palette was expanded to full colour"] * (colour == _PALETTE)
    if any(kind == b"acTL" for kind, _, _ in chunks):
        notes.append("the animation was reduced to its first frame")
    metadata: dict[str, Any] = {}
    inflater = _Inflater()
    texts = _Texts(inflater)
    for kind, start, length in chunks:
        if kind not in _PIXEL_CHUNKS:
            read = _read_metadata(kind, _body(stream, start, length), texts, inflater)
            metadata |= {key: value for key, value in read.items() if value is not None}
    said = {name: metadata.pop(name) for name in _MEANING.values() if name in metadata}
    metadata |= {"texts": tuple(texts.found), "meaning": Meaning(**said) if said else None}
    notes += [f"texts of more than {_TEXTS_LIMIT >> 20} MiB were left out"] * texts.is_full
    notes += [f"profiles of more than {_INFLATED_LIMIT >> 20} MiB were left out"] * inflater.is_full
    # libvips gets the pixels alone: an odd profile or text must not make it refuse the picture
    bare = [(0, len(_SIGNATURE)), *((start, length) for kind, start, length in chunks if kind in _PIXEL_CHUNKS)]
    notes += metadata.pop("notes", ())
    return PassingImage(_vips.strips(_vips.header(_Parts(stream, bare))), **metadata, notes=tuple(notes))


class _Parts(io.BufferedIOBase):
    """What stands in some parts of a file, as a file of its own, for one reader from the beginning to the end.

    Args:
        stream: the file.
        parts: where each begins in it, and its length.
    """

    def __init__(self, stream: BinaryIO, parts: list[tuple[int, int]]) -> None:
        self._stream, self._parts = stream, parts
        self._ends = list(itertools.accumulate(length for _, length in parts))
        self._position = 0

    def read(self, size: int | None = -1) -> bytes:
        """What comes next: at most ``size`` bytes, and none beyond the end of a part."""
        index = bisect.bisect_right(self._ends, self._position)
        if index == len(self._parts):
            return b""
        left = self._ends[index] - self._position
        start, length = self._parts[index]
        self._stream.seek(start + length - left)
        data = self._stream.read(left if size is None or size < 0 else min(size, left))
        self._position += len(data)
        return data

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Moves to a place, and returns it."""
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._position, io.SEEK_END: self._ends[-1]}[whence]
        self._position = base + offset
        return self._position


def encode(image: Image | PassingImage, stream: BinaryIO, form: Format) -> None:
    """Write a PNG file, 8 or 16 bit, with ICC, EXIF and XMP byte for byte and the resolution in pixels per metre.

    Every line gets the filter that leaves the least; no library at hand takes the lines one after the other.
    """
    height, width, channels = image.pixels.shape
    kind = {1: 0, 2: 4, 3: 2, 4: 6}[channels]
    header = struct.pack(">IIBBBBB", width, height, image.depth, kind, 0, 0, 0)
    stream.write(b"".join([_SIGNATURE, _chunk(b"IHDR", header), *_write_metadata(image)]))
    deflate = zlib.compressobj(COMPRESSION, zlib.DEFLATED, zlib.MAX_WBITS, zlib.DEF_MEM_LEVEL, zlib.Z_FILTERED)
    step = channels * image.depth // 8
    above = np.zeros(width * step, np.uint8)

    def compressed(strip: np.ndarray) -> bytes:
        nonlocal above
        lines = strip.astype(strip.dtype.newbyteorder(">")).view(np.uint8).reshape(len(strip), -1)
        filtered, above = _filtered(lines, above, step), lines[-1]
        return deflate.compress(filtered.data)

    for data in beside(compressed, in_strips(image.pixels, max(1, _STRIP_BYTES // (width * step)))):
        if data:
            stream.write(_chunk(b"IDAT", data))
    stream.write(_chunk(b"IDAT", deflate.flush()) + _chunk(b"IEND", b""))


def _filtered(lines: np.ndarray, above: np.ndarray, step: int) -> np.ndarray:
    """Lines (n, bytes) as PNG compresses them: (n, 1 + bytes), each with the number of its filter before it.

    Args:
        lines: what stands in the picture.
        above: the line before the first.
        step: bytes from a value to the same channel of the next pixel.
    """
    up = np.concatenate((above[None], lines[:-1]))
    left, corner = (np.pad(array[:, :-step], ((0, 0), (step, 0))) for array in (lines, up))
    a, b, c = (array.astype(np.int16) for array in (left, up, corner))
    to_left, to_up, to_corner = abs(b - c), abs(a - c), abs(a + b - 2 * c)
    is_left = (to_left <= to_up) & (to_left <= to_corner)
    paeth = np.where(is_left, left, np.where(to_up <= to_corner, up, corner))
    average = ((a + b) >> 1).astype(np.uint8)
    best, least = np.empty((len(lines), 1 + lines.shape[1]), np.uint8), np.full(len(lines), np.inf)
    for number, guess in enumerate((np.zeros_like(left), left, up, average, paeth)):
        rest = lines - guess
        cost = abs(rest.view(np.int8).astype(np.int16)).sum(axis=1)
        better = cost < least
        best[better, 0], best[better, 1:], least[better] = number, rest[better], cost[better]
    return best


def _chunks(stream: BinaryIO) -> Iterator[tuple[bytes, int, int]]:
    """(type, where it begins, length with its frame) of each chunk up to IEND; the checksums are left to libpng."""
    end = stream.seek(0, io.SEEK_END)
    position, kind = len(_SIGNATURE), b""
    left = most = _CHUNKS + end // _BYTES_A_CHUNK
    while kind != b"IEND":
        if not left:
            raise ImageError(f"it is a PNG of more than {most:,} chunks, which no program writes; save it again as PNG")
        left -= 1
        stream.seek(position)
        head = stream.read(8)
        kind, length = head[4:], 12 + int.from_bytes(head[:4], "big")
        if len(head) < 8 or position + length > end:
            raise ImageError("the file is cut off; get it again")
        yield kind, position, length
        position += length


def _body(stream: BinaryIO, start: int, length: int) -> bytes:
    """What a chunk says."""
    stream.seek(start + 8)
    return stream.read(length - 12)


def _chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


class _Inflater:
    """Inflates what stands in the chunks of one file, as much of it as pictures carry: a few bytes can hold gigabytes.

    Attributes:
        is_full: whether a profile was too much.
    """

    def __init__(self) -> None:
        self.is_full, self._left = False, _INFLATED_LIMIT

    @property
    def is_spent(self) -> bool:
        """Whether no more is inflated: the last result, and all that follow, are not whole."""
        return self._left <= 0

    def start(self, data: bytes, most: int) -> bytes | None:
        """The whole of a zlib stream; its first bytes, ``most`` or fewer, if it has more; None where it is damaged."""
        if self.is_spent:
            return b""
        inflater, most = zlib.decompressobj(), min(most, self._left)
        try:
            content = inflater.decompress(data, most)
        except zlib.error:
            self._left -= min(most, _MOST_INFLATED * len(data))
            return None
        self._left -= len(content)
        return content if inflater.eof or len(content) == most else None

    def profile(self, data: bytes) -> bytes | None:
        """The whole of a zlib stream; None where it is damaged, or too much."""
        content = self.start(data, _INFLATED_LIMIT)
        self.is_full |= self.is_spent
        return None if self.is_spent else content


class _Texts:
    """The texts of a file, as many of them as anybody can want.

    Args:
        inflater: of the file.

    Attributes:
        found: keywords and texts.
        is_full: whether some were left out.
    """

    def __init__(self, inflater: _Inflater) -> None:
        self._inflater = inflater
        self.found: list[tuple[str, str]] = []
        self.is_full, self._left = False, _TEXTS_LIMIT

    def add(self, keyword: bytes, content: bytes, is_compressed: bool, coding: str) -> None:
        """Takes one more; what is damaged is no text."""
        text = self._inflater.start(content, self._left + 1) if is_compressed else content
        if text is None:
            return
        if len(text) + len(keyword) > self._left or (is_compressed and self._inflater.is_spent):
            self.is_full = True
            return
        self._left -= len(text) + len(keyword)
        with contextlib.suppress(UnicodeDecodeError):
            self.found.append((keyword.decode("latin-1"), text.decode(coding)))


def described(image: Image | PassingImage) -> Iterator[tuple[bytes, bytes]]:
    """(type, content) of the chunks of texts, IPTC and what the values mean."""
    for kind, name in _MEANING.items():
        value = getattr(image.meaning, name) if image.meaning else None
        if value is not None:
            yield kind, _packed(kind, value)
    for keyword, text in image.texts:
        yield _text_chunk(keyword, text)
    if image.iptc is not None:
        digits = image.iptc.hex().encode()
        lines = b"".join(digits[at : at + 72] + b"\n" for at in range(0, len(digits), 72))
        yield b"zTXt", _IPTC + b"\0\0" + zlib.compress(b"\niptc\n%8d\n" % len(image.iptc) + lines)


def _packed(kind: bytes, value: Any) -> bytes:
    match kind:
        case b"cICP" | b"mDCV" | b"cLLI":
            return bytes(value)
        case b"sRGB":
            return struct.pack(">B", value)
        case b"gAMA":
            return struct.pack(">I", value)
    return struct.pack(">8I", *value)


def _text_chunk(keyword: str, text: str) -> tuple[bytes, bytes]:
    name, is_long = keyword.encode("latin-1", "replace")[:79], len(text) >= _COMPRESSED_FROM
    try:
        content = text.encode("latin-1")
    except UnicodeEncodeError:
        content = text.encode()
        return b"iTXt", name + (b"\0\1\0\0\0" + zlib.compress(content) if is_long else b"\0\0\0\0\0" + content)
    return (b"zTXt", name + b"\0\0" + zlib.compress(content)) if is_long else (b"tEXt", name + b"\0" + content)


def _write_metadata(image: Image | PassingImage) -> Iterator[bytes]:
    yield from (_chunk(kind, body) for kind, body in described(image))
    if image.icc is not None:
        yield _chunk(b"iCCP", b"ICC profile\0\0" + zlib.compress(image.icc))
    if image.dpi is not None:
        yield _chunk(b"pHYs", struct.pack(">IIB", *(round(dpi / _METRES_PER_INCH) for dpi in image.dpi), 1))
    if image.exif is not None:
        yield _chunk(b"eXIf", image.exif)
    if image.xmp is not None:
        yield _chunk(b"iTXt", _XMP + b"\0\0\0\0\0" + image.xmp)


def _read_metadata(kind: bytes, body: bytes, texts: _Texts, inflater: _Inflater) -> dict[str, Any]:
    """What one chunk says, as arguments of Image and `Meaning`, None where it is damaged; ``texts`` takes others."""
    match kind:
        case b"gAMA" if len(body) == 4:
            return {"gamma": int.from_bytes(body, "big") or None}
        case b"cHRM" if len(body) == 32:
            return {"chromaticities": struct.unpack(">8I", body)}
        case b"sRGB" if len(body) == 1:
            return {"intent": body[0]}
        case b"cICP" if len(body) == 4:
            return {"code": tuple(body)}
        case b"mDCV" | b"cLLI" if len(body) == (24 if kind == b"mDCV" else 8):
            return {_MEANING[kind]: body}
        case b"iCCP":
            return {"icc": inflater.profile(body.partition(b"\0")[2][1:])}
        case b"eXIf":
            return {"exif": bare_exif(body)}
        case b"pHYs" if len(body) == 9:
            x, y, unit = struct.unpack(">IIB", body)
            if unit == 1:
                return {"dpi": sane_dpi((x * _METRES_PER_INCH, y * _METRES_PER_INCH))}
            return {"notes": note_of_aspect(x, y)}
        case b"iTXt" | b"zTXt" | b"tEXt":
            return _read_text(kind, body, texts, inflater)
    return {}


def _read_text(kind: bytes, body: bytes, texts: _Texts, inflater: _Inflater) -> dict[str, Any]:
    keyword, _, text = body.partition(b"\0")
    compressed = kind == b"zTXt" or (kind == b"iTXt" and text[:1] == b"\1")
    if kind == b"zTXt":
        text = text[1:]
    elif kind == b"iTXt":  # after the two flags: language and translated keyword, each ended by a zero
        text = text[2:].split(b"\0", 2)[-1]
    if keyword != _XMP and keyword not in _RAW_PROFILES:
        texts.add(keyword, text, compressed, "utf-8" if kind == b"iTXt" else "latin-1")
        return {}
    content = inflater.profile(text) if compressed else text
    if content is None or keyword == _XMP:
        return {"xmp": content}
    name, profile = _RAW_PROFILES[keyword], _unhex(content)
    return {name: bare_exif(profile or b"") if name == "exif" else profile}


def _unhex(text: bytes) -> bytes | None:
    """The bytes of a raw profile: a line with its name, one with its length, then hexadecimal digits."""
    match = re.match(rb"\n\w+\n\s*(\d{1,9})\n([0-9a-fA-F\s]*)", text)
    try:
        return bytes.fromhex(match[2].decode())[: int(match[1])] if match else None
    except ValueError:  # an odd number of digits
        return None
