"""JPEG, WebP, AVIF, BMP, GIF and PPM through Pillow; the few of them that hold more than 8 bits past it."""

import dataclasses
import importlib
import io
import re
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, BinaryIO, cast

import numpy as np

from unshrink.errors import ImageError
from unshrink.pictures import vips as _vips
from unshrink.pictures.image import Image, bare_exif, sane_dpi

if TYPE_CHECKING:
    import PIL.Image

_MODES = {"1": "L", "L": "L", "LA": "LA", "La": "LA", "P": "RGB", "PA": "RGBA"} | {
    mode: "RGBA" if mode.lower() == "rgba" else "RGB" for mode in ("RGB", "RGBX", "RGBA", "RGBa", "YCbCr")
}
_PALETTE_NOTE = "the palette was expanded to full colour"
_OPTIONS: dict[str, dict[str, Any]] = {
    "webp": {"lossless": True, "exact": True},  # exact: keeps the colour under transparent pixels
    "jpeg": {"quality": 95, "subsampling": "4:4:4"},
    "avif": {"quality": 95, "subsampling": "4:4:4"},
}
_LONGEST_SIDE = {"webp": 16383, "jpeg": 65500, "avif": 65536}


def decode(stream: BinaryIO, kind: str, check: Callable[[int, int], None]) -> Image:
    """Read a file of Pillow's format `kind` ("Jpeg", "WebP", ...); `check(width, height)` may refuse it first.

    Returns:
        A picture; the pixels of a JPEG file in grey or colour are `Rows`.

    Raises:
        ImageError: a kind of picture that is not supported.
        Exception: of many types, as Pillow raises them: damaged or cut off.
    """
    # The class itself, not PIL.Image.open: that one's limit on the size is one for the whole process
    plugin = importlib.import_module(f"PIL.{kind}ImagePlugin")
    pil = getattr(plugin, f"{kind}ImageFile")(stream)
    check(*pil.size)
    special = {"Avif": _deep_avif, "Ppm": _deep_ppm, "Jpeg": _jpeg}.get(kind)
    image = (special(stream, pil) if special else None) or from_pil(pil)
    if getattr(pil, "is_animated", False) or "mpoffset" in pil.info:
        image = _noting(image, "only the first of several pictures in the file was read")
    return image


def encode(image: Image, stream: BinaryIO, form: str) -> None:
    """Write lossless WebP, JPEG or AVIF with ICC, EXIF, XMP and, in JPEG, the resolution.

    Raises:
        ImageError: the format cannot hold such a picture.
        Exception: of several types, as Pillow raises them: a metadata block that is too large for the format.
    """
    if image.depth > 8:
        raise ImageError(f"{form} holds 8 bits a channel, the picture has {image.depth}; write PNG or TIFF")
    if form == "jpeg" and image.alpha:
        raise ImageError("jpeg holds no transparency, the picture has some; write PNG, WebP or TIFF")
    if max(image.size) > _LONGEST_SIDE[form]:
        raise ImageError(f"{form} holds at most {_LONGEST_SIDE[form]} pixels a side; write PNG or TIFF")
    pil = to_pil(image.strip())
    if form != "jpeg":
        pil = pil.convert("RGBA" if image.alpha else "RGB")
    exif = image.exif and b"Exif\0\0" + image.exif
    metadata = {"icc_profile": image.icc, "exif": exif, "xmp": image.xmp, "dpi": image.dpi}
    pil.save(stream, form, **_OPTIONS[form], **{key: value for key, value in metadata.items() if value is not None})


def from_pil(pil: "PIL.Image.Image") -> Image:
    """A Pillow picture as an `Image`, with the profile, EXIF, XMP and resolution of its `info`.

    Palettes and colour keys are expanded, CMYK is converted to sRGB; `notes` says so. Pillow's own losses have happened
    before: it opens RGB of 16 bits as 8 bits. `read` does not.

    Args:
        pil: mode 1, L, LA, La, P, PA, RGB, RGBX, RGBA, RGBa, YCbCr, CMYK or I;16.

    Raises:
        ImageError: another mode (32-bit integers, floats, Lab, ...).
    """
    metadata = _metadata(pil)
    if pil.mode.startswith("I;16"):
        return Image(_keyed(np.asarray(pil).astype(np.uint16), pil.info.get("transparency")), **metadata)
    if pil.mode == "CMYK":
        pixels, note = cmyk_to_rgb(np.asarray(pil), metadata.pop("icc"))
        return Image(pixels, **metadata, notes=(note,))
    if pil.mode not in _MODES:
        raise ImageError(f"pictures of the kind {pil.mode!r} are not supported; convert to grey or RGB of 8 or 16 bit")
    mode = _MODES[pil.mode]
    if "transparency" in pil.info and not mode.endswith("A"):
        mode += "A"
    pixels = np.array(pil.convert(mode)).reshape(pil.height, pil.width, len(mode))
    return Image(pixels, **metadata, notes=(_PALETTE_NOTE,) * pil.mode.startswith("P"))


