"""What comes back of small clips: exact ones, and those that went through H.264, beside codecs of the large clip.

    python benchmarks/video.py irn-x2 runs/irn-x2-jpeg/irn-x2-jpeg.safetensors
    python benchmarks/video.py irn-x2 --size 640x352 --frames 30
    python benchmarks/video.py irn-x2 --clips bunny    # after tools/fetch_data.py BigBuckBunny

Clips are made of shared photos: `CLIPS`; real ones are cut out of films: `FILMS`.  Small ones go through FFV1, and
through H.264 in 4:2:0 at `FACTORS`.  Luma of H.264 and H.265 of the large clip at the same bytes is read off the curve
of each clip, between the factors in `GRID`.
Rows go to results/video.json, beside those of other weights.
"""

import argparse
import json
import math
import os
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import av
import numpy as np

import unshrink
from unshrink import video
from unshrink.cli.values import sides
from unshrink.evaluation.environment import environment
from unshrink.pictures import io as images
from unshrink.pictures.colour import over_white
from unshrink.pictures.resize import resize
from unshrink.runtime.rescaler import Rescaler
from unshrink.video.colour import Colour, Pixels, to_frame
from unshrink.video.containers import CODECS
from unshrink.video.items import Frame
from unshrink.video.roundtrip import measured, rounded
from unshrink.video.source import Clip

OUT = Path(__file__).parents[1] / "results" / "video.json"
DATA = Path(os.environ.get("UNSHRINK_DATA", "data")) / "test"
FACTORS = (18, 23, 28)
GRID = (16, 20, 24, 28, 32, 36, 40, 44)
CODECS_OF_THE_LARGE = {"h264": "libx264", "h265": "libx265"}
RATE = 25
BT709, RGB = Colour(1, 1, 1, 1), Colour(0, 2, 1, 1)

Frames = list[Pixels]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", nargs="+", help="weights by name or file")
    parser.add_argument("--clips", nargs="+", choices=(*CLIPS, *FILMS), default=list(CLIPS))
    parser.add_argument("--size", type=sides, default=(640, 352), help="of the clips (default: 640x352)")
    parser.add_argument("--frames", type=int, default=25, help="of each clip (default: %(default)s)")
    parser.add_argument("--threads", type=int, default=0)
    args = parser.parse_args()
    rows = {key(row): row for row in (json.loads(OUT.read_text())["rows"] if OUT.exists() else [])}
    models = [unshrink.load(name, threads=args.threads) for name in args.models]
    speeds = {row["model"]: row for row in (json.loads(OUT.read_text()).get("speed", []) if OUT.exists() else [])}
    for name in args.models:
        row = speed(name, clip_of(args.clips[0], args.size, args.frames), args.threads)
        speeds[row["model"]] = row
        print(json.dumps(row), flush=True)
    for clip in args.clips:
        large = clip_of(clip, args.size, args.frames)
        for row in measured_rows(large, models):
            row |= {"clip": clip, "size": args.size, "frames": args.frames}
            rows[key(row)] = row
            print(json.dumps({k: round(v, 4) if isinstance(v, float) else v for k, v in row.items()}), flush=True)
        everything = {"rows": list(rows.values()), "speed": list(speeds.values()), **environment()}
        OUT.write_text(json.dumps(everything, indent=1) + "\n")


def key(row: dict[str, Any]) -> tuple[Any, ...]:
    """What a row is of: a new one replaces the old one of the same."""
    return row["clip"], row["name"], row["through"]


# -- clips ---------------------------------------------------------------------------------------------------------


def clip_of(name: str, size: tuple[int, int], count: int) -> Frames:
    """A clip of that name."""
    return CLIPS[name](size, count) if name in CLIPS else real(FILMS[name], size, count)


