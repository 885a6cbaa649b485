import numpy as np

from figures import Nearest
from unshrink.evaluation.protocol import Figures, encoded, figures, mean, round_trip
from unshrink.pictures.image import Image


def noise(height, width):
    return np.random.default_rng(height).integers(0, 256, (height, width, 3), np.uint8)


def test_figures_of_a_round_trip_are_those_of_its_file():
    hr = noise(32, 48)
    found = round_trip(Nearest(), hr)
    small = Nearest().downscale(Image(hr))
    expected = figures(hr, small.pixels, Nearest().upscale(small).pixels, 2)
    assert {key: found[key] for key in vars(expected)} == vars(expected)
    assert found["png_bytes"] == len(encoded(small, "png"))
    assert found["webp_bits_per_pixel"] == 8 * len(encoded(small, "webp")) / (32 * 48)
    assert found["up_seconds_per_megapixel"] > 0


def test_the_mean_is_of_the_pictures_figure_by_figure():
    one, other = Figures(*map(float, range(7))), Figures(*map(float, range(10, 24, 2)))
    assert mean(iter([one, other])) == Figures(5.0, 6.5, 8.0, 9.5, 11.0, 12.5, 14.0)
