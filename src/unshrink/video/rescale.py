"""Clips made small and restored: a loop over frames."""

import time
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from unshrink import weights as zoo
from unshrink.errors import ModelNotFoundError, ProvenanceError, UnshrinkWarning, UsageError, VideoError
from unshrink.pictures.image import Image
from unshrink.pictures.io import MAX_PIXELS
from unshrink.pictures.record import Record, checksum, extract
from unshrink.pictures.sizes import MOST_REDUCED, Size
from unshrink.runtime.computing import about, ready
from unshrink.runtime.rescaler import Rescaler
from unshrink.video import tags
from unshrink.video.colour import FULL, RGB, Colour, Pixels
from unshrink.video.containers import Codec, codec_of, container_of, evened
from unshrink.video.making import Making, Progress
from unshrink.video.options import VideoOptions
from unshrink.video.parts import first_part, write_in_parts
from unshrink.video.source import Clip

QUALITY = 80
"""Of small clips in H.264: CRF 18."""

QUALITY_RESTORED = 90
"""Of restored ones: CRF 15.5."""


@dataclass(frozen=True)
class Done:
    """A clip that was made.

    Attributes:
        facts: what is said of it, as ``--json`` has it.
        lost: what of the source could not be read, in one sentence; "" where all could.
    """

    facts: Mapping[str, Any]
    lost: str = ""


def downscale(source: str, target: str, options: VideoOptions | None = None, progress: Progress | None = None) -> Done:
    """Makes a clip small.

    Args:
        source: the large clip.
        target: the file to write: .mkv for exact values, or .mp4, .m4v or .mov.
        options: what is asked for.
        progress: what to call after each frame.

    Returns:
        What was done.

    Raises:
        VideoError: the clip cannot be read, used or written.
        ModelNotFoundError: no installed weights make it so small.
        UsageError: the weights that are named do not.
    """
    asked, began = options or VideoOptions(), time.perf_counter()
    codec = codec_of(target, asked.codec)
    clip = Clip(source, asked.max_pixels, asked.frames)
    model = model_for(asked, clip.looks.size, codec)
    _refuse_loss(codec, model, asked.lossy)
    made = first_part(target) if asked.resume else None
    records = [made.record] if made and made.record else []

    def change(pixels: Pixels) -> Pixels:
        record, small = extract(model.downscale(Image(pixels), **vars(asked.goal), mark=False))
        if record and not records:
            records.append(record)  # of the first frame
        return small.pixels

    def told(places: Mapping[int, int]) -> Mapping[str, str]:
        keeps_time = container_of(target).muxer != "matroska"
        clocks = {} if keeps_time else clip.meant_clocks()
        colour, moved = clip.looks.colour, {places[place]: clock for place, clock in clocks.items() if place in places}
        return tags.written(records[0], tags.Origin(colour.matrix, colour.range, clip.aspect, codec.exact, moved))

    making = Making(clip, change, codec, asked.quality or QUALITY, clip.looks.colour, told)
    return _done(making, target, asked, model, progress, began)


def upscale(source: str, target: str, options: VideoOptions | None = None, progress: Progress | None = None) -> Done:
    """Restores a clip; see `downscale`.

    Raises:
        VideoError: the clip cannot be read, used or written.
        ModelNotFoundError: the weights that made it are not installed.
        ProvenanceError: no weights are asked for, and the clip has no record that tells them, or was resized since.
    """
    asked, began = options or VideoOptions(), time.perf_counter()
    codec = codec_of(target, asked.codec)
    clip = Clip(source, asked.max_pixels, asked.frames)
    model, record = _model_of(asked, clip), _fitting(clip, bool(asked.model))
    small = record.small if record else clip.looks.size
    size = asked.size or (record.size if record else (small[0] * model.scale, small[1] * model.scale))
    _refuse_huge(size, asked.max_pixels or MAX_PIXELS, source)
    doubts = [record] if record and clip.origin.exact and not asked.frames[0] else []

    def change(pixels: Pixels) -> Pixels:
        pixels = pixels[: small[1], : small[0]]
        if doubts and doubts.pop().pixels != checksum(pixels):
            changed = "its pixels were changed since unshrink made it (re-encoded or edited)"
            warnings.warn(
                f"{changed}; expect soft or disturbed frames, not the original", UnshrinkWarning, stacklevel=2
            )
        return model.upscale(pixels, size=size)

    making = Making(clip, change, codec, asked.quality or QUALITY_RESTORED, _colour(clip))
    return _done(making, target, asked, model, progress, began)


