import json
import os
import subprocess
import sys

import numpy as np
import pytest

from figures import Nearest
from networks import random_weights
from unshrink import weights
from unshrink.cli import main as cli
from unshrink.errors import ImageError, UsageError
from unshrink.evaluation import evaluate
from unshrink.evaluation.protocol import trips_of
from unshrink.evaluation.run import Evaluation
from unshrink.evaluation.sets import PictureSet, find_set, set_hash
from unshrink.pictures.colour import over_white
from unshrink.pictures.image import Image
from unshrink.pictures.io import read, write


@pytest.fixture
def photos(tmp_path):
    """A set with a picture of every kind, one that is broken and one that is too small."""
    folder = tmp_path / "photos"
    (folder / "more").mkdir(parents=True)
    write(Image(noise(33, 40)), folder / "a.png")
    write(Image(noise(32, 32, 4)), folder / "more" / "alpha.png")
    write(Image(noise(30, 30, 1, np.uint16)), folder / "more" / "grey16.png")
    (folder / "broken.png").write_bytes((folder / "a.png").read_bytes()[:100])
    write(Image(noise(1, 9)), folder / "tiny.png")
    return folder


@pytest.fixture
def model(tmp_path):
    weights.save(tmp_path / "random-x2.safetensors", random_weights(2))
    return tmp_path / "random-x2.safetensors"


def noise(height, width, channels=3, dtype=np.uint8):
    return np.random.default_rng(height).integers(0, np.iinfo(dtype).max + 1, (height, width, channels), dtype)


def unshrink(*args):
    return cli.main([str(arg) for arg in args])


def test_the_page_of_ones_own_evaluation_has_pictures(photos, model, tmp_path, capsys):
    results = tmp_path / "results"
    assert unshrink("eval", model, "--data", photos, "-o", results) == cli.PARTLY
    assert unshrink("report", results, "-o", tmp_path / "plain.html") == 0
    assert "no pictures: unshrink eval --crops" in capsys.readouterr().err
    assert unshrink("eval", model, "--data", photos, "-o", results, "--crops", "--overwrite") == cli.PARTLY
    capsys.readouterr()
    assert unshrink("report", results, "-o", tmp_path / "page.html") == 0
    assert "no pictures" not in capsys.readouterr().err
    figures = json.loads((results / "random-x2/photos.json").read_text())["pictures"]
    worst = min(figures, key=lambda name: figures[name]["psnr_y"])
    folder = results / "crops/random-x2-photos"
    about = json.loads((folder / "crop.json").read_text())
    assert about["picture"] == f"photos, {worst}"
    titles = [panel["title"] for panel in about["panels"]]
    assert titles == ["original", "small, random-x2", "bicubic-x2", "random-x2"]
    assert about["panels"][3]["psnr_y"] == pytest.approx(figures[worst]["psnr_y"], abs=0.01)
    left, top, right, bottom = about["place"]
    original = over_white(read(photos / worst))[top:bottom, left:right]
    assert np.array_equal(read(folder / "0.webp").pixels, original)
    page = (tmp_path / "page.html").read_text()
    assert page.count("<img") == 5
    assert f"photos, {worst}, x2" in page


def test_a_set_is_measured_and_bad_pictures_are_reported_and_left_out(photos, model, tmp_path, capsys):
    assert unshrink("eval", model, "--data", photos, "-o", tmp_path / "results") == cli.PARTLY
    out, err = capsys.readouterr()
    assert out.splitlines()[0].split()[:3] == ["method", "set", "PSNR-Y"]
    assert out.splitlines()[1].split()[:2] == ["random-x2", "photos"]
    assert f"cannot read {photos / 'broken.png'}" in err
    assert "9x1 is smaller than the scale" in err
    result = json.loads((tmp_path / "results/random-x2/photos.json").read_text())
    assert list(result["pictures"]) == ["a.png", "more/alpha.png", "more/grey16.png"]
    assert list(result["skipped"]) == ["broken.png", "tiny.png"]
    assert result["pictures"]["a.png"]["size"] == [40, 32]
    values = [row["psnr_y"] for row in result["pictures"].values()]
    assert result["mean"]["psnr_y"] == pytest.approx(np.mean(values))
    assert result["weights"] == weights.load(model).identity
    assert result["backend"].startswith("torch ")
    assert result["precision"] == "float32"
    assert result["peak_megabytes"] is None or result["peak_megabytes"] > 10
    assert {"protocol", "set_hash", "commit", "libraries", "machine"} <= result.keys()


def test_json_is_a_line_for_each_picture_and_one_for_the_set(photos, model, tmp_path, capsys):
    (photos / "broken.png").unlink()
    (photos / "tiny.png").unlink()
    assert unshrink("eval", model, "--data", photos, "-o", tmp_path / "results", "--json") == 0
    *pictures, whole = map(json.loads, capsys.readouterr().out.splitlines())
    assert [line["input"] for line in pictures] == [str(photos / name) for name in whole["pictures"]]
    assert whole["mean"]["psnr_rgb"] == pytest.approx(np.mean([line["psnr_rgb"] for line in pictures]))


