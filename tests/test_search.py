import dataclasses
from functools import cache

import numpy as np
import PIL.Image
import pytest
import torch

from networks import Samples, portable_weights, random_weights
from test_rescaler import RESCALERS, picture, weights_of
from unshrink import weights as zoo
from unshrink.errors import ConfigError, WeightsError
from unshrink.pictures import colour, metrics
from unshrink.pictures.image import Image
from unshrink.pictures.resize import resize
from unshrink.runtime import backends, search
from unshrink.runtime.rescaler import Rescaler

SHAPE = (3, 6, 7)


@cache
def trained(scale, tile=0):
    """The shipped weights: random ones hide nothing in the small picture, so nothing is to be gained."""
    weights = zoo.load(f"irn-x{scale}")
    return Rescaler(weights, backends.make(weights, "torch", threads=1), tile)


def psnr(large, restored):
    return metrics.psnr(large, restored, peak=np.iinfo(large.dtype).max)


def searched(r, large, effort=3, **options):
    """The plain and the searched small picture, and the report."""
    reports = []
    found = r.downscale(large, effort=effort, report=reports.append, **options)
    return r.downscale(large, **options), found, reports


def detailed(height, width, channels=3, dtype=np.uint8):
    """A picture with enough fine detail that not all of it comes back."""
    noise = np.random.default_rng(1).normal(0, 0.06, (height, width, channels))
    top = np.iinfo(dtype).max
    return np.rint((picture(height, width, channels) / 255 + noise).clip(0, 1) * top).astype(dtype)


# -- the search itself ---------------------------------------------------------------------------------------------


def quadratic(lowest):
    """Gradient of a bowl around ``lowest`` with curvatures of 1 to 9, and its error."""
    bend = np.random.default_rng(0).uniform(1, 9, SHAPE).astype(np.float32)
    return (lambda planes: bend * (planes - lowest)), (lambda planes: float((bend * (planes - lowest) ** 2).sum()))


def test_a_quadratic_is_solved_in_a_few_steps():
    lowest = np.random.default_rng(1).uniform(0.3, 0.7, SHAPE).astype(np.float32)
    gradient, error = quadratic(lowest)
    start = np.full(SHAPE, 0.5, np.float32)
    errors = [error(search.descend(gradient, start, steps, rate=0.05)) for steps in (1, 2, 3, 5, 8)]
    assert errors == sorted(errors, reverse=True)
    assert errors[0] < 0.7 * error(start)
    assert errors[-1] < 1e-3 * error(start)


def test_one_gradient_a_step_and_none_left_over():
    calls = []

    def gradient(planes):
        calls.append(planes)
        return planes - np.float32(0.5)

    search.descend(gradient, np.full(SHAPE, 0.25, np.float32), 1, 0.1)
    assert len(calls) == 1
    calls.clear()
    search.descend(gradient, np.full(SHAPE, 0.5, np.float32), 9, 0.1)
    assert len(calls) == 2, "there is nothing to search at the bottom"


def test_values_stay_within_bounds():
    gradient, error = quadratic(np.where(np.arange(7) % 2, 1.6, -0.6).astype(np.float32))
    start = np.full(SHAPE, 0.5, np.float32)
    for steps in range(1, 7):
        found = search.descend(gradient, start, steps, 0.05)
        assert found.min() >= 0
        assert found.max() <= 1
        assert error(found) < error(start)


def to_grid(planes):
    return (np.rint(planes.clip(0, 1) * 255) / 255).astype(np.float32)


@pytest.mark.parametrize("distance", [0.001, 0.02, 0.3])
def test_the_small_picture_stays_close_to_bicubic(distance):
    draw = np.random.default_rng(0)
    reference = to_grid(draw.uniform(0.3, 0.7, SHAPE).astype(np.float32))
    start = to_grid(reference + draw.normal(0, 0.03, SHAPE).astype(np.float32))
    found = (start + draw.normal(0, distance, SHAPE)).astype(np.float32)
    near = search.stay_close(found, start, reference, to_grid)
    before, after = search.fidelity(start, reference), search.fidelity(near, reference)
    assert after.luma >= before.luma - search.LOSS
    assert after.chroma >= before.chroma - search.LOSS
    assert np.array_equal(near, to_grid(near))
    if distance < 0.01:
        assert np.array_equal(near, to_grid(found)), "what is close already is taken whole"


def test_a_small_picture_as_close_as_an_eye_can_tell_may_move_that_far():
    start = np.full(SHAPE, 0.4, np.float32)
    for change in ([0.5, 0.5, 0.5], [0.3, -0.2, 0.1]):  # of luma, mostly of chroma
        found = start + np.float32(change)[:, None, None]
        near = search.stay_close(found, start, start, lambda planes: planes)
        assert np.array_equal(near, start), "a tenth of the way is too far"
        near = search.stay_close(start + (found - start) / 50, start, start, lambda planes: planes)
        after = search.fidelity(near, start)
        assert search.ENOUGH <= min(after.luma, after.chroma) < 60


