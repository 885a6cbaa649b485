"""The commands on clips: which of the inputs are clips, the calls of `unshrink.video`, and what is said of each."""

import dataclasses
import functools
import glob
import logging
import os
import re
import time
from argparse import Namespace
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from unshrink import video
from unshrink.batch.options import BatchOptions, DownscaleOptions, UpscaleOptions
from unshrink.cli import terminal
from unshrink.cli.tasks import Result, Task
from unshrink.errors import UsageError
from unshrink.pictures.find import is_picture, look
from unshrink.pictures.sizes import SUFFIX
from unshrink.text import align, decibels, human_bytes
from unshrink.video.containers import container_of, folder_of, is_clip

if TYPE_CHECKING:
    from unshrink.video import Comparison, Done, VideoOptions

OPTIONS = ("codec", "frames", "resume")
"""Those that are for clips alone."""

_SETTLED = ("existing", "workers", "timeout", "recursive")  # seen to here, or of no effect with one at a time
_SHOWN_EVERY = 0.5  # seconds

logger = logging.getLogger("unshrink")


def are_clips(args: Namespace, inputs: list[str]) -> bool:
    """Whether clips are meant.

    Raises:
        UsageError: clips beside pictures, or options of clips for pictures.
    """
    clips = [name for name in inputs if is_clip(name)]
    if not clips:
        given = [name for name in OPTIONS if getattr(args, name, None)]
        if given:
            raise UsageError(f"`{given[0]}` is for clips, and {inputs[0]} is none")
        return False
    if others := [name for name in inputs if name not in clips]:
        raise UsageError(f"{clips[0]} is a clip and {others[0]} is none: give clips and pictures one after the other")
    return True


def inputs_of(args: Namespace) -> list[str]:
    """The inputs, with the clips themselves for patterns of clips and for folders that hold clips and no pictures."""
    return [found for name in args.inputs for found in _found(name, args.recursive)]


def _found(name: str, recursive: bool) -> list[str]:
    if os.path.isdir(name):
        inside = look(name, "**/*" if recursive else "*")
        found = [] if inside.pictures else [str(path) for path in inside.others]
    elif glob.has_magic(name) and not os.path.lexists(name):
        found = sorted(glob.glob(name, recursive=True))
    else:
        return [name]
    clips = [path for path in found if is_clip(path)]
    return clips or [name]


def downscale(args: Namespace) -> list[Task]:
    """Large clips to small ones."""
    options = _options(args, DownscaleOptions)
    suffix = options.goal.suffix(2 if options.model is None else _scale_of(options.model))
    targets = _targets(args, lambda stem: f"{stem}{suffix}.mkv")
    return [
        Task(name, functools.partial(_one, video.downscale, name, to, options, args)) for name, to in targets.items()
    ]


def upscale(args: Namespace) -> list[Task]:
    """Small clips to large ones."""
    options = _options(args, UpscaleOptions)
    targets = _targets(args, lambda stem: f"{re.sub(SUFFIX, '', stem)}_restored.mp4")
    return [Task(name, functools.partial(_one, video.upscale, name, to, options, args)) for name, to in targets.items()]


def compare(args: Namespace) -> list[Task]:
    """A round trip through a codec, frame by frame, and its figures."""
    if args.lpips:
        raise UsageError(f"`lpips` is for pictures, and {args.input} is a clip")
    if args.output and not is_picture(args.output):
        container_of(args.output)  # refuses
    options = dataclasses.replace(_options(args, BatchOptions), overwrite=args.overwrite)
    return [Task(args.input, functools.partial(_compared, args.input, options, args.output))]


def info(name: str) -> Result:
    """What a clip holds."""
    data = video.describe(name)
    return Result(data, "\n".join([name, *(f"  {key:<9} {value}" for key, value in _rows(data))]), ok=not data["fault"])


