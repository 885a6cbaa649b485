"""The same place of a picture as every way gives it back, for the page of results: ``crops/<name>/`` beside them."""

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image as PIL

from unshrink.errors import ImageError
from unshrink.evaluation.compare import Box, compare, worst_place
from unshrink.files import atomic_write
from unshrink.pictures import metrics
from unshrink.pictures.colour import RGB
from unshrink.pictures.image import Image
from unshrink.runtime.rescaler import Rescaler

FOLDER, ABOUT = "crops", "crop.json"
WHOLE = 480  # longest side of the whole picture, in pixels


def save(folder: Path, name: str, hr: RGB, rescaler: Rescaler, others: Mapping[str, RGB] | None = None) -> None:
    """Writes the place where bicubic errs most, by every way, and the whole picture in which it lies.

    Args:
        folder: where; what is there is replaced.
        name: what the page calls the picture.
        hr: the picture (H, W, 3), sides multiples of the scale.
        rescaler: what is shown beside the original and bicubic.
        others: what else gave back, with its names (H, W, 3).

    Raises:
        ImageError: it cannot be written.
    """
    found, scale = compare(Image(hr), rescaler), rescaler.scale
    box = worst_place(found)
    panels = {"original": hr, f"small, {rescaler.name}": found.small, f"bicubic-x{scale}": found.bicubic}
    panels |= {**(others or {}), rescaler.name: found.restored}
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ImageError(f"cannot write {folder}: {error.strerror}; choose another output") from error
    listed = []
    for number, (title, picture) in enumerate(panels.items()):
        _write(folder / f"{number}.webp", _cut(picture, box, hr.shape[1] // picture.shape[1]), lossless=True)
        listed.append({"title": title, "file": f"{number}.webp", "psnr_y": _psnr(hr, picture, scale)})
    whole = PIL.fromarray(hr)
    whole.thumbnail((WHOLE, WHOLE), PIL.Resampling.LANCZOS)
    _write(folder / "whole.webp", np.asarray(whole), quality=80)
    about = {"picture": name, "scale": scale, "size": [hr.shape[1], hr.shape[0]], "place": [int(side) for side in box]}
    with atomic_write(folder / ABOUT, overwrite=True, error=ImageError) as stream:
        stream.write((json.dumps(about | {"panels": listed}, indent=1) + "\n").encode())


def _write(path: Path, pixels: RGB, **options: Any) -> None:
    with atomic_write(path, overwrite=True, error=ImageError) as stream:
        PIL.fromarray(pixels).save(stream, "WebP", method=6, **options)


def _cut(picture: RGB, box: Box, shrunk: int) -> RGB:
    """The place in a picture that is so many times smaller."""
    left, top, right, bottom = (side // shrunk for side in box)
    return np.ascontiguousarray(picture[top:bottom, left:right])


def _psnr(hr: RGB, picture: RGB, scale: int) -> float | None:
    """PSNR-Y of a whole picture in dB; None for the original, a small one, and where nothing differs."""
    value = metrics.psnr_y(hr, picture, scale) if picture is not hr and picture.shape == hr.shape else math.inf
    return value if math.isfinite(value) else None
