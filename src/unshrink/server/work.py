"""What the workers of the service do: a picture's bytes in, a picture's bytes or figures out, as the command line does.

Everything here runs in a process of its own (`workers`) and holds one picture at a time.
"""

import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from typing import Annotated, Any, Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from unshrink import backends, commands
from unshrink import compare as comparison
from unshrink import image as images
from unshrink import weights as zoo
from unshrink.errors import UnshrinkWarning
from unshrink.files import atomic_write
from unshrink.image import Image
from unshrink.rescaler import Rescaler
from unshrink.server.jobs import Job, Jobs
from unshrink.tasks import UsageError
from unshrink.tiling import BYTES_PER_PIXEL, BYTES_PER_PIXEL_OF_GRADIENT, halo, largest_side

NAME = "the picture"  # what messages call it: the service is told no names
ENDLESS = 1 << 20  # a side longer than any picture's
Tell = Callable[[float], object]  # is told which share of the work is done


def _nobody(progress: float) -> None:
    """To whom a request's progress is told."""


Scale = Annotated[int | None, Field(ge=2, le=8, description="how many times smaller each side is (default: 2)")]
Model = Annotated[
    str | None,
    Field(pattern=r"^[a-z0-9-]{1,64}$", description="weights to use, one of /v1/models (default: by the scale)"),
]
Form = Annotated[Literal["png", "webp", "tiff", "jpeg", "avif"], Field(description="of the picture that comes back")]
Lossy = Annotated[bool, Field(description="allow jpeg and avif; what comes back is then much worse")]
Depth = Annotated[
    int | None,
    Field(ge=8, le=16, multiple_of=8, description="bits of the small picture's values, 8 or 16 (default: the large's)"),
]
Effort = Annotated[int, Field(ge=0, le=9, description="steps in search of a small picture of which more comes back")]
Seed = Annotated[int, Field(ge=0, lt=1 << 63, description="of the draw, for weights that restore by one")]
Strip = Annotated[bool, Field(description="leave out colour profile, EXIF (orientation too), XMP and resolution")]


class Options(BaseModel):
    """What a request may ask for; each is named as on the command line."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class CompareOptions(Options):
    """Which weights."""

    scale: Scale = None
    model: Model = None


class DownscaleOptions(CompareOptions):
    """How to make a picture small."""

    format: Form = "png"
    lossy: Lossy = False
    depth: Depth = None
    effort: Effort = 0
    strip: Strip = False


class UpscaleOptions(Options):
    """How to restore a picture."""

    model: Model = None
    format: Form = "png"
    seed: Seed = 0
    strip: Strip = False


@dataclass(frozen=True)
class Limits:
    """What a worker may use.

    Attributes:
        max_pixels: of a picture, the one that comes in or the one that would come out.
        threads: to compute with.
        workers: how many share the memory.
    """

    max_pixels: int
    threads: int
    workers: int


@dataclass(frozen=True)
class Answer:
    """What became of a picture.

    Attributes:
        data: a picture file, or figures.
        facts: what is said of it: model, scale, size of the picture that came in, seconds, notes.
    """

    data: Any
    facts: dict[str, Any]


_limits: Limits


def prepare(limits: Limits) -> None:
    """Makes a new process ready: the default network is read, so that the first request need not wait for it."""
    global _limits
    _limits = limits
    _network(zoo.for_scale(commands.DEFAULT_SCALE).name)


def ready() -> bool:
    """True, once the process is."""
    return True


def downscale(body: bytes, options: DownscaleOptions, tell: Tell = _nobody) -> Answer:
    """A large picture to a small one."""
    with _warnings() as caught:
        began = time.perf_counter()
        image = images.read(body, max_pixels=_limits.max_pixels)
        model = _named(options, options.effort)
        small_size = (-(-side // model.scale) for side in image.size)
        steps = options.effort + 2 if options.effort else 0  # gradients, and what both small pictures restore to
        model.backend = Told(model.backend, _tiles(model, *small_size) * (1 + image.alpha + steps), tell)
        image = image.strip() if options.strip else image
        depth = options.depth or min(image.depth, images.max_depth(f"picture.{options.format}"))
        small = model.downscale(image, depth=depth, effort=options.effort)
        file = commands._encoded(small, options.format, options.lossy)
        return Answer(file, _facts(model, image, began, caught))


def upscale(body: bytes, options: UpscaleOptions, tell: Tell = _nobody) -> Answer:
    """A small picture to a large one."""
    with _warnings() as caught:
        began = time.perf_counter()
        image = images.read(body, max_pixels=_limits.max_pixels)
        if options.model:
            _, image = commands._record_if_sound(image)
            model = _rescaler(options.model)
        else:
            record = commands._required_record(image, NAME)
            model = _rescaler(_recorded(record.model, record.weights))
        commands._refuse_huge(image, model.scale, _limits.max_pixels, NAME)
        model.backend = Told(model.backend, _tiles(model, *image.size) * (1 + image.alpha), tell)
        large = model.upscale(image, seed=options.seed)
        file = commands._encoded(large.strip() if options.strip else large, options.format, True)
        return Answer(file, _facts(model, image, began, caught))


def compare(body: bytes, options: CompareOptions) -> Answer:
    """The figures of a round trip."""
    with _warnings() as caught:
        began = time.perf_counter()
        image = images.read(body, max_pixels=_limits.max_pixels)
        model = _named(options)
        figures = comparison.as_json(comparison.compare(image, model, len(body)))
        return Answer(figures, _facts(model, image, began, caught))


TASKS: dict[str, tuple[Callable[..., Answer], type[Options]]] = {
    "downscale": (downscale, DownscaleOptions),
    "upscale": (upscale, UpscaleOptions),
}


def do_job(jobs: Jobs, job: Job) -> dict[str, Any]:
    """What a request asks for, from file to file; the facts come back."""
    task, options = TASKS[job.action]
    answer = task(
        jobs.source(job.id).read_bytes(), options(**job.options), lambda progress: jobs.advance(job, progress)
    )
    with atomic_write(jobs.result(job.id), overwrite=True) as stream:
        stream.write(answer.data)
    return answer.facts


@contextmanager
def _warnings() -> Iterator[list[warnings.WarningMessage]]:
    """A list that fills with the warnings raised meanwhile."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", UnshrinkWarning)
        yield caught


