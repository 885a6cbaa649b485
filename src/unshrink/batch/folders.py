"""Folders of pictures, made small or restored: the whole of a batch in one call.

What can be refused is refused in the call, before any work; what goes wrong with one picture costs that picture alone.
"""

import dataclasses
import functools
import io
import os
import re
from collections.abc import Generator, Iterable, Iterator
from contextlib import closing
from typing import Any

import numpy as np

from unshrink import weights as zoo
from unshrink.batch.fitting import loss_of, may_change
from unshrink.batch.items import Item, Outcome, is_stream, skipped
from unshrink.batch.manifest import Manifest
from unshrink.batch.options import DownscaleOptions, UpscaleOptions
from unshrink.batch.plan import Request, in_shard, intention, plan, settle
from unshrink.batch.rescale import ANY_SIZE, Downscaler, Upscaler, downscaler, rescale_file, upscaler
from unshrink.batch.run import Batch, DoItem, attempt, threads_each, worker_count
from unshrink.files import sweep
from unshrink.pictures import io as images
from unshrink.pictures.image import Image
from unshrink.pictures.sizes import SUFFIX
from unshrink.runtime.streaming import Progress

LARGE_NAME = "{stem}_restored{ext}"

AnyPath = str | os.PathLike[str]
How = Downscaler | Upscaler


class Outcomes(Iterator[Outcome]):
    """What becomes of each picture, as it comes; ``len`` is how many pictures there are in all.

    Whoever drops or closes it ends the work: the workers end at once, and of what they had in hand nothing is left.
    The same call goes on from there.
    """

    def __init__(self, outcomes: Generator[Outcome], total: int) -> None:
        self._outcomes, self._total = outcomes, total

    def __len__(self) -> int:
        return self._total

    def __next__(self) -> Outcome:
        return next(self._outcomes)

    def close(self) -> None:
        """Ends the work."""
        self._outcomes.close()


def downscale(
    inputs: AnyPath | Iterable[AnyPath],
    out: AnyPath | None = None,
    options: DownscaleOptions | None = None,
    *,
    progress: Progress | None = None,
) -> Outcomes:
    """Makes pictures small: those of a folder, of a pattern, or several; or one.

    Several are done by worker processes, and the folder that they go to has a manifest: the same call goes on after an
    interruption, and does nothing twice.  One is done in this process, as the outcome is asked for.

    Args:
        inputs: a picture, a folder or a pattern like "a/**/*.jpg", or several of these; "-" for standard input.
        out: a file, a folder, or "-" for standard output; None for ``<stem>_x<scale>.png`` beside each picture, or
            ``<stem>_small.png`` where a size is asked for and no scale.
            Folders and patterns need a folder, which has the same subfolders afterwards.
        options: what is asked for with all alike; default: `DownscaleOptions()`.
        progress: what to call with the share that is done, 0 to 1: of the pictures, or of the one.

    Returns:
        An iterator of `Outcome`, one for each picture, in the order in which they come.  Nothing is done before it is
        asked, and Ctrl-C is heard by it: once to finish the pictures in hand, twice to stop at once.

    Raises:
        UsageError: inputs, out and options contradict each other, or two pictures would become one file.
        NothingMatchedError: folders and patterns without a picture.
        ImageError: a missing folder, or a format that cannot be written.
        UnshrinkError: the weights cannot be found, read or run here; while it is iterated, the manifest cannot be
            written, or another run is filling the folder.

    Example: see `unshrink.batch`.
    """
    options = options or DownscaleOptions()
    how = downscaler(options)
    request = Request(_names(inputs), _name(out), options)
    scale = how.scale(request.form)
    fields = {} if scale is None else {"scale": f"{scale:g}"}
    suffix = "_small" if scale is None else options.goal.suffix(scale)
    items = plan(request, f"{{stem}}{suffix}{{ext}}", lambda stem: {"stem": stem, **fields})
    _refuse(how, items[0].form)
    loss = loss_of(options, request.form)
    shape: dict[str, Any] = {
        "weights": how.identities(request.form),
        "goal": options.goal.as_json(),
        "depth": options.depth,
    }
    shape |= {"mark": options.marked, "site": options.site}
    shape |= {"effort": options.effort, "lossy": options.lossy, "max_bytes": options.max_bytes}
    return _start(request, items, how, shape | {"loss": loss and dataclasses.asdict(loss)}, progress)


