"""A clip that is read: its frames as RGB, in the order of time, and everything else as it is."""

import copy
import os
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property
from typing import Any

import av
import numpy as np
from av.stream import Disposition

from unshrink.errors import VideoError
from unshrink.pictures.io import MAX_PIXELS
from unshrink.video.clock import Clock
from unshrink.video.colour import colour_of, to_rgb
from unshrink.video.ffv1 import is_intact
from unshrink.video.items import Coded, Frame, Looks, Losses, Passed
from unshrink.video.tags import read

# Files alone are read, and of these no playlists: they would name other files
_OPTIONS = {
    "protocol_whitelist": "file",
    "format_whitelist": "matroska,webm,mov,mp4,m4a,3gp,3g2,mj2,avi,mpegts,mpeg,mpegvideo,flv,asf,ogg,h264,hevc",
}
_PROGRESSIVE = (0, 1)  # FFmpeg's numbers of field orders: unknown, progressive
_MOST_LEFT = 1.0  # seconds from the last packet to the end
_PASSED = ("audio", "subtitle")


class Clip:
    """A clip in a file.

    Args:
        name: of the file.
        max_pixels: of the largest frame; None for what pictures may have.
        frames: the (first, last + 1) that are meant, None for the ends.

    Raises:
        VideoError: there is no such file, or no video in it that can be read; or it is interlaced or too large.
    """

    def __init__(
        self, name: str, max_pixels: int | None = None, frames: tuple[int | None, int | None] = (None, None)
    ) -> None:
        self.name, self.asked, self.losses, self._alone = name, frames, Losses(), False
        self.bytes = _size_of(name)
        with self._opened() as container:
            self.place = _main(container, name)
            stream = container.streams[self.place]
            self._base = Fraction(stream.time_base or Fraction(1, 1000))
            self.rate = Fraction(stream.average_rate or stream.guessed_rate or 25)
            self.chapters, self.tags = container.chapters(), dict(container.metadata)
            self._said_frames = int(stream.frames)  # 0 where the container does not say
            self._said_end = ((container.start_time or 0) + (container.duration or 0)) / 1e6
            _refuse(name, stream, max_pixels or MAX_PIXELS)
            aspect = stream.sample_aspect_ratio
        self.record, self.origin, self.fault = read(self.tags)
        self.aspect = Fraction(aspect) if aspect else self.origin.aspect

    def items(self) -> Generator[Frame | Passed]:
        """The frames and packets that are meant, as they come; what cannot be read is noted in `losses`."""
        with self._opened() as container:
            streams = [stream for stream in container.streams if self._is_passed(stream)]
            video = container.streams[self.place]
            video.codec_context.thread_type = "AUTO"
            is_ours = self.record is not None and video.codec_context.name == "ffv1"
            if self._first:
                container.seek(self._first, stream=video)
            for packet in self._packets(container, [video, *streams]):
                if packet.stream.index != self.place:
                    if packet.size and self._is_meant(packet.pts, packet.time_base):
                        yield Passed(packet.stream.index, self._timed(packet))
                else:
                    self.losses.damaged += is_ours and not is_intact(bytes(packet))
                    yield from self._decoded(packet)

    def part(self, first: int, end: int) -> "Clip":
        """Frames of the same clip, counted from the first of the file, without sound or anything else."""
        other = copy.copy(self)
        for name in ("_first", "_end"):
            other.__dict__.pop(name, None)
        other.asked, other.losses, other._alone = (first, end), Losses(), True
        return other

    def passed(self) -> Iterator[Passed]:
        """The packets of other streams that are meant."""
        with self._opened() as container:
            streams = [stream for stream in container.streams if self._is_passed(stream)]
            for packet in self._packets(container, streams) if streams else ():
                if packet.size and self._is_meant(packet.pts, packet.time_base):
                    yield Passed(packet.stream.index, self._timed(packet))

    def coded(self) -> Iterator[Coded]:
        """The frames as they are encoded; none may need one that is shown later."""
        with self._opened() as container:
            for packet in self._packets(container, [container.streams[self.place]]):
                if packet.size:
                    packet.dts = packet.pts
                    yield Coded(packet)

    @cached_property
    def looks(self) -> Looks:
        """What the first frame says of all.

        Raises:
            VideoError: no frame can be read, or it is of a kind that is refused.
        """
        with self._opened() as container:
            stream = container.streams[self.place]
            for packet in self._packets(container, [stream]):
                for frame in self._frames_of(packet):
                    with _named(self.name):
                        return _looks(frame)
        raise VideoError(f"cannot read {self.name}: no frame of it can be decoded; get the file again")

    @cached_property
    def clocks(self) -> dict[int, Clock]:
        """The timestamps of the streams that are carried, by their places: all packets are looked at, none decoded."""
        stamps: dict[int, list[int]] = {}
        bases: dict[int, Fraction] = {}
        with self._opened() as container:
            streams = [container.streams[self.place], *filter(self._is_passed, container.streams)]
            for packet in self._packets(container, streams):
                stamp = packet.pts if packet.pts is not None else packet.dts
                unseen = packet.is_discard and packet.stream.index == self.place  # a frame before the clip begins
                if packet.size and stamp is not None and not unseen:
                    stamps.setdefault(packet.stream.index, []).append(stamp)
                    bases[packet.stream.index] = Fraction(packet.time_base)
        return {place: Clock(bases[place], np.sort(np.asarray(found, np.int64))) for place, found in stamps.items()}

    @property
    def count(self) -> int:
        """How many frames are meant, as far as can be told before they are decoded."""
        first, end = self.asked
        return max(0, min(self._frames if end is None else end, self._frames) - (first or 0))

    @property
    def base(self) -> Fraction:
        """Seconds of one unit in which frames are stamped."""
        told = self.origin.clocks.get(self.place)
        return told.base if told else self._base

    @property
    def start(self) -> Fraction:
        """Seconds at which what is meant begins: 0 unless a part of it is."""
        return self._true(self._first) * self.base if self._first is not None else Fraction(0)

    @property
    def end(self) -> Fraction | None:
        """Seconds at which it ends; None for with the file."""
        return self._end * self._base if self._end is not None else None

    def meant_clocks(self) -> dict[int, Clock]:
        """The timestamps of what is meant, counted from where it begins."""
        found = {}
        for place, clock in self.clocks.items():
            meant = [s - round(self.start / clock.base) for s in clock.stamps.tolist() if self._is_meant(s, clock.base)]
            if meant:
                found[place] = Clock(clock.base, np.asarray(meant, np.int64))
        return found

    def inspect(self) -> "Inspection":
        """The clip, open, for whoever copies its streams; close it."""
        return Inspection(self._opened(), self.place, self._alone)

    @property
    def cut_off(self) -> str:
        """Where the file ends before the time that it says, in words; "" where it does not."""
        said = f"it ends at {self._real_end:.2f} s of {self._said_end:.2f} s"
        return said if self._ends_early and self.asked[1] is None else ""

    @property
    def _real_end(self) -> float:
        return max((float(clock.stamps[-1] * clock.base) for clock in self.clocks.values()), default=0.0)

    @property
    def _ends_early(self) -> bool:
        return self._said_end - self._real_end > _MOST_LEFT

    @cached_property
    def _frames(self) -> int:
        """In all; as many as there were when the clip was made, or before it was cut off, where it says so."""
        found = [clocks[self.place] for clocks in (self.origin.clocks, self.clocks) if self.place in clocks]
        return max([len(clock.stamps) for clock in found] + [self._said_frames if self._ends_early else 0])

    @cached_property
    def _first(self) -> int | None:
        first = self.asked[0]
        if not first:
            return None
        if first >= self._frames:
            raise VideoError(f"`frames` begins at {first}, and {self.name} has {self._frames} frames")
        return self._stamp_of(first)

    @cached_property
    def _end(self) -> int | None:
        end = self.asked[1]
        return None if end is None or end >= self._frames else self._stamp_of(end)

    def _stamp_of(self, frame: int) -> int:
        """When a frame is shown; after all others, where it is one of those that are lost."""
        stamps = self.clocks[self.place].stamps
        return int(stamps[frame] if frame < len(stamps) else stamps[-1] + 1)

    def _is_meant(self, stamp: int | None, base: Fraction) -> bool:
        if self.asked == (None, None) or stamp is None:
            return True
        time = stamp * base
        return (self._first is None or time >= self._first * self._base) and (self.end is None or time < self.end)

    def _is_passed(self, stream: Any) -> bool:
        return stream.type in _PASSED and stream.index != self.place and not self._alone

    def _opened(self) -> Any:
        try:
            return av.open(f"file:{self.name}", options=_OPTIONS, metadata_errors="replace")
        except (av.error.FFmpegError, OSError) as error:
            raise VideoError(f"cannot read {self.name}: {_reason(error)}") from error

    def _packets(self, container: Any, streams: list[Any]) -> Iterator[Any]:
        """Packets up to the end, or to where the file is damaged."""
        try:
            yield from container.demux(streams)
        except av.error.FFmpegError as error:
            self.losses.note(error)

    def _frames_of(self, packet: Any) -> list[Any]:
        try:
            return list(packet.decode())
        except av.error.EOFError:
            return []
        except av.error.FFmpegError as error:
            self.losses.note(error)
            return []

    def _decoded(self, packet: Any) -> Iterator[Frame]:
        looks = self.looks
        for frame in self._frames_of(packet):
            stamp = self._stamp(frame)
            if not self._is_meant(stamp, self._base):
                continue
            if frame.interlaced_frame or (frame.width, frame.height) != looks.size:
                kind = "is interlaced" if frame.interlaced_frame else f"becomes {frame.width}x{frame.height} pixels"
                raise VideoError(f"cannot use {self.name}: it {kind} at {float(stamp * self._base):.2f} s; convert it")
            self.losses.frames += 1
            self.losses.damaged += bool(frame.is_corrupt)
            yield Frame(to_rgb(frame, looks.colour), self._true(stamp))

    def _stamp(self, frame: Any) -> int:
        """When a frame is shown; where the file does not say, after as many frames as came before."""
        if frame.pts is not None:
            return round(frame.pts * Fraction(frame.time_base) / self._base)
        return round(self.losses.frames / self.rate / self._base)

    def _true(self, stamp: int) -> int:
        """What the stamp of a frame was in the large clip, in units of `base`; itself, where that is not told."""
        told = self.origin.clocks.get(self.place)
        exact = told.exact(stamp, self._base) if told else None
        return exact if exact is not None else round(stamp * self._base / self.base)

    def _timed(self, packet: Any) -> Any:
        """A packet with the timestamp that it had in the large clip."""
        told = self.origin.clocks.get(packet.stream.index)
        exact = told.exact(packet.pts, packet.time_base) if told and packet.pts is not None else None
        if told and exact is not None:
            packet.duration = round((packet.duration or 0) * packet.time_base / told.base)
            packet.time_base = told.base
            packet.pts = packet.dts = exact
        return packet


