"""Methods over sets of pictures, measured and written to a folder of results.

A method of your own is an object with a name, a scale, `downscale` and `upscale`: `protocol.Method`.
"""

import importlib.metadata
import os
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from unshrink.errors import ImageError, UsageError, not_installed
from unshrink.evaluation.environment import environment, forget_peak_memory, peak_megabytes
from unshrink.evaluation.protocol import Distance, Measure, Method, NamedFigures, described, mean_by_name, trips_of
from unshrink.evaluation.results import SCHEMA, Result, write
from unshrink.evaluation.sets import PictureSet, find_set, set_hash
from unshrink.network.layers import operations
from unshrink.pictures import io as images
from unshrink.pictures import record as provenance
from unshrink.pictures.colour import RGB, over_white
from unshrink.pictures.resize import crop_to_multiple
from unshrink.runtime.backends import distribution
from unshrink.runtime.rescaler import Rescaler, load


def evaluate(
    methods: Iterable[str | Method],
    sets: Iterable[str | Path],
    output: str | Path = "results",
    *,
    lpips: Distance | None = None,
    overwrite: bool = False,
) -> Iterator[Result]:
    """Measures each method over each set, writes ``<output>/<method>/<set>.json``, and gives what it wrote.

    Args:
        methods: weights by name or file, rescalers, or methods of your own.
        sets: folders of large pictures, or names of test sets in ``$UNSHRINK_DATA/test``.
        output: the folder of results.
        lpips: also measure this, as `load_lpips` gives it.
        overwrite: replace results that exist.

    Yields:
        The results, as their files have them; a picture that cannot be read is left out, and named in ``skipped``.

    Raises:
        ImageError: no such set, a result that exists, or a set of which no picture could be measured.
        UsageError: two results would have the same name.
    """
    made = [load(method) if isinstance(method, str) else method for method in methods]
    chosen = [find_set(name) for name in sets]
    return run((evaluation_of(method, one, lpips) for method in made for one in chosen), output, overwrite)


def load_lpips(folder: str | Path) -> Distance:
    """LPIPS, with the weights in a folder.

    Raises:
        ConfigError: they are not there.
        MissingDependencyError: torch is not installed.
    """
    try:
        from unshrink.evaluation.lpips import LPIPS
    except ImportError:
        raise not_installed("LPIPS needs torch", "torch") from None
    return LPIPS(folder)


# -- one method over one set ---------------------------------------------------------------------------------------


