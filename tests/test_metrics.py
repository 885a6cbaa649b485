import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from skimage.color import deltaE_ciede2000, rgb2lab, rgb2ycbcr
from skimage.metrics import peak_signal_noise_ratio, structural_similarity

from unshrink.pictures import ciede2000, colour, metrics


@pytest.fixture
def pair():
    rng = np.random.default_rng(0)
    smooth = np.cumsum(np.cumsum(rng.normal(size=(40, 52, 3)), 0), 1)
    a = np.uint8(255 * (smooth - smooth.min()) / np.ptp(smooth))
    return a, np.uint8(np.clip(a + rng.normal(scale=6, size=a.shape), 0, 255))


@pytest.fixture
def photo_pair():
    """A photo, and the same photo as a JPEG file of low quality gives it."""
    photo = Image.open(Path(__file__).parents[1] / "examples/chelsea.png").convert("RGB")
    file = io.BytesIO()
    photo.save(file, "JPEG", quality=30)
    return np.asarray(photo), np.asarray(Image.open(file))


def test_psnr_agrees_with_scikit_image(pair):
    assert metrics.psnr(*pair) == pytest.approx(peak_signal_noise_ratio(*pair, data_range=255), abs=1e-4)
    lumas = [colour.luma(image) for image in pair]
    assert metrics.psnr_y(*pair) == pytest.approx(peak_signal_noise_ratio(*lumas, data_range=255), abs=1e-4)
    cut = [image[4:-4, 4:-4] for image in pair]
    assert metrics.psnr(*pair, border=4) == pytest.approx(peak_signal_noise_ratio(*cut, data_range=255), abs=1e-4)


@pytest.mark.parametrize("border", [0, 4])
@pytest.mark.parametrize("source", ["noisy", "photo"])
def test_ssim_agrees_with_scikit_image_over_the_valid_region(pair, photo_pair, source, border):
    a, b = pair if source == "noisy" else photo_pair
    options = {"gaussian_weights": True, "sigma": 1.5, "use_sample_covariance": False, "data_range": 255, "full": True}
    rgb = [metrics.cut(image, border).astype(np.float64) for image in (a, b)]
    luma = [colour.luma(image)[..., 0] for image in rgb]
    _, of_luma = structural_similarity(*luma, **options)
    _, of_rgb = structural_similarity(*rgb, channel_axis=2, **options)
    assert metrics.ssim_y(a, b, border) == pytest.approx(of_luma[5:-5, 5:-5].mean(), abs=1e-6)
    assert metrics.ssim(a, b, border) == pytest.approx(of_rgb[5:-5, 5:-5].mean(), abs=1e-6)


def test_ssim_is_the_formula_of_the_paper_window_by_window(pair):
    """Written out for every window of one channel, with weights of the whole square."""
    x, y = (image[..., 1].astype(np.float64) for image in pair)
    steps = np.arange(-5, 6)
    weights = np.exp(-(steps[:, None] ** 2 + steps[None] ** 2) / (2 * 1.5**2))
    weights /= weights.sum()
    found = []
    for top in range(x.shape[0] - 10):
        for left in range(x.shape[1] - 10):
            u, v = (image[top : top + 11, left : left + 11] for image in (x, y))
            mu, mv = (weights * u).sum(), (weights * v).sum()
            cov = (weights * (u - mu) * (v - mv)).sum()
            spread = (weights * ((u - mu) ** 2 + (v - mv) ** 2)).sum()
            c1, c2 = 2.55**2, 7.65**2
            found.append((2 * mu * mv + c1) * (2 * cov + c2) / ((mu**2 + mv**2 + c1) * (spread + c2)))
    assert metrics.ssim(x[..., None], y[..., None]) == pytest.approx(np.mean(found), abs=1e-6)


def test_luma_agrees_with_scikit_image(photo_pair):
    np.testing.assert_allclose(colour.luma(photo_pair[0])[..., 0], rgb2ycbcr(photo_pair[0])[..., 0], atol=1e-6)


