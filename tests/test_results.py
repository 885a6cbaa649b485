"""What is committed in results/ says what we claim of it; tables and the page hold it."""

import itertools
import json
import re
from fnmatch import fnmatch
from html.parser import HTMLParser
from pathlib import Path

import pytest
from baselines import WEIGHTS

import unshrink
from unshrink.cli import main as cli
from unshrink.errors import ConfigError
from unshrink.evaluation import plots, report, results, studies
from unshrink.weights import catalogue

ROOT = Path(__file__).parents[1]
TOLERANCE = {"bicubic": {"BSD100": 0.02, "Set5": 0.1, "Set14": 0.1}, "rlfn": {"Set5": 0.1}, "bsrn": {"Set5": 0.1}}


@pytest.fixture(scope="module")
def committed():
    return results.read(ROOT / "results")


@pytest.fixture
def folder(tmp_path):
    """One method, one codec and one published row."""
    means = {"psnr_y": 30.0, "ssim_y": 0.9, "psnr_rgb": 28.0, "lr_psnr_y": None, "lr_ssim_y": 1.0}
    means |= {"png_bits_per_pixel": 2.0, "webp_bits_per_pixel": 1.5}
    means |= {"lpips": 0.05}
    write(tmp_path, "<b>mine</b>", "Set5", means, parameters=1000, operations=2000)
    small = {"parameters": 500_000, "operations": 2000, "training": {"steps": 7}}
    write(tmp_path, "short-mine", "Set5", means, **small)
    sizes = {"file_bits_per_pixel": 2.0, "psnr_y": 35.0, "ssim_y": 0.95, "psnr_rgb": 33.0}
    write(tmp_path, "jpeg-mine-png", "Set5", sizes, bytes_of={"method": "<b>mine</b>", "file": "png"})
    source = '[sources.them]\ntitle = "Them & co, Their way, 2020"\nurl = "https://example.org"\n'
    read = '[sources.read]\ntitle = "They, Read, 2021"\nurl = "https://example.org"\nchecked = "their table"\n'
    row = '[[row]]\nmethod = "theirs"\nscale = 2\nparameters = "2 M"\nsource = "them"\nSet5 = [31.0]\n'
    other = row.replace("theirs", "read").replace('"them"', '"read"')
    (tmp_path / "published.toml").write_text(source + read + row + other)
    return tmp_path


def write(folder, method, data, mean, **about):
    path = folder / re.sub(r"\W", "", method) / f"{data}.json"
    path.parent.mkdir(exist_ok=True)
    row = {"file_bytes": 11, "budget_bytes": 10}
    made = {"commit": "abc", "unshrink": "1", "machine": {"cpu": "any"}}
    result = {"schema": 1, "method": method, "scale": 2, "set": data, "mean": mean, "pictures": {"a": row}}
    path.write_text(json.dumps(result | made | about))


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


def test_published_and_measured_stand_apart(folder):
    made = {table.title: table for table in results.tables(results.read(folder))}
    assert [table.published for table in made.values()] == [False] * 5 + [True]
    restored, small, perceptual, codecs, short, published = made.values()
    assert restored.rows == (("<b>mine</b>", "30.00 / 0.9000 / 28.00"),)
    assert small.rows == (("<b>mine</b>", "exact / 1.0000; 2.00, 1.50"),)
    assert codecs.rows == (("JPEG", "<b>mine</b>, PNG", "Set5", "2.00", "35.00 / 33.00", "30.00 / 28.00", "1"),)
    assert perceptual.rows == (("<b>mine</b>", "0.0500"),)
    assert short.rows == (("short-mine", "0.50 M", "2 k", "7", "30.00 / 28.00; exact"),)
    credits = "Them & co (not checked)", "They"
    assert published.rows == (("theirs", "2 M", "31.00", credits[0]), ("read", "2 M", "31.00", credits[1]))
    assert "| theirs | 2 M | 31.00 | Them & co (not checked) |" in published.markdown()


def test_sets_without_lpips_are_left_out(folder):
    write(folder, "<b>mine</b>", "Set14", {"psnr_y": 28.0})
    (table,) = [table for table in results.tables(results.read(folder)) if "LPIPS" in table.title]
    assert table.headings == ("method", "Set5")


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
    assert {name: one["identity"] for name, one in study.items()} == {
        row.name: row.identity for row in catalogue.ENTRIES
    }
    assert all(one["values_exact_with_z"] == 1 for one in study.values())


def test_make_eval_measures_everything_that_is_committed(committed):
    """What its targets name are the methods, the sets and the studies in results/."""
    makefile = (ROOT / "Makefile").read_text()
    patterns = re.findall(r"'([^' ]*\*[^' ]*)'", makefile) + unshrink.list_models()
    sets = re.search(r"^SETS \?= (.*)$", makefile, re.MULTILINE)[1].split()
    for one in committed.measured:
        assert any(fnmatch(one["method"], pattern) for pattern in patterns), one["method"]
        assert one["set"] in sets
    for path in (ROOT / "results").glob(studies.GUIDANCE):
        assert f"results/ablations/{path.stem}.toml" in makefile
    assert all(f"benchmarks/{name}.py" in makefile for name in ("latent", "crops", "scales"))


