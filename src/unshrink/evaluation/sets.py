"""A method over a set of pictures: picture by picture, and the result as its file has it."""

import hashlib
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from unshrink.errors import ImageError
from unshrink.evaluation.environment import environment, forget_peak_memory, peak_megabytes
from unshrink.evaluation.protocol import Measure, Row, mean_row
from unshrink.pictures import io as images
from unshrink.pictures import record as provenance
from unshrink.pictures.colour import over_white
from unshrink.pictures.find import find_pictures
from unshrink.pictures.resize import crop_to_multiple

SCHEMA = 1  # of results/<method>/<set>.json; docs/evaluation.md describes it


@dataclass(frozen=True)
class DataSet:
    """A folder of large pictures: what it is called, where it is, and its files in the order of their names."""

    name: str
    folder: Path
    files: tuple[Path, ...]


def data_set(name_or_folder: str) -> DataSet:
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
    return DataSet(folder.resolve().name, folder, tuple(find_pictures(folder)))


@dataclass
class Evaluation:
    """One method over one set, picture by picture.

    Attributes:
        method: its name, such as "irn-x2".
        scale: how many times smaller the small picture is, along each side; for codecs, that of the compared weights.
        data: the set.
        measure: what is done with each picture.
        about: what else decides the result: weights, backend, versions of libraries.
        rows: figures of the pictures measured so far.
        skipped: why the others were not.
    """

    method: str
    scale: int
    data: DataSet
    measure: Measure
    about: Mapping[str, Any] = field(default_factory=dict)
    rows: dict[str, Row] = field(default_factory=dict)
    skipped: dict[str, str] = field(default_factory=dict)
    sizes: dict[str, tuple[int, int]] = field(default_factory=dict)
    checksums: list[str] = field(default_factory=list)

    def add(self, path: Path) -> Row:
        """Measures one picture of the set.

        Raises:
            ImageError: it cannot be read, or is smaller than the scale; it is noted and left out.
        """
        if not self.rows:
            forget_peak_memory()
        name = path.relative_to(self.data.folder).as_posix()
        try:
            picture = over_white(images.read(path))
            hr = crop_to_multiple(picture, self.scale)
            if not hr.size:
                raise ImageError(f"cannot use {path}: {picture.shape[1]}x{picture.shape[0]} is smaller than the scale")
        except ImageError as error:
            self.skipped[name] = str(error)
            raise
        self.rows[name] = self.measure(name, hr)
        self.sizes[name] = (hr.shape[1], hr.shape[0])
        self.checksums.append(provenance.checksum(picture))
        return self.rows[name]

    def result(self) -> dict[str, Any]:
        """All of it, as the JSON file has it; an infinite PSNR (nothing differs) is null.

        Raises:
            ImageError: no picture could be measured.
        """
        if not self.rows:
            raise ImageError(f"none of the {len(self.data.files)} pictures in {self.data.folder} could be measured")
        return {
            "schema": SCHEMA,
            "method": self.method,
            "scale": self.scale,
            "set": self.data.name,
            "set_hash": set_hash(self.checksums),
            "protocol": protocol(self.scale),
            "mean": _finite(mean_row(self.rows.values())),
            "peak_megabytes": peak_megabytes(),
            **self.about,
            **environment(),
            "pictures": {name: {"size": self.sizes[name], **_finite(row)} for name, row in self.rows.items()},
            "skipped": self.skipped,
        }


def protocol(scale: int) -> dict[str, Any]:
    """How the figures were made, for readers."""
    return {
        "large": f"8-bit RGB over white, cut to a multiple of {scale}",
        "small": "8 bits, through a PNG file",
        "luma": "BT.601, 16 to 235, not rounded",
        "border": scale,
        "ssim": "Gaussian window 11x11, sigma 1.5, valid region",
        "small_reference": "MATLAB's bicubic, rounded to 8 bits, whole",
        "mean": "of the pictures' figures",
    }


def set_hash(checksums: Iterable[str]) -> str:
    """A fingerprint of what a set shows, whatever its files are called and in which format: 16 hexadecimal digits."""
    return hashlib.sha256("\n".join(sorted(checksums)).encode()).hexdigest()[:16]


def _finite(row: Row) -> dict[str, float | None]:
    return {key: value if np.isfinite(value) else None for key, value in row.items()}
