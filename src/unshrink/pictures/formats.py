"""The table of picture formats: what each can hold, how it is known, and what reads and writes it.

A new format is a row here, and a codec where none of those there are reads it.  A codec is a module of this package:

    decode(stream, form, check) -> PassingImage      encode(image, stream, form)

The argument parser imports this module, so it needs neither numpy nor what decodes.
"""

import os
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import PurePath
from typing import Any

from unshrink.errors import ImageError

SIGNATURE_BYTES = 16  # of a file, by which its format is known
_COMMON_BLOCKS = frozenset({"icc", "exif", "xmp"})


@dataclass(frozen=True)
class Format:
    """A kind of picture file.

    Attributes:
        label: what people call it: "WebP"; in lower case, its name.
        extensions: of its files; the first is given to new ones.
        media_type: what HTTP calls it.
        signature: a regular expression of its first bytes.
        codec: the module of this package that reads and writes it.
        plugin: what Pillow calls it, for the codec of that name.
        written: whether it can be written, and not read alone.
        lossless: whether it keeps every value as written here.
        depth: most bits a channel, 8 or 16.
        grey: whether it has pictures of one channel; if not, they become three equal ones.
        alpha: whether it holds transparency.
        longest_side: most pixels a side.
        blocks: what it carries beside the pixels, of the attributes of `Image`; "comment" stands for texts of that
            keyword.
        options: how Pillow writes it.
    """

    label: str
    extensions: tuple[str, ...]
    media_type: str
    signature: bytes
    codec: str
    plugin: str = ""
    written: bool = True
    lossless: bool = True
    depth: int = 8
    grey: bool = True
    alpha: bool = True
    longest_side: int = (1 << 31) - 1
    blocks: frozenset[str] = _COMMON_BLOCKS
    options: Mapping[str, Any] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """What programs call it: "webp"."""
        return self.label.lower()

    @property
    def extension(self) -> str:
        """What the name of a new file ends in."""
        return self.extensions[0]


@dataclass(frozen=True)
class Loss:
    """How much a lossy format loses.

    Attributes:
        quality: 1 to 100, as the encoder of the format takes it.
        chroma: "4:2:0" for half of each side, or "4:4:4" for all of it.
    """

    quality: int = 85
    chroma: str = "4:2:0"


FORMATS = {
    row.name: row
    for row in (
        Format(
            "PNG",
            (".png",),
            "image/png",
            rb"\x89PNG\r\n\x1a\n",
            "png",
            depth=16,
            blocks=_COMMON_BLOCKS | {"dpi", "meaning", "texts", "iptc"},
        ),
        Format(
            "WebP",
            (".webp",),
            "image/webp",
            rb"RIFF....WEBP",
            "pillow",
            "WebP",
            grey=False,
            longest_side=16383,
            options={"lossless": True, "exact": True},  # exact: keeps the colour under transparent pixels
        ),
        Format(
            "TIFF",
            (".tif", ".tiff"),
            "image/tiff",
            rb"II[*+]\0|MM\0[*+]",
            "tiff",
            depth=16,
            blocks=_COMMON_BLOCKS | {"dpi", "iptc"},
        ),
        Format(
            "JPEG",
            (".jpg", ".jpeg", ".jfif", ".jpe"),
            "image/jpeg",
            rb"\xff\xd8\xff",
            "pillow",
            "Jpeg",
            lossless=False,
            alpha=False,
            longest_side=65500,
            blocks=_COMMON_BLOCKS | {"dpi", "comment", "iptc"},
            options={"quality": 95, "subsampling": "4:4:4"},
        ),
        Format(
            "AVIF",
            (".avif",),
            "image/avif",
            rb"....ftyp(avif|avis|mif1|msf1)",
            "pillow",
            "Avif",
            lossless=False,
            grey=False,
            longest_side=65536,
            options={"quality": 95, "subsampling": "4:4:4"},
        ),
        Format("GIF", (".gif",), "image/gif", rb"GIF8[79]a", "pillow", "Gif", written=False),
        Format("BMP", (".bmp", ".dib"), "image/bmp", rb"BM", "pillow", "Bmp", written=False),
        Format(
            "PPM",
            (".ppm", ".pgm", ".pbm", ".pnm"),
            "image/x-portable-anymap",
            rb"P[1-6]\s",
            "pillow",
            "Ppm",
            written=False,
            depth=16,
            alpha=False,
        ),
    )
}
"""Every format that is read, by its name; those that are written come first."""

