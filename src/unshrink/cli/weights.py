"""The commands that make weights: train, convert, export."""

import dataclasses
import logging
import os
from argparse import Namespace
from pathlib import Path

from unshrink import weights as zoo
from unshrink.cli.tasks import Result, Task
from unshrink.errors import MissingDependencyError, UsageError, WeightsError, not_installed

logger = logging.getLogger("unshrink")


def train(args: Namespace) -> list[Task]:
    """A whole training run."""
    try:
        from unshrink.training import config, loop
    except ModuleNotFoundError as error:
        if error.name != "torch":
            raise
        raise not_installed("train needs torch", "train") from None
    overrides = [*args.set, *([] if args.max_time is None else [f"run.max_time={args.max_time}"])]
    settings = config.load(args.config, overrides)

    def run() -> Result:
        path = loop.train(settings, resume=args.resume, report=logger.info)
        if path is None:
            raise KeyboardInterrupt
        return Result({"weights": str(path)})

    return [Task("", run)]


def convert(args: Namespace) -> list[Task]:
    """A published checkpoint to a weights file."""
    from unshrink.weights.convert import convert as read_checkpoint

    if args.name and not zoo.is_name(args.name):
        raise UsageError(f"--name {args.name!r} cannot be used: {zoo.NAME_RULE}")
    if not args.output.endswith(zoo.SUFFIX):
        raise UsageError(f"{args.output} must end in {zoo.SUFFIX}")
    if os.path.exists(args.output) and not args.overwrite:
        raise WeightsError(f"cannot write {args.output}: the file exists already; choose another name or --overwrite")

    def run() -> Result:
        weights = read_checkpoint(args.input)
        weights = dataclasses.replace(weights, name=args.name or weights.name)
        try:
            weights = _exported(weights)
        except MissingDependencyError as error:
            logger.warning(f"without graphs, which run it without torch; add them with unshrink export: {error}")
        zoo.save(args.output, weights)
        return _weights_written(args.input, args.output, weights)

    return [Task("", run)]


def export(args: Namespace) -> list[Task]:
    """Graphs into a weights file."""

    def run() -> Result:
        weights = _exported(zoo.load(Path(args.input)))
        zoo.save(args.input, weights)
        return _weights_written(args.input, args.input, weights)

    return [Task("", run)]


def _exported(weights: zoo.Weights) -> zoo.Weights:
    from unshrink.weights.export import export as add_graphs

    logger.info("making the graphs: this can take a few minutes")
    return add_graphs(weights)


def _weights_written(source: str, target: str, weights: zoo.Weights) -> Result:
    kind = "with" if weights.graphs else "without"
    logger.info(f"{target}: {weights.name}, scale {weights.scale}, {kind} graphs")
    identity = weights.identity[: zoo.IDENTITY_DIGITS]
    names = {"input": source, "output": target, "model": weights.name, "weights": identity}
    return Result({**names, "scale": weights.scale, "graphs": bool(weights.graphs)})
