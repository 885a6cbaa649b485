"""What a request may ask for: its parameters, each named as on the command line; and how large a file it may send."""

from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

from unshrink import video
from unshrink.batch import options as asked
from unshrink.pictures import formats
from unshrink.pictures.sizes import LEAST_SCALE, MOST_SCALE, box
from unshrink.sites.table import find, sites
from unshrink.video.containers import codec_of

Kind = Literal["picture", "clip"]
Action = Literal["downscale", "upscale"]

CLIPS = {"mkv": "video/x-matroska", "mp4": "video/mp4", "mov": "video/quicktime"}
"""The formats of clips, and what browsers call them."""

Scale = Annotated[int | None, Field(ge=2, le=8, description="how many times smaller each side is (default: 2)")]
AnyScale = Annotated[
    float | None,
    Field(ge=LEAST_SCALE, le=MOST_SCALE, description="how many times smaller each side is, 1.1 to 8 (default: 2)"),
]
Fit = Annotated[
    str | None,
    AfterValidator(lambda text: text and "{}x{}".format(*box(text))),
    Field(description="instead of scale: as large as fits, 1600 for the longest side, 1280x1280 for a box"),
]
Model = Annotated[
    str | None,
    Field(pattern=r"^[a-z0-9-]{1,64}$", description="weights to use, one of /v1/models (default: by the scale)"),
]
Form = Annotated[
    str | None,
    AfterValidator(lambda name: name and formats.writable(name).name),
    Field(
        description="of the picture that comes back (default: png, or what the site passes on)",
        json_schema_extra={"enum": [*formats.WRITTEN, None]},
    ),
]
AnyForm = Annotated[
    str | None,
    Field(
        description="of what comes back (default: png, or what the site passes on; small clips mkv, restored mp4)",
        json_schema_extra={"enum": [*formats.WRITTEN, *CLIPS, None]},
    ),
]
For = Annotated[
    str | None,
    AfterValidator(lambda name: name and find(name).name),
    Field(
        description="instead of fit: a site that does not resize it; upright, without EXIF, marked",
        json_schema_extra={"enum": [*(row.name for row in sites()), None]},
    ),
]
Marked = Annotated[
    bool | None,
    Field(description="say in the pixels which weights made it (default: with weights for lossy formats, or a site)"),
]
Lossy = Annotated[bool, Field(description="allow jpeg and avif; what comes back is then much worse")]
MostPixels = Annotated[int | None, Field(ge=1, description="instead of scale: as large as has no more")]
Quality = Annotated[int | None, Field(ge=1, le=100, description="of jpeg, avif, lossy webp (default: 85)")]
AnyQuality = Annotated[
    int | None,
    Field(
        ge=1, le=100, description="of jpeg, avif, lossy webp (default: 85), clips in H.264 (default: 80, restored 90)"
    ),
]
Codec = Annotated[
    Literal["ffv1", "h264-rgb", "h264"] | None,
    Field(
        description="of clips: ffv1 (default in mkv) and h264-rgb keep every value, h264 (default elsewhere) does not"
    ),
]
Frames = Annotated[
    str | None,
    Field(pattern=r"^\d{0,9}:\d{0,9}$", description="of clips: A:B for frames A to B - 1 alone, from 0"),
]
Depth = Annotated[
    int | None,
    Field(ge=8, le=16, multiple_of=8, description="bits of the small picture's values, 8 or 16 (default: the large's)"),
]
Effort = Annotated[int, Field(ge=0, le=9, description="steps in search of a small picture of which more comes back")]
Seed = Annotated[int, Field(ge=0, lt=1 << 63, description="of the draw, for weights that restore by one")]
Verify = Annotated[bool, Field(description="also restore it, and say in X-Unshrink-PSNR-... how close it comes")]
Strip = Annotated[bool, Field(description="leave out colour profile, EXIF (orientation too), XMP and resolution")]


@dataclass(frozen=True)
class Bound:
    """How large a picture, or a frame of a clip, may be.

    Attributes:
        pixels: of the one that comes in, or of the one that would come out.
        advice: what is said of more.
    """

    pixels: int
    advice: str


