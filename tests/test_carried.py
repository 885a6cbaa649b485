"""What a picture carries beside its pixels: what colours mean, texts, IPTC, sizes in EXIF; kept, or said to be lost."""

import dataclasses
import io
import struct
import warnings
import zlib

import numpy as np
import PIL.Image
import pytest
from PIL import ImageCms
from PIL.PngImagePlugin import PngInfo

from networks import Samples, random_weights
from unshrink.errors import UnshrinkWarning
from unshrink.pictures.exif import exif_of_size
from unshrink.pictures.formats import WRITTEN
from unshrink.pictures.image import Image
from unshrink.pictures.io import read, save, write
from unshrink.pictures.meaning import Meaning
from unshrink.pictures.pillow import from_pil, to_pil
from unshrink.runtime.rescaler import Rescaler

QUICK = Rescaler(random_weights(2), Samples())
RAMP = np.stack(np.meshgrid(np.arange(0, 256, 17), np.arange(0, 256, 17), [40, 128]), -1).reshape(16, 32, 3)
RAMP = RAMP.astype(np.uint8)
P3, PQ, HLG = (12, 13, 0, 1), (9, 16, 0, 1), (9, 18, 0, 1)
SRGB_XY = (31270, 32900, 64000, 33000, 30000, 60000, 15000, 6000)
P3_XY = (31270, 32900, 68000, 32000, 26500, 69000, 15000, 6000)
IPTC = b"\x1c\x02\x78\0\x09A caption"
TEXTS = (("Title", "J\u00fcrgen"), ("Comment", "\u65e5\u672c"), ("Long", "a" * 5000), ("Comment", "twice"))


def encoded(image, form="png", **options) -> bytes:
    stream = io.BytesIO()
    write(image, stream, format=form, lossy=True, **options)
    return stream.getvalue()


def through(image, form) -> Image:
    return read(encoded(image, form))


def chunks_of(png: bytes) -> dict[bytes, bytes]:
    found, position = {}, 8
    while position < len(png):
        size, kind = struct.unpack_from(">I4s", png, position)
        found[kind] = png[position + 8 : position + 8 + size]
        position += 12 + size
    return found


