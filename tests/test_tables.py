"""Measured and published figures stand apart, each where it belongs."""

import pytest

from figures import folder_of_results, write
from unshrink.evaluation import results, tables


@pytest.fixture
def folder(tmp_path):
    return folder_of_results(tmp_path)


def test_published_and_measured_stand_apart(folder):
    made = {table.title: table for table in tables.tables(results.read(folder))}
    assert [table.published for table in made.values()] == [False] * 8 + [True]
    restored, colours, small, small_colours, perceptual, networks, codecs, short, published = made.values()
    assert restored.rows == (("<b>mine</b>", "30.00 / 0.9000 / 28.00"),)
    assert colours.rows == (("<b>mine</b>", "38.00 / 39.00; 0.60 (3.00)"),)
    assert small_colours.rows == (("<b>mine</b>", "41.00 / exact; 0.10 (0.50)"),)
    assert small.rows == (("<b>mine</b>", "exact / 1.0000; 2.00, 1.50"),)
    assert codecs.rows == (
        ("JPEG", "<b>mine</b>, PNG", "Set5", "2.00", "35.00 / 33.00 / 37.00", "30.00 / 28.00 / 38.50", "1"),
    )
    assert perceptual.rows == (("<b>mine</b>", "0.0500"),)
    assert networks.rows == (("<b>mine</b>", "0.00 M", "2 k", "30.00"),)
    assert short.rows == (("short-mine", "0.50 M", "2 k", "7", "30.00 / 28.00 / 38.50; exact / exact"),)
    credits = "Them & co (not checked)", "They"
    assert published.rows == (("theirs", "2 M", "31.00", credits[0]), ("read", "2 M", "31.00", credits[1]))
    assert "| theirs | 2 M | 31.00 | Them & co (not checked) |" in published.markdown()


@pytest.mark.parametrize("measure", ["LPIPS", "colours of restored", "colours of small"])
def test_sets_where_a_figure_was_not_measured_are_left_out(folder, measure):
    write(folder, "<b>mine</b>", "Set14", {"psnr_y": 28.0})
    (table,) = [table for table in tables.tables(results.read(folder)) if measure in table.title]
    assert table.headings == ("method", "Set5")


def test_a_result_is_a_line_under_the_headings(folder):
    (mine,) = [one for one in results.read(folder).measured if one["method"] == "<b>mine</b>"]
    restored = ["30.00", "28.00", "38.50", "0.9000", "0.60", "0.0500"]
    small = ["exact", "exact", "0.10", "2.00", "1.50", "-", "-"]
    assert tables.line(mine).split() == ["<b>mine</b>", "Set5", *restored, *small]
    assert len(tables.line(mine)) == len(tables.heading())
