"""What is asked for with a clip; each option has the name and the meaning of its flag on the command line."""

from dataclasses import dataclass

from unshrink.pictures.sizes import Goal, Size
from unshrink.runtime.options import CommonOptions, is_whole
from unshrink.video.containers import CODECS

_QUALITIES = range(1, 101)


@dataclass(frozen=True, kw_only=True)
class VideoOptions(CommonOptions):
    """What `downscale`, `upscale` and `compare` take; what does not concern one of them is left as it is.

    Attributes:
        model: weights, a name or the path of a file; None for the default ones of the scale, or, to restore, for those
            that made the clip.
        scale: how many times smaller each side becomes, 1.1 to 8; None for that of the model, or 2.
        fit: instead, the longest side of the small clip, or the (width, height) of a box that it fits into.
        max_pixels_out: instead, the most pixels of a small frame.
        size: (width, height) to come back to, for small clips without a record.
        codec: "ffv1", "h264-rgb" or "h264"; None for what is usual in the container.
        quality: of H.264, 1 to 100, which is CRF 38 - quality / 4; None for 80 (CRF 18).
        lossy: whether a small clip may go through H.264 with weights that are not made for it.
        frames: (first, last + 1) of the frames that are done, the first of the clip being 0; None for its ends.
        resume: whether the work is done in parts, which are kept beside the target when it is interrupted: the same
            call then goes on after the last of them.
        overwrite: whether a file that exists is replaced.
        max_pixels: pixels of the largest frame that is read or restored; None for 178,956,970.
        backend: "kernels", "openvino", "onnxruntime", "torch", or "auto" for the fastest that is installed.
        device: where the torch backend runs: "cpu", "cuda", ...
        threads: CPU threads of the network; 0 for all cores.
        tile: longest side, in pixels of the large frame, of what is run at once; 0 to choose by the free memory.
        precision: "float32", "bfloat16", or "auto" for what is fast here: see `load`.

    Raises:
        UsageError: a value that there is not; the message names the option.
    """

    scale: float | None = None
    fit: int | Size | None = None
    max_pixels_out: int | None = None
    size: Size | None = None
    codec: str | None = None
    quality: int | None = None
    lossy: bool = False
    frames: tuple[int | None, int | None] = (None, None)
    resume: bool = False
    overwrite: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        _ = self.goal  # refuses
        self._require("codec", self.codec in (None, *CODECS), f"None, {', '.join(CODECS)}")
        self._require("quality", self.quality is None or self.quality in _QUALITIES, "None and whole numbers to 100")
        self._require("frames", _is_range(self.frames), "(first, last + 1), whole numbers from 0 or None for the ends")

    @property
    def goal(self) -> Goal:
        """How small frames are to become."""
        return Goal(self.scale, self.fit, self.max_pixels_out)


def _is_range(frames: object) -> bool:
    if not (isinstance(frames, tuple) and len(frames) == 2):
        return False
    first, end = frames
    whole = all(side is None or is_whole(side, 0) for side in frames)
    return whole and (end is None or end > (first or 0))
