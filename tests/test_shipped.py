"""What we ship does what we say: figures, exactness, agreement, cards."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

import unshrink
from unshrink import weights
from unshrink.cli import arguments
from unshrink.cli import main as cli
from unshrink.evaluation.protocol import Figures, figures, mean
from unshrink.network.network import build
from unshrink.pictures import metrics
from unshrink.pictures.find import find_pictures
from unshrink.pictures.resize import crop_to_multiple
from unshrink.runtime import backends
from unshrink.training.data import read_rgb
from unshrink.weights import catalogue

ROOT = Path(__file__).parents[1]
PROMISED = {  # Set5 PSNR-Y of the large and of the small picture
    "irn-x2": (44.0, 44.0),
    "irn-x2-gaussian": (39.0, 40.0),
    "irn-x4": (35.4, 39.5),
    "irn-x4-lean": (35.4, 41.7),
    "irn-x4-gaussian": (32.5, 38.0),
    "irn-x8": (29.8, 37.5),
}
PROMISED_HERE = {  # the same two of tests/pictures, as `unshrink eval --data tests/pictures` measures them
    "irn-x2": (43.18, 46.54),
    "irn-x2-gaussian": (40.16, 46.25),
    "irn-x4": (34.73, 41.59),
    "irn-x4-lean": (35.23, 43.57),
    "irn-x4-gaussian": (32.41, 42.07),
    "irn-x8": (30.53, 40.01),
}
ROWS = pytest.mark.parametrize("row", catalogue.ENTRIES, ids=lambda row: row.name)


def test_the_promised_weights_are_installed():
    assert set(PROMISED) == set(PROMISED_HERE) <= set(unshrink.list_models())
    assert {weights.for_scale(scale).name for scale in (2, 4, 8)} == {"irn-x2", "irn-x4-lean", "irn-x8"}


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


def through_files(name: str, pictures: Path, work: Path) -> Figures:
    """Mean figures of a set, each picture through the files that a user would have."""
    rescaler, rows = unshrink.load(name), []
    for path in find_pictures(pictures):
        hr = crop_to_multiple(read_rgb(path), rescaler.scale)
        source, small, large = (work / f"{path.stem}_{kind}.png" for kind in ("hr", "lr", "sr"))
        unshrink.write(unshrink.Image(hr), source)
        rescaler.downscale(source, small)
        rescaler.upscale(small, large)
        rows.append(figures(hr, unshrink.read(small).pixels, unshrink.read(large).pixels, rescaler.scale))
    return mean(rows)


@pytest.mark.parametrize("name", PROMISED_HERE)
def test_the_small_set_through_files(name, small_set, tmp_path):
    met = through_files(name, small_set, tmp_path)
    assert (met.psnr_y, met.lr_psnr_y) == pytest.approx(PROMISED_HERE[name], abs=0.02)


@pytest.mark.parametrize("name", PROMISED)
def test_set5_through_files(name, set5, tmp_path):
    met = through_files(name, set5, tmp_path)
    assert met.psnr_y >= PROMISED[name][0]
    assert met.lr_psnr_y >= PROMISED[name][1]
    published = json.loads((ROOT / "results" / name / "Set5.json").read_text())["mean"]
    assert met.psnr_y == pytest.approx(published["psnr_y"], abs=0.01)
    assert met.lr_psnr_y == pytest.approx(published["lr_psnr_y"], abs=0.01)
    row = next(row for row in catalogue.ENTRIES if row.name == name)
    assert row.figures["Set5 PSNR-Y"] == pytest.approx(published["psnr_y"], abs=0.01)


@ROWS
@pytest.mark.parametrize("dtype, bound", [(torch.float64, 1e-10), (torch.float32, 1e-5)])
def test_trained_weights_invert_exactly_when_z_is_kept(row, dtype, bound):
    made = weights.load(row.name)
    network = build(made.architecture, made.config)
    network.load_state_dict({name: torch.from_numpy(value.astype(np.float32)) for name, value in made.tensors.items()})
    network = network.to(dtype)
    photo = read_rgb(ROOT / "examples/chelsea.png")[:128, :160]
    hr = torch.from_numpy(photo.copy()).permute(2, 0, 1)[None].to(dtype) / 255
    with torch.no_grad():
        assert (network.decode(*network(hr)) - hr).abs().max() < bound


@ROWS
def test_backends_agree_on_shipped_weights(row):
    """Of all values of four small pictures: one in 10,000 cannot be told from fewer."""
    made = weights.load(row.name)
    photos = [read_rgb(path) for path in sorted((ROOT / "examples").glob("*.[jp][pn]g"))]
    rescalers = {name: unshrink.Rescaler(made, backends.make(made, name)) for name in backends.NAMES}
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
