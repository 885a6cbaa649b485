"""The command that measures a round trip; what it draws and measures with is not loaded by those that make pictures."""

import functools
import logging
import os
import time
from argparse import Namespace
from pathlib import Path

from unshrink.batch import files, rescale
from unshrink.batch.items import STANDARD, Item
from unshrink.batch.plan import refuse_clashes
from unshrink.cli import clips
from unshrink.cli.pictures import load_model, refuse_terminals, say_seconds
from unshrink.cli.tasks import Result, Task
from unshrink.errors import UsageError
from unshrink.evaluation import compare as comparison
from unshrink.evaluation.drawing import figure
from unshrink.evaluation.protocol import Distance
from unshrink.evaluation.run import load_lpips
from unshrink.files import sweep
from unshrink.pictures import formats
from unshrink.runtime.computing import about
from unshrink.runtime.rescaler import Rescaler

logger = logging.getLogger("unshrink")


def compare(args: Namespace) -> list[Task]:
    """A round trip in memory, its figures and a picture of them."""
    if clips.are_clips(args, [args.input]):
        return clips.compare(args)
    model = rescale.named_model(args.model, args.scale, functools.partial(load_model, args))
    if args.output == STANDARD:
        raise UsageError("the table goes to standard output: give the figure the name of a file")
    source = Path("stdin" if args.input == STANDARD else args.input)
    target = args.output or str(source.with_name(f"{source.stem}_compare_x{model.scale}.png"))
    refuse_terminals([args.input], target)
    item = Item(args.input, target, formats.of_path(target).name, args.overwrite)
    refuse_clashes([item])
    lpips = load_lpips(args.lpips) if args.lpips else None
    return [Task(args.input, functools.partial(_compare, item, model, args.max_pixels, lpips))]


def _compare(item: Item, model: Rescaler, max_pixels: int | None, lpips: Distance | None) -> Result:
    began = time.perf_counter()
    sweep(os.path.dirname(os.path.realpath(item.target)))
    with files.opened(item.source, item.target, item.overwrite) as stream:
        source = files.read(item.source, max_pixels)
        result = comparison.compare(source.image.whole(), model, source.bytes, lpips)
        figure(result).save(stream, format=item.form)
    logger.info(f"the figure is {item.target}")
    facts = about(model, began)
    say_seconds(item.source, facts)
    names = {"input": item.source, "output": item.target}
    return Result({**names, **facts, **comparison.as_json(result)}, comparison.table(result))
