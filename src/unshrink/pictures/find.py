"""The pictures in a folder."""

import os
from pathlib import Path

from unshrink.errors import ConfigError
from unshrink.pictures.formats import EXTENSIONS


def is_picture(path: str | os.PathLike[str]) -> bool:
    """Whether a file is a picture by its name."""
    return Path(path).suffix.lower() in EXTENSIONS


def pictures_in(folder: str | os.PathLike[str], pattern: str = "**/*") -> list[Path]:
    """The picture files under a folder that match a pattern, by their extensions, in the order of their names.

    Hidden files and folders are left out; links to folders are not followed, so that no loop of them is endless.
    """
    base = Path(folder)
    return sorted(
        path
        for path in base.glob(pattern)
        if is_picture(path)
        and not any(part.startswith(".") for part in path.relative_to(base).parts)
        and path.is_file()
    )


def find_pictures(folder: str | Path) -> list[Path]:
    """All picture files under a folder, in the order of their names, or the one file that is named.

    Raises:
        ConfigError: there is none.
    """
    files = [Path(folder)] if Path(folder).is_file() else pictures_in(folder)
    if not files:
        raise ConfigError(f"no pictures in {folder}: data folders must hold {', '.join(sorted(EXTENSIONS))} files")
    return files
