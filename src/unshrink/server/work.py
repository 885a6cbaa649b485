"""What the workers of the service do: a picture's bytes in, a picture's bytes or figures out, as the command line does.

Everything here runs in a process of its own (`unshrink.batch.worker`) and holds one picture at a time.
"""

import io
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from typing import Annotated, Any, Literal, Self

import numpy as np
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

from unshrink import weights as zoo
from unshrink.batch import options as asked
from unshrink.batch import rescale
from unshrink.batch.files import Source
from unshrink.batch.rescale import Downscaler, Upscaler
from unshrink.errors import UnshrinkError, UnshrinkWarning
from unshrink.evaluation import compare as comparison
from unshrink.pictures import formats
from unshrink.pictures import io as images
from unshrink.pictures.image import Image
from unshrink.pictures.sizes import LEAST_SCALE, MOST_SCALE, box
from unshrink.runtime import memory, rescaler
from unshrink.runtime.backends import compiled
from unshrink.runtime.rescaler import Rescaler
from unshrink.server.jobs import Job, Jobs
from unshrink.server.sentences import in_http
from unshrink.sites.table import find, sites

_SIDE = 384  # pixels of the square that tells the speed
TOLD = ("psnr_y", "psnr_rgb", "quality", "chroma", "site", "arrives")  # of what the library says of a small picture
NAME = "the picture"  # what messages call it: the service is told no names
Tell = Callable[[float], object]  # is told which share of the work is done


def _nobody(progress: float) -> None:
    """To whom a request's progress is told."""


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


@dataclass(frozen=True)
class Limits:
    """What a worker may use.

    Attributes:
        threads: to compute with.
        workers: that share the memory.
    """

    threads: int
    workers: int


@dataclass(frozen=True)
class Bound:
    """How large a picture may be.

    Attributes:
        pixels: of the one that comes in, or of the one that would come out.
        advice: what is said of more.
    """

    pixels: int
    advice: str


@dataclass(frozen=True)
class Answer:
    """What became of a picture.

    Attributes:
        data: a picture file, or figures.
        facts: what is said of it: model, scale, size of the picture that came in, seconds, notes, and what of `TOLD`
            there is.
    """

    data: Any
    facts: dict[str, Any]


_limits: Limits
_rescalers: dict[str, Rescaler] = {}


def prepare(limits: Limits) -> None:
    """Makes a new process ready: the default network is read, so that the first request need not wait for it."""
    global _limits
    _limits, memory.sharers = limits, limits.workers
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        compiled.place()  # what it warns of is said once: by the service to its operator, not here to a client
    _rescaler(zoo.for_scale(zoo.DEFAULT_SCALE).name)


def speed() -> tuple[int, float]:
    """Pixels of a picture that the default network made small, and the seconds that it took: the process is ready."""
    picture = Image(np.random.default_rng(0).integers(0, 256, (_SIDE, _SIDE, 3), np.uint8))
    model = _rescaler(zoo.for_scale(zoo.DEFAULT_SCALE).name)
    times = []
    with _one_picture(Bound(_SIDE**2, "")):
        for _ in range(3):
            began = time.perf_counter()
            model.downscale(picture)
            times.append(time.perf_counter() - began)
    return _SIDE**2, min(times[1:])  # the first time the network is compiled


def downscale(body: bytes, options: DownscaleOptions, bound: Bound, tell: Tell = _nobody) -> Answer:
    """A large picture to a small one."""
    return _rescaled(body, options.form, bound, tell, lambda: _downscaler(options, bound))


def upscale(body: bytes, options: UpscaleOptions, bound: Bound, tell: Tell = _nobody) -> Answer:
    """A small picture to a large one."""
    return _rescaled(body, options.form, bound, tell, lambda: _upscaler(options, bound))


def _rescaled(body: bytes, form: str, bound: Bound, tell: Tell, make: Callable[[], Downscaler | Upscaler]) -> Answer:
    with _one_picture(bound) as caught:
        began = time.perf_counter()
        image = images.read(body, max_pixels=bound.pixels)
        stream = io.BytesIO()
        written = make().write(Source(NAME, image, len(body)), stream, form, tell)
        told = {key: value for key, value in written.facts.items() if key in TOLD}
        return Answer(stream.getvalue(), {**_facts(written.model, image, began, caught), **told})


def compare(body: bytes, options: CompareOptions, bound: Bound) -> Answer:
    """The figures of a round trip."""
    with _one_picture(bound) as caught:
        began = time.perf_counter()
        image = images.read(body, max_pixels=bound.pixels)
        model = rescale.named_model(options.model, options.scale, _rescaler)
        figures = comparison.as_json(comparison.compare(image, model, len(body)))
        return Answer(figures, _facts(model, image, began, caught))


ACTIONS: dict[str, tuple[Callable[..., Answer], type[PictureOptions]]] = {
    "downscale": (downscale, DownscaleOptions),
    "upscale": (upscale, UpscaleOptions),
}


def do_job(jobs: Jobs, job: Job, bound: Bound) -> dict[str, Any]:
    """What a request asks for, from file to file; the facts come back."""
    action, options = ACTIONS[job.action]
    body = jobs.source(job.id).read_bytes()
    answer = action(body, options(**job.options), bound, lambda progress: jobs.advance(job, progress))
    jobs.write_result(job.id, answer.data)
    return answer.facts


@contextmanager
def _one_picture(bound: Bound) -> Iterator[list[warnings.WarningMessage]]:
    """A list that fills with the warnings raised meanwhile; at the end no more memory is kept than before.

    What the library refuses is said as HTTP has it.
    """
    try:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always", UnshrinkWarning)
            yield caught
    except UnshrinkError as error:
        raise type(error)(in_http(str(error), PARAMETERS, bound.advice)) from error
    finally:
        for model in _rescalers.values():
            model.backend.release()
        memory.trim()  # once for all models


def _downscaler(options: DownscaleOptions, bound: Bound) -> Downscaler:
    return Downscaler(options.asked(max_pixels=bound.pixels), _rescaler)


def _upscaler(options: UpscaleOptions, bound: Bound) -> Upscaler:
    wanted = asked.UpscaleOptions(**options.model_dump(), max_pixels=bound.pixels)
    named = _rescaler(options.model) if options.model else None
    return Upscaler(wanted, named, lambda name, identity: _rescaler(_recorded(name, identity)))


def _rescaler(name: str) -> Rescaler:
    """Installed weights, read once."""
    if name not in _rescalers:
        _rescalers[name] = rescaler.load(name, threads=_limits.threads)
    return _rescalers[name]


@cache
def _recorded(name: str, identity: str) -> str:
    """The name here of the weights that made a picture."""
    return zoo.find(name, identity).name


def _facts(model: Rescaler, image: Image, began: float, caught: list[warnings.WarningMessage]) -> dict[str, Any]:
    warned = [str(warning.message) for warning in caught if issubclass(warning.category, UnshrinkWarning)]
    return {
        "model": model.name,
        "scale": model.scale,
        "size": image.size,
        "seconds": round(time.perf_counter() - began, 3),
        "notes": [in_http(note, PARAMETERS, "") for note in (*image.notes, *warned)],
    }
