"""The pictures in a folder."""

import os
from collections.abc import Callable
from dataclasses import dataclass, field
from fnmatch import fnmatch
from pathlib import Path, PurePath

from unshrink.errors import ConfigError
from unshrink.pictures.formats import EXTENSIONS


@dataclass(frozen=True)
class Found:
    """What lies under a folder.

    Attributes:
        pictures: the picture files, by their extensions, in the order of their names.
        others: the other files, likewise.
        unreadable: the folders that cannot be looked into, with the reasons.
    """

    pictures: list[Path] = field(default_factory=list)
    others: list[Path] = field(default_factory=list)
    unreadable: dict[Path, str] = field(default_factory=dict)


def is_picture(path: str | os.PathLike[str]) -> bool:
    """Whether a file is a picture by its name."""
    return Path(path).suffix.lower() in EXTENSIONS


def look(folder: str | os.PathLike[str], pattern: str = "**/*") -> Found:
    """The files under a folder that match a pattern.

    Hidden files and folders are left out; with ``**``, links to folders are not followed, so that no loop of them is
    endless.

    Raises:
        ValueError: ``**`` stands beside other characters.
    """
    parts = list(PurePath(pattern).parts)
    if any("**" in part and part != "**" for part in parts):
        raise ValueError("** stands for whole folders, as in a/**/*.jpg")
    found = Found()
    files, waiting = set(), [(Path(folder), parts if parts[-1] != "**" else [*parts, "*"])]
    while waiting:
        place, [here, *rest] = waiting.pop()
        if here == "**":
            waiting.append((place, rest))
        for entry in _entries(place, found.unreadable):
            path = place / entry.name
            if here == "**":
                if _holds(entry.is_dir) and not entry.is_symlink():
                    waiting.append((path, [here, *rest]))
            elif fnmatch(entry.name, here):
                if rest and _holds(entry.is_dir):
                    waiting.append((path, rest))
                elif not rest and _holds(entry.is_file):
                    files.add(path)
    for path in sorted(files):
        (found.pictures if is_picture(path) else found.others).append(path)
    return found


def find_pictures(folder: str | Path) -> list[Path]:
    """All picture files under a folder, in the order of their names, or the one file that is named.

    Raises:
        ConfigError: there is none, or not all folders can be looked into.
    """
    if Path(folder).is_file():
        return [Path(folder)]
    found = look(folder)
    for place, reason in found.unreadable.items():
        raise ConfigError(f"cannot look into {place}: {reason}; allow it, or move the folder away")
    if not found.pictures:
        raise ConfigError(f"no pictures in {folder}: data folders must hold {', '.join(sorted(EXTENSIONS))} files")
    return found.pictures


def _entries(folder: Path, unreadable: dict[Path, str]) -> list[os.DirEntry[str]]:
    """What is in a folder and not hidden; nothing where there is no folder, as when it is gone meanwhile."""
    try:
        with os.scandir(folder) as entries:
            return [entry for entry in entries if not entry.name.startswith(".")]
    except (FileNotFoundError, NotADirectoryError):
        return []
    except OSError as error:
        unreadable[folder] = error.strerror or str(error)
        return []


def _holds(question: Callable[[], bool]) -> bool:
    """The answer of an entry; no for a link of which nobody can tell where it leads."""
    try:
        return question()
    except OSError:
        return False
