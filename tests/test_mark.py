"""The mark in the pixels: what it survives, what it costs, and that nothing else is taken for one."""

import hashlib
import io
from pathlib import Path

import numpy as np
import PIL.Image
import pytest

from unshrink.errors import ImageError
from unshrink.pictures import mark, metrics
from unshrink.pictures.mark import Mark

EXAMPLES = Path(__file__).parents[1] / "examples"
PHOTOS = ("astronaut.png", "chelsea.png", "rocket.jpg")
MARKS = (Mark(1, (0, 0)), Mark(255, (15, 15)), Mark(90, (3, 1)))
PATHS = {
    "jpeg 80": [("JPEG", {"quality": 80})],
    "jpeg 70": [("JPEG", {"quality": 70})],
    "jpeg 50": [("JPEG", {"quality": 50})],
    "jpeg 90 4:4:4": [("JPEG", {"quality": 90, "subsampling": "4:4:4"})],
    "webp 85": [("WEBP", {"quality": 85})],
    "webp 75": [("WEBP", {"quality": 75})],
    "jpeg 80 then 75": [("JPEG", {"quality": 80}), ("JPEG", {"quality": 75})],
    "avif 75": [("AVIF", {"quality": 75})],
}


def small(name, size=(240, 160)):
    """A photo of the examples at this size; its shape is not kept."""
    return np.asarray(PIL.Image.open(EXAMPLES / name).convert("RGB").resize(size, PIL.Image.Resampling.BICUBIC))


def sent(pixels, *steps):
    """What is left of pixels after they were written in these formats, one after the other."""
    for form, options in steps:
        stream = io.BytesIO()
        PIL.Image.fromarray(pixels).save(stream, form, **options)
        pixels = np.asarray(PIL.Image.open(stream).convert("RGB"))
    return pixels


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("size", [(240, 160), (163, 245), (640, 400)])
def test_survives(path, size):
    for name, said in zip(PHOTOS, MARKS, strict=True):
        assert mark.read(sent(mark.embed(small(name, size), said), *PATHS[path])) == said, name


def test_survives_ten_rounds_of_jpeg():
    marked = mark.embed(small("chelsea.png"), MARKS[2])
    assert mark.read(sent(marked, *[("JPEG", {"quality": 85})] * 10)) == MARKS[2]


def test_large_pictures_pay_less():
    costs = []
    for size in ((240, 160), (1200, 800)):
        pixels = small("astronaut.png", size)
        costs.append(metrics.psnr(mark.embed(pixels, MARKS[0]), pixels))
    assert costs[0] > 45.5
    assert costs[1] > costs[0] + 5


def test_bits_are_where_the_page_says():
    """Another program, from docs/file-format.md alone."""
    pixels = np.full((256, 256), 100.0) + np.random.default_rng(0).normal(0, 9, (256, 256))
    said = Mark(2, (1, 0))
    marked = mark.embed(np.uint8(pixels)[..., None], said)[..., 0]
    dither = np.frombuffer(hashlib.shake_128(b"unshrink mark dither").digest(4096), "<u2") / 65536
    check = hashlib.sha256(b"2 1 0 256 256").digest()[0]
    bits = f"{2:08b}{1:04b}{0:04b}{check:08b}"
    wave = np.cos((2 * np.arange(8) + 1) * np.pi / 16) / np.sqrt(32)
    near = 0
    for y in range(32):
        for x in range(32):
            block = marked[8 * y : 8 * y + 8, 8 * x : 8 * x + 8].astype(float)
            for which, coefficient in enumerate((block.sum(0) @ wave, block.sum(1) @ wave)):
                bit = int(bits[(2 * (x + 5 * y) + which) % 24])
                grid = dither[2 * (32 * y + x) + which] + (0 if bit else 0.5)
                off = (coefficient / 24 - grid + 0.5) % 1 - 0.5
                near += abs(off) < 0.06
    assert near > 0.98 * 2048


