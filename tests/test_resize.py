import numpy as np
import pytest
from PIL import Image

from unshrink.pictures.colour import to_uint8
from unshrink.pictures.resize import crop_to_multiple, cubic, resize, resize_matrix


def test_an_impulse_spreads_by_the_widened_kernel():
    """Half the size: MATLAB evaluates the kernel at half its argument, so 8 taps at quarter steps."""
    row = np.zeros((1, 32, 1))
    row[0, 16] = 1
    small = resize(row, (16, 1))[0, :, 0]
    offsets = (2 * np.arange(16) + 0.5) - 16
    np.testing.assert_allclose(small, cubic(offsets / 2) / 2, atol=1e-7)


@pytest.mark.parametrize("kernel", ["bicubic", "lanczos"])
@pytest.mark.parametrize("size", [(20, 30), (11, 17), (83, 61)])
def test_agrees_with_pillow_away_from_the_edges(kernel, size):
    """Pillow has the same kernels and antialiasing, but renormalises at the edges where MATLAB mirrors."""
    rng = np.random.default_rng(0)
    image = rng.random((60, 40)).astype(np.float32)
    mine = resize(image[..., None], size, kernel)[..., 0]
    pillow_kernel = {"bicubic": Image.Resampling.BICUBIC, "lanczos": Image.Resampling.LANCZOS}[kernel]
    theirs = np.asarray(Image.fromarray(image).resize(size, pillow_kernel))
    margin = [int(np.ceil(3 * max(1, new / old))) + 1 for new, old in zip(theirs.shape, image.shape, strict=True)]
    inside = tuple(slice(m, -m) for m in margin)
    assert theirs[inside].size > 0
    np.testing.assert_allclose(mine[inside], theirs[inside], atol=2e-3)


def test_edges_are_mirrored():
    rng = np.random.default_rng(1)
    row = rng.random((1, 24, 1))
    mirrored = np.concatenate((row[:, ::-1], row, row[:, ::-1]), axis=1)
    np.testing.assert_allclose(resize(row, (6, 1)), resize(mirrored, (18, 1))[:, 6:12], atol=1e-6)


@pytest.mark.parametrize("old, new", [(40, 10), (10, 40), (1, 1), (1, 5), (97, 13)])
def test_weights_sum_to_one(old, new):
    index, weights = resize_matrix(old, new, "bicubic")
    np.testing.assert_allclose(weights.sum(1), 1, atol=1e-6)
    assert index.min() >= 0
    assert index.max() < old


def test_published_bicubic_figures(set5):
    """Bicubic both ways through 8 bits on Set5: the published 33.66 / .9299 at x2 and 28.42 / .8104 at x4."""
    from unshrink.pictures.find import find_pictures
    from unshrink.pictures.metrics import psnr_y, ssim_y
    from unshrink.training.data import read_rgb

    for scale, psnr, ssim in ((2, 33.66, 0.9299), (4, 28.42, 0.8104)):
        rows = []
        for path in find_pictures(set5):
            hr = crop_to_multiple(read_rgb(path), scale)
            height, width = hr.shape[:2]
            small = to_uint8(resize(hr, (width // scale, height // scale)))
            large = to_uint8(resize(small, (width, height)))
            rows.append((psnr_y(hr, large, scale), ssim_y(hr, large, scale)))
        assert np.mean(rows, axis=0) == pytest.approx((psnr, ssim), abs=0.05)
        assert np.mean(rows, axis=0)[1] == pytest.approx(ssim, abs=0.001)
