"""What a clip holds, for people who ask."""

import dataclasses
from contextlib import closing
from typing import Any

from unshrink.video.source import Clip, is_cover


def describe(name: str) -> dict[str, Any]:
    """What a clip holds, as ``--json`` has it: its packets are looked at, and its first frame is decoded.

    Raises:
        VideoError: it cannot be read or used.
    """
    clip = Clip(name)
    with closing(clip.inspect().container) as container:
        codec = container.streams[clip.place].codec_context.name
        others = [f"{_kind(stream)} ({_codec(stream)})" for stream in container.streams if stream.index != clip.place]
        form = container.format.name
    clock = clip.clocks.get(clip.place)
    seconds = float((clock.stamps[-1] - clock.stamps[0]) * clock.base) if clock else 0.0
    return {
        "input": name,
        "format": form,
        "bytes": clip.bytes,
        "size": clip.looks.size,
        "codec": codec,
        "frames": len(clock.stamps) if clock else 0,
        "seconds": round(seconds + float(1 / clip.rate), 3),
        "rate": round(float(clip.rate), 3),
        "colour": dataclasses.asdict(clip.looks.colour),
        "others": others,
        "chapters": len(clip.chapters),
        "record": dataclasses.asdict(clip.record) if clip.record else None,
        "exact": clip.origin.exact if clip.record else None,
        "fault": clip.fault,
        "cut_off": clip.cut_off,
    }


def _kind(stream: Any) -> str:
    return "cover" if is_cover(stream) else str(stream.type)


def _codec(stream: Any) -> str:
    return stream.codec_context.name if stream.codec_context else stream.metadata.get("filename", "unknown")
