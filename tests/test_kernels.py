"""The compiled kernels against the equations, whatever the instructions, the shapes and the way it is cut."""

import itertools
import pickle

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional as F

from networks import down, portable_weights, random_weights, up
from unshrink import weights as zoo
from unshrink.errors import ConfigError
from unshrink.network.layers import Dct, z_channels
from unshrink.network.modules import SLOPE, HaarDownsample, differences
from unshrink.runtime import backends
from unshrink.runtime.backends import machine
from unshrink.weights import catalogue

unshrink_kernels = pytest.importorskip("unshrink_kernels", reason="needs the kernels: pip install ./kernels")
from unshrink.runtime.backends.kernels import knows, units  # noqa: E402

ARITHMETICS = unshrink_kernels.arithmetics()
SHARE = {"float32_avx512": 4e-6, "float32_avx2": 4e-6, "bfloat16_avx512": 0.03}  # of the largest value, that one is off

arithmetics = pytest.mark.parametrize("arithmetic", ARITHMETICS)


def convolutions(channels: list[int], draw: np.random.Generator) -> list[np.ndarray]:
    """Kernels that keep the size of values."""
    pairs = itertools.pairwise(channels)
    return [draw.normal(0, 1.3 / (3 * read**0.5), (made, read, 3, 3)).astype(np.float32) for read, made in pairs]


def convolved(x: torch.Tensor, kernel: np.ndarray) -> torch.Tensor:
    return F.conv2d(x, torch.from_numpy(kernel).double(), padding=1)


def result(kernels: list[np.ndarray], x: np.ndarray) -> np.ndarray:
    """What a chain computes, by its definition, in float64."""
    features = torch.from_numpy(x).double()[None]
    for index, kernel in enumerate(kernels):
        features = convolved(F.leaky_relu(features, SLOPE) if index else features, kernel)
    return features[0].numpy()


def restored(kernels: list[np.ndarray], x: np.ndarray) -> np.ndarray:
    """The same of a residual one: a head, blocks of two convolutions that add to what they read, and a tail."""
    head, *blocks, tail = kernels
    features = convolved(torch.from_numpy(x).double()[None], head)
    for first, second in zip(blocks[::2], blocks[1::2], strict=True):
        features = features + convolved(F.leaky_relu(convolved(features, first), SLOPE), second)
    return convolved(features, tail)[0].numpy()


def planes(draw: np.random.Generator, channels: int, height: int, width: int) -> np.ndarray:
    """Planes that lie apart in memory, as those of a piece of a strip."""
    return draw.standard_normal((channels + 1, height + 2, width + 3), np.float32)[1:, 1:-1, 2:-1]


def close(met: np.ndarray, wanted: np.ndarray, arithmetic: str) -> bool:
    return bool(np.abs(met - wanted).max() <= SHARE[arithmetic] * np.abs(wanted).max())


sizes = st.tuples(st.integers(1, 70), st.one_of(st.integers(1, 70), st.sampled_from([399, 401, 830])))


@arithmetics
@settings(deadline=None, max_examples=12)
@given(
    size=sizes,
    channels=st.sampled_from([[9, 64, 64, 3], [45, 64, 64, 3], [64, 64, 64], [64, 12], [5, 8, 6, 48, 12, 64], [1, 3]]),
    negative=st.booleans(),
    threads=st.integers(1, 3),
    seed=st.integers(0, 99),
)
def test_what_a_chain_adds(arithmetic, size, channels, negative, threads, seed):
    draw = np.random.default_rng(seed)
    kernels, x, onto = convolutions(channels, draw), planes(draw, channels[0], *size), planes(draw, channels[-1], *size)
    met = np.full_like(planes(draw, channels[-1], *size), np.nan)
    unshrink_kernels.Chain(kernels, arithmetic).add_to(onto, x, met, negative, threads)
    added = result(kernels, x)
    assert close(met, onto - added if negative else onto + added, arithmetic)


@arithmetics
@settings(deadline=None, max_examples=12)
@given(
    size=sizes,
    detail=st.sampled_from([9, 24, 45, 189]),
    steady=st.booleans(),
    clamp=st.sampled_from([0.5, 1.0, 2.0]),
    seed=st.integers(0, 99),
)
def test_what_a_chain_scales_and_how_it_is_undone(arithmetic, size, detail, steady, clamp, seed):
    draw = np.random.default_rng(seed)
    kernels = convolutions([6 if steady else 3, 16, 2 * detail], draw)
    low, x, met, back = (planes(draw, channels, *size) for channels in (3, detail, detail, detail))
    chain = unshrink_kernels.Chain(kernels, arithmetic, scaled=True, differences=steady)
    chain.scale(x, low, met, clamp, False, 2)
    shift, scale = np.split(result(kernels, differences(torch.from_numpy(low)[None])[0].numpy() if steady else low), 2)
    assert close(met, x * np.exp(clamp * np.tanh(scale / 2)) + shift, arithmetic)
    chain.scale(met, low, back, clamp, True, 1)
    np.testing.assert_allclose(back, x, atol=2e-5)


