"""What we ship does what we say: figures, exactness, agreement, cards."""

import io
import json
from pathlib import Path
from typing import NamedTuple

import numpy as np
import PIL.Image
import pytest
import torch

import unshrink
from unshrink import weights
from unshrink.cli import arguments
from unshrink.cli import main as cli
from unshrink.evaluation.flat import COLOURS, flatness, pages, text
from unshrink.evaluation.protocol import Figures, closeness, figures, mean
from unshrink.network.network import build
from unshrink.pictures import metrics
from unshrink.pictures.colour import to_uint8
from unshrink.pictures.find import find_pictures
from unshrink.pictures.resize import crop_to_multiple, resize
from unshrink.runtime import backends
from unshrink.training.data import read_rgb
from unshrink.weights import catalogue

ROOT = Path(__file__).parents[1]
# Those for lossy formats mark what they make; pages and small pictures cannot hold it, and say so.
pytestmark = pytest.mark.filterwarnings("ignore:this picture of .* to hold a mark")


class Decibels(NamedTuple):
    """Mean PSNR in dB through files: of the restored picture, and of the small one against the bicubic one."""

    psnr_y: float
    psnr_rgb: float
    psnr_chroma: float
    lr_psnr_y: float
    lr_psnr_chroma: float


PROMISED = {  # Set5, at least
    "irn-x2": Decibels(42.81, 38.75, 46.46, 46.58, 44.73),
    "irn-x3": Decibels(36.86, 33.67, 42.96, 44.15, 42.83),
    "irn-x4": Decibels(34.74, 31.71, 41.42, 47.24, 42.39),
    "irn-x8": Decibels(28.46, 26.09, 37.88, 45.38, 40.59),
    "irn-x2-jpeg": Decibels(40.18, 36.47, 44.55, 32.37, 42.72),
    "irn-x4-jpeg": Decibels(31.69, 29.31, 41.22, 31.34, 44.52),
}
PROMISED_HERE = {  # tests/pictures, as `unshrink eval --data tests/pictures` measures them
    "irn-x2": Decibels(42.10, 38.22, 46.17, 46.96, 44.96),
    "irn-x3": Decibels(36.04, 33.47, 44.01, 46.35, 44.39),
    "irn-x4": Decibels(34.14, 31.82, 42.98, 48.23, 44.17),
    "irn-x8": Decibels(29.54, 27.66, 40.30, 47.02, 44.21),
    "irn-x2-jpeg": Decibels(39.08, 35.88, 44.72, 33.31, 43.65),
    "irn-x4-jpeg": Decibels(31.55, 29.54, 42.09, 34.50, 46.53),
}
PROMISED_FLAT = {  # share of values off by more than 1 in flat areas of the page of text, at most: restored, and small
    "irn-x2": (0.0006, 0.0),
    "irn-x3": (0.02, 0.001),
    "irn-x4": (0.07, 0.01),
    "irn-x8": (0.16, 0.05),
    "irn-x2-jpeg": (0.008, 0.008),
    "irn-x4-jpeg": (0.08, 0.03),
}
ROWS = pytest.mark.parametrize("row", catalogue.ENTRIES, ids=lambda row: row.name)


def test_the_promised_weights_are_installed():
    assert set(PROMISED) == set(PROMISED_HERE) == set(PROMISED_FLAT) == {row.name for row in catalogue.ENTRIES}
    usual = {row.name for row in catalogue.ENTRIES if not row.lossy}
    assert {weights.for_scale(scale).name for scale in (2, 3, 4, 8)} == usual


def test_the_scales_that_are_offered_are_those_for_which_there_are_weights():
    assert set(arguments.SCALES) == {entry.scale for entry in catalogue.ENTRIES}


