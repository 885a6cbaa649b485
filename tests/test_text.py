import math

from unshrink.text import align, decibels, human_bytes


def test_columns_align():
    assert align([("a", "1", "x"), ("bbb", "22", "")]) == ["a     1  x", "bbb  22"]


def test_bytes_are_short():
    sizes = {0: "0 B", 999: "999 B", 1000: "1 kB", 411_600: "412 kB", 999_600: "1.0 MB", 3_149_000: "3.1 MB"}
    assert {count: human_bytes(count) for count in sizes} == sizes


def test_equal_pictures_are_exact():
    assert [decibels(value) for value in (34.564, math.inf, None)] == ["34.56", "exact", "exact"]
