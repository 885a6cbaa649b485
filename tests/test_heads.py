"""Metadata without end: files of which little is picture are read without it, or refused, and soon."""

import io
import struct
import time
import zlib

import numpy as np
import PIL.Image
import pytest

from unshrink import ImageError, read
from unshrink.pictures import png

PIXELS = np.random.default_rng(0).integers(0, 256, (9, 12, 3), np.uint8)
MEBIBYTES = zlib.compress(bytes(30 << 20), 9)
EXIF = b"Exif\0\0" + b"a" * 200


def saved(form: str) -> bytes:
    stream = io.BytesIO()
    PIL.Image.fromarray(PIXELS).save(stream, form, quality=95)
    return stream.getvalue()


def chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def png_with(chunks: bytes) -> bytes:
    data = saved("png")
    return data[:33] + chunks + data[33:]


def jpeg_with(segments: bytes) -> bytes:
    data = saved("jpeg")
    return data[:2] + segments + data[2:]


def soon(data: bytes, seconds: float = 2):
    """The picture in the file, and that reading it kept the processor for no longer; each took 5 s to minutes."""
    began = time.process_time()
    try:
        return read(data)
    finally:
        assert time.process_time() - began < seconds


@pytest.mark.parametrize(
    ("kind", "head"),
    [
        (b"iTXt", b"XML:com.adobe.xmp\0\1\0\0\0"),
        (b"iCCP", b"profile\0\0"),
        (b"zTXt", b"Raw profile type exif\0\0"),
        (b"zTXt", b"Raw profile type iptc\0\0"),
    ],
)
def test_png_of_many_large_profiles_is_read_without_them(kind, head):
    image = soon(png_with(chunk(kind, head + MEBIBYTES) * 200))
    assert np.array_equal(image.pixels, PIXELS)
    assert image.notes == ("profiles of more than 64 MiB were left out",)


def test_profiles_that_are_damaged_at_their_end_count_too():
    damaged = zlib.compress(bytes(30 << 20), 9)[:-1] + b"x"
    image = soon(png_with(chunk(b"iCCP", b"profile\0\0" + damaged) * 200))
    assert (image.icc, image.notes) == (None, ("profiles of more than 64 MiB were left out",))


def test_a_damaged_profile_costs_no_other():
    good = zlib.compress(b"<x/>" * 1000)
    chunks = chunk(b"iCCP", b"profile\0\0" + b"\1" * 99) + chunk(b"iTXt", b"XML:com.adobe.xmp\0\1\0\0\0" + good)
    image = soon(png_with(chunks))
    assert (image.icc, image.xmp, image.notes) == (None, b"<x/>" * 1000, ())


@pytest.mark.parametrize("body", [b"Comment\0" + b"a" * (2 << 20), b"Comment\0\0" + zlib.compress(bytes(2 << 20))])
def test_a_long_comment_is_left_out_alone(body):
    kind = b"tEXt" if len(body) > 1 << 20 else b"zTXt"
    image = soon(png_with(chunk(kind, body) + chunk(b"tEXt", b"Title\0Boat")))
    assert image.texts == (("Title", "Boat"),)
    assert image.notes == ("texts of more than 1 MiB were left out",)
    assert np.array_equal(image.pixels, PIXELS)


@pytest.mark.parametrize("kind", [b"tEXt", b"IDAT"])
def test_png_of_chunks_without_end_is_refused(kind):
    body = b"a\0b" if kind == b"tEXt" else b""
    with pytest.raises(ImageError, match=r"a PNG of more than 1\d,\d{3} chunks, which no program writes; save it"):
        soon(png_with(chunk(kind, body) * 20_000))


def test_png_of_a_byte_a_chunk_is_read():
    data = saved("png")
    start, length = next((start, length) for kind, start, length in png._chunks(io.BytesIO(data)) if kind == b"IDAT")
    bytewise = b"".join(chunk(b"IDAT", data[at : at + 1]) for at in range(start + 8, start + length - 4))
    image = soon(data[:start] + bytewise + data[start + length :])
    assert np.array_equal(image.pixels, PIXELS)


@pytest.mark.parametrize(
    "segments",
    [
        b"\xff\xe1" + struct.pack(">H", 2 + len(EXIF)) + EXIF,
        b"\xff\xe9\0\2",
        b"\xff" * 100,
        b"\0" * 100,
        b"\xff\0" * 100,
        b"\xff\xd0" * 100,
    ],
    ids=["exif", "empty", "fill", "stray", "zero", "restart"],
)
def test_jpeg_of_segments_without_end_is_refused(segments):
    with pytest.raises(ImageError, match="a JPEG of more than 1,000 blocks of metadata, which no program writes; save"):
        soon(jpeg_with(b"\xff\xfe\0\2" + segments * 100_000))


def test_jpeg_of_long_comments_is_read():
    comment = b"\xff\xfe" + struct.pack(">H", 65_535) + b"a" * 65_533
    image = soon(jpeg_with(comment * 20 + b"\xff" * 1000))
    assert np.array_equal(image.pixels, read(saved("jpeg")).pixels)
    assert len(image.texts) == 20


@pytest.mark.parametrize("filling", [b"\n#" + b"a" * (20 << 20), b" " * (20 << 20), b"\n#a" * (5 << 20)])
@pytest.mark.parametrize("kind", [b"P6", b"P3", b"P4"])
def test_ppm_of_a_header_without_end_is_refused(kind, filling):
    with pytest.raises(ImageError, match="its PPM header, with comments, is longer than 1 MiB; take comments out"):
        soon(kind + filling + b"\n12 9\n255\n" + PIXELS.tobytes())


@pytest.mark.parametrize("comment", [b"\n", b"\n# by hand\r", b"# wide\n", b"\n#" + b"a" * 500_000 + b"\n"])
def test_ppm_with_comments_is_read(comment):
    for kind, body in ((b"P6", PIXELS.tobytes()), (b"P3", b" ".join(b"%d" % value for value in PIXELS.ravel()))):
        image = soon(kind + b"\n" + comment + b"12" + b" 9" + b"\n" + comment + b"255\n" + body)
        assert np.array_equal(image.pixels, PIXELS), kind


def test_text_ppm_of_a_comment_after_each_value_is_read():
    values = b"".join(b"%d#%s\n" % (value, b"\n#" * 2000) for value in PIXELS.ravel())
    assert np.array_equal(soon(b"P3 12 9 255\n" + values).pixels, PIXELS)


def test_avif_of_boxes_without_end_is_read():
    image = soon(saved("avif") + b"\0\0\0\x08free" * 400_000)
    assert np.array_equal(image.pixels, read(saved("avif")).pixels)
