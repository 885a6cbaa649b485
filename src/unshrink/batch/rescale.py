"""What is done with one picture: read, rescaled, written; alike for folders, the service and a cluster."""

import dataclasses
import functools
import os
import sys
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, BinaryIO, ClassVar

from unshrink import weights as zoo
from unshrink.batch.files import Source, opened, read
from unshrink.batch.fitting import best_file, changes, goals, loss_of, may_change, refuse_too_large
from unshrink.batch.identify import record_if_sound, refuse_resized, required_mark
from unshrink.batch.items import Item, Outcome, is_stream
from unshrink.batch.options import BatchOptions, DownscaleOptions, UpscaleOptions
from unshrink.batch.sending import arrival, at_scale_for, passing_file, presentable
from unshrink.errors import ImageError, ModelNotFoundError, UnshrinkWarning, UsageError
from unshrink.pictures import formats, metrics
from unshrink.pictures import io as images
from unshrink.pictures import record as provenance
from unshrink.pictures.colour import over_white
from unshrink.pictures.image import Image, PassingImage
from unshrink.pictures.mark import Mark
from unshrink.pictures.record import Record
from unshrink.pictures.sizes import MOST_REDUCED, Goal, Size
from unshrink.runtime.computing import about, ready
from unshrink.runtime.rescaler import Rescaler
from unshrink.runtime.search import Refined
from unshrink.runtime.streaming import Progress
from unshrink.sites.table import find
from unshrink.weights import catalogue

ANY_SIZE = 1, 1  # where weights do not depend on it


@dataclass(frozen=True)
class Written:
    """A picture that was made and written.

    Attributes:
        model: what made it.
        facts: what is said of it; see `Outcome`.
    """

    model: Rescaler
    facts: dict[str, Any]


@dataclass(frozen=True)
class Downscaler:
    """Makes pictures small.

    Attributes:
        options: what is asked for.
        load: gives weights by name or path, ready to run, the same ones each time.
    """

    options: DownscaleOptions
    load: Callable[[str], Rescaler]
    command: ClassVar[str] = "downscale"

    def write(self, source: Source, stream: BinaryIO, form: str, progress: Progress | None = None) -> Written:
        """Writes the small picture.

        Args:
            source: the large picture.
            stream: what to write to: empty, and one can seek in it.
            form: the format.
            progress: what to call with the share that is done, 0 to 1.

        Raises:
            ImageError: the picture cannot be decoded or used, or the format changes values and that is not allowed.
        """
        image, how = source.image, self
        if self.options.site:
            image = presentable(image.whole(), form)
            how = dataclasses.replace(self, options=at_scale_for(self.options, image.size, self.load))
        written = how._write(image.strip() if self.options.strip else image, stream, form, progress)
        return Written(written.model, written.facts | {"bytes": source.bytes})

    def _write(self, image: Image | PassingImage, stream: BinaryIO, form: str, progress: Progress | None) -> Written:
        options = self.options
        loss, first = loss_of(options, form), self.model(image.size, form)
        again = options.verify or options.max_bytes or options.site  # it, or the file, is needed once more
        held = image.whole() if again else None
        smallest = sys.maxsize
        for goal in goals(options, options.goal.ratio(image.size, first.scale)):
            model = first if goal == options.goal else self._for(Fraction(str(goal.scale)), form)
            small, facts = self._small(model, held or image, goal, form, progress)
            allowed = may_change(options, model.weights)
            if not (loss or held):
                images.write(small, stream, format=form, lossy=allowed)  # as its rows come
                return Written(model, facts | {"small_bytes": stream.tell()})
            if form == "jpeg" and options.is_for_door:
                file, lost = passing_file(small, find(options.site or ""), options.chroma)
            else:
                file, lost = best_file(small, form, loss, allowed, options.max_bytes)
            smallest = min(smallest, len(file))
            if options.max_bytes is None or len(file) <= options.max_bytes:
                break
        refuse_too_large(smallest, options.max_bytes or sys.maxsize)
        stream.write(file)
        facts |= {"small_bytes": len(file)} | (dataclasses.asdict(lost) if lost else {})
        facts |= arrival(file, options.site, _limit(options))
        if held and options.verify:
            facts |= _verified(model, held, file, form, _limit(options))
        return Written(model, facts)

    def _small(
        self, model: Rescaler, image: Image | PassingImage, goal: Goal, form: str, progress: Progress | None
    ) -> tuple[Image, dict[str, Any]]:
        """The small picture, and what is said of it."""
        options, refined = self.options, list[Refined]()
        depth = options.depth or min(image.depth, formats.writable(form).depth)
        small: Image = model.downscale(
            image,
            **vars(goal),
            depth=depth,
            mark=options.marked,
            effort=options.effort,
            report=refined.append,
            progress=progress,
        )
        facts: dict[str, Any] = {"size": image.size, "small_size": small.size, "depth": depth}
        facts["effort"] = options.effort
        found = ((f"effort_{key}", value) for one in refined for key, value in dataclasses.asdict(one).items())
        return small, facts | dict(found)

    def model(self, size: Size, form: str) -> Rescaler:
        """The weights for a large picture of a size and a small one of a format, ready to run.

        Raises:
            UsageError: the weights that are named do not make pictures so small.
            ImageError: the picture is as small already as is asked for.
            ModelNotFoundError: no installed weights make it so small.
        """
        options = self.options
        if not options.model:
            return self._for(options.goal.ratio(size, zoo.DEFAULT_SCALE), form)
        named = self.load(options.model)
        if options.scale and options.scale > named.scale * MOST_REDUCED:
            most = f"{named.name} makes pictures {float(named.scale * MOST_REDUCED):g} times smaller at most"
            raise UsageError(f"scale {options.scale:g} contradicts the model: {most}")
        return named

    def _for(self, ratio: Fraction, form: str) -> Rescaler:
        return self.load(zoo.for_ratio(ratio, lossy=changes(self.options, form)).name)

    def scale(self, form: str) -> float | None:
        """How many times smaller each side becomes; None where that depends on the picture."""
        if self.options.scale_varies:
            return None
        return self.options.scale or self.model(ANY_SIZE, form).scale

    def identities(self, form: str) -> list[str]:
        """Of the weights that pictures may be made by."""
        if self.options.model or self.scale(form):
            return [self.model(ANY_SIZE, form).weights.identity]
        return [row.identity for row in catalogue.ENTRIES]


