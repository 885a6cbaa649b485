"""What a small picture says of itself, by record or mark, and what is refused without it."""

import dataclasses
import warnings

from unshrink import weights as zoo
from unshrink.errors import ProvenanceError, UnshrinkWarning
from unshrink.pictures import mark as marks
from unshrink.pictures import record as provenance
from unshrink.pictures.image import AnyImage, Image
from unshrink.pictures.mark import Mark
from unshrink.pictures.record import Record


def refuse_resized(record: Record, image: Image, name: str) -> None:
    """Raises ProvenanceError where a picture, called ``name``, has neither the size of its record nor its pixels."""
    if record.pixels != provenance.checksum(image.pixels):
        met = "{}x{} pixels, and had {}x{}".format(*image.size, *record.small)
        raise ProvenanceError(
            f"{name} was resized or cropped since unshrink made it: it has {met}; "
            "get it as it was made, or name weights with `model` to enlarge it anyway"
        )


def required_mark(image: Image, name: str) -> Mark:
    """The mark of a small picture without a record, called ``name``.  Raises ProvenanceError where there is none."""
    mark = marks.read(image.pixels)
    if mark:
        return mark
    advice = f"name weights with `model` to enlarge it anyway (installed: {', '.join(zoo.list_models()) or 'none'})"
    if marks.is_displaced(image.pixels):
        raise ProvenanceError(
            f"{name} was cropped since unshrink made it, or re-encoded beyond what it bears; {advice}"
        )
    raise ProvenanceError(
        f"{name} has no record of unshrink and no mark: it was not made by unshrink, or its metadata was removed; "
        f"{advice}"
    )


def record_if_sound(image: AnyImage) -> tuple[Record | None, AnyImage]:
    """The record, or, where it cannot be used, none and the picture without it: the user has named the weights."""
    try:
        return provenance.extract(image)[0], image
    except ProvenanceError:
        reason = "its record is malformed or from a newer version of unshrink, and is left aside"
        warnings.warn(reason, UnshrinkWarning, stacklevel=2)
        return None, dataclasses.replace(image, xmp=None)
