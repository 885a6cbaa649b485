"""The page of results needs no other file, and shows what was measured."""

import json
import re
from html.parser import HTMLParser
from pathlib import Path

import pytest

from figures import folder_of_results
from unshrink.cli import main as cli
from unshrink.errors import ConfigError
from unshrink.evaluation import report, results, studies

ROOT = Path(__file__).parents[1]


@pytest.fixture
def folder(tmp_path):
    return folder_of_results(tmp_path)


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
    assert not re.search(r"@import|url\((?!#)|<script|<link", text)
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


def test_ids_are_unique_where_drawings_differ(folder):
    """Drawings of one page share names inside; the same name must mean the same thing."""
    defined: dict[str, str] = {}
    text = report.page(results.read(folder), folder)
    for name, what in re.findall(r'<(?:path|clipPath) id="(\w+)"(.*?)(?:/>|</clipPath>)', text, re.DOTALL):
        assert defined.setdefault(name, what) == what
    assert defined


def test_names_are_text_not_markup(folder):
    text = report.page(results.read(folder), folder)
    assert "<b>mine" not in text
    assert "&lt;b&gt;mine" in text
    assert Page(text)


def test_a_broken_study_is_named(folder):
    (folder / "latent.json").write_text('{"weights": {"x": {}}}')
    with pytest.raises(ConfigError, match=r"latent\.json"):
        report.page(results.read(folder), folder)


def test_a_folder_without_results(tmp_path, capsys):
    assert cli.main(["report", str(tmp_path), "-o", str(tmp_path / "page.html")]) == 1
    assert "no results" in capsys.readouterr().err
    assert not (tmp_path / "page.html").exists()