@dataclass(frozen=True)
class Upscaler:
    """Restores large pictures.

    Attributes:
        options: what is asked for.
        named: the weights that are asked for, ready to run; None for those that made each picture.
        recorded: gives these, by their name and identity.
    """

    options: UpscaleOptions
    named: Rescaler | None
    recorded: Callable[[str, str], Rescaler]
    command: ClassVar[str] = "upscale"

    def write(self, source: Source, stream: BinaryIO, form: str, progress: Progress | None = None) -> Written:
        """Writes the large picture; see `Downscaler.write`.

        Raises:
            ImageError: the picture cannot be decoded or used, or would become larger than is allowed.
            ModelNotFoundError: the weights that made it are not installed.
            ProvenanceError: no weights are asked for, and the picture has neither record nor mark that tells them, or
                was resized or cropped since.
        """
        options, name = self.options, source.name
        model, record, image = self._model(source)
        _refuse_huge(image, model.scale, _limit(options), name)
        small = image.whole()  # the large one passes by
        large = model.upscale(small.passing(), size=options.size, seed=options.seed, progress=progress)
        images.write(large.strip() if options.strip else large, stream, format=form, lossy=True)
        unchanged = not provenance.fault(record, small) if record else None
        facts: dict[str, Any] = {"size": large.size, "small_size": small.size, "depth": large.depth}
        return Written(model, facts | {"bytes": stream.tell(), "small_bytes": source.bytes, "unchanged": unchanged})

    def _model(self, source: Source) -> tuple[Rescaler, Record | None, Image | PassingImage]:
        """The weights for a picture, its record, and the picture, without a record that cannot be used."""
        if self.named:
            return self.named, *record_if_sound(source.image)
        record, _ = provenance.extract(source.image)
        if record and source.image.size == record.small:
            return self.recorded(record.model, record.weights), record, source.image
        image = source.image.whole()
        if record:
            refuse_resized(record, image, source.name)
            return self.recorded(record.model, record.weights), record, image
        entry = _marked_by(required_mark(image, source.name))
        return self.recorded(entry.name, entry.identity[: zoo.IDENTITY_DIGITS]), None, image


