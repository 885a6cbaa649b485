"""The commands that measure and show what was measured: a task for each picture and one for the result of each set.

So a picture that cannot be read is reported and left out, as with every command, and the run goes on.
"""

import functools
import itertools
import logging
from argparse import Namespace
from collections.abc import Iterator
from pathlib import Path

from unshrink import weights as zoo
from unshrink.cli.pictures import load_model
from unshrink.cli.tasks import Result, Task
from unshrink.errors import ImageError
from unshrink.evaluation import crops, results, tables
from unshrink.evaluation.report import CROPS, page
from unshrink.evaluation.run import Evaluation, evaluation_of, load_lpips, plan
from unshrink.evaluation.sets import find_set
from unshrink.files import atomic_write
from unshrink.runtime.rescaler import Rescaler
from unshrink.text import decibels

logger = logging.getLogger("unshrink")


def measure(args: Namespace) -> list[Task]:
    """Any weights over any folders or sets."""
    sets = [find_set(name) for name in args.data]
    lpips = load_lpips(args.lpips) if args.lpips else None
    models = [load_model(args, name) for name in args.models or zoo.list_models()]
    evaluations = (evaluation_of(model, one, lpips, args.threads) for model in models for one in sets)
    work: list[Task] = []
    above = itertools.chain([tables.heading() + "\n"], itertools.repeat(""))  # the first line has the headings
    for target, one in plan(evaluations, args.output, args.overwrite).items():
        work += [Task(str(path), functools.partial(_add, one, path)) for path in one.pictures.files]
        work.append(Task(str(target), functools.partial(_finish, one, target, above)))
        if args.crops:
            model = next(model for model in models if model.name == one.method)
            work.append(Task(str(target), functools.partial(_show, one, model, Path(args.output))))
    return work


def _add(evaluation: Evaluation, path: Path) -> Result:
    found = evaluation.add(path)
    luma, rgb, chroma = (decibels(found[key]) for key in ("psnr_y", "psnr_rgb", "psnr_chroma"))
    logger.debug(f"{path}: {evaluation.method}, {luma} dB (luma), {rgb} dB (RGB), {chroma} dB (chroma)")
    return Result({"input": str(path), "method": evaluation.method, "set": evaluation.pictures.name, **found})


def _finish(evaluation: Evaluation, target: Path, above: Iterator[str]) -> Result:
    result = results.write(evaluation.result(), target)
    missing = f", {len(result['skipped'])} left out" if result["skipped"] else ""
    logger.info(f"{target}: {len(result['pictures'])} pictures{missing}, peak memory {result['peak_megabytes']} MB")
    return Result({"output": str(target), **result}, next(above) + tables.line(result))


def _show(evaluation: Evaluation, model: Rescaler, results: Path) -> Result:
    """Crops of the picture that comes back worst, for the page of results."""
    name = evaluation.worst()
    folder = results / crops.FOLDER / f"{evaluation.method}-{evaluation.pictures.name}"
    crops.save(folder, f"{evaluation.pictures.name}, {name}", evaluation.large(name), model)
    return Result({"output": str(folder), "picture": name})


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
    if not any(folder.glob(CROPS)):
        logger.info("the page has no pictures: unshrink eval --crops makes some")
    methods = len({one["method"] for one in found.measured})
    data = {"output": str(target), "results": len(found.measured), "methods": methods}
    return Result(data, f"{target}: {len(found.measured)} results of {methods} methods")