@ROWS
def test_the_row_says_what_the_file_is(row):
    made = weights.load(row.name)  # checks the file's hash
    assert row.path.stat().st_size == row.bytes
    assert (made.name, made.identity, made.architecture) == (row.name, row.identity, row.architecture)
    assert (made.scale, made.latent, made.about["licence"]) == (row.scale, row.latent, row.licence)
    assert {"commit", "config", "steps", "minutes"} <= made.about["training"].keys()
    assert all(tensor.dtype == np.float16 for tensor in made.tensors.values())
    assert (ROOT / row.card).is_file()


def through_files(name: str, pictures: Path, work: Path, precision: str = "float32") -> Figures:
    """Mean figures of a set, each picture through the files that a user would have."""
    rescaler, rows = unshrink.load(name, precision=precision), []
    for path in find_pictures(pictures):
        hr = crop_to_multiple(read_rgb(path), rescaler.scale)
        source, small, large = (work / f"{path.stem}_{kind}.png" for kind in ("hr", "lr", "sr"))
        unshrink.write(unshrink.Image(hr), source, overwrite=True)
        rescaler.downscale(source, small, overwrite=True)
        rescaler.upscale(small, large, overwrite=True)
        rows.append(figures(hr, unshrink.read(small).pixels, unshrink.read(large).pixels, rescaler.scale))
    return mean(rows)


def promised_of(met: Figures) -> Decibels:
    return Decibels(*(getattr(met, key) for key in Decibels._fields))


@pytest.mark.parametrize("name", PROMISED_HERE)
def test_the_small_set_through_files(name, small_set, tmp_path):
    met = through_files(name, small_set, tmp_path)
    assert promised_of(met) == pytest.approx(PROMISED_HERE[name], abs=0.02)


@ROWS
def test_bfloat16_costs_a_fiftieth_of_a_decibel_at_most(row, small_set, tmp_path):
    exact, quick = (through_files(row.name, small_set, tmp_path, precision) for precision in backends.PRECISIONS)
    for restored in ("psnr_y", "psnr_rgb", "psnr_chroma"):
        assert getattr(quick, restored) > getattr(exact, restored) - 0.02, restored


@pytest.mark.parametrize("name", PROMISED)
def test_set5_through_files(name, set5, tmp_path):
    met = through_files(name, set5, tmp_path)
    short = {key: value for key, value in promised_of(met)._asdict().items() if value < getattr(PROMISED[name], key)}
    assert not short
    published = json.loads((ROOT / "results" / name / "Set5.json").read_text())["mean"]
    assert promised_of(met) == pytest.approx([published[key] for key in Decibels._fields], abs=0.01)
    assert met.colour_error == pytest.approx(published["colour_error"], abs=0.01)
    row = next(row for row in catalogue.ENTRIES if row.name == name)
    said = {"Set5 PSNR-Y": published["psnr_y"], "Set5 chroma": published["psnr_chroma"]}
    assert row.figures == pytest.approx({key: said[key] for key in row.figures}, abs=0.01)
    assert "Set5 PSNR-Y" in row.figures


@pytest.mark.parametrize("name", [row.name for row in catalogue.ENTRIES if row.lossy])
def test_weights_for_lossy_formats_survive_them(name, small_set):
    """Luma through JPEG of quality 75 in 4:2:0, against bicubic through the same, and chroma not below it."""
    rescaler, gained = unshrink.load(name), []
    for path in find_pictures(small_set):
        hr = crop_to_multiple(read_rgb(path), rescaler.scale)
        size = hr.shape[1], hr.shape[0]
        small = rescaler.downscale(hr)
        bicubic = to_uint8(resize(hr, (small.shape[1], small.shape[0])))
        ours = closeness(hr, rescaler.upscale(recoded(small)), rescaler.scale)
        theirs = closeness(hr, to_uint8(resize(recoded(bicubic), size)), rescaler.scale)
        gained.append((ours.psnr_y - theirs.psnr_y, ours.psnr_chroma - theirs.psnr_chroma))
    luma, chroma = np.mean(gained, axis=0)
    assert luma > 1
    assert chroma > 0


