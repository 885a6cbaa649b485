"""JPEG, WebP, AVIF, BMP, GIF and PPM through Pillow; the few of them that hold more than 8 bits past it."""

import dataclasses
import importlib
import io
import re
import weakref
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np

from unshrink.errors import ImageError
from unshrink.pictures import heads
from unshrink.pictures import vips as _vips
from unshrink.pictures.carried import COMMENT, profiled
from unshrink.pictures.exif import bare_exif
from unshrink.pictures.formats import Format
from unshrink.pictures.image import Image, PassingImage, note_of_aspect, sane_dpi
from unshrink.pictures.meaning import Meaning
from unshrink.pictures.photoshop import IPTC_RESOURCE, iptc_segment
from unshrink.pictures.png import described

if TYPE_CHECKING:
    import PIL.Image

_MODES = {"1": "L", "L": "L", "LA": "LA", "La": "LA", "P": "RGB", "PA": "RGBA"} | {
    mode: "RGBA" if mode.lower() == "rgba" else "RGB" for mode in ("RGB", "RGBX", "RGBA", "RGBa", "YCbCr")
}
_NO_TEXT = ("XML:com.adobe.xmp", "Raw profile type ")  # before what Pillow takes for a text
_OURS = ("xmp", "pnginfo")  # options in which the record is
_BOXES = 1000  # of an AVIF file, from its beginning, that are looked at
_PALETTE_NOTE = "the palette was expanded to full colour"


def decode(stream: BinaryIO, form: Format, check: Callable[[int, int], None]) -> PassingImage:
    """Read a file of a format that has a plug-in of Pillow; `check(width, height)` may refuse it first.

    Returns:
        A picture; of JPEG in grey or colour, the pixels are decoded as they pass by, all others at once.

    Raises:
        ImageError: a kind of picture that is not supported.
        Exception: of many types, as Pillow raises them: damaged or cut off.
    """
    # The class itself, not PIL.Image.open: that one's limit on the size is one for the whole process
    stream = {"jpeg": heads.jpeg, "ppm": heads.ppm}.get(form.name, lambda same: same)(stream)
    plugin = importlib.import_module(f"PIL.{form.plugin}ImagePlugin")
    pil = getattr(plugin, f"{form.plugin}ImageFile")(stream)
    check(*pil.size)
    special = {"avif": _deep_avif, "ppm": _deep_ppm, "jpeg": _jpeg}.get(form.name)
    image = (special(stream, pil) if special else None) or from_pil(pil).passing()
    if form.name == "avif" and not image.icc:
        image = dataclasses.replace(image, meaning=_avif_meaning(stream))
    if getattr(pil, "is_animated", False) or "mpoffset" in pil.info:
        image = _noting(image, "only the first of several pictures in the file was read")
    if pil.info.get("jfif_unit") == 0:
        image = _noting(image, *note_of_aspect(*pil.info["jfif_density"]))
    return image


