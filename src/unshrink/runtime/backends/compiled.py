"""Compiled networks kept between processes, so that the next one starts sooner.

A folder of files named by the hash of all that decides what is in them.  A file appears whole or not at all; the folder
is kept below a size by dropping what was used longest ago; whatever goes wrong, the network is compiled again.

What others could have written is not used: a runtime believes whatever it loads, and the picture would be theirs.
"""

import contextlib
import hashlib
import os
import stat
import warnings
from collections.abc import Iterator
from functools import cache
from pathlib import Path

from platformdirs import user_cache_path

from unshrink.errors import UnshrinkError, UnshrinkWarning
from unshrink.files import atomic_write

VARIABLE = "UNSHRINK_CACHE"  # another folder, or "off"
_DIGEST = 32
_OTHERS_WRITE = stat.S_IWGRP | stat.S_IWOTH
LIMIT = 256 << 20  # bytes of all files together: a dozen networks


def folder() -> Path | None:
    """Where compiled networks are kept: `VARIABLE`, or the user's cache folder; None if switched off."""
    chosen = os.environ.get(VARIABLE, "")
    return None if chosen == "off" else Path(chosen) if chosen else user_cache_path("unshrink")


def place() -> Path | None:
    """The folder, made if it is not there; None if it is switched off or cannot be used.

    Warns:
        UnshrinkWarning: once, it is not this user's alone.
    """
    chosen = folder()
    if chosen is None:
        return None
    try:
        chosen.mkdir(mode=0o700, parents=True, exist_ok=True)
        return chosen if _own(chosen, chosen.stat()) else None
    except OSError:
        return None


@contextlib.contextmanager
def unused() -> Iterator[None]:
    """What runs in the block compiles by itself, and keeps nothing."""
    before = os.environ.get(VARIABLE)
    os.environ[VARIABLE] = "off"
    try:
        yield
    finally:
        if before is None:
            del os.environ[VARIABLE]
        else:
            os.environ[VARIABLE] = before


def load(*key: object) -> bytes | None:
    """What was stored under this key, if anything.

    Warns:
        UnshrinkWarning: once, the folder or this file is not this user's alone, and is not used.
    """
    kept = place()
    if kept is None:
        return None
    path = kept / _name(key)
    with contextlib.suppress(OSError):
        with open(path, "rb", opener=_no_link) as stream:
            if not _own(path, os.fstat(stream.fileno())):
                return None
            digest, blob = stream.read(_DIGEST), stream.read()
        os.utime(path)  # used now
        return blob if digest == hashlib.sha256(blob).digest() else None
    return None


def store(blob: bytes, *key: object) -> None:
    """Keeps it, if there is a place for it that is this user's alone.

    Warns:
        UnshrinkWarning: as `load`.
    """
    kept = place()
    if kept is None:
        return
    with contextlib.suppress(OSError, UnshrinkError):
        with atomic_write(kept / _name(key), overwrite=True) as stream:
            if hasattr(os, "fchmod"):  # whatever the umask is, no others write
                os.fchmod(stream.fileno(), 0o600)
            stream.write(hashlib.sha256(blob).digest() + blob)  # a runtime may crash on what it did not write
        _shrink(kept)


def _name(key: tuple[object, ...]) -> str:
    return f"{hashlib.sha256(repr(key).encode()).hexdigest()[:32]}.blob"


def _no_link(path: str, flags: int) -> int:
    return os.open(path, flags | getattr(os, "O_NOFOLLOW", 0))


def _own(path: Path, found: os.stat_result) -> bool:
    """Whether a folder or file is this user's, and nobody else may write to it; says once if not."""
    if not hasattr(os, "geteuid"):  # Windows, where the user's folders are the user's
        return True
    foreign = found.st_uid != os.geteuid()
    if foreign or found.st_mode & _OTHERS_WRITE:
        _say(path, "it belongs to another user" if foreign else "others can write to it; chmod go-w it")
        return False
    return True


@cache
def _say(path: Path, why: str) -> None:
    text = f"compiled networks are not kept in {path}: {why}, or name a folder of yours with {VARIABLE}"
    warnings.warn(text, UnshrinkWarning, stacklevel=2)


def _shrink(place: Path) -> None:
    """Deletes the files used longest ago until the rest is small enough."""
    kept = 0
    for path in sorted(place.glob("*.blob"), key=lambda path: path.stat().st_mtime, reverse=True):
        kept += path.stat().st_size
        if kept > LIMIT:
            path.unlink(missing_ok=True)