def test_weights_for_lossy_formats_survive_clips(small_set):
    """Luma through H.264 of CRF 20 in 4:2:0, the second frame of three that move, against bicubic through the same."""
    h264 = pytest.importorskip("unshrink.training.h264")
    pytest.importorskip("av", reason="clips need PyAV: pip install 'unshrink[video]'")
    rescaler, gained = unshrink.load("irn-x2-jpeg"), []
    for path in find_pictures(small_set):
        frames = [np.roll(crop_to_multiple(read_rgb(path), 2), (place, 3 * place), (0, 1)) for place in range(3)]
        height, width, _ = frames[1].shape

        def shown(make, frames=frames):
            clip = torch.from_numpy(np.stack([make(frame) for frame in frames])).permute(0, 3, 1, 2) / 255
            return to_uint8(255 * h264.coded(clip, 20.0, 1).permute(1, 2, 0).numpy())

        small = (width // 2, height // 2)
        bicubic = resize(shown(lambda frame, size=small: to_uint8(resize(frame, size))), (width, height))
        ours = closeness(frames[1], rescaler.upscale(shown(rescaler.downscale)), 2)
        gained.append(ours.psnr_y - closeness(frames[1], to_uint8(bicubic), 2).psnr_y)
    assert np.mean(gained) > 2


def recoded(pixels: np.ndarray) -> np.ndarray:
    stream = io.BytesIO()
    PIL.Image.fromarray(pixels).save(stream, "jpeg", quality=75)
    return np.asarray(PIL.Image.open(stream))


@pytest.mark.parametrize("name", PROMISED_FLAT)
def test_flat_areas_stay_flat(name):
    """On pages of 128 pixels a side, which have more border to each pixel than those of results/flat.json."""
    rescaler, (off, lr_off) = unshrink.load(name), PROMISED_FLAT[name]
    found = {page: flatness(rescaler, pixels) for page, pixels in pages(128).items()}
    assert len(found) == 9
    text = found.pop("white with text")
    assert (text.off, text.lr_off) <= (off, lr_off)
    assert not {page: one for page, one in found.items() if one.off or one.lr_off}, (
        "pages of one colour come back exactly"
    )


NARROW = ((1, 1), (1, 50), (50, 1), (37, 41))  # heights and widths: of one pixel, and no multiple of any scale


@ROWS
def test_pictures_of_one_colour_come_back_exactly_however_narrow(row):
    """White is white, to the last value: of 8 and 16 bits, in colour and grey, restored and small."""
    rescaler = unshrink.load(row.name)
    for height, width in NARROW:
        for colour in [*COLOURS.values(), (255,), (0,), (128,)]:
            for dtype, step in ((np.uint8, 1), (np.uint16, 257))[: 2 if height == 1 else 1]:
                wanted = np.array(colour, dtype) * dtype(step)
                small = rescaler.downscale(unshrink.Image(np.full((height, width, len(colour)), wanted)))
                assert (small.pixels == wanted).all(), (height, width, colour, dtype)
                assert (rescaler.upscale(small).pixels == wanted).all(), (height, width, colour, dtype)


@pytest.mark.parametrize("name", PROMISED)
def test_a_white_page_is_white_through_files(name, cases, tmp_path):
    rescaler = unshrink.load(name)
    large = rescaler.upscale(rescaler.downscale(cases / "white.png", tmp_path / "small.png"))
    assert (unshrink.read(large).pixels == 255).all()


@ROWS
@pytest.mark.parametrize("size", [(1, 64), (64, 1)])
def test_a_ramp_of_one_pixel_across_comes_back(row, size):
    rescaler, ramp = unshrink.load(row.name), np.linspace(0, 255, 64).astype(np.uint8).reshape(*size, 1)
    back = rescaler.upscale(rescaler.downscale(unshrink.Image(ramp)))
    assert back.size == size[::-1]
    assert metrics.psnr(*(picture.repeat(3, axis=2) for picture in (ramp, back.pixels))) > 25


def bilevel(values: np.ndarray) -> unshrink.Image:
    """A page of one bit, as a file of one bit is read."""
    stream = io.BytesIO()
    PIL.Image.fromarray(values.astype(np.uint8) * 255).convert("1").save(stream, "png")
    return unshrink.read(stream.getvalue())


def beside_bicubic(rescaler: unshrink.Rescaler, page: unshrink.Image) -> float:
    """By how many dB a page comes back better than bicubic brings it back."""
    size, small = page.size, tuple(-(-side // rescaler.scale) for side in page.size)
    bicubic = to_uint8(resize(to_uint8(resize(page.pixels, small)), size))
    restored = rescaler.upscale(rescaler.downscale(page)).pixels
    ours, theirs = (metrics.psnr(*(one.repeat(3, axis=2) for one in (page.pixels, to))) for to in (restored, bicubic))
    return ours - theirs


@ROWS
def test_a_page_of_one_bit_comes_back_better_than_by_bicubic(row):
    """Of text; of a dithered picture no way of resizing keeps anything, and none is far from the other (7 dB)."""
    rescaler = unshrink.load(row.name)
    assert beside_bicubic(rescaler, bilevel(text(128).min(axis=2) >= 128)) > 0.1
    y, x = np.mgrid[:128, :128]
    bayer = np.array([[0, 8, 2, 10], [12, 4, 14, 6], [3, 11, 1, 9], [15, 7, 13, 5]]) / 16
    assert beside_bicubic(rescaler, bilevel((x + y) / 254 > np.tile(bayer, (32, 32)))) > -1


@pytest.mark.parametrize("name", [row.name for row in catalogue.ENTRIES if not row.lossy])
@pytest.mark.parametrize("dtype, bound", [(torch.float64, 1e-10), (torch.float32, 1e-5)])
def test_trained_weights_invert_exactly_when_z_is_kept(name, dtype, bound):
    made = weights.load(name)
    network = build(made.architecture, made.config)
    network.load_state_dict({name: torch.from_numpy(value.astype(np.float32)) for name, value in made.tensors.items()})
    network = network.to(dtype)
    photo = read_rgb(ROOT / "examples/chelsea.png")[:144, :168]
    hr = torch.from_numpy(photo.copy()).permute(2, 0, 1)[None].to(dtype) / 255
    with torch.no_grad():
        assert (network.decode(*network(hr)) - hr).abs().max() < bound


@ROWS
def test_backends_agree_on_shipped_weights(row):
    """Of all values of four small pictures: one in 10,000 cannot be told from fewer."""
    made = weights.load(row.name)
    photos = [read_rgb(path) for path in sorted((ROOT / "examples").glob("*.[jp][pn]g"))]
    rescalers = {
        name: unshrink.Rescaler(made, backends.make(made, name, precision="float32")) for name in backends.available()
    }
    small = {name: [r.downscale(photo) for photo in photos] for name, r in rescalers.items()}
    hr, lr = photos[0][: row.scale * 48, : row.scale * 64], small["torch"][0][:48, :64]
    restored = {name: metrics.psnr_y(hr, r.upscale(lr)) for name, r in rescalers.items()}
    reference = np.concatenate([picture.ravel() for picture in small.pop("torch")]).astype(int)
    for name, pictures in small.items():
        difference = np.abs(np.concatenate([picture.ravel() for picture in pictures]) - reference)
        assert difference.max() <= 1, name
        assert (difference == 0).mean() >= 0.9999, name
        assert restored[name] == pytest.approx(restored["torch"], abs=0.01), name


def test_the_default_halves_each_side(tmp_path):
    photo = tmp_path / "photo.png"
    unshrink.write(unshrink.Image(np.full((40, 60, 3), 128, np.uint8)), photo)
    assert cli.main(["downscale", str(photo)]) == 0
    assert unshrink.read(tmp_path / "photo_x2.png").size == (30, 20)