def test_fidelity_is_that_of_the_measures():
    draw = np.random.default_rng(0)
    a, b = (draw.uniform(0, 1, SHAPE).astype(np.float32) for _ in range(2))
    met = search.fidelity(a, b)
    x, y = (255 * planes.transpose(1, 2, 0) for planes in (a, b))
    assert met.luma == pytest.approx(metrics.psnr_y(x, y), abs=1e-4)
    assert met.rgb == pytest.approx(metrics.psnr(x, y), abs=1e-4)
    assert met.chroma == pytest.approx(metrics.psnr(colour.chroma(x), colour.chroma(y)), abs=1e-4)
    grey = np.repeat(a[:1], 3, axis=0)
    assert search.fidelity(grey, grey) == pytest.approx((120, 120, 120))
    assert search.fidelity(grey, np.repeat(b[:1], 3, axis=0)).chroma == pytest.approx(120)


def test_the_metric_is_of_logarithms():
    """Its gradient is, up to one factor, that of the weighed sum of PSNR of luma, of RGB and of chroma."""
    draw = np.random.default_rng(0)
    weights = [1, 1, search.CHROMA_WEIGHT]
    error, nothing = draw.normal(0, 0.1, SHAPE), np.zeros(SHAPE)
    matrix = search.metric(search.fidelity(error, nothing))
    assert np.array_equal(matrix, matrix.T)
    luma = np.array(colour.LUMA)
    assert luma @ matrix @ luma == pytest.approx(luma @ luma, rel=1e-5), "an error along luma counts its square"
    ratios = []
    for step in draw.normal(0, 0.1, (4, *error.shape)):
        there, back = (np.dot(weights, search.fidelity(error + share * step, nothing)) for share in (1e-4, -1e-4))
        slope = (there - back) / 2e-4
        ratios.append(np.vdot(np.einsum("kc,chw->khw", matrix, error), step) / slope)
    assert ratios == pytest.approx(ratios[:1] * 4, rel=0.01)
    assert ratios[0] < 0


def test_what_comes_back_exactly_does_not_drown_the_rest():
    near = search.metric(search.Fidelity(luma=40.0, rgb=38.0, chroma=120.0))
    floor = search.metric(search.Fidelity(luma=40.0, rgb=38.0, chroma=80.0))
    assert near == pytest.approx(floor, rel=0.02)


# -- with a network ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("scale", [2, 4])
@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_more_comes_back_and_the_report_says_how_much(scale, channels, dtype):
    r, large = trained(scale), detailed(61, 74, channels, dtype)
    plain, found, [report] = searched(r, large)
    assert found.shape == plain.shape
    assert found.dtype == plain.dtype
    gain = psnr(large, r.upscale(found, size=(74, 61))) - psnr(large, r.upscale(plain, size=(74, 61)))
    assert gain > 0.01
    assert report.gain_rgb == pytest.approx(gain, abs=1e-4)
    assert min(report.gain_luma, report.gain_chroma) >= 0
    assert (report.gain_chroma > 0) == (channels == 3), "grey has no chroma to gain"


