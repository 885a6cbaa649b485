import numpy as np
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from unshrink import tiling
from unshrink.architectures import IRNConfig
from unshrink.models.irn import IRN
from unshrink.tiling import halo, largest_side, run_tiled, tiles

CONFIGS = {2: (2,), 4: (1, 1), 8: (1, 1, 1)}


def network(scale: int) -> IRN:
    torch.manual_seed(0)
    net = IRN(IRNConfig(scale=scale, blocks=CONFIGS[scale], growth=4)).double()
    for parameter in net.parameters():
        torch.nn.init.normal_(parameter, std=0.1)
    return net


@given(st.integers(1, 60), st.integers(1, 60), st.integers(1, 30), st.integers(0, 9))
def test_cores_cover_every_pixel_once_and_lie_inside_their_surroundings(height, width, side, reach):
    count = np.zeros((height, width), int)
    for tile in tiles(height, width, side, reach):
        top, bottom, left, right = tile.core
        count[top:bottom, left:right] += 1
        assert bottom - top <= side
        assert right - left <= side
        for (edge, outer), limit in zip(zip(tile.core, tile.outer, strict=True), (0, height, 0, width), strict=True):
            assert abs(edge - outer) == min(reach, abs(edge - limit))
    assert (count == 1).all()


@settings(deadline=None, max_examples=12)
@given(scale=st.sampled_from([2, 4, 8]), height=st.integers(1, 50), width=st.integers(1, 50), side=st.integers(7, 40))
def test_tiled_equals_whole_both_ways(scale, height, width, side):
    net = network(scale)
    reach = halo({"blocks": CONFIGS[scale]})
    hr = np.random.default_rng(0).random((3, height * scale, width * scale))

    def down(x: np.ndarray) -> np.ndarray:
        with torch.no_grad():
            return torch.cat(net(torch.from_numpy(x)), 1).numpy()

    def up(lr: np.ndarray, z: np.ndarray) -> np.ndarray:
        with torch.no_grad():
            return net.inverse(torch.from_numpy(lr), torch.from_numpy(z)).numpy()

    whole = down(hr[None])[0]
    np.testing.assert_allclose(run_tiled(down, [(hr, scale)], (3 * scale**2, 1), side, reach), whole, atol=1e-6)
    lr, z = whole[:3], whole[3:] * 0
    restored = up(lr[None], z[None])[0]
    np.testing.assert_allclose(run_tiled(up, [(lr, 1), (z, 1)], (3, scale), side, reach), restored, atol=1e-6)


def test_the_halo_is_as_wide_as_the_reach_of_the_network():
    """One pixel far away changes results up to the halo's distance, and none beyond it."""
    net, reach = network(4), halo({"blocks": (1, 1)})
    hr = torch.rand(1, 3, 4, 4 * 120, dtype=torch.float64)
    changed = hr.clone()
    changed[..., 4 * 60 : 4 * 61] += 0.5
    with torch.no_grad():
        difference = (torch.cat(net(hr), 1) - torch.cat(net(changed), 1)).abs().amax((0, 1, 2))
    touched = difference.nonzero().flatten()
    assert 60 - reach <= touched.min()
    assert touched.max() <= 60 + reach
    assert touched.max() - touched.min() > reach, "a halo far wider than needed wastes work"


def test_what_is_run_at_once_fits_half_of_the_memory(monkeypatch):
    monkeypatch.setattr(tiling, "machine_memory", lambda: 64 << 30)
    for scale, reach in ((2, 80), (4, 120), (8, 140)):
        for height, width in ((50, 60), (1500, 2000), (10_000, 20_000)):
            side = largest_side(height, width, scale, reach)
            for top, bottom, left, right in (tile.outer for tile in tiles(height, width, side, reach)):
                assert (bottom - top) * (right - left) * scale**2 * tiling.BYTES_PER_PIXEL <= 32 << 30
    assert largest_side(500, 400, 4, 120) == 500, "a small picture is run in one piece"
