"""Plots show every point and name, inside, in the colour of the page; their fingerprint stands for what is drawn."""

import html
import itertools
import re
import sys

import pytest

from unshrink.errors import MissingDependencyError
from unshrink.evaluation.plots import INK, Plot, Series

LETTER, LINE = 5.5, 11.0  # about the width of a letter and the height of a line


def plot(*series, logarithmic=False):
    return Plot(series, "x", "y", logarithmic)


def marks(drawing):
    """Where circles are drawn: points of lines of their own, not ticks."""
    drawn = re.findall(r'<g clip-path="[^"]*">\s*((?:<use [^>]*>\s*)+)</g>', drawing)
    return [(float(x), float(y)) for group in drawn for x, y in re.findall(r' x="([\d.]+)" y="([\d.]+)"', group)]


def texts(drawing):
    """Each text, and the room that it takes: left, top, right, bottom."""
    found = re.findall(r'text-anchor: (\w+)[^>]*? x="([\d.]+)" y="([\d.]+)"[^>]*>([^<]*)</text>', drawing)
    for anchor, x, y, words in found:
        width = LETTER * len(html.unescape(words))
        left = float(x) - {"start": 0, "middle": width / 2, "end": width}[anchor]
        yield html.unescape(words), (left, float(y) - LINE, left + width, float(y))


def test_every_point_is_drawn_inside_and_in_order():
    drawing = plot(Series("a", ((0.1, -3.0), (0.7, 12.0), (2.0, 4.0)))).svg()
    xs, ys = zip(*marks(drawing), strict=True)
    width, height = map(float, re.search(r'viewBox="0 0 ([\d.]+) ([\d.]+)"', drawing).groups())
    assert list(xs) == sorted(xs)
    assert ys[1] < ys[2] < ys[0]  # y grows downward in SVG
    assert all(0 < x < width and 0 < y < height for x, y in zip(xs, ys, strict=True))


def test_powers_of_ten_lie_evenly():
    drawing = plot(Series("a", ((1e3, 1.0), (1e4, 1.0), (1e5, 1.0))), logarithmic=True).svg()
    xs = [x for x, _ in marks(drawing)]
    assert xs[1] - xs[0] == pytest.approx(xs[2] - xs[1], abs=0.1)
    assert {"1000", "10k", "100k"} <= {words for words, _ in texts(drawing)}


def test_names_stand_beside_their_points_and_cover_nothing():
    names = ["one", "two", "a longer name", "a name as long as half of the drawing or more"]
    points = (3.0, 2.0), (3.05, 2.0), (9.0, 5.0), (8.9, 5.0)
    drawing = plot(*(Series(name, (point,), label=True) for name, point in zip(names, points, strict=True))).svg()
    boxes = {words: box for words, box in texts(drawing) if words in names}
    assert boxes.keys() == set(names)
    for a, b in itertools.combinations(boxes.values(), 2):
        assert a[2] <= b[0] or b[2] <= a[0] or a[3] <= b[1] or b[3] <= a[1]
    for left, top, right, bottom in boxes.values():
        assert not any(left < x < right and top < y < bottom for x, y in marks(drawing))


def test_nothing_is_written_outside():
    beside = Series(
        "one more name, beside its point, that is longer than the drawing is wide", ((1.5, 2.0),), label=True
    )
    long = Series("a very long name of a series, longer than most of those that there are", ((1.0, 1.0), (2.0, 5000.0)))
    drawing = Plot([long, beside], "what x is, with its unit", "what y is, at some length, and its unit, in full").svg()
    width, height = map(float, re.search(r'viewBox="0 0 ([\d.]+) ([\d.]+)"', drawing).groups())
    for words, (left, top, right, bottom) in texts(drawing):
        assert -1 < left < right < width + 1, words
        assert -1 < top < bottom < height + 1, words


def test_the_legend_names_what_has_no_name_beside_its_points():
    words = [
        words for words, _ in texts(plot(Series("<b>", ((1.0, 1.0),)), Series("b", ((2.0, 1.0),), label=True)).svg())
    ]
    assert words.count("<b>") == words.count("b") == 1


def test_text_takes_the_colour_of_the_page_or_the_one_given():
    drawing = plot(Series("a", ((1.0, 1.0),)))
    assert "currentColor" in drawing.svg()
    assert INK not in drawing.svg()
    assert 'fill: #808080">a</text>' in re.sub(r'" x=[^>]*>', '">', drawing.svg("#808080"))


def test_the_fingerprint_stands_for_what_is_drawn():
    one, same = (plot(Series("a", ((1.0, 1.0),))) for _ in range(2))
    assert one.fingerprint == same.fingerprint
    assert one.fingerprint in one.svg()
    assert one.svg() == same.svg()
    others = plot(Series("a", ((1.0, 1.5),))), plot(Series("b", ((1.0, 1.0),))), plot(*one.series, logarithmic=True)
    assert len({one.fingerprint, *(other.fingerprint for other in others)}) == 4


def test_names_are_written_as_they_are():
    assert "$a_b$ & <i>" in [words for words, _ in texts(plot(Series("$a_b$ & <i>", ((1.0, 1.0),))).svg())]


def test_nothing_to_draw():
    assert plot(Series("a", ())).svg() == plot().svg() == ""


def test_without_matplotlib_the_command_that_installs_it_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(MissingDependencyError, match=r"pip install \"unshrink\[report\]\""):
        plot(Series("a", ((1.0, 1.0),))).svg()
