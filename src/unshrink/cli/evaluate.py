"""The command that measures: methods over sets of pictures, a task for each picture and one for the result of each set.

So a picture that cannot be read is reported and left out, as with every command, and the run goes on.
"""

import functools
import importlib.metadata
import itertools
import json
import logging
import os
from argparse import Namespace
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from unshrink import weights as zoo
from unshrink.cli.pictures import load_model
from unshrink.cli.tasks import Result, Task
from unshrink.errors import ImageError, MissingDependencyError, UsageError
from unshrink.evaluation import results
from unshrink.evaluation.protocol import Distance, trips_of
from unshrink.evaluation.report import page
from unshrink.evaluation.sets import DataSet, Evaluation, data_set
from unshrink.files import atomic_write
from unshrink.network.layers import operations
from unshrink.runtime.rescaler import Rescaler

COLUMNS = (  # of the table: heading, figure, how it is written
    ("PSNR-Y", "psnr_y", ".2f"),
    ("SSIM-Y", "ssim_y", ".4f"),
    ("RGB", "psnr_rgb", ".2f"),
    ("SSIM", "ssim_rgb", ".4f"),
    ("LPIPS", "lpips", ".4f"),
    ("small Y", "lr_psnr_y", ".2f"),
    ("SSIM-Y", "lr_ssim_y", ".4f"),
    ("PNG bpp", "png_bits_per_pixel", ".2f"),
    ("WebP", "webp_bits_per_pixel", ".2f"),
    ("down", "down_seconds_per_megapixel", ".2f"),
    ("up s/MP", "up_seconds_per_megapixel", ".2f"),
)
NAMES, NUMBERS = 18, 8  # widths of the columns

logger = logging.getLogger("unshrink")


def measure(args: Namespace) -> list[Task]:
    """Any weights over any folders or sets."""
    sets = [data_set(name) for name in args.data]
    lpips = perceptual(args.lpips)
    models = [load_model(args, name) for name in args.models or zoo.list_models()]
    evaluations = (of_rescaler(model, data, args.threads, lpips) for model in models for data in sets)
    return tasks(evaluations, args.output, args.overwrite)


def perceptual(folder: str | None) -> Distance | None:
    """LPIPS with the weights in a folder; None for no folder.

    Raises:
        ConfigError: they are not there.
        MissingDependencyError: torch is not installed.
    """
    if not folder:
        return None
    try:
        from unshrink.evaluation.lpips import LPIPS
    except ImportError:
        raise MissingDependencyError('--lpips needs torch: pip install "unshrink[torch]"') from None
    return LPIPS(folder)


def of_rescaler(model: Rescaler, data: DataSet, threads: int, lpips: Distance | None = None) -> Evaluation:
    """Weights over a set, with what identifies them and what runs them; threads: 0 for all cores."""
    name, made = model.backend.name, model.weights
    about = {
        "weights": made.identity,
        "parameters": sum(tensor.size for tensor in made.tensors.values()),
        "operations": 2 * operations(made.steps["down"]),
        "backend": f"{name} {importlib.metadata.version(name)}",
        "precision": "bfloat16" if model.backend.fast else "float32",
        "threads": threads or os.cpu_count(),
    }
    return Evaluation(model.name, model.scale, data, trips_of(model, lpips), about)


def tasks(evaluations: Iterable[Evaluation], output: str, overwrite: bool) -> list[Task]:
    """What measures and writes ``<output>/<method>/<set>.json`` for each.

    Raises:
        UsageError: two results would have the same name.
        ImageError: a result exists already.
    """
    work: list[Task] = []
    targets: set[Path] = set()
    above = itertools.chain([heading() + "\n"], itertools.repeat(""))  # the first line of the table has the headings
    for evaluation in evaluations:
        target = Path(output) / evaluation.method / f"{evaluation.data.name}.json"
        if target in targets:
            raise UsageError(f"two results would both become {target}: measure them one by one, with different outputs")
        if target.exists() and not overwrite:
            raise ImageError(f"cannot write {target}: the file exists already; choose another output or --overwrite")
        targets.add(target)
        work += [Task(str(path), functools.partial(_add, evaluation, path)) for path in evaluation.data.files]
        work.append(Task(str(target), functools.partial(_finish, evaluation, target, above)))
    return work


def _add(evaluation: Evaluation, path: Path) -> Result:
    row = evaluation.add(path)
    logger.debug(f"{path}: {evaluation.method}, {row['psnr_y']:.2f} dB (luma), {row['psnr_rgb']:.2f} dB (RGB)")
    return Result({"input": str(path), "method": evaluation.method, "set": evaluation.data.name, **row})


def _finish(evaluation: Evaluation, target: Path, above: Iterator[str]) -> Result:
    result = evaluation.result()
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ImageError(f"cannot write {target}: {error.strerror}; choose another output") from error
    with atomic_write(target, overwrite=True, error=ImageError) as stream:
        stream.write((json.dumps(result, indent=1) + "\n").encode())
    missing = f", {len(result['skipped'])} left out" if result["skipped"] else ""
    logger.info(f"{target}: {len(result['pictures'])} pictures{missing}, peak memory {result['peak_megabytes']} MB")
    return Result({"output": str(target), **result}, next(above) + line(result))


def heading() -> str:
    """The first line of the table."""
    return _line("method", "set", [name for name, _, _ in COLUMNS])


def line(result: Mapping[str, Any]) -> str:
    """One result as a line of the table; "inf" where nothing differs, "-" where a figure has no meaning."""
    return _line(result["method"], result["set"], [written(result["mean"], key, form) for _, key, form in COLUMNS])


def written(figures: Mapping[str, float | None], key: str, form: str) -> str:
    """A figure of a result as text."""
    value = figures.get(key, "-")
    return value if isinstance(value, str) else "inf" if value is None else format(value, form)


def _line(method: str, data: str, cells: list[str]) -> str:
    return method.ljust(NAMES) + data.ljust(NAMES) + "".join(cell.rjust(NUMBERS) for cell in cells)


# -- the page of results -----------------------------------------------------------------------------------------------


def report(args: Namespace) -> list[Task]:
    """The page of a folder of results."""
    target, folder = Path(args.output), Path(args.folder)
    if target.exists() and not args.overwrite:
        raise ImageError(f"cannot write {target}: the file exists already; choose another output or --overwrite")
    return [Task("", functools.partial(_write, folder, target))]


def _write(folder: Path, target: Path) -> Result:
    found = results.read(folder)
    with atomic_write(target, overwrite=True, error=ImageError) as stream:
        stream.write(page(found, folder).encode())
    methods = len({one["method"] for one in found.measured})
    data = {"output": str(target), "results": len(found.measured), "methods": methods}
    return Result(data, f"{target}: {len(found.measured)} results of {methods} methods")
