"""Small pictures that say in their pixels which weights made them: made, sent without metadata, and restored."""

import dataclasses
import hashlib
import io
import json
import warnings
from pathlib import Path

import numpy as np
import PIL.Image
import pytest

import unshrink
from networks import Samples, random_weights
from unshrink import batch
from unshrink import weights as zoo
from unshrink.batch.options import DownscaleOptions
from unshrink.cli.main import main
from unshrink.errors import ConfigError, ModelNotFoundError, UnshrinkWarning, UsageError
from unshrink.pictures import mark as marks
from unshrink.pictures import metrics
from unshrink.pictures.image import Image
from unshrink.pictures.mark import Mark
from unshrink.runtime import backends
from unshrink.runtime.rescaler import Rescaler
from unshrink.weights import catalogue

SHIPPED = catalogue.ENTRIES
SIZE = (413, 299)  # odd both ways


@pytest.fixture(scope="module")
def photo():
    picture = PIL.Image.open(Path(__file__).parents[1] / "examples/astronaut.png").convert("RGB")
    return np.asarray(picture.resize(SIZE, PIL.Image.Resampling.BICUBIC))


@pytest.fixture(scope="module")
def rows(tmp_path_factory):
    """Networks of no quality, as if they were installed."""
    made = []
    for number, scale in enumerate((2, 4), 1):
        weights = dataclasses.replace(random_weights(scale), name=f"tiny-x{scale}")
        path = tmp_path_factory.mktemp("zoo") / f"{weights.name}.safetensors"
        zoo.save(path, weights)
        sha256 = hashlib.sha256(path.read_bytes()).hexdigest()
        about = ("irn", scale, "zero", "none", "")
        made.append(catalogue.Entry(weights.name, str(path), sha256, 0, weights.identity, *about, number=number))
    return tuple(made)


@pytest.fixture(autouse=True)
def installed(rows, monkeypatch):
    monkeypatch.setattr(backends, "make", lambda *_, **__: Samples())
    monkeypatch.setattr(catalogue, "ENTRIES", rows)


@pytest.fixture
def lossy(rows, monkeypatch):
    """The same networks as if they were made for lossy formats."""
    monkeypatch.setattr(catalogue, "ENTRIES", tuple(dataclasses.replace(row, lossy=True) for row in rows))


@pytest.fixture
def rescaler():
    return unshrink.load("tiny-x2")


def resaved(pixels, **options):
    """Pixels as a site would pass them on: a JPEG without metadata, read again."""
    stream = io.BytesIO()
    PIL.Image.fromarray(np.asarray(pixels)).save(stream, "JPEG", **{"quality": 75, **options})
    return unshrink.read(stream.getvalue())


# -- the library ---------------------------------------------------------------------------------------------------


def test_it_comes_back_at_its_size_without_a_record(photo, rescaler):
    small = resaved(rescaler.downscale(Image(photo), mark=True))
    assert small.xmp is None
    with pytest.warns(UnshrinkWarning, match="its metadata was removed, and its values perhaps changed"):
        large = rescaler.upscale(small)
    assert large.size == SIZE
    assert metrics.psnr_y(large.pixels, photo, 2) > 20


def test_an_array_comes_back_at_its_size(photo, rescaler):
    assert rescaler.upscale(rescaler.downscale(photo, mark=True)).shape == photo.shape
    assert rescaler.upscale(rescaler.downscale(photo)).shape == (300, 414, 3)


def test_a_tensor_is_marked_too(photo, rescaler):
    import torch

    planes = torch.from_numpy(np.float32(photo / 255).transpose(2, 0, 1)[None])
    assert rescaler.upscale(rescaler.downscale(planes, mark=True)).shape == (1, 3, 300, 414)
    small = rescaler.downscale(planes, mark=True)[0].numpy().transpose(1, 2, 0)
    assert marks.read(np.uint8(np.rint(small * 255))) == Mark(zoo.of_identity(rescaler.weights.identity).number, (1, 1))


def test_exact_weights_do_not_mark_unless_asked(photo, rescaler):
    small = rescaler.downscale(Image(photo))
    assert marks.read(small.pixels) is None
    assert marks.read(rescaler.downscale(Image(photo), mark=False).pixels) is None


