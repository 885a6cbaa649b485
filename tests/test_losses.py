from dataclasses import fields

import pytest
import torch
from skimage.color import rgb2ycbcr
from torch.nn.functional import avg_pool2d

from unshrink.pictures import colour
from unshrink.training import losses
from unshrink.training.jpeg import bits
from unshrink.training.losses import LossConfig, RoundTrip


@pytest.fixture
def trip() -> RoundTrip:
    """Two crops of 8x8 at x2."""
    torch.manual_seed(0)
    hr, restored = torch.rand(2, 3, 8, 8), torch.rand(2, 3, 8, 8)
    return RoundTrip(hr, torch.rand(2, 3, 4, 4), torch.rand(2, 3, 4, 4), torch.randn(2, 9, 4, 4), restored)


def test_losses_are_the_published_sums_per_value_of_the_large_picture(trip):
    hr, reference, lr, z, restored = trip
    per_picture = 3 * 8 * 8

    def published(term: torch.Tensor) -> float:
        return float(term.flatten(1).sum(1).mean()) / per_picture

    charbonnier = torch.sqrt((restored - hr) ** 2 + 1e-6)
    usual, absolute = LossConfig(), LossConfig(reconstruction="l1", guide_penalty="l1")
    assert losses.reconstruction(trip, usual).mean().item() == pytest.approx(published(charbonnier))
    assert losses.reconstruction(trip, absolute).mean().item() == pytest.approx(published((restored - hr).abs()))
    assert losses.guide(trip, usual).mean().item() == pytest.approx(published((lr - reference) ** 2))
    assert losses.guide(trip, absolute).mean().item() == pytest.approx(published((lr - reference).abs()))
    assert losses.latent(trip, usual).mean().item() == pytest.approx(published(z**2))


def test_luma_is_that_of_the_published_psnr(trip):
    for one, other, loss in zip(trip.hr, trip.restored, losses.luma(trip, LossConfig("l2")), strict=True):
        difference = colour.luma(one.permute(1, 2, 0).numpy() * 255) - colour.luma(other.permute(1, 2, 0).numpy() * 255)
        assert loss.item() == pytest.approx(float((difference**2).mean()) / 255**2, rel=1e-4)


def test_chroma_is_the_mean_of_both_colour_differences(trip):
    """Against scikit-image's conversion; of single pixels, of blocks, and of the small picture."""
    pairs = {
        "chroma": (trip.hr, trip.restored),
        "chroma_blocks": (avg_pool2d(trip.hr, 4), avg_pool2d(trip.restored, 4)),
        "guide_chroma": (trip.reference, trip.lr),
    }
    for name, pair in pairs.items():
        one, other = (rgb2ycbcr(picture.permute(0, 2, 3, 1).numpy())[..., 1:] for picture in pair)
        wanted = ((one - other) ** 2).mean(axis=(1, 2, 3)) / 255**2
        assert losses.LOSSES[name](trip, LossConfig("l2")).numpy() == pytest.approx(wanted, rel=1e-3)


def test_the_guide_of_blocks_sees_tones_and_not_details(trip):
    checks = (torch.arange(8)[:, None] + torch.arange(8)) % 2 - 0.5
    reference = torch.full((2, 3, 8, 8), 0.5)
    shown = reference + torch.tensor([0.1, 0.0])[:, None, None, None] + 0.2 * checks
    values = losses.guide_blocks(trip._replace(reference=reference, lr=shown), LossConfig())
    assert values.tolist() == pytest.approx([0.01, 0], abs=1e-7)


def test_each_crop_has_its_own_number(trip):
    hr, restored = torch.zeros(2, 3, 8, 8), torch.zeros(2, 3, 8, 8)
    restored[1] = 0.5
    for loss in losses.OF_RESTORED.values():
        values = loss(trip._replace(hr=hr, restored=restored), LossConfig("l2"))
        assert values.shape == (2,)
        assert values[0] == 0 < values[1]


def test_a_loss_is_a_row_of_the_table(trip, monkeypatch):
    row = {"latent": lambda trip, config: trip.hr.new_full((2,), 5.0)}
    monkeypatch.setattr(losses, "LOSSES", {**losses.LOSSES, **row})
    plain, with_it = (losses.weighed(trip, LossConfig(latent=weight))["total"] for weight in (0.0, 2.0))
    assert torch.allclose(with_it - plain, torch.full((2,), 10.0))


def test_the_rate_is_of_the_small_picture_for_each_pixel_of_the_large_one(trip):
    flat = trip._replace(lr=torch.full_like(trip.lr, 0.5))
    rates = losses.rate(trip, LossConfig())
    assert rates.tolist() == pytest.approx([float(one) / 64 for one in bits(trip.lr, 70)])
    assert (rates > 10 * losses.rate(flat, LossConfig())).all()


def test_every_row_has_a_weight():
    numbers = {field.name for field in fields(LossConfig) if field.type is float}
    assert numbers - {"floor"} == losses.LOSSES.keys() - {"reconstruction"}