def _named(options: CompareOptions, effort: int = 0) -> Rescaler:
    """The weights that model and scale ask for."""
    model = _rescaler(options.model or zoo.for_scale(options.scale or commands.DEFAULT_SCALE).name, effort)
    if options.scale and options.scale != model.scale:
        raise UsageError(f"scale {options.scale} contradicts the model: {model.name} has scale {model.scale}")
    return model


def _rescaler(name: str, effort: int = 0) -> Rescaler:
    """Installed weights, with tiles for which this worker's part of the memory is enough."""
    weights, backend = _network(name)
    bytes_per_pixel = (BYTES_PER_PIXEL_OF_GRADIENT if effort else BYTES_PER_PIXEL) * _limits.workers
    side = largest_side(ENDLESS, ENDLESS, weights.scale, halo(weights.config), bytes_per_pixel)
    return Rescaler(weights, backend, side)


@cache
def _recorded(name: str, identity: str) -> str:
    """The name here of the weights that made a picture."""
    return zoo.find(name, identity).name


@cache
def _network(name: str) -> tuple[zoo.Weights, backends.Backend]:
    weights = zoo.load(name)
    return weights, backends.make(weights, threads=_limits.threads)


class Told:
    """A backend that tells after each tile which share of the work is done.

    Args:
        backend: what runs the network.
        tiles: how many there will be.
        tell: whom to tell.
    """

    def __init__(self, backend: backends.Backend, tiles: int, tell: Tell) -> None:
        self.name = backend.name
        self._backend, self._tiles, self._tell, self._done = backend, tiles, tell, 0

    def down(self, hr: np.ndarray) -> np.ndarray:
        """As the backend's."""
        return self._told(self._backend.down(hr))

    def up(self, lr: np.ndarray, z: np.ndarray) -> np.ndarray:
        """As the backend's."""
        return self._told(self._backend.up(lr, z))

    def gradient(self, lr: np.ndarray, z: np.ndarray, hr: np.ndarray) -> np.ndarray:
        """As the backend's."""
        return self._told(self._backend.gradient(lr, z, hr))

    def _told(self, result: np.ndarray) -> np.ndarray:
        self._done += 1
        self._tell(min(self._done / self._tiles, 1.0))
        return result


def _tiles(model: Rescaler, width: int, height: int) -> int:
    return -(-width // model.tile) * -(-height // model.tile)


def _facts(model: Rescaler, image: Image, began: float, caught: list[warnings.WarningMessage]) -> dict[str, Any]:
    warned = [str(warning.message) for warning in caught if issubclass(warning.category, UnshrinkWarning)]
    return {
        "model": model.name,
        "scale": model.scale,
        "size": image.size,
        "seconds": round(time.perf_counter() - began, 3),
        "notes": [*image.notes, *warned],
    }