def _rows(data: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    size = "{}x{}".format(*data["size"])
    yield "clip", f"{size}, {data['codec']} in {data['format']}, {human_bytes(data['bytes'])}"
    yield "frames", f"{data['frames']} in {data['seconds']:g} s" + (f", {data['cut_off']}" if data["cut_off"] else "")
    yield "colour", ", ".join(f"{key} {value}" for key, value in data["colour"].items())
    chapters = [f"{data['chapters']} chapters"] if data["chapters"] else []
    yield "carries", ", ".join([*data["others"], *chapters]) or "nothing beside"
    record = data["record"]
    if record:
        values = "every value kept" if data["exact"] else "through a codec that changes values"
        made = "{model} ({weights}), scale {scale}, from {size[0]}x{size[1]}".format(**record)
        yield "record", f"made by {made}, {values}"
    else:
        yield "record", data["fault"] or "none: not made by unshrink, or its tags were removed"


def _options(args: Namespace, pictures: type[BatchOptions]) -> "VideoOptions":
    """What the arguments ask for with clips.

    Raises:
        UsageError: an option that is for pictures alone.
    """
    known = {field.name for field in dataclasses.fields(video.VideoOptions)}
    for field in dataclasses.fields(pictures):
        given = getattr(args, field.name, None) not in (None, field.default)
        if given and field.name not in known and field.name not in _SETTLED:
            raise UsageError(f"`{field.name}` is for pictures, and {_first(args)} is a clip")
    if getattr(args, "existing", "") == "rename":
        raise UsageError("`rename` is for pictures: name the clip that is made with `out`")
    asked = {name: value for name, value in vars(args).items() if name in known and value is not None}
    return video.VideoOptions(**{**asked, "overwrite": getattr(args, "existing", "") == "overwrite"})


def _first(args: Namespace) -> str:
    return args.input if "input" in args else args.inputs[0]


def _scale_of(model: str) -> int:
    from unshrink import weights

    return weights.load(model).scale


def _targets(args: Namespace, named: Callable[[str], str]) -> dict[str, str]:
    """Where each clip goes.

    Raises:
        UsageError: several would become one, or one would replace an input.
    """
    inputs, out = inputs_of(args), args.output
    several = inputs != args.inputs or len(inputs) > 1
    if several and not out and inputs != args.inputs:
        raise UsageError(f"{args.inputs[0]} stands for several clips: name the folder for what is made with `out`")
    folder = out if out and (several or out.endswith(("/", os.sep)) or os.path.isdir(out)) else None
    targets = {}
    for name in inputs:
        path = Path(name)
        targets[name] = out if out and not folder else str((Path(folder) if folder else path.parent) / named(path.stem))
    places = [os.path.realpath(place) for place in targets.values()]
    if len(set(places)) < len(places) or {os.path.realpath(name) for name in targets} & set(places):
        raise UsageError(
            "two clips would become one file, or a clip would replace itself: choose other names with `out`"
        )
    if folder:
        os.makedirs(folder, exist_ok=True)
    return targets


def _one(make: Callable[..., "Done"], name: str, target: str, options: "VideoOptions", args: Namespace) -> Result:
    if args.existing == "skip" and os.path.exists(target):
        return Result({"input": name, "output": target, "skipped": "exists already"})
    try:
        done = make(name, target, options, progress=_Shown(name).show)
    except KeyboardInterrupt:
        if options.resume:
            logger.info(f"what is done is kept in {folder_of(target)}; the same command goes on from there")
        raise
    logger.info(f"{name} -> {target}: {_told(done.facts)}")
    if done.lost:
        logger.error(done.lost)
    return Result(dict(done.facts), partly=bool(done.lost))


def _told(facts: Mapping[str, Any]) -> str:
    rate = facts["frames"] / max(facts["seconds"], 1e-3)
    said = "{}x{} -> {}x{} pixels".format(*facts["from_size"], *facts["to_size"])
    said += f", {human_bytes(facts['from_bytes'])} -> {human_bytes(facts['to_bytes'])} ({facts['encoder']})"
    return f"{said}, {facts['frames']} frames at {rate:.1f}/s, {facts['model']}"


class _Shown:
    """How far a clip is: frames, rate, time left."""

    def __init__(self, name: str) -> None:
        self._name, self._began, self._last = name, time.monotonic(), 0.0

    def show(self, done: int, total: int) -> None:
        """Says it, not too often."""
        now = time.monotonic()
        seconds = now - self._began
        if seconds > terminal.PATIENCE and now - self._last > _SHOWN_EVERY:
            self._last = now
            left = terminal.minutes(seconds * (total - done) / done)
            terminal.status.show(f"{self._name}: {done}/{total} frames, {done / seconds:.1f}/s, {left} left")


def _compared(name: str, options: "VideoOptions", figure: str | None) -> Result:
    found = video.compare(name, options, _Shown(name).show, figure)
    return Result({"input": name, "output": figure, **dataclasses.asdict(found)}, table(found))


def table(found: "Comparison") -> str:
    """A comparison as people read it."""
    rows = [("", "PSNR-Y", "5th percentile", "SSIM", "5th percentile", "flicker", "small clip")]
    for way in found.ways:
        values = (decibels(way.psnr_y), decibels(way.psnr_y_5), f"{way.ssim:.4f}", f"{way.ssim_5:.4f}")
        rows.append((way.name, *values, decibels(way.flicker), human_bytes(way.bytes)))
    large = "{}x{}".format(*found.size)
    head = (
        f"{found.frames} frames of {large} through small ones of {'{}x{}'.format(*found.small_size)} ({found.encoder})"
    )
    return "\n".join([head, *align(rows)])
