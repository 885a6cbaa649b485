"""What a request may ask for: its parameters, each named as on the command line."""

from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

from unshrink.batch import options as asked
from unshrink.pictures import formats
from unshrink.pictures.sizes import LEAST_SCALE, MOST_SCALE, box
from unshrink.sites.table import find, sites

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
Depth = Annotated[
    int | None,
    Field(ge=8, le=16, multiple_of=8, description="bits of the small picture's values, 8 or 16 (default: the large's)"),
]
Effort = Annotated[int, Field(ge=0, le=9, description="steps in search of a small picture of which more comes back")]
Seed = Annotated[int, Field(ge=0, lt=1 << 63, description="of the draw, for weights that restore by one")]
Verify = Annotated[bool, Field(description="also restore it, and say in X-Unshrink-PSNR-... how close it comes")]
Strip = Annotated[bool, Field(description="leave out colour profile, EXIF (orientation too), XMP and resolution")]


class Options(BaseModel):
    """What a request may ask for; each is named as on the command line."""

    model_config = ConfigDict(extra="forbid", frozen=True)

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


class PictureOptions(Options):
    """What is asked for where a picture comes back."""

    model: Model = None
    format: Form = None
    strip: Strip = False

    @property
    def form(self) -> str:
        """The format of the picture that comes back."""
        return self.format or "png"


class DownscaleOptions(PictureOptions):
    """How to make a picture small."""

    scale: AnyScale = None
    fit: Fit = None
    max_pixels_out: Annotated[int | None, Field(ge=1, description="instead of scale: as large as has no more")] = None
    site: For = None
    lossy: Lossy = False
    quality: Annotated[int | None, Field(ge=1, le=100, description="of jpeg, avif, lossy webp (default: 85)")] = None
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
        own = {name: value for name, value in self if name in DownscaleOptions.model_fields}
        return asked.DownscaleOptions(**own | {"fit": self.fit and box(self.fit)}, **others)

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

    seed: Seed = 0


PARAMETERS = {
    name: field.annotation is bool
    for options in (DownscaleOptions, UpscaleOptions)
    for name, field in options.model_fields.items()
}
"""The names of all options, and whether each is just true or false."""