def rescale_file(item: Item, how: Downscaler | Upscaler, progress: Progress | None = None) -> Outcome:
    """Does one picture from file to file.

    Raises:
        UnshrinkError: what the user can mend; nothing was written.
    """
    began = time.perf_counter()
    changed = _time_of(item.source) if how.options.times else None
    with opened(item.source, item.target, item.overwrite) as stream:
        source = read(item.source, how.options.max_pixels)
        written = how.write(source, stream, item.form, progress)
    if changed and not is_stream(item.target):
        with suppress(OSError):  # a disk without such times: the picture is there all the same
            os.utime(item.target, ns=(changed, changed))
    facts = {**about(written.model, began), **written.facts, "notes": list(source.image.notes)}
    return Outcome(item.source, item.target, "done", facts=facts)


def _time_of(source: str) -> int | None:
    """When a file was changed, in nanoseconds; None of what is none."""
    try:
        return None if is_stream(source) else os.stat(source).st_mtime_ns
    except OSError:
        return None


# -- weights -------------------------------------------------------------------------------------------------------


def downscaler(options: DownscaleOptions) -> Downscaler:
    """What makes pictures small as the options say.

    Raises:
        UnshrinkError: the weights cannot be found, read or run here.
    """
    return Downscaler(options, functools.cache(functools.partial(load, options)))


def upscaler(options: UpscaleOptions) -> Upscaler:
    """What restores pictures as the options say.

    Raises:
        UnshrinkError: the weights that are asked for cannot be found, read or run here.
    """
    named = load(options, options.model) if options.model else None
    return Upscaler(options, named, functools.cache(functools.partial(_recorded, options)))


def named_model(model: str | None, scale: int | None, load: Callable[[str], Rescaler]) -> Rescaler:
    """The weights that model and scale ask for, of those that ``load`` gives.

    Raises:
        UsageError: the scale is not that of the model.
    """
    named = load(model or zoo.for_scale(scale or zoo.DEFAULT_SCALE).name)
    if scale and scale != named.scale:
        raise UsageError(f"scale {scale} contradicts the model: {named.name} has scale {named.scale}")
    return named


def load(options: BatchOptions, name: str) -> Rescaler:
    """Weights by name or path, ready to run as the options say."""
    return ready(zoo.load(name), options)


def _recorded(options: UpscaleOptions, name: str, identity: str) -> Rescaler:
    with _naming_the_option():
        weights = zoo.find(name, identity)
    return ready(weights, options)


def _marked_by(mark: Mark) -> zoo.Entry:
    """The entry of the weights that a mark names."""
    with _naming_the_option():
        return zoo.of_number(mark.weights)


@contextmanager
def _naming_the_option() -> Iterator[None]:
    """Adds to what is said of missing weights how their file is given."""
    try:
        yield
    except ModelNotFoundError as error:
        raise ModelNotFoundError(f"{error} (`model` FILE{zoo.SUFFIX})") from None


# -- pictures ------------------------------------------------------------------------------------------------------


def _verified(model: Rescaler, image: Image, file: bytes, form: str, max_pixels: int) -> dict[str, float]:
    """PSNR in dB of the picture that the file of a small one brings back, in 8 bits over white."""
    with warnings.catch_warnings():
        if not formats.writable(form).lossless:  # that it changes values is what was asked for
            warnings.simplefilter("ignore", UnshrinkWarning)
        restored = model.upscale(images.read(file, max_pixels=max_pixels))
    pair = over_white(image), over_white(restored)
    return {"psnr_y": metrics.psnr_y(*pair, model.scale), "psnr_rgb": metrics.psnr(*pair, model.scale)}


def _refuse_huge(image: Image | PassingImage, scale: int, max_pixels: int, name: str) -> None:
    """Raises ImageError where a small picture, called ``name``, would become one of more than ``max_pixels``."""
    width, height = image.size
    if width * height * scale**2 > max_pixels:
        raise ImageError(
            f"{name} would become {width * scale} x {height * scale} pixels, more than the limit of {max_pixels:,}; "
            "raise it with `max_pixels` if the file can be trusted"
        )


def _limit(options: BatchOptions) -> int:
    return options.max_pixels or images.MAX_PIXELS