@dataclass(frozen=True)
class Inspection:
    """An open clip.

    Attributes:
        container: PyAV's.
        place: of the video.
        alone: whether it is meant without anything else.
    """

    container: Any
    place: int
    alone: bool = False

    def passed(self) -> list[Any]:
        """The streams whose packets go along."""
        return [stream for stream in self._others if stream.type in _PASSED]

    def video(self) -> Any:
        """The stream of the video."""
        return self.container.streams[self.place]

    def attached(self) -> list[tuple[str, str, bytes]]:
        """Name, media type and content of attachments."""
        return [
            (stream.metadata.get("filename", stream.name or "attachment"), stream.mimetype or "", stream.data)
            for stream in self._others
            if stream.type == "attachment"
        ]

    def covers(self) -> list[tuple[Any, Any]]:
        """The streams of pictures that stand for the clip, each with its one packet; that can be asked for once."""
        streams = [stream for stream in self._others if is_cover(stream)]
        packets = self.container.demux(streams) if streams else ()  # these come before all others
        return [(packet.stream, packet) for packet, _ in zip(packets, streams, strict=False) if packet.size]

    def left_out(self) -> list[str]:
        """What never goes along, in words: further videos, and data but the text of chapters."""
        kinds = ["a further video stream" for stream in self._others if stream.type == "video" and not is_cover(stream)]
        data = [
            stream
            for stream in self._others
            if stream.type == "data" and not (self.container.chapters() and _is_text(stream))
        ]
        return kinds + ["a stream of data"] * len(data)

    @property
    def _others(self) -> list[Any]:
        return [] if self.alone else [stream for stream in self.container.streams if stream.index != self.place]


