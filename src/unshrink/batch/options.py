"""What is asked for with all pictures of a batch alike.

Each option has the name and the default of its flag on the command line.  Nothing heavy is imported here: the help
pages read their defaults from it.
"""

from dataclasses import dataclass
from typing import Any, Literal, get_args

from unshrink.errors import UsageError

Existing = Literal["refuse", "overwrite", "skip", "rename"]

_EFFORTS = range(10)


@dataclass(frozen=True, kw_only=True)
class BatchOptions:
    """What `downscale` and `upscale` take alike.

    Attributes:
        model: weights, a name or the path of a file; None for the default ones of the scale, or, to restore, for those
            that made each picture.
        format: "png", "webp", "tiff", "jpeg" or "avif"; None to go by the name of the output, else "png".
        name: template for the names of the files in a folder, of {stem}, {name}, {scale} (downscale) and {ext}.
        recursive: whether folders stand for the pictures in their subfolders too.
        existing: what is done where the output exists: "refuse", "overwrite", "skip" or "rename", which adds a number.
        strip: whether colour profile, EXIF (orientation too), XMP and resolution are left out.
        times: whether files get the time at which the picture was changed that they come from.
        max_pixels: pixels of the largest picture that is read or restored; None for 178,956,970.
        dry_run: whether nothing is done: the outcomes say what would be.
        workers: pictures worked on at once, each by a process; None for as many as there are cores, at most 4.
        timeout: seconds after which a picture is given up; of several.
        shard: (i, n) to do share i of n alone, i from 1, as one of n processes or machines.
        backend: "openvino", "onnxruntime", "torch", or "auto" for the fastest one that is installed.
        device: where the torch backend runs: "cpu", "cuda", ...
        threads: CPU threads of each worker; 0 for its share of the cores.
        tile: longest side, in pixels of the large picture, of what is run at once; 0 to choose by the free memory.
        fast: whether subnets are computed in bfloat16: at most 0.03 dB worse.

    Raises:
        UsageError: a value that there is not; the message names the option.
    """

    model: str | None = None
    format: str | None = None
    name: str | None = None
    recursive: bool = False
    existing: Existing = "refuse"
    strip: bool = False
    times: bool = False
    max_pixels: int | None = None
    dry_run: bool = False
    workers: int | None = None
    timeout: float = 3600
    shard: tuple[int, int] | None = None
    backend: str = "auto"
    device: str = "cpu"
    threads: int = 0
    tile: int = 0
    fast: bool = False

    def __post_init__(self) -> None:
        self._require("existing", self.existing in get_args(Existing), ", ".join(get_args(Existing)))
        for field in ("max_pixels", "workers"):
            value = getattr(self, field)
            self._require(field, value is None or _is_whole(value, 1), "None and whole numbers from 1")
        for field in ("threads", "tile"):
            self._require(field, _is_whole(getattr(self, field), 0), "whole numbers from 0")
        self._require("timeout", _is_positive(self.timeout), "numbers of seconds above 0")
        self._require("shard", self.shard is None or _is_share(self.shard), "None and (i, n) with 1 <= i <= n")

    def _require(self, field: str, met: bool, allowed: str) -> None:
        if not met:
            raise UsageError(f"{field} is {getattr(self, field)!r:.60}: allowed are {allowed}")


@dataclass(frozen=True, kw_only=True)
class DownscaleOptions(BatchOptions):
    """What `downscale` takes; see `BatchOptions` for the others.

    Attributes:
        scale: how many times smaller each side becomes; None for that of the model, or 2.
        depth: bits of the small picture's values, 8 or 16; None for the large one's, or what the format holds.
        mark: whether the pixels themselves say which weights made them, for when a site removes the record; None for as
            the weights are made: those for lossy formats mark.
        effort: 0 to 9 steps in search of a small picture of which more comes back, each as long as a few runs.
        lossy: whether formats are allowed that change values; what comes back is then much worse.
        verify: whether each is restored from what was written, and how close it comes measured (PSNR).
    """

    scale: int | None = None
    depth: int | None = None
    mark: bool | None = None
    effort: int = 0
    lossy: bool = False
    verify: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        self._require("depth", self.depth in (None, 8, 16), "None, 8 and 16")
        self._require("mark", self.mark in (None, True, False), "None, True and False")
        self._require("effort", self.effort in _EFFORTS, f"whole numbers from 0 to {_EFFORTS[-1]}")


@dataclass(frozen=True, kw_only=True)
class UpscaleOptions(BatchOptions):
    """What `upscale` takes; see `BatchOptions` for the others.

    Attributes:
        size: (width, height) to come back to, for small pictures without a record; None for what the record says, else
            the scale times the small size.
        seed: of the draw, for weights that restore by one.
    """

    size: tuple[int, int] | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        super().__post_init__()
        self._require("size", self.size is None or _is_size(self.size), "None and (width, height) in pixels")
        self._require("seed", _is_whole(self.seed, 0), "whole numbers from 0")


def _is_whole(value: Any, least: int) -> bool:
    return isinstance(value, int) and value >= least


def _is_size(value: Any) -> bool:
    return isinstance(value, tuple) and len(value) == 2 and all(_is_whole(side, 1) for side in value)


def _is_share(value: Any) -> bool:
    return isinstance(value, tuple) and len(value) == 2 and _is_whole(value[0], 1) and _is_whole(value[1], value[0])


def _is_positive(value: Any) -> bool:
    return isinstance(value, int | float) and value > 0
