"""What files tell of how they were encoded."""

import io
import struct

import numpy as np
import PIL.Image
import pytest

from unshrink.pictures.encoding import Encoding, encoding, tables

PHOTO = PIL.Image.fromarray(np.random.default_rng(0).integers(0, 256, (40, 48, 3), np.uint8))


def file(form, picture=PHOTO, **options):
    stream = io.BytesIO()
    picture.save(stream, form, **options)
    return stream.getvalue()


@pytest.mark.parametrize("quality", [1, 25, 49, 50, 51, 75, 87, 95, 99])
@pytest.mark.parametrize("subsampling", ["4:4:4", "4:2:2", "4:2:0"])
def test_jpeg_tells_its_quality(quality, subsampling):
    made = file("JPEG", quality=quality, subsampling=subsampling)
    assert encoding(made) == Encoding("jpeg", quality, True, subsampling)


def test_every_table_is_that_of_libjpeg():
    for quality in range(1, 101):
        pil = PIL.Image.open(io.BytesIO(file("JPEG", PIL.Image.new("RGB", (8, 8)), quality=quality)))
        assert (list(pil.quantization[0]), list(pil.quantization[1])) == tables(quality), quality


def test_other_tables_give_the_nearest_quality():
    luma, chroma = tables(80)
    luma[3] += 1
    found = encoding(file("JPEG", qtables=[luma, chroma]))
    assert (found.quality, found.exact) == (80, False)
    assert str(found) == "JPEG of quality about 80, 4:2:0"


def test_progressive_and_grey_are_told():
    assert encoding(file("JPEG", quality=60, progressive=True)).progressive
    assert encoding(file("JPEG", PHOTO.convert("L"), quality=60)) == Encoding("jpeg", 60, True)
    assert str(encoding(file("JPEG", quality=75, progressive=True))) == "JPEG of quality 75, 4:2:0, progressive"


def test_webp_is_lossy_or_not():
    assert str(encoding(file("WEBP", quality=80))) == "lossy WebP, 4:2:0"
    assert str(encoding(file("WEBP", quality=80, icc_profile=b"VP8L" * 9, xmp=b"VP8L"))) == "lossy WebP, 4:2:0"
    assert encoding(file("WEBP", lossless=True)) is None
    assert encoding(file("WEBP", lossless=True, icc_profile=b"VP8 " * 9)) is None


def test_a_webp_whose_chunks_lead_astray_ends():
    for size in (0, 0xFFFFFFFF):
        assert encoding(b"RIFF\0\0\0\0WEBP" + b"JUNK" + struct.pack("<I", size) + b"\0" * 64) is None


def test_other_formats():
    assert encoding(file("AVIF", quality=60)) == Encoding("avif")
    assert encoding(file("PNG")) is None
    assert encoding(file("TIFF")) is None