@dataclass
class Evaluation:
    """One method over one set, picture by picture.

    Attributes:
        method: its name, such as "irn-x2".
        scale: how many times smaller the small picture is, along each side; for codecs, that of the compared weights.
        pictures: the set.
        measure: what is done with each picture.
        about: what else decides the result: weights, backend, versions of libraries.
        figures: of the pictures measured so far.
        skipped: why the others were not.
    """

    method: str
    scale: int
    pictures: PictureSet
    measure: Measure
    about: Mapping[str, Any] = field(default_factory=dict)
    figures: dict[str, NamedFigures] = field(default_factory=dict)
    skipped: dict[str, str] = field(default_factory=dict)
    sizes: dict[str, tuple[int, int]] = field(default_factory=dict)
    checksums: list[str] = field(default_factory=list)

    def add(self, path: Path) -> NamedFigures:
        """Measures one picture of the set.

        Raises:
            ImageError: it cannot be read, or is smaller than the scale; it is noted and left out.
        """
        if not self.figures:
            forget_peak_memory()
        name = path.relative_to(self.pictures.folder).as_posix()
        try:
            picture = over_white(images.read(path))
            hr = crop_to_multiple(picture, self.scale)
            if not hr.size:
                raise ImageError(f"cannot use {path}: {picture.shape[1]}x{picture.shape[0]} is smaller than the scale")
        except ImageError as error:
            self.skipped[name] = str(error)
            raise
        self.figures[name] = self.measure(name, hr)
        self.sizes[name] = (hr.shape[1], hr.shape[0])
        self.checksums.append(provenance.checksum(picture))
        return self.figures[name]

    def worst(self) -> str:
        """The name of the picture that comes back worst, by PSNR-Y.

        Raises:
            ImageError: no picture could be measured.
        """
        self._require_one()
        return min(self.figures, key=lambda name: self.figures[name]["psnr_y"])

    def large(self, name: str) -> RGB:
        """A picture of the set as it is measured: 8-bit RGB over white, cut to a multiple of the scale.

        Raises:
            ImageError: it cannot be read.
        """
        return crop_to_multiple(over_white(images.read(self.pictures.folder / name)), self.scale)

    def whole(self) -> Result:
        """Measures the whole set; what cannot be read is left out.

        Raises:
            ImageError: no picture could be measured.
        """
        for path in self.pictures.files:
            with suppress(ImageError):
                self.add(path)
        return self.result()

    def result(self) -> Result:
        """What was measured, as the JSON file has it; an infinite PSNR (nothing differs) is null.

        Raises:
            ImageError: no picture could be measured.
        """
        self._require_one()
        return {
            "schema": SCHEMA,
            "method": self.method,
            "scale": self.scale,
            "set": self.pictures.name,
            "set_hash": set_hash(self.checksums),
            "protocol": described(self.scale),
            "mean": _finite(mean_by_name(self.figures.values())),
            "peak_megabytes": peak_megabytes(),
            **self.about,
            **environment(),
            "pictures": {
                name: {"size": list(self.sizes[name]), **_finite(found)} for name, found in self.figures.items()
            },
            "skipped": self.skipped,
        }

    def _require_one(self) -> None:
        if not self.figures:
            tried = self.pictures
            raise ImageError(f"none of the {len(tried.files)} pictures in {tried.folder} could be measured")


def evaluation_of(method: Method, pictures: PictureSet, lpips: Distance | None = None, threads: int = 0) -> Evaluation:
    """A method over a set, with what identifies it and what runs it; threads: of a rescaler, 0 for all cores.

    A method of another kind says what identifies it in an attribute ``about``, if it has one.
    """
    about = about_rescaler(method, threads) if isinstance(method, Rescaler) else getattr(method, "about", {})
    return Evaluation(method.name, method.scale, pictures, trips_of(method, lpips), about)


def about_rescaler(rescaler: Rescaler, threads: int = 0) -> dict[str, Any]:
    """What identifies a rescaler and what runs it; threads: 0 for all cores."""
    backend, made = rescaler.backend, rescaler.weights
    return {
        "weights": made.identity,
        "parameters": sum(tensor.size for tensor in made.tensors.values()),
        "operations": sum(operations(steps) for steps in made.steps.values()),
        "backend": f"{backend.name} {importlib.metadata.version(distribution(backend.name))}",
        "precision": backend.precision,
        "threads": threads or os.cpu_count(),
    }


def _finite(figures: NamedFigures) -> dict[str, float | None]:
    return {key: value if np.isfinite(value) else None for key, value in figures.items()}


# -- several -------------------------------------------------------------------------------------------------------


def run(evaluations: Iterable[Evaluation], output: str | Path, overwrite: bool = False) -> Iterator[Result]:
    """Measures one after the other, writes each result, and gives it.  Raises what `evaluate` does."""
    planned = plan(evaluations, output, overwrite)
    return (write(one.whole(), target) for target, one in planned.items())


def plan(evaluations: Iterable[Evaluation], output: str | Path, overwrite: bool) -> dict[Path, Evaluation]:
    """The file of each result, ``<output>/<method>/<set>.json``, and what is measured for it.

    Raises:
        UsageError: two results would have the same name.
        ImageError: a result exists already.
    """
    planned: dict[Path, Evaluation] = {}
    for evaluation in evaluations:
        target = Path(output) / evaluation.method / f"{evaluation.pictures.name}.json"
        if target in planned:
            raise UsageError(f"two results would both become {target}: measure them one by one, with different outputs")
        if target.exists() and not overwrite:
            advice = "choose another output or allow overwriting (`overwrite`)"
            raise ImageError(f"cannot write {target}: the file exists already; {advice}")
        planned[target] = evaluation
    return planned