def test_weights_for_lossy_formats_mark_and_bear_changes(photo, rescaler, lossy):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        small = rescaler.downscale(Image(photo))
        assert rescaler.upscale(resaved(small)).size == SIZE
        changed = dataclasses.replace(resaved(small), xmp=small.xmp)  # the record is there, the values are not
        assert rescaler.upscale(changed).size == SIZE
    assert marks.read(rescaler.downscale(Image(photo), mark=False).pixels) is None


def test_a_resized_picture_is_warned_of_with_lossy_weights_too(photo, rescaler, lossy):
    small = rescaler.downscale(Image(photo))
    with pytest.warns(UnshrinkWarning, match="its pixels were changed"):
        rescaler.upscale(dataclasses.replace(small, pixels=small.pixels[:-8].copy()))


def test_alpha_stays_beside_a_mark(photo, rescaler):
    alpha = np.full((*photo.shape[:2], 1), 255, np.uint8)
    alpha[:150, :200] = 0
    small = rescaler.downscale(Image(np.concatenate((photo, alpha), axis=2)), mark=True)
    plain = rescaler.downscale(Image(np.concatenate((photo, alpha), axis=2)))
    np.testing.assert_array_equal(small.pixels[..., 3], plain.pixels[..., 3])
    assert marks.read(small.pixels) == Mark(1, (1, 1))


def test_a_picture_that_cannot_hold_it_goes_without(photo, rescaler):
    with pytest.warns(UnshrinkWarning, match="this picture of 30x20 is too small to hold a mark"):
        small = rescaler.downscale(Image(photo[:40, :60].copy()), mark=True)
    assert rescaler.upscale(small).size == (60, 40)


def test_other_weights_are_named(photo, rescaler):
    small = resaved(rescaler.downscale(Image(photo), mark=True))
    with pytest.warns(UnshrinkWarning, match=r"made by other weights \(number 1 in its mark\) than tiny-x4"):
        assert unshrink.load("tiny-x4").upscale(small).size == (828, 600)


def test_weights_without_a_number_cannot_mark(photo):
    weights = random_weights("plain")
    own = Rescaler(weights, Samples())
    with pytest.raises(ConfigError, match=r"random-plain cannot mark small pictures.* or take one of tiny-x2"):
        own.downscale(Image(photo), mark=True)


def test_shipped_weights_have_numbers_of_their_own():
    numbers = [row.number for row in SHIPPED]
    assert len(set(numbers)) == len(numbers)
    assert all(1 <= number <= marks.LARGEST_NUMBER for number in numbers)


def test_a_number_of_no_weights_is_said():
    assert zoo.of_number(1).name == "tiny-x2"
    with pytest.raises(ModelNotFoundError, match="weights number 200, which are not installed"):
        zoo.of_number(200)


# -- the command line ----------------------------------------------------------------------------------------------


