"""What has become of each picture of a batch, as JSON lines in the folder that it fills.

A line says ``begun`` before a picture is worked on, and ``done`` or ``failed`` after it.  So after a kill at any moment
the next run knows what is finished, what may be half done, and which files were there before.
"""

import json
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO, cast

from unshrink.errors import UnshrinkError
from unshrink.files import hold

PATTERN = "unshrink-manifest*.jsonl"


class Manifest:
    """The lines of all runs that filled a folder; none where the pictures go to no folder.

    Args:
        folder: where the pictures go; None for a manifest that knows and keeps nothing.
        options: what shapes the pictures: what was done with others is to be done again.
        shard: (i, n) for the lines of share i of n alone, which have a file of their own.

    Raises:
        UnshrinkError: a manifest in the folder cannot be read.
    """

    def __init__(self, folder: str | None, options: dict[str, Any], shard: tuple[int, int] | None = None) -> None:
        self.folder, self.options = folder, options
        self._name = "unshrink-manifest{}.jsonl".format("-{}-of-{}".format(*shard) if shard else "")
        self._file: BinaryIO | None = None
        self._last: dict[str, dict[str, Any]] = {}
        for line in _lines(folder) if folder else ():
            known = self._last.get(line["output"])
            if known is None or known["time"] <= line["time"]:
                self._last[line["output"]] = line

    def state(self, source: str, target: str) -> str | None:
        """ "done": finished, with the same options, from the same source; "begun": interrupted; None otherwise."""
        line = self._last.get(self._key(target)) if self.folder else None
        if line is None:
            return None
        if line["state"] == "begun":
            return "begun"
        same = line.get("options") == self.options and line.get("source") == _stamp(source)
        return "done" if line["state"] == "done" and same and os.path.exists(target) else None

    def open(self) -> None:
        """Makes the folder and its manifest ready for lines.

        Raises:
            UnshrinkError: it cannot be written, or another run is writing it.
        """
        if self.folder is None:
            return
        path = Path(self.folder) / self._name
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._file = _opened(path, "a+b")
            if hold(self._file.fileno()) is False:
                raise UnshrinkError(f"another unshrink is filling {self.folder}: wait for it, or give each its `shard`")
            _end_last_line(self._file)
        except OSError as error:
            raise UnshrinkError(f"cannot write {path}: {error.strerror}; choose another folder") from error

    def write(self, state: str, source: str, target: str, **facts: Any) -> None:
        """Adds a line, and waits until it is on the disk."""
        if self._file is None:
            return
        key = self._key(target)
        about = {"input": source, "source": _stamp(source), "options": self.options}
        line = {"output": key, "state": state, "time": time.time(), **about, **facts}
        try:
            self._file.write(json.dumps(line).encode() + b"\n")
            self._file.flush()
            os.fsync(self._file.fileno())
        except OSError as error:
            raise UnshrinkError(f"cannot write {self._file.name}: {error.strerror}; run again to go on") from error

    def close(self) -> None:
        """Lets the next run write."""
        if self._file is not None:
            self._file.close()
            self._file = None

    def _key(self, target: str) -> str:
        return Path(os.path.relpath(target, self.folder)).as_posix()


def _lines(folder: str) -> Iterator[dict[str, Any]]:
    """The sound lines of every manifest in a folder; a killed run may have left half a line.

    Raises:
        UnshrinkError: one cannot be read.
    """
    for path in sorted(Path(folder).glob(PATTERN)):
        try:
            with _opened(path, "rb") as file:
                yield from filter(None, map(_sound, file))
        except OSError as error:
            raise UnshrinkError(f"cannot read {path}: {error.strerror}; remove it to do all again") from error


def _sound(text: bytes) -> dict[str, Any] | None:
    """A line; None if it is none."""
    try:
        line = json.loads(text)
        sound = isinstance(line["output"], str) and isinstance(line["state"], str) and line["time"] >= 0
    except (ValueError, TypeError, KeyError, RecursionError):  # the last where it is nested too deep
        return None
    return line if sound else None


def _opened(path: Path, mode: str) -> BinaryIO:
    """A manifest, which is a file of its own: a link would have us read or write what somebody else chooses."""
    if path.is_symlink() or (path.exists() and not path.is_file()):
        raise UnshrinkError(f"cannot use {path}: it is a link, a folder or a device; remove it")
    return cast(BinaryIO, path.open(mode))


def _stamp(source: str) -> list[int] | None:
    """Size and time of a file; None if there is none."""
    try:
        facts = os.stat(source)
    except OSError:
        return None
    return [facts.st_size, facts.st_mtime_ns]


def _end_last_line(file: BinaryIO) -> None:
    """So that a new line is no part of one that a killed run left unfinished."""
    if file.seek(0, os.SEEK_END):
        file.seek(-1, os.SEEK_END)
        if file.read(1) != b"\n":
            file.write(b"\n")
