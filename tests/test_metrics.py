import numpy as np
import pytest
from skimage.metrics import peak_signal_noise_ratio, structural_similarity

from unshrink import metrics


@pytest.fixture
def pair():
    rng = np.random.default_rng(0)
    smooth = np.cumsum(np.cumsum(rng.normal(size=(40, 52, 3)), 0), 1)
    a = np.uint8(255 * (smooth - smooth.min()) / np.ptp(smooth))
    return a, np.uint8(np.clip(a + rng.normal(scale=6, size=a.shape), 0, 255))


def test_psnr_agrees_with_scikit_image(pair):
    assert metrics.psnr(*pair) == pytest.approx(peak_signal_noise_ratio(*pair, data_range=255), abs=1e-4)
    cut = [image[4:-4, 4:-4] for image in pair]
    assert metrics.psnr(*pair, border=4) == pytest.approx(peak_signal_noise_ratio(*cut, data_range=255), abs=1e-4)


def test_ssim_agrees_with_scikit_image_over_the_valid_region(pair):
    x, y = (metrics.luma(image)[..., 0] for image in pair)
    _, full = structural_similarity(
        x, y, gaussian_weights=True, sigma=1.5, use_sample_covariance=False, data_range=255, full=True
    )
    assert metrics.ssim_y(*pair) == pytest.approx(full[5:-5, 5:-5].mean(), abs=1e-6)


def test_luma_of_black_white_and_the_primaries():
    colours = np.array([[[0, 0, 0], [255, 255, 255], [255, 0, 0], [0, 255, 0], [0, 0, 255]]], np.uint8)
    assert metrics.luma(colours)[0, :, 0] == pytest.approx([16, 235, 81.481, 144.553, 40.966], abs=1e-3)


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
