"""read and write: nothing is lost, nothing is silent, and whatever is wrong is an ImageError of one line."""

import dataclasses
import errno
import gc
import io
import os
import struct
import subprocess
import sys
import time
import warnings
import zlib

import numpy as np
import PIL.Image
import pytest
import pyvips
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import ImageCms, ImageOps

from unshrink.errors import ImageError
from unshrink.pictures.formats import WRITTEN, of_path
from unshrink.pictures.image import Image
from unshrink.pictures.io import read, scan, write
from unshrink.pictures.pillow import from_pil, to_pil
from unshrink.pictures.vips import _pyvips

SRGB = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
XMP = b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><!-- \xc3\xa4 --></x:xmpmeta>'
BLOCKS = ("icc", "exif", "xmp")
LOSSLESS = [name for name, row in WRITTEN.items() if row.lossless]
LOSSY = [name for name, row in WRITTEN.items() if not row.lossless]


def exif_block(orientation=6, artist="J\u00fcrgen", big=False) -> bytes:
    exif = PIL.Image.Exif()
    exif.endian = ">" if big else "<"
    exif[0x0112], exif[0x013B] = orientation, artist.encode()
    exif.get_ifd(0x8769)[0x9286] = b"ASCII\0\0\0a comment"
    exif.get_ifd(0x8825)[2] = (48.0, 8.0, 14.25)
    return exif.tobytes()[6:]


def noise(height, width, channels, depth=8, seed=0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 2**depth, (height, width, channels), f"uint{depth}")


def full(height=5, width=7, channels=3, depth=8) -> Image:
    return Image(noise(height, width, channels, depth), SRGB, exif_block(), XMP, (300.0, 300.0))


def encoded(image, form="png", **options) -> bytes:
    stream = io.BytesIO()
    write(image, stream, format=form, **options)
    return stream.getvalue()


def as_pil_saves(pil, form, **options) -> bytes:
    stream = io.BytesIO()
    pil.save(stream, form, **options)
    return stream.getvalue()


def assert_same(read_back, image):
    assert read_back.pixels.dtype == image.pixels.dtype
    np.testing.assert_array_equal(read_back.pixels, image.pixels)
    for block in BLOCKS:
        assert getattr(read_back, block) == getattr(image, block), block
    assert read_back.dpi == (image.dpi and pytest.approx(image.dpi, rel=1e-3))
    assert read_back.notes == ()


# ---- round trips ----------------------------------------------------------------------------------------------------

blocks = st.fixed_dictionaries(
    {},
    optional={
        "icc": st.just(SRGB) | st.binary(min_size=1, max_size=300),
        "exif": st.builds(exif_block, st.integers(1, 8), st.text(max_size=5), st.booleans())
        | st.binary(max_size=60).map(b"MM\0*".__add__),
        "xmp": st.just(XMP) | st.binary(min_size=1, max_size=300),
        "dpi": st.tuples(st.floats(20, 5000), st.floats(20, 5000)),
    },
)


@st.composite
def images(draw, depths=(8, 16)):
    height, width, channels = draw(st.integers(1, 9)), draw(st.integers(1, 9)), draw(st.integers(1, 4))
    pixels = noise(height, width, channels, draw(st.sampled_from(depths)), draw(st.integers(0, 99)))
    if draw(st.booleans()):  # extremes, and transparent pixels that have a colour
        pixels[draw(st.integers(0, height - 1))] = draw(st.sampled_from([0, np.iinfo(pixels.dtype).max]))
        pixels[..., -1].flat[0] = 0
    return Image(pixels, **draw(blocks))


@pytest.mark.parametrize("form", ["png", "tiff"])
@given(image=images())
@settings(max_examples=60, deadline=None)
def test_png_and_tiff_keep_everything(form, image):
    assert_same(read(encoded(image, form)), image)


@pytest.mark.filterwarnings("ignore:webp cannot hold its resolution")
@given(image=images(depths=(8,)))
@settings(max_examples=60, deadline=None)
def test_webp_keeps_everything_but_grey_and_resolution(image):
    rgba = lambda image: np.asarray(to_pil(image).convert("RGBA"))
    back = read(encoded(image, "webp"))
    np.testing.assert_array_equal(rgba(back), rgba(image))
    assert back.pixels.shape[2] in (3, 4)
    for block in BLOCKS:
        assert getattr(back, block) == getattr(image, block)


@pytest.mark.parametrize("form, depth", [("png", 8), ("png", 16), ("tiff", 8), ("tiff", 16), ("webp", 8)])
@pytest.mark.parametrize("channels", [1, 2, 3, 4])
def test_a_larger_picture(form, depth, channels):
    """More than one strip, more than one IDAT chunk."""
    pixels = noise(300, 513, channels, depth)
    back = read(encoded(Image(pixels), form)).pixels
    if form == "webp" and channels < 3:  # no grey there
        assert (back[..., :3] == pixels[..., :1]).all()
        back = back[..., [0, 3][:channels]]
    np.testing.assert_array_equal(back, pixels)


@pytest.mark.parametrize("form", LOSSY)
@pytest.mark.parametrize("channels", [1, 3])
def test_lossy_formats_are_close_and_keep_the_blocks(form, channels):
    ramp = np.repeat(np.linspace(30, 220, 64).astype(np.uint8)[None, :, None], 48, 0).repeat(channels, 2)
    image = dataclasses.replace(full(), pixels=ramp)
    back = read(encoded(image, form, lossy=True))
    assert np.abs(back.pixels.astype(int) - ramp).max() <= 4
    assert (back.icc, back.xmp) == (image.icc, image.xmp)
    assert PIL.Image.open(io.BytesIO(encoded(image, form, lossy=True))).getexif()[0x0112] == 6
    if form == "jpeg":
        assert back.exif == image.exif
        assert back.dpi == image.dpi


