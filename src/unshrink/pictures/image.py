"""What a picture is here: its pixels as they stand in the file, and everything that a file carries beside them."""

import dataclasses
import io
from dataclasses import dataclass
from typing import Any, Self, TypeVar, overload

import numpy as np

from unshrink.errors import ImageError
from unshrink.pictures.exif import exif_of_size
from unshrink.pictures.formats import FORMATS
from unshrink.pictures.meaning import Meaning
from unshrink.pictures.sizes import Size as Size  # for all who know images
from unshrink.pictures.strips import Strips

CHANNELS = {1: "grey", 2: "grey and alpha", 3: "RGB", 4: "RGB and alpha"}
COMPRESSION = 4  # of zlib: of photos a hundredth larger than at its usual 6, in half of the time
_PREVIEW = 1024  # pixels of the longest side in a notebook


@dataclass(frozen=True, eq=False, repr=False)
class _Picture:
    """What images have in common, whether their pixels are there or pass by."""

    pixels: np.ndarray | Strips
    icc: bytes | None = None
    exif: bytes | None = None
    xmp: bytes | None = None
    dpi: tuple[float, float] | None = None
    notes: tuple[str, ...] = ()
    meaning: Meaning | None = None
    texts: tuple[tuple[str, str], ...] = ()
    iptc: bytes | None = None

    def __post_init__(self) -> None:
        shape, dtype = self.pixels.shape, self.pixels.dtype
        if len(shape) != 3 or shape[2] not in CHANNELS or 0 in shape or dtype not in (np.uint8, np.uint16):
            raise ImageError(
                f"pixels of shape {shape} and type {dtype} are not a picture; "
                "allowed is (height, width, 1 to 4 channels) of uint8 or uint16"
            )

    def __repr__(self) -> str:
        """What it is and carries: ``<Image 640x480, RGB of 8 bit, icc of 3144 bytes, 300x300 dpi>``."""
        blocks = {"icc": self.icc, "exif": self.exif, "xmp": self.xmp, "iptc": self.iptc}
        facts = ["{}x{}".format(*self.size), f"{CHANNELS[self.channels]} of {self.depth} bit"]
        facts += [f"{name} of {len(block)} bytes" for name, block in blocks.items() if block]
        facts += ["{:.4g}x{:.4g} dpi".format(*self.dpi)] if self.dpi else []
        facts += [self.meaning.describe()] if self.meaning and not self.meaning.is_srgb else []
        facts += [f"text {keyword!r:.60}" for keyword, _ in self.texts]
        return f"<{type(self).__name__} {', '.join([*facts, *self.notes])}>"

    @property
    def size(self) -> Size:
        """(width, height) in pixels, as stored."""
        return self.pixels.shape[1], self.pixels.shape[0]

    @property
    def channels(self) -> int:
        """1 grey, 2 grey and alpha, 3 RGB, 4 RGB and alpha."""
        return self.pixels.shape[2]

    @property
    def depth(self) -> int:
        """Bits a channel: 8 or 16."""
        return 8 * self.pixels.dtype.itemsize

    @property
    def alpha(self) -> bool:
        """Whether the last channel is alpha."""
        return self.channels in (2, 4)

    def strip(self) -> Self:
        """The same pixels without profile, EXIF, XMP, IPTC, texts and resolution.

        The colour profile goes too: whoever gets the file then takes its values for sRGB, so a picture with another
        profile (Display P3, Adobe RGB) will look different. The orientation goes with EXIF.
        """
        return dataclasses.replace(self, icc=None, exif=None, xmp=None, dpi=None, meaning=None, texts=(), iptc=None)

    @overload
    def with_pixels(self, pixels: np.ndarray) -> "Image": ...

    @overload
    def with_pixels(self, pixels: Strips) -> "PassingImage": ...

    def with_pixels(self, pixels: np.ndarray | Strips) -> "Image | PassingImage":
        """Other pixels with all that this picture carries; where EXIF says the size, it says that of the new ones."""
        carried = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)[1:]}
        if self.exif:
            carried["exif"] = exif_of_size(self.exif, self.size, (pixels.shape[1], pixels.shape[0]))
        return PassingImage(pixels, **carried) if isinstance(pixels, Strips) else Image(pixels, **carried)


@dataclass(frozen=True, eq=False, repr=False)
class Image(_Picture):
    """A picture as it stands in its file: nothing rotated, premultiplied or colour-managed.

    `numpy.asarray` gives its pixels, and a notebook shows it.

    Attributes:
        pixels: (H, W, C) uint8 or uint16, values as encoded in the file. C = 1 grey, 2 grey and alpha, 3 RGB, 4 RGBA;
            alpha is straight (not multiplied into the colours).
        icc: ICC profile of the values.
        exif: EXIF block, a TIFF structure (starts with b"II*\\0" or b"MM\\0*"). The orientation is in there: a viewer
            that honours it shows the picture upright, the pixels stay as they are.
        xmp: XMP packet.
        dpi: horizontal and vertical resolution in dots per inch.
        notes: what had to be converted on reading, one sentence each, to be shown to the user.
        meaning: what the values mean where the file says so without a profile; None for sRGB.
        texts: keywords of PNG and what stands under them; a comment of JPEG or GIF is one under "Comment".
        iptc: IPTC block (IIM records).

    Raises:
        ImageError: pixels of another shape or type, or without a single pixel.
    """

    pixels: np.ndarray

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        """The pixels (H, W, C)."""
        return np.array(self.pixels, dtype, copy=copy)

    def _repr_png_(self) -> bytes:
        """What a notebook shows: a PNG file of 8 bits and at most 1024 pixels a side."""
        from unshrink.pictures import colour, png  # which import this module

        stream = io.BytesIO()
        png.encode(colour.thumbnail(self, _PREVIEW), stream, FORMATS["png"])
        return stream.getvalue()

    def whole(self) -> "Image":
        """The picture itself: its pixels are there."""
        return self

    def passing(self) -> "PassingImage":
        """The same picture, to be read once."""
        return self.with_pixels(Strips(self.pixels.shape, self.pixels.dtype, [self.pixels]))


@dataclass(frozen=True, eq=False, repr=False)
class PassingImage(_Picture):
    """A picture that is never held whole: its pixels are decoded or computed when they are asked for, once.

    Attributes:
        pixels: (H, W, C) uint8 or uint16, in strips.
        icc, exif, xmp, dpi, notes, meaning, texts, iptc: as those of `Image`.
    """

    pixels: Strips

    def whole(self) -> Image:
        """The picture with its pixels as an array; here they have then passed by."""
        return self.with_pixels(np.asarray(self.pixels))


AnyImage = TypeVar("AnyImage", bound=Image | PassingImage)
"""Of a function that gives back the kind that it takes."""


def sane_dpi(dpi: tuple[float, float]) -> tuple[float, float] | None:
    """A resolution as two floats; None if it is zero, not a number or too much for the fields of JPEG and PNG."""
    x, y = (float(value) for value in dpi)
    return (x, y) if 1 <= x <= 65535 and 1 <= y <= 65535 else None


def note_of_aspect(x: float, y: float) -> tuple[str, ...]:
    """What is to be said of densities without a unit, which `Image` does not keep; nothing where pixels are square."""
    return (f"its pixels are not square (densities {x:g} and {y:g} without a unit): left out",) if x != y else ()
