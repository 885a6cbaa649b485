"""JPEG on tensors, and what sites do to small pictures, against the files that Pillow writes."""

import io

import numpy as np
import pytest
import torch
from PIL import Image as PilImage
from torch import Tensor

from unshrink.pictures import metrics
from unshrink.training import codecs
from unshrink.training.jpeg import bits, jpeg, tables


def picture(height: int = 216, width: int = 301) -> np.ndarray:
    """A photo that a good scaler has made small: sharp, and no codec's traces in it."""
    from skimage.data import chelsea

    return np.asarray(PilImage.fromarray(chelsea()).resize((width, height), PilImage.Resampling.LANCZOS))


def tensor(pixels: np.ndarray) -> Tensor:
    return torch.from_numpy(pixels.copy()).permute(2, 0, 1)[None].float() / 255


def pixels(tensor: Tensor) -> np.ndarray:
    return (tensor[0].permute(1, 2, 0) * 255).round().byte().numpy()


def written(hr: np.ndarray, form: str = "JPEG", **options) -> tuple[np.ndarray, int]:
    with io.BytesIO() as stream:
        PilImage.fromarray(hr).save(stream, form, **options)
        size = stream.tell()
        return np.asarray(PilImage.open(stream).convert("RGB")), size


@pytest.mark.parametrize("quality", [30, 50, 75, 90])
@pytest.mark.parametrize("subsampled, least", [(True, 45), (False, 48)])
def test_it_gives_what_pillow_reads_back(quality, subsampled, least):
    hr = picture()
    real, _ = written(hr, quality=quality, subsampling=2 * subsampled)
    made = pixels(jpeg(tensor(hr), torch.tensor([float(quality)]), torch.tensor([subsampled])))
    assert metrics.psnr(real, made) > max(least, 6 + metrics.psnr(hr, made))


def test_each_picture_has_its_own_quality_and_subsampling():
    hr = tensor(picture(32, 48)).expand(3, -1, -1, -1)
    qualities, subsampled = torch.tensor([40.0, 90.0, 90.0]), torch.tensor([True, True, False])
    together = jpeg(hr, qualities, subsampled)
    for i in range(3):
        torch.testing.assert_close(together[i : i + 1], jpeg(hr[:1], qualities[i : i + 1], subsampled[i : i + 1]))
    assert len(torch.unique(together.flatten(1), dim=0)) == 3


@pytest.mark.parametrize("quality", [1, 10, 49, 50, 75, 97, 100])
def test_steps_are_those_in_the_files_of_libjpeg(quality):
    with io.BytesIO() as stream:
        PilImage.new("RGB", (8, 8)).save(stream, "JPEG", quality=quality)
        of_file = PilImage.open(stream).quantization
    expected = torch.tensor([of_file[0], of_file[1]]).reshape(2, 8, 8)
    assert torch.equal(tables(torch.tensor([float(quality)]))[0].int(), expected.int())


@pytest.mark.parametrize("quality", [60, 75, 90])
def test_bits_are_about_those_of_the_file(quality):
    hr = picture()
    header = written(np.full((8, 8, 3), 128, np.uint8), quality=quality, subsampling=2, optimize=True)[1]
    _, size = written(hr, quality=quality, subsampling=2, optimize=True)
    assert float(bits(tensor(hr), quality)) / 8 == pytest.approx(size - header, rel=0.08)


def test_what_is_rounded_away_has_a_smaller_gradient_than_what_stays():
    """Noise at a low quality is lost: to change it changes nothing, so the encoder is not told to."""
    hr = tensor(picture(64, 64)).requires_grad_()
    noise = torch.randn(hr.shape, generator=torch.Generator().manual_seed(0))
    sizes = []
    for quality in (10.0, 98.0):
        arrived = jpeg(hr, torch.tensor([quality]), torch.tensor([False]))
        (gradient,) = torch.autograd.grad((arrived * noise).sum(), hr)
        assert gradient.isfinite().all()
        sizes.append(float(gradient.norm()))
    assert 0 < sizes[0] < 0.5 * sizes[1]


def drawn(what: float, quality: float = 0.5, subsampled: float = 0.0) -> Tensor:
    return torch.tensor([[what, quality, subsampled, quality, subsampled]])


def test_what_arrives_has_the_values_of_the_files():
    """Quality 64 is the middle of 30 to 97."""
    hr = picture(48, 64)
    small, once = tensor(hr), written(hr, quality=64, subsampling=2)[0]
    cases = {
        0.5: once,
        codecs.WEBP / 2: written(hr, "WEBP", quality=64)[0],
        codecs.WEBP + codecs.TWICE / 2: written(once, quality=64, subsampling=2)[0],
        1 - codecs.UNTOUCHED / 2: hr,
    }
    for what, expected in cases.items():
        np.testing.assert_array_equal(pixels(codecs.codecs(small, drawn(what), 0.0, None)), expected)
    whole = codecs.codecs(small.expand(4, -1, -1, -1), torch.cat([drawn(what) for what in cases]), 0.0, None)
    for arrived, expected in zip(whole, cases.values(), strict=True):
        np.testing.assert_array_equal(pixels(arrived[None]), expected)
    full = codecs.codecs(small, drawn(0.5, subsampled=0.9), 0.0, None)
    np.testing.assert_array_equal(pixels(full), written(hr, quality=64, subsampling=0)[0])


def test_every_quality_is_drawn_and_the_gradient_goes_through_whatever_happens():
    numbers = codecs.draw_codecs(torch.empty(2000, 3, 8, 8), torch.Generator().manual_seed(0))
    low, high = codecs.QUALITIES
    qualities = (low + numbers[:, 1] * (high + 1 - low)).floor()
    assert (int(qualities.min()), int(qualities.max())) == codecs.QUALITIES
    small = tensor(picture(16, 16)).repeat(4, 1, 1, 1).requires_grad_()
    kinds = torch.cat([drawn(what) for what in (0.05, 0.15, 0.5, 0.99)])
    (gradient,) = torch.autograd.grad(codecs.codecs(small, kinds, 0.0, None).square().sum(), small)
    assert (gradient.flatten(1).abs().amax(dim=1) > 0).all()