def test_from_python_any_method_is_measured_over_any_folder(photos, model, tmp_path):
    out = tmp_path / "results"
    made = evaluate([str(model), Nearest()], [photos], out)
    first, second = made
    assert [first["method"], second["method"]] == ["random-x2", "nearest-x2"]
    assert list(first["skipped"]) == list(second["skipped"]) == ["broken.png", "tiny.png"]
    assert first["weights"] == weights.load(model).identity
    assert first["set_hash"] == second["set_hash"]
    assert [json.loads((out / one["method"] / "photos.json").read_text()) for one in (first, second)] == [first, second]


def test_from_python_nothing_is_measured_where_a_result_could_not_be_written(photos, tmp_path):
    (tmp_path / "nearest-x2").mkdir()
    (tmp_path / "nearest-x2" / "photos.json").write_text("precious")
    with pytest.raises(ImageError, match="exists already"):
        evaluate([Nearest()], [photos], tmp_path)
    with pytest.raises(UsageError, match="two results would both become"):
        evaluate([Nearest(), Nearest()], [photos], tmp_path, overwrite=True)
    assert (tmp_path / "nearest-x2" / "photos.json").read_text() == "precious"


def test_nothing_to_measure_is_a_failure(photos, model, tmp_path, capsys):
    for path in photos.rglob("*.png"):
        path.write_bytes(b"no picture")
    assert unshrink("eval", model, "--data", photos, "-o", tmp_path / "results") == 1
    assert "none of the 5 pictures" in capsys.readouterr().err
    assert not (tmp_path / "results").exists()


def test_results_are_replaced_only_when_asked(photos, model, tmp_path, capsys):
    target = tmp_path / "results/random-x2/photos.json"
    target.parent.mkdir(parents=True)
    target.write_text("precious")
    assert unshrink("eval", model, "--data", photos, "-o", tmp_path / "results") == 1
    assert "--overwrite" in capsys.readouterr().err
    assert target.read_text() == "precious"
    assert unshrink("eval", model, "--data", photos, "-o", tmp_path / "results", "--overwrite") == cli.PARTLY
    assert json.loads(target.read_text())["method"] == "random-x2"


def test_sets_are_folders_or_names(photos, model, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("UNSHRINK_DATA", str(tmp_path))
    (tmp_path / "test").mkdir()
    photos.rename(tmp_path / "test" / "Holiday")
    assert find_set("Holiday").name == find_set(tmp_path / "test" / "Holiday").name == "Holiday"
    assert unshrink("eval", model, "--data", "Holidays") == 1
    assert "are Holiday" in capsys.readouterr().err
    monkeypatch.delenv("UNSHRINK_DATA")
    assert unshrink("eval", model, "--data", "Holiday") == 1
    assert "set UNSHRINK_DATA" in capsys.readouterr().err
    assert unshrink("eval", model, "--data", tmp_path / "test/Holiday", tmp_path / "test/Holiday") == 2


def test_it_runs_without_torch(tmp_path):
    write(Image(noise(48, 48)), tmp_path / "a.png")
    code = (
        "import sys; sys.modules['torch'] = None; from unshrink.cli import main as cli; "
        f"sys.exit(cli.main(['eval', 'irn-x2', '--data', {str(tmp_path)!r}, '-o', {str(tmp_path / 'out')!r}]))"
    )
    subprocess.run([sys.executable, "-c", code], check=True, env={**os.environ, "OMP_NUM_THREADS": "1"})
    assert list((tmp_path / "out/irn-x2").iterdir())


def test_equal_pictures_are_null_in_json(tmp_path):
    write(Image(np.full((32, 32, 3), 7, np.uint8)), tmp_path / "flat.png")
    flat = Evaluation("nearest-x2", 2, PictureSet("flat", tmp_path, (tmp_path / "flat.png",)), trips_of(Nearest()))
    flat.add(tmp_path / "flat.png")
    result = flat.result()
    assert result["mean"]["psnr_y"] is None
    assert result["mean"]["ssim_y"] == pytest.approx(1)
    json.dumps(result, allow_nan=False)


def test_the_hash_of_a_set_depends_on_its_pixels_alone(tmp_path):
    hashes = set()
    for names in (("a.png", "b.png"), ("2.webp", "1.tif")):
        made = Evaluation("nearest-x2", 2, PictureSet("any", tmp_path, ()), trips_of(Nearest()))
        for name, size in zip(names, (20, 33), strict=True):
            write(Image(noise(size, 24)), tmp_path / name)
            made.add(tmp_path / name)
        hashes.add(made.result()["set_hash"])
    assert len(hashes) == 1
    assert set_hash(["0", "1"]) != set_hash(["0", "2"])