def _done(
    making: Making, target: str, asked: VideoOptions, model: Rescaler, progress: Progress | None, began: float
) -> Done:
    if asked.resume:
        work = {"weights": model.weights.identity, "size": asked.size, "frames": asked.frames, **vars(asked.goal)}
        work |= {"encoder": making.codec.encoder, "quality": making.quality, "precision": model.backend.precision}
        frames = write_in_parts(making, target, work, asked.overwrite, progress)
    else:
        frames = making.write(target, asked.overwrite, progress)
    lost = making.lost()
    facts = {
        "input": making.clip.name,
        "output": target,
        **about(model, began),
        "network_seconds": round(making.seconds, 3),
        "frames": frames,
        "from_size": making.clip.looks.size,
        "to_size": making.size,
        "from_bytes": making.clip.bytes,
        "to_bytes": making.bytes,
        "encoder": making.codec.encoder,
    }
    return Done(facts | ({"lost": lost} if lost else {}), lost)


def model_for(asked: VideoOptions, large: Size, codec: Codec) -> Rescaler:
    """The weights that make a clip small.

    Raises:
        UsageError: those that are named do not make clips so small.
        VideoError: the clip is as small already, or exact weights would go through a codec that changes values.
    """
    if not asked.model:
        ratio = asked.goal.ratio(large, zoo.DEFAULT_SCALE)
        return ready(zoo.load(zoo.for_ratio(ratio, lossy=not codec.exact).name), asked)
    named = ready(zoo.load(asked.model), asked)
    if asked.scale and asked.scale > named.scale * MOST_REDUCED:
        most = f"{named.name} makes clips {float(named.scale * MOST_REDUCED):g} times smaller at most"
        raise UsageError(f"scale {asked.scale:g} contradicts the model: {most}")
    return named


def _refuse_loss(codec: Codec, model: Rescaler, allowed: bool) -> None:
    if not (codec.exact or allowed or zoo.bears_changes(model.weights)):
        raise VideoError(
            f"h264 changes values, and {model.name} are made for exact ones: write .mkv, or `codec` h264-rgb, "
            "take weights made for lossy formats, or allow the loss (`lossy`)"
        )


def _model_of(asked: VideoOptions, clip: Clip) -> Rescaler:
    """The weights that made a small clip, or those that are asked for."""
    if asked.model:
        return ready(zoo.load(asked.model), asked)
    if not clip.record:
        raise ProvenanceError(
            clip.fault
            or f"{clip.name} has no record of unshrink: it was not made by unshrink, or its tags were removed; "
            "name the weights with `model` if you know them"
        )
    try:
        weights = zoo.find(clip.record.model, clip.record.weights)
    except ModelNotFoundError as error:
        raise ModelNotFoundError(f"{error} (`model` FILE{zoo.SUFFIX})") from None
    return ready(weights, asked)


def _fitting(clip: Clip, named: bool) -> Record | None:
    """The record of a small clip, if it is of these frames; H.264 has even sides alone.

    Raises:
        ProvenanceError: it is of others, and no weights are named.
    """
    record, met = clip.record, clip.looks.size
    if record is None or met in (record.small, evened(record.small)):
        return record
    if named:
        return None
    raise ProvenanceError(
        "{} was resized since unshrink made it: it has {}x{} pixels and had {}x{}; restore the file as it was written, "
        "or name the weights with `model`".format(clip.name, *met, *record.small)
    )


def _colour(clip: Clip) -> Colour:
    """What the values of the large clip mean: as those of the one that was made small did."""
    met, told = clip.looks.colour, clip.origin
    return Colour(told.matrix or RGB, told.range or FULL, met.primaries, met.transfer) if met.matrix == RGB else met


def _refuse_huge(size: Size, most: int, name: str) -> None:
    if size[0] * size[1] > most:
        raise VideoError(
            f"frames of {name} would become {size[0]} x {size[1]} pixels, more than the limit of {most:,}; "
            "raise it with `max_pixels` if the file can be trusted"
        )
