"""Studies tell what was measured, in tables and plots."""

from pathlib import Path

import pytest

from figures import folder_of_results
from unshrink.evaluation import results, studies


@pytest.fixture
def found(tmp_path):
    return results.read(folder_of_results(tmp_path))


def test_prices_hold_measured_and_published_apart(found):
    by_parameters = {one.name: one for one in studies.by_size(found, 2, "Set5", "parameters")}
    hollow = {name: one.hollow for name, one in by_parameters.items()}
    assert hollow == {"theirs": True, "read": True, "<b>mine</b>": False}
    assert by_parameters["theirs"].points == ((2e6, 31.0),)
    assert [one.name for one in studies.by_size(found, 2, "Set5", "operations")] == ["<b>mine</b>"]
    by_bytes = {one.name: one.points for one in studies.by_bytes(found, 2, "Set5")}
    assert by_bytes == {"<b>mine</b>": ((1.5, 30.0), (2.0, 30.0)), "JPEG": ((2.0, 35.0),)}


def test_short_trainings_are_held_against_each_other_set_by_set():
    def trained(method, data, large, small):
        mean = {"psnr_y": large, "lr_psnr_y": small}
        return {"method": method, "set": data, "scale": 2, "mean": mean, "training": {"steps": 400}}

    pair, irn = trained("short-pair-x2", "Set5", 41.5, 44.0), trained("short-irn-x2", "Set5", 41.0, 42.0)
    (trials,) = studies.short_trainings(results.Results((pair, irn, trained("short-irn-x2", "Set14", 38.0, 40.0))))
    assert trials == [irn, pair]
    (plot,) = studies.invertibility(trials).plots
    assert {one.name: one.points for one in plot.series} == {
        "short-irn-x2": ((42.0, 41.0),),
        "short-pair-x2": ((44.0, 41.5),),
    }


def test_the_guidance_trades_one_picture_for_the_other():
    trials = [
        {"set": [f"loss.guide_luma={weight}", "loss.guide_chroma=9"], "steps": 9, "psnr_y": hr, "lr_psnr_y": lr}
        for weight, hr, lr in ((30, 40.0, 48.0), (0.3, 44.0, 38.0), (3, 43.0, 42.0))
    ]
    study = studies.guidance(trials, Path("guide-x2.json"))
    assert study.tables[0].rows == (
        ("0.3", "44.00", "38.00", "9"),
        ("3", "43.00", "42.00", "9"),
        ("30", "40.00", "48.00", "9"),
    )
    lines, trade = study.plots
    assert [one.points for one in lines.series] == [
        ((0.3, 44.0), (3.0, 43.0), (30.0, 40.0)),
        ((0.3, 38.0), (3.0, 42.0), (30.0, 48.0)),
    ]
    assert trade.series[0].points == ((38.0, 44.0), (42.0, 43.0), (48.0, 40.0))


def test_flat_pages_tell_both_pictures_page_by_page():
    page = {"off": 0.341, "largest": 25, "lr_off": 0.0047, "lr_largest": 3}
    exact = dict.fromkeys(page, 0)
    about = {"methods": {"mine": {"pages": {"white": page, "red": exact}}}}
    (table,) = studies.flat_pages(about, Path("flat.json")).tables
    assert table.headings == ("method", "white", "red")
    assert table.rows == (("mine", "34.10 (25); 0.47 (3)", "0.00 (0); 0.00 (0)"),)


def test_the_study_of_z_tells_each_figure_in_its_column():
    one = {"set": "Set5", "pictures": 5, "side": 64, "draws": 3, "values_exact_with_z": 0.5, "zero_unrounded": 36.0}
    one |= {"shares": [[0, 35.0], [1, 50.0]], "drawn": [[0, 35.0], [1, 34.0], [2, 30.0]]}
    one |= {"drawn_psnr_deviation": [[0, 0], [1, 0.05]], "drawn_pixel_deviation": [[0, 0], [1, 3.0]]}
    one |= {"rms_z": 0.2, "rms_z_of_pictures": [0.1, 0.3], "rms_haar_details": 0.02, "kurtosis": 4.0}
    one |= {"correlation_with_detail": 0.4, "histogram": [[-1, 0.2], [0, 0.5]], "crops": [{"title": "a", "file": "0"}]}
    study = studies.latent({"weights": {"mine": one}}, Path("latent.json"))
    restored, shape = (dict(zip(table.headings, table.rows[0], strict=True)) for table in study.tables)
    assert restored.pop("middles of pictures") == "5 of Set5, 64 wide, 3 draws"
    assert list(restored.values()) == ["mine", "50.00%", "50.00", "36.00", "35.00", "34.00", "30.00", "0.050", "3.0"]
    assert list(shape.values()) == ["mine", "0.200 (0.100 to 0.300)", "0.020", "4.0", "0.40"]
    assert study.panels == {"mine": [("a", Path("latent/mine/0"))]}