def encode(image: Image | PassingImage, stream: BinaryIO, form: Format) -> None:
    """Write a picture that the format can hold, with what it carries of ICC, EXIF, XMP and resolution.

    Raises:
        ImageError: Pillow cannot write it: a metadata block is too large for the format.
    """
    pil = to_pil(image.whole().strip())
    if not form.grey:
        pil = pil.convert("RGBA" if image.alpha else "RGB")
    carried: dict[str, Any] = {key: getattr(image, key) for key in ("icc", "exif", "xmp", "dpi") if key in form.blocks}
    carried = {key: value for key, value in carried.items() if value is not None}
    if form.name == "jpeg":
        comments = [text.encode() for keyword, text in image.texts if keyword == COMMENT]
        carried |= {"comment": b"\n".join(comments), "extra": iptc_segment(image.iptc) if image.iptc else b""}
    if "exif" in carried:
        carried["exif"] = b"Exif\0\0" + carried["exif"]
    if "icc" in carried:
        carried["icc_profile"] = carried.pop("icc")
    memory = io.BytesIO()  # so that what goes wrong with the disk is told apart from what the format cannot hold
    try:
        pil.save(memory, form.name, **form.options, **carried)
    except Exception as exc:  # encoders raise many types: an EXIF block too large for JPEG, for one
        reason = " ".join(str(exc).split())[:150]
        raise ImageError(f"cannot write this picture as {form.name}: {reason}; write PNG or TIFF") from exc
    stream.write(memory.getbuffer())


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

    Pillow's own `save` writes all of it too, a small picture's record among it, to PNG, WebP, TIFF, JPEG and AVIF as
    far as these can hold it.  It does not look for most of it in `info`; so what it needs stands where it takes options
    from before those of the call.  An ``exif``, ``dpi`` or ``icc_profile`` given to `save` still counts; a ``pnginfo``
    or ``xmp`` is without effect, because the record is in there.  Copies that Pillow makes have the `info` alone.

    Raises:
        ImageError: 16 bits with colour or alpha, for which Pillow has no mode.
    """
    import PIL.Image

    if image.depth == 16 and image.pixels.shape[2] > 1:
        raise ImageError("Pillow has no 16-bit colour or alpha; use Image.pixels with numpy instead")
    pixels = np.asarray(image.pixels)
    pixels = pixels[..., 0] if pixels.shape[2] == 1 else pixels
    pil = PIL.Image.fromarray(np.ascontiguousarray(pixels))
    said, lost = profiled(image)
    image = image if lost else said  # then PNG alone says it
    metadata = {"icc_profile": image.icc, "exif": image.exif, "xmp": image.xmp, "dpi": image.dpi}
    metadata = {key: value for key, value in metadata.items() if value is not None}
    pil.info.update(metadata)
    if image.iptc is not None:
        pil.info["photoshop"] = {IPTC_RESOURCE: image.iptc}
    if image.texts:
        pil.text = dict(image.texts)  # type: ignore[attr-defined]
    pil.encoderinfo, pil.tag_v2 = _Defaults(pil, _options(image, metadata)), _tiff_directory(image)  # type: ignore
    return pil


class _Defaults(Mapping[str, Any]):
    """Options of Pillow's `save`, which takes those of a picture before those of the call; here the call's go first.

    Args:
        pil: the picture, which knows the options of the call while it is saved.
        options: those of the picture.
    """

    def __init__(self, pil: Any, options: dict[str, Any]) -> None:
        self._pil, self._options = weakref.ref(pil), options

    def _given(self) -> dict[str, Any]:
        given: dict[str, Any] = getattr(self._pil(), "_default_encoderinfo", {})
        return {**given, "tiffinfo": None} if "exif" in given else given

    def _names(self) -> list[str]:
        return [name for name in self._options if name in _OURS or name not in self._given()]

    def __getitem__(self, name: str) -> Any:
        value = self._options[name]
        if name == "tiffinfo" and "compression" in self._given():  # with which libtiff writes no directories
            return {tag: entry for tag, entry in value.items() if tag not in (0x8769, 0x8825)}
        return value

    def __iter__(self) -> Iterator[str]:
        return iter(self._names())

    def __len__(self) -> int:
        return len(self._names())


def _options(image: Image, metadata: dict[str, Any]) -> dict[str, Any]:
    """What each of Pillow's writers needs to be told."""
    from PIL.PngImagePlugin import PngInfo

    options, chunks = dict(metadata), PngInfo()
    for kind, body in described(image):
        chunks.add(kind, body)
    if image.xmp is not None:
        chunks.add(b"iTXt", b"XML:com.adobe.xmp\0\0\0\0\0" + image.xmp)
    if image.exif is not None:
        options |= {"exif": b"Exif\0\0" + image.exif, "tiffinfo": _tiff_entries(image.exif)}
    if image.iptc is not None:
        options["extra"] = iptc_segment(image.iptc)
    return options | {"pnginfo": chunks}


def _tiff_entries(exif: bytes) -> Any:
    """What of an EXIF block may be said of a TIFF file: not how its pixels lie."""
    import PIL.Image

    from unshrink.pictures import tiff  # which imports this module

    entries = PIL.Image.Exif()
    entries.load(tiff.descriptive_exif(exif))
    return entries


def _tiff_directory(image: Image) -> Any:
    """What Pillow takes for TIFF from the entries of the file that it believes the picture to come from."""
    from PIL.TiffImagePlugin import ImageFileDirectory_v2

    from unshrink.pictures import tiff  # which imports this module

    directory = ImageFileDirectory_v2()
    for tag, (kind, block) in tiff.blocks(image).items():
        directory.tagtype[tag] = kind
        directory[tag] = block
    return directory


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
    """All that a picture carries, as arguments of `Image`."""
    exif, xmp, dpi = (pil.info.get(key) for key in ("exif", "xmp", "dpi"))
    resources = pil.info.get("photoshop")
    iptc = resources.get(IPTC_RESOURCE) if isinstance(resources, dict) else None
    return {
        "icc": pil.info.get("icc_profile") or None,
        "exif": bare_exif(exif) if isinstance(exif, bytes) else None,
        "xmp": xmp or None if isinstance(xmp, bytes) else None,
        "dpi": sane_dpi(dpi) if isinstance(dpi, tuple) else None,
        "meaning": _meaning(pil),
        "texts": _texts(pil),
        "iptc": iptc if isinstance(iptc, bytes) and iptc else None,
    }


def _meaning(pil: "PIL.Image.Image") -> Meaning | None:
    """What Pillow keeps of what a PNG file says of its colours."""
    gamma, xy, intent = (pil.info.get(key) for key in ("gamma", "chromaticity", "srgb"))
    meaning = Meaning(
        intent=intent if isinstance(intent, int) else None,
        gamma=round(gamma * 100_000) if isinstance(gamma, float) and 0 < gamma < 10_000 else None,
        chromaticities=tuple(round(value * 100_000) for value in xy)
        if isinstance(xy, tuple) and len(xy) == 8
        else None,
    )
    return None if meaning == Meaning() else meaning