@pytest.mark.parametrize("scale", [2, 4])
def test_the_small_picture_stays_close_or_close_enough(scale):
    r, large = trained(scale), detailed(64, 72)
    plain, found, [report] = searched(r, large)
    bicubic = resize(large, (72 // scale, 64 // scale))
    before, after = (metrics.psnr_y(small, bicubic) for small in (plain, found))
    assert report.lr_change_luma == pytest.approx(after - before, abs=0.2), "measured before it is rounded"
    assert after >= min(before - search.LOSS, search.ENOUGH)


@pytest.mark.parametrize("scale", RESCALERS)
def test_any_scale_is_never_worse(scale):
    r, large = RESCALERS[scale], detailed(50, 41)
    plain, found, [report] = searched(r, large)
    gain = psnr(large, r.upscale(found, size=(41, 50))) - psnr(large, r.upscale(plain, size=(41, 50)))
    assert report.gain_rgb == pytest.approx(gain, abs=1e-4)
    assert gain >= 0


def test_more_effort_gains_more():
    large = detailed(64, 96)
    gains = [searched(trained(2), large, effort)[2][0].gain_rgb for effort in (1, 2, 5)]
    assert 0 < gains[0] < gains[1] < gains[2]


def test_effort_0_is_the_network_alone_and_reports_nothing():
    r, large = RESCALERS[2], detailed(32, 40)
    plain, found, reports = searched(r, large, effort=0)
    assert np.array_equal(plain, found)
    assert reports == []


@pytest.mark.parametrize("value", [0, 128, 255])
def test_where_nothing_can_be_gained_the_plain_one_is_returned(value):
    flat = np.full((20, 24, 3), value, np.uint8)
    r = Rescaler(weights_of(2), Samples())
    plain, found, [report] = searched(r, flat, 9)
    assert np.array_equal(plain, found)
    assert report == search.Refined(0.0, 0.0, 0.0, 0.0, 0.0)


class Misleading(Samples):
    """Its gradient points the wrong way."""

    def gradient(self, lr, z, hr, metric):
        return -4 * super().gradient(lr, z, hr, metric)


def test_never_worse_even_if_the_gradient_misleads():
    plain, found, [report] = searched(Rescaler(weights_of(2), Misleading()), detailed(40, 40))
    assert np.array_equal(plain, found)
    assert report.gain_rgb == 0


def test_tiles_give_what_the_whole_gives():
    large = detailed(400, 40)
    whole, tiled = (trained(2, tile).downscale(large, effort=3) for tile in (0, 330))
    assert np.mean(whole != tiled) < 5e-3  # a value that rounds otherwise at one step is another in all that follow


def test_colour_is_searched_and_alpha_is_not():
    colour, alpha = detailed(48, 48), np.zeros((48, 48, 1), np.uint8)
    alpha[8:40, 8:40] = 255
    r = trained(2)
    plain, found, [report] = searched(r, np.concatenate((colour, alpha), axis=2))
    assert np.array_equal(plain[..., 3], found[..., 3])
    assert (plain[..., :3] != found[..., :3]).any()
    assert report.gain_rgb > 0


def test_images_pil_and_tensors_too():
    r, large = trained(2), detailed(40, 52)
    wanted = r.downscale(large, effort=2)
    assert np.array_equal(r.downscale(Image(large), effort=2).pixels, wanted)
    assert np.array_equal(np.asarray(r.downscale(PIL.Image.fromarray(large), effort=2)), wanted)
    tensor = torch.from_numpy(large).permute(2, 0, 1)[None].float() / 255
    reports = []
    small = r.downscale(tensor.repeat(2, 1, 1, 1), effort=2, report=reports.append)
    assert [round(report.gain_rgb, 9) > 0 for report in reports] == [True, True]
    assert torch.equal(small[0], small[1])
    assert torch.equal(small * 255, (small * 255).round())
    difference = np.abs(small[0].permute(1, 2, 0).numpy() * 255 - wanted)
    assert difference.max() <= 1, "the tensor is searched in 16 bits"
    assert (difference > 0.5).mean() < 0.02


def test_weights_that_draw_z_are_searched_for_the_draw_that_restores(monkeypatch):
    monkeypatch.setattr(search, "ENOUGH", 0.0)  # random weights: only a small picture far off makes up for their z
    weights = random_weights(2, latent="gaussian")
    r, large = Rescaler(weights, backends.make(weights, "torch", threads=1)), detailed(40, 40)
    plain, found, [report] = searched(r, large)
    assert psnr(large, r.upscale(found)) - psnr(large, r.upscale(plain)) == pytest.approx(report.gain_rgb, abs=1e-4)
    assert report.gain_rgb > 0


@pytest.mark.parametrize("effort", [-1, 10, 1.5, "5", None])
def test_an_effort_that_there_is_not(effort):
    with pytest.raises(ConfigError, match=r"allowed are 0 .* to 9"):
        RESCALERS[2].downscale(picture(8, 8), effort=effort)


@pytest.mark.xdist_group("export")
@pytest.mark.parametrize("name", [name for name in backends.available() if name != "torch"])
def test_weights_without_the_graph_say_what_to_do(name):
    weights = portable_weights(2)
    older = dataclasses.replace(
        weights, graphs={name: graph for name, graph in weights.graphs.items() if name != "gradient"}
    )
    r = Rescaler(older, backends.make(older, name, 1))
    r.downscale(picture(16, 16))
    with pytest.raises(WeightsError, match=r"add it .* with `unshrink export FILE`, or use backend torch"):
        r.downscale(picture(16, 16), effort=1)


@pytest.mark.xdist_group("export")
@pytest.mark.parametrize("scale", [2, 4])
@pytest.mark.parametrize("name", [name for name in backends.available() if name != "torch"])
def test_every_backend_searches_alike(name, scale):
    weights, large = portable_weights(scale), detailed(72, 88)
    gentle = {key: tensor * np.float16(0.1) for key, tensor in weights.tensors.items()}
    weights = dataclasses.replace(weights, tensors=gentle)
    reference, other = (Rescaler(weights, backends.make(weights, made, 1)) for made in ("torch", name))
    (_, wanted, [said]), (_, met, [also]) = searched(reference, large), searched(other, large)
    assert np.mean(met != wanted) < 0.02
    assert also.gain_rgb == pytest.approx(said.gain_rgb, abs=0.01)
    assert said.gain_rgb > 0
