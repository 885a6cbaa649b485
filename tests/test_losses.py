import pytest
import torch

from unshrink.pictures import colour
from unshrink.training import losses


def test_losses_are_the_published_sums_per_value_of_the_large_picture():
    torch.manual_seed(0)
    hr, restored = torch.rand(2, 3, 8, 8), torch.rand(2, 3, 8, 8)
    lr, reference, z = torch.rand(2, 3, 4, 4), torch.rand(2, 3, 4, 4), torch.randn(2, 9, 4, 4)
    per_picture = 3 * 8 * 8

    def published(term: torch.Tensor) -> float:
        return float(term.flatten(1).sum(1).mean()) / per_picture

    charbonnier = torch.sqrt((restored - hr) ** 2 + 1e-6)
    assert losses.reconstruction(restored, hr).mean().item() == pytest.approx(published(charbonnier))
    assert losses.reconstruction(restored, hr, "l1").mean().item() == pytest.approx(published((restored - hr).abs()))
    assert losses.guidance(lr, reference, hr).mean().item() == pytest.approx(published((lr - reference) ** 2))
    assert losses.latent(z, hr).mean().item() == pytest.approx(published(z**2))


def test_luma_is_that_of_the_published_psnr():
    torch.manual_seed(0)
    hr, restored = torch.rand(2, 3, 8, 8), torch.rand(2, 3, 8, 8)
    for one, other, loss in zip(hr, restored, losses.luma(restored, hr, "l2"), strict=True):
        difference = colour.luma(one.permute(1, 2, 0).numpy() * 255) - colour.luma(other.permute(1, 2, 0).numpy() * 255)
        assert loss.item() == pytest.approx(float((difference**2).mean()) / 255**2, rel=1e-4)


def test_each_crop_has_its_own_number():
    hr, restored = torch.zeros(2, 3, 8, 8), torch.zeros(2, 3, 8, 8)
    restored[1] = 0.5
    for loss in (losses.reconstruction, losses.luma):
        values = loss(restored, hr, "l2")
        assert values.shape == (2,)
        assert values[0] == 0 < values[1]
