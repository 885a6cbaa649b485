"""What the workers of the service do: a picture's bytes in, a picture's bytes or figures out, as the command line does.

Everything here runs in a process of its own (`unshrink.batch.worker`) and holds one picture at a time.
"""

import functools
import io
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from unshrink import weights as zoo
from unshrink.batch import options as asked
from unshrink.batch import rescale
from unshrink.batch.files import Source
from unshrink.batch.rescale import Downscaler, Upscaler
from unshrink.errors import UnshrinkError, UnshrinkWarning
from unshrink.evaluation import compare as comparison
from unshrink.pictures import io as images
from unshrink.pictures.image import Image
from unshrink.runtime import memory, rescaler
from unshrink.runtime.backends import compiled
from unshrink.runtime.rescaler import Rescaler
from unshrink.server import clips
from unshrink.server.jobs import Job, Jobs
from unshrink.server.options import (
    PARAMETERS,
    Bound,
    ClipOptions,
    CompareOptions,
    DownscaleOptions,
    FileOptions,
    UpscaleOptions,
)
from unshrink.server.sentences import in_http

_SIDE = 384  # pixels of the square that tells the speed
TOLD = ("psnr_y", "psnr_rgb", "quality", "chroma", "site", "arrives")  # of what the library says of a small picture
NAME = "the picture"  # what messages call it: the service is told no names
Tell = Callable[[float], object]  # is told which share of the work is done


def _nobody(progress: float) -> None:
    """To whom a request's progress is told."""


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


def do_job(jobs: Jobs, job: Job, options: FileOptions, bound: Bound) -> dict[str, Any]:
    """What a request asks for, from file to file; the facts come back."""
    tell = functools.partial(jobs.advance, job)
    source, result = jobs.source(job.id), jobs.result(job.id)
    match options:
        case ClipOptions():
            return _clip(source, result, options, bound, tell)
        case DownscaleOptions():
            answer = downscale(source.read_bytes(), options, bound, tell)
        case UpscaleOptions():
            answer = upscale(source.read_bytes(), options, bound, tell)
    jobs.write_result(job.id, answer.data)
    return answer.facts


def _clip(source: Path, result: Path, options: ClipOptions, bound: Bound, tell: Tell) -> dict[str, Any]:
    made = result.with_suffix(options.extension)  # which says the format
    with _one_picture(bound):
        facts = clips.make(source, made, options, bound, _limits.threads, tell)
    made.replace(result)
    return facts


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
