"""Flat areas of pages are found, and what is off in them is counted."""

import numpy as np
import pytest

from figures import Nearest
from unshrink.evaluation import flat
from unshrink.pictures.image import Image


class Spoilt(Nearest):
    """Sets a place of the small and one of the restored picture to other values."""

    def __init__(self, small=None, large=None):
        self.small, self.large = small, large

    def downscale(self, picture):
        return spoil(super().downscale(picture), self.small)

    def upscale(self, picture):
        return spoil(super().upscale(picture), self.large)


def spoil(picture, change):
    pixels = picture.pixels.copy()
    if change:
        place, values = change
        pixels[place] = values
    return Image(pixels)


def test_the_pages_are_the_nine_that_are_promised():
    pages = flat.pages()
    assert {page.shape for page in pages.values()} == {(512, 512, 3)}
    *plain, text = pages.values()
    corners = {tuple(page[0, 0]) for page in plain}
    assert len(corners) == 8
    assert corners == {(r, g, b) for r in (0, 255) for g in (0, 255) for b in (0, 255)}
    assert all((page == page[0, 0]).all() for page in plain)
    assert 0.01 < (text < 128).mean() < 0.2, "text on it"
    assert (text[:32] == 255).all()


def test_flat_is_what_has_one_colour_eight_pixels_around_up_to_the_border():
    page = np.full((64, 64, 3), 255, np.uint8)
    page[30:34, 40, 2] = 254
    near = np.zeros((64, 64), bool)
    near[22:42, 32:49] = True
    np.testing.assert_array_equal(flat.flat(page), ~near)
    page[0, 0] = 0
    near[:9, :9] = True
    np.testing.assert_array_equal(flat.flat(page), ~near)


def test_every_page_is_flat_in_its_corners_and_text_is_not():
    page = flat.pages()[flat.TEXT]
    where = flat.flat(page)
    assert where[[0, 0, -1, -1], [0, -1, 0, -1]].all()
    assert not where[(page < 255).any(axis=2)].any()
    assert 0.3 < where.mean() < 0.9


@pytest.mark.parametrize("side", [64, 65])
def test_what_keeps_flat_areas_has_nothing_off(side):
    for page in flat.pages(side).values():
        assert flat.flatness(Nearest(), page) == flat.Flatness(0.0, 0, 0.0, 0)


def test_values_off_by_more_than_one_are_counted_in_both_pictures_at_the_border_too():
    page = flat.pages(64)["green"]
    place = np.s_[0, :16, 0]  # 16 of 64 x 64 x 3 values, at the border
    assert flat.flatness(Spoilt(large=(place, 1)), page) == flat.Flatness(0.0, 1, 0.0, 0)
    assert flat.flatness(Spoilt(large=(place, 9)), page) == flat.Flatness(16 / 64**2 / 3, 9, 0.0, 0)
    assert flat.flatness(Spoilt(small=(np.s_[-1, -1, 1], 250)), page) == flat.Flatness(
        4 / 64**2 / 3, 5, 1 / 32**2 / 3, 5
    )


def test_what_is_near_text_is_not_counted():
    page = flat.pages(128)[flat.TEXT]
    y, x = np.argwhere((page < 255).any(axis=2))[0]
    assert flat.flatness(Spoilt(large=(np.s_[y - 3, x], 0)), page).off == 0
    assert flat.flatness(Spoilt(large=(np.s_[y - 12, x], 0)), page).largest == 255
