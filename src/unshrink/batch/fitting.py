"""Small pictures as files: how much a lossy format loses, and what fits into so many bytes."""

import bisect
import dataclasses
import io
from collections.abc import Iterator
from fractions import Fraction
from functools import cache

from unshrink.batch.options import DownscaleOptions
from unshrink.errors import ImageError
from unshrink.pictures import formats
from unshrink.pictures import io as images
from unshrink.pictures.formats import Loss
from unshrink.pictures.image import Image
from unshrink.pictures.sizes import Goal
from unshrink.sites.table import find
from unshrink.weights import Weights, catalogue

LEAST_QUALITY = 30  # below, little more than an enlargement comes back: a larger scale in as many bytes is better
MOST_QUALITY = 95  # that is tried where none is named: above, files grow and hardly anything more comes back


def loss_of(options: DownscaleOptions, form: str) -> Loss | None:
    """How much is lost in a format; None where it keeps every value.

    Raises:
        ImageError: the format cannot lose that.
    """
    if formats.writable(form).lossless and options.quality is None and options.chroma is None:
        return None
    most = MOST_QUALITY if options.max_bytes else Loss.quality
    loss = Loss(options.quality or most, options.chroma or Loss.chroma)
    formats.losing(formats.writable(form), loss)  # refuses
    return loss


def changes(options: DownscaleOptions, form: str) -> bool:
    """Whether values of a small picture change in its format, or at the site that it is for."""
    return loss_of(options, form) is not None or (options.site is not None and not find(options.site).passes(form))


def may_change(options: DownscaleOptions, weights: Weights) -> bool:
    """Whether a format may change values: as asked for, as the weights bear it, or because the site does so anyway."""
    return options.lossy or options.site is not None or catalogue.bears_changes(weights)


def goals(options: DownscaleOptions, ratio: Fraction) -> Iterator[Goal]:
    """How small a picture is made: as asked for; then, where bytes are limited and no weights named, ever smaller."""
    yield options.goal
    if options.max_bytes and not options.model:
        yield from (Goal(scale=scale) for scale in sorted({row.scale for row in catalogue.ENTRIES}) if scale > ratio)


def best_file(
    small: Image, form: str, loss: Loss | None, lossy: bool, max_bytes: int | None
) -> tuple[bytes, Loss | None]:
    """The file of a small picture in the best quality with which it fits; or, where it never does, in the least.

    Args:
        small: the picture.
        form: its format.
        loss: how much may be lost at the least; the quality is lowered from there.
        lossy: whether a format may change values.
        max_bytes: of the file; None for any number.

    Returns:
        The file, and how much was lost in it.
    """

    @cache
    def file(quality: int) -> bytes:
        stream = io.BytesIO()
        images.write(small, stream, format=form, lossy=lossy, loss=loss and dataclasses.replace(loss, quality=quality))
        return stream.getvalue()

    if loss is None or max_bytes is None:
        return file(loss.quality if loss else 0), loss
    qualities = range(min(LEAST_QUALITY, loss.quality), loss.quality + 1)
    fit = bisect.bisect_right(qualities, max_bytes, key=lambda quality: len(file(quality)))
    quality = qualities[max(fit - 1, 0)]
    return file(quality), dataclasses.replace(loss, quality=quality)


def refuse_too_large(smallest: int, max_bytes: int) -> None:
    """Raises ImageError where not even the smallest file fits."""
    if smallest > max_bytes:
        raise ImageError(
            f"it cannot be made to fit into {max_bytes:,} bytes: the smallest possible has {smallest:,}; "
            "allow more, or a lossy `format`, or a larger `scale`"
        )
