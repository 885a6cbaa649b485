from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from unshrink.pictures import alpha

PLANES = arrays(
    np.uint8, st.tuples(st.integers(1, 13), st.integers(1, 13), st.just(1)), elements=st.sampled_from([0, 9, 255])
)


def whole(scale):
    return Fraction(scale), Fraction(scale)


@given(PLANES, st.sampled_from([2, 3, 4, 8]), st.integers(0, 2**32 - 1))
def test_whole_blocks_stay_opaque_or_transparent_whatever_the_network_says(full, scale, seed):
    rng = np.random.default_rng(seed)
    small_shape = (-(-full.shape[0] // scale), -(-full.shape[1] // scale), 1)
    small = alpha.pin_small(rng.integers(0, 256, small_shape, np.uint8), full, whole(scale))
    restored = alpha.pin_restored(rng.integers(0, 256, full.shape, np.uint8), small, whole(scale))
    for y in range(small_shape[0]):
        for x in range(small_shape[1]):
            here = np.s_[y * scale : (y + 1) * scale, x * scale : (x + 1) * scale]
            extreme = {255: 255, 0: 0}.get(full[here].min()) if np.ptp(full[here]) == 0 else None
            if extreme is None:
                assert 0 < small[y, x, 0] < 255
            else:
                assert small[y, x, 0] == extreme
                assert (restored[here] == extreme).all()


def test_small_eight_bit_alpha_pins_sixteen_bit_restored():
    small = np.array([[[255], [0], [7]]], np.uint8)
    restored = alpha.pin_restored(np.full((2, 6, 1), 999, np.uint16), small, whole(2))
    assert restored[0, :, 0].tolist() == [65535, 65535, 0, 0, 999, 999]


def test_hidden_colours_give_way_to_the_visible_ones_nearby():
    colour = np.zeros((8, 8, 3), np.uint8)
    colour[:, :2] = (200, 100, 50)
    opacity = np.zeros((8, 8, 1), np.uint8)
    opacity[:, :2] = 255
    assert (alpha.spread(colour, opacity) == (200, 100, 50)).all()


@pytest.mark.parametrize("value", [0, 1, 255])
def test_even_transparency_changes_no_colour(value):
    colour = np.random.default_rng(0).integers(0, 256, (5, 7, 3), np.uint8)
    assert (alpha.spread(colour, np.full((5, 7, 1), value, np.uint8)) == colour).all()


@given(PLANES, st.data())
def test_at_any_ratio_what_is_opaque_or_transparent_stays_so_and_nothing_else_becomes_so(full, data):
    height, width = (data.draw(st.integers(1, side), label="small side") for side in full.shape[:2])
    blocks, rng = (Fraction(full.shape[0], height), Fraction(full.shape[1], width)), np.random.default_rng(0)
    small = alpha.pin_small(rng.integers(0, 256, (height, width, 1), np.uint8), full, blocks)
    for y, x in np.ndindex(height, width):
        here = full[touched(y, blocks[0]), touched(x, blocks[1])]
        assert (small[y, x, 0] in (0, 255)) == (np.ptp(here) == 0 and here.min() in (0, 255))
        assert small[y, x, 0] not in (0, 255) or small[y, x, 0] == here.min()
    restored = alpha.pin_restored(np.full_like(full, 9), small, blocks)
    for y, x in np.ndindex(full.shape[:2]):
        over = small[touched(y, 1 / blocks[0]), touched(x, 1 / blocks[1])]
        pinned = np.ptp(over) == 0 and over.min() in (0, 255)
        assert restored[y, x, 0] == (over.min() if pinned else 9)
        assert not pinned or restored[y, x, 0] == full[y, x, 0]


def touched(place, block):
    """The places of the other picture that one place covers, be it in part."""
    return slice(int(place * block), -int(-(place + 1) * block // 1))