LOSING = ("webp", "jpeg", "avif")
"""The names of those that can lose more or less."""

CHROMA = ("4:2:0", "4:4:4")
"""What they can make of it; WebP the first alone."""

WRITTEN = {name: row for name, row in FORMATS.items() if row.written}
"""Those that are written."""

_CLIP = (  # Matroska and WebM, MP4 and QuickTime, AVI, FLV, Ogg, MPEG, ASF
    rb"\x1aE\xdf\xa3|....(ftyp|moov|mdat|wide|free|skip)|RIFF....AVI |FLV\x01|OggS|\0\0\x01[\xb3\xba]|0&\xb2u"
)

CLIPS = frozenset(
    (".mp4", ".m4v", ".mov", ".mkv", ".webm", ".avi", ".ts", ".mts", ".m2ts", ".mpg", ".mpeg", ".flv", ".wmv", ".ogv")
)
"""What the names of video clips end in, in lower case."""

EXTENSIONS = frozenset(extension for row in FORMATS.values() for extension in row.extensions)
"""What the names of picture files end in, in lower case."""


def writable(name: str) -> Format:
    """A format that can be written, by its name.

    Raises:
        ImageError: there is none of that name.
    """
    if name not in WRITTEN:
        raise ImageError(f"cannot write the format {name!r}; allowed are {', '.join(WRITTEN)}")
    return WRITTEN[name]


def losing(form: Format, loss: Loss) -> Format:
    """A format as it loses so much.

    Raises:
        ImageError: it keeps every value, or it cannot keep the chroma.
    """
    if form.name not in LOSING:
        raise ImageError(f"{form.name} keeps every value: quality and chroma are for {', '.join(LOSING)}")
    if form.name == "webp":
        if loss.chroma != "4:2:0":
            raise ImageError("webp has chroma 4:2:0 alone: leave chroma out, or write jpeg or avif")
        return replace(form, lossless=False, options={"quality": loss.quality, "exact": True})
    return replace(form, options={"quality": loss.quality, "subsampling": loss.chroma})


def of_path(path: str | os.PathLike[str]) -> Format:
    """The format that an extension asks for: "photo.TIF" -> TIFF.

    Raises:
        ImageError: the extension is none that can be written.
    """
    suffix = PurePath(path).suffix.lower()
    for row in WRITTEN.values():
        if suffix in row.extensions:
            return row
    allowed = ", ".join(extension for row in WRITTEN.values() for extension in row.extensions)
    raise ImageError(f"cannot write {os.fspath(path)}: unknown extension {suffix!r}; allowed are {allowed}")


def of_content(start: bytes) -> Format:
    """The format of a file by its first `SIGNATURE_BYTES`, whatever its name.

    Raises:
        ImageError: it is none that is read.
    """
    for row in FORMATS.values():
        if re.match(row.signature, start, re.DOTALL):
            return row
    if is_clip(start):
        raise ImageError(
            "it is a video clip and not a picture; clips go one at a time, from file to file: unshrink downscale CLIP"
        )
    raise ImageError(f"it is not a {listed(FORMATS.values())} picture; convert it to one")


def is_picture(start: bytes) -> bool:
    """Whether the first `SIGNATURE_BYTES` of a file are those of a picture that is read."""
    return any(re.match(row.signature, start, re.DOTALL) for row in FORMATS.values())


def is_clip(start: bytes) -> bool:
    """Whether the first `SIGNATURE_BYTES` of a file are those of a video clip, and not of a picture in such a box."""
    boxed = re.match(rb"....ftyp(hei[cmsx]|hev|jxl|avif|avis|mif1|msf1)", start, re.DOTALL)
    return not boxed and re.match(_CLIP, start, re.DOTALL) is not None


def listed(rows: Iterable[Format]) -> str:
    """The labels of formats, for messages: "PNG, WebP or TIFF"."""
    *others, last = (row.label for row in rows)
    return f"{', '.join(others)} or {last}" if others else last
