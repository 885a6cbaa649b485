"""Many pictures: folders made small and restored, from Python as on the command line.

    >>> from unshrink import batch
    >>> options = batch.DownscaleOptions(recursive=True)
    >>> for outcome in batch.downscale("photos", "small", options):
    ...     print(outcome.status, outcome.output, outcome.facts["small_size"])
    done small/holiday/beach_x2.png (20, 12)
    >>> [outcome.status for outcome in batch.downscale("photos", "small", options)]
    ['skipped']
    >>> [outcome.output for outcome in batch.upscale("small", "back", batch.UpscaleOptions(recursive=True))]
    ['back/holiday/beach_restored.png']

Several pictures are done by worker processes, which import the script that starts them: in a script, the calls stand
under ``if __name__ == "__main__":``.  A notebook needs nothing of the kind.

A picture that cannot be done costs no other: its outcome has the status "failed", and ``error`` says why.  After an
interruption the same call goes on where it was: the manifest in the folder says what is done.

Names are imported when they are first used: the help pages of the command line need the options alone.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from unshrink.batch.folders import Outcomes, downscale, upscale
    from unshrink.batch.items import Outcome
    from unshrink.batch.options import BatchOptions, DownscaleOptions, UpscaleOptions

_HOME_OF = {
    "Outcomes": "folders",
    "downscale": "folders",
    "upscale": "folders",
    "Outcome": "items",
    "BatchOptions": "options",
    "DownscaleOptions": "options",
    "UpscaleOptions": "options",
}

__all__ = ["BatchOptions", "DownscaleOptions", "Outcome", "Outcomes", "UpscaleOptions", "downscale", "upscale"]


def __getattr__(name: str) -> Any:
    if name in _HOME_OF:
        return getattr(import_module(f"unshrink.batch.{_HOME_OF[name]}"), name)
    raise AttributeError(f"module 'unshrink.batch' has no attribute {name!r}")


def __dir__() -> list[str]:
    return __all__