def test_luma_of_black_white_and_the_primaries():
    colours = np.array([[[0, 0, 0], [255, 255, 255], [255, 0, 0], [0, 255, 0], [0, 0, 255]]], np.uint8)
    assert colour.luma(colours)[0, :, 0] == pytest.approx([16, 235, 81.481, 144.553, 40.966], abs=1e-3)


def test_chroma_agrees_with_scikit_image(photo_pair):
    np.testing.assert_allclose(colour.chroma(photo_pair[0]), rgb2ycbcr(photo_pair[0])[..., 1:], atol=1e-6)
    of_cb, of_cr = (
        (rgb2ycbcr(image)[..., 1] for image in photo_pair),
        (rgb2ycbcr(image)[..., 2] for image in photo_pair),
    )
    expected = [peak_signal_noise_ratio(*planes, data_range=255) for planes in (of_cb, of_cr)]
    assert metrics.psnr_chroma(*photo_pair) == pytest.approx(expected, abs=1e-4)


def test_chroma_of_greys_and_the_primaries():
    colours = np.array([[[0, 0, 0], [255, 255, 255], [255, 0, 0], [0, 255, 0], [0, 0, 255]]], np.uint8)
    expected = [[128, 128], [128, 128], [90.203, 240], [53.797, 34.214], [240, 109.786]]
    np.testing.assert_allclose(colour.chroma(colours)[0], expected, atol=1e-3)


def test_chroma_keeps_the_border_out(pair):
    spoilt = pair[1].copy()
    spoilt[:4], spoilt[-4:], spoilt[:, :4], spoilt[:, -4:] = 0, 0, 255, 255
    for measure in (metrics.psnr_chroma, metrics.colour_error):
        assert measure(pair[0], spoilt, border=4) == measure(*pair, border=4) != measure(pair[0], spoilt)


# -- the colour error ----------------------------------------------------------------------------------------------

SHARMA = """
50 2.6772 -79.7751  50 0 -82.7485  2.0425
50 3.1571 -77.2803  50 0 -82.7485  2.8615
50 2.8361 -74.0200  50 0 -82.7485  3.4412
50 -1.3802 -84.2814  50 0 -82.7485  1.0000
50 -1.1848 -84.8006  50 0 -82.7485  1.0000
50 -0.9009 -85.5211  50 0 -82.7485  1.0000
50 0 0  50 -1 2  2.3669
50 -1 2  50 0 0  2.3669
50 2.4900 -0.0010  50 -2.4900 0.0009  7.1792
50 2.4900 -0.0010  50 -2.4900 0.0010  7.1792
50 2.4900 -0.0010  50 -2.4900 0.0011  7.2195
50 2.4900 -0.0010  50 -2.4900 0.0012  7.2195
50 -0.0010 2.4900  50 0.0009 -2.4900  4.8045
50 -0.0010 2.4900  50 0.0010 -2.4900  4.8045
50 -0.0010 2.4900  50 0.0011 -2.4900  4.7461
50 2.5 0  50 0 -2.5  4.3065
50 2.5 0  73 25 -18  27.1492
50 2.5 0  61 -5 29  22.8977
50 2.5 0  56 -27 -3  31.9030
50 2.5 0  58 24 15  19.4535
50 2.5 0  50 3.1736 0.5854  1.0000
50 2.5 0  50 3.2972 0  1.0000
50 2.5 0  50 1.8634 0.5757  1.0000
50 2.5 0  50 3.2592 0.3350  1.0000
60.2574 -34.0099 36.2677  60.4626 -34.1751 39.4387  1.2644
63.0109 -31.0961 -5.8663  62.8187 -29.7946 -4.0864  1.2630
61.2901 3.7196 -5.3901  61.4292 2.2480 -4.9620  1.8731
35.0831 -44.1164 3.7933  35.0232 -40.0716 1.5901  1.8645
22.7233 20.0904 -46.6940  23.0331 14.9730 -42.5619  2.0373
36.4612 47.8580 18.3852  36.2715 50.5065 21.2231  1.4146
90.8027 -2.0831 1.4410  91.1528 -1.6435 0.0447  1.4441
90.9257 -0.5406 -0.9208  88.6381 -0.8985 -0.7239  1.5381
6.7747 -0.2908 -2.4247  5.8714 -0.0985 -2.2286  0.6377
2.0776 0.0795 -1.1350  0.9033 -0.0636 -0.5514  0.9082
"""  # table 1 of Sharma, Wu, Dalal, 2005: two colours in CIELAB, and their difference


