"""What a file tells of the lossy encoding that its pixels went through last: quality, chroma, progressive or not."""

import importlib
import io
import math
from dataclasses import dataclass

from unshrink.pictures.formats import SIGNATURE_BYTES, Format, of_content

Table = list[int]

# ISO/IEC 10918-1, tables K.1 and K.2, row by row: what libjpeg scales by its quality
_LUMA: Table = [
    *(16, 11, 10, 16, 24, 40, 51, 61, 12, 12, 14, 19, 26, 58, 60, 55),
    *(14, 13, 16, 24, 40, 57, 69, 56, 14, 17, 22, 29, 51, 87, 80, 62),
    *(18, 22, 37, 56, 68, 109, 103, 77, 24, 35, 55, 64, 81, 104, 113, 92),
    *(49, 64, 78, 87, 103, 121, 120, 101, 72, 92, 95, 98, 112, 100, 103, 99),
]
_CHROMA: Table = [
    *(17, 18, 24, 47, 99, 99, 99, 99, 18, 21, 26, 66, 99, 99, 99, 99),
    *(24, 26, 56, 99, 99, 99, 99, 99, 47, 66, 99, 99, 99, 99, 99, 99),
    *([99] * 32),
]
_SAMPLINGS = {0: "4:4:4", 1: "4:2:2", 2: "4:2:0"}  # as Pillow numbers them


@dataclass(frozen=True)
class Encoding:
    """How a lossy file was encoded.

    Attributes:
        format: its name: "jpeg", "webp", "avif".
        quality: 1 to 100 on libjpeg's scale; None where the file does not tell it.
        exact: whether the quantisation tables are those of libjpeg at that quality, and not only near them.
        subsampling: of chroma: "4:4:4", "4:2:2", "4:2:0"; None where the file has none or another, or does not tell.
        progressive: whether it comes in several scans, each finer than the last.
    """

    format: str
    quality: int | None = None
    exact: bool = False
    subsampling: str | None = None
    progressive: bool = False

    def __str__(self) -> str:
        """For people: "JPEG of quality 75, 4:2:0, progressive"."""
        label = {"jpeg": "JPEG", "webp": "lossy WebP", "avif": "AVIF"}[self.format]
        about = "" if self.exact else "about "
        facts = [label + (f" of quality {about}{self.quality}" if self.quality else "")]
        return ", ".join([*facts, *filter(None, [self.subsampling]), *["progressive"] * self.progressive])


def encoding(file: bytes) -> Encoding | None:
    """How a picture file was encoded; None if its format keeps every value, or is always taken to.

    Args:
        file: the bytes of a whole file that can be read.
    """
    form = of_content(file[:SIGNATURE_BYTES])
    if form.name == "jpeg":
        return _jpeg(file, form)
    if form.name == "webp" and _pixel_chunk(file) == b"VP8 ":
        return Encoding(form.name, subsampling="4:2:0")
    return Encoding(form.name) if form.name == "avif" else None


def tables(quality: int) -> tuple[Table, Table]:
    """libjpeg's quantisation tables of luma and chroma, each 64 steps row by row, at a quality of 1 to 100."""
    scale = 5000 // quality if quality < 50 else 200 - 2 * quality
    luma, chroma = ([min(max((step * scale + 50) // 100, 1), 255) for step in table] for table in (_LUMA, _CHROMA))
    return luma, chroma


def _jpeg(file: bytes, form: Format) -> Encoding:
    plugin = importlib.import_module("PIL.JpegImagePlugin")
    pil = plugin.JpegImageFile(io.BytesIO(file))
    found = [list(table) for _, table in sorted(pil.quantization.items())][:2]
    quality, distance = min(
        ((quality, _distance(found, tables(quality))) for quality in range(1, 101)), key=lambda pair: pair[1]
    )
    subsampling = _SAMPLINGS.get(plugin.get_sampling(pil)) if pil.layers >= 3 else None
    return Encoding(form.name, quality, distance == 0, subsampling, bool(pil.info.get("progressive")))


def _distance(found: list[Table], standard: tuple[Table, Table]) -> float:
    """How far tables are from others: the mean of how many times each step is larger or smaller, as a logarithm."""
    pairs = [pair for mine, theirs in zip(found, standard, strict=False) for pair in zip(mine, theirs, strict=True)]
    return sum(abs(math.log(max(mine, 1) / theirs)) for mine, theirs in pairs) / max(len(pairs), 1)


def _pixel_chunk(file: bytes) -> bytes:
    """The name of the chunk of a WebP file that holds its pixels; others stand before it, and may hold anything."""
    place, name = 12, b""
    while place + 8 <= len(file) and name not in (b"VP8 ", b"VP8L", b"ANMF"):
        name, size = file[place : place + 4], int.from_bytes(file[place + 4 : place + 8], "little")
        place += 8 + size + size % 2
    return name
