import numpy as np
import pytest

from unshrink.evaluation import protocol
from unshrink.evaluation.compare import (
    CROP,
    Comparison,
    as_json,
    compare,
    gain,
    ordinary_round_trip,
    over_white,
    table,
    worst_place,
)
from unshrink.evaluation.drawing import WIDTH, figure
from unshrink.pictures.image import Image


class Ordinary:
    """Bicubic in the place of a network: what it gives must be measured as equal to bicubic."""

    class weights:
        name = "bicubic-x4"

    def __init__(self, scale):
        self.scale = scale

    def downscale(self, image, depth):
        self.size = image.size
        return Image(ordinary_round_trip(over_white(image), self.scale, "bicubic")[0])

    def upscale(self, image):
        width, height = (side * self.scale for side in image.size)
        large = protocol.to_uint8(protocol.resize(image.pixels, (width, height)))
        return Image(large[: self.size[1], : self.size[0]])


def noise(height, width, channels=3, dtype=np.uint8):
    return np.random.default_rng(0).integers(0, np.iinfo(dtype).max + 1, (height, width, channels), dtype)


def compared(pixels, scale=4) -> Comparison:
    return compare(Image(pixels), Ordinary(scale), file_bytes=12345)


@pytest.mark.parametrize("scale", [2, 3, 4, 8])
@pytest.mark.parametrize("height, width", [(1, 1), (3, 5), (40, 40), (61, 97)])
def test_any_size_is_compared_and_drawn(height, width, scale):
    result = compared(noise(height, width), scale)
    assert result.quality["unshrink"] == result.quality["bicubic"]
    assert result.fidelity.psnr_y == float("inf")
    assert figure(result).width == WIDTH


def test_multiples_of_the_scale_follow_the_protocol_of_evaluate():
    result = compared(noise(64, 80))
    expected = protocol.figures(result.original, result.small, result.restored, 4)
    assert vars(result.quality["unshrink"]).items() <= vars(expected).items()
    assert result.fidelity == expected.small


@pytest.mark.parametrize("channels", [1, 2, 3, 4])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_every_kind_becomes_rgb_over_white(channels, dtype):
    pixels = noise(9, 7, channels, dtype)
    if channels in (2, 4):
        pixels[:4, :, -1], pixels[4:, :, -1] = 0, np.iinfo(dtype).max
    flat = over_white(Image(pixels))
    assert flat.shape == (9, 7, 3)
    assert flat.dtype == np.uint8
    colour = pixels[4:, :, : 1 if channels < 3 else 3].astype(float) / np.iinfo(dtype).max * 255
    np.testing.assert_allclose(flat[4:], np.broadcast_to(colour, (5, 7, 3)), atol=0.51)
    if channels in (2, 4):
        assert (flat[:4] == 255).all()


def test_the_enlarged_place_is_where_bicubic_fails():
    pixels = np.full((300, 400, 3), 128, np.uint8)
    pixels[200:230, 300:330] = noise(30, 30)
    left, top, right, bottom = worst_place(compared(pixels))
    assert right - left == bottom - top == CROP // 4 * 4
    assert left <= 300 < 330 <= right
    assert top <= 200 < 230 <= bottom


def test_the_figure_shows_the_pixels_themselves():
    result = compared(noise(88, 88))
    page = np.asarray(figure(result))
    enlarged = np.repeat(np.repeat(result.original, 4, 0), 4, 1)
    row = page.shape[0] - 40 - 24 - 20 - 80 - 352
    np.testing.assert_array_equal(page[row : row + 352, 40 : 40 + 352], enlarged)


def test_table_and_json_hold_sizes_bytes_and_figures():
    result = compared(noise(61, 97))
    lines = table(result).splitlines()
    assert [line.split()[0] for line in lines[1:]] == ["original", "small", "restored", "bicubic", "Lanczos"]
    assert "97x61" in lines[1]
    assert "12.3 kB" in lines[1]
    assert "25x16" in lines[2]
    assert "+0.00 dB against bicubic" in lines[3]
    data = as_json(result)
    assert data["size"] == [97, 61]
    assert data["small_size"] == [25, 16]
    assert {"psnr_y", "psnr_rgb", "psnr_cb", "psnr_cr", "ssim_y", "colour_error"} <= data["bicubic"].keys()
    assert "lpips" not in data["bicubic"]
    assert "LPIPS" not in lines[0]


def test_every_figure_stands_under_its_heading():
    result = compared(noise(61, 97))
    head, *lines = table(result).splitlines()
    bicubic = lines[3].split()
    found = dict(zip(head.split()[2:], bicubic[2:], strict=False))  # without "bytes", and "99 %" as two words
    of = result.quality["bicubic"]
    assert [found[name] for name in ("PSNR-Y", "RGB", "Cb", "Cr", "SSIM-Y", "colour")] == [
        *(f"{value:.2f}" for value in (of.psnr_y, of.psnr_rgb, of.psnr_cb, of.psnr_cr)),
        f"{of.ssim_y:.4f}",
        f"{of.colour_error:.2f}",
    ]
    assert found["99"] == f"{of.colour_error_99:.2f}"


def test_lpips_is_measured_where_it_is_asked_for():
    def lpips(a, b):
        assert a.shape == b.shape == (56, 72, 3)  # without the border
        return float(np.abs(a.astype(float) - b).mean())

    result = compare(Image(noise(64, 80)), Ordinary(4), lpips=lpips)
    value = result.looks["bicubic"]["lpips"]
    assert value > 0
    assert as_json(result)["bicubic"]["lpips"] == value
    lines = table(result).splitlines()
    assert "LPIPS" in lines[0]
    assert f"{value:.4f}" in lines[4]
    assert (
        len(
            {
                len(line.partition(mark)[0])
                for line, mark in zip(lines[2:5], ("against", "bicubic-x4", "down"), strict=True)
            }
        )
        == 1
    )


def test_flat_pictures_are_exact_and_said_to_be():
    result = compared(np.full((16, 16, 3), 100, np.uint8))
    assert gain(result) == "as exact as bicubic"
    assert "exact" in table(result)