def test_ciede2000_is_that_of_its_published_pairs():
    table = np.array([line.split() for line in SHARMA.strip().splitlines()], float)
    assert len(table) == 34
    one, other, expected = table[:, :3], table[:, 3:6], table[:, 6]
    np.testing.assert_allclose(ciede2000.ciede2000(one, other), expected, atol=5.1e-5)
    np.testing.assert_allclose(ciede2000.ciede2000(other, one), expected, atol=5.1e-5)


def test_ciede2000_agrees_with_scikit_image_over_all_colours():
    one, other = np.random.default_rng(0).uniform((0, -120, -120), (100, 120, 120), (2, 20000, 3))
    np.testing.assert_allclose(ciede2000.ciede2000(one, other), deltaE_ciede2000(one, other), atol=1e-9)


def test_lab_agrees_with_scikit_image_and_greys_have_no_colour(photo_pair):
    found = ciede2000.lab(ciede2000.linear(photo_pair[0]))
    np.testing.assert_allclose(found, rgb2lab(photo_pair[0]), atol=0.03)  # its white is rounded otherwise
    greys = ciede2000.lab(ciede2000.linear(np.arange(256, dtype=np.uint8)[:, None].repeat(3, 1)))
    np.testing.assert_allclose(greys[:, 1:], 0, atol=1e-10)
    assert greys[[0, 255], 0] == pytest.approx([0, 100])


def test_the_colour_error_is_that_of_what_the_eye_adds_up():
    dots = np.zeros((8, 8, 3), np.uint8)
    dots[::2, ::2] = dots[1::2, 1::2] = 255  # a half of the light: 188 of 255 as sRGB has it, not 128
    found = {grey: metrics.colour_error(dots, np.full((8, 8, 3), grey, np.uint8))[0] for grey in (128, 188)}
    assert found[188] < 0.3
    assert found[128] > 15


def test_the_colour_error_tells_one_bad_block_in_its_percentile_alone():
    plain = np.full((80, 80, 3), 200, np.uint8)
    spoilt = plain.copy()
    spoilt[:4, :40] = 200, 180, 200  # 10 of 400 blocks
    mean, worst = metrics.colour_error(plain, spoilt)
    both = ciede2000.lab(ciede2000.linear(np.stack([plain[0, 0], spoilt[0, 0]])))
    assert worst == pytest.approx(float(deltaE_ciede2000(*both)), abs=1e-6)
    assert mean == pytest.approx(worst / 40)
    assert metrics.colour_error(spoilt, spoilt) == (0, 0)


def test_equal_pictures():
    image = np.random.default_rng(0).integers(0, 256, (16, 16, 3), np.uint8)
    assert metrics.psnr_chroma(image, image) == (float("inf"), float("inf"))
    assert metrics.psnr_y(image, image) == float("inf")
    assert metrics.ssim_y(image, image) == pytest.approx(1)


@pytest.mark.parametrize("size", [(1, 1), (1, 9), (3, 2), (12, 10)])
def test_tiny_pictures_have_figures(size):
    rng = np.random.default_rng(0)
    a, b = (rng.integers(0, 256, (*size, 3), np.uint8) for _ in range(2))
    assert np.isfinite(metrics.psnr_y(a, b, border=4))
    assert -1 <= metrics.ssim_y(a, b, border=4) <= 1
    assert np.isfinite([metrics.psnr_chroma(a, b, border=4), metrics.colour_error(a, b, border=4)]).all()
