"""The containers that are written, and how frames are encoded in them.

The argument parser imports this module, so it needs no PyAV.
"""

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePath

from unshrink.errors import VideoError
from unshrink.pictures import formats
from unshrink.pictures.sizes import Size


@dataclass(frozen=True)
class Codec:
    """A way to encode frames.

    Attributes:
        encoder: what FFmpeg calls it.
        pixels: the layout of its pixels, as FFmpeg calls it.
        exact: whether it keeps every value.
        extensions: of the containers that hold it.
        options: of the encoder.
    """

    encoder: str
    pixels: str
    exact: bool
    extensions: tuple[str, ...]
    options: Mapping[str, str] = field(default_factory=dict)

    @property
    def is_rgb(self) -> bool:
        """Whether it holds red, green and blue; if not, luma and halved chroma."""
        return self.pixels != "yuv420p"


@dataclass(frozen=True)
class Container:
    """A kind of file for clips.

    Attributes:
        muxer: what FFmpeg calls it.
        codec: how frames are encoded in it unless something else is asked for, a name of `CODECS`.
        text: the codec of its subtitles.
        options: of the muxer.
        free_tags: of the muxer, what makes room for tags of any name; and none for covers.
    """

    muxer: str
    codec: str
    text: str
    options: Mapping[str, str]
    free_tags: Mapping[str, str] = field(default_factory=dict)


_TIMED = {"movie_timescale": "90000"}  # else a start is rounded to milliseconds
_FREE = {"movflags": "use_metadata_tags"}

CONTAINERS = {
    ".mkv": Container("matroska", "ffv1", "subrip", {"avoid_negative_ts": "disabled"}),
    ".mp4": Container("mp4", "h264", "mov_text", _TIMED, _FREE),
    ".m4v": Container("mp4", "h264", "mov_text", _TIMED, _FREE),
    ".mov": Container("mov", "h264", "mov_text", _TIMED, _FREE),
}
"""What is written, by the extension."""

CODECS = {
    "ffv1": Codec("ffv1", "bgr0", True, (".mkv",), {"level": "3", "slicecrc": "1", "slices": "4", "g": "1"}),
    "h264-rgb": Codec("libx264rgb", "rgb24", True, tuple(CONTAINERS), {"qp": "0"}),
    "h264": Codec("libx264", "yuv420p", False, tuple(CONTAINERS)),
}
"""How frames are encoded: the first two keep every value, the last plays everywhere."""


def is_clip(name: str) -> bool:
    """Whether a file is a clip: by what is in it, or by its name where that is no picture; a pipe is none."""
    named = _extension(name) in formats.CLIPS
    if not os.path.isfile(name):  # what is read from a pipe is gone
        return named
    try:
        with open(name, "rb") as stream:
            start = stream.read(formats.SIGNATURE_BYTES)
    except OSError:
        return named
    return formats.is_clip(start) or (named and not formats.is_picture(start))


def container_of(target: str | os.PathLike[str]) -> Container:
    """The container that an extension asks for.

    Raises:
        VideoError: none that is written.
    """
    extension = _extension(target)
    if extension not in CONTAINERS:
        met = f"the extension {extension}" if extension else "a name without an extension"
        raise VideoError(f"cannot write clips under {met}; allowed are {', '.join(CONTAINERS)}")
    return CONTAINERS[extension]


def codec_of(target: str | os.PathLike[str], asked: str | None) -> Codec:
    """How frames are encoded in a file.

    Args:
        target: its name.
        asked: a name of `CODECS`; None for what is usual there.

    Raises:
        VideoError: there is none of that name, or the container does not hold it.
    """
    name = asked or container_of(target).codec
    if name not in CODECS:
        raise VideoError(f"codec is {name!r:.40}: allowed are {', '.join(CODECS)}")
    if _extension(target) not in CODECS[name].extensions:
        raise VideoError(f"{name} goes into {', '.join(CODECS[name].extensions)}, not into {target}")
    return CODECS[name]


def folder_of(target: str) -> Path:
    """Where the parts of a clip lie while it is made in parts."""
    return Path(f"{target}.parts")


def crf(quality: int) -> float:
    """The rate factor of H.264 for a quality from 1 to 100: 38 - quality / 4, so 80 is CRF 18 and 60 is CRF 23."""
    return 38 - quality / 4


def evened(size: Size) -> Size:
    """The size of a frame with halved chroma: sides that are odd are one longer."""
    return size[0] + size[0] % 2, size[1] + size[1] % 2


def _extension(name: str | os.PathLike[str]) -> str:
    return PurePath(name).suffix.lower()
