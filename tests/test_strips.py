"""Pixels that pass by: once, all of them, and no more."""

import weakref

import numpy as np
import pytest

from unshrink.errors import ImageError
from unshrink.pictures import io as images
from unshrink.pictures.image import Image, PassingImage
from unshrink.pictures.strips import Strips, in_strips

PIXELS = np.random.default_rng(0).integers(0, 256, (300, 700, 3), np.uint8)


def strips(*heights: int, width: int = 4) -> Strips:
    """Of pixels (6, 4, 3)."""
    return Strips((6, 4, 3), np.uint8, (np.zeros((height, width, 3), np.uint8) for height in heights))


def test_a_second_reading_is_an_error():
    pixels = strips(2, 4)
    assert np.asarray(pixels).shape == (6, 4, 3)
    for again in (np.asarray, list, lambda pixels: list(in_strips(pixels, 2))):
        with pytest.raises(RuntimeError, match="passed by already"):
            again(pixels)


def test_a_second_reading_of_a_scanned_file_is_an_error(tmp_path):
    images.write(Image(PIXELS), tmp_path / "a.png")
    image = images.scan(tmp_path / "a.png")
    images.write(image, tmp_path / "b.png")
    with pytest.raises(RuntimeError, match="passed by already"):
        images.write(image, tmp_path / "c.png")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.png", "b.png"]


@pytest.mark.parametrize("heights", [(), (5,), (2, 3), (6, 1), (2, 4, 2), (7,)])
@pytest.mark.parametrize("height", [2, 6])
def test_strips_that_do_not_add_up_are_an_error(heights, height):
    for use in (np.asarray, list, lambda pixels: list(in_strips(pixels, height))):
        with pytest.raises(RuntimeError, match=r"pixels of shape \(6, 4, 3\)"):
            use(strips(*heights))


def test_a_strip_of_another_width_is_an_error():
    with pytest.raises(RuntimeError, match=r"pixels of shape \(6, 4, 3\) got a strip of shape \(6, 5, 3\)"):
        list(strips(6, width=5))


def test_a_file_with_too_few_rows_is_a_damaged_one(monkeypatch):
    def short(stream, form, check) -> PassingImage:
        return PassingImage(strips(2, 3))

    monkeypatch.setattr("unshrink.pictures.png.decode", short)
    stream = b"\x89PNG\r\n\x1a\n"
    with pytest.raises(ImageError, match="it is damaged"):
        images.read(stream)


def test_one_strip_is_no_copy_unless_one_is_asked_for():
    assert np.asarray(Image(PIXELS).passing().pixels) is PIXELS
    assert Image(PIXELS).passing().whole().pixels is PIXELS
    assert not np.shares_memory(np.array(Image(PIXELS).passing().pixels, copy=True), PIXELS)


def test_no_strip_is_held_while_others_work_on_it():
    alive: list[weakref.ref[np.ndarray]] = []

    def made(_: int) -> np.ndarray:
        strip = np.zeros((2, 4, 3), np.uint8)
        alive.append(weakref.ref(strip))
        return strip

    for strip in Strips((6, 4, 3), np.uint8, map(made, range(3))):
        del strip
        assert all(reference() is None for reference in alive)
    assert len(alive) == 3


def test_what_an_image_carries_stays_with_other_pixels():
    image = Image(PIXELS, b"icc", None, b"xmp", (72.0, 72.0), ("a note",))
    passing = image.passing()
    assert isinstance(passing, PassingImage)
    for other in (passing, passing.whole(), image.with_pixels(PIXELS[:5])):
        assert (other.icc, other.exif, other.xmp, other.dpi, other.notes) == (
            image.icc, None, image.xmp, image.dpi, image.notes
        )  # fmt: skip