def test_writing_reads_like_any_other_file_to_pillow():
    for form in LOSSLESS:
        for depth in (8, 16) if form != "webp" else (8,):
            image = full(depth=depth)
            pil = PIL.Image.open(io.BytesIO(encoded(image, form)))
            assert pil.info["icc_profile"] == SRGB
            assert pil.info["xmp"] == XMP
            exif = pil.getexif()
            assert exif[0x0112] == 6
            assert exif[0x013B].encode("latin-1").decode() == "J\u00fcrgen"  # Pillow takes every text for Latin-1
            assert exif.get_ifd(0x8769)[0x9286] == b"ASCII\0\0\0a comment"
            assert exif.get_ifd(0x8825)[2] == (48.0, 8.0, 14.25)
            if form != "webp":
                assert pil.info["dpi"] == pytest.approx(image.dpi, rel=1e-3)
            if depth == 8:
                upright = np.asarray(ImageOps.exif_transpose(pil))
                np.testing.assert_array_equal(upright, np.rot90(image.pixels, -1))


def test_tiff_is_read_alike_by_another_program():
    tifffile = pytest.importorskip("tifffile")
    for channels in (1, 2, 3, 4):
        for depth in (8, 16):
            image = dataclasses.replace(full(), pixels=noise(9, 11, channels, depth))
            with tifffile.TiffFile(io.BytesIO(encoded(image, "tiff"))) as file:
                page = file.pages[0]
                np.testing.assert_array_equal(page.asarray().reshape(image.pixels.shape), image.pixels)
                assert page.tags[34675].value == SRGB
                assert page.tags[274].value == 6
                resource = b"8BIM\x04\x22\0\0" + struct.pack(">I", len(image.exif)) + image.exif
                assert page.tags[34377].value == resource
                assert [int(sample) for sample in page.extrasamples] == ([2] if image.alpha else [])


@pytest.mark.parametrize("big", [False, True])
@pytest.mark.parametrize("height", [1, 300])
def test_the_strips_of_a_tiff_fill_it_from_its_directory_to_its_end(monkeypatch, big, height):
    tifffile = pytest.importorskip("tifffile")
    monkeypatch.setattr("unshrink.pictures.tiff._MOST_BYTES", 0 if big else 1 << 32)
    image = dataclasses.replace(full(), pixels=noise(height, 700, 3, 16))
    stream = io.BytesIO(b"before")
    stream.seek(6)
    write(image, stream, format="tiff")
    data = stream.getvalue()[6:]
    with tifffile.TiffFile(io.BytesIO(data)) as file:
        page = file.pages[0]
        assert (file.is_bigtiff, page.offset) == (big, 16 if big else 8)
        np.testing.assert_array_equal(page.asarray(), image.pixels)
        ends = np.add(page.dataoffsets, page.databytecounts)
        assert list(page.dataoffsets[1:]) == list(ends[:-1])
        assert ends[-1] == len(data)
        exif = page.tags[34665].value  # a directory of its own, which must not be beneath the strips
        assert exif["UserComment"] == "a comment"
        assert page.dataoffsets[0] >= max(tag.valueoffset for tag in page.tags if tag.code != 273)


# ---- reading --------------------------------------------------------------------------------------------------------


def png_chunk(kind, body):
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def png(width, height, bits, colour, rows, *extra):
    header = png_chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, bits, colour, 0, 0, 0))
    pixels = png_chunk(b"IDAT", zlib.compress(rows))
    return b"\x89PNG\r\n\x1a\n" + header + b"".join(extra) + pixels + png_chunk(b"IEND", b"")


