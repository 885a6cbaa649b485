"""The pictures of a folder or bucket, on all machines of a Ray cluster.

    from unshrink.cluster import downscale, upscale

    rows = downscale("s3://photos/2026", "s3://small/2026", workers=16)
    print([row for row in rows if row["error"]])

Ray starts the workers, hands each the names of pictures and replaces those that die.  What the target holds is what is
done: run it again to go on.  Every object is written whole and once, however often its picture was tried.
"""

import io
import re
from collections.abc import Callable
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Any

from unshrink import weights as zoo
from unshrink.batch.files import Source
from unshrink.batch.options import DownscaleOptions, UpscaleOptions
from unshrink.batch.rescale import Downscaler, Upscaler, downscaler, upscaler
from unshrink.errors import ConfigError, UnshrinkError, not_installed
from unshrink.pictures import io as images
from unshrink.pictures.find import is_picture
from unshrink.pictures.formats import EXTENSIONS
from unshrink.pictures.sizes import SUFFIX

try:
    import obstore
    import ray
    from obstore.exceptions import AlreadyExistsError
    from obstore.store import LocalStore, ObjectStore, from_url
    from ray.data import ActorPoolStrategy, DataContext
except ModuleNotFoundError as error:
    raise not_installed(f"{error.name} is not installed", "ray") from None

RETRIES = 2  # of a picture whose worker dies

Rows = list[dict[str, str]]
Make = Callable[[], Downscaler | Upscaler]


def downscale(source: str, target: str, *, model: str = "irn-x2", workers: int = 2, threads: int = 1) -> Rows:
    """Makes all pictures below one place small, into another, as ``<stem>_x<scale>.png``.

    Args:
        source: a folder, or a URL: s3://bucket/prefix, gs://..., az://...; credentials and endpoint come from the
            environment of the workers, as obstore reads them (AWS_ACCESS_KEY_ID, AWS_ENDPOINT, ...).
        target: the same, for the small pictures; on several machines a folder must be one that all of them see.
        model: the weights, by name or path.
        workers: how many pictures at once.
        threads: CPUs for each.

    Returns:
        A row for each picture: "input", "output" and "error", "" where the output is there.

    Raises:
        ConfigError: no pictures, or two that would become one.
        ModelNotFoundError: no such weights.
    """
    suffix = f"_x{zoo.load(model).scale}"
    return _run(
        source,
        target,
        lambda stem: stem + suffix,
        partial(downscaler, DownscaleOptions(model=model, threads=threads)),
        workers,
        threads,
    )


def upscale(source: str, target: str, *, model: str | None = None, workers: int = 2, threads: int = 1) -> Rows:
    """Restores the large pictures of all small ones below one place, as ``<stem>_restored.png``; see `downscale`.

    Without a model, each picture is restored with the weights that made it.
    """

    def rename(stem: str) -> str:
        return re.sub(SUFFIX, "", stem) + "_restored"

    return _run(
        source, target, rename, partial(upscaler, UpscaleOptions(model=model, threads=threads)), workers, threads
    )


def _run(source: str, target: str, rename: Callable[[str], str], make: Make, workers: int, threads: int) -> Rows:
    rows = _plan(source, rename)
    context = DataContext.get_current()
    context.max_errored_blocks = -1  # a picture that kills its workers costs no other
    pictures = ray.data.from_items(rows, override_num_blocks=len(rows)).map(
        _Worker,
        fn_constructor_args=(source, target, make),
        compute=ActorPoolStrategy(size=workers),
        num_cpus=threads,
        ray_remote_args_fn=lambda: {"max_restarts": -1, "max_task_retries": RETRIES},
    )
    done = {row["input"]: row for row in pictures.take_all()}
    died = f"the process at work on it died {RETRIES + 1} times, as when memory runs out"
    return [done.get(row["input"], {**row, "error": died}) for row in rows]


def _plan(source: str, rename: Callable[[str], str]) -> Rows:
    """The pictures below a place, in the order of their names, each with the name of what it becomes."""
    found = sorted(str(entry["path"]) for batch in obstore.list(_store(source)) for entry in batch)
    rows: Rows = []
    makers: dict[str, str] = {}
    for name in found:
        path = PurePosixPath(name)
        if not is_picture(path):
            continue
        output = str(path.with_name(f"{rename(path.stem)}.png"))
        if output in makers:
            raise ConfigError(f"{makers[output]} and {name} would both become {output}: rename one")
        makers[output] = name
        rows.append({"input": name, "output": output, "error": ""})
    if not rows:
        raise ConfigError(f"no pictures in {source}: their names must end in {', '.join(sorted(EXTENSIONS))}")
    return rows


class _Worker:
    """Holds a network and does one picture after the other."""

    def __init__(self, source: str, target: str, make: Make) -> None:
        self.source, self.target, self.how = _store(source), _store(target), make()

    def __call__(self, row: dict[str, Any]) -> dict[str, Any]:
        """The row of a picture, with what went wrong."""
        try:
            self._do(row["input"], row["output"])
        except UnshrinkError as error:
            return {**row, "error": str(error)}
        except Exception as error:  # of the store, or a bug: in a pipeline, the row is where it is seen
            return {**row, "error": f"{type(error).__name__}: {error}"}
        return row

    def _do(self, name: str, output: str) -> None:
        try:
            obstore.head(self.target, output)
        except FileNotFoundError:
            file, stream = bytes(obstore.get(self.source, name).bytes()), io.BytesIO()
            self.how.write(Source(name, images.scan(file), len(file)), stream, "png")
            try:
                obstore.put(self.target, output, stream.getvalue(), mode="create")
            except AlreadyExistsError:  # another worker had the same picture, and has made the same of it
                return


def _store(place: str) -> ObjectStore:
    return from_url(place) if "://" in place else LocalStore(Path(place), mkdir=True)