@arithmetics
@settings(deadline=None, max_examples=12)
@given(size=sizes, blocks=st.sampled_from([0, 1, 4, 9]), threads=st.integers(1, 2))
def test_what_a_residual_chain_adds(arithmetic, size, blocks, threads):
    draw = np.random.default_rng(0)
    kernels, x, onto = (
        convolutions([3, *[16] * (2 * blocks + 1), 12], draw),
        planes(draw, 3, *size),
        planes(draw, 12, *size),
    )
    met = np.full_like(onto, np.nan)
    unshrink_kernels.Chain(kernels, arithmetic, residual=True).add_to(onto, x, met, False, threads)
    assert close(met, onto + restored(kernels, x), arithmetic)


@arithmetics
@settings(deadline=None, max_examples=12)
@given(size=st.tuples(st.integers(20, 90), st.integers(20, 450)), top=st.integers(0, 8), left=st.integers(0, 12))
def test_values_are_the_same_to_the_last_bit_wherever_pieces_begin(arithmetic, size, top, left):
    """The rows of a piece begin at an even one, its columns anywhere."""
    draw = np.random.default_rng(0)
    chain = unshrink_kernels.Chain(convolutions([6, 16, 16, 18], draw), arithmetic, scaled=True, differences=True)
    low, x, whole = (planes(draw, channels, *size) for channels in (3, 9, 9))
    chain.scale(x, low, whole, 1.0, False, 3)
    cut, halo = np.s_[:, 2 * top :, left:], 4
    piece = np.empty_like(x[cut])
    chain.scale(x[cut], low[cut], piece, 1.0, False, 1)
    inside = np.s_[:, halo if top else 0 :, halo if left else 0 :]
    np.testing.assert_array_equal(piece[inside], whole[cut][inside])


@arithmetics
def test_one_colour_leaves_details_exactly_as_they_are(arithmetic):
    draw = np.random.default_rng(0)
    chain = unshrink_kernels.Chain(convolutions([6, 64, 64, 18], draw), arithmetic, scaled=True, differences=True)
    x, met = (draw.standard_normal((9, 21, 45), np.float32) for _ in range(2))
    chain.scale(x, np.full((3, 21, 45), 0.7, np.float32), met, 1.0, False, 2)
    np.testing.assert_array_equal(met, x)


def test_float32_is_the_same_with_all_instructions():
    made = []
    for arithmetic in (name for name in ARITHMETICS if name.startswith("float32")):
        draw = np.random.default_rng(0)
        chain = unshrink_kernels.Chain(convolutions([6, 64, 64, 18], draw), arithmetic, scaled=True, differences=True)
        low, x, met = (draw.standard_normal((channels, 35, 77), np.float32) for channels in (3, 9, 9))
        chain.scale(x, low, met, 1.0, False, 2)
        made.append(met)
    assert all(np.array_equal(made[0], other) for other in made[1:])


@settings(deadline=None)
@given(st.integers(1, 4), st.integers(1, 40), st.integers(1, 40), st.integers(1, 3))
def test_haar(channels, height, width, threads):
    draw, haar = np.random.default_rng(0), HaarDownsample()
    picture, bands = planes(draw, channels, 2 * height, 2 * width), planes(draw, 4 * channels, height, width)
    unshrink_kernels.split(picture, bands, threads)
    np.testing.assert_allclose(bands, haar(torch.from_numpy(picture.copy())[None])[0].numpy(), atol=1e-6)
    back = np.empty_like(picture)
    unshrink_kernels.merge(bands, back, threads)
    np.testing.assert_allclose(back, picture, atol=1e-6)


def test_what_a_chain_does_not_take():
    arithmetic, draw = ARITHMETICS[-1], np.random.default_rng(0)
    make = lambda channels, name=arithmetic, **kind: unshrink_kernels.Chain(convolutions(channels, draw), name, **kind)
    for channels in ([3, 5], [3, 10, 3], [3, 3, 3], [8] * 66, [3]):
        with pytest.raises(ValueError, match=r"convolutions|kernels are"):
            make(channels)
    with pytest.raises(ValueError, match="reads what the one before it gives"):
        unshrink_kernels.Chain(convolutions([3, 8], draw) + convolutions([6, 3], draw), arithmetic)
    for channels, what in (([3, 8, 3, 8, 3], "8 or 6"), ([8] * 4, "an even number"), ([3, 8, 8, 16, 3], "as many")):
        with pytest.raises(ValueError, match=what):
            make(channels, residual=True)
    with pytest.raises(ValueError, match="does not compute in float16_avx9"):
        make([3, 3], "float16_avx9")
    x, other, few = (np.zeros(shape, np.float32) for shape in ((3, 8, 8), (3, 8, 7), (2, 8, 8)))
    turned = np.zeros((3, 8, 8), np.float32).transpose(0, 2, 1)
    chain = make([3, 3])
    for onto, read, into in ((other, x, x), (x, few, x), (x, x, other), (turned, x, x), (x, x, turned)):
        with pytest.raises(ValueError, match="planes do not have the shapes"):
            chain.add_to(onto, read, into, False, 1)
    with pytest.raises(ValueError, match="planes do not have the shapes"):
        chain.scale(x, x, x, 1.0, False, 1)
    with pytest.raises(ValueError, match="planes do not have the shapes"):
        unshrink_kernels.split(x, np.zeros((12, 4, 3), np.float32), 1)