def to_pil(image: Image) -> "PIL.Image.Image":
    """An `Image` as a Pillow picture of mode L, LA, RGB, RGBA or I;16, with its metadata in `info`.

    Raises:
        ImageError: 16 bits with colour or alpha, for which Pillow has no mode.
    """
    import PIL.Image

    if image.depth == 16 and image.pixels.shape[2] > 1:
        raise ImageError("Pillow has no 16-bit colour or alpha; use Image.pixels with numpy instead")
    pixels = np.asarray(image.pixels)
    pixels = pixels[..., 0] if pixels.shape[2] == 1 else pixels
    pil = PIL.Image.fromarray(np.ascontiguousarray(pixels))
    metadata = {"icc_profile": image.icc, "exif": image.exif, "xmp": image.xmp, "dpi": image.dpi}
    pil.info.update({key: value for key, value in metadata.items() if value is not None})
    return pil


def cmyk_to_rgb(pixels: np.ndarray, icc: bytes | None) -> tuple[np.ndarray, str]:
    """(H, W, 4) uint8 ink -> (H, W, 3) uint8 sRGB, through the profile where there is a usable one; and a note."""
    import PIL.Image
    from PIL import ImageCms

    cmyk = PIL.Image.frombytes("CMYK", (pixels.shape[1], pixels.shape[0]), pixels.tobytes())
    try:
        rgb = ImageCms.profileToProfile(
            cmyk,
            ImageCms.ImageCmsProfile(io.BytesIO(icc or b"")),
            ImageCms.createProfile("sRGB"),
            ImageCms.Intent.RELATIVE_COLORIMETRIC,
            outputMode="RGB",
            flags=ImageCms.Flags.BLACKPOINTCOMPENSATION,
        )
    except (ImageCms.PyCMSError, OSError):
        return np.array(cmyk.convert("RGB")), "CMYK was converted to RGB without a colour profile"
    return np.array(rgb), "CMYK was converted to sRGB through its colour profile, which was dropped"


def _metadata(pil: "PIL.Image.Image") -> dict[str, Any]:
    """Profile, EXIF, XMP and resolution as arguments of `Image`."""
    exif, xmp, dpi = (pil.info.get(key) for key in ("exif", "xmp", "dpi"))
    return {
        "icc": pil.info.get("icc_profile") or None,
        "exif": bare_exif(exif) if isinstance(exif, bytes) else None,
        "xmp": xmp or None if isinstance(xmp, bytes) else None,
        "dpi": sane_dpi(dpi) if isinstance(dpi, tuple) else None,
    }


def _keyed(grey: np.ndarray, key: int | None) -> np.ndarray:
    """(H, W) uint16 -> (H, W, 1), or (H, W, 2) where the value `key` means transparent."""
    if key is None:
        return grey[..., None]
    return np.stack([grey, np.where(grey == key, np.uint16(0), np.uint16(65535))], axis=-1)


def _jpeg(stream: BinaryIO, pil: "PIL.Image.Image") -> Image | None:
    """JPEG row by row, by the same decoder in libvips; None for the kinds of colour that Pillow converts."""
    if pil.mode not in ("L", "RGB"):
        return None
    stream.seek(0)
    return Image(cast(np.ndarray, _vips.rows(_vips.header(stream))), **_metadata(pil))


def _deep_avif(stream: BinaryIO, pil: "PIL.Image.Image") -> Image | None:
    """AVIF of 10 or 12 bits, stretched to 16; None if it has 8. Pillow would cut it to 8 silently."""
    data = _all(stream)
    # Third byte of an AV1 configuration: bit 6 is high_bitdepth (AV1 in ISOBMFF, section 2.3.3)
    if not any(match[1][0] & 0x40 for match in re.finditer(rb"av1C..(.)", data, re.DOTALL)):
        return None
    turned = pil.getexif().get(0x0112, 1) != 1  # libvips would turn the pixels, Pillow leaves them as stored
    if turned or getattr(pil, "is_animated", False):
        return _noting(from_pil(pil), "the 10 or 12 bits a channel were cut to 8")
    picture = _vips.header(io.BytesIO(data))
    if picture.format != "ushort":
        return None
    bits = picture.get("bits-per-sample")
    return Image(_stretch(np.asarray(_vips.rows(picture)) >> (16 - bits), 2**bits - 1), **_metadata(pil))


def _deep_ppm(stream: BinaryIO, pil: Any) -> Image | None:
    """Binary PPM and PGM of more than 8 bits, stretched to 16; None if it has 8. Pillow cuts colour to 8 silently."""
    decoder, _, offset, arguments = pil.tile[0]
    maximum = 65535 if arguments == "I;16B" else arguments[1] if isinstance(arguments, tuple) else 255
    if maximum <= 255:
        return None
    if decoder == "ppm_plain":
        raise ImageError("text PPM of more than 8 bits is not supported; save it as PNG or TIFF")
    shape = (pil.height, pil.width, 3 if pil.mode == "RGB" else 1)
    values = np.frombuffer(_all(stream), ">u2", count=int(np.prod(shape)), offset=offset)
    return Image(_stretch(values.reshape(shape).astype(np.uint16), maximum))


def _all(stream: BinaryIO) -> bytes:
    position = stream.tell()
    stream.seek(0)
    data = stream.read()
    stream.seek(position)  # where Pillow will go on
    return data


def _stretch(values: np.ndarray, maximum: int) -> np.ndarray:
    """0..maximum -> 0..65535 in uint16, rounded to nearest."""
    stretched: np.ndarray = np.minimum(values, maximum).astype(np.uint32) * 65535 + maximum // 2
    return (stretched // maximum).astype(np.uint16)


def _noting(image: Image, note: str) -> Image:
    return dataclasses.replace(image, notes=(*image.notes, note))
