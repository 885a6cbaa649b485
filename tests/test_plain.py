"""Plain subnets, couplings with one subnet for shift and scale, and steady networks."""

from dataclasses import asdict

import pytest
import torch
from torch import nn

from unshrink import losses, metrics
from unshrink.architectures import IRNConfig, expected_shapes
from unshrink.layers import PlainBlock, differences
from unshrink.models import IRN

SHAPES = [
    {"joint": True},
    {"joint": False},
    {"additive": True},
    {"joint": True, "steady": True},
    {"joint": True, "depth": 4, "width": 48, "residual": True},
    {"scale": 4, "blocks": (1, 2), "joint": True, "steady": True},
    {"scale": 3, "blocks": (2,), "joint": True, "steady": True},
]


def awake(network: nn.Module, seed: int = 0) -> nn.Module:
    """The network with weights that are not zero anywhere."""
    generator = torch.Generator().manual_seed(seed)
    for name, value in network.named_parameters():
        if "convs" in name:
            nn.init.normal_(value, std=0.05, generator=generator)
    return network


@pytest.mark.parametrize("shape", SHAPES)
def test_shapes_are_known_without_torch_and_the_inverse_is_exact(shape: dict[str, object]) -> None:
    config = IRNConfig(**{"subnet": "plain", "width": 16, **shape})  # type: ignore[arg-type]
    network = awake(IRN(config))
    assert {k: tuple(v.shape) for k, v in network.state_dict().items()} == expected_shapes("irn", asdict(config))
    hr = torch.rand(2, 3, 24, 24)
    with torch.no_grad():
        assert torch.allclose(network.inverse(*network(hr)), hr, atol=1e-5)  # type: ignore[operator]


@pytest.mark.parametrize("scale, blocks", [(2, (3,)), (4, (1, 2))])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_steady_network_keeps_one_colour_whatever_its_weights_are(
    scale: int, blocks: tuple[int, ...], dtype: torch.dtype
) -> None:
    config = IRNConfig(scale=scale, blocks=blocks, subnet="plain", width=16, joint=True, steady=True)
    network = awake(IRN(config))
    colour = torch.tensor([255, 51, 3])[None, :, None, None] / 255
    hr = colour.expand(1, 3, 48, 48).contiguous()
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16, enabled=dtype == torch.bfloat16):
        lr, z = network(hr)
        restored = network.upscale(network.downscale(hr))  # type: ignore[operator]
    assert torch.allclose(lr, hr[..., : 48 // scale, : 48 // scale], atol=1e-6)
    assert torch.allclose(z, torch.zeros_like(z), atol=1e-6)
    assert torch.allclose(restored, hr, atol=1e-6)


@pytest.mark.parametrize("bias", [True, False])
def test_the_fast_way_in_bfloat16_gives_the_gradients_of_the_plain_one(bias: bool) -> None:
    torch.manual_seed(0)
    block = awake(PlainBlock(9, 18, width=32, bias=bias)).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    x, grad = torch.randn(2, 9, 16, 16, requires_grad=True), torch.randn(2, 18, 16, 16)
    wanted = [x, *block.parameters()]
    exact = torch.autograd.grad(block(x), wanted, grad)
    with torch.autocast("cpu", torch.bfloat16):
        fast = torch.autograd.grad(block(x), wanted, grad)
    for a, b in zip(exact, fast, strict=True):
        assert b.dtype == torch.float32
        assert (a - b).norm() < 0.1 * a.norm()


def test_differences_are_of_neighbours_and_nothing_at_the_edges() -> None:
    ramp = torch.arange(4.0).expand(1, 1, 3, 4)
    left, up = differences(ramp).unbind(1)
    assert left[0].tolist() == [[0, 1, 1, 1]] * 3
    assert not up.any()


def test_the_loss_of_chroma_is_what_the_figures_measure() -> None:
    generator = torch.Generator().manual_seed(0)
    a, b = torch.rand(2, 1, 3, 8, 8, generator=generator)
    found = float(losses.chroma(a - b, "l2"))
    x, y = (picture[0].permute(1, 2, 0).numpy() * 255 for picture in (a, b))
    off = metrics.chroma(x) - metrics.chroma(y)
    assert found == pytest.approx(float((off**2).mean()) / 255**2, rel=1e-4)
    assert losses.chroma(torch.ones(1, 3, 8, 8), "l2").item() == pytest.approx(0, abs=1e-9)  # grey has no chroma