@pytest.mark.parametrize("precision", sorted({name.split("_")[0] for name in ARITHMETICS}))
@pytest.mark.parametrize("kind", ["plain", "restorer"])
def test_layers_are_those_of_torch(kind, precision):
    weights = random_weights(kind)
    found = [unit for steps in weights.steps.values() for unit in units(steps)]
    assert all(map(knows, found))
    met, wanted = (backends.make(weights, name, 1, precision=precision) for name in ("kernels", "torch"))
    draw = np.random.default_rng(0)
    for unit in found:
        x = draw.random((1, unit[0].channels[0], 12 * unit[0].shrinks, 20 * unit[0].shrinks), np.float32)
        one, other = met.run(unit, x), wanted.run(unit, x)
        np.testing.assert_allclose(one, other, atol=2e-6 if precision == "float32" else 4e-3, err_msg=unit[0].path)


@pytest.mark.xdist_group("export")
@pytest.mark.parametrize("kind", [2, "x3", "pair"])
def test_what_the_kernels_do_not_know_another_backend_computes(kind):
    weights = portable_weights(kind)
    assert not all(map(knows, units(weights.steps["down"])))
    met, other = (backends.make(weights, name, 1, precision="float32") for name in ("kernels", "openvino"))
    hr = np.random.default_rng(0).random((1, 3, 24, 36), np.float32)
    lr = down(weights, met, hr)
    np.testing.assert_allclose(lr, down(weights, other, hr), atol=1e-5)
    z = np.zeros((1, z_channels(weights.steps["up"]), *lr.shape[2:]), np.float32)
    np.testing.assert_allclose(up(weights, met, lr, z), up(weights, other, lr, z), atol=1e-5)


def test_the_other_backend_waits_until_it_is_needed():
    made = backends.make(zoo.load("irn-x2"), "kernels", 1, precision="float32")
    made._make = None  # would be an error
    down(made._weights, made, np.zeros((1, 3, 16, 16), np.float32))
    made.release()


def test_pickled_it_is_made_anew():
    weights = random_weights("plain")
    backend = backends.make(weights, "kernels", 1, precision="float32")
    hr = np.random.default_rng(0).random((1, 3, 16, 24), np.float32)
    np.testing.assert_array_equal(down(weights, pickle.loads(pickle.dumps(backend)), hr), down(weights, backend, hr))


@pytest.mark.parametrize(
    ("vendor", "features", "chosen"),
    [
        ("GenuineIntel", "avx2 fma", ("kernels", "float32")),
        ("AuthenticAMD", "avx2 fma avx512_bf16", ("kernels", "bfloat16")),
        ("GenuineIntel", "avx2 fma avx512_bf16 amx_bf16", ("openvino", "bfloat16")),
        ("GenuineIntel", "avx", ("openvino", "float32")),
    ],
)
def test_auto_takes_the_kernels_but_for_matrix_units(monkeypatch, vendor, features, chosen):
    monkeypatch.setattr(machine, "cpu_features", lambda: frozenset(features.split()))
    monkeypatch.setattr(machine, "cpu_vendor", lambda: vendor)
    shipped = zoo.load("irn-x2")
    if not any(name.startswith(chosen[1]) for name in ARITHMETICS):
        pytest.skip(f"this processor has no {chosen[1]}")
    made = backends.make(shipped)
    assert (made.name, made.precision) == chosen
    wanted = "kernels" if "fma" in features else "openvino"
    assert backends.make(shipped, precision="float32").name == wanted


def test_a_precision_that_the_processor_lacks_is_refused(monkeypatch):
    monkeypatch.setattr("unshrink.runtime.backends.kernels.arithmetics", lambda: ["float32_avx2"])
    with pytest.raises(ConfigError, match="cannot compute in bfloat16 on this processor"):
        backends.make(random_weights("plain"), "kernels", precision="bfloat16")


def test_every_step_of_the_shipped_weights_is_known():
    for row in catalogue.ENTRIES:
        found = [unit for steps in zoo.load(row.name).steps.values() for unit in units(steps)]
        assert all(knows(unit) or isinstance(unit[0].layer, Dct) for unit in found), row.name
