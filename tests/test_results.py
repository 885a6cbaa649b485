"""What is committed in results/ says what we claim of it; files that are damaged are named."""

import json
from pathlib import Path

import pytest
from baselines import WEIGHTS

from figures import folder_of_results
from unshrink.errors import ConfigError
from unshrink.evaluation import flat, results, studies
from unshrink.weights import catalogue

ROOT = Path(__file__).parents[1]
TOLERANCE = {"bicubic": {"BSD100": 0.02, "Set5": 0.1, "Set14": 0.1}, "rlfn": {"Set5": 0.1}, "bsrn": {"Set5": 0.1}}


@pytest.fixture(scope="module")
def committed():
    return results.read(ROOT / "results")


@pytest.fixture
def folder(tmp_path):
    return folder_of_results(tmp_path)


def claims():
    for method, bounds in TOLERANCE.items():
        for scale in (2, 4):
            yield from (pytest.param(f"{method}-x{scale}", name, bound) for name, bound in bounds.items())


@pytest.mark.parametrize("method, data, bound", list(claims()))
def test_older_ways_reproduce_their_published_figures(committed, method, data, bound):
    (row,) = (row for row in committed.published if row.get("ours") == method)
    assert committed.one(method, data)["mean"]["psnr_y"] == pytest.approx(row[data][0], abs=bound)


def test_results_of_shipped_weights_are_of_these_weights(committed):
    for row in catalogue.ENTRIES:
        assert committed.one(row.name, "Set5")["weights"] == row.identity


def test_every_method_at_equal_bytes_was_measured_against_the_same_weights(committed):
    for one in (one for one in committed.measured if "bytes_of" in one):
        assert one["bytes_of"]["weights"] == committed.one(one["bytes_of"]["method"], one["set"])["weights"]


def test_every_published_row_names_its_source(committed):
    assert all({"title", "url"} <= source.keys() for source in committed.sources.values())
    assert {row["source"] for row in committed.published} == committed.sources.keys()


def test_a_set_has_the_same_pictures_for_every_method(committed):
    hashes = {(one["set"], one["set_hash"]) for one in committed.measured}
    assert len(hashes) == len({name for name, _ in hashes})


def test_the_photo_at_every_scale_is_of_the_shipped_weights():
    rows = json.loads((ROOT / "results" / "scales.json").read_text())["rows"]
    shipped = {row.name: row.identity for row in catalogue.ENTRIES}
    assert {row["model"]: row["weights"] for row in rows} == {name: shipped[name] for name in WEIGHTS.values()}


def test_the_study_of_z_is_of_the_shipped_weights():
    study = json.loads((ROOT / "results" / studies.LATENT).read_text())["weights"]
    with_z = {row.name: row.identity for row in catalogue.ENTRIES if not row.lossy}
    assert {name: one["identity"] for name, one in study.items()} == with_z
    assert all(one["values_exact_with_z"] == 1 for one in study.values())


def test_flat_pages_are_of_the_shipped_weights_beside_bicubic():
    methods = json.loads((ROOT / "results" / studies.FLAT).read_text())["methods"]
    identities = {name: one["weights"] for name, one in methods.items() if "weights" in one}
    assert identities == {row.name: row.identity for row in catalogue.ENTRIES}
    assert {f"bicubic-x{row.scale}" for row in catalogue.ENTRIES} <= methods.keys()
    assert {one["side"] for one in methods.values()} == {flat.SIDE}


@pytest.mark.parametrize("text", ["{", '{"schema": 99}'])
def test_damaged_results_are_named(folder, text):
    (folder / "other").mkdir()
    (folder / "other" / "Set5.json").write_text(text)
    with pytest.raises(ConfigError, match=r"Set5\.json"):
        results.read(folder)


def test_what_is_committed_is_written_again_byte_for_byte(tmp_path):
    files = [path for path in (ROOT / "results").glob("*/*.json") if b'"schema"' in path.read_bytes()]
    assert len(files) > 100
    for path in files:
        results.write(json.loads(path.read_bytes()), tmp_path / "again.json")
        assert (tmp_path / "again.json").read_bytes() == path.read_bytes(), path


def test_other_files_are_left_alone(folder):
    (folder / "other").mkdir()
    (folder / "other" / "trials.json").write_text("[]")
    assert len(results.read(folder).measured) == 3


def test_broken_published_figures_are_named(folder):
    (folder / "published.toml").write_text("[[row]")
    with pytest.raises(ConfigError, match=r"published\.toml"):
        results.read(folder)
