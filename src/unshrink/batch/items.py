"""One picture of a batch: where it comes from and goes, and what has become of it."""

import os
import stat
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

STANDARD = "-"  # standard input or output

Status = Literal["done", "skipped", "failed", "planned"]


@dataclass(frozen=True)
class Item:
    """One picture that is meant.

    Attributes:
        source: where it comes from.
        target: where it goes.
        form: the format of the target.
        overwrite: whether it may replace what is there.
        skip: why it is not to be done; "" if it is.
        fault: why it cannot be done, as a folder that cannot be looked into; "" if it can.
    """

    source: str
    target: str
    form: str
    overwrite: bool = False
    skip: str = ""
    fault: str = ""


@dataclass(frozen=True)
class Outcome:
    """What has become of one picture.

    Attributes:
        input: where it came from.
        output: where it went, or would have gone.
        status: "done"; "skipped", and ``facts["skipped"]`` says why; "failed", and ``error`` says why; or, of a dry
            run, "planned", and ``facts["would"]`` says what would be done.
        error: one sentence; "" unless it failed.
        facts: of a picture that is done, as ``--json`` has them: "model", "weights", "scale", "backend",
            "precision", "seconds", "size" and "small_size" (width, height), "depth", "bytes" and "small_bytes" of the
            files; of a small one also "effort" and, where asked for, "psnr_y" and "psnr_rgb" in dB; of a restored one
            "unchanged"; and "notes", sentences about what was converted, left out or warned of.
    """

    input: str
    output: str
    status: Status
    error: str = ""
    facts: Mapping[str, Any] = field(default_factory=dict)

    @property
    def ok(self) -> bool:
        """Whether it did not fail."""
        return self.status != "failed"

    def as_json(self) -> dict[str, Any]:
        """What ``--json`` prints and a manifest keeps."""
        if not self.ok:
            return {"input": self.input, "error": self.error}
        return {"input": self.input, "output": self.output, **self.facts}


def is_pipe(name: str) -> bool:
    """Whether a name is that of a pipe, which can be read once alone: a FIFO, or what a shell makes of ``<(...)``."""
    return _is(name, stat.S_ISFIFO)


def is_stream(name: str) -> bool:
    """Whether what is written under a name passes on, and nothing is kept under it: standard output, pipes, devices."""
    return name == STANDARD or _is(name, stat.S_ISFIFO, stat.S_ISCHR)


def _is(name: str, *kinds: Callable[[int], bool]) -> bool:
    try:
        mode = os.stat(name).st_mode
    except (OSError, ValueError):  # no such file, or no name of one
        return False
    return any(kind(mode) for kind in kinds)


def failed(item: Item, error: str) -> Outcome:
    """The outcome of a picture that could not be done."""
    return Outcome(item.source, item.target, "failed", error)


def skipped(item: Item) -> Outcome:
    """The outcome of a picture that is not to be done."""
    return Outcome(item.source, item.target, "skipped", facts={"skipped": item.skip})
