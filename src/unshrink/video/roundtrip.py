"""A round trip of a clip through a codec, measured frame by frame beside ordinary resizing."""

import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np

from unshrink.errors import VideoError
from unshrink.files import atomic_write
from unshrink.pictures import formats
from unshrink.pictures import io as images
from unshrink.pictures.colour import luma
from unshrink.pictures.find import is_picture
from unshrink.pictures.image import Image
from unshrink.pictures.metrics import psnr, ssim
from unshrink.pictures.resize import resize
from unshrink.pictures.sizes import Size, shrunk
from unshrink.runtime.rescaler import Rescaler
from unshrink.video.ahead import ahead
from unshrink.video.colour import Pixels
from unshrink.video.containers import CODECS, Codec, codec_of
from unshrink.video.items import Frame
from unshrink.video.making import Making, Progress
from unshrink.video.options import VideoOptions
from unshrink.video.rescale import QUALITY, model_for
from unshrink.video.sink import Sink
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


def compare(
    source: str, options: VideoOptions | None = None, progress: Progress | None = None, figure: str | None = None
) -> Comparison:
    """Makes a clip small and restores it, and does the same by bicubic resizing, through the same codec.

    Args:
        source: the clip.
        options: what is asked for; the codec is FFV1 unless another is.
        progress: what to call after each frame that is measured.
        figure: a file to write the original, what comes back and bicubic to, side by side: a clip, or of a picture the
            frame in the middle.

    Raises:
        VideoError: the clip cannot be read or used, or the figure cannot be written.
    """
    asked = options or VideoOptions()
    codec = CODECS[asked.codec or "ffv1"]
    clip = Clip(source, asked.max_pixels, asked.frames)
    size = clip.looks.size
    model = model_for(asked, size, codec)
    small_size = shrunk(size, asked.goal.ratio(size, model.scale))
    ways: tuple[tuple[str, Change, Change], ...] = (
        (model.name, lambda large: model.downscale(large, **vars(asked.goal), mark=False), _restoring(model, size)),
        ("bicubic", lambda large: rounded(resize(large, small_size)), lambda small: rounded(resize(small, size))),
    )
    with tempfile.TemporaryDirectory(prefix="unshrink-") as folder, shown(clip, figure, asked.overwrite) as show:

        def passing(done: int, frames: list[Pixels]) -> None:
            show(done, frames)
            if progress:
                progress(done, clip.count)

        small = [through(Clip(source, asked.max_pixels, asked.frames), d, codec, asked, folder) for _, d, _ in ways]
        backs = [
            map(up, cut_to(pixels_of(Clip(name)), small_size)) for name, (_, _, up) in zip(small, ways, strict=True)
        ]
        measures = measured(pixels_of(clip), backs, model.scale, passing)
        sizes = [Path(name).stat().st_size for name in small]
    found = tuple(m.way(name, count) for m, (name, _, _), count in zip(measures, ways, sizes, strict=True))
    return Comparison(len(measures[0].psnr), size, small_size, codec.encoder, model.name, found)


@contextmanager
def shown(clip: Clip, figure: str | None, overwrite: bool) -> Iterator[Callable[[int, list[Pixels]], object]]:
    """What takes the number of a frame and what is to be seen side by side of it."""
    if figure is None:
        yield lambda done, frames: None
        return
    with atomic_write(figure, overwrite, error=VideoError, origin=clip.name) as stream:
        if is_picture(figure):
            yield _Still(stream, formats.of_path(figure).name, max(1, clip.count // 2)).take
        else:
            beside = _Beside(stream, clip, figure)
            yield beside.take
            beside.close()


@dataclass(frozen=True)
class _Still:
    """Writes one frame."""

    stream: BinaryIO
    form: str
    number: int

    def take(self, done: int, frames: list[Pixels]) -> None:
        """Writes the frame, if this is it."""
        if done == self.number:
            images.write(Image(np.hstack(frames)), self.stream, format=self.form, lossy=True)


class _Beside:
    """Writes all frames."""

    def __init__(self, stream: BinaryIO, clip: Clip, name: str) -> None:
        self._stream, self._clip, self._name = (
            stream,
            clip.part(clip.asked[0] or 0, (clip.asked[0] or 0) + clip.count),
            name,
        )
        self._stamps = clip.meant_clocks()[clip.place].stamps
        self._sink: Sink | None = None

    def take(self, done: int, frames: list[Pixels]) -> None:
        """Writes what is seen of a frame."""
        pixels = np.hstack(frames)
        if self._sink is None:
            codec = codec_of(self._name, None)
            making = Making(self._clip, lambda frame: frame, codec, QUALITY, self._clip.looks.colour)
            self._sink = making.sink(self._stream, self._name, pixels)
        base = self._clip.clocks[self._clip.place].base
        stamp = int(self._stamps[min(done, len(self._stamps)) - 1]) + round(self._clip.start / base)
        self._sink.take(Frame(pixels, round(stamp * base / self._clip.base)))

    def close(self) -> None:
        """Writes the end."""
        if self._sink:
            self._sink.close()


def through(clip: Clip, change: Change, codec: Codec, asked: VideoOptions, folder: str) -> str:
    """The name of a new file in a folder, of the frames of a clip as they are changed."""
    name = str(Path(folder) / f"{len(list(Path(folder).iterdir()))}.mkv")
    Making(clip, change, codec, asked.quality or QUALITY, clip.looks.colour).make(name)
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
    large: Iterable[Pixels],
    backs: Sequence[Iterable[Pixels]],
    border: int,
    show: Callable[[int, list[Pixels]], object] = lambda done, frames: None,
) -> list[Measure]:
    """The figures of several ways at once.

    Args:
        large: the frames.
        backs: what came back of them by each way.
        border: pixels at each side that are not counted.
        show: what to call with the number of each frame, and it beside what came back.

    Raises:
        VideoError: no frame came.
    """
    measures = [Measure(border) for _ in backs]
    for done, (frame, *came) in enumerate(zip(large, *[ahead(back, _AHEAD) for back in backs], strict=False), start=1):
        for measure, back in zip(measures, came, strict=True):
            measure.add(frame, back)
        show(done, [frame, *came])
    if not measures[0].psnr:
        raise VideoError("no frame of the clip can be decoded; get the file again")
    return measures


def _restoring(model: Rescaler, size: Size) -> Change:
    return lambda small: model.upscale(small, size=size)
