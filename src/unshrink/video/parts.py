"""A clip made in parts, which are kept when the work is interrupted: the same call goes on after the last of them.

The parts lie in a folder beside the file that is made, and each is a clip that plays.  In the end their frames are
joined as they are encoded, with the sound and all else of the source; then the folder goes.
"""

import dataclasses
import heapq
import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from unshrink.errors import VideoError
from unshrink.files import atomic_write, sweep
from unshrink.video.containers import folder_of
from unshrink.video.items import Coded, Passed
from unshrink.video.making import Making, NoFrameError, Progress, warn_of
from unshrink.video.sink import Sink
from unshrink.video.source import Clip

LENGTH = 100
"""Frames of a part."""


def write_in_parts(
    making: Making, target: str, asked: dict[str, Any], overwrite: bool = False, progress: Progress | None = None
) -> int:
    """Makes a file like `Making.write`, in parts; those that an earlier call has made are not made again.

    Args:
        making: what is to be made.
        target: the file.
        asked: all that it depends on, as JSON holds it: parts of another work are refused.
        overwrite: replace an existing file.
        progress: what to call after each frame.

    Returns:
        The frames that the file has.

    Raises:
        VideoError: as `Making.write`, or there are parts of another work.
    """
    folder = folder_of(target)
    sweep(os.path.dirname(os.path.realpath(target)))
    with atomic_write(target, overwrite, error=VideoError, origin=making.clip.name) as stream:
        _open(folder, {**asked, "bytes": making.clip.bytes, "changed": os.stat(making.clip.name).st_mtime_ns})
        parts = _parts(making, folder, Path(target).suffix.lower(), progress)
        if not parts:
            raise NoFrameError(f"cannot read {making.clip.name}: no frame of it can be decoded; get the file again")
        first = Clip(str(parts[0]))
        making.size = first.looks.size
        sink = Sink(stream, making.plan(target, making.colour), making.clip, first)
        frames = 0
        coded = (item for part in parts for item in Clip(str(part)).coded())
        streams: list[Iterator[Coded | Passed]] = [coded, making.clip.passed()]
        for item in heapq.merge(*streams, key=lambda item: item.time):
            sink.take(item)
            frames += isinstance(item, Coded)
        sink.close()
        making.bytes = stream.seek(0, os.SEEK_END)
    shutil.rmtree(folder)
    making.clip.losses.frames = frames
    warn_of(sink.left_out, target)
    return frames


def first_part(target: str) -> Clip | None:
    """The first part that an earlier call has made; None where there is none."""
    made = sorted(path for path in folder_of(target).glob("[0-9]*") if path.is_file())
    return Clip(str(made[0])) if made else None


def _open(folder: Path, asked: dict[str, Any]) -> None:
    """Makes the folder, or sees that what is in it is of the same work."""
    note, said = folder / "work.json", json.dumps(asked, sort_keys=True)
    if note.exists() and note.read_text(encoding="utf-8") != said:
        raise VideoError(f"{folder} holds parts of another work: remove it, or ask for what was asked for then")
    try:
        folder.mkdir(exist_ok=True)
        sweep(folder)
        if not note.exists():
            with atomic_write(note, error=VideoError) as stream:
                stream.write(said.encode())
    except OSError as error:
        raise VideoError(f"cannot write {folder}: {error.strerror}") from error


def _parts(making: Making, folder: Path, extension: str, progress: Progress | None) -> list[Path]:
    """The files of all parts, in their order; a part of which no frame can be read has none."""
    clip, found = making.clip, []
    begin = clip.asked[0] or 0
    for first in range(begin, begin + clip.count, LENGTH):
        end = min(first + LENGTH, begin + clip.count)
        path = folder / f"{first:09d}{extension}"
        if path.exists() or _make(making, path, first, end, progress):
            found.append(path)
    return found


def _make(making: Making, path: Path, first: int, end: int, progress: Progress | None) -> bool:
    clip, begin = making.clip, making.clip.asked[0] or 0
    shift = lambda done, total: progress and progress(first - begin + done, clip.count)
    part = dataclasses.replace(
        making, clip=clip.part(first, end), start=clip.start, in_order=True, seconds=0.0, left_out=[]
    )
    try:
        part.make(str(path), progress=shift)
    except NoFrameError:
        return False
    finally:
        making.seconds += part.seconds
        clip.losses.damaged += part.clip.losses.damaged
        clip.losses.reasons += [reason for reason in part.clip.losses.reasons if reason not in clip.losses.reasons]
    return True
