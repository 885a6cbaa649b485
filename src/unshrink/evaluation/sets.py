"""Sets of large pictures: folders, anybody's own, or test sets by their names."""

import hashlib
import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from unshrink.errors import ImageError
from unshrink.pictures.find import find_pictures


@dataclass(frozen=True)
class PictureSet:
    """A folder of large pictures: what it is called, where it is, and its files in the order of their names."""

    name: str
    folder: Path
    files: tuple[Path, ...]


def find_set(name_or_folder: str | Path) -> PictureSet:
    """A folder of pictures, or a test set by its name: the folder of that name in ``$UNSHRINK_DATA/test``.

    Raises:
        ImageError: there is no such folder.
        ConfigError: there are no pictures in it.
    """
    folder, home = Path(name_or_folder), os.environ.get("UNSHRINK_DATA")
    if not folder.is_dir():
        if not home:
            raise ImageError(
                f"there is no folder {name_or_folder}; give one, or set UNSHRINK_DATA to the folder that holds "
                "test/<set> to name a test set (tools/fetch_data.py makes it)"
            )
        folder = Path(home) / "test" / name_or_folder
    if not folder.is_dir():
        known = sorted(path.name for path in folder.parent.glob("*") if path.is_dir())
        raise ImageError(
            f"there is no folder or test set {name_or_folder}: "
            f"the sets in {folder.parent} are {', '.join(known) or 'none'}; tools/fetch_data.py adds public ones"
        )
    return PictureSet(folder.resolve().name, folder, tuple(find_pictures(folder)))


def set_hash(checksums: Iterable[str]) -> str:
    """A fingerprint of what a set shows, whatever its files are called and in which format: 16 hexadecimal digits."""
    return hashlib.sha256("\n".join(sorted(checksums)).encode()).hexdigest()[:16]
