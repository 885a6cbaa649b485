"""Every invertible layer keeps the same promises; a new layer joins the suite by one line in CASES."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from unshrink.network.layers import Coupling
from unshrink.network.modules import (
    AffineCoupling,
    DctDownsample,
    HaarDownsample,
    LearnedDownsample,
    Subnet,
    block_dct,
    quantize,
)
from unshrink.network.subnets import dense, plain


def coupling(**config) -> AffineCoupling:
    made = AffineCoupling(Coupling(12, **{"subnet": plain(8, 2), **config}))
    for parameter in made.parameters():
        nn.init.normal_(parameter, std=0.1)
    return made


CASES = {  # name: (layer, channels it takes, what its sides must be a multiple of)
    "haar": (HaarDownsample, 3, 2),
    "dct": (DctDownsample, 3, 3),
    "learned by 3": (lambda: LearnedDownsample(3, 3), 3, 3),
    "coupling": (coupling, 12, 1),
    "coupling, published": (lambda: coupling(subnet=dense(4)), 12, 1),
    "coupling, joint": (lambda: coupling(joint=True), 12, 1),
    "coupling, steady": (lambda: coupling(steady=True), 12, 1),
    "coupling, wide clamp": (lambda: coupling(clamp=2.0), 12, 1),
}


@pytest.fixture(autouse=True)
def float64():
    torch.set_default_dtype(torch.float64)
    torch.manual_seed(0)
    yield
    torch.set_default_dtype(torch.float32)


@pytest.mark.parametrize("case", CASES)
@settings(deadline=None, max_examples=20)
@given(n=st.integers(1, 2), h=st.integers(1, 9), w=st.integers(1, 9))
def test_inverse_undoes_forward_at_any_size(case, n, h, w):
    build, channels, factor = CASES[case]
    layer, x = build(), torch.rand(n, channels, factor * h, factor * w)
    torch.testing.assert_close(layer.inverse(layer(x)), x, rtol=0, atol=1e-12)
    y = layer(x)
    torch.testing.assert_close(layer(layer.inverse(y)), y, rtol=0, atol=1e-12)


@pytest.mark.parametrize("case", CASES)
def test_every_parameter_gets_a_gradient_both_ways(case):
    build, channels, _ = CASES[case]
    layer, x = build(), torch.rand(1, channels, 6, 6)
    for run, arg in ((layer, x), (layer.inverse, layer(x).detach())):
        layer.zero_grad()
        arg.requires_grad_()
        run(arg).square().sum().backward()
        assert arg.grad is not None
        for name, p in layer.named_parameters():
            assert p.grad is not None, name
            assert p.grad.abs().sum() > 0, name


@pytest.mark.parametrize(
    "factor, layer", [(2, HaarDownsample()), (3, DctDownsample()), (3, LearnedDownsample(3, 3).double())]
)
def test_low_band_is_the_block_mean_in_rgb_order(factor, layer):
    x = torch.rand(1, 3, 6, 12)
    torch.testing.assert_close(layer(x)[:, :3], nn.functional.avg_pool2d(x, factor))


def test_haar_matches_the_published_filters():
    x = torch.rand(2, 3, 4, 6)
    filters = [[[1, 1], [1, 1]], [[1, -1], [1, -1]], [[1, 1], [-1, -1]], [[1, -1], [-1, 1]]]
    bands = [
        nn.functional.conv2d(x, torch.tensor(f, dtype=x.dtype).expand(3, 1, 2, 2), stride=2, groups=3) / 4
        for f in filters
    ]
    torch.testing.assert_close(HaarDownsample()(x), torch.cat(bands, 1))


def test_block_dct_is_orthogonal_up_to_its_scale():
    matrix = block_dct(3)
    torch.testing.assert_close(matrix @ matrix.T * 9, torch.eye(9, dtype=matrix.dtype))


def test_the_dct_is_the_learned_downsampling_before_it_learns():
    x, learned = torch.rand(1, 3, 6, 12), LearnedDownsample(3, 3)
    torch.testing.assert_close(DctDownsample()(x), learned(x))


@pytest.mark.parametrize("layer", [HaarDownsample(), DctDownsample()])
def test_blocks_of_one_value_leave_no_detail_and_come_back_in_float32(layer):
    x = torch.rand(1, 3, 1, 1, dtype=torch.float32).expand(1, 3, 6, 12)
    y = layer(x)
    assert not y[:, 3:].any()
    torch.testing.assert_close(layer.inverse(y), x, rtol=0, atol=2e-7)


def test_a_fixed_inverse_is_the_inverse():
    layer = LearnedDownsample(3, 3)
    nn.init.normal_(layer.matrix, std=0.5)
    y = torch.rand(1, 27, 2, 3)
    wanted = layer.inverse(y)
    layer.fix()
    torch.testing.assert_close(layer.inverse(y), wanted)


@pytest.mark.parametrize("layer, factor", [(HaarDownsample(), 2), (DctDownsample(), 3), (LearnedDownsample(3, 3), 3)])
def test_a_size_that_does_not_divide_is_refused(layer, factor):
    with pytest.raises(ValueError, match=rf"multiples of {factor}, got \(7, 6\): pad first"):
        layer(torch.zeros(1, 3, 7, 6))


def test_an_untrained_subnet_is_zero_and_keeps_the_dtype_under_autocast():
    block, x = Subnet(dense(), 3, 9).float(), torch.rand(1, 3, 8, 8, dtype=torch.float32)
    with torch.autocast("cpu", torch.bfloat16):
        y = block(x)
    assert y.dtype == torch.float32
    assert y.abs().max() == 0


def test_quantize_rounds_clamps_and_lets_the_gradient_through():
    x = torch.tensor([-0.2, 0.1, 0.5, 1.3], requires_grad=True)
    y = quantize(x)
    assert (y * 255).tolist() == [0, 26, 128, 255]
    y.sum().backward()
    assert x.grad is not None
    assert x.grad.tolist() == [1, 1, 1, 1]


def test_a_subnet_keeps_channels_last_when_fed_with_a_slice_of_channels():
    x = torch.rand(2, 12, 4, 6).to(memory_format=torch.channels_last)[:, 3:]
    fresh = Subnet(dense(), 9, 3)
    for p in fresh.parameters():
        nn.init.normal_(p, std=0.1)
    y = fresh(x)
    seen = []
    block = fresh.to(memory_format=torch.channels_last)
    for conv in block.convs:
        conv.register_forward_pre_hook(lambda _, args: seen.append(args[0]))
    torch.testing.assert_close(block(x), y)
    assert len(seen) == 5
    assert all(features.is_contiguous(memory_format=torch.channels_last) for features in seen)
