"""Small clips made for the tests: moving pictures with sound, subtitles, chapters, odd times."""

from fractions import Fraction

import av
import numpy as np
from av.stream import Disposition
from av.subtitles.subtitle import SubtitleSet

TIMES = (0, 1500, 4501, 9000, 10800, 15003, 15900, 21000)  # of frames, in ninety-thousandths: no two steps alike
LATER = (0, 3000, 6000, 9000, 12000, 15000, 18000, 21000)
CHAPTERS = [
    {"id": n + 1, "start": 100 * n, "end": 100 * (n + 1), "time_base": Fraction(1, 1000), "metadata": {"title": title}}
    for n, title in enumerate(("one", "two"))
]
HEADER = b"""[Script Info]
ScriptType: v4.00+

[V4+ Styles]
Format: Name, Fontname, Fontsize, PrimaryColour, SecondaryColour, OutlineColour, BackColour, Bold, Italic, Underline, \
StrikeOut, ScaleX, ScaleY, Spacing, Angle, BorderStyle, Outline, Shadow, Alignment, MarginL, MarginR, MarginV, Encoding
Style: Default,Arial,16,&Hffffff,&Hffffff,&H0,&H0,0,0,0,0,100,100,0,0,1,1,0,2,10,10,10,1

[Events]
Format: Layer, Start, End, Style, Name, MarginL, MarginR, MarginV, Effect, Text
"""


def pictures(count=8, size=(64, 48), seed=0):
    """Frames (H, W, 3) in which a smooth pattern moves."""
    width, height = size
    draw = np.random.default_rng(seed)
    y, x = np.mgrid[: height + 2 * count, : width + 2 * count]
    waves = [np.sin(x * a + y * b + c) for a, b, c in draw.uniform(0.05, 0.4, (3, 3))]
    scene = (np.stack(waves, axis=2) * 90 + 128 + draw.normal(0, 4, (*x.shape, 3))).round().clip(0, 255)
    scene = scene.astype(np.uint8)
    return [np.ascontiguousarray(scene[n : n + height, 2 * n : 2 * n + width]) for n in range(count)]


def film(
    path,
    frames=None,
    codec="libx264",
    pixels="yuv420p",
    times=TIMES,
    base=Fraction(1, 90000),
    sound=False,
    text="",
    chapters=(),
    turned=0,
    colour=(1, 1, 1, 1),  # matrix, range, primaries, transfer
    aspect=None,
    attachment=None,
    cover=b"",
    second=False,
    tags=(("title", "A film"),),
    movflags="",
    **options,
):
    """A clip in a file."""
    frames = pictures() if frames is None else frames
    with av.open(str(path), "w", container_options={"movflags": movflags} if movflags else {}) as out:
        video = out.add_stream(codec, rate=30, options={key: str(value) for key, value in options.items()})
        video.height, video.width = frames[0].shape[:2]
        video.pix_fmt, video.time_base = pixels, base
        context = video.codec_context
        context.time_base = base
        context.colorspace, context.color_range, context.color_primaries, context.color_trc = colour
        if aspect:
            context.sample_aspect_ratio = aspect
        if turned:
            video.set_display_rotation(turned)
        audio = out.add_stream("aac", rate=44100) if sound else None
        if audio:
            audio.metadata["language"] = "deu"
        titles = out.add_stream(text) if text else None
        if titles:
            titles.codec_context.subtitle_header = HEADER
            titles.time_base = Fraction(1, 1000)
        if attachment:
            out.add_attachment(*attachment)
        front = _still(out, "mjpeg", "yuvj420p") if cover else None
        if front:
            front.disposition = Disposition.attached_pic
        other = _still(out, "libx264", "yuv420p") if second else None
        out.metadata.update(tags)
        out.set_chapters(list(chapters))
        out.start_encoding()
        for picture, time in zip(frames, times, strict=False):
            frame = av.VideoFrame.from_ndarray(picture, "rgb24")
            if pixels.startswith("yuv"):
                frame = frame.reformat(
                    format=pixels, dst_colorspace=colour[0] if colour[0] != 6 else 5, dst_color_range=colour[1]
                )
            else:
                frame = frame.reformat(format=pixels)
            frame.pts, frame.time_base = time, base
            out.mux(video.encode(frame))
        out.mux(video.encode(None))
        if front:
            packet = av.Packet(cover)
            packet.stream, packet.pts, packet.dts, packet.time_base = front, 0, 0, Fraction(1, 90000)
            out.mux(packet)
        if other:
            out.mux(other.encode(av.VideoFrame(64, 48, "yuv420p")))
            out.mux(other.encode(None))
        if audio:
            _sound(out, audio)
        if titles:
            _title(out, titles)
    return str(path)


def _still(out, codec, pixels):
    stream = out.add_stream(codec, rate=30)
    stream.width, stream.height, stream.pix_fmt = 64, 48, pixels
    return stream


def _sound(out, audio):
    draw = np.random.default_rng(0)
    for n in range(10):
        frame = av.AudioFrame.from_ndarray((draw.standard_normal((2, 1024)) * 0.1).astype(np.float32), "fltp", "stereo")
        frame.sample_rate, frame.pts, frame.time_base = 44100, 1024 * n, Fraction(1, 44100)
        out.mux(audio.encode(frame))
    out.mux(audio.encode(None))


def _title(out, titles):
    packet = titles.codec_context.encode_subtitle(
        SubtitleSet.create(text=b"0,0,Default,,0,0,0,,Hi there", start=0, end=90)
    )
    packet.stream, packet.pts, packet.dts, packet.duration = titles, 20, 20, 90
    packet.time_base = Fraction(1, 1000)
    out.mux(packet)


def frames_of(path):
    """Times and pixels of a file of red, green and blue."""
    with av.open(str(path)) as clip:
        return [(frame.pts, frame.to_ndarray(format="rgb24")) for frame in clip.decode(video=0)]


def packets(path, kind):
    """Times and bytes of the packets of the first stream of a kind."""
    with av.open(str(path)) as clip:
        stream = next(stream for stream in clip.streams if stream.type == kind)
        return [(packet.pts, bytes(packet)) for packet in clip.demux(stream) if packet.size]
