from dataclasses import replace

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from unshrink.errors import ConfigError, WeightsError
from unshrink.network.irn import IRNConfig
from unshrink.network.layers import operations
from unshrink.network.modules import HaarDownsample
from unshrink.network.network import Network, build

SHAPES = {2: (2,), 3: (2,), 4: (2, 2), 8: (1, 1, 1)}


KINDS = {
    "published": {"growth": 8},
    "plain": {"subnet": "plain", "width": 8, "depth": 3, "joint": True, "steady": True},
}


def random_network(scale: int, kind: str = "published", **config) -> Network:
    torch.manual_seed(scale)
    network = Network(IRNConfig(scale=scale, blocks=SHAPES[scale], **KINDS[kind], **config))
    for parameter in network.parameters():
        torch.nn.init.normal_(parameter, std=0.05) if parameter.ndim != 3 else None
    return network


@pytest.mark.parametrize(
    "scale, blocks, count", [(2, (8,), 1_667_952), (4, (8, 8), 4_355_136), (8, (8,) * 3, 11_119_248)]
)
def test_published_shapes_have_the_published_number_of_parameters(scale, blocks, count):
    network = Network(IRNConfig(scale=scale, blocks=blocks))
    assert sum(p.numel() for p in network.parameters()) == count


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("scale", SHAPES)
def test_operations_are_those_that_a_run_makes(scale, kind):
    network = random_network(scale, kind)
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        network(torch.rand(1, 3, 24, 48))
    learned = (
        3 * 9 * 24 * 48 if (scale, kind) == (3, "published") else 0
    )  # the matrices of x3 are no convolutions of the network
    made = counter.get_total_flops() / 2 - learned
    assert operations(network.encoder_steps) * 24 * 48 == pytest.approx(made)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("scale", SHAPES)
