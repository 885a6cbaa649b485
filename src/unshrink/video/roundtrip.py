"""A round trip of a clip through a codec, measured frame by frame beside ordinary resizing."""

import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from unshrink.errors import VideoError
from unshrink.pictures.colour import luma
from unshrink.pictures.metrics import psnr, ssim
from unshrink.pictures.resize import resize
from unshrink.pictures.sizes import Size, shrunk
from unshrink.runtime.rescaler import Rescaler
from unshrink.video.ahead import ahead
from unshrink.video.colour import Pixels
from unshrink.video.containers import CODECS, Codec
from unshrink.video.items import Frame
from unshrink.video.making import Making, Progress
from unshrink.video.options import VideoOptions
from unshrink.video.rescale import QUALITY, model_for
from unshrink.video.source import Clip

_AHEAD = 2  # frames
_PERCENTILE = 5

Change = Callable[[Pixels], Pixels]


@dataclass(frozen=True)
class Way:
    """How close a clip comes back by one way; luma, 8 bits, the border of a scale's width cut.

    Attributes:
        name: of the way.
        psnr_y: mean over the frames, in dB.
        psnr_y_5: what 95 of 100 frames reach.
        ssim: mean over the frames.
        ssim_5: what 95 of 100 frames reach.
        flicker: PSNR in dB of the differences between neighbouring frames: the lower, the more it flickers.
        bytes: of the small clip.
    """

    name: str
    psnr_y: float
    psnr_y_5: float
    ssim: float
    ssim_5: float
    flicker: float
    bytes: int


@dataclass(frozen=True)
class Comparison:
    """What a comparison came to.

    Attributes:
        frames: that were compared.
        size: of the large frames.
        small_size: of the small ones.
        encoder: of the small clips.
        model: the weights.
        ways: weights first, then bicubic resizing both ways through the same codec.
    """

    frames: int
    size: Size
    small_size: Size
    encoder: str
    model: str
    ways: tuple[Way, ...]


def compare(source: str, options: VideoOptions | None = None, progress: Progress | None = None) -> Comparison:
    """Makes a clip small and restores it, and does the same by bicubic resizing, through the same codec.

    Args:
        source: the clip.
        options: what is asked for; the codec is FFV1 unless another is.
        progress: what to call after each frame that is measured.

    Raises:
        VideoError: the clip cannot be read or used.
    """
    asked = options or VideoOptions()
    codec = CODECS[asked.codec or "ffv1"]
    clip = Clip(source, asked.max_pixels, asked.frames)
    size = clip.looks.size
    model = model_for(asked, size, codec)
    small_size = shrunk(size, asked.goal.ratio(size, model.scale))
    ways = (
        (model.name, lambda large: model.downscale(large, **vars(asked.goal), mark=False), _restoring(model, size)),
        ("bicubic", lambda large: rounded(resize(large, small_size)), lambda small: rounded(resize(small, size))),
    )
    with tempfile.TemporaryDirectory(prefix="unshrink-") as folder:
        small = [
            through(Clip(source, asked.max_pixels, asked.frames), down, codec, asked.quality or QUALITY, folder)
            for _, down, _ in ways
        ]
        backs = [
            map(up, cut_to(pixels_of(Clip(name)), small_size)) for name, (_, _, up) in zip(small, ways, strict=True)
        ]
        measures = measured(pixels_of(clip), backs, model.scale, lambda done: progress and progress(done, clip.count))
        sizes = [Path(name).stat().st_size for name in small]
    found = tuple(m.way(name, count) for m, (name, _, _), count in zip(measures, ways, sizes, strict=True))
    return Comparison(len(measures[0].psnr), size, small_size, codec.encoder, model.name, found)


def through(clip: Clip, change: Change, codec: Codec, quality: int, folder: str) -> str:
    """The name of a new file in a folder, of the frames of a clip as they are changed."""
    name = str(Path(folder) / f"{len(list(Path(folder).iterdir()))}.mkv")
    Making(clip, change, codec, quality, clip.looks.colour).write(name)
    return name


def pixels_of(clip: Clip) -> Iterator[Pixels]:
    """The frames of a clip alone."""
    with closing(clip.items()) as items:
        yield from (item.pixels for item in items if isinstance(item, Frame))


def cut_to(frames: Iterable[Pixels], size: Size) -> Iterator[Pixels]:
    """Frames without what H.264 has added to odd sides."""
    return (frame[: size[1], : size[0]] for frame in frames)


def rounded(values: np.ndarray) -> Pixels:
    """Values as bytes."""
    return values.round().clip(0, 255).astype(np.uint8)


class Measure:
    """The figures of one way, frame by frame.

    Args:
        border: pixels at each side that are not counted.
    """

    def __init__(self, border: int) -> None:
        self._border = border
        self._before: tuple[np.ndarray, np.ndarray] | None = None
        self.psnr: list[float] = []
        self.ssim: list[float] = []
        self._changes: list[float] = []  # mean squared errors of differences between neighbours

    def add(self, large: Pixels, back: Pixels) -> None:
        """One more frame, as it was and as it came back."""
        a, b = luma(large), luma(back)
        self.psnr.append(psnr(a, b, self._border))
        self.ssim.append(ssim(a, b, self._border))
        if self._before:
            change = (a - self._before[0]) - (b - self._before[1])
            self._changes.append(float(np.mean(np.square(change))))
        self._before = a, b

    def way(self, name: str, count: int) -> Way:
        """The figures of all frames."""
        error = float(np.mean(self._changes)) if self._changes else 0.0
        flicker = float(10 * np.log10(255**2 / error)) if error else float("inf")
        percentile = lambda values: float(np.sort(values)[int(len(values) * _PERCENTILE / 100)])
        means = float(np.mean(self.psnr)), percentile(self.psnr), float(np.mean(self.ssim)), percentile(self.ssim)
        return Way(name, *means, flicker, count)


def measured(
    large: Iterable[Pixels], backs: Sequence[Iterable[Pixels]], border: int, progress: Callable[[int], object]
) -> list[Measure]:
    """The figures of several ways at once.

    Raises:
        VideoError: no frame came.
    """
    measures = [Measure(border) for _ in backs]
    for done, (frame, *came) in enumerate(zip(large, *[ahead(back, _AHEAD) for back in backs], strict=False), start=1):
        for measure, back in zip(measures, came, strict=True):
            measure.add(frame, back)
        progress(done)
    if not measures[0].psnr:
        raise VideoError("no frame of the clip can be decoded; get the file again")
    return measures


def _restoring(model: Rescaler, size: Size) -> Change:
    return lambda small: model.upscale(small, size=size)