def decode_png(data: bytes) -> np.ndarray:
    """PNG of 8 or 16 bits without palette, interlacing and colour key, by the book: an independent reference."""
    position, stream = 8, b""
    while position < len(data):
        length, kind = struct.unpack_from(">I4s", data, position)
        body = data[position + 8 : position + 8 + length]
        if kind == b"IHDR":
            width, height, bits, colour, _, _, interlaced = struct.unpack(">IIBBBBB", body)
            assert not interlaced
        stream += body if kind == b"IDAT" else b""
        position += 12 + length
    channels, step = {0: 1, 2: 3, 4: 2, 6: 4}[colour], {0: 1, 2: 3, 4: 2, 6: 4}[colour] * bits // 8
    raw = np.frombuffer(zlib.decompress(stream), np.uint8).reshape(height, 1 + width * step)
    previous, rows = [0] * (width * step), []
    for kind, *filtered in raw.tolist():
        row = []
        for i, value in enumerate(filtered):
            a, b, c = row[i - step] if i >= step else 0, previous[i], previous[i - step] if i >= step else 0
            paeth = min((a, b, c), key=lambda x: abs(a + b - c - x))
            row.append((value + (0, a, b, (a + b) // 2, paeth)[kind]) % 256)
        rows.append(row)
        previous = row
    return np.array(rows, np.uint8).view(f">u{bits // 8}").reshape(height, width, channels)


SIXTEEN = {"gray16_crowd": 1, "rgb16_bridge": 3, "rgba16_ramp_alpha": 4, "pngsuite_basn6a16": 4}


@pytest.mark.parametrize("name", SIXTEEN)
def test_real_16_bit_files_are_exact(data, name):
    source = (data / "test" / "Formats" / f"{name}.png").read_bytes()
    image = read(source)
    assert (image.depth, image.pixels.shape[2]) == (16, SIXTEEN[name])
    np.testing.assert_array_equal(image.pixels, decode_png(source))


def test_what_we_write_is_what_an_independent_decoder_reads():
    for channels in (1, 2, 3, 4):
        for depth in (8, 16):
            image = dataclasses.replace(full(), pixels=noise(13, 17, channels, depth))
            np.testing.assert_array_equal(decode_png(encoded(image)), image.pixels)


def test_interlaced_16_bit(data):
    """PngSuite holds the same picture twice."""
    interlaced = read(data / "test" / "Formats" / "pngsuite_basi0g16.png")
    plain = decode_png((data / "hostile" / "100_basn0g16.png").read_bytes())
    np.testing.assert_array_equal(interlaced.pixels, plain)


def test_every_real_file_reads_as_pillow_reads_it(data):
    files = sorted((data / "test" / "Formats").iterdir())
    assert len(files) >= 35
    for path in files:
        image, pil = read(path), PIL.Image.open(path)
        assert image.size == pil.size, path
        if image.depth == 8 and pil.mode != "CMYK":
            mode = ["L", "LA", "RGB", "RGBA"][image.pixels.shape[2] - 1]
            np.testing.assert_array_equal(np.asarray(to_pil(image)), np.asarray(pil.convert(mode)), str(path))


@pytest.mark.parametrize("channels", [1, 2, 3, 4])
@pytest.mark.parametrize("byteorder", ["<", ">"])
def test_16_bit_tiff_of_another_writer(channels, byteorder):
    tifffile = pytest.importorskip("tifffile")
    pixels, stream = noise(6, 5, channels, 16), io.BytesIO()
    kind = {"photometric": "rgb" if channels > 2 else "minisblack"}
    if channels > 1:
        kind["planarconfig"] = "contig"
    if channels in (2, 4):
        kind["extrasamples"] = ["unassalpha"]
    tifffile.imwrite(stream, pixels if channels > 1 else pixels[..., 0], byteorder=byteorder, **kind)
    np.testing.assert_array_equal(read(stream.getvalue()).pixels, pixels)


def test_premultiplied_tiff_becomes_straight_with_a_note():
    tifffile = pytest.importorskip("tifffile")
    stream = io.BytesIO()
    tifffile.imwrite(stream, np.full((2, 2, 4), 100, np.uint8), photometric="rgb", extrasamples=["assocalpha"])
    image = read(stream.getvalue())
    assert image.pixels[0, 0].tolist() == [255, 255, 255, 100]
    assert image.notes == ("premultiplied alpha was converted to straight alpha",)


TRANSPARENT = {
    "grey": (png(2, 1, 8, 0, b"\0\5\6", png_chunk(b"tRNS", b"\0\5")), [[5, 0], [6, 255]]),
    "grey of 2 bits": (png(2, 1, 2, 0, b"\0\x10", png_chunk(b"tRNS", b"\0\1")), [[0, 255], [85, 0]]),
    "grey of 16 bits": (png(2, 1, 16, 0, b"\0\1\5\1\6", png_chunk(b"tRNS", b"\1\5")), [[261, 0], [262, 65535]]),
    "RGB": (png(2, 1, 8, 2, bytes(range(7)), png_chunk(b"tRNS", b"\0\1\0\2\0\3")), [[1, 2, 3, 0], [4, 5, 6, 255]]),
    "palette": (
        png(2, 1, 1, 3, b"\0\x40", png_chunk(b"PLTE", bytes(range(6))), png_chunk(b"tRNS", b"\x80")),
        [[0, 1, 2, 128], [3, 4, 5, 255]],
    ),
}


@pytest.mark.parametrize("kind", TRANSPARENT)
def test_colour_keys_become_alpha(kind):
    source, expected = TRANSPARENT[kind]
    image = read(source)
    assert image.pixels[0].tolist() == expected
    assert image.notes == (("the palette was expanded to full colour",) if kind == "palette" else ())


@pytest.mark.parametrize("bits", [1, 2, 4])
def test_few_bits_of_grey_are_stretched(bits):
    image = read(png(1, 2**bits, bits, 0, b"".join(bytes([0, v << (8 - bits)]) for v in range(2**bits))))
    np.testing.assert_array_equal(image.pixels[:, 0, 0], np.linspace(0, 255, 2**bits))
    assert image.notes == ()


@pytest.mark.parametrize("form", ["JPEG", "WebP", "AVIF", "PNG", "TIFF"])
def test_pixels_stay_as_stored_and_the_orientation_is_in_exif(form):
    exif = PIL.Image.Exif()
    exif[0x0112] = 6
    pixels = noise(20, 30, 3)
    options = {"lossless": True} if form == "WebP" else {}
    image = read(as_pil_saves(PIL.Image.fromarray(pixels), form, exif=exif, **options))
    assert image.size == (30, 20)
    if form in ("WebP", "PNG", "TIFF"):
        np.testing.assert_array_equal(image.pixels, pixels)
    restored = exif_of(image)
    assert restored[0x0112] == 6


def exif_of(image):
    exif = PIL.Image.Exif()
    exif.load(image.exif)
    return exif


@pytest.mark.parametrize("bigtiff", [False, True])
def test_tiff_entries_become_exif(bigtiff):
    tifffile = pytest.importorskip("tifffile")
    stream = io.BytesIO()
    entries = [(274, 3, 1, 8, True), (315, 2, 0, "J\u00fcrgen".encode(), True)]
    tifffile.imwrite(stream, noise(4, 6, 3), photometric="rgb", bigtiff=bigtiff, extratags=entries)
    image = read(stream.getvalue())
    assert image.size == (6, 4)
    assert exif_of(image)[0x0112] == 8
    assert "J\u00fcrgen".encode() in image.exif


def test_tiff_directories_become_exif_without_loose_ends():
    exif = PIL.Image.Exif()
    exif.load(exif_block())
    exif.get_ifd(0x8769)[0xA005] = {1: "R98"}  # a directory inside, which is not carried over
    image = read(as_pil_saves(PIL.Image.fromarray(noise(4, 6, 3)), "TIFF", exif=exif))
    inner = exif_of(image).get_ifd(0x8769)
    assert (inner[0x9286], 0xA005 in inner) == (b"ASCII\0\0\0a comment", False)
    assert exif_of(image).get_ifd(0x8825)[2] == (48.0, 8.0, 14.25)


def test_tiff_turned_by_another_program_is_believed():
    """The stored block says 6; a program that turns the picture changes the entry of the file alone."""
    source = encoded(full(), "tiff")
    entry = struct.pack("<HHII", 274, 3, 1, 6)
    assert source.count(entry) == 2  # of the file, and in the block
    turned = source.replace(entry, struct.pack("<HHII", 274, 3, 1, 3), 1)
    assert exif_of(read(turned))[0x0112] == 3


def test_damaged_exif_still_travels():
    for form in LOSSLESS:
        image = Image(noise(3, 3, 3), exif=b"II*\0\xff\xff\xff\xffgarbage")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Pillow's, about what it found
            assert read(encoded(image, form)).exif == image.exif


@pytest.mark.parametrize("compressed", [False, True])
def test_png_metadata_of_older_programs(compressed):
    def text(keyword, name, content):
        hexadecimal = f"\n{name}\n{len(content):8}\n{content.hex()}\n".encode()
        if compressed:
            return png_chunk(b"zTXt", keyword + b"\0\0" + zlib.compress(hexadecimal))
        return png_chunk(b"tEXt", keyword + b"\0" + hexadecimal)

    source = png(
        1, 1, 8, 0, b"\0\7",
        text(b"Raw profile type exif", "exif", b"Exif\0\0" + exif_block()), text(b"Raw profile type xmp", "xmp", XMP),
    )  # fmt: skip
    assert (read(source).exif, read(source).xmp) == (exif_block(), XMP)


def test_png_metadata_after_the_pixels_and_damaged_metadata():
    plain = encoded(Image(noise(2, 2, 3)))
    late = plain[:-12] + png_chunk(b"eXIf", exif_block()) + plain[-12:]
    assert read(late).exif == exif_block()
    damaged = png(1, 1, 8, 0, b"\0\7", png_chunk(b"iCCP", b"x\0\0nothing"), png_chunk(b"eXIf", b"nothing"))
    assert (read(damaged).icc, read(damaged).exif) == (None, None)


def test_png_chunks_that_libpng_would_refuse():
    plain = encoded(Image(noise(2, 2, 3)))
    assert read(plain[:33] + png_chunk(b"a1bc", b"not even a name") + plain[33:]).size == (2, 2)


def test_resolutions_that_mean_nothing():
    assert read(png(1, 1, 8, 0, b"\0\7", png_chunk(b"pHYs", struct.pack(">IIB", 3000, 3000, 1)))).dpi == (76.2, 76.2)
    for x, unit in ((3000, 0), (0, 1), (2**32 - 1, 1)):
        assert read(png(1, 1, 8, 0, b"\0\7", png_chunk(b"pHYs", struct.pack(">IIB", x, x, unit)))).dpi is None
    for dpi in ((0, 72), (float("nan"), 72), (72, float("inf")), (2**32, 72), (-1, 72), "none"):
        pil = PIL.Image.new("L", (1, 1))
        pil.info["dpi"] = dpi
        assert from_pil(pil).dpi is None


def test_a_metadata_bomb_is_left_out():
    bomb = zlib.compress(bytes(200 << 20), 9)
    start = time.process_time()
    assert read(png(1, 1, 8, 0, b"\0\7", png_chunk(b"iCCP", b"x\0\0" + bomb))).icc is None
    assert time.process_time() - start < 5


def test_cmyk_through_its_profile_and_without(data):
    path = data / "test" / "Formats" / "cmyk_q95.jpg"
    plain = read(path)
    assert plain.notes == ("CMYK was converted to RGB without a colour profile",)
    np.testing.assert_array_equal(plain.pixels, np.asarray(PIL.Image.open(path).convert("RGB")))
    unusable = as_pil_saves(PIL.Image.open(path), "JPEG", icc_profile=SRGB)  # a profile, but of RGB
    assert read(unusable).notes == plain.notes
    assert read(unusable).icc is None


def cmyk_profile() -> bytes:
    """A minimal CMYK profile: its table maps every ink to the same Lab colour."""
    lut = b"mft1" + bytes(4) + bytes([4, 3, 2, 0]) + struct.pack(">9i", *[65536, 0, 0, 0, 65536, 0, 0, 0, 65536])
    lut += bytes(range(256)) * 4 + bytes([128, 200, 128]) * 16 + bytes(range(256)) * 3
    tags = {b"desc": b"desc" + bytes(4) + struct.pack(">I", 2) + b"x\0" + bytes(78), b"A2B0": lut, b"A2B1": lut}
    table, body = struct.pack(">I", len(tags)), b""
    for name, content in tags.items():
        table += name + struct.pack(">II", 132 + 12 * len(tags) + len(body), len(content))
        body += content + bytes(-len(content) % 4)
    head = struct.pack(">I4sI4s4s4s", 132 + 12 * len(tags) + len(body), b"lcms", 0x02400000, b"prtr", b"CMYK", b"Lab ")
    return (
        (head + bytes(12) + b"acsp" + bytes(28) + struct.pack(">3I", 0xF6D6, 0x10000, 0xD32D)).ljust(128, b"\0")
        + table
        + body
    )


def test_cmyk_profile_is_used():
    pil = PIL.Image.new("CMYK", (4, 4), (10, 20, 30, 40))
    for form in ("JPEG", "TIFF"):
        image = read(as_pil_saves(pil, form, icc_profile=cmyk_profile()))
        assert image.notes == ("CMYK was converted to sRGB through its colour profile, which was dropped",)
        assert image.icc is None
        red, green, _ = image.pixels[0, 0].astype(int)  # L 50, a 72, b 0: a strong pink
        assert red > 150
        assert green < 100


def animation(form):
    frames = [PIL.Image.fromarray(noise(8, 8, 3, seed=seed)) for seed in (1, 2)]
    return as_pil_saves(frames[0], form, save_all=True, append_images=frames[1:])


@pytest.mark.parametrize("form", ["GIF", "WebP", "PNG", "AVIF", "TIFF", "MPO"])
def test_of_several_pictures_the_first_is_read_and_said_so(form):
    image = read(animation(form))
    assert any("first" in note for note in image.notes)
    if form in ("PNG", "TIFF"):
        np.testing.assert_array_equal(image.pixels, noise(8, 8, 3, seed=1))


def avif(bits, orientation=1):
    import pyvips

    ramp = np.linspace(0, 65535, 64 * 32).astype(np.uint16).reshape(32, 64, 1).repeat(3, 2)
    picture = pyvips.Image.new_from_array(ramp, interpretation="rgb16").copy()
    picture.set_type(pyvips.GValue.gint_type, "orientation", orientation)
    return ramp, picture.heifsave_buffer(compression="av1", bitdepth=bits, lossless=True, effort=0)


@pytest.mark.parametrize("bits", [10, 12])
def test_avif_of_many_bits_is_kept(bits):
    ramp, source = avif(bits)
    image = read(source)
    assert image.depth == 16
    step = 65535 / (2**bits - 1)
    assert (
        np.abs(image.pixels - ramp.astype(float)).max() <= 2.5 * step
    )  # colour conversion; 8 bits would err by 16 steps
    np.testing.assert_array_equal(np.rint(np.rint(image.pixels / step) * step), image.pixels)
    assert image.pixels.max() > 65535 - 3 * step  # white stays white
    assert image.notes == ()


def test_avif_of_8_bits():
    assert read(avif(8)[1]).depth == 8


def test_turned_avif_of_many_bits_is_cut_with_a_note():
    ramp, source = avif(10, orientation=6)
    image = read(source)
    assert (image.depth, exif_of(image)[0x0112]) == (8, 6)
    assert np.abs(image.pixels.astype(float) - ramp / 257).max() <= 3
    assert image.notes == ("the 10 or 12 bits a channel were cut to 8",)


@pytest.mark.parametrize("maximum", [255, 1023, 65535])
@pytest.mark.parametrize("magic, channels", [(b"P5", 1), (b"P6", 3)])
def test_ppm(magic, channels, maximum):
    dtype = ">u2" if maximum > 255 else ">u1"
    values = np.random.default_rng(0).integers(0, maximum + 1, (3, 4, channels)).astype(dtype)
    image = read(b"%s\n# a comment\n4 3\n%d\n%s" % (magic, maximum, values.tobytes()))
    top = 65535 if maximum > 255 else 255
    np.testing.assert_array_equal(image.pixels, np.rint(values * (top / maximum)))
    assert image.depth == (16 if maximum > 255 else 8)


def test_bmp_and_gif():
    pil = PIL.Image.fromarray(noise(5, 6, 3))
    np.testing.assert_array_equal(read(as_pil_saves(pil, "BMP")).pixels, np.asarray(pil))
    gif = as_pil_saves(pil.quantize(16), "GIF")
    np.testing.assert_array_equal(read(gif).pixels, np.asarray(PIL.Image.open(io.BytesIO(gif)).convert("RGB")))


def test_sources(tmp_path):
    path = tmp_path / "a.jpg"  # the content decides, not the name
    path.write_bytes(encoded(full()))
    for source in (path, str(path), path.read_bytes(), io.BytesIO(path.read_bytes()), path.open("rb")):
        assert_same(read(source), full())


# ---- refusing -------------------------------------------------------------------------------------------------------


def refusal(source, **options) -> str:
    with pytest.raises(ImageError) as caught:
        read(source, **options)
    message = str(caught.value)
    assert "\n" not in message
    assert ";" in message  # what was met; what to do
    return message


def test_what_is_no_picture(tmp_path):
    assert "empty" in refusal(b"")
    assert "not a PNG, WebP" in refusal(b"hello")
    assert "not a PNG, WebP" in refusal(b"<svg xmlns='http://www.w3.org/2000/svg'/>")
    assert "No such file" in refusal(tmp_path / "none.png")
    assert str(tmp_path / "none.png") in refusal(tmp_path / "none.png")
    assert "folder" in refusal(tmp_path)
    assert "device" in refusal(os.devnull)


def test_no_permission(tmp_path, monkeypatch):
    path = tmp_path / "a.png"
    path.write_bytes(encoded(full()))

    def refuse(*_, **__):
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr("builtins.open", refuse)
    assert "Permission denied" in refusal(path)


def test_too_little_memory(monkeypatch):
    def exhaust(*_):
        raise MemoryError

    monkeypatch.setattr("unshrink.pictures.png.decode", exhaust)
    assert "not enough memory" in refusal(encoded(full()))


@pytest.mark.parametrize("form", ["PNG", "JPEG", "WebP", "TIFF", "AVIF", "BMP", "GIF", "PPM"])
def test_a_file_that_is_cut_off_is_refused(form):
    source = as_pil_saves(PIL.Image.fromarray(noise(64, 64, 3)), form)
    assert read(source).size == (64, 64)
    for kept in (0.02, 0.3, 0.6, 0.9, 0.97):
        refusal(source[: int(len(source) * kept)])


@pytest.mark.parametrize("form", ["png", "tiff", "webp"])
def test_a_16_bit_or_lossless_file_that_is_cut_off_is_refused(form):
    source = encoded(Image(noise(64, 64, 3, 8 if form == "webp" else 16)), form)
    for kept in (0.3, 0.6, 0.9, 0.99):
        refusal(source[: int(len(source) * kept)])


def test_damaged_pixels_are_refused():
    source = bytearray(encoded(Image(noise(64, 64, 3))))
    source[len(source) // 2] ^= 255
    refusal(bytes(source))


def bomb(form, side=60_000) -> bytes:
    match form:
        case "png":
            return png(side, side, 8, 2, b"")
        case "bmp":
            return b"BM" + struct.pack("<IIIIiiHHIIIIII", 54, 0, 54, 40, side, side, 1, 24, 0, 0, 0, 0, 0, 0)
        case "ppm":
            return b"P6 %d %d 255\n" % (side, side)
        case "tiff":
            source = encoded(Image(noise(1, 1, 3)), "tiff")
            for tag in (256, 257):
                source = source.replace(struct.pack("<HHII", tag, 4, 1, 1), struct.pack("<HHII", tag, 4, 1, side))
            return source
    raise AssertionError(form)


@pytest.mark.parametrize("form", ["png", "bmp", "ppm", "tiff"])
def test_bombs_are_refused_before_decoding(form):
    start = time.process_time()
    message = refusal(bomb(form))
    assert "60000 x 60000 pixels" in message
    assert "`max_pixels`" in message
    assert time.process_time() - start < 2


def test_the_limit_is_exact_and_can_be_raised():
    for form in ("PNG", "JPEG", "WebP", "TIFF", "AVIF", "BMP", "GIF", "PPM"):
        source = as_pil_saves(PIL.Image.fromarray(noise(16, 20, 3)), form)
        assert "limit of 319" in refusal(source, max_pixels=319)
        assert read(source, max_pixels=320).size == (20, 16)


@pytest.mark.filterwarnings("error::ResourceWarning")
@pytest.mark.filterwarnings("error::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize("form", ["PNG", "JPEG", "WebP", "TIFF", "AVIF", "BMP", "GIF", "PPM"])
def test_no_file_stays_open(tmp_path, form):
    path, opened = tmp_path / "picture", []
    PIL.Image.fromarray(noise(300, 400, 3)).save(path, form)

    def open_and_note(*args):
        opened.append(open(*args))  # noqa: SIM115
        return opened[-1]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("unshrink.pictures.io.open", open_and_note, raising=False)
        read(path)
        scan(path)  # and nobody asks for its pixels
        next(iter(scan(path).pixels))
        refusal(path, max_pixels=10)
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
        refusal(path)
    gc.collect()
    assert [stream.closed for stream in opened] == [True] * 5


@pytest.mark.parametrize("name", [b"photo.png", b"/photos/a photo.JPG", os.fsencode(__file__)])
def test_bytes_that_are_the_name_of_a_file(name):
    assert "these are its name; give os.fsdecode(name)" in refusal(name)


def test_loaders_that_libvips_does_not_trust_are_blocked():
    drawing = b"<svg xmlns='http://www.w3.org/2000/svg' width='4' height='4'></svg>"
    pyvips.block_untrusted_set(False)
    assert pyvips.Image.new_from_buffer(drawing, "").width == 4, "this libvips has one"
    _pyvips.cache_clear()
    read(encoded(full()))
    with pytest.raises(pyvips.Error):
        pyvips.Image.new_from_buffer(drawing, "")


def test_pillows_own_limit_is_not_in_the_way(monkeypatch):
    monkeypatch.setattr(PIL.Image, "MAX_IMAGE_PIXELS", 10)
    for form in ("PNG", "JPEG", "TIFF", "AVIF", "BMP", "PPM"):
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            assert read(as_pil_saves(PIL.Image.fromarray(noise(16, 20, 3)), form)).size == (20, 16)


def test_unsupported_kinds_say_what_is_allowed():
    tifffile = pytest.importorskip("tifffile")
    for dtype in (np.float32, np.uint32, np.int16):
        stream = io.BytesIO()
        tifffile.imwrite(stream, np.zeros((4, 4), dtype))
        assert "grey or RGB of 8 or 16 bit" in refusal(stream.getvalue())
    assert "PNG or TIFF" in refusal(b"P3 1 1 65535 1 2 3")


HOSTILE = """
import sys, time, warnings
from pathlib import Path
from unshrink.errors import ImageError
from unshrink.pictures.image import Image
from unshrink.pictures.io import read
warnings.simplefilter("ignore")
counts, slowest = {"read": 0, "refused": 0}, 0.0
for path in sorted(Path(sys.argv[1]).iterdir()):
    start = time.process_time()
    try:
        assert isinstance(read(path), Image)
        counts["read"] += 1
    except ImageError as error:
        assert "\\n" not in str(error) and ";" in str(error), error
        counts["refused"] += 1
    slowest = max(slowest, time.process_time() - start)
print(counts["read"], counts["refused"], slowest)
"""


def test_hostile_files_are_read_or_refused_and_libraries_stay_silent(data):
    """In a process of its own: a crash would take the tests along, and C libraries write to the real stderr."""
    command = [sys.executable, "-c", HOSTILE, str(data / "hostile")]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False, env=environment)
    assert (done.returncode, done.stderr) == (0, "")
    accepted, refused, slowest = done.stdout.split()
    assert int(accepted) > 60
    assert int(refused) > 60
    assert float(slowest) < 10


# ---- writing --------------------------------------------------------------------------------------------------------


def test_lossy_formats_only_on_request(tmp_path):
    for name in ("a.jpg", "a.jpeg", "a.avif"):
        with pytest.raises(ImageError, match=r"exact values of the small picture.*\.png, \.webp, \.tif.*`lossy`"):
            write(full(), tmp_path / name)
        write(full(), tmp_path / name, lossy=True)


def test_formats_say_what_they_cannot_hold():
    for form in ("webp", "jpeg", "avif"):
        with pytest.raises(ImageError, match=f"{form} holds 8 bits a channel, the picture has 16; write PNG or TIFF"):
            encoded(full(depth=16), form, lossy=True)
    with pytest.raises(ImageError, match="no transparency"):
        encoded(full(channels=4), "jpeg", lossy=True)
    with pytest.raises(ImageError, match="webp holds at most 16383 pixels a side"):
        encoded(Image(np.zeros((1, 16384, 1), np.uint8)), "webp")
    with pytest.raises(ImageError, match="cannot write this picture as jpeg: EXIF data is too long"):
        encoded(dataclasses.replace(full(), exif=exif_block() + bytes(70_000)), "jpeg", lossy=True)


@pytest.mark.parametrize("height", [1, 80, 300])
def test_a_large_tiff_becomes_bigtiff(monkeypatch, height):
    assert encoded(Image(noise(height, 700, 3)), "tiff").startswith(b"II*\0")
    monkeypatch.setattr("unshrink.pictures.tiff._MOST_BYTES", 1000)
    image = dataclasses.replace(full(), pixels=noise(height, 700, 3, 16))
    big = encoded(image, "tiff")
    assert big.startswith(b"II+\0")
    assert_same(read(big), image)


@pytest.mark.parametrize("form", ["png", "tiff", "jpeg", "webp"])
def test_what_is_scanned_is_what_is_read(form, tmp_path):
    image = dataclasses.replace(full(), pixels=noise(300, 700, 3))
    path = tmp_path / f"picture.{form}"
    write(image, path, format=form, lossy=True)
    passing = scan(path)
    assert (passing.size, passing.depth) == (image.size, 8)
    write(passing, path.with_suffix(".tif"), overwrite=True)
    assert_same(read(path.with_suffix(".tif")), dataclasses.replace(read(path), dpi=passing.dpi))


def test_damage_is_an_error_when_its_pixels_are_asked_for():
    source = bytearray(encoded(Image(noise(300, 700, 3))))
    source[len(source) // 2] ^= 255
    image = scan(bytes(source))
    with pytest.raises(ImageError, match="cannot read the picture: it is damaged"):
        np.asarray(image.pixels)


def test_formats_and_extensions():
    assert [of_path(f"a{e}").name for e in (".PNG", ".webp", ".tif", ".tiff", ".jpg", ".jpeg", ".avif")] == [
        "png", "webp", "tiff", "tiff", "jpeg", "jpeg", "avif"
    ]  # fmt: skip
    assert [of_path(f"a{e}").depth for e in (".png", ".webp", ".tif", ".jpg")] == [16, 8, 16, 8]
    for name in ("a", "a.gif", "a.png.txt"):
        with pytest.raises(ImageError, match=r"unknown extension.*\.png, \.webp"):
            of_path(name)
    with pytest.raises(ImageError, match=r"'gif'.*png, webp"):
        encoded(full(), "gif")


def test_targets(tmp_path):
    write(full(), tmp_path / "a.tif")
    assert (tmp_path / "a.tif").read_bytes().startswith(b"II*\0")
    write(full(), tmp_path / "a.tif", format="png", overwrite=True)
    stream = io.BytesIO()
    write(full(), stream)
    assert stream.getvalue() == (tmp_path / "a.tif").read_bytes()
    assert stream.getvalue().startswith(b"\x89PNG")


def test_failures_leave_what_was_there(tmp_path, monkeypatch):
    path = tmp_path / "a.png"
    write(full(), path)
    before = path.read_bytes()
    with pytest.raises(ImageError, match="`overwrite`"):
        write(full(), path)
    with pytest.raises(ImageError, match="create it first"):
        write(full(), tmp_path / "none" / "a.png")
    with pytest.raises(ImageError, match="16"):
        write(full(depth=16), tmp_path / "a.webp")

    def full_disk(_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full_disk)
    with pytest.raises(ImageError, match="the disk is full"):
        write(full(), path, overwrite=True)
    assert path.read_bytes() == before
    assert [file.name for file in tmp_path.iterdir()] == ["a.png"]


# ---- the class, and Pillow ------------------------------------------------------------------------------------------


def test_properties():
    image = full(5, 7, 4, 16)
    assert (image.size, image.depth, image.alpha) == ((7, 5), 16, True)
    assert (full().depth, full().alpha, full(channels=2).alpha) == (8, False, True)
    bare = image.strip()
    assert bare.pixels is image.pixels
    assert (bare.icc, bare.exif, bare.xmp, bare.dpi) == (None, None, None, None)


@pytest.mark.parametrize(
    "pixels",
    [np.zeros((2, 2), np.uint8), np.zeros((2, 2, 5), np.uint8), np.zeros((0, 2, 3), np.uint8), np.zeros((2, 2, 3))],
)
def test_what_is_no_image(pixels):
    with pytest.raises(ImageError, match="allowed is"):
        Image(pixels)


@pytest.mark.parametrize("channels, depth", [(1, 8), (2, 8), (3, 8), (4, 8), (1, 16)])
def test_to_pil_and_back(channels, depth):
    image = full(channels=channels, depth=depth)
    pil = to_pil(image)
    assert pil.mode == ("I;16" if depth == 16 else ["L", "LA", "RGB", "RGBA"][channels - 1])
    assert_same(from_pil(pil), image)


def test_pillow_has_no_16_bit_colour():
    with pytest.raises(ImageError, match="numpy"):
        to_pil(full(depth=16))


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "PA", "RGB", "RGBX", "RGBA", "YCbCr", "CMYK"])
def test_from_pil_modes(mode):
    pil = PIL.Image.fromarray(noise(4, 5, 3)).convert(mode if mode != "PA" else "P").convert(mode)
    target = {"1": "L", "P": "RGB", "PA": "RGBA", "RGBX": "RGB", "YCbCr": "RGB", "CMYK": "RGB"}.get(mode, mode)
    image = from_pil(pil)
    assert image.pixels.shape == (4, 5, len(target))
    np.testing.assert_array_equal(image.pixels.squeeze(), np.asarray(pil.convert(target)))
    assert len(image.notes) == (mode in ("P", "PA", "CMYK"))


def test_from_pil_expands_colour_keys():
    palette = PIL.Image.fromarray(np.array([[0, 1]], np.uint8), "P")
    palette.putpalette([1, 2, 3, 4, 5, 6])
    palette.info["transparency"] = 1
    assert from_pil(palette).pixels[0].tolist() == [[1, 2, 3, 255], [4, 5, 6, 0]]
    grey = PIL.Image.fromarray(np.array([[500, 600]], np.uint16))
    grey.info["transparency"] = 600
    assert from_pil(grey).pixels[0].tolist() == [[500, 65535], [600, 0]]


@pytest.mark.parametrize("mode", ["I", "F", "LAB", "HSV"])
def test_from_pil_refuses_other_modes(mode):
    with pytest.raises(ImageError, match=f"'{mode}'.*8 or 16 bit"):
        from_pil(PIL.Image.new(mode, (2, 2)))


def test_importing_loads_neither_pillow_nor_libvips():
    code = "import sys, unshrink.pictures.io; print(sorted({'PIL', 'pyvips'} & set(sys.modules)))"
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=environment)
    assert done.stdout.strip() == "[]"


# ---- how it shows itself --------------------------------------------------------------------------------------------


def test_numpy_takes_an_image():
    image = full()
    assert np.asarray(image) is image.pixels
    assert np.asarray(image, float).dtype == float
    copy = np.array(image)
    assert not np.shares_memory(copy, image.pixels)
    np.testing.assert_array_equal(copy, image.pixels)
    with pytest.raises(ValueError, match="copy"):
        np.asarray(image, float, copy=False)


def test_repr_is_one_short_line():
    image = dataclasses.replace(full(30, 40, 4, 16), exif=None, dpi=(300.0, 150.0), notes=("a note",))
    blocks = f"icc of {len(SRGB)} bytes, xmp of {len(XMP)} bytes"
    assert repr(image) == f"<Image 40x30, RGB and alpha of 16 bit, {blocks}, 300x150 dpi, a note>"
    assert repr(Image(noise(2, 3, 1)).passing()) == "<PassingImage 3x2, grey of 8 bit>"


@pytest.mark.parametrize("channels", [1, 2, 3, 4])
@pytest.mark.parametrize("depth", [8, 16])
def test_a_notebook_shows_the_picture(channels, depth):
    image = full(20, 30, channels, depth)
    shown = read(image._repr_png_())
    assert (shown.size, shown.depth, shown.channels) == (image.size, 8, channels)
    assert (shown.icc, shown.exif, shown.xmp) == (image.icc, image.exif, None)
    assert np.abs(shown.pixels - image.pixels / (257 if depth == 16 else 1)).max() <= 0.51


def test_a_notebook_shows_a_large_picture_smaller():
    ramp = np.linspace(0, 255, 3000).astype(np.uint8)[None, :, None].repeat(5, 0)
    shown = read(Image(ramp)._repr_png_())
    assert shown.size == (1024, 2)
    assert np.abs(shown.pixels[0, :, 0] - np.linspace(0, 255, 1024)).max() <= 2