def shown(image: Image) -> np.ndarray:
    """The picture as a program shows it that knows profiles, in sRGB."""
    if image.icc is None:
        return image.pixels[..., :3].repeat(3 // min(3, image.channels), axis=2)
    profile = ImageCms.ImageCmsProfile(io.BytesIO(image.icc))
    pil = PIL.Image.fromarray(image.pixels.squeeze())
    return np.asarray(ImageCms.profileToProfile(pil, profile, ImageCms.createProfile("sRGB"), outputMode="RGB"))


def linear(values: np.ndarray) -> np.ndarray:
    """sRGB values in [0, 1] as light."""
    return np.where(values <= 0.04045, values / 12.92, ((values + 0.055) / 1.055) ** 2.4)


# -- what colours mean -------------------------------------------------------------------------------------------------

MEANINGS = {
    "P3": Meaning(code=P3),
    "PQ": Meaning(code=PQ, mastering=bytes(range(24)), light=bytes(8)),
    "linear": Meaning(gamma=100_000),
    "P3 by chromaticities": Meaning(gamma=45455, chromaticities=P3_XY),
    "sRGB": Meaning(intent=1, gamma=45455, chromaticities=SRGB_XY),
}


@pytest.mark.parametrize("name", MEANINGS)
def test_png_says_it_both_ways(name):
    image = Image(RAMP, meaning=MEANINGS[name])
    small = through(QUICK.downscale(through(image, "png")), "png")
    assert small.meaning == image.meaning
    assert through(QUICK.upscale(small), "png").meaning == image.meaning


def test_the_chunks_are_those_of_the_standard():
    chunks = chunks_of(encoded(Image(RAMP, meaning=Meaning(P3, 2, 45455, SRGB_XY))))
    assert chunks[b"cICP"] == bytes(P3)
    assert chunks[b"sRGB"] == b"\2"
    assert chunks[b"gAMA"] == struct.pack(">I", 45455)
    assert chunks[b"cHRM"] == struct.pack(">8I", *SRGB_XY)


@pytest.mark.parametrize("form", ["webp", "tiff", "jpeg", "avif"])
def test_elsewhere_a_profile_says_the_same(form):
    kept = through(Image(RAMP, meaning=Meaning(gamma=100_000)), form)
    assert kept.meaning is None
    np.testing.assert_allclose(linear(shown(kept) / 255), kept.pixels / 255, atol=0.02)
    grey = through(Image(RAMP[..., :1], meaning=Meaning(gamma=100_000)), "tiff")
    np.testing.assert_allclose(linear(shown(grey) / 255), grey.pixels.repeat(3, 2) / 255, atol=0.02)


@pytest.mark.parametrize("meaning", [Meaning(code=P3), Meaning(gamma=45455, chromaticities=P3_XY)])
def test_the_profile_of_other_primaries_is_that_of_the_standard(meaning):
    """Display P3 in linear sRGB, computed here from the standard's matrix (both with the white D65)."""
    soft = (96 + RAMP // 4).astype(np.uint8)
    to_srgb = np.array([[1.2249, -0.2247, 0], [-0.0420, 1.0419, 0], [-0.0197, -0.0786, 1.0979]])
    light = linear(soft / 255) if meaning.code else (soft / 255) ** (1 / 0.45455)
    np.testing.assert_allclose(
        linear(shown(through(Image(soft, meaning=meaning), "webp")) / 255), light @ to_srgb.T, atol=0.01
    )


@pytest.mark.parametrize(
    "meaning", [Meaning(intent=0), Meaning(gamma=45455, chromaticities=SRGB_XY), Meaning((1, 13, 0, 1))]
)
def test_of_srgb_nothing_needs_to_be_said(meaning):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert through(Image(RAMP, meaning=meaning), "webp").icc is None


@pytest.mark.parametrize("code, name", [(PQ, "PQ"), (HLG, "HLG")])
def test_hdr_is_named_and_its_loss_is_said(code, name):
    image = through(Image(RAMP, meaning=Meaning(code=code)), "png")
    assert image.notes == (f"its values are HDR, {name}, which the networks have not learned: less comes back",)
    with pytest.warns(UnshrinkWarning, match=rf"webp cannot hold what its colours mean .*\({name}\)\): left out"):
        through(image, "webp")


def test_a_code_in_a_profile_is_known():
    profile = Meaning(code=P3).profile()
    start, cicp = 132 + 12 * int.from_bytes(profile[128:132], "big"), b"cicp" + bytes(4) + bytes(PQ)
    table = profile[128:start].replace(b"desc", b"cicp")
    entry = table[4:16]
    at = int.from_bytes(entry[4:8], "big")
    hdr = profile[:128] + table + profile[start:at] + cicp + profile[at + 12 :]
    assert "HDR, PQ" in through(Image(RAMP, icc=hdr), "png").notes[0]


def test_a_code_goes_before_a_profile_and_a_profile_before_gamma():
    profile = Meaning(code=P3).profile()
    assert through(Image(RAMP, icc=profile, meaning=Meaning(gamma=100_000)), "webp").icc == profile
    assert through(Image(RAMP, icc=profile, meaning=Meaning(code=(9, 8, 0, 1))), "webp").icc != profile


@pytest.mark.parametrize("xy", [(0,) * 8, (0, 1) * 4, (2**31,) * 8, (1, 2**31) * 4])
def test_chromaticities_that_span_nothing_are_said_to_be_lost(xy):
    with pytest.warns(UnshrinkWarning, match="cannot hold what its colours mean"):
        assert through(Image(RAMP, meaning=Meaning(gamma=45455, chromaticities=xy)), "webp").icc is None


@pytest.mark.parametrize("code", [(12, 13), (9, 16), (9, 18), (1, 8)])
def test_what_avif_says_is_carried(code):
    file = encoded(Image(RAMP), "avif")
    assert read(file).meaning is None, "its own default is sRGB"
    place = file.index(b"colrnclx") + 8
    image = read(file[:place] + struct.pack(">HH", *code) + file[place + 4 :])
    assert image.meaning == Meaning(code=(*code, 0, 1))
    assert len(image.notes) == (code[1] != 13)
    assert chunks_of(encoded(QUICK.downscale(image)))[b"cICP"] == bytes((*code, 0, 1))


def test_white_and_primaries_of_tiff_become_a_profile():
    tifffile = pytest.importorskip("tifffile")
    stream = io.BytesIO()
    white, others = [(n, 100_000) for n in P3_XY[:2]], [(n, 100_000) for n in P3_XY[2:]]
    tags = [(318, 5, 2, sum(white, ()), True), (319, 5, 6, sum(others, ()), True)]
    tifffile.imwrite(stream, RAMP, photometric="rgb", extratags=tags, metadata=None)
    image = read(stream.getvalue())
    assert image.meaning == Meaning(chromaticities=P3_XY)
    assert through(image, "webp").icc == image.meaning.profile()


def test_the_files_of_the_cases(cases):
    linear_file, p3 = read(cases / "gama_linear.png"), read(cases / "cicp_p3.png")
    assert linear_file.meaning == Meaning(gamma=100_000)
    assert "linear light" in linear_file.notes[0]
    assert (p3.meaning, p3.notes) == (Meaning(code=P3), ())


def test_without_metadata_means_without_all_of_it():
    image = Image(RAMP, meaning=Meaning(code=P3), texts=TEXTS, iptc=IPTC, dpi=(300.0, 150.0)).strip()
    assert (image.meaning, image.texts, image.iptc, image.dpi) == (None, (), None, None)


# -- texts, IPTC, resolution -------------------------------------------------------------------------------------------


def test_png_keeps_texts():
    image = through(Image(RAMP, texts=TEXTS), "png")
    assert image.texts == TEXTS
    assert PIL.Image.open(io.BytesIO(encoded(image))).text == dict(TEXTS)
    assert through(QUICK.upscale(through(QUICK.downscale(image), "png")), "png").texts == TEXTS


def test_texts_of_another_writer():
    info = PngInfo()
    info.add_text("Title", "J\u00fcrgen")
    info.add_text("Long", "a" * 5000, zip=True)
    info.add_itxt("Author", "\u65e5\u672c", "ja", "\u8457\u8005", zip=True)
    stream = io.BytesIO()
    pil = PIL.Image.fromarray(RAMP)
    pil.save(stream, "png", pnginfo=info)
    wanted = (("Title", "J\u00fcrgen"), ("Long", "a" * 5000), ("Author", "\u65e5\u672c"))
    assert read(stream.getvalue()).texts == wanted
    assert from_pil(PIL.Image.open(stream)).texts == wanted


def test_texts_are_bounded():
    info = PngInfo()
    for number in range(40):
        info.add_text(f"Bomb {number}", "a" * 100_000, zip=True)
    stream = io.BytesIO()
    PIL.Image.fromarray(RAMP).save(stream, "png", pnginfo=info)
    image = read(stream.getvalue())
    assert len(image.texts) == 10
    assert image.notes == ("texts of more than 1 MiB were left out",)


def test_jpeg_keeps_comments_and_says_what_else_is_lost():
    with pytest.warns(UnshrinkWarning, match=r"jpeg cannot hold its texts \(Title, Long\): left out$"):
        image = through(Image(RAMP, texts=TEXTS), "jpeg")
    assert image.texts == (("Comment", "\u65e5\u672c\ntwice"),)
    assert through(image, "png").texts == image.texts
    stream = io.BytesIO()
    PIL.Image.fromarray(RAMP).save(stream, "jpeg", comment="J\u00fcrgen".encode("latin-1"))
    assert read(stream.getvalue()).texts == (("Comment", "J\u00fcrgen"),)


def test_a_comment_of_gif_is_kept():
    stream = io.BytesIO()
    PIL.Image.fromarray(RAMP).quantize(8).save(stream, "gif", comment=b"hello")
    assert read(stream.getvalue()).texts == (("Comment", "hello"),)


@pytest.mark.parametrize("form", ["png", "tiff", "jpeg"])
def test_iptc_is_kept(form):
    small = QUICK.downscale(through(Image(RAMP, iptc=IPTC), form))
    assert through(QUICK.upscale(through(small, "png")), form).iptc == IPTC


def test_iptc_is_where_other_programs_look_for_it():
    image = Image(RAMP, iptc=IPTC)
    assert PIL.Image.open(io.BytesIO(encoded(image, "jpeg"))).info["photoshop"] == {0x0404: IPTC}
    assert PIL.Image.open(io.BytesIO(encoded(image, "tiff"))).tag_v2[33723] == IPTC
    text = zlib.decompress(chunks_of(encoded(image))[b"zTXt"].partition(b"\0\0")[2])
    assert text == b"\niptc\n%8d\n" % len(IPTC) + IPTC.hex().encode() + b"\n"


def test_iptc_among_the_resources_of_a_tiff():
    tifffile = pytest.importorskip("tifffile")
    one = b"8BIM\x03\xed\0\0\0\0\0\2ab8BIM\x04\x04\x03abc" + struct.pack(">I", len(IPTC)) + IPTC
    stream = io.BytesIO()
    tifffile.imwrite(stream, RAMP, photometric="rgb", extratags=[(34377, 1, len(one), one, True)], metadata=None)
    assert read(stream.getvalue()).iptc == IPTC


def test_all_that_is_lost_is_said_once():
    image = Image(RAMP, texts=TEXTS[:1], iptc=IPTC, dpi=(300.0, 150.0), meaning=Meaning(code=PQ))
    with pytest.warns(UnshrinkWarning) as caught:
        through(image, "webp")
    (said,) = (str(warning.message) for warning in caught)
    for part in ("webp", "(PQ)", "(Title)", "IPTC", "300 x 150 dpi"):
        assert part in said
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert through(dataclasses.replace(image, dpi=(72.0, 72.0)).strip(), "webp").size == image.size
        assert through(Image(RAMP, dpi=(300.0, 150.0)), "jpeg").dpi == (300, 150)
        for form in WRITTEN:
            through(Image(RAMP, dpi=(72.0, 72.0)), form)


def without_unit(form: str, x: int, y: int) -> bytes:
    """A file of pixels that are x to y, and of no size."""
    stream = io.BytesIO()
    if form == "png":
        file = encoded(Image(RAMP, dpi=(1000.0, 500.0)))
        place = file.index(b"pHYs") + 4
        body = struct.pack(">IIB", x, y, 0)
        return file[:place] + body + struct.pack(">I", zlib.crc32(b"pHYs" + body)) + file[place + 13 :]
    if form == "jpeg":
        file = encoded(Image(RAMP), "jpeg")
        return file[:13] + struct.pack(">BHH", 0, x, y) + file[18:]
    tifffile = pytest.importorskip("tifffile")
    tifffile.imwrite(stream, RAMP, photometric="rgb", resolution=(x, y), resolutionunit=1)
    return stream.getvalue()


@pytest.mark.parametrize("form", ["png", "jpeg", "tiff"])
def test_pixels_that_are_not_square_are_said_where_no_unit_is(form):
    said = "its pixels are not square (densities 2 and 1 without a unit): left out"
    assert read(without_unit(form, 2, 1)).notes == (said,)
    assert read(without_unit(form, 1, 1)).notes == ()
    assert read(without_unit(form, 2, 1)).dpi is None


# -- the sizes in EXIF -------------------------------------------------------------------------------------------------


def exif_of(width: int, height: int, endian: str, kind: int) -> bytes:
    """A block that says a size in both of its directories, beside an orientation."""
    entry = lambda tag, kind, value: (
        struct.pack(f"{endian}HHI", tag, kind, 1)
        + (struct.pack(f"{endian}H2x", value) if kind == 3 else struct.pack(f"{endian}I", value))
    )
    first = [entry(256, kind, width), entry(257, kind, height), entry(274, 3, 6), entry(0x8769, 4, 62)]
    own = [entry(0xA002, kind, width), entry(0xA003, kind, height)]
    start = (b"II*\0" if endian == "<" else b"MM\0*") + struct.pack(endian + "I", 8)
    listed = [struct.pack(endian + "H", len(one)) + b"".join(one) + bytes(4) for one in (first, own)]
    return start + b"".join(listed)


@pytest.mark.parametrize("endian", ["<", ">"])
@pytest.mark.parametrize("kind", [3, 4])
def test_exif_says_the_size_of_the_picture_that_it_goes_with(endian, kind):
    exif = exif_of(32, 16, endian, kind)
    small = QUICK.downscale(Image(RAMP, exif=exif))
    assert small.exif == exif_of(16, 8, endian, kind)
    for form in WRITTEN:
        said = PIL.Image.open(io.BytesIO(encoded(small, form))).getexif().get_ifd(0x8769)
        assert (said[0xA002], said[0xA003]) == (16, 8), form
    assert QUICK.upscale(through(small, "png")).exif == exif


@pytest.mark.parametrize("exif", [exif_of(640, 480, "<", 3), exif_of(32, 16, "<", 3)[:70], b"II*\0\xff\xff\xff\xff"])
def test_what_says_another_size_or_is_damaged_travels_as_it_is(exif):
    assert QUICK.downscale(Image(RAMP, exif=exif)).exif == exif


def test_a_size_that_no_short_holds_is_left():
    exif = exif_of(40_000, 16, "<", 3)
    assert exif_of_size(exif, (40_000, 16), (80_000, 32)) == exif


# -- Pillow's own save -------------------------------------------------------------------------------------------------

SAVED = [
    ("png", {}),
    ("webp", {"lossless": True}),
    ("tiff", {}),
    ("tiff", {"compression": "tiff_lzw"}),
    ("jpeg", {}),
    ("avif", {}),
]


@pytest.mark.parametrize("form, options", SAVED)
def test_what_pillow_saves_has_all_that_the_picture_carries(form, options):
    exif, profile = exif_of(32, 16, "<", 3), Meaning(code=P3).profile()
    pil = to_pil(Image(RAMP, profile, exif, dpi=(300.0, 300.0), iptc=IPTC, texts=TEXTS[:1]))
    small = QUICK.downscale(pil)
    stream = io.BytesIO()
    small.save(stream, form, **options)
    image = read(stream.getvalue())
    assert image.xmp
    assert image.icc == profile
    if form != "avif":  # which keeps the orientation elsewhere
        assert image.exif == exif_of(16, 8, "<", 3)
    assert PIL.Image.open(stream).getexif()[0x0112] == 6
    assert image.dpi == (pytest.approx((300, 300), rel=1e-3) if "dpi" in WRITTEN[form].blocks else None)
    assert image.iptc == (IPTC if "iptc" in WRITTEN[form].blocks else None)
    assert image.texts == (TEXTS[:1] if form == "png" else ())


@pytest.mark.parametrize("form", ["png", "webp", "tiff", "jpeg"])
def test_what_is_asked_of_pillow_goes_before(form):
    small = QUICK.downscale(to_pil(Image(RAMP, b"a profile", exif_of(32, 16, "<", 3), dpi=(300.0, 300.0))))
    own = PIL.Image.Exif()
    own[0x0112] = 3
    stream = io.BytesIO()
    small.save(stream, form, exif=own, dpi=(72, 72), icc_profile=b"another")
    image = read(stream.getvalue())
    assert PIL.Image.open(stream).getexif()[0x0112] == 3
    assert image.icc == b"another"
    assert image.dpi == (None if form == "webp" else pytest.approx((72, 72), rel=1e-3))
    assert image.xmp


def test_pillow_never_takes_the_size_of_a_tiff_from_exif():
    small = to_pil(Image(RAMP, exif=exif_of(640, 480, "<", 3)))
    stream = io.BytesIO()
    small.save(stream, "tiff")
    np.testing.assert_array_equal(read(stream.getvalue()).pixels, RAMP)


def test_pillow_knows_the_colours_of_what_it_saves():
    """Of those that Pillow reads from PNG, it writes none."""
    source = PIL.Image.open(io.BytesIO(encoded(Image(RAMP, meaning=Meaning(gamma=100_000)))))
    for form in ("png", "webp", "jpeg"):
        stream = io.BytesIO()
        QUICK.downscale(source).save(stream, form)
        assert read(stream.getvalue()).icc == Meaning(gamma=100_000).profile()


def test_saving_ours_or_pillows_keeps_the_same(tmp_path):
    image = Image(
        RAMP, Meaning(code=P3).profile(), exif_of(32, 16, "<", 3), dpi=(300.0, 300.0), iptc=IPTC, texts=TEXTS[:1]
    )
    for number, picture in enumerate((image, to_pil(image))):
        save(picture, tmp_path / f"{number}.png")
    assert (tmp_path / "0.png").read_bytes() == (tmp_path / "1.png").read_bytes()
