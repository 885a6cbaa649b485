"""Small pictures for a site: how small, as which file, and what arrives of that."""

import dataclasses
from collections.abc import Callable

from unshrink.batch.fitting import MOST_QUALITY, best_file
from unshrink.batch.options import DownscaleOptions
from unshrink.pictures import formats
from unshrink.pictures.colour import over_white
from unshrink.pictures.formats import CHROMA, Loss
from unshrink.pictures.image import Image
from unshrink.pictures.sizes import Size
from unshrink.pictures.upright import upright
from unshrink.runtime.rescaler import Rescaler
from unshrink.sites.simulator import simulate
from unshrink.sites.table import Site, find
from unshrink.weights import catalogue

_NEAREST = Loss(100, "4:4:4")  # to every value, of what JPEG can keep


def at_scale_for(options: DownscaleOptions, size: Size, load: Callable[[str], Rescaler]) -> DownscaleOptions:
    """The options with the scale at which their site does not resize what a large picture of a size becomes.

    Raises:
        UsageError: there is no such site.
        ImageError: it does not resize the large picture itself, or there is no such scale.
    """
    if options.scale:
        return options
    scales = {load(options.model).scale} if options.model else {row.scale for row in catalogue.ENTRIES}
    return dataclasses.replace(options, scale=find(options.site or "").scale_for(size, scales))


def presentable(image: Image, form: str) -> Image:
    """A large picture as a site shows it: upright and without EXIF, which most remove, and over white in some formats.

    A small picture that a site turned would not come back.
    """
    pixels = image.pixels if formats.writable(form).alpha or not image.alpha else over_white(image)
    return dataclasses.replace(image.with_pixels(upright(pixels, image.exif)), exif=None)


def passing_file(small: Image, site: Site, chroma: str | None = None) -> tuple[bytes, Loss | None]:
    """The JPEG file of a small picture that a site passes on as it is, in the best quality that it lets through.

    Where it would let through less than it re-encodes with itself, the file that loses least before it does that.

    Args:
        small: the picture.
        site: where it goes.
        chroma: "4:2:0" or "4:4:4"; None for the latter where that passes.

    Returns:
        The file, and how much was lost in it.
    """
    if door := site.door("jpeg"):
        most = door.most_bytes(small.size)
        for kept in (chroma,) if chroma else reversed(CHROMA):
            best = Loss(min(MOST_QUALITY, door.max_quality or MOST_QUALITY), kept)
            file, loss = best_file(small, "jpeg", best, True, most)
            if loss and loss.quality >= site.quality and (most is None or len(file) <= most):
                return file, loss
    nearest = dataclasses.replace(_NEAREST, chroma=chroma or _NEAREST.chroma)
    return best_file(small, "jpeg", nearest, True, None)


def arrival(file: bytes, site: str | None, max_pixels: int) -> dict[str, str]:
    """What is said of a file that is for a site: what arrives of it there; nothing where it is for none."""
    return {"site": site, "arrives": str(simulate(file, find(site), max_pixels=max_pixels))} if site else {}