def photo(place: str) -> Pixels:
    """A shared picture; of two pixels one is kept each way, by averaging, so that what codecs did to it is gone."""
    picture = over_white(images.read(DATA / place))
    height, width = (side // 2 for side in picture.shape[:2])
    return rounded(resize(picture, (width, height)))


def pan(size: tuple[int, int], count: int) -> Frames:
    """A steady camera that turns: three pixels to the right and one down with each frame."""
    return window(photo("CLIC2025val/c80999cd.webp"), size, [(3 * n, n) for n in range(count)])


def shaky(size: tuple[int, int], count: int) -> Frames:
    """A hand-held one: between pixels too, since frames are sampled from a photo twice as fine."""
    fine = over_white(images.read(DATA / "CLIC2025val/a10ae819.webp"))
    places = [(int(40 + 30 * math.sin(n / 2)), int(40 + 17 * math.cos(n / 3))) for n in range(count)]
    width, height = (min(2 * side, most - 80) for side, most in zip(size, fine.shape[1::-1], strict=True))
    return [rounded(resize(frame, size)) for frame in window(fine, (width, height), places)]


def text(size: tuple[int, int], count: int) -> Frames:
    """A page that scrolls, four pixels a frame."""
    page = over_white(images.read(DATA / "Screens/clic_docs_page.webp"))
    return window(page, size, [(0, 4 * n) for n in range(count)])


def cut(size: tuple[int, int], count: int) -> Frames:
    """Two scenes with a cut between them, and a fade to dark at the end."""
    scenes = [photo("CLIC2025val/a10ae819.webp"), photo("CLIC2025val/7e499613.webp")]
    frames = [window(scenes[n >= count // 2], size, [(2 * n, 300 + n)])[0] for n in range(count)]
    light = [min(1.0, (count - n) / (count / 4)) for n in range(count)]
    return [rounded(frame * share) for frame, share in zip(frames, light, strict=True)]


def window(picture: Pixels, size: tuple[int, int], places: list[tuple[int, int]]) -> Frames:
    """Crops of a picture, which stop at its edges."""
    width, height = size
    if picture.shape[1] < width or picture.shape[0] < height:
        raise SystemExit(f"the photo has {picture.shape[1]}x{picture.shape[0]} pixels: take smaller clips (--size)")
    found = []
    for x, y in places:
        left, top = min(x, picture.shape[1] - width), min(y, picture.shape[0] - height)
        found.append(np.ascontiguousarray(picture[top : top + height, left : left + width]))
    return found


@dataclass(frozen=True)
class Film:
    """Where a real clip is cut out.

    Attributes:
        place: of the file in UNSHRINK_DATA.
        first: the frame with which it begins.
    """

    place: str
    first: int


def real(film: Film, size: tuple[int, int], count: int) -> Frames:
    """The middle of some frames; as with photos, of two pixels one is kept each way."""
    path = DATA.parent / film.place
    if not path.exists():
        raise SystemExit(f"there is no {path}: tools/fetch_data.py {path.parent.name} fetches it")
    found = []
    for item in Clip(str(path), frames=(film.first, film.first + count)).items():
        if isinstance(item, Frame):
            height, width = (side // 2 for side in item.pixels.shape[:2])
            middle = (width - size[0]) // 2, (height - size[1]) // 2
            found += window(rounded(resize(item.pixels, (width, height))), size, [middle])
    return found


FILMS = {"bunny": Film("clips/BigBuckBunny/video.mp4", 340)}

CLIPS: dict[str, Callable[[tuple[int, int], int], Frames]] = {"pan": pan, "shaky": shaky, "text": text, "cut": cut}


# -- measuring -----------------------------------------------------------------------------------------------------


def measured_rows(large: Frames, models: list[Rescaler]) -> Iterator[dict[str, Any]]:
    """One clip by every way: exact, through H.264, and what codecs of the large clip reach in as many bytes."""
    height, width = large[0].shape[:2]
    curves = {name: curve(large, encoder, models[0].scale) for name, encoder in CODECS_OF_THE_LARGE.items()}
    scale = models[0].scale
    small_size = -(-width // scale), -(-height // scale)
    small = [rounded(resize(frame, small_size)) for frame in large]
    back = lambda frame: rounded(resize(frame, (width, height)))
    yield from ways("bicubic", large, small, back, scale, curves)
    for model in models:
        small = [model.downscale(frame, mark=False) for frame in large]
        yield from ways(model.name, large, small, restoring(model, (width, height)), model.scale, curves)


def restoring(model: Rescaler, size: tuple[int, int]) -> Callable[[Pixels], Pixels]:
    return lambda frame: model.upscale(frame, size=size)


def ways(
    name: str, large: Frames, small: Frames, back: Callable[[Pixels], Pixels], border: int, curves: dict[str, Any]
) -> Iterator[dict[str, Any]]:
    """The rows of one way of making small: exact, and through H.264 at each factor."""
    for factor in (None, *FACTORS):
        count, came = through(small, "ffv1" if factor is None else "libx264", factor)
        (figures,) = measured(large, [map(back, came)], border)
        row = asdict(figures.way(name, count)) | {"through": "FFV1" if factor is None else f"H.264 CRF {factor}"}
        row["bpp"] = 8 * count / (len(large) * large[0].shape[0] * large[0].shape[1])
        yield row | {codec: at(curves[codec], count) for codec in curves if factor is not None}


def speed(model: str, frames: Frames, threads: int) -> dict[str, Any]:
    """Frames a second of both commands, by the clock, and how much of that time the network was at work."""
    options = video.VideoOptions(model=model, threads=threads)
    height, width = frames[0].shape[:2]
    row: dict[str, Any] = {"size": (width, height), "frames": len(frames)}
    with tempfile.TemporaryDirectory() as folder:
        large, small, back = (str(Path(folder) / name) for name in ("large.mp4", "small.mkv", "back.mp4"))
        write(large, frames, "libx264", 18)
        for name, done in (
            ("down", video.downscale(large, small, options)),
            ("up", video.upscale(small, back, options)),
        ):
            row |= {f"{name}_fps": len(frames) / done.facts["seconds"]}
            row |= {f"{name}_network": done.facts["network_seconds"] / done.facts["seconds"]}
    return row | {"model": done.facts["model"], "backend": done.facts["backend"], "threads": threads}


def through(frames: Frames, encoder: str, factor: int | None) -> tuple[int, Iterator[Pixels]]:
    """The bytes of a clip of frames, and the frames that a reader finds in it."""
    with tempfile.TemporaryDirectory() as folder:
        path = str(Path(folder) / "clip.mkv")
        sizes = write(path, frames, encoder, factor)
        came = [item.pixels for item in Clip(path).items() if isinstance(item, Frame)]
    return sizes, iter(came)


def write(path: str, frames: Frames, encoder: str, factor: int | None) -> int:
    """Writes a clip of frames; the bytes of its packets."""
    codec, colour = (CODECS["ffv1"], RGB) if factor is None else (CODECS["h264"], BT709)
    options = dict(codec.options) if factor is None else {"crf": str(factor)}
    if encoder == "libx265":
        options["x265-params"] = "log-level=none"
    with av.open(path, "w") as out:
        stream: Any = out.add_stream(encoder, rate=RATE, options=options)
        stream.height, stream.width = frames[0].shape[:2]
        stream.pix_fmt = codec.pixels
        stream.codec_context.colorspace, stream.codec_context.color_range = colour.matrix, colour.range
        sizes = 0
        for place, pixels in enumerate([*frames, None]):
            frame = None if pixels is None else to_frame(pixels, codec, colour)
            if frame is not None:
                frame.pts = place
            packets = stream.encode(frame)
            sizes += sum(packet.size for packet in packets)
            out.mux(packets)
    return sizes


def curve(large: Frames, encoder: str, border: int) -> tuple[list[float], list[float]]:
    """Logarithms of bytes, rising, and dB of luma, of the large clip at each factor of the grid."""
    points = []
    for factor in GRID:
        count, came = through(large, encoder, factor)
        (figures,) = measured(large, [came], border)
        points.append((math.log(count), figures.way("", count).psnr_y))
    points.sort()
    return [size for size, _ in points], [decibels for _, decibels in points]


def at(curve: tuple[list[float], list[float]], count: int) -> float | None:
    """Luma at so many bytes; None beyond the ends of the curve."""
    sizes, decibels = curve
    place = math.log(count)
    return float(np.interp(place, sizes, decibels)) if sizes[0] <= place <= sizes[-1] else None


if __name__ == "__main__":
    main()
