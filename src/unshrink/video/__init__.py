"""Clips: frames in, frames out.

    from unshrink import video

    video.downscale("clip.mp4", "small.mkv")
    video.upscale("small.mkv", "back.mp4")

Frames pass by, however long a clip is: while one is decoded, another goes through the network and a third is encoded.
Everything else of a clip is carried: timestamps, audio, subtitles, chapters, attachments, rotation, colour.

Names are imported when they are first used: what reads and writes clips (PyAV) is an optional part.
"""

from importlib import import_module
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from unshrink.errors import not_installed

if TYPE_CHECKING:
    from unshrink.video.holds import describe
    from unshrink.video.options import VideoOptions
    from unshrink.video.rescale import Done, downscale, upscale
    from unshrink.video.roundtrip import Comparison, compare

_HOME_OF = {
    "Comparison": "roundtrip",
    "Done": "rescale",
    "VideoOptions": "options",
    "compare": "roundtrip",
    "describe": "holds",
    "downscale": "rescale",
    "upscale": "rescale",
}

__all__ = ["Comparison", "Done", "VideoOptions", "compare", "describe", "downscale", "upscale"]


def __getattr__(name: str) -> Any:
    if name not in _HOME_OF:
        raise AttributeError(f"module 'unshrink.video' has no attribute {name!r}")
    if find_spec("av") is None:
        raise not_installed("clips need PyAV, which is not installed", "video")
    return getattr(import_module(f"unshrink.video.{_HOME_OF[name]}"), name)


def __dir__() -> list[str]:
    return __all__