@pytest.mark.parametrize("text", ["{", '{"schema": 99}'])
def test_damaged_results_are_named(folder, text):
    (folder / "other").mkdir()
    (folder / "other" / "Set5.json").write_text(text)
    with pytest.raises(ConfigError, match=r"Set5\.json"):
        results.read(folder)


def test_other_files_are_left_alone(folder):
    (folder / "other").mkdir()
    (folder / "other" / "trials.json").write_text("[]")
    assert len(results.read(folder).measured) == 3


def test_broken_published_figures_are_named(folder):
    (folder / "published.toml").write_text("[[row]")
    with pytest.raises(ConfigError, match=r"published\.toml"):
        results.read(folder)


def test_a_folder_without_results(tmp_path, capsys):
    assert cli.main(["report", str(tmp_path), "-o", str(tmp_path / "page.html")]) == 1
    assert "no results" in capsys.readouterr().err
    assert not (tmp_path / "page.html").exists()


# -- the page ------------------------------------------------------------------------------------------------------


class Page(HTMLParser):
    """Notes what would need another file, and tags that are not closed."""

    def __init__(self, text):
        super().__init__()
        self.open, self.outside, self.words = [], [], []
        self.feed(text)
        assert not self.open

    def handle_starttag(self, tag, attributes):
        values = dict(attributes)
        self.outside += [v for k, v in values.items() if k in ("src", "srcset", "data") and not v.startswith("data:")]
        if tag not in ("meta", "img"):
            self.open.append(tag)

    def handle_startendtag(self, tag, attributes):
        """Closed as it opens."""

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, text):
        self.words.append(text)


def test_the_page_of_the_committed_results_needs_no_other_file(tmp_path, capsys):
    target = tmp_path / "page.html"
    assert cli.main(["report", str(ROOT / "results"), "-o", str(target)]) == 0
    text = target.read_text()
    page = Page(text)
    assert not page.outside
    assert not re.search(r"@import|url\(|<script|<link", text)
    assert 'name="viewport"' in text
    words = "".join(page.words)
    for needed in ("irn-x2", "published by others, not measured here", "the small picture not rounded", "bicubic-x4"):
        assert needed in words
    studied = set(re.findall(r"Made by make ([\w-]+)", words))
    assert studied >= {"eval-weights", "eval-latent", "eval-invertibility"}
    crops = sum(
        1 + len(json.loads(path.read_text())["panels"]) for path in (ROOT / "results").glob("crops/*/crop.json")
    )
    study = json.loads((ROOT / "results" / studies.LATENT).read_text())["weights"].values()
    assert text.count("data:image/webp") == crops + sum(len(one["crops"]) for one in study)
    assert cli.main(["report", str(ROOT / "results"), "-o", str(target)]) == 1
    assert "--overwrite" in capsys.readouterr().err


def test_names_are_text_not_markup(folder):
    text = report.page(results.read(folder), folder)
    assert "<b>mine" not in text
    assert "&lt;b&gt;mine" in text
    assert Page(text)


def test_a_broken_study_is_named(folder):
    (folder / "latent.json").write_text('{"weights": {"x": {}}}')
    with pytest.raises(ConfigError, match=r"latent\.json"):
        report.page(results.read(folder), folder)


# -- studies -------------------------------------------------------------------------------------------------------


def test_prices_hold_measured_and_published_apart(folder):
    found = results.read(folder)
    by_parameters = {one.name: one for one in studies.by_size(found, 2, "Set5", "parameters")}
    hollow = {name: one.hollow for name, one in by_parameters.items()}
    assert hollow == {"theirs": True, "read": True, "<b>mine</b>": False}
    assert by_parameters["theirs"].points == ((2e6, 31.0),)
    assert [one.name for one in studies.by_size(found, 2, "Set5", "operations")] == ["<b>mine</b>"]
    assert {one.name for one in studies.by_bytes(found, 2, "Set5")} == {"<b>mine</b>", "JPEG"}


def test_the_price_is_told_beside_the_largest_and_the_cheapest(committed):
    network = {"scale": 2, "set": "Set5", "method": "irn-x2", "mean": {"psnr_y": 43.0}}
    network |= {"parameters": 2_000_000, "operations": 800_000}
    other = network | {"method": "bsrn-x2", "mean": {"psnr_y": 38.0}, "parameters": 300_000, "operations": 80_000}
    published = ({"method": "CAR, EDSR", "scale": 2, "parameters": "50 M", "Set5": [39.0]},)
    said = studies.price_sentence(results.Results((network, other), published), 2, "Set5")
    assert "irn-x2: 43.00 dB" in said
    assert "CAR, EDSR (published): 39.00 dB with 50 M parameters, 25 times as many" in said
    assert "bsrn-x2: 38.00 dB with 0.30 M parameters and 80 k multiply-adds a pixel, 10 times fewer" in said


