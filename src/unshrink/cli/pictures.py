"""The commands that make pictures.

Each turns its arguments into tasks; what can be refused is refused before any work.
"""

import dataclasses
import functools
import io
import logging
import os
import re
import sys
import time
from argparse import Namespace
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from unshrink import weights as zoo
from unshrink.batch.manifest import Manifest
from unshrink.batch.plan import (
    STANDARD,
    Job,
    in_shard,
    intention,
    is_batch,
    output_folder,
    plan,
    refuse_clashes,
    settle,
    skipped,
)
from unshrink.batch.run import Batch, Do, threads_each, worker_count
from unshrink.batch.tasks import PATIENCE, Result, Task, steps
from unshrink.batch.work import DEFAULT_SCALE, encoded, record_if_sound, refuse_huge, required_record, verified
from unshrink.errors import ImageError, ModelNotFoundError, UsageError
from unshrink.evaluation import compare as comparison
from unshrink.evaluation.drawing import figure
from unshrink.files import atomic_write
from unshrink.pictures import io as images
from unshrink.pictures import record as provenance
from unshrink.pictures.image import Image
from unshrink.runtime import backends, rescaler
from unshrink.runtime.rescaler import Rescaler
from unshrink.runtime.search import Refined
from unshrink.text import decibels, human_bytes

SMALL_NAME, LARGE_NAME = "{stem}_x{scale}{ext}", "{stem}_restored{ext}"

Work = list[Task] | Batch

logger = logging.getLogger("unshrink")


def downscale(args: Namespace) -> Work:
    """Large pictures to small ones."""
    model = named_model(args)
    scale = str(model.scale)
    jobs = plan(args, SMALL_NAME, lambda stem: {"stem": stem, "scale": scale})
    encoded(Image(np.zeros((1, 1, 3), np.uint8)), jobs[0].form, args.lossy)  # refuses a lossy format before the work
    options = {"weights": model.weights.identity, "depth": args.depth, "effort": args.effort, "lossy": args.lossy}
    return _work(args, jobs, options, downscaler, functools.partial(_downscale, args, model))


def downscaler(args: Namespace) -> Do:
    """What makes one picture small."""
    return functools.partial(_downscale, args, named_model(args))


def _downscale(args: Namespace, model: Rescaler, job: Job) -> Result:
    began = time.perf_counter()
    with opened(job.target, job.overwrite) as stream:
        image, file_bytes = read(job.source, args.max_pixels)
        image = image.strip() if args.strip else image
        image = images.whole(image) if args.verify else image  # it is needed once more
        depth = args.depth or min(image.depth, images.max_depth(f"picture.{job.form}"))
        refined: list[Refined] = []
        small = model.downscale(
            image, depth=depth, effort=args.effort, report=refined.append, progress=_progress(job, began)
        )
        small_bytes = _write(small, stream, job.form, args.lossy)
        figures = {}
        if args.verify:
            file = encoded(small, job.form, args.lossy)
            figures = verified(model, image, file, args.max_pixels or images.MAX_PIXELS)
    outcome = {
        "size": image.size,
        "small_size": small.size,
        "depth": depth,
        "bytes": file_bytes,
        "small_bytes": small_bytes,
    }
    comes_back = "; comes back at {} dB (luma), {} dB (RGB)".format(*map(decibels, figures.values())) if figures else ""
    sizes = f"{_size(image)} -> {_size(small)} pixels, {human_bytes(file_bytes)} -> {human_bytes(small_bytes)}"
    searched = {f"effort_{key}": value for one in refined for key, value in dataclasses.asdict(one).items()}
    logger.info(f"{_names(job)}: {sizes}{_gained(args.effort, refined)}{comes_back}")
    return Result({**_about(job, model, began), **outcome, "effort": args.effort, **searched, **figures})


