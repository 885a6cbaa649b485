"""Enlarging and what undoes it: exact sizes, the same bits whatever the strips, and nothing lost."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from unshrink.pictures import resample
from unshrink.pictures.resample import resampled, sinc, taps
from unshrink.pictures.resize import resize
from unshrink.pictures.strips import Strips

SIDES = st.integers(1, 60)


def noise(height, width, channels=3, dtype=np.uint8):
    return np.random.default_rng(height * width).integers(0, np.iinfo(dtype).max + 1, (height, width, channels), dtype)


def smooth(height, width):
    """A picture without the finest detail, as photographs are."""
    y, x = np.mgrid[:height, :width]
    return (np.stack([np.sin(x / 3 + y / 5), np.cos(x / 4 - y / 3), np.sin(y * x / 900)], axis=2) / 2.5 + 0.5).astype(
        np.float32
    )


@settings(deadline=None)
@given(SIDES, SIDES, SIDES, SIDES, st.lists(st.integers(1, 9), min_size=1), st.integers(1, 9), st.booleans())
def test_whatever_the_strips_the_values_are_the_same_to_the_bit(height, width, tall, wide, cuts, rows, deep):
    pixels = noise(height, width, 1 + 2 * (cuts[0] % 2), np.uint16 if deep else np.uint8)
    whole = np.asarray(resampled(pixels, (tall, wide)))
    assert whole.shape == (tall, wide, pixels.shape[2])
    assert whole.dtype == np.float32
    edges = np.cumsum(cuts)
    strips = Strips(pixels.shape, pixels.dtype, [part for part in np.split(pixels, edges[edges < height]) if len(part)])
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(resample, "STRIP_BYTES", 4 * pixels.shape[2] * max(width, wide) * rows)
        assert np.array_equal(np.asarray(resampled(strips, (tall, wide))), whole)


@pytest.mark.parametrize("size", [(50, 71), (60, 70), (63, 90), (99, 140), (75, 71)])
def test_what_was_enlarged_comes_back(size):
    pixels = smooth(50, 70)
    back = np.asarray(resampled(resampled(pixels, size), (50, 70)))
    assert np.abs(back - pixels).max() < 0.7 / 255 if min(size[0] - 50, size[1] - 70) > 4 else 4 / 255
    assert np.sqrt(np.mean((back - pixels) ** 2)) < 0.3 / 255


def test_noise_comes_back_too_and_an_ordinary_reduction_would_lose_most_of_it():
    pixels = noise(64, 64) / np.float32(255)
    back = np.asarray(resampled(resampled(pixels, (96, 96)), (64, 64)))
    error = np.mean((back - pixels)[8:-8, 8:-8] ** 2)
    ordinary = resize(resize(pixels, (96, 96)), (64, 64))
    assert error < np.mean((ordinary - pixels)[8:-8, 8:-8] ** 2) / 30


@given(SIDES, SIDES, st.sampled_from([0, 1, 77, 255]))
@settings(deadline=None, max_examples=30)
def test_one_colour_stays_that_colour(old, new, value):
    flat = np.full((old, 3, 1), value, np.uint8)
    met = np.asarray(resampled(flat, (new, 3))) * 255
    assert np.abs(met - value).max() < 1e-3


def test_a_side_that_stays_is_untouched():
    pixels = noise(9, 40)
    assert np.array_equal(np.asarray(resampled(pixels, (9, 40))), pixels / np.float32(255))


@pytest.mark.parametrize(("old", "new"), [(10, 13), (100, 199), (133, 100), (190, 100), (9, 2), (2, 9), (1, 5), (5, 1)])
def test_taps_sum_to_one_and_stay_within_the_picture(old, new):
    index, weights = taps(old, new)
    assert index.shape == weights.shape
    assert len(index) == new
    assert index.min() >= 0
    assert index.max() < old
    np.testing.assert_allclose(weights.sum(axis=1), 1, atol=1e-6)


def test_what_undoes_is_the_inverse_of_what_enlarges_but_for_the_damping():
    """Against the whole matrix, solved at once."""
    small, large = 60, 75
    enlarge, undo = (dense(*sides) for sides in ((small, large), (large, small)))
    exact = np.linalg.solve(enlarge.T @ enlarge + resample.DAMPING * np.eye(small), enlarge.T)
    exact /= exact.sum(axis=1, keepdims=True)
    assert np.abs(undo - exact).max() < 0.003


def dense(old, new):
    index, weights = taps(old, new)
    matrix = np.zeros((new, old))
    for row in range(new):
        np.add.at(matrix[row], index[row], weights[row])
    return matrix


def test_the_kernel_is_one_at_nought_and_none_at_whole_numbers():
    values = sinc(np.arange(-7, 8).astype(float))
    np.testing.assert_allclose(values, np.arange(-7, 8) == 0, atol=1e-12)


def test_of_a_tall_picture_few_rows_are_held(monkeypatch):
    monkeypatch.setattr(resample, "STRIP_BYTES", 4 * 3 * 8 * 4)
    read, made, ahead = 0, 0, 0

    def strips():
        nonlocal read
        for _ in range(400):
            read += 5
            yield np.zeros((5, 6, 3), np.uint8)

    for strip in resampled(Strips((2000, 6, 3), np.uint8, strips()), (2600, 8)):
        made += len(strip)
        ahead = max(ahead, read - made * 2000 // 2600)
    assert made == 2600
    assert ahead < 30
