import numpy as np
import pytest

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
    one, other = Figures(*map(float, range(18))), Figures(*map(float, range(10, 46, 2)))
    assert mean(iter([one, other])) == Figures(*(5 + 1.5 * n for n in range(18)))


def test_every_figure_is_of_its_own_pictures_and_channels():
    """What is off in one channel of one picture shows in its figures, and in those alone."""
    hr = np.full((64, 64, 3), 128, np.uint8)
    small, restored = hr[::2, ::2].copy(), hr.copy()
    exact = figures(hr, small, restored, 2)
    assert all(np.isinf(getattr(exact, name)) for name in vars(exact) if "psnr" in name)
    small[8:12, 8:12, 2] += 20  # blue: Cb more than Cr
    of_small = figures(hr, small, restored, 2)
    changed = {name for name in vars(exact) if getattr(exact, name) != getattr(of_small, name)}
    assert changed == {name for name in vars(exact) if name.startswith("lr_")}
    assert of_small.lr_psnr_cb < of_small.lr_psnr_cr - 10
    assert of_small.lr_psnr_chroma == (of_small.lr_psnr_cb + of_small.lr_psnr_cr) / 2
    worst = 64 * of_small.lr_colour_error  # in 1 block of 64, so that the percentile is 0.37 of the way to it
    assert of_small.lr_colour_error_99 == pytest.approx(0.37 * worst)
    restored[:2] = 0  # the border, which is cut
    assert figures(hr, small, restored, 2) == of_small
    restored[30:34, 30:34, 0] += 20  # red
    of_both = figures(hr, small, restored, 2)
    assert of_both.psnr_cr < of_both.psnr_cb
    assert of_both.colour_error > 0
    assert of_both.small == of_small.small


def test_the_line_of_a_log_has_luma_colours_and_both_pictures():
    line = str(
        Figures(44.101, 38.2, 43.3, 43.4, 43.35, 0.98765, 0.9, 0.4, 1.5, *[float("inf")] * 5, 1.0, 1.0, 0.0, 0.25)
    )
    assert line == (
        "HR 44.10 dB Y, 38.20 RGB, 43.30 Cb, 43.40 Cr, SSIM 0.9877, colour error 0.40 (99 %: 1.50); "
        "LR exact dB Y, exact RGB, exact Cb, exact Cr, SSIM 1.0000, colour error 0.00 (99 %: 0.25)"
    )
