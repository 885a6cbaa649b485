"""What a picture is here: its pixels as they stand in the file, and everything that a file carries beside them."""

import dataclasses
from dataclasses import dataclass

import numpy as np

from unshrink.errors import ImageError

COMPRESSION = 4  # of zlib: of photos a hundredth larger than at its usual 6, in half of the time


@dataclass(frozen=True, eq=False)
class Image:
    """A picture as it stands in its file: nothing rotated, premultiplied or colour-managed.

    Attributes:
        pixels: (H, W, C) uint8 or uint16, values as encoded in the file. C = 1 grey, 2 grey and alpha, 3 RGB, 4 RGBA;
            alpha is straight (not multiplied into the colours).  Inside the package also `Rows`, which pass by once.
        icc: ICC profile of the values.
        exif: EXIF block, a TIFF structure (starts with b"II*\\0" or b"MM\\0*"). The orientation is in there: a viewer
            that honours it shows the picture upright, the pixels stay as they are.
        xmp: XMP packet.
        dpi: horizontal and vertical resolution in dots per inch.
        notes: what had to be converted on reading, one sentence each, to be shown to the user.

    Raises:
        ImageError: pixels of another shape or type, or without a single pixel.
    """

    pixels: np.ndarray
    icc: bytes | None = None
    exif: bytes | None = None
    xmp: bytes | None = None
    dpi: tuple[float, float] | None = None
    notes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        shape, dtype = self.pixels.shape, self.pixels.dtype
        if len(shape) != 3 or shape[2] not in (1, 2, 3, 4) or 0 in shape or dtype not in (np.uint8, np.uint16):
            raise ImageError(
                f"pixels of shape {shape} and type {dtype} are not a picture; "
                "allowed is (height, width, 1 to 4 channels) of uint8 or uint16"
            )

    @property
    def size(self) -> tuple[int, int]:
        """(width, height) in pixels, as stored."""
        return self.pixels.shape[1], self.pixels.shape[0]

    @property
    def depth(self) -> int:
        """Bits a channel: 8 or 16."""
        return 8 * self.pixels.dtype.itemsize

    @property
    def alpha(self) -> bool:
        """Whether the last channel is alpha."""
        return self.pixels.shape[2] in (2, 4)

    def strip(self) -> "Image":
        """The same pixels without profile, EXIF, XMP and resolution.

        The colour profile goes too: whoever gets the file then takes its values for sRGB, so a picture with another
        profile (Display P3, Adobe RGB) will look different. The orientation goes with EXIF.
        """
        return dataclasses.replace(self, icc=None, exif=None, xmp=None, dpi=None)


def bare_exif(block: bytes) -> bytes | None:
    """An EXIF block without the "Exif" prefix that some formats put before it; None if it is no EXIF block at all."""
    while block.startswith(b"Exif\0\0"):
        block = block[6:]
    return block if block[:4] in (b"II*\0", b"MM\0*") else None


def sane_dpi(dpi: tuple[float, float]) -> tuple[float, float] | None:
    """A resolution as two floats; None if it is zero, not a number or too much for the fields of JPEG and PNG."""
    x, y = (float(value) for value in dpi)
    return (x, y) if 1 <= x <= 65535 and 1 <= y <= 65535 else None
