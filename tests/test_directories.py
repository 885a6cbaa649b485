"""Which picture of a TIFF file is read: the full one, never a small copy of it in silence."""

import io
import itertools
import struct

import numpy as np
import pytest

from unshrink.errors import ImageError
from unshrink.pictures.directories import directories
from unshrink.pictures.image import Image
from unshrink.pictures.io import read, write

tifffile = pytest.importorskip("tifffile")

FULL = np.random.default_rng(0).integers(0, 256, (60, 80, 3), np.uint8)
SMALL = np.ascontiguousarray(FULL[::4, ::4])
MOSAIC = FULL[..., 0].astype(np.uint16)
COPY = "the first picture in the file is a copy of 20x15 pixels; the full one was read"


def tiff(*pages, **options) -> bytes:
    """A file of pages: each its pixels, its subfile type, the number of those behind it that it holds, and others."""
    stream = io.BytesIO()
    with tifffile.TiffWriter(stream, **options) as writer:
        for pixels, kind, subs, *more in pages:
            given = {"photometric": "rgb" if pixels.ndim == 3 else "minisblack"} | dict(*more)
            writer.write(pixels, subfiletype=kind, subifds=subs, metadata=None, **given)
    return stream.getvalue()


ORDERS = [{"byteorder": order, "bigtiff": big} for order, big in itertools.product("<>", (False, True))]


@pytest.mark.parametrize("options", ORDERS)
@pytest.mark.parametrize("depth", [8, 16])
def test_the_full_picture_behind_a_copy_is_read(options, depth):
    full = FULL.astype(f"u{depth // 8}") * (257 if depth == 16 else 1)
    for file in (tiff((SMALL, 1, 1), (full, 0, 0), **options), tiff((SMALL, 1, 0), (full, 0, 0), **options)):
        image = read(file)
        np.testing.assert_array_equal(image.pixels, full)
        assert image.notes == (COPY,)


def test_a_copy_that_does_not_say_so_is_told_by_the_larger_picture_in_it():
    np.testing.assert_array_equal(read(tiff((SMALL, 0, 1), (FULL, 0, 0))).pixels, FULL)


def test_what_describes_the_picture_may_stand_with_the_copy():
    first = {"extratags": [(274, 3, 1, 6, True), (34675, 7, 3, b"icc", True)], "resolution": (72, 72)}
    image = read(tiff((SMALL, 1, 1, first), (FULL, 0, 0, {"resolution": (300, 300)})))
    assert (image.icc, image.dpi) == (b"icc", (300, 300))
    assert image.exif.count(b"\x12\x01\x03\0") == 1, "the orientation"


def test_copies_behind_the_picture_are_no_pages():
    image = read(tiff((FULL, 0, 1), (SMALL, 1, 0), (SMALL, 1, 0), (SMALL[..., 0] > 99, 5, 0, {"photometric": "mask"})))
    np.testing.assert_array_equal(image.pixels, FULL)
    assert image.notes == ()
    assert read(tiff((FULL, 0, 0), (FULL, 0, 0))).notes == ("only the first of several pages was read",)


def test_a_copy_alone_is_a_picture():
    image = read(tiff((SMALL, 1, 0)))
    np.testing.assert_array_equal(image.pixels, SMALL)
    assert image.notes == ()


@pytest.mark.parametrize("options", ORDERS)
@pytest.mark.parametrize("pixels, photometric", [(MOSAIC, "cfa"), (FULL, "linear_raw")])
def test_raw_files_are_refused(options, pixels, photometric):
    raw = (pixels, 0, 0, {"photometric": photometric})
    for file in (tiff((SMALL, 1, 1), raw, **options), tiff((SMALL, 1, 0), raw, **options), tiff(raw, **options)):
        with pytest.raises(ImageError, match="raw file of a camera, whose picture of 80x60 pixels is not developed"):
            read(file)


def test_a_raw_file_of_canon_is_known_by_its_header():
    stream = io.BytesIO()
    write(Image(SMALL), stream, format="tiff")
    file = stream.getvalue()
    moved = b"II*\0" + struct.pack("<I", len(file)) + b"CR\2\0" + file[12:] + file[8:-4]
    with pytest.raises(ImageError, match="raw file"):
        read(moved)


def test_the_raw_file_of_the_cases(cases):
    with pytest.raises(ImageError, match="raw file of a camera, whose picture of 201x133 pixels"):
        read(cases / "rawlike.dng")


def test_the_limit_is_on_the_picture_that_is_read():
    file = tiff((SMALL, 1, 1), (FULL, 0, 0))
    assert read(file, max_pixels=4800).size == (80, 60)
    with pytest.raises(ImageError, match="80 x 60 pixels are more than the limit of 4,799"):
        read(file, max_pixels=4799)


def test_a_chain_that_bites_its_tail_ends():
    file = bytearray(tiff((SMALL, 0, 0), (FULL, 0, 0)))
    found = directories(io.BytesIO(file))
    last = found[1].offset
    (count,) = struct.unpack_from("<H", file, last)
    struct.pack_into("<I", file, last + 2 + 12 * count, found[0].offset)
    assert len(directories(io.BytesIO(file))) == 2
    struct.pack_into("<I", file, last + 2 + 12 * count, len(file) - 1)
    assert len(directories(io.BytesIO(file))) == 2, "what is damaged behind the picture does no harm to it"


KINDS = {
    "LAB colours": (FULL, {"photometric": "cielab"}),
    "ICC LAB colours": (FULL, {"photometric": "icclab"}),
    "LogLuv": (FULL, {"photometric": "logluv"}),
    "32-bit floating point": (MOSAIC.astype(np.float32), {}),
    "64-bit floating point": (MOSAIC.astype(np.float64), {}),
    "64-bit complex numbers": (MOSAIC.astype(np.complex64), {}),
    "64-bit samples": (MOSAIC.astype(np.uint64), {}),
    "16-bit whole numbers with a sign": (MOSAIC.astype(np.int16), {}),
}


@pytest.mark.parametrize("kind", KINDS)
def test_sound_files_of_other_kinds_are_not_called_damaged(kind):
    pixels, options = KINDS[kind]
    with pytest.raises(ImageError, match=rf"this kind of TIFF is not supported \({kind}\); save it as"):
        read(tiff((pixels, 0, 0, options)))


def test_a_compression_that_is_not_supported_is_no_damage():
    with pytest.raises(ImageError, match=r"its compression is not supported .*LZMA.*; save it as PNG"):
        read(tiff((FULL, 0, 0, {"compression": "lzma"})))


def test_the_lab_file_of_the_cases(cases):
    with pytest.raises(ImageError, match=r"not supported \(LAB colours\)"):
        read(cases / "lab_pil.tif")