def _refuse(how: Downscaler, form: str) -> None:
    """Raises an error where weights or format cannot be, for any picture."""
    options, lossy = how.options, how.options.lossy
    if not options.goal.depends_on_size:
        weights = how.model(ANY_SIZE, form).weights
        zoo.number_to_mark(weights, options.marked)
        lossy = may_change(options, weights)
    dot = Image(np.zeros((1, 1, 3), np.uint8))
    images.write(dot, io.BytesIO(), format=form, lossy=lossy, loss=loss_of(options, form))


def upscale(
    inputs: AnyPath | Iterable[AnyPath],
    out: AnyPath | None = None,
    options: UpscaleOptions | None = None,
    *,
    progress: Progress | None = None,
) -> Outcomes:
    """Restores the large pictures of small ones, as ``<stem>_restored.png``; for all else see `downscale`."""
    options = options or UpscaleOptions()
    how = upscaler(options)
    request = Request(_names(inputs), _name(out), options)
    items = plan(request, LARGE_NAME, lambda stem: {"stem": re.sub(SUFFIX, "", stem)})
    shape = {"model": options.model, "size": options.size, "seed": options.seed}
    return _start(request, items, how, shape, progress)


def _start(request: Request, items: list[Item], how: How, shape: dict[str, Any], progress: Progress | None) -> Outcomes:
    """Settles what is to be done about what is there, and hands the pictures to this process or to workers.

    Args:
        request: what is asked for.
        items: the pictures.
        how: what does them, in this process.
        shape: what shapes the results, beside command, format and strip: what was done with another is done again.
        progress: see `downscale`.
    """
    options, folder = request.options, request.folder if request.several else None
    shape = {"command": how.command, "format": items[0].form, "strip": options.strip, **shape}
    manifest = Manifest(folder, shape, options.shard)
    items = [settle(item, options.existing, manifest) for item in items if in_shard(item, folder, options.shard)]
    if options.dry_run:
        return Outcomes((intention(item) for item in items), len(items))
    if not request.several:
        return Outcomes(_alone(items, how, progress), len(items))
    workers = worker_count(options.workers, len(items))
    shared = dataclasses.replace(how.options, threads=threads_each(options.threads, workers))
    batch = Batch(items, functools.partial(_ready, shared), manifest, workers, options.timeout)
    return Outcomes(_counted(batch.outcomes(), len(items), progress), len(items))


def _alone(items: list[Item], how: How, progress: Progress | None) -> Generator[Outcome]:
    do = functools.partial(rescale_file, how=how, progress=progress)
    for item in items:
        if not is_stream(item.target):
            sweep(os.path.dirname(os.path.realpath(item.target)))
        yield skipped(item) if item.skip else attempt(item, do)


def _counted(outcomes: Generator[Outcome], total: int, progress: Progress | None) -> Generator[Outcome]:
    """Says how many of the pictures there are before each outcome is given."""
    with closing(outcomes):
        for number, outcome in enumerate(outcomes, 1):
            if progress:
                progress(number / total)
            yield outcome


def _ready(options: DownscaleOptions | UpscaleOptions) -> DoItem:
    """What a worker does with each picture."""
    how = downscaler(options) if isinstance(options, DownscaleOptions) else upscaler(options)
    return functools.partial(rescale_file, how=how)


def _names(inputs: AnyPath | Iterable[AnyPath]) -> list[str]:
    if isinstance(inputs, str | os.PathLike):
        return [os.fspath(inputs)]
    return [os.fspath(name) for name in inputs]


def _name(out: AnyPath | None) -> str | None:
    return None if out is None else os.fspath(out)
