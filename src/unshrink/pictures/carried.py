"""What a format can carry of what a picture carries, and what is said of the rest."""

import dataclasses
import warnings

from unshrink.errors import UnshrinkWarning
from unshrink.pictures.formats import Format
from unshrink.pictures.image import AnyImage

COMMENT = "Comment"
"""The keyword of PNG under which comments of JPEG and GIF stand."""

_SQUARE = 0.01  # by which two resolutions may differ and still mean square pixels


def fitted(image: AnyImage, form: Format) -> AnyImage:
    """The picture with what the format can carry; what its values mean becomes a profile where there is no other place.

    Warns:
        UnshrinkWarning: of what is left out, once. Not of a resolution whose pixels are square: it changes nothing.
    """
    carried, lost = profiled(image) if "meaning" not in form.blocks else (image, [])
    if "texts" not in form.blocks and image.texts:
        kept = tuple(text for text in image.texts if "comment" in form.blocks and text[0] == COMMENT)
        others = list(dict.fromkeys(keyword for keyword, _ in image.texts if (keyword, _) not in kept))
        lost += [f"its texts ({', '.join(others)[:100]})"] if others else []
        carried = dataclasses.replace(carried, texts=kept)
    if "iptc" not in form.blocks and image.iptc is not None:
        lost.append("its IPTC block")
        carried = dataclasses.replace(carried, iptc=None)
    if "dpi" not in form.blocks and image.dpi and abs(image.dpi[0] / image.dpi[1] - 1) > _SQUARE:
        lost.append("its resolution of {:.4g} x {:.4g} dpi, so its pixels look square".format(*image.dpi))
    if lost:
        warnings.warn(f"{form.name} cannot hold {', '.join(lost)}: left out", UnshrinkWarning, stacklevel=4)
    return carried


def profiled(image: AnyImage) -> tuple[AnyImage, list[str]]:
    """The picture with a profile in the place of what else says its colours, and what of them no profile can say."""
    meaning = image.meaning
    if meaning is None:
        return image, []
    bare = dataclasses.replace(image, meaning=None)
    if meaning.is_srgb or (image.icc and not meaning.code):  # a profile goes before gamma and chromaticities
        return bare, []
    if profile := meaning.profile(grey=image.channels < 3):
        return dataclasses.replace(bare, icc=profile), []
    return bare, [f"what its colours mean ({meaning.describe()})"]
