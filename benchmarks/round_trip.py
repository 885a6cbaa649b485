"""A whole clip down and back by the commands, and whether all of it came back.

    python benchmarks/round_trip.py                                    # ten seconds of 1280x720
    python benchmarks/round_trip.py irn-x4 --size 640x360 --seconds 3

The clip has steps of time that vary, sound, subtitles, chapters, a rotation and colour tags; its frames move over
shared photos.  It goes to .mkv and back to .mp4.  Beside it: single pictures, the network alone, the memory of a clip
of one second.  Writes results/round_trip.json, and ends with an error where anything did not come back.
"""

import argparse
import json
import tempfile
import time
from collections.abc import Callable, Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
from av.subtitles.subtitle import SubtitleSet
from memory import command
from video import BT709, DATA, window

import unshrink
from unshrink.cli.values import sides
from unshrink.evaluation.environment import environment
from unshrink.pictures import io as images
from unshrink.pictures.colour import luma, over_white
from unshrink.pictures.metrics import psnr
from unshrink.pictures.sizes import Size
from unshrink.video.colour import Pixels, to_frame
from unshrink.video.containers import CODECS
from unshrink.video.items import Frame
from unshrink.video.source import Clip

OUT = Path(__file__).parents[1] / "results" / "round_trip.json"
PHOTOS = ("CLIC2025val/ddcd24d9.webp", "CLIC2025val/7e499613.webp")
BASE = Fraction(1, 90000)
SAMPLES = 4  # frames at each of which the network alone is timed, and single pictures are measured
MOST_MORE = 200  # MB of a long clip above a short one
LEAST_SHARE = 0.85  # of the frames a second of the network alone
TEXT_HEAD = b"""[Script Info]
ScriptType: v4.00+

[V4+ Styles]
Format: Name, Fontname, Fontsize, PrimaryColour
Style: Default,Arial,16,&Hffffff

[Events]
Format: Layer, Start, End, Style, Name, MarginL, MarginR, MarginV, Effect, Text
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", nargs="?", default="irn-x2", help="weights by name or file (default: %(default)s)")
    parser.add_argument("--size", type=sides, default=(1280, 720), help="of the clip (default: 1280x720)")
    parser.add_argument("--seconds", type=float, default=10, help="(default: %(default)s)")
    parser.add_argument("--rate", type=int, default=8, help="frames a second on average (default: %(default)s)")
    parser.add_argument("--threads", type=int, default=0, help="of the network (default: all cores)")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        row = measured(args.model, args.size, args.seconds, args.rate, args.threads, Path(folder))
    OUT.write_text(json.dumps({**row, **environment()}, indent=1) + "\n")
    print(json.dumps(row, indent=1))
    if wrong := failures(row):
        raise SystemExit("; ".join(wrong))


def measured(name: str, size: Size, seconds: float, rate: int, threads: int, folder: Path) -> dict[str, Any]:
    """A clip of that size and length by both commands, and beside it one of a second."""
    model, count = unshrink.load(name, threads=threads), round(seconds * rate)
    large, small, back = (str(folder / f"{part}") for part in ("large.mp4", "small.mkv", "back.mp4"))
    short, short_small, short_back = (str(folder / f"1s-{part}") for part in ("large.mp4", "small.mkv", "back.mp4"))
    film(large, size, count, rate)
    film(short, size, rate, rate)
    pictures = sampled(large, count)
    little = [model.downscale(picture, mark=False) for picture in pictures]
    single = [model.upscale(one, size=size) for one in little]
    alone = {
        "down": lambda: [model.downscale(one, mark=False) for one in pictures],
        "up": lambda: [model.upscale(one, size=size) for one in little],
    }
    ways = {}
    for way, source, target, short_source, short_target in (
        ("down", large, small, short, short_small),
        ("up", small, back, short_small, short_back),
    ):
        options = ["--model", name] if way == "down" or name.endswith(".safetensors") else []
        options += ["--threads", str(threads)]
        networks = [timed(alone[way])]
        began = time.perf_counter()
        peak, processor = command(f"{way}scale", source, "-o", target, *options)
        fps = count / (time.perf_counter() - began)
        networks.append(timed(alone[way]))
        peak_short, _ = command(f"{way}scale", short_source, "-o", short_target, *options)
        clock, busy = (2 * len(pictures) / sum(spent) for spent in zip(*networks, strict=True))
        ways[way] = {
            "fps": fps,
            "network_fps": clock,
            "processor_fps": count / processor,
            "network_processor_fps": busy,
        }
        ways[way] |= {"peak_mb": peak, "peak_mb_of_a_second": peak_short}
    before, after = carried(large), carried(back)
    return {
        **{"model": model.name, "backend": model.backend.name, "precision": model.backend.precision},
        **{"threads": threads, "size": size, "seconds": seconds, "frames": count, "ways": ways},
        "counts": {part: len(found) for part, found in before.items() if isinstance(found, list)},
        "equal": {part: before[part] == after[part] for part in before},
        "psnr_y": closeness(model.scale, pictures, single, small, back, count, folder),
    }


def failures(row: dict[str, Any]) -> list[str]:
    """What did not come back, or not within the limits, in words."""
    wrong = [f"{part} differ" for part, same in row["equal"].items() if not same]
    wrong += [] if row["psnr_y"]["exact_as_single"] else ["exact frames are not those of single pictures"]
    for way, of in row["ways"].items():
        if of["peak_mb"] > of["peak_mb_of_a_second"] + MOST_MORE:
            wrong.append(f"{way}: {of['peak_mb']} MB, and {of['peak_mb_of_a_second']} MB of one second")
        if of["fps"] < LEAST_SHARE * of["network_fps"]:
            wrong.append(f"{way}: {of['fps']:.3f} frames/s, and {of['network_fps']:.3f} of the network alone")
    return wrong


def timed(run: Callable[[], object]) -> tuple[float, float]:
    """Seconds of a call by the clock, and of all processors."""
    began = time.perf_counter(), time.process_time()
    run()
    return time.perf_counter() - began[0], time.process_time() - began[1]


# -- the clip ------------------------------------------------------------------------------------------------------


def scenes(size: Size, count: int) -> Iterator[Pixels]:
    """A view that moves over one photo and then, after a cut, over another."""
    for place, photo in enumerate(PHOTOS):
        picture = over_white(images.read(DATA / photo))
        for n in range(count * place // len(PHOTOS), count * (place + 1) // len(PHOTOS)):
            yield window(picture, size, [(3 * n, 2 * n)])[0]


def film(path: str, size: Size, count: int, rate: int) -> None:
    """A clip in H.264, with everything."""
    draw = np.random.default_rng(0)
    steps = (draw.uniform(0.6, 1.4, count) / rate / float(BASE)).astype(np.int64)
    with av.open(path, "w") as out:
        video: Any = out.add_stream("libx264", rate=rate, options={"crf": "15"})
        video.width, video.height, video.pix_fmt, video.time_base = *size, "yuv420p", BASE
        context = video.codec_context
        context.time_base = BASE
        context.colorspace, context.color_range = BT709.matrix, BT709.range
        context.color_primaries, context.color_trc = BT709.matrix, BT709.matrix
        video.set_display_rotation(90)
        sound: Any = out.add_stream("aac", rate=48000)
        titles: Any = out.add_stream("mov_text")
        titles.codec_context.subtitle_header, titles.time_base = TEXT_HEAD, Fraction(1, 1000)
        out.metadata["title"] = "A clip"
        end = int(1000 * steps.sum() * BASE)
        out.set_chapters([chapter(n, end * n // 3, end * (n + 1) // 3) for n in range(3)])
        out.start_encoding()
        for pixels, stamp in zip(scenes(size, count), np.cumsum(steps) - steps[0], strict=True):
            frame = to_frame(pixels, CODECS["h264"], BT709)
            frame.pts, frame.time_base = int(stamp), BASE
            out.mux(video.encode(frame))
        out.mux(video.encode(None))
        for n in range(48 * end // 1024):
            tone = np.sin(np.arange(1024 * n, 1024 * (n + 1)) / 48000 * 2 * np.pi * 440) * 0.1
            heard = av.AudioFrame.from_ndarray(np.stack([tone, tone]).astype(np.float32), "fltp", "stereo")
            heard.sample_rate, heard.pts, heard.time_base = 48000, 1024 * n, Fraction(1, 48000)
            out.mux(sound.encode(heard))
        out.mux(sound.encode(None))
        for n in range(0, end, 500):
            text = SubtitleSet.create(text=f"0,0,Default,,0,0,0,,At {n} ms".encode(), start=0, end=400)
            packet = titles.codec_context.encode_subtitle(text)
            packet.stream, packet.pts, packet.dts, packet.duration = titles, n, n, 400
            packet.time_base = Fraction(1, 1000)
            out.mux(packet)


def chapter(number: int, start: int, end: int) -> dict[str, Any]:
    """One of a clip, in milliseconds."""
    named = {"title": f"Part {number + 1}"}
    return {"id": number + 1, "start": start, "end": end, "time_base": Fraction(1, 1000), "metadata": named}


# -- what came back ------------------------------------------------------------------------------------------------


def carried(path: str) -> dict[str, Any]:
    """All of a clip but its pixels; times are in seconds."""
    with av.open(path) as clip:
        frames = list(map(looks, clip.decode(video=0)))
        chapters = [
            (each["metadata"].get("title"), each["start"] * each["time_base"], each["end"] * each["time_base"])
            for each in clip.chapters()
        ]
        title = clip.metadata.get("title")
    times, colours, turned = (list(found) for found in zip(*frames, strict=True))
    sound, titles = packets(path, "audio"), packets(path, "subtitle")
    return {
        **{"times of frames": times, "sound": sound, "subtitles": titles, "chapters": chapters},
        **{"title": title, "rotation": turned[0], "colour": colours[0]},
    }


def looks(frame: Any) -> tuple[Any, Any, Any]:
    """Time, colour tags and rotation of a frame."""
    tags = frame.colorspace, frame.color_range, frame.color_primaries, frame.color_trc
    return frame.pts * frame.time_base, tags, frame.rotation


def packets(path: str, kind: str) -> list[tuple[Fraction, bytes]]:
    """Times and bytes of the packets of a stream."""
    with av.open(path) as clip:
        stream = next(stream for stream in clip.streams if stream.type == kind)
        return [(packet.pts * packet.time_base, bytes(packet)) for packet in clip.demux(stream) if packet.size > 2]


def sampled(path: str, count: int) -> list[Pixels]:
    """Some frames of a clip, from all of its length."""
    places = samples(count)
    frames = (item.pixels for item in Clip(path).items() if isinstance(item, Frame))
    return [pixels for place, pixels in enumerate(frames) if place in places]


def samples(count: int) -> range:
    """The places of those frames."""
    return range(0, count, max(1, count // SAMPLES))[:SAMPLES]


def closeness(
    border: int, pictures: list[Pixels], single: list[Pixels], small: str, back: str, count: int, folder: Path
) -> dict[str, Any]:
    """PSNR-Y in dB of some frames: as single pictures, as frames that keep every value, and as the commands write them.

    Args:
        border: pixels at each side that are not counted.
        pictures: the large frames.
        single: what comes back of them as single pictures.
        small, back: the clips that the commands made.
        count: of all their frames.
        folder: for a clip.
    """
    exact = []
    for place in samples(count):
        part = str(folder / f"{place}.mkv")
        command("upscale", small, "-o", part, "--frames", f"{place}:{place + 1}")
        exact += sampled(part, 1)
    mean = lambda came: float(np.mean([psnr(luma(a), luma(b), border) for a, b in zip(pictures, came, strict=True)]))
    return {
        **{"single": mean(single), "exact": mean(exact), "mp4": mean(sampled(back, count))},
        "exact_as_single": all(np.array_equal(a, b) for a, b in zip(exact, single, strict=True)),
    }


if __name__ == "__main__":
    main()
