"""Clips, as the processes of the service see them: how much work one is, and the work itself, from file to file."""

import os
import sys
import time
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from unshrink import video
from unshrink.errors import UnshrinkError, UnshrinkWarning, VideoError
from unshrink.server.options import PARAMETERS, Bound, ClipOptions
from unshrink.server.sentences import in_http
from unshrink.weights import catalogue

CLIP, MADE = "the clip", "the new clip"  # what messages call the files: the service is told no names
WEIGHING_BYTES = 1 << 31  # of memory to look a clip through: some large frames, and millions of timestamps
_TOLD_EVERY = 0.5  # seconds: each time is a write to the disk

Progress = Callable[[float], object]


@dataclass(frozen=True)
class Weight:
    """How much work a clip is.

    Attributes:
        frames: that are meant.
        seconds: from the beginning of the first to the end of the last.
        pixels: of all of them, as large as they are or become.
    """

    frames: int
    seconds: float
    pixels: int


def weigh(source: Path, options: ClipOptions, bound: Bound) -> Weight:
    """Looks a clip through without decoding more than its first frame.

    Args:
        source: the file.
        options: what is asked for.
        bound: of a frame.

    Raises:
        VideoError: it cannot be read or used.
    """
    with _in_http({source: CLIP}, bound), _little_memory():
        return _weighed(source, options, bound.pixels)


def _weighed(source: Path, options: ClipOptions, max_pixels: int) -> Weight:
    from unshrink.video.source import Clip  # what needs PyAV

    clip = Clip(os.fspath(source), max_pixels, options.asked().frames)
    width, height = clip.looks.size
    pixels = width * height
    if options.enlarges:
        record = clip.record
        made = next((row for row in catalogue.ENTRIES if row.name == options.model), None)
        made = made or (catalogue.of_identity(record.weights) if record else None)
        pixels *= made.scale**2 if made else 1
        pixels = max(pixels, record.size[0] * record.size[1]) if record else pixels
    clock = clip.meant_clocks().get(clip.place)
    seconds = float((clock.stamps[-1] - clock.stamps[0]) * clock.base + 1 / clip.rate) if clock else 0.0
    return Weight(clip.count, seconds, clip.count * pixels)


def make(
    source: Path, target: Path, options: ClipOptions, bound: Bound, threads: int, tell: Progress
) -> dict[str, Any]:
    """Makes a clip small, or restores it.

    Args:
        source: the file.
        target: the new file, which may be there.
        options: what is asked for.
        bound: of a frame.
        threads: to compute with.
        tell: is told which share of the work is done.

    Returns:
        What is said of it: model, scale, size of the frames that came in, frames, seconds, notes.

    Raises:
        UnshrinkError: as `video.downscale` and `video.upscale`.
    """
    told = 0.0

    def show(done: int, total: int) -> None:
        nonlocal told
        if time.monotonic() - told > _TOLD_EVERY:
            told = time.monotonic()
            tell(done / total)

    asked = options.asked(overwrite=True, max_pixels=bound.pixels, threads=threads)
    change = video.upscale if options.enlarges else video.downscale
    with _in_http({source: CLIP, target: MADE}, bound) as notes:
        done = change(os.fspath(source), os.fspath(target), asked, show)
        if done.lost:
            warnings.warn(done.lost, UnshrinkWarning, stacklevel=1)
    facts = {name: done.facts[name] for name in ("model", "scale", "frames", "seconds")}
    return {**facts, "size": done.facts["from_size"], "notes": notes}


@contextmanager
def _little_memory() -> Iterator[None]:
    """Bounds what this process takes meanwhile, where it can (Linux): a few bytes of MP4 can say millions of frames.

    Raises:
        VideoError: it was too much.
    """
    if sys.platform != "linux":
        yield
        return
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    taken = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    limits = [limit for limit in (soft, taken + WEIGHING_BYTES) if limit != resource.RLIM_INFINITY]
    resource.setrlimit(resource.RLIMIT_AS, (min(limits), hard))
    try:
        yield
    except MemoryError as error:
        raise VideoError("cannot read the clip: it takes more memory than clips do; get the file again") from error
    finally:
        resource.setrlimit(resource.RLIMIT_AS, (soft, hard))


@contextmanager
def _in_http(names: Mapping[Path, str], bound: Bound) -> Iterator[list[str]]:
    """A list that is filled in the end with what was warned of meanwhile.

    That, and what the library refuses, is said as HTTP has it, and without the names that files have here.
    """

    def said(sentence: str) -> str:
        for path, name in names.items():
            sentence = sentence.replace(os.fspath(path), name)
        return in_http(sentence, PARAMETERS, bound.advice)

    notes: list[str] = []
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", UnshrinkWarning)
        try:
            yield notes
        except UnshrinkError as error:
            raise type(error)(said(str(error))) from error
    notes += [said(str(warning.message)) for warning in caught if issubclass(warning.category, UnshrinkWarning)]
