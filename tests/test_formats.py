"""The table of picture formats: what it says is what reading and writing do, and nobody else keeps a list."""

import io
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import PIL.Image
import pytest

import unshrink
from unshrink.errors import ImageError
from unshrink.pictures.find import is_picture
from unshrink.pictures.formats import EXTENSIONS, FORMATS, SIGNATURE_BYTES, WRITTEN, of_content, of_path, writable
from unshrink.pictures.image import Image
from unshrink.pictures.io import read, write

PACKAGE = Path(unshrink.__file__).parent
EXIF = b"II*\0\x08\0\0\0\x01\0\x12\x01\x03\0\x01\0\0\0\x06\0\0\0\0\0\0\0"
BLOCKS = {"icc": b"a profile", "exif": EXIF, "xmp": b"<x/>", "dpi": (300.0, 300.0)}


def picture(depth: int, channels: int, width: int = 24) -> Image:
    """A soft one, so that what changes it does so little."""
    ramp = np.linspace(40, 215, 16 * width).reshape(16, width, 1).repeat(channels, 2) * (257 if depth == 16 else 1)
    return Image(ramp.astype(f"uint{depth}"), **BLOCKS)


def encoded(image: Image, form: str) -> bytes:
    stream = io.BytesIO()
    write(image, stream, format=form, lossy=True)
    return stream.getvalue()


@pytest.mark.parametrize("form", WRITTEN.values(), ids=list(WRITTEN))
@pytest.mark.parametrize("depth", [8, 16])
@pytest.mark.parametrize("channels", [1, 2, 3, 4])
def test_a_format_holds_what_its_row_says_and_refuses_the_rest(form, depth, channels):
    image = picture(depth, channels)
    if depth > form.depth or (image.alpha and not form.alpha):
        with pytest.raises(ImageError, match=f"{form.name} holds .*; write PNG"):
            encoded(image, form.name)
        return
    file = encoded(image, form.name)
    assert of_content(file[:SIGNATURE_BYTES]) is form
    back = read(file)
    assert back.depth == depth
    assert back.channels == (channels if form.grey else channels + 2 if channels < 3 else channels)
    pixels = back.pixels if form.grey or channels > 2 else back.pixels[..., [0, 3][:channels]]
    assert np.abs(pixels.astype(int) - image.pixels).max() <= (0 if form.lossless else 4)
    kept = {block for block in BLOCKS if getattr(back, block) is not None}
    assert kept == form.blocks & BLOCKS.keys()
    assert (back.icc, back.xmp) == (image.icc, image.xmp)
    assert back.dpi == (pytest.approx((300, 300), rel=1e-3) if "dpi" in form.blocks else None)


@pytest.mark.parametrize("form", FORMATS.values(), ids=list(FORMATS))
def test_a_file_of_another_writer_is_known_and_its_extensions_are_those_of_pictures(form):
    stream = io.BytesIO()
    PIL.Image.new("RGB", (5, 4)).save(stream, form.name)
    assert of_content(stream.getvalue()) is form
    assert read(stream.getvalue()).size == (5, 4)
    for extension in form.extensions:
        assert is_picture(f"photo{extension.upper()}")
        registered = PIL.Image.registered_extensions()[extension]
        assert PIL.Image.MIME[registered] == form.media_type or registered == "PPM"
        if form.written:
            assert of_path(f"photo{extension}") is form is writable(form.name)
        else:
            with pytest.raises(ImageError, match=r"unknown extension.*\.avif"):
                of_path(f"photo{extension}")


def test_a_side_that_is_too_long_is_refused_with_what_holds_it():
    with pytest.raises(ImageError, match="webp holds at most 16383 pixels a side; write PNG or TIFF"):
        encoded(Image(np.zeros((1, 16384, 3), np.uint8)), "webp")
    with pytest.raises(ImageError, match="jpeg holds no transparency, the picture has some; write PNG, WebP or TIFF"):
        encoded(picture(8, 4), "jpeg")


def test_importing_the_table_loads_nothing_heavy():
    code = "import sys, unshrink.cli.arguments; print({'numpy', 'PIL', 'pyvips'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"


def test_the_page_offers_what_is_read():
    page = (PACKAGE / "web/index.html").read_text()
    offered = set(re.findall(r"\.\w+", " ".join(re.findall(r'accept="([^"]*)"', page))))
    assert offered
    assert offered <= EXTENSIONS


def test_no_other_module_lists_extensions():
    for path in PACKAGE.rglob("*.py"):
        if path.name != "formats.py":
            listed = re.findall(r'"(\.\w+)"', path.read_text())
            assert len(EXTENSIONS & set(listed)) < 2, path