def _texts(pil: "PIL.Image.Image") -> tuple[tuple[str, str], ...]:
    """The texts of a PNG file, and the comments of a JPEG or GIF file."""
    kept = getattr(pil, "text", None)
    texts = [(str(keyword), str(text)) for keyword, text in kept.items()] if isinstance(kept, dict) else []
    texts = [text for text in texts if not text[0].startswith(_NO_TEXT)]
    comments = [body for name, body in getattr(pil, "applist", ()) if name == "COM"] or [pil.info.get("comment")]
    return (*texts, *((COMMENT, _decoded(one)) for one in comments if isinstance(one, bytes) and one))


def _decoded(text: bytes) -> str:
    """Text of which the file does not say how it is written."""
    try:
        return text.decode()
    except UnicodeDecodeError:
        return text.decode("latin-1")


def _avif_meaning(stream: BinaryIO) -> Meaning | None:
    """What the numbers of a colr box say (ISO/IEC 23000-22, 14496-12); None for what is shown as sRGB."""
    match = re.search(rb"colrnclx(..)(..)..", _head(stream), re.DOTALL)
    if not match:
        return None
    meaning = Meaning(code=(int.from_bytes(match[1], "big") & 255, int.from_bytes(match[2], "big") & 255, 0, 1))
    return None if meaning.is_srgb else meaning


def _head(stream: BinaryIO) -> bytes:
    """What an AVIF file says beside its pixels: the boxes that do not hold the data."""
    data, position = _all(stream), 0
    head: list[bytes] = []
    while position + 16 <= len(data) and len(head) < _BOXES:
        size, kind = int.from_bytes(data[position : position + 4], "big"), data[position + 4 : position + 8]
        size = int.from_bytes(data[position + 8 : position + 16], "big") if size == 1 else size or len(data)
        head.append(data[position : position + size] if kind != b"mdat" else b"")
        position += max(8, size)
    return b"".join(head)


def _keyed(grey: np.ndarray, key: int | None) -> np.ndarray:
    """(H, W) uint16 -> (H, W, 1), or (H, W, 2) where the value `key` means transparent."""
    if key is None:
        return grey[..., None]
    return np.stack([grey, np.where(grey == key, np.uint16(0), np.uint16(65535))], axis=-1)


def _jpeg(stream: BinaryIO, pil: "PIL.Image.Image") -> PassingImage | None:
    """JPEG row by row, by the same decoder in libvips; None for the kinds of colour that Pillow converts."""
    if pil.mode not in ("L", "RGB"):
        return None
    stream.seek(0)
    return PassingImage(_vips.strips(_vips.header(stream)), **_metadata(pil))


def _deep_avif(stream: BinaryIO, pil: "PIL.Image.Image") -> PassingImage | None:
    """AVIF of 10 or 12 bits, stretched to 16; None if it has 8. Pillow would cut it to 8 silently."""
    data = _all(stream)
    # Third byte of an AV1 configuration: bit 6 is high_bitdepth (AV1 in ISOBMFF, section 2.3.3)
    if not any(match[1][0] & 0x40 for match in re.finditer(rb"av1C..(.)", data, re.DOTALL)):
        return None
    turned = pil.getexif().get(0x0112, 1) != 1  # libvips would turn the pixels, Pillow leaves them as stored
    if turned or getattr(pil, "is_animated", False):
        return _noting(from_pil(pil).passing(), "the 10 or 12 bits a channel were cut to 8")
    picture = _vips.header(io.BytesIO(data))
    if picture.format != "ushort":
        return None
    bits = picture.get("bits-per-sample")
    values = np.asarray(_vips.strips(picture)) >> (16 - bits)
    return Image(_stretch(values, 2**bits - 1), **_metadata(pil)).passing()


def _deep_ppm(stream: BinaryIO, pil: Any) -> PassingImage | None:
    """Binary PPM and PGM of more than 8 bits, stretched to 16; None if it has 8. Pillow cuts colour to 8 silently."""
    decoder, _, offset, arguments = pil.tile[0]
    maximum = 65535 if arguments == "I;16B" else arguments[1] if isinstance(arguments, tuple) else 255
    if maximum <= 255:
        return None
    if decoder == "ppm_plain":
        raise ImageError("text PPM of more than 8 bits is not supported; save it as PNG or TIFF")
    shape = (pil.height, pil.width, 3 if pil.mode == "RGB" else 1)
    values = np.frombuffer(_all(stream), ">u2", count=int(np.prod(shape)), offset=offset)
    return Image(_stretch(values.reshape(shape).astype(np.uint16), maximum)).passing()


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


def _noting(image: PassingImage, *notes: str) -> PassingImage:
    return dataclasses.replace(image, notes=(*image.notes, *notes))
