"""What is asked for with all pictures of a batch alike.

Each option has the name and the default of its flag on the command line.  Nothing heavy is imported here: the help
pages read their defaults from it.
"""

from dataclasses import dataclass
from typing import Any, Literal, get_args

from unshrink.pictures.formats import CHROMA
from unshrink.pictures.sizes import Goal, Size
from unshrink.runtime.options import CommonOptions, is_whole
from unshrink.sites.table import find

Existing = Literal["refuse", "overwrite", "skip", "rename"]

_EFFORTS = range(10)
_QUALITIES = range(1, 101)


@dataclass(frozen=True, kw_only=True)
class BatchOptions(CommonOptions):
    """What `downscale` and `upscale` take alike.

    Attributes:
        model: weights, a name or the path of a file; None for the default ones of the scale, or, to restore, for those
            that made each picture.
        format: "png", "webp", "tiff", "jpeg" or "avif"; None to go by the name of the output, else as is usual: "png",
            and of small pictures for a site what that passes on.
        name: template for the names of the files in a folder, of {stem}, {name}, {ext} and, to make small by a scale,
            {scale}.
        recursive: whether folders stand for the pictures in their subfolders too.
        existing: what is done where the output exists: "refuse", "overwrite", "skip" or "rename", which adds a number.
        strip: whether colour profile, EXIF (orientation too), XMP and resolution are left out.
        times: whether files get the time at which the picture was changed that they come from.
        max_pixels: pixels of the largest picture that is read or restored; None for 178,956,970.
        dry_run: whether nothing is done: the outcomes say what would be.
        workers: pictures worked on at once, each by a process; None for as many as there are cores, at most 4.
        timeout: seconds after which a picture is given up; of several.
        shard: (i, n) to do share i of n alone, i from 1, as one of n processes or machines.
        backend: "kernels", "openvino", "onnxruntime", "torch", or "auto" for the fastest that is installed.
        device: where the torch backend runs: "cpu", "cuda", ...
        threads: CPU threads of each worker; 0 for its share of the cores.
        tile: longest side, in pixels of the large picture, of what is run at once; 0 to choose by the free memory.
        precision: "float32", "bfloat16", or "auto" for what is fast here: see `load`.

    Raises:
        UsageError: a value that there is not; the message names the option.
    """

    format: str | None = None
    name: str | None = None
    recursive: bool = False
    existing: Existing = "refuse"
    strip: bool = False
    times: bool = False
    dry_run: bool = False
    workers: int | None = None
    timeout: float = 3600
    shard: tuple[int, int] | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        self._require("existing", self.existing in get_args(Existing), ", ".join(get_args(Existing)))
        self._require_whole("workers", 1, optional=True)
        self._require("timeout", _is_positive(self.timeout), "numbers of seconds above 0")
        self._require("shard", self.shard is None or _is_share(self.shard), "None and (i, n) with 1 <= i <= n")

    @property
    def usual_format(self) -> str:
        """The format where neither it nor the name of the output says one."""
        return "png"


@dataclass(frozen=True, kw_only=True)
class DownscaleOptions(BatchOptions):
    """What `downscale` takes; see `BatchOptions` for the others.

    Attributes:
        scale: how many times smaller each side becomes, 1.1 to 8; None for that of the model, or 2.
        fit: instead, the longest side of the small pictures, or the (width, height) of a box that they fit into.
        max_pixels_out: instead, the most pixels of the small pictures.
        site: what the small pictures are for, a name of ``unshrink.sites``. The scale, unless it is given, is the least
            whole one at which the site does not resize them. The format is one that it passes on as it is, where there
            is such, and a JPEG has the best quality that passes, unless ``quality`` or ``max_bytes`` is given. The
            weights are those for lossy formats, unless every value arrives. Small pictures are upright, without EXIF,
            and marked, unless ``mark`` is False.
        depth: bits of the small picture's values, 8 or 16; None for the large one's, or what the format holds.
        mark: whether the pixels themselves say which weights made them, for when a site removes the record; None for as
            the weights are made: those for lossy formats mark.
        effort: 0 to 9 steps in search of a small picture of which more comes back, each as long as a few runs.
        lossy: whether formats that change values are allowed with weights that are not made for them: what comes back
            is then much worse.
        quality: of a lossy format, 1 to 100; None for 85, and for lossless WebP.
        chroma: of a lossy format, "4:2:0" or "4:4:4"; None for "4:2:0".
        max_bytes: of the file: the best quality that fits, then the next larger scale.
        verify: whether each is restored from what was written, and how close it comes measured (PSNR).
    """

    scale: float | None = None
    fit: int | Size | None = None
    max_pixels_out: int | None = None
    site: str | None = None
    depth: int | None = None
    mark: bool | None = None
    effort: int = 0
    lossy: bool = False
    quality: int | None = None
    chroma: str | None = None
    max_bytes: int | None = None
    verify: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        _ = self.goal  # refuses
        if self.site is not None:
            find(self.site)  # refuses
            alone = not self.goal.depends_on_size
            self._require("site", alone, "sites without another size of small pictures: it knows its own")
        self._require("quality", self.quality is None or self.quality in _QUALITIES, "None and whole numbers to 100")
        self._require("chroma", self.chroma in (None, *CHROMA), f"None, {', '.join(CHROMA)}")
        self._require_whole("max_bytes", 1, optional=True)
        self._require("depth", self.depth in (None, 8, 16), "None, 8 and 16")
        self._require("mark", self.mark in (None, True, False), "None, True and False")
        self._require("effort", self.effort in _EFFORTS, f"whole numbers from 0 to {_EFFORTS[-1]}")

    @property
    def scale_varies(self) -> bool:
        """Whether the scale is known only once a picture is made small."""
        of_site = self.site is not None and self.scale is None
        return of_site or self.goal.depends_on_size or self.max_bytes is not None

    @property
    def usual_format(self) -> str:
        """PNG, or what the site passes on."""
        return find(self.site).usual_format if self.site else "png"

    @property
    def is_for_door(self) -> bool:
        """Whether the quality of a JPEG is the best with which its site passes it on."""
        return self.site is not None and self.quality is None and self.max_bytes is None

    @property
    def marked(self) -> bool | None:
        """Whether small pictures are marked; None for as the weights are made."""
        return True if self.mark is None and self.site else self.mark

    @property
    def goal(self) -> Goal:
        """How small pictures are to become."""
        return Goal(self.scale, self.fit, self.max_pixels_out)


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
        self._require_whole("seed", 0)


def _is_size(value: Any) -> bool:
    return isinstance(value, tuple) and len(value) == 2 and all(is_whole(side, 1) for side in value)


def _is_share(value: Any) -> bool:
    return isinstance(value, tuple) and len(value) == 2 and is_whole(value[0], 1) and is_whole(value[1], value[0])


def _is_positive(value: Any) -> bool:
    return isinstance(value, int | float) and value > 0