def _gained(effort: int, refined: list[Refined]) -> str:
    return "".join(
        f"; effort {effort}: restored picture {one.gain_luma:+.2f} dB (luma), {one.gain_rgb:+.2f} dB (RGB), "
        f"small picture {one.lr_change:+.2f} dB"
        for one in refined
    )


def upscale(args: Namespace) -> Work:
    """Small pictures to large ones."""
    do = upscaler(args)
    jobs = plan(args, LARGE_NAME, lambda stem: {"stem": re.sub(rescaler.SMALL, "", stem)})
    return _work(args, jobs, {"model": args.model, "seed": args.seed}, upscaler, do)


def upscaler(args: Namespace) -> Do:
    """What restores one picture."""
    named = load_model(args, args.model) if args.model else None
    recorded = functools.cache(functools.partial(_recorded_model, args))
    return functools.partial(_upscale, args, named, recorded)


def _upscale(args: Namespace, named: Rescaler | None, recorded: Callable[[str, str], Rescaler], job: Job) -> Result:
    began = time.perf_counter()
    with opened(job.target, job.overwrite) as stream:
        image, file_bytes = read(job.source, args.max_pixels)
        if named:
            model, (record, image) = named, record_if_sound(image)
        else:
            record = required_record(image, job.source)
            model = recorded(record.model, record.weights)
        refuse_huge(image, model.scale, args.max_pixels or images.MAX_PIXELS, job.source)
        image = images.whole(image)  # the small one is held, the large one passes by
        large = model.upscale(images.passing(image), seed=args.seed, progress=_progress(job, began))
        large_bytes = _write(large.strip() if args.strip else large, stream, job.form, lossy=True)
    outcome = {"size": large.size, "small_size": image.size, "depth": large.depth, "bytes": large_bytes}
    unchanged = record.pixels == provenance.checksum(image.pixels) if record else None
    logger.info(f"{_names(job)}: {_size(image)} -> {_size(large)} pixels, {model.weights.name}")
    return Result({**_about(job, model, began), **outcome, "small_bytes": file_bytes, "unchanged": unchanged})


def _recorded_model(args: Namespace, name: str, identity: str) -> Rescaler:
    try:
        weights = zoo.find(name, identity)
    except ModelNotFoundError as error:
        raise ModelNotFoundError(f"{error} (--model FILE{zoo.SUFFIX})") from None
    backend = backends.make(weights, args.backend, threads=args.threads, device=args.device, fast=args.fast)
    return Rescaler(weights, backend, args.tile)


def compare(args: Namespace) -> list[Task]:
    """A round trip in memory, its figures and a picture of them."""
    model = named_model(args)
    if args.output == STANDARD:
        raise UsageError("the table goes to standard output: give the figure the name of a file")
    source = Path("stdin" if args.input == STANDARD else args.input)
    target = args.output or str(source.with_name(f"{source.stem}_compare_x{model.scale}.png"))
    job = Job(args.input, target, images.format_of(target), args.overwrite)
    refuse_clashes([job], as_json=args.json)
    return [Task(args.input, functools.partial(_compare, args, model, job))]


def _compare(args: Namespace, model: Rescaler, job: Job) -> Result:
    began = time.perf_counter()
    with opened(job.target, job.overwrite) as stream:
        image, file_bytes = read(job.source, args.max_pixels)
        result = comparison.compare(images.whole(image), model, file_bytes)
        figure(result).save(stream, format=job.form)
    logger.info(f"the figure is {job.target}")
    return Result({**_about(job, model, began), **comparison.as_json(result)}, comparison.table(result))


# -- models --------------------------------------------------------------------------------------------------------


def named_model(args: Namespace) -> Rescaler:
    """The weights that --model and --scale ask for."""
    model = load_model(args, args.model or zoo.for_scale(args.scale or DEFAULT_SCALE).name)
    if args.scale and args.scale != model.scale:
        raise UsageError(f"--scale {args.scale} contradicts --model: {model.weights.name} has scale {model.scale}")
    return model