def is_cover(stream: Any) -> bool:
    """Whether it is a picture that stands for the clip."""
    return bool(stream.disposition & Disposition.attached_pic)


@contextmanager
def _named(name: str) -> Iterator[None]:
    """Names the clip in what is said of one of its frames."""
    try:
        yield
    except VideoError as error:
        raise VideoError(f"cannot use {name}: {error}") from error


def _is_text(stream: Any) -> bool:
    return stream.codec_context is None and stream.metadata.get("handler_name") == "SubtitleHandler"


def _size_of(name: str) -> int:
    try:
        size = os.stat(name).st_size
    except OSError as error:
        raise VideoError(f"cannot read {name}: {error.strerror}; check the name and the permissions") from error
    if not os.path.isfile(name):
        raise VideoError(f"cannot read {name}: that is a folder or a device; give a video file")
    if not size:
        raise VideoError(f"cannot read {name}: the file is empty; get it again")
    return size


def _main(container: Any, name: str) -> int:
    """The place of the video: the first that is no cover."""
    for stream in container.streams:
        if stream.type == "video" and not is_cover(stream):
            return int(stream.index)
    raise VideoError(f"cannot use {name}: there is no video in it")


def _refuse(name: str, stream: Any, max_pixels: int) -> None:
    context = stream.codec_context
    if context is None or not context.codec.is_decoder:
        raise VideoError(f"cannot read {name}: its codec is not known to this build of PyAV; convert it to H.264 first")
    if context.field_order not in _PROGRESSIVE:
        raise VideoError(f"cannot use {name}: it is interlaced; deinterlace it first")
    if context.width * context.height > max_pixels:
        raise VideoError(
            f"cannot use {name}: {context.width} x {context.height} pixels are more than the limit of {max_pixels:,}; "
            "raise it with `max_pixels` if the file can be trusted"
        )


def _looks(frame: Any) -> Looks:
    data = frame.side_data.get("DISPLAYMATRIX")
    matrix = tuple(int(number) for number in np.frombuffer(bytes(data), np.int32)) if data is not None else None
    return Looks((frame.width, frame.height), colour_of(frame), matrix, len(frame.format.components) in (2, 4))


def _reason(error: Exception) -> str:
    if isinstance(error, FileNotFoundError | PermissionError):
        return f"{error.strerror}; check the name and the permissions"
    return "it is no video that can be read, or damaged from its beginning; get the file again"