def test_the_price_is_told_beside_codecs(folder):
    found = results.read(folder)
    assert studies.codec_sentence(found, "<b>mine</b>", "Set5").endswith("PNG file: JPEG 35.00 dB.")
    assert studies.codec_sentence(found, "other", "Set5") == ""


@pytest.mark.parametrize("gain, said", [(0.5, "gains nothing here, as short-pair-x2 do"), (-0.5, "none does better")])
def test_invertibility_is_told_as_it_was_measured(gain, said):
    def trained(method, large, small):
        mean = {"psnr_y": large, "lr_psnr_y": small}
        return {"method": method, "set": "Set5", "scale": 2, "mean": mean, "training": {"steps": 400}}

    rows = trained("short-pair-x2", 41.0 + gain, 44.0), trained("short-irn-x2", 41.0, 42.0)
    (trials,) = studies.short_trainings(results.Results(rows))
    sentence = studies.invertibility_sentence(trials)
    assert "short-irn-x2 gives 41.00 dB of Set5 back from small pictures 42.00 dB close" in sentence
    assert f"short-pair-x2 {gain:+.2f} dB and +2.00 dB" in sentence
    assert said in sentence
    assert studies.invertibility(results.Results(rows))[0].count("<circle") == 2


def test_the_guidance_trades_one_picture_for_the_other():
    trials = [
        {"set": [f"loss.guide={weight}"], "steps": 9, "psnr_y": hr, "lr_psnr_y": lr}
        for weight, hr, lr in ((30, 40.0, 48.0), (0.3, 44.0, 38.0), (3, 43.0, 42.0))
    ]
    said = studies.guidance_sentence(trials)
    assert "with the weight 0.3, 44.00 dB" in said
    assert "+4.00 dB of the restored picture for -10.00 dB of the small one" in said
    drawing = studies.guidance(trials, Path("guide-x2.json"))
    assert Page(drawing)
    assert drawing.count("<circle") == 9


# -- plots ---------------------------------------------------------------------------------------------------------


def circles(drawing):
    return [(float(x), float(y)) for x, y in re.findall(r'cx="([\d.-]+)" cy="([\d.-]+)"', drawing)]


def test_points_lie_inside_and_in_order():
    drawing = plots.plot([plots.Series("a", ((0.1, -3.0), (0.7, 12.0), (2.0, 4.0)))], "x", "y")
    xs, ys = zip(*circles(drawing), strict=True)
    assert list(xs) == sorted(xs)
    assert ys[1] < ys[2] < ys[0]  # y grows downward in SVG
    assert all(plots.LEFT <= x <= plots.WIDTH - plots.RIGHT for x in xs)
    assert all(plots.TOP <= y <= plots.HEIGHT - plots.BOTTOM for y in ys)


def test_powers_of_ten_lie_evenly():
    drawing = plots.plot([plots.Series("a", ((1e3, 1.0), (1e4, 1.0), (1e5, 1.0)))], "x", "y", logarithmic=True)
    xs = [x for x, _ in circles(drawing)]
    assert xs[1] - xs[0] == pytest.approx(xs[2] - xs[1], abs=0.2)
    assert {"1000", "10k", "100k"} <= set(re.findall(r">([^<>]+)</text>", drawing))


def test_labels_of_equal_points_do_not_overlap():
    drawing = plots.plot([plots.Series(f"m{i}", ((1.0, 2.0),), label=True) for i in range(4)], "x", "y")
    heights = sorted(float(y) for y in re.findall(r'y="([\d.]+)" text-anchor="(?:start|end)">m', drawing))
    assert len(heights) == 4
    assert all(b - a >= plots.LINE - 0.2 for a, b in itertools.pairwise(heights))


def test_a_label_does_not_cover_another_point_nor_leave_the_drawing():
    near = [plots.Series("one", ((3.0, 2.0),), label=True), plots.Series("two", ((3.2, 2.0),), label=True)]
    far = plots.Series("far", ((9.0, 5.0),))
    sides = re.findall(r'text-anchor="(start|end)">(one|two)', plots.plot([*near, far], "x", "y"))
    assert sorted(sides) == [("end", "one"), ("start", "two")]
    long = plots.Series("a name as long as half of the drawing and more", ((8.0, 2.0),), label=True)
    drawing = plots.plot([long, plots.Series("b", ((7.0, 2.0),)), far, plots.Series("c", ((0.0, 0.0),))], "x", "y")
    assert 'text-anchor="end">a name' in drawing


def test_nothing_to_draw():
    assert plots.plot([plots.Series("a", ())], "x", "y") == ""