def load_model(args: Namespace, name: str) -> Rescaler:
    """Weights by name or path, ready to run as the arguments say."""
    runtime = {"backend": args.backend, "device": args.device, "threads": args.threads}
    return rescaler.load(name, **runtime, tile=args.tile, fast=args.fast)


# -- pictures ------------------------------------------------------------------------------------------------------


def _work(args: Namespace, jobs: list[Job], options: dict[str, Any], make: Callable[[Namespace], Do], do: Do) -> Work:
    """Jobs as tasks of this process, or, where several pictures are meant, as a batch.

    Args:
        args: what is to be done with what is there, and by whom.
        jobs: the pictures.
        options: what shapes the result, beside format and --strip.
        make: what gives each worker the function that does a job.
        do: the same for this process.
    """
    folder = output_folder(args) if is_batch(args) else None
    options = {"command": args.command, "format": jobs[0].form, "strip": args.strip, **options}
    manifest = Manifest(folder, options, args.shard)
    jobs = [settle(job, args, manifest) for job in jobs if in_shard(job, folder, args.shard)]
    if args.dry_run:
        return [Task(job.source, functools.partial(intention, job)) for job in jobs]
    if not is_batch(args):
        return [Task(job.source, functools.partial(_skip if job.skip else do, job)) for job in jobs]
    workers = worker_count(args.workers, len(jobs))
    settings = Namespace(**{**vars(args), "threads": threads_each(args.threads, workers)})
    return Batch(jobs, functools.partial(make, settings), manifest, workers, args.timeout)


def _skip(job: Job) -> Result:
    logger.info(f"{_names(job)}: skipped, {job.skip}")
    return skipped(job)


def opened(target: str, overwrite: bool) -> AbstractContextManager[BinaryIO]:
    """What to write to; opened before the work, so that a place that cannot be written to is found out first."""
    if target == STANDARD:
        return nullcontext(sys.stdout.buffer)
    return atomic_write(target, overwrite, error=ImageError)


def read(source: str, max_pixels: int | None) -> tuple[Image, int]:
    """A picture, its pixels where possible as `Rows`, and the size of its file; what had to be converted is said."""
    file: str | bytes = sys.stdin.buffer.read() if source == STANDARD else source
    image = images.scan(file, max_pixels=max_pixels or images.MAX_PIXELS)
    for note in image.notes:
        logger.info(f"{source}: {note}")
    return image, len(file) if isinstance(file, bytes) else os.path.getsize(file)


def _write(image: Image, stream: BinaryIO, form: str, lossy: bool) -> int:
    """Writes a picture, and returns the size of its file."""
    counted = stream if stream.seekable() else io.BytesIO()
    images.write(image, counted, format=form, lossy=lossy)
    if isinstance(counted, io.BytesIO):
        stream.write(counted.getbuffer())
    return counted.tell()


def _progress(job: Job, began: float) -> Callable[[float], None]:
    """Says how far a picture is, once it has taken longer than anybody likes to wait."""

    def show(share: float) -> None:
        if time.perf_counter() - began > PATIENCE:
            steps.info(f"{job.source}: {share:.0%}")

    return show


def _about(job: Job, model: Rescaler, began: float) -> dict[str, Any]:
    """What every result says; with --verbose also in words."""
    seconds = round(time.perf_counter() - began, 3)
    logger.debug(f"{job.source}: {seconds:.2f} s with {model.weights.name} on {model.backend.name}")
    return {
        "input": job.source,
        "output": job.target,
        "model": model.weights.name,
        "weights": model.weights.identity[: zoo.IDENTITY_DIGITS],
        "scale": model.scale,
        "backend": model.backend.name,
        "fast": model.backend.fast,
        "seconds": seconds,
    }


def _names(job: Job) -> str:
    return f"{job.source} -> {job.target}"


def _size(image: Image) -> str:
    return "{}x{}".format(*image.size)
