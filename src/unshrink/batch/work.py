"""What the command line and the service do alike with one picture, beside running the network."""

import dataclasses
import io
import warnings

from unshrink.errors import ImageError, ProvenanceError, UnshrinkWarning
from unshrink.pictures import io as images
from unshrink.pictures import metrics
from unshrink.pictures import record as provenance
from unshrink.pictures.colour import over_white
from unshrink.pictures.image import Image
from unshrink.pictures.record import Record
from unshrink.runtime.rescaler import Rescaler
from unshrink.weights import catalogue

DEFAULT_SCALE = 2  # what comes back is hard to tell from the original; at 4, fine detail is softer


def encoded(image: Image, form: str, lossy: bool) -> bytes:
    """A picture as a file.  Raises ImageError for a format that changes values, unless ``lossy`` allows it."""
    stream = io.BytesIO()
    images.write(image, stream, format=form, lossy=lossy)
    return stream.getvalue()


def verified(model: Rescaler, image: Image, file: bytes, max_pixels: int) -> dict[str, float]:
    """PSNR in dB of the picture that the file of a small one brings back, in 8 bits over white."""
    restored = model.upscale(images.read(file, max_pixels=max_pixels))
    pair = over_white(image), over_white(restored)
    return {"psnr_y": metrics.psnr_y(*pair, model.scale), "psnr_rgb": metrics.psnr(*pair, model.scale)}


def required_record(image: Image, name: str) -> Record:
    """The record of a small picture, called ``name`` in messages.  Raises ProvenanceError where there is none."""
    record, _ = provenance.extract(image)
    if record is None:
        installed = ", ".join(row.name for row in catalogue.ENTRIES) or "none"
        raise ProvenanceError(
            f"{name} has no record of unshrink: it was not made by unshrink, or its metadata was removed; "
            f"name weights with --model to enlarge it anyway (installed: {installed})"
        )
    return record


def record_if_sound(image: Image) -> tuple[Record | None, Image]:
    """The record, or, where it cannot be used, none and the picture without it: the user has named the weights."""
    try:
        return provenance.extract(image)[0], image
    except ProvenanceError:
        reason = "its record is malformed or from a newer version of unshrink, and is left aside"
        warnings.warn(reason, UnshrinkWarning, stacklevel=2)
        return None, dataclasses.replace(image, xmp=None)


def refuse_huge(image: Image, scale: int, max_pixels: int, name: str) -> None:
    """Raises ImageError where a small picture, called ``name``, would become one of more than ``max_pixels``."""
    width, height = image.size
    if width * height * scale**2 > max_pixels:
        raise ImageError(
            f"{name} would become {width * scale} x {height * scale} pixels, more than the limit of {max_pixels:,}; "
            "raise it with --max-pixels if the file can be trusted"
        )
