"""A program of a user, as `mypy --strict` sees it: `test_typed` checks it and says what may not be written."""

import io
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
from numpy.typing import NDArray

import unshrink


def arrays(rescaler: unshrink.Rescaler, pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """An array gives an array, also where it is known to be one of bytes."""
    small = rescaler.downscale(pixels, depth=8, effort=2)
    return rescaler.upscale(small, size=(pixels.shape[1], pixels.shape[0]), seed=1)


def pictures(rescaler: unshrink.Rescaler, photo: PIL.Image.Image) -> unshrink.Image:
    """PIL images give PIL images; the file's bytes and a stream of them give an `Image`."""
    small: PIL.Image.Image = rescaler.downscale(photo)
    unshrink.save(small, "small.png", overwrite=True)
    stream = io.BytesIO()
    unshrink.save(small, stream, format="webp")
    from_bytes: unshrink.Image = rescaler.upscale(stream.getvalue())
    from_stream: unshrink.Image = rescaler.upscale(io.BytesIO(stream.getvalue()), progress=print)
    assert from_bytes.size == from_stream.size
    return from_bytes


def files(rescaler: unshrink.Rescaler, folder: Path) -> list[Path]:
    """A path gives a path of its kind; a list gives a list."""
    one: str = rescaler.downscale("photo.jpg", "small.png", overwrite=True)
    back: Path = rescaler.upscale(Path(one), folder / "back.tif")
    return rescaler.downscale([back, *folder.glob("*.jpg")])


def images(model: str | None) -> tuple[int, int]:
    """Images have a size, a depth and what they carry."""
    rescaler = unshrink.load(model) if model else unshrink.load(scale=4, backend="torch", threads=1)
    image = unshrink.read("photo.tif", max_pixels=10**8)
    small: unshrink.Image = rescaler.downscale(image)
    unshrink.write(small, "small.tif")
    pixels: NDArray[Any] = np.asarray(small)
    assert pixels.shape == (small.size[1], small.size[0], small.channels)
    print(unshrink.load().name, small.depth, small.alpha, small.icc, small.exif, small.xmp, small.dpi, small.notes)
    return small.size


def main() -> None:
    """All of it; errors are one tree."""
    try:
        rescaler = unshrink.load("irn-x2")
        arrays(rescaler, np.zeros((4, 4, 3), np.uint8))
        pictures(rescaler, PIL.Image.new("RGB", (4, 4)))
        files(rescaler, Path())
        images(None)
    except unshrink.UnshrinkError as error:
        print(error)
