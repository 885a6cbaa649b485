"""What sites and apps do to the pictures that are uploaded to them; the rows stand in sites.toml."""

import datetime
import difflib
import math
import tomllib
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Literal

from unshrink.errors import ImageError, UsageError
from unshrink.pictures.sizes import Size

Metadata = Literal["stripped", "icc", "gps", "unknown"]
Known = Literal["code", "forks", "analysis", "hearsay"]
Kept = Literal["file", "pixels"]


@dataclass(frozen=True)
class Door:
    """What a file must be so that a site passes it on with every value as it is.

    Attributes:
        formats: its format is one of these.
        keeps: "file" if it passes byte for byte, "pixels" if only its values do.
        max_bytes: of the file; None for any.
        max_bits_per_pixel: of the file; None for any.
        max_quality: of JPEG, by its quantisation tables; None for any.
        without_exif: whether it must carry no EXIF.
        beyond_cap: whether it may be larger than what the site resizes.
    """

    formats: tuple[str, ...]
    keeps: Kept
    max_bytes: int | None = None
    max_bits_per_pixel: float | None = None
    max_quality: int | None = None
    without_exif: bool = False
    beyond_cap: bool = False

    def most_bytes(self, size: Size) -> int | None:
        """Of a file with a picture of a (width, height); None for any."""
        by_bits = int(self.max_bits_per_pixel * size[0] * size[1] / 8) if self.max_bits_per_pixel else None
        return min((most for most in (self.max_bytes, by_bits) if most is not None), default=None)

    def __str__(self) -> str:
        """For people: "jpeg up to 4 bits a pixel"."""
        limits = [
            f"up to {self.max_bytes // 1000} kB" if self.max_bytes else "",
            f"up to {self.max_bits_per_pixel:g} bits a pixel" if self.max_bits_per_pixel else "",
            f"up to quality {self.max_quality}" if self.max_quality else "",
            "without EXIF" if self.without_exif else "",
        ]
        return " ".join(["/".join(self.formats), *filter(None, limits)])


@dataclass(frozen=True)
class Site:
    """What one site does.

    Attributes:
        name: what users call it: "telegram".
        label: what its makers call it.
        format: what it re-encodes as: "jpeg", "webp", or "same" for the format that comes in.
        quality: of that, 1 to 100; where ``max_bytes`` asks for less, less.
        metadata: what becomes of them: "stripped"; all but the profile, "icc"; only places, "gps"; or "unknown".
        known: how well this is known: from its "code", "forks" of it, an "analysis" of what it sends, or "hearsay".
        source: where it was read.
        checked: when.
        longest_side: pixels of the longest side above which it resizes; None for any.
        widest: pixels of the width above which it resizes; None for any.
        max_pixels: pixels in all above which it resizes; None for any.
        max_bytes: of what it re-encodes; None for any.
        subsampling: of chroma in JPEG; 4:2:0 where no source says another.
        progressive: whether its JPEG is.
        doors: what it passes on as it is; none where it re-encodes everything.
    """

    name: str
    label: str
    format: str
    quality: int
    metadata: Metadata
    known: Known
    source: str
    checked: datetime.date
    longest_side: int | None = None
    widest: int | None = None
    max_pixels: int | None = None
    max_bytes: int | None = None
    subsampling: str = "4:2:0"
    progressive: bool = False
    doors: tuple[Door, ...] = ()

    def fitted(self, size: Size) -> Size:
        """The (width, height) to which it resizes a picture; the same where it does not."""
        width, height = size
        shares = [
            self.longest_side / max(size) if self.longest_side else 1.0,
            self.widest / width if self.widest else 1.0,
            math.sqrt(self.max_pixels / (width * height)) if self.max_pixels else 1.0,
        ]
        share = min(shares)
        return size if share >= 1 else (max(1, round(width * share)), max(1, round(height * share)))

    def scale_for(self, size: Size, scales: Iterable[int]) -> int:
        """The least of some scales at which a picture of a (width, height) becomes so small that it is not resized.

        Raises:
            ImageError: it is so small already, or too large for all of them.
        """
        met = "{}x{} pixels".format(*size)
        if self.fitted(size) == size:
            raise ImageError(f"{self.label} does not resize {met}: send the picture as it is, or name a `scale`")
        for scale in sorted(scales):
            small = -(-size[0] // scale), -(-size[1] // scale)
            if self.fitted(small) == small:
                return scale
        raise ImageError(f"{self.label} resizes above {self.cap}, which {met} are at every scale: {sorted(scales)}")

    def passes(self, form: str) -> bool:
        """Whether it keeps every value of every picture in a format, by its name, that it does not resize."""
        limits = ("max_bytes", "max_bits_per_pixel", "max_quality", "without_exif")
        return any(form in door.formats and not any(getattr(door, one) for one in limits) for door in self.doors)

    def door(self, form: str) -> Door | None:
        """The first door for a format, by its name."""
        return next((door for door in self.doors if form in door.formats), None)

    @property
    def usual_format(self) -> str:
        """What is best sent to it: PNG, unless a JPEG may pass as it is and not every PNG does."""
        return "jpeg" if self.door("jpeg") and not self.passes("png") else "png"

    @property
    def cap(self) -> str:
        """For people: "1280 px", "8.3 MP"."""
        caps = [
            f"{self.longest_side} px" if self.longest_side else "",
            f"{self.widest} px wide" if self.widest else "",
            f"{self.max_pixels / 1e6:.1f} MP" if self.max_pixels else "",
        ]
        return ", ".join(filter(None, caps)) or "none"


def sites() -> tuple[Site, ...]:
    """All rows, in the order of the table."""
    return tuple(_rows().values())


def find(name: str) -> Site:
    """The site of that name.

    Raises:
        UsageError: there is none; the message names the nearest.
    """
    if name in _rows():
        return _rows()[name]
    nearest = difflib.get_close_matches(name.lower(), _rows(), n=1)
    hint = f"did you mean {nearest[0]}?" if nearest else f"known are {', '.join(_rows())}"
    raise UsageError(f"no site named {name!r:.60}: {hint}")


@cache
def _rows() -> dict[str, Site]:
    table = tomllib.loads(Path(__file__).with_name("sites.toml").read_text(encoding="utf-8"))
    return {name: _site(name, row) for name, row in table.items()}


def _site(name: str, row: dict[str, Any]) -> Site:
    doors = tuple(Door(**{**door, "formats": tuple(door["formats"])}) for door in row.pop("doors", ()))
    return Site(name, doors=doors, **row)
