"""One clip that becomes another: one thread reads, one changes frames, one writes."""

import os
import time
import warnings
from collections.abc import Callable, Mapping
from contextlib import closing
from dataclasses import dataclass, field
from fractions import Fraction
from typing import BinaryIO

from unshrink.errors import UnshrinkWarning, VideoError
from unshrink.files import atomic_write, sweep
from unshrink.pictures.sizes import Size
from unshrink.video.ahead import ahead
from unshrink.video.colour import Colour, Pixels, encoded
from unshrink.video.containers import Codec, container_of, evened
from unshrink.video.items import Frame, Passed
from unshrink.video.sink import Plan, Sink
from unshrink.video.source import Clip

Progress = Callable[[int, int], object]
"""What is called with the frames that are done, and how many there are."""

_WAITING = 4  # frames and packets between two threads


class NoFrameError(VideoError):
    """No frame of what is meant of a clip can be decoded."""


def warn_of(left_out: list[str], target: str) -> None:
    """Says what a container has no place for."""
    if left_out:
        said = ", ".join(dict.fromkeys(left_out))
        warnings.warn(f"not carried to {target}: {said}", UnshrinkWarning, stacklevel=3)


@dataclass
class Making:
    """One clip that becomes another.

    Attributes:
        clip: what is read.
        change: what makes the pixels of one frame of those of another.
        codec: how frames are encoded.
        quality: of H.264, 1 to 100.
        colour: what values mean where they are luma and chroma.
        tags: as in `Plan`.
        size: of the new frames in the file; (0, 0) before there is one.
        bytes: of the new file.
        seconds: that the change has taken in all.
        start: seconds of the clip at which the new one begins; None for where what is meant of it begins.
        in_order: as in `Plan`.
        left_out: what of the clip the new container has no place for, in words.
    """

    clip: Clip
    change: Callable[[Pixels], Pixels]
    codec: Codec
    quality: int
    colour: Colour
    tags: Callable[[Mapping[int, int]], Mapping[str, str]] | None = None
    size: Size = (0, 0)
    bytes: int = 0
    seconds: float = 0.0
    start: Fraction | None = None
    in_order: bool = False
    left_out: list[str] = field(default_factory=list)

    def write(self, target: str, overwrite: bool = False, progress: Progress | None = None) -> int:
        """Makes the file, which appears whole or not at all.

        Returns:
            The frames that were made.

        Warns:
            UnshrinkWarning: of what of the clip the new container has no place for.

        Raises:
            VideoError: the clip cannot be read or used, or the file cannot be written.
        """
        frames = self.make(target, overwrite, progress)
        warn_of(self.left_out, target)
        return frames

    def make(self, target: str, overwrite: bool = False, progress: Progress | None = None) -> int:
        """Makes the file like `write`, and leaves it to others to say what is `left_out`."""
        sweep(os.path.dirname(os.path.realpath(target)))
        with atomic_write(target, overwrite, error=VideoError, origin=self.clip.name) as stream:
            frames = self._run(stream, target, progress)
            self.bytes = stream.seek(0, os.SEEK_END)
        return frames

    def lost(self) -> str:
        """What of the clip could not be read, in one sentence; "" where all could."""
        losses, total = self.clip.losses, self.clip.count
        missing = total - losses.frames
        said = [f"{missing} of {total} frames are lost"] if missing > 0 else []
        said += [f"{losses.damaged} of {total} frames are damaged"] if losses.damaged else []
        said += [self.clip.cut_off] if self.clip.cut_off else []
        said += [f"the reader met: {'; '.join(losses.reasons[:3])}"] if losses.reasons else []
        return f"{self.clip.name} is damaged: {', '.join(said)}" if said else ""

    def _run(self, stream: BinaryIO, target: str, progress: Progress | None) -> int:
        done, total, sink = 0, self.clip.count, None
        waiting: list[Frame | Passed] = []  # until the first frame, which knows the size
        with (
            closing(ahead(self.clip.items(), _WAITING)) as items,
            closing(ahead(map(self._changed, items), _WAITING)) as changed,
        ):
            for item in changed:
                waiting.append(item)
                if sink is None and isinstance(item, Frame):
                    sink = self.sink(stream, target, item.pixels)
                if sink is None:
                    continue
                for each in waiting:
                    sink.take(each)
                waiting.clear()
                if isinstance(item, Frame):
                    done += 1
                    if progress:
                        progress(done, max(done, total))
        if sink is None:
            raise NoFrameError(f"cannot read {self.clip.name}: no frame of it can be decoded; get the file again")
        sink.close()
        self.left_out += sink.left_out + (["transparency"] if self.clip.looks.alpha else [])
        return done

    def _changed(self, item: Frame | Passed) -> Frame | Passed:
        if isinstance(item, Passed):
            return item
        began = time.perf_counter()
        changed = Frame(self.change(item.pixels), item.stamp)
        self.seconds += time.perf_counter() - began
        return changed

    def sink(self, stream: BinaryIO, target: str, first: Pixels) -> Sink:
        """What writes the new clip, of which the first frame is known."""
        size = first.shape[1], first.shape[0]
        self.size = size if self.codec.is_rgb else evened(size)
        return Sink(stream, self.plan(target, encoded(self.colour, self.codec, size)), self.clip)

    def plan(self, target: str, colour: Colour) -> Plan:
        """How the new clip is written, once its size is known."""
        clip = self.clip
        how = container_of(target), self.codec, self.quality, self.size, colour, clip.base, clip.looks.matrix, self.tags
        return Plan(*how, clip.start if self.start is None else self.start, self.in_order)
