"""Files that are there whole or not at all: written beside their target, flushed to the disk, then renamed.

And what a killed writer left behind.
"""

import contextlib
import errno
import os
import secrets
import shutil
import stat
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from unshrink.errors import UnshrinkError

_CREATE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0)

_ADVICE = {
    errno.ENOSPC: "the disk is full; free some space or write elsewhere",
    errno.EDQUOT: "the disk quota is used up; free some space or write elsewhere",
    errno.ENOENT: "the folder does not exist; create it first",
    errno.ENOTDIR: "the folder does not exist; create it first",
    errno.EACCES: "no permission to write there; choose another folder",
    errno.EPERM: "no permission to write there; choose another folder",
    errno.EROFS: "the disk is read-only; write elsewhere",
    errno.EEXIST: "the file exists already; choose another name or allow overwriting (`overwrite`)",
    errno.EISDIR: "that is a folder or a device; give the name of a file",
    errno.ELOOP: "it is a link that leads nowhere; remove it or choose another name",
    errno.ENAMETOOLONG: "the name is too long; choose a shorter one",
}


@contextlib.contextmanager
def atomic_write(
    path: str | os.PathLike[str],
    overwrite: bool = False,
    *,
    error: type[UnshrinkError] = UnshrinkError,
    origin: str | os.PathLike[str] | None = None,
) -> Iterator[BinaryIO]:
    """Open a file that appears under its name only when everything has been written to the disk.

    The bytes go to a temporary file in the same folder. When the block ends they are flushed to the disk and the file
    is renamed; when anything fails, the temporary file is removed and whatever was there before is untouched. A
    symbolic link to a file is followed, not replaced; one that leads nowhere is refused, whoever made it. A file that
    replaces another has its owner, permissions and attributes, as if it had been written over.

    Args:
        path: the file to write.
        overwrite: replace an existing file; otherwise an existing file is an error.
        error: the exception to raise for what the user can mend.
        origin: a file that it is made from: who cannot read that cannot read a new file either.

    Yields:
        A buffered binary stream to write to.

    Raises:
        UnshrinkError: (as `error`) the file exists or is write-protected, the folder is missing, the disk is full, ...
    """
    target = Path(os.path.realpath(path))
    try:
        if os.path.islink(path) and not os.path.exists(path):
            raise OSError(errno.ELOOP, os.strerror(errno.ELOOP))
        before = _replaceable(target, overwrite)
        temporary = target.with_name(f".unshrink-{secrets.token_hex(8)}.part")
        try:  # from before it is there: a signal may end this at any moment
            descriptor = _created(temporary, 0o600 if before else _rights(origin))
            with _still_held(descriptor):
                with os.fdopen(descriptor, "wb") as stream:
                    if before:
                        _become(descriptor, temporary, target, before)
                    elif origin:
                        _restrict(descriptor, temporary, origin)
                    yield stream
                    stream.flush()
                    os.fsync(descriptor)
                _place(temporary, target, overwrite)
        finally:
            temporary.unlink(missing_ok=True)
    except OSError as exc:
        reason = _ADVICE.get(exc.errno or 0, exc.strerror or str(exc))
        raise error(f"cannot write {os.fspath(path)}: {reason}") from exc


def sweep(folder: str | os.PathLike[str]) -> None:
    """Removes what killed writers left in a folder; what another process is writing at the moment stays."""
    for temporary in Path(folder).glob(".unshrink-*.part"):
        with contextlib.suppress(OSError):  # gone already, or not ours to remove
            descriptor = os.open(temporary, os.O_RDWR)
            try:
                if hold(descriptor):  # and not where nobody can tell whether another does
                    temporary.unlink()
            finally:
                os.close(descriptor)


def hold(descriptor: int) -> bool | None:
    """Holds an open file until it is closed or its process ends.

    Returns:
        False if another holds it already; None where nobody can hold a file.
    """
    if sys.platform == "win32":  # where nobody can remove a file that is open
        return True
    import fcntl

    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:  # a network share without locks
        return None
    return True


def _rights(origin: str | os.PathLike[str] | None) -> int:
    """Those of a new file: no more for group and others than the file has that it is made from, less the umask."""
    with contextlib.suppress(OSError):  # no such file: whoever reads it will say so
        return 0o600 | (os.stat(origin).st_mode & 0o066) if origin else 0o666
    return 0o600


def _restrict(descriptor: int, temporary: Path, origin: str | os.PathLike[str]) -> None:
    """Takes from the group of a new file what only the group of its origin has, where these are not the same."""
    with contextlib.suppress(OSError):
        facts, new = os.stat(origin), os.fstat(descriptor)
        if facts.st_gid != new.st_gid:
            os.chmod(temporary, stat.S_IMODE(new.st_mode) & ~(~facts.st_mode << 3 & 0o070))


def _created(path: Path, mode: int) -> int:
    """The descriptor of a new file, open for writing and held; the umask is taken from its mode."""
    while True:
        descriptor = os.open(path, _CREATE, mode)
        if hold(descriptor) is not False and (sys.platform == "win32" or os.fstat(descriptor).st_nlink):
            return descriptor
        os.close(descriptor)  # swept in the moment between its creation and being held
        path.unlink(missing_ok=True)


@contextlib.contextmanager
def _still_held(descriptor: int) -> Iterator[None]:
    """Keeps a held file held though its descriptor is closed; not on Windows, which renames no open file."""
    guard = None if sys.platform == "win32" else os.dup(descriptor)
    try:
        yield
    finally:
        if guard is not None:
            os.close(guard)


def _replaceable(target: Path, overwrite: bool) -> os.stat_result | None:
    """What is known of the file that is to be replaced, None if there is none; OSError where that may not be."""
    if not target.exists():
        return None
    if not target.is_file():
        raise OSError(errno.EISDIR, os.strerror(errno.EISDIR))
    if not overwrite:
        raise OSError(errno.EEXIST, os.strerror(errno.EEXIST))
    facts = target.stat()
    if not (facts.st_mode & 0o222 and os.access(target, os.W_OK)):
        raise OSError("the file is write-protected; choose another name, or allow writing to it")
    return facts


def _become(descriptor: int, temporary: Path, target: Path, facts: os.stat_result) -> None:
    """Gives a new file the owner, permissions and attributes of the one that it will replace."""
    if sys.platform != "win32":
        for owner in ((facts.st_uid, -1), (-1, facts.st_gid)):
            with contextlib.suppress(OSError):  # not ours to give
                os.fchown(descriptor, *owner)
    shutil.copystat(target, temporary)
    if os.fstat(descriptor).st_gid != facts.st_gid:  # the permissions were for the members of another group
        os.chmod(temporary, stat.S_IMODE(facts.st_mode) & ~0o070)


def _place(temporary: Path, target: Path, overwrite: bool) -> None:
    """Give the finished file its name; without `overwrite` never at the cost of a file that has appeared meanwhile."""
    if overwrite:
        os.replace(temporary, target)
        return
    try:
        os.link(temporary, target)
    except FileExistsError:
        raise
    except OSError:  # no hard links here (FAT, some network shares): a last look is the best there is
        _replaceable(target, overwrite)
        os.replace(temporary, target)