@pytest.mark.parametrize("channels", [1, 2, 4])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_of_every_kind_of_picture(channels, dtype):
    pixels = small("chelsea.png")[..., [0, 1, 2, 0]][..., :channels].astype(dtype) * (np.iinfo(dtype).max // 255)
    marked = mark.embed(pixels, MARKS[2])
    assert marked.dtype == dtype
    assert mark.read(marked) == MARKS[2]
    if channels in (2, 4):
        np.testing.assert_array_equal(marked[..., -1], pixels[..., -1])


def test_the_given_pixels_stay():
    pixels = small("rocket.jpg")
    before = pixels.copy()
    mark.embed(pixels, MARKS[0])
    np.testing.assert_array_equal(pixels, before)


def test_blocks_of_one_colour_stay_exact():
    page = np.full((400, 400, 3), 255, np.uint8)
    page[100:300, 100:300] = small("astronaut.png", (200, 200))
    marked = mark.embed(page, MARKS[1])
    np.testing.assert_array_equal(marked[:96], page[:96])
    assert mark.read(sent(marked, *PATHS["jpeg 70"])) == MARKS[1]


def test_a_second_mark_replaces_the_first():
    assert mark.read(mark.embed(mark.embed(small("chelsea.png"), MARKS[0]), MARKS[1])) == MARKS[1]


@pytest.mark.parametrize("size, reason", [((60, 40), "too small"), ((7, 400), "too small"), ((1, 1), "too small")])
def test_small_pictures_say_that_they_are(size, reason):
    with pytest.raises(ImageError, match=f"of {size[0]}x{size[1]} is {reason} to hold a mark"):
        mark.embed(small("chelsea.png", size), MARKS[0])


@pytest.mark.parametrize("value", [0, 128, 255])
def test_flat_pictures_say_that_they_are(value):
    page = np.full((300, 300, 3), value, np.uint8)
    page[8:60, 8:60] = small("astronaut.png", (52, 52))
    with pytest.raises(ImageError, match="too flat to hold a mark"):
        mark.embed(page, MARKS[0])


def test_nothing_else_is_taken_for_a_mark():
    draw = np.random.default_rng(5)
    photos = [small(name, (400, 300)) for name in PHOTOS]
    y, x = np.mgrid[:240, :320]
    made = [
        np.uint8(draw.integers(0, 256, (160, 240, 3))),
        np.zeros((160, 240, 3), np.uint8),
        np.uint8(np.stack([x % 256, y % 256, (x + y) % 256], -1)),
        np.uint8(127 + 120 * np.sin(x / 8 * np.pi)[..., None].repeat(3, -1)),
        np.uint8((x // 8 + y // 8) % 2 * 255)[..., None].repeat(3, -1),
    ]
    for number in range(300):
        photo = photos[number % 3]
        top, left = draw.integers(0, 100, 2)
        crop = photo[top : top + draw.integers(100, 200), left : left + draw.integers(150, 300)]
        made.append(sent(crop, ("JPEG", {"quality": int(draw.integers(30, 96))})) if number % 2 else crop)
    assert [number for number, pixels in enumerate(made) if mark.read(pixels)] == []


# -- cropped and resized -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("window", [np.s_[:-8, :], np.s_[:, :-1], np.s_[5:, 3:], np.s_[16:140, 40:]])
@pytest.mark.parametrize("path", ["jpeg 90 4:4:4", "jpeg 70"])
def test_a_crop_is_noticed(window, path):
    pixels = sent(mark.embed(small("astronaut.png"), MARKS[0])[window], *PATHS[path])
    assert mark.read(pixels) is None
    assert mark.is_displaced(pixels)


def test_a_crop_of_a_large_picture_is_noticed():
    pixels = mark.embed(small("astronaut.png", (1200, 800)), MARKS[0])[101:, 50:]
    assert mark.is_displaced(sent(pixels, *PATHS["jpeg 80"]))


def test_other_pictures_are_no_crops():
    pages = [np.zeros((200, 200, 3), np.uint8), np.random.default_rng(1).integers(0, 256, (200, 200, 3), np.uint8)]
    for pixels in (*(small(name) for name in PHOTOS), *pages):
        assert not mark.is_displaced(pixels)


def test_nothing_is_read_after_a_resize():
    marked = PIL.Image.fromarray(mark.embed(small("astronaut.png", (480, 320)), MARKS[0]))
    assert mark.read(np.asarray(marked.resize((400, 267)))) is None


# -- the word ------------------------------------------------------------------------------------------------------


def test_the_word_depends_on_everything():
    words = {Mark(w, (x, y)).word((s, 100)) for w in (1, 2) for x in (0, 1) for y in (0, 1) for s in (99, 100)}
    assert len(words) == 16
    for said in MARKS:
        assert Mark.of_word(said.word((240, 160)), (240, 160)) == said
        assert Mark.of_word(said.word((240, 160)) ^ 1, (240, 160)) is None
    assert Mark.of_word(0, (240, 160)) is None


@pytest.mark.parametrize("weights, cut", [(0, (0, 0)), (256, (0, 0)), (1, (16, 0)), (1, (0, -1))])
def test_what_does_not_fit_is_refused(weights, cut):
    with pytest.raises(ImageError, match="a mark cannot hold"):
        Mark(weights, cut)
