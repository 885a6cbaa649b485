"""Compiled networks kept between processes, so that the next one starts sooner.

A folder of files named by the hash of all that decides what is in them.  A file appears whole or not at all; the folder
is kept below a size by dropping what was used longest ago; whatever goes wrong, the network is compiled again.
"""

import contextlib
import hashlib
import os
from pathlib import Path

from platformdirs import user_cache_path

from unshrink.errors import UnshrinkError
from unshrink.files import atomic_write

VARIABLE = "UNSHRINK_CACHE"  # another folder, or "off"
_DIGEST = 32
LIMIT = 256 << 20  # bytes of all files together: a dozen networks


def folder() -> Path | None:
    """Where compiled networks are kept: `VARIABLE`, or the user's cache folder; None if switched off."""
    chosen = os.environ.get(VARIABLE, "")
    return None if chosen == "off" else Path(chosen) if chosen else user_cache_path("unshrink")


def load(*key: object) -> bytes | None:
    """What was stored under this key, if anything."""
    path = _path(key)
    if path is None:
        return None
    with contextlib.suppress(OSError):
        file = path.read_bytes()
        os.utime(path)  # used now
        digest, blob = file[:_DIGEST], file[_DIGEST:]
        return blob if digest == hashlib.sha256(blob).digest() else None
    return None


def store(blob: bytes, *key: object) -> None:
    """Keeps it, if there is a place for it."""
    path = _path(key)
    if path is None:
        return
    with contextlib.suppress(OSError, UnshrinkError):
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with atomic_write(path, overwrite=True) as stream:
            stream.write(hashlib.sha256(blob).digest() + blob)  # a runtime may crash on what it did not write
        _shrink(path.parent)


def _path(key: tuple[object, ...]) -> Path | None:
    place = folder()
    return place / f"{hashlib.sha256(repr(key).encode()).hexdigest()[:32]}.blob" if place else None


def _shrink(place: Path) -> None:
    """Deletes the files used longest ago until the rest is small enough."""
    kept = 0
    for path in sorted(place.glob("*.blob"), key=lambda path: path.stat().st_mtime, reverse=True):
        kept += path.stat().st_size
        if kept > LIMIT:
            path.unlink(missing_ok=True)
