import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from skimage.color import rgb2ycbcr
from skimage.metrics import peak_signal_noise_ratio, structural_similarity

from unshrink.pictures import colour, metrics


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


def test_equal_pictures():
    image = np.random.default_rng(0).integers(0, 256, (16, 16, 3), np.uint8)
    assert metrics.psnr_y(image, image) == float("inf")
    assert metrics.ssim_y(image, image) == pytest.approx(1)


@pytest.mark.parametrize("size", [(1, 1), (1, 9), (3, 2), (12, 10)])
def test_tiny_pictures_have_figures(size):
    rng = np.random.default_rng(0)
    a, b = (rng.integers(0, 256, (*size, 3), np.uint8) for _ in range(2))
    assert np.isfinite(metrics.psnr_y(a, b, border=4))
    assert -1 <= metrics.ssim_y(a, b, border=4) <= 1
