import pytest
import torch

from unshrink import losses


def test_losses_are_the_published_sums_per_value_of_the_large_picture():
    torch.manual_seed(0)
    hr, restored = torch.rand(2, 3, 8, 8), torch.rand(2, 3, 8, 8)
    lr, reference, z = torch.rand(2, 3, 4, 4), torch.rand(2, 3, 4, 4), torch.randn(2, 9, 4, 4)
    per_picture = 3 * 8 * 8

    def published(term: torch.Tensor) -> float:
        return float(term.flatten(1).sum(1).mean()) / per_picture

    charbonnier = torch.sqrt((restored - hr) ** 2 + 1e-6)
    assert losses.reconstruction(restored, hr).item() == pytest.approx(published(charbonnier))
    assert losses.reconstruction(restored, hr, "l1").item() == pytest.approx(published((restored - hr).abs()))
    assert losses.guidance(lr, reference, hr).item() == pytest.approx(published((lr - reference) ** 2))
    assert losses.latent(z, hr).item() == pytest.approx(published(z**2))
