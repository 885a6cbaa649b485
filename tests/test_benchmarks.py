"""The older ways and the study of z measure what they say."""

import dataclasses
import itertools
import json
import math
from pathlib import Path

import backends
import baselines
import generations
import invertibility
import latent
import mark
import numpy as np
import pytest
import round_trip
import scales
import sites
import torch
import video as clips
from plain import Plain
from super_resolution import BSRN, RLFN

import films
from networks import down, random_weights, up
from unshrink.errors import ImageError
from unshrink.evaluation.compare import compare
from unshrink.evaluation.protocol import closeness
from unshrink.evaluation.sets import PictureSet
from unshrink.network import architectures
from unshrink.network.layers import operations
from unshrink.pictures import metrics
from unshrink.pictures.image import Image
from unshrink.pictures.io import read, write
from unshrink.runtime.backends import PRECISIONS, make
from unshrink.runtime.rescaler import Rescaler
from unshrink.sites import find
from unshrink.sites import sites as all_sites

ROOT = Path(__file__).parents[1]


def smooth(height, width):
    y, x = np.mgrid[:height, :width]
    waves = np.stack([np.sin(x / 5 + c) + np.cos(y / (4 + c)) for c in range(3)], axis=-1)
    return np.uint8(127 + 60 * waves)


@pytest.mark.parametrize("scale", [2, 4])
@pytest.mark.parametrize("kind", ["bilinear", "bicubic", "lanczos", "haar"])
def test_older_ways_give_pictures_of_the_right_size(kind, scale):
    method = baselines.Haar(scale) if kind == "haar" else baselines.Resized(kind, scale)
    hr = Image(smooth(32, 48))
    small = method.downscale(hr)
    assert small.size == (48 // scale, 32 // scale)
    assert method.upscale(small).size == hr.size
    assert method.name == f"{kind}-x{scale}"


def test_haar_keeps_means_and_repeats_them():
    hr = np.zeros((2, 4, 3), np.uint8)
    hr[:, :2], hr[0, 2:] = 100, 50
    small = baselines.Haar(2).downscale(Image(hr))
    assert small.pixels[0, :, 0].tolist() == [100, 25]
    assert baselines.Haar(2).upscale(small).pixels[1, :, 2].tolist() == [100, 100, 25, 25]


def test_older_ways_report_a_bad_picture_and_go_on(tmp_path, capsys):
    (tmp_path / "set").mkdir()
    write(Image(smooth(32, 32)), tmp_path / "set" / "a.png")
    (tmp_path / "set" / "b.png").write_bytes(b"no picture")
    wanted = ["haar-x2", "bicubic-x4", "--data", str(tmp_path / "set"), "-o", str(tmp_path / "results")]
    assert baselines.main(wanted) == 1
    assert "cannot read" in capsys.readouterr().err
    for method in wanted[:2]:
        result = json.loads((tmp_path / "results" / method / "set.json").read_text())
        assert (list(result["pictures"]), list(result["skipped"])) == (["a.png"], ["b.png"])


@pytest.mark.parametrize("form", ["jpeg", "webp"])
def test_a_codec_takes_the_highest_quality_that_fits(form):
    hr, options = smooth(64, 96), baselines.CODECS[form][0]
    sizes = {quality: len(baselines.encoded(hr, form, quality=quality, **options)) for quality in (1, 40, 41)}
    assert sizes[1] < sizes[40]
    quality, file = baselines.largest_within(sizes[40], hr, form, options)
    assert len(file) <= sizes[40]
    assert len(baselines.encoded(hr, form, quality=quality + 1, **options)) > sizes[40]
    assert baselines.largest_within(1, hr, form, options) == (1, baselines.encoded(hr, form, quality=1, **options))


def test_the_best_of_what_fits_is_measured():
    hr = smooth(64, 96)
    rows = {budget: baselines.at_bytes("jpeg", 2, {"a.png": budget})("a.png", hr) for budget in (1500, 4000)}
    for budget, row in rows.items():
        assert row["file_bytes"] <= budget == row["budget_bytes"]
        assert row["file_bits_per_pixel"] == 8 * row["file_bytes"] / hr[..., 0].size
    assert rows[4000]["psnr_rgb"] > rows[1500]["psnr_rgb"]
    options = baselines.CODECS["jpeg"]
    files = [baselines.largest_within(4000, hr, "jpeg", one)[1] for one in options]
    assert rows[4000]["psnr_rgb"] == max(metrics.psnr(hr, baselines.decoded(file), 2) for file in files)


def test_a_codec_needs_the_bytes_of_weights(tmp_path):
    with pytest.raises(ImageError, match="run unshrink eval first"):
        baselines.of_codec("jpeg", 2, "png", PictureSet("any", tmp_path, ()), tmp_path)


@pytest.mark.parametrize("network", [RLFN, BSRN])
@pytest.mark.parametrize("scale", [2, 4])
def test_super_resolution_networks_enlarge(network, scale):
    with torch.inference_mode():
        assert network(scale)(torch.rand(1, 3, 24, 20)).shape == (1, 3, 24 * scale, 20 * scale)


@pytest.mark.parametrize("name", baselines.CHECKPOINTS)
def test_published_checkpoints_do_better_than_bicubic(name, data, monkeypatch):
    monkeypatch.setenv("UNSHRINK_DATA", str(data))
    hr = read(ROOT / "examples/astronaut.png").pixels[348:428, 120:200]
    plain, network = baselines.Resized("bicubic", 2), baselines.SuperResolved(name, 2)
    found = [closeness(hr, method.upscale(method.downscale(Image(hr))).pixels, 2) for method in (plain, network)]
    assert found[1].psnr_y > found[0].psnr_y + 2
    about = network.about
    assert about["parameters"] < 1e6
    if name == "rlfn":  # the published count for a picture of 1280x720
        assert about["operations"] * 1280 * 720 == pytest.approx(115.4e9, rel=0.01)


@pytest.mark.parametrize("scale", [2, 4])
def test_with_its_own_z_a_picture_is_exact_and_without_it_is_not(scale):
    found = latent.study(random_weights(scale), [smooth(32, 32), smooth(24, 40)])
    assert found["values_exact_with_z"] == 1
    shares, drawn = (dict(map(tuple, found[key])) for key in ("shares", "drawn"))
    assert shares[1] == max(shares.values()) == found["kept_rounded"]
    assert shares[0] == drawn[0]
    assert drawn[0] > drawn[1] > drawn[2]
    for key in ("drawn_pixel_deviation", "drawn_psnr_deviation"):
        deviation = dict(map(tuple, found[key]))
        assert deviation[0] == 0 < deviation[1]
    assert found["rms_z_of_pictures"][0] <= found["rms_z"] <= found["rms_z_of_pictures"][1]
    density = np.array(found["histogram"])
    assert density[:, 1].sum() * (density[1, 0] - density[0, 0]) == pytest.approx(1, abs=0.03)


def test_normal_z_is_found_normal_and_independent():
    draw = torch.Generator().manual_seed(0)
    z = torch.randn(1, 9, 64, 64, generator=draw)
    assert latent.shape_of([z])["kurtosis"] == pytest.approx(3, abs=0.1)
    assert latent.correlation(torch.rand(1, 3, 64, 64, generator=draw), z) == pytest.approx(0, abs=0.06)


def test_z_as_large_as_the_detail_is_found_dependent():
    lr = torch.rand(1, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    change = torch.zeros(1, 1, 64, 64)
    luma = lr.mean(1, keepdim=True)
    change[..., :-1, :-1] = (luma[..., 1:, :-1] - luma[..., :-1, :-1]).abs()
    change[..., :-1, :-1] += (luma[..., :-1, 1:] - luma[..., :-1, :-1]).abs()
    assert latent.correlation(lr, change.repeat(1, 9, 1, 1)) == pytest.approx(1)


def test_draws_are_as_wide_as_in_training():
    zero, z = latent.loaded(random_weights(2)), torch.full((1, 9, 64, 64), 0.25)
    gaussian = latent.loaded(random_weights(2))
    gaussian.config = dataclasses.replace(gaussian.config, latent="gaussian")
    small = torch.rand(1, 3, 64, 64)
    with torch.inference_mode():
        (plain,) = latent.restored_by_draws(zero, small, z, 0, 1)
        same, other = (latent.restored_by_draws(network, small, z, 1, 3) for network in (zero, gaussian))
    assert len(same) == 3
    assert all((one == plain).all() for one in same)  # a constant z has no width
    assert latent.difference(other).mean() > 1


def test_places_are_saved_as_draws_give_them(tmp_path):
    made = latent.crops(random_weights(2), tmp_path / "random-x2")
    assert len(made) == len(latent.SPREADS) + 2
    for panel in made:
        assert read(tmp_path / "random-x2" / panel["file"]).size == (88, 88)
    whole, zero = (read(tmp_path / "random-x2" / made[i]["file"]).pixels for i in (0, 1))
    assert (whole == read(latent.PHOTO).pixels[348:436, 120:208]).all()
    assert (whole != zero).any()


# -- invertible or not ---------------------------------------------------------------------------------------------


def test_pairs_have_the_size_and_the_work_of_the_invertible_network():
    networks = [trial.config.model for trial in invertibility.TRIALS]
    sizes = [sum(map(math.prod, architectures.shapes(network).values())) for network in networks]
    work = [
        trial.steps * (operations(architectures.encoder(network)) + operations(architectures.decoder(network)))
        for trial, network in zip(invertibility.TRIALS, networks, strict=True)
    ]
    assert sizes[1] == pytest.approx(sizes[0], rel=0.01)
    assert sizes[2] == pytest.approx(2 * sizes[0], rel=0.01)
    assert work == pytest.approx([work[0]] * 3, rel=0.01)


def test_a_short_training_is_kept_and_not_repeated(tmp_path, monkeypatch):
    write(Image(smooth(40, 40)), tmp_path / "a.png")
    settings = (f"data.train=['{tmp_path}']", "data.crop=16", f"data.validation={tmp_path}", "run.precision=float32")
    monkeypatch.setattr(invertibility, "RUNS", tmp_path / "runs")
    monkeypatch.setattr(invertibility, "SETTINGS", settings)
    first, second = (invertibility.Short("tiny", "pair", "1", 2) for _ in range(2))
    small = first.downscale(Image(smooth(32, 48)))
    assert small.size == (24, 16)
    assert first.about["training"]["steps"] == 2
    monkeypatch.setattr(invertibility, "train", lambda *args, **options: pytest.fail("trained again"))
    assert (second.upscale(small).pixels == first.upscale(small).pixels).all()


# -- the figure of the README --------------------------------------------------------------------------------------


def test_one_photo_at_several_scales():
    made = [random_weights(2), random_weights(4), random_weights(4, seed=1)]
    found = [compare(Image(smooth(128, 160)), Rescaler(one, make(one, "torch"))) for one in made]
    page = scales.figure(found)
    place = scales.worst_place(found[1])
    assert page.width == 2 * scales.MARGIN + 4 * 3 * (place[2] - place[0]) + 3 * scales.GAP
    left, top = scales.MARGIN, scales.MARGIN
    assert page.getpixel((left + 1, top + 1)) == tuple(found[0].original[1, 1])


@pytest.mark.parametrize("scale", [2, 4])
def test_the_plain_network_is_the_published_one(scale):
    weights = random_weights(scale)
    plain, ours = Plain(weights), make(weights, "torch", 1)
    hr = np.random.default_rng(0).random((3, 16, 24), np.float32)
    lr = plain.down(hr)
    z = np.zeros((1, 3 * scale**2 - 3, *lr.shape[1:]), np.float32)
    assert np.allclose(lr, down(weights, ours, hr[None])[0], rtol=0, atol=1e-5)
    assert np.allclose(plain.up(lr), up(weights, ours, lr[None], z)[0], rtol=0, atol=1e-5)


def test_what_is_timed_is_the_network():
    weights = random_weights(4)
    plain, ours = (backends.runner(backends.Way(name, "float32", 1), weights) for name in ("plain", "torch"))
    hr = np.random.default_rng(0).random((3, 16, 24), np.float32)
    lr = plain("down", hr)
    assert np.allclose(ours("down", hr), lr, rtol=0, atol=1e-5)
    assert np.allclose(ours("up", lr), plain("up", lr), rtol=0, atol=1e-5)


def test_operations_are_those_that_were_published():
    counted = [operations(backends.published(scale).steps["down"]) / 1e3 for scale in (2, 4)]
    assert counted == pytest.approx([416, 584], abs=0.5)


class Answers:
    """The other end of a worker that gives what it is told to."""

    def __init__(self, folder, value, seconds):
        self.folder, self.value, self.seconds = folder, value, iter(seconds)

    def send(self, task):
        direction, _, target = task
        if target:
            np.save(self.folder / target, np.full((3, 8, 6) if direction == "down" else (3, 16, 12), self.value))

    def recv(self):
        return next(self.seconds), 0.5, 100


def test_ways_take_turns_and_are_held_against_the_plain_one(tmp_path):
    plain, *ours = (backends.Way(*way, 1) for way in (("plain", "float32"), *(("openvino", one) for one in PRECISIONS)))
    pipes = {
        plain: Answers(tmp_path, 0.9, [4, 2, 3] * 2),
        ours[0]: Answers(tmp_path, 0.5, [2, 2, 1] * 2),
        ours[1]: Answers(tmp_path, 0.51, [1, 1, 1, 2, 2, 2]),
    }
    limits = {"convolution_float32": 100.0, "convolution_bfloat16": 200.0}
    rows = backends.in_turns(pipes, random_weights(2), (12, 16), 3, limits, tmp_path)
    assert [(row["direction"], row["weights"], row["precision"]) for row in rows] == [
        (direction, *way)
        for direction in ("down", "up")
        for way in (("published-x2", "float32"), ("random-x2", "float32"), ("random-x2", "bfloat16"))
    ]
    assert [row["psnr"] for row in rows] == [None, None, 40.0] * 2
    assert [row["seconds"] for row in rows] == [3, 2, 1, 3, 2, 2]
    assert (rows[0]["spread"], rows[0]["peak_megabytes"]) == ([2, 4], 100)
    assert backends.reference(rows, rows[5]) == rows[3]


def test_what_the_mark_survives_and_what_is_taken_for_one(tmp_path, monkeypatch):
    for part, names in (("test/Kodak12odd", ("astronaut", "coffee")), ("train/photos", ("chelsea", "rocket"))):
        (tmp_path / part).mkdir(parents=True)
        for name in names:
            photo = read(ROOT / "tests/pictures" / f"{name}.png")
            write(Image(np.tile(photo.pixels, (3, 3, 1))), tmp_path / part / f"{name}.png")
    write(Image(smooth(40, 40)), tmp_path / "test/Kodak12odd" / "small.png")
    monkeypatch.setattr(mark, "DATA", tmp_path)
    monkeypatch.setattr(mark, "CHANCES", 23)
    monkeypatch.setattr(mark, "DISPLACED", 5)
    row = mark.survival("Kodak12odd")
    assert (row["pictures"], row["held"], row["read"]["JPEG 80"]) == (3, 2, 2)
    assert 44 < row["psnr"] < 50
    found = mark.chance()
    assert (found["tried"], found["read"], found["displaced"]) == (23, 0, 0)
    assert 24 < found["strongest"] < found["needed"]


@pytest.fixture
def one_photo(tmp_path):
    (tmp_path / "one").mkdir()
    write(
        Image(read(Path(__file__).parents[1] / "examples/astronaut.png").pixels[:240, 100:340]),
        tmp_path / "one" / "a.png",
    )
    return tmp_path / "one"


def test_sites_are_measured_once_and_a_door_brings_back_more_than_the_site(one_photo, tmp_path, monkeypatch):
    asked = ["--data", str(one_photo), "--scales", "2", "--out", str(tmp_path / "sites.json")]
    sites.main([*asked, "--sites", "mastodon", "deltachat", "whatsapp", "pixelfed"])
    rows = {row["site"]: row for row in json.loads((tmp_path / "sites.json").read_text())["rows"]}
    assert rows["mastodon"]["psnr_y"] > rows["deltachat"]["psnr_y"] > rows["deltachat"]["site_psnr_y"] + 1
    assert rows["whatsapp"]["site_psnr_y"] == rows["deltachat"]["site_psnr_y"]  # both take quality 75
    assert rows["mastodon"]["passed"] == 1
    assert rows["whatsapp"]["passed"] == rows["pixelfed"]["passed"] == 0
    assert [row["site_resized"] for row in rows.values()] == [1, 1, 1, 0]  # pixelfed has no cap
    monkeypatch.setattr(sites, "trip", lambda *_: pytest.fail("measured again"))
    sites.main([*asked, "--sites", "mastodon", "whatsapp"])
    assert len(json.loads((tmp_path / "sites.json").read_text())["rows"]) == 4


def test_a_site_in_proportion_takes_just_the_small_picture():
    for site in all_sites():
        taken = sites.in_proportion(site, (300, 200))
        assert taken.fitted((300, 200)) == (300, 200)
        assert (taken.fitted((302, 202)) == (302, 202)) == (site.cap == "none")
    assert sites.in_proportion(find("wechat"), (640, 480)).max_bytes == 150_000 // 4
    assert sites.in_proportion(find("signal"), (800, 600)).doors[0].max_bytes == 209_715 // 4


def test_ten_generations_are_ten_files(one_photo, tmp_path):
    out = tmp_path / "generations.json"
    generations.main(["bicubic-x2", "--data", str(one_photo), "--times", "3", "--out", str(out)])
    (row,) = json.loads(out.read_text())["rows"]
    found = [one["psnr_y"] for one in row["times"]]
    assert len(found) == 4
    assert found[0] > found[1] > found[3]


# -- clips ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", clips.CLIPS)
def test_clips_move_and_have_their_size(data, name, monkeypatch):
    monkeypatch.setattr(clips, "DATA", data / "test")
    frames = clips.CLIPS[name]((96, 64), 6)
    assert [frame.shape for frame in frames] == [(64, 96, 3)] * 6
    assert all((a != b).any() for a, b in itertools.pairwise(frames))


def test_a_real_clip_is_the_middle_of_frames_of_a_film(tmp_path, monkeypatch):
    frames = films.pictures(6, (128, 96))
    times = range(0, 6 * 3000, 3000)
    films.film(tmp_path / "film.mkv", frames, "ffv1", "bgr0", times=times, colour=(0, 2, 1, 1))
    monkeypatch.setattr(clips, "DATA", tmp_path / "test")
    found = clips.real(clips.Film("film.mkv", 2), (32, 16), 3)
    assert len(found) == 3
    for frame, large in zip(found, frames[2:5], strict=True):
        assert (frame == clips.rounded(clips.resize(large, (64, 48)))[16:32, 16:48]).all()
    with pytest.raises(SystemExit, match="fetch_data"):
        clips.real(clips.Film("none/film.mkv", 0), (32, 16), 3)


def test_a_whole_clip_goes_down_and_back_and_what_differs_is_said(tmp_path, data, monkeypatch):
    monkeypatch.setattr(round_trip, "DATA", data / "test")
    path, other = str(tmp_path / "clip.mp4"), str(tmp_path / "other.mp4")
    round_trip.film(path, (64, 48), 8, 4)
    round_trip.film(other, (64, 48), 8, 3)
    there = round_trip.carried(path)
    assert there["title"] == "A clip"
    assert (there["rotation"], there["colour"]) == (90, (1, 1, 1, 1))
    assert [len(there[part]) for part in ("times of frames", "chapters")] == [8, 3]
    assert min(len(there[part]) for part in ("sound", "subtitles")) > 3
    steps = {b - a for a, b in itertools.pairwise(there["times of frames"])}
    assert len(steps) > 3
    assert there == round_trip.carried(path)
    assert there["times of frames"] != round_trip.carried(other)["times of frames"]
    way = {"fps": 0.9, "network_fps": 1, "peak_mb": 500, "peak_mb_of_a_second": 400}
    row = {"equal": {"sound": True}, "psnr_y": {"exact_as_single": True}, "ways": {"down": way, "up": way}}
    assert round_trip.failures(row) == []
    row["ways"] = {"down": way | {"fps": 0.8}, "up": way | {"peak_mb": 601}}
    row |= {"equal": {"sound": False}, "psnr_y": {"exact_as_single": False}}
    assert [said.split(" ")[0] for said in round_trip.failures(row)] == ["sound", "exact", "down:", "up:"]


def test_an_exact_small_clip_measures_what_single_pictures_do_and_h264_costs_bytes_that_are_counted():
    large = [np.roll(smooth(48, 64), 3 * n, axis=1) for n in range(3)]
    small = [frame[::2, ::2] for frame in large]
    back = lambda frame: frame.repeat(2, axis=0).repeat(2, axis=1)
    curves = {"h264": clips.curve(large, "libx264", 2)}
    exact, *coded = clips.ways("halved", large, small, back, 2, curves)
    luma = [metrics.psnr_y(a, back(b), 2) for a, b in zip(large, small, strict=True)]
    assert exact["psnr_y"] == pytest.approx(np.mean(luma))
    assert exact["through"] == "FFV1"
    assert [row["through"] for row in coded] == [f"H.264 CRF {factor}" for factor in clips.FACTORS]
    assert exact["bytes"] > coded[0]["bytes"] > coded[-1]["bytes"] > 0
    assert exact["psnr_y"] >= coded[0]["psnr_y"] > coded[-1]["psnr_y"]
    assert exact["bpp"] == 8 * exact["bytes"] / (3 * 48 * 64)


def test_what_a_codec_reaches_is_read_between_its_factors_alone():
    curve = [math.log(100), math.log(400)], [30.0, 40.0]
    assert clips.at(curve, 200) == pytest.approx(35)
    assert clips.at(curve, 99) is None
    assert clips.at(curve, 401) is None