@pytest.fixture
def folder(photo, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    PIL.Image.fromarray(photo).save("photo.png")
    return tmp_path


def run(command):
    return main(command.split())


def stripped(source, target, **options):
    PIL.Image.open(source).convert("RGB").save(target, **options)


def test_upscale_without_any_option(folder, capsys):
    assert run("downscale photo.png -o small.png --mark") == 0
    stripped("small.png", "arrived.jpg", quality=75)
    assert run("upscale arrived.jpg") == 0
    assert "207x150 -> 413x299 pixels, tiny-x2" in capsys.readouterr().err
    assert PIL.Image.open("arrived_restored.png").size == SIZE


def test_no_mark_leaves_it_out(folder, lossy):
    assert run("downscale photo.png --no-mark") == 0
    assert run("downscale photo.png -o marked.png") == 0
    assert marks.read(unshrink.read("photo_x2.png").pixels) is None
    assert marks.read(unshrink.read("marked.png").pixels) == Mark(1, (1, 1))


def refused(capsys, *names):
    """What is said of pictures that are not restored: one line, and nothing is written."""
    before = set(Path().iterdir())
    assert main(["upscale", *names]) == 1
    said = capsys.readouterr().err.splitlines()
    assert len(said) == 1
    assert set(Path().iterdir()) == before
    return said[0]


def test_a_resized_picture_with_a_record_is_refused(folder, capsys):
    assert run("downscale photo.png -o small.png -q") == 0
    small = unshrink.read("small.png")
    resized = PIL.Image.fromarray(small.pixels).resize((160, 116))
    unshrink.write(dataclasses.replace(small, pixels=np.asarray(resized)), "resized.png")
    assert "resized.png was resized or cropped since unshrink made it: it has 160x116 pixels, and had 207x150" in (
        refused(capsys, "resized.png")
    )
    assert run("upscale resized.png -m tiny-x2 -o named.png") == 0
    assert "its pixels were changed" in capsys.readouterr().err


def test_a_cropped_picture_with_a_mark_is_refused(folder, capsys):
    assert run("downscale photo.png -o small.png --mark -q") == 0
    PIL.Image.open("small.png").convert("RGB").crop((11, 5, 200, 150)).save("cropped.jpg", quality=85)
    assert "cropped.jpg was cropped since unshrink made it" in refused(capsys, "cropped.jpg")


def test_a_picture_with_neither_asks_for_a_model(folder, capsys):
    said = refused(capsys, "photo.png")
    assert "photo.png has no record of unshrink and no mark" in said
    assert "name weights with --model" in said


def test_a_mark_of_unknown_weights_is_said(folder, photo, capsys):
    PIL.Image.fromarray(marks.embed(photo, Mark(201, (0, 0)))).save("future.png")
    said = refused(capsys, "future.png")
    assert "weights number 201, which are not installed" in said
    assert said.endswith("(--model FILE.safetensors)")


def test_a_batch_that_cannot_mark_is_refused_before_any_work(folder):
    weights = dataclasses.replace(random_weights("plain"), name="own")
    zoo.save("own.safetensors", weights)
    with pytest.raises(ConfigError, match="own cannot mark"):
        batch.downscale("photo.png", "small.png", DownscaleOptions(model="own.safetensors", mark=True))


def test_a_mark_is_a_choice_of_three():
    with pytest.raises(UsageError, match="mark is 'yes': allowed are None, True and False"):
        DownscaleOptions(mark="yes")


def told(capsys, name):
    """What info says of a picture, row by row."""
    capsys.readouterr()
    assert main(["info", name]) == 0
    rows = (line.strip().split(maxsplit=1) for line in capsys.readouterr().out.splitlines()[1:])
    return {row[0]: row[1] for row in rows}


def test_info_says_what_was_found_and_what_it_went_through(folder, capsys):
    assert run("downscale photo.png -o small.png --mark") == 0
    stripped("small.png", "arrived.jpg", quality=72, progressive=True)
    small, arrived, unmade = (told(capsys, name) for name in ("small.png", "arrived.jpg", "photo.png"))
    assert (small["record"][:15], small["mark"]) == ("made by tiny-x2", "made by tiny-x2, scale 2, from 413x299")
    assert small["pixels"] == "unchanged since"
    assert arrived["encoded"] == "JPEG of quality 72, 4:2:0, progressive"
    assert arrived["record"] == "none: not made by unshrink, or its metadata was removed"
    assert arrived["mark"] == "made by tiny-x2, scale 2, from 413x299"
    assert unmade["mark"] == "none: upscale needs --model"
    assert "encoded" not in unmade


def test_info_in_numbers(folder, photo, capsys):
    assert run("downscale photo.png -o small.png --mark") == 0
    small = unshrink.read("small.png")
    unshrink.write(dataclasses.replace(small, pixels=small.pixels[:-9].copy()), "cropped.png")
    PIL.Image.fromarray(marks.embed(photo, Mark(201, (0, 0)))).save("future.jpg", quality=80)
    capsys.readouterr()
    assert run("info small.png cropped.png future.jpg --json") == 0
    small, cropped, future = map(json.loads, capsys.readouterr().out.splitlines())
    assert small["mark"] == {"weights": 1, "cut": [1, 1], "model": "tiny-x2", "scale": 2, "size": [413, 299]}
    assert (small["record"]["fits"], small["encoding"]) == (True, None)
    assert (cropped["record"]["fits"], cropped["mark"]) == (False, None)
    assert "which are not installed" in future["mark"]["error"]
    assert future["encoding"]["quality"] == 80
