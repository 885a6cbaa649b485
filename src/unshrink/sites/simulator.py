"""What arrives of a picture that goes through a site: resized, re-encoded and stripped as its row of the table says.

The codecs are Pillow's, and the resizing is Lanczos: near to what a site does, not the same bit for bit.  Where it is
not known whether a site strips metadata, it does so here.
"""

import io
import struct
from dataclasses import dataclass

from unshrink.errors import ImageError
from unshrink.pictures import formats
from unshrink.pictures import io as images
from unshrink.pictures.colour import RGB, over_white, to_uint8
from unshrink.pictures.encoding import encoding
from unshrink.pictures.image import Image, Size
from unshrink.pictures.resize import resize
from unshrink.pictures.upright import upright
from unshrink.sites.table import Door, Kept, Site

_RESAVED = {"jpeg", "webp", "png"}  # of the formats, those that a site of the format "same" writes


@dataclass(frozen=True)
class Arrived:
    """A picture that went through a site.

    Attributes:
        data: the file.
        format: its format.
        sent: (width, height) of the picture that was uploaded.
        size: (width, height) of what arrived.
        keeps: "file" if it passed byte for byte, "pixels" if only its values did, None if it was re-encoded.
    """

    data: bytes
    format: str
    sent: Size
    size: Size
    keeps: Kept | None

    @property
    def resized(self) -> bool:
        """Whether it has another size than was uploaded."""
        return self.size != self.sent

    def __str__(self) -> str:
        """For people: "re-encoded as JPEG of quality 75, 4:2:0"."""
        if self.keeps == "file":
            return "passed on as it is"
        if self.keeps == "pixels":
            return "its values passed on as they are, its metadata removed"
        become = f"re-encoded as {encoding(self.data) or formats.FORMATS[self.format].label}"
        return f"resized from {'x'.join(map(str, self.sent))}, {become}" if self.resized else become


def simulate(file: bytes, site: Site, *, max_pixels: int = images.MAX_PIXELS) -> Arrived:
    """What arrives of a picture file that is uploaded to a site.

    Args:
        file: the bytes of a PNG, JPEG, WebP, TIFF, AVIF, BMP, GIF or PPM file.
        site: where it goes, such as ``find("telegram")``.
        max_pixels: refuse a picture with more pixels.

    Raises:
        ImageError: it cannot be read.
    """
    image = images.read(file, max_pixels=max_pixels)
    form = formats.of_content(file[: formats.SIGNATURE_BYTES]).name
    size = site.fitted(image.size)
    for door in site.doors:
        if (door.beyond_cap or size == image.size) and _passes(file, form, image, door):
            data = file if door.keeps == "file" else _stripped(file, form, image, site)
            return Arrived(data, form, image.size, image.size, door.keeps)
    pixels = upright(over_white(image), image.exif)  # since the note of it goes
    sent = pixels.shape[1], pixels.shape[0]
    size = site.fitted(sent)
    if size != sent:
        pixels = to_uint8(resize(pixels, size, "lanczos"))
    become = site.format if site.format != "same" else form if form in _RESAVED else "jpeg"
    return Arrived(_encoded(pixels, become, site, _profile(image, site)), become, sent, size, None)


def _passes(file: bytes, form: str, image: Image, door: Door) -> bool:
    """Whether a file goes through a door."""
    pixels = image.size[0] * image.size[1]
    encoded = encoding(file) if door.max_quality else None
    return (
        form in door.formats
        and (door.max_bytes is None or len(file) <= door.max_bytes)
        and (door.max_bits_per_pixel is None or 8 * len(file) <= door.max_bits_per_pixel * pixels)
        and not (door.max_quality and encoded and encoded.quality and encoded.quality > door.max_quality)
        and not (door.without_exif and image.exif)
    )


def _profile(image: Image, site: Site) -> bytes | None:
    """The colour profile, where the site keeps it."""
    return image.icc if site.metadata in ("icc", "gps") else None


def _encoded(pixels: RGB, form: str, site: Site, icc: bytes | None) -> bytes:
    """Pixels as the site writes them: at its quality, or the highest below it that fits."""
    if form == "png":
        return _written(Image(pixels, icc=icc), "png")
    data = _lossy(pixels, form, site.quality, icc, site)
    if site.max_bytes is None or len(data) <= site.max_bytes:
        return data
    low, high = 1, site.quality - 1  # the lowest quality is taken whether it fits or not
    while low < high:
        middle = (low + high + 1) // 2
        fits = len(_lossy(pixels, form, middle, icc, site)) <= site.max_bytes
        low, high = (middle, high) if fits else (low, middle - 1)
    return _lossy(pixels, form, low, icc, site)


def _lossy(pixels: RGB, form: str, quality: int, icc: bytes | None, site: Site) -> bytes:
    import PIL.Image

    options = {"subsampling": site.subsampling, "progressive": site.progressive} if form == "jpeg" else {}
    stream = io.BytesIO()
    PIL.Image.fromarray(pixels).save(stream, form, quality=quality, icc_profile=icc, **options)
    return stream.getvalue()


def _stripped(file: bytes, form: str, image: Image, site: Site) -> bytes:
    """The file with the same pixels and without what the site removes."""
    icc = _profile(image, site)
    return stripped_jpeg(file, bool(icc)) if form == "jpeg" else _written(Image(image.pixels, icc=icc), form)


def _written(image: Image, form: str) -> bytes:
    stream = io.BytesIO()
    images.write(image, stream, format=form)
    return stream.getvalue()


def stripped_jpeg(file: bytes, icc: bool = False) -> bytes:
    """A JPEG file without EXIF, XMP, comments and, unless ``icc``, colour profile; its coefficients stay.

    Raises:
        ImageError: its segments do not lead to its pixels.
    """
    kept, place = [file[:2]], 2
    while place + 4 <= len(file) and file[place] == 0xFF:
        marker, (length,) = file[place + 1], struct.unpack_from(">H", file, place + 2)
        if marker == 0xDA:  # what follows are the scans
            return b"".join([*kept, file[place:]])
        segment = file[place : place + 2 + length]
        is_profile = marker == 0xE2 and segment[4:].startswith(b"ICC_PROFILE\0")
        is_metadata = marker == 0xFE or (0xE1 <= marker <= 0xEF and marker != 0xEE)  # 0xEE says how colour is coded
        if not is_metadata or (icc and is_profile):
            kept.append(segment)
        place += 2 + length
    raise ImageError("the JPEG file has no pixels behind its metadata; get it again")