@pytest.mark.parametrize("dtype, bound", [(torch.float64, 1e-10), (torch.float32, 1e-5)])
def test_the_inverse_is_exact_when_z_is_kept(scale, kind, dtype, bound):
    network, hr = random_network(scale, kind).to(dtype), torch.rand(2, 3, 24, 48, dtype=dtype)
    with torch.no_grad():
        lr, z = network(hr)
        restored = network.decode(lr, z)
    assert lr.shape == (2, 3, 24 // scale, 48 // scale)
    assert z.shape == (2, 3 * scale**2 - 3, 24 // scale, 48 // scale)
    assert (restored - hr).abs().max() < bound
    assert (network.upscale(lr) - hr).abs().max() > 100 * bound, "z must matter, or this test proves nothing"


def test_an_untrained_network_is_two_haar_transforms():
    hr = torch.rand(1, 3, 16, 16)
    lr, z = Network(IRNConfig(scale=4, blocks=(2, 2)))(hr)
    torch.testing.assert_close(torch.cat((lr, z), 1), HaarDownsample()(HaarDownsample()(hr)))


def test_downscale_gives_values_on_the_8_bit_grid():
    lr = random_network(2).downscale(torch.rand(1, 3, 16, 16))
    assert ((lr * 255).round() / 255 == lr).all()
    assert lr.min() >= 0
    assert lr.max() <= 1


def test_z_is_zero_or_drawn_from_the_normal_distribution_by_a_seed():
    lr = torch.rand(1, 3, 64, 64)
    assert random_network(2).latent(lr).abs().max() == 0
    gaussian = random_network(2, latent="gaussian")
    first, again, other = (gaussian.latent(lr, torch.Generator().manual_seed(seed)) for seed in (1, 1, 2))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert abs(first.mean()) < 0.02
    assert abs(first.std() - 1) < 0.02


@pytest.mark.parametrize(
    "config, message",
    [
        ({"scale": 5}, "model.scale is 5: allowed are 2, 3, 4, 8"),
        ({"scale": 4, "blocks": (8,)}, "scale 4 takes 2 numbers of blocks"),
        ({"latent": "uniform"}, "allowed are zero, gaussian"),
        ({"growth": 0}, "allowed are 1 to 1024"),
        ({"clamp": float("nan")}, "must be a positive number"),
        ({"subnet": "sparse"}, "allowed are dense, plain"),
        ({"depth": 1}, "allowed are 2 to 16"),
        ({"joint": 1}, "allowed are true, false"),
        ({"steady": "yes"}, "allowed are true, false"),
        ({"restorer": -1}, "allowed are 0 to 64"),
    ],
)
def test_impossible_shapes_are_refused(config, message):
    with pytest.raises(ConfigError, match=message):
        IRNConfig(**config)


@pytest.mark.parametrize("scale", [2, 3, 4, 8])
@pytest.mark.parametrize("kind", [{"subnet": "dense"}, {"subnet": "plain"}, {"subnet": "plain", "restorer": 2}])
def test_a_steady_network_leaves_areas_of_one_colour_as_they_are(scale, kind):
    blocks = (1,) * {2: 1, 3: 1, 4: 2, 8: 3}[scale]
    network = Network(IRNConfig(scale=scale, blocks=blocks, width=8, growth=8, joint=True, steady=True, **kind))
    for parameter in network.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    for colour in ((255, 255, 255), (0, 0, 0), (255, 0, 0), (17, 130, 201)):
        hr = torch.tensor(colour)[:, None, None].expand(3, 24, 48)[None] / 255
        lr = network.downscale(hr)
        assert torch.equal((lr * 255).round(), (hr[..., ::scale, ::scale] * 255).round())
        torch.testing.assert_close(network.upscale(lr), hr, rtol=0, atol=1e-5)


@pytest.mark.parametrize("scale", SHAPES)
def test_a_restorer_starts_as_nothing_and_learns_what_z_is(scale):
    """Untrained, the small picture passes and z is zero; the small picture itself does not depend on it."""
    torch.manual_seed(0)
    config = IRNConfig(scale=scale, blocks=SHAPES[scale], **KINDS["plain"], restorer=2)
    network, without = Network(config), Network(replace(config, restorer=0))
    for parameter in without.parameters():
        torch.nn.init.normal_(parameter, std=0.05)
    network.load_state_dict(without.state_dict(), strict=False)
    hr = torch.rand(1, 3, 24, 24)
    lr, _ = network(hr)
    assert network.z_channels == 0
    torch.testing.assert_close(lr, without(hr)[0])
    torch.testing.assert_close(network.upscale(lr), without.upscale(lr))
    (network.upscale(lr) - hr).square().sum().backward()
    tail = network.get_submodule("restorer")[-1].subnet.convs[0]
    assert (tail.weight.grad[3:].flatten(1).abs().amax(dim=1) > 0).all(), "every channel of z is estimated"


def test_unknown_architecture_is_refused():
    with pytest.raises(WeightsError, match="unknown architecture 'srcnn': known are irn, pair"):
        build("srcnn", {})


@pytest.mark.parametrize("scale", SHAPES)
def test_the_gradient_is_half_that_of_what_the_error_counts(scale):
    network = random_network(scale).double()
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.mul_(0.02) if parameter.ndim != 3 else None

    draw = torch.Generator().manual_seed(0)
    root = torch.rand(3, 3, generator=draw, dtype=torch.float64)

    def error(difference: torch.Tensor) -> torch.Tensor:
        return torch.einsum("nchw,kc->nkhw", difference, root).square().sum()

    lr, step = (torch.rand(1, 3, 4, 5, generator=draw, dtype=torch.float64) for _ in range(2))
    hr = torch.rand(1, 3, 4 * scale, 5 * scale, generator=draw, dtype=torch.float64)
    lr, z = 0.4 + 0.2 * lr, network.latent(lr)
    with torch.no_grad():
        there, back = (error(network.decode(lr + sign * 1e-6 * step, z) - hr) / 2 for sign in (1, -1))
        restored = network.decode(lr, z)
        assert 0 < restored.min() < restored.max() < 1, "nothing is clamped"
        slope = (network.gradient(lr, z, hr, root.T @ root) * step).sum()
    assert slope.item() == pytest.approx((there - back).item() / 2e-6, rel=1e-4)
