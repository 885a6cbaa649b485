"""A clip that is written: frames are encoded, and what else the source has is copied."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, BinaryIO

import av

from unshrink.errors import VideoError
from unshrink.pictures.sizes import Size
from unshrink.video.colour import Colour, to_frame
from unshrink.video.containers import Codec, Container, crf
from unshrink.video.items import Coded, Frame, Passed
from unshrink.video.source import Clip, Inspection
from unshrink.video.tags import others

_TEXTS = ("srt", "subrip", "mov_text", "ass", "ssa", "webvtt", "text")  # subtitles that become one another
_COVERS = {"mjpeg": ("cover.jpg", "image/jpeg"), "png": ("cover.png", "image/png")}  # by the codec
_MP4_TAGS = (  # those that FFmpeg writes to MP4 where there is room for covers
    *("title", "artist", "album_artist", "composer", "album", "date", "comment", "genre", "copyright", "grouping"),
    *("lyrics", "description", "synopsis", "show", "episode_id", "network", "keywords", "track", "disc"),
    *("creation_time", "season_number", "episode_sort", "media_type", "hd_video", "compilation", "gapless_playback"),
)
_NO_TIME = -(1 << 62)
_KEPT = ("language", "title")  # tags of a stream


@dataclass(frozen=True)
class Plan:
    """How a clip is written.

    Attributes:
        container: the kind of file.
        codec: how frames are encoded.
        quality: of H.264, 1 to 100.
        size: of the frames.
        colour: what their values mean.
        base: seconds of one unit of the timestamps.
        matrix: how players turn it.
        tags: beside those of the source; made from the places of streams, those in the source to those in this clip;
            None for none.
        start: seconds of the source at which this clip begins.
        in_order: whether each frame is encoded after those that are shown before it.
    """

    container: Container
    codec: Codec
    quality: int
    size: Size
    colour: Colour
    base: Fraction
    matrix: tuple[int, ...] | None
    tags: Callable[[Mapping[int, int]], Mapping[str, str]] | None
    start: Fraction = Fraction(0)
    in_order: bool = False


class Sink:
    """Takes frames and packets in the order in which they come, and writes them.

    Args:
        stream: what to write to: empty, and one can seek in it.
        plan: how.
        clip: what it is made from.
        encoded: a part of it whose frames are encoded already, as all are that are to be taken; None where none are.

    Attributes:
        left_out: what of the source the container has no place for, in words.
    """

    def __init__(self, stream: BinaryIO, plan: Plan, clip: Clip, encoded: Clip | None = None) -> None:
        self._plan, self._clip = plan, clip
        self._source = clip.inspect()
        covers, muxer = self._source.covers(), plan.container.muxer
        holds_covers = muxer == "mp4" and bool(covers) and plan.tags is None
        options = {**plan.container.options, **({} if holds_covers else plan.container.free_tags)}
        self._out = av.open(_Target(stream), "w", format=muxer, container_options=options)
        self._encodes, self._last = encoded is None, _NO_TIME
        self._video = self._copied_video(encoded) if encoded else self._video_stream()
        self._copied: dict[int, Any] = {}  # by the places of the source
        self._texts: dict[int, tuple[Any, Any]] = {}
        self.left_out = self._source.left_out()
        for source in self._source.passed():
            self._add(source)
        pictures = [packet for cover in covers for packet in self._add_cover(*cover, holds_covers)]
        self._attach(self._source)
        if plan.codec.encoder == "ffv1" and clip.aspect not in (None, 1):  # PyAV has no way to say it to Matroska
            self.left_out.append(f"that pixels are not square ({clip.aspect.numerator}:{clip.aspect.denominator})")
        places = {place: stream.index for place, stream in [(clip.place, self._video), *self._copied.items()]}
        tags = others(clip.tags)
        self._out.metadata.update({**tags, **(plan.tags(places) if plan.tags else {})})
        if holds_covers:
            self.left_out += [f"the tag {key:.40}" for key in tags if key.lower() not in _MP4_TAGS]
        self._out.set_chapters(_within(clip.chapters, plan.start, clip.end))
        with _refusing():
            self._out.start_encoding()
            self._out.mux(pictures)

    def take(self, item: Frame | Coded | Passed) -> None:
        """Writes a frame, or a packet of a stream that goes along."""
        with _refusing():
            if isinstance(item, Frame):
                frame = to_frame(item.pixels, self._plan.codec, self._plan.colour)
                self._last = max(self._moved(item.stamp, self._plan.base), self._last + 1)  # no two at one time
                frame.time_base, frame.pts = self._plan.base, self._last
                self._out.mux(self._video.encode(frame))
            elif isinstance(item, Coded):
                item.packet.stream = self._video
                self._out.mux(item.packet)
            elif item.place in self._texts:
                self._retold(item)
            elif item.place in self._copied:
                self._out.mux(self._copy(item))

    def close(self) -> None:
        """Writes what is still on its way, and the end of the file."""
        with _refusing():
            if self._encodes:
                self._out.mux(self._video.encode(None))
            self._out.close()
        self._source.container.close()

    def _video_stream(self) -> Any:
        plan = self._plan
        options = dict(plan.codec.options)
        if not plan.codec.exact:
            options["crf"] = f"{crf(plan.quality):g}"
        if plan.in_order and plan.codec.encoder != "ffv1":
            options["bf"] = "0"
        stream: Any = self._out.add_stream(plan.codec.encoder, rate=self._clip.rate, options=options)
        stream.width, stream.height = plan.size
        stream.pix_fmt, stream.time_base = plan.codec.pixels, plan.base
        context = stream.codec_context
        context.time_base = plan.base
        if self._clip.aspect:
            context.sample_aspect_ratio = self._clip.aspect
        context.color_primaries, context.color_trc = plan.colour.primaries, plan.colour.transfer
        context.color_range, context.colorspace = plan.colour.range, plan.colour.matrix
        if plan.matrix:
            stream.set_display_matrix(plan.matrix)
        _named_alike(stream, self._source.video())
        return stream

    def _copied_video(self, encoded: Clip) -> Any:
        with closing(encoded.inspect().container) as container:
            stream = self._out.add_stream_from_template(container.streams[encoded.place], opaque=True)
        if self._plan.matrix:
            stream.set_display_matrix(self._plan.matrix)
        _named_alike(stream, self._source.video())
        return stream

    def _add(self, source: Any) -> None:
        """A stream like one of the source; subtitles of text become those of the container."""
        stream: Any
        try:
            stream = self._out.add_stream_from_template(source)
            self._copied[source.index] = stream
        except ValueError:
            if source.type != "subtitle" or source.codec_context.name not in _TEXTS:
                self.left_out.append(f"{source.type} of the codec {getattr(source.codec_context, 'name', 'unknown')}")
                return
            stream = self._out.add_stream(self._plan.container.text)
            source.codec_context.open(strict=False)  # only then it knows its header
            stream.codec_context.subtitle_header = source.codec_context.subtitle_header
            stream.time_base = source.time_base
            self._texts[source.index] = stream, source
        _named_alike(stream, source)

    def _add_cover(self, source: Any, packet: Any, as_stream: bool) -> Iterator[Any]:
        """A picture that stands for the clip, untouched: as a stream, whose packet comes, or attached."""
        codec = source.codec_context.name
        if as_stream and codec in _COVERS:
            packet.stream = stream = self._out.add_stream_from_template(source, opaque=True)
            _named_alike(stream, source)
            packet.pts = packet.dts = 0
            yield packet
        elif self._plan.container.muxer == "matroska" and codec in _COVERS:
            name, kind = _COVERS[codec]
            self._out.add_attachment(source.metadata.get("filename", name), kind, bytes(packet))
        else:
            self.left_out.append("a cover")

    def _attach(self, source: Inspection) -> None:
        attached = source.attached()
        if attached and self._plan.container.muxer != "matroska":
            self.left_out += ["an attachment"] * len(attached)
            return
        for attachment in attached:
            self._out.add_attachment(*attachment)

    def _copy(self, item: Passed) -> Any:
        packet = item.packet
        for name in ("pts", "dts"):
            if getattr(packet, name) is not None:
                setattr(packet, name, self._moved(getattr(packet, name), packet.time_base))
        packet.stream = self._copied[item.place]
        return packet

    def _retold(self, item: Passed) -> None:
        """A subtitle, in the words of the container."""
        stream, source = self._texts[item.place]
        found = source.codec_context.decode2(item.packet)
        if found is None or not len(found):
            return
        packet = stream.codec_context.encode_subtitle(found)
        packet.time_base, packet.duration = item.packet.time_base, item.packet.duration
        packet.pts = packet.dts = self._moved(item.packet.pts or 0, item.packet.time_base)
        packet.stream = stream
        self._out.mux(packet)

    def _moved(self, stamp: int, base: Fraction) -> int:
        """A timestamp of the source, counted from where this clip begins."""
        return stamp - round(self._plan.start / base)


class _Target:
    """What PyAV writes to: after the first refusal nothing is tried, for it would print every further one.

    Args:
        stream: the file.
    """

    def __init__(self, stream: BinaryIO) -> None:
        self._stream, self._has_refused = stream, False

    def write(self, content: bytes) -> int:
        """Bytes that were written."""
        return self._try(lambda: self._stream.write(content), len(content))

    def seek(self, offset: int, whence: int = 0) -> int:
        """The new place."""
        return self._try(lambda: self._stream.seek(offset, whence), offset)

    def tell(self) -> int:
        """The place."""
        return self._try(self._stream.tell, 0)

    def _try(self, do: Callable[[], int], otherwise: int) -> int:
        if self._has_refused:
            return otherwise
        try:
            return do()
        except OSError:
            self._has_refused = True
            raise


def _named_alike(stream: Any, source: Any) -> None:
    """Gives a stream the name, the language and the part that another one has."""
    stream.metadata.update({key: value for key, value in source.metadata.items() if key.lower() in _KEPT})
    stream.disposition = source.disposition


def _within(chapters: Sequence[Any], start: Fraction, end: Fraction | None) -> list[Any]:
    """Those chapters, or parts of them, that lie between two times in seconds, counted from the first."""
    kept = []
    for chapter in chapters:
        base = Fraction(chapter["time_base"])
        first, last = round(start / base), None if end is None else round(end / base)
        begin = max(chapter["start"], first) - first
        stop = (chapter["end"] if last is None else min(chapter["end"], last)) - first
        if begin < stop or (begin == stop and end is None and not start):
            kept.append({**chapter, "start": begin, "end": stop})
    return kept


@contextmanager
def _refusing() -> Iterator[None]:
    """What an encoder or a container refuses, as one kind of error; what a disk refuses passes on as it is."""
    try:
        yield
    except (av.error.FFmpegError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise VideoError(f"cannot be written as a clip: {reason}") from error
