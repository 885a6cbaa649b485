"""How small a picture becomes, and how a large one lies over a small one."""

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from unshrink.errors import ImageError, UsageError
from unshrink.pictures.sizes import Frame, Goal, shrunk

SIDES = st.integers(1, 5000)


def small(goal, large):
    return shrunk(large, goal.ratio(large, 2))


@pytest.mark.parametrize(
    ("goal", "large", "expected"),
    [
        (Goal(), (101, 7), (51, 4)),
        (Goal(scale=3), (101, 7), (34, 3)),
        (Goal(scale=2.3), (230, 23), (100, 10)),  # 2.3 is stored as less than that, by which it would be 101
        (Goal(scale=1.1), (111, 1), (101, 1)),
        (Goal(fit=1600), (4000, 3000), (1600, 1200)),
        (Goal(fit=1600), (3000, 4001), (1200, 1600)),
        (Goal(fit=(1280, 1280)), (4000, 3000), (1280, 960)),
        (Goal(fit=(1280, 100)), (4000, 3000), (134, 100)),
        (Goal(fit=10), (5000, 3), (10, 1)),
        (Goal(max_pixels_out=8_300_000), (6000, 4000), (3528, 2352)),
        (Goal(max_pixels_out=1), (60, 40), (1, 1)),
    ],
)
def test_what_a_picture_becomes(goal, large, expected):
    assert small(goal, large) == expected


@given(SIDES, SIDES, st.integers(1, 6000), st.integers(1, 6000))
def test_a_box_is_filled_and_not_left(width, height, wide, high):
    if width <= wide and height <= high:
        with pytest.raises(ImageError, match=f"fits into {wide}x{high} already"):
            small(Goal(fit=(wide, high)), (width, height))
        return
    met = small(Goal(fit=(wide, high)), (width, height))
    assert met[0] <= wide
    assert met[1] <= high
    assert met[0] == wide or met[1] == high


@given(SIDES, SIDES, st.integers(1, 10**7))
def test_no_more_pixels_than_are_allowed_and_hardly_fewer(width, height, most):
    if width * height <= most:
        with pytest.raises(ImageError, match="already: it can stay as it is"):
            small(Goal(max_pixels_out=most), (width, height))
        return
    met = small(Goal(max_pixels_out=most), (width, height))
    assert met[0] * met[1] <= most or 1 in met
    longest = max(met) + 1
    larger = shrunk((width, height), Fraction(max(width, height), longest))
    assert larger[0] * larger[1] > most


@given(SIDES, SIDES, st.integers(110, 800), st.sampled_from([2, 3, 4, 8]))
def test_every_frame_that_is_made_fits_and_only_other_ratios_resize(width, height, hundredths, scale):
    ratio = Fraction(hundredths, 100)
    frame = Frame((width, height), shrunk((width, height), ratio), scale)
    if ratio <= scale * Fraction(3, 2):
        assert frame.fits
    if ratio == scale:
        assert not frame.resized
        assert frame.blocks == (scale, scale)
    if ratio < scale:
        assert frame.between[0] >= width
        assert frame.between[1] >= height
    assert frame.resized == (frame.small != (-(-width // scale), -(-height // scale)))


@pytest.mark.parametrize("small_size", [(51, 39), (50, 38), (49, 37), (34, 25), (20, 15), (101, 75)])
def test_a_small_picture_of_another_shape_does_not_fit(small_size):
    large = (100, 75)
    possible = {shrunk(large, Fraction(n, 1000)) for n in range(1000, 3001)}
    assert Frame(large, small_size, 2).fits == (small_size in possible)


@pytest.mark.parametrize(
    "wrong",
    [
        {"scale": 1.09},
        {"scale": 8.01},
        {"scale": float("nan")},
        {"scale": True},
        {"fit": 0},
        {"fit": (1280, 0)},
        {"fit": (1, 2, 3)},
        {"fit": 1.5},
        {"max_pixels_out": 0},
        {"max_pixels_out": 1e6},
        {"scale": 2, "fit": 100},
        {"fit": 100, "max_pixels_out": 100},
    ],
)
def test_a_goal_that_cannot_be_is_refused(wrong):
    with pytest.raises(UsageError, match=next(iter(wrong))):
        Goal(**wrong)