class Options(BaseModel):
    """What a request may ask for; each is named as on the command line."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    enlarges: ClassVar[bool] = False
    """Whether the large file is the one that is made."""

    @property
    def passes(self) -> int:
        """How often the large picture goes through the network, about: what the time for one pixel is counted in."""
        return 1


class CompareOptions(Options):
    """Which weights."""

    scale: Scale = None
    model: Model = None

    @property
    def passes(self) -> int:
        """Down and up."""
        return 2


class FileOptions(Options):
    """What is asked for where a file comes back."""

    kind: ClassVar[Kind]
    usual: ClassVar[str]
    """The format where none is asked for."""

    model: Model = None
    format: str | None = None

    @property
    def form(self) -> str:
        """The format of the file that comes back."""
        return self.format or self.usual

    @property
    def extension(self) -> str:
        """Of the file that comes back, with its dot."""
        return f".{self.form}" if self.form in CLIPS else formats.FORMATS[self.form].extension

    @property
    def media_type(self) -> str:
        """What browsers call the format of the file that comes back."""
        return CLIPS.get(self.form) or formats.FORMATS[self.form].media_type


class PictureOptions(FileOptions):
    """What is asked for where a picture comes back."""

    kind = "picture"
    usual = "png"

    format: Form = None
    strip: Strip = False


class DownscaleOptions(PictureOptions):
    """How to make a picture small."""

    scale: AnyScale = None
    fit: Fit = None
    max_pixels_out: MostPixels = None
    site: For = None
    lossy: Lossy = False
    quality: Quality = None
    chroma: Annotated[Literal["4:2:0", "4:4:4"] | None, Field(description="of jpeg and avif (default: 4:2:0)")] = None
    max_bytes: Annotated[
        int | None, Field(ge=1, description="the best quality, then the next larger scale, that fits into so many")
    ] = None
    depth: Depth = None
    mark: Marked = None
    effort: Effort = 0
    verify: Verify = False

    @model_validator(mode="after")
    def _meant(self) -> Self:
        """Raises UsageError for options that contradict each other."""
        self.asked()
        return self

    def asked(self, **others: Any) -> asked.DownscaleOptions:
        """What the library is asked for."""
        return asked.DownscaleOptions(**self.model_dump() | {"fit": self.fit and box(self.fit)}, **others)

    @property
    def form(self) -> str:
        """PNG where none is asked for, or what the site passes on."""
        return self.format or self.asked().usual_format

    @property
    def passes(self) -> int:
        """Those of a search are measured: docs/effort.md."""
        return 1 + self.verify + (3 + 2 * self.effort if self.effort else 0)


class UpscaleOptions(PictureOptions):
    """How to restore a picture."""

    enlarges = True

    seed: Seed = 0


class ClipOptions(FileOptions):
    """What is asked for where a clip comes back."""

    kind = "clip"

    format: Annotated[Literal["mkv", "mp4", "mov"] | None, Field(description="of the clip that comes back")] = None
    codec: Codec = None
    quality: Quality = None
    frames: Frames = None

    @model_validator(mode="after")
    def _meant(self) -> Self:
        """Raises UnshrinkError for options that contradict each other, and where there is nothing that reads clips."""
        self.asked()
        codec_of(f"clip{self.extension}", self.codec)  # refuses
        return self

    def asked(self, **others: Any) -> video.VideoOptions:
        """What the library is asked for."""
        own = self.model_dump(exclude={"format"})
        first, end = ((int(side) if side else None) for side in (self.frames or ":").split(":"))
        sizes = {"fit": box(own["fit"])} if own.get("fit") else {}
        return video.VideoOptions(**own | sizes | {"frames": (first, end)}, **others)


class ClipDownscaleOptions(ClipOptions):
    """How to make a clip small."""

    usual = "mkv"

    scale: AnyScale = None
    fit: Fit = None
    max_pixels_out: MostPixels = None
    lossy: Lossy = False


class ClipUpscaleOptions(ClipOptions):
    """How to restore a clip."""

    usual = "mp4"
    enlarges = True


class JobOptions(DownscaleOptions, UpscaleOptions):
    """What to do, and all options of it, for pictures and for clips: which of the two is known with the file."""

    action: Action
    format: AnyForm = None
    quality: AnyQuality = None
    codec: Codec = None
    frames: Frames = None

    @model_validator(mode="after")
    def _meant(self) -> Self:
        """Nothing is refused before it is known of which kind the file is."""
        return self


OF: dict[tuple[Kind, Action], type[FileOptions]] = {
    ("picture", "downscale"): DownscaleOptions,
    ("picture", "upscale"): UpscaleOptions,
    ("clip", "downscale"): ClipDownscaleOptions,
    ("clip", "upscale"): ClipUpscaleOptions,
}
"""The options of each action on each kind of file."""

PARAMETERS = {name: field.annotation is bool for options in OF.values() for name, field in options.model_fields.items()}
"""The names of all options, and whether each is just true or false."""
