"""The table of sites, what arrives of a picture that goes through each, and what comes back from there."""

import dataclasses
import datetime
import hashlib
import importlib
import io
import json
import sys
from pathlib import Path

import numpy as np
import PIL.Image
import PIL.ImageOps
import pytest

import unshrink
from networks import Samples, random_weights
from unshrink import batch
from unshrink import weights as zoo
from unshrink.cli.main import main
from unshrink.errors import ImageError, UsageError
from unshrink.pictures import mark as marks
from unshrink.pictures.encoding import Encoding, encoding
from unshrink.pictures.formats import FORMATS
from unshrink.pictures.image import Image
from unshrink.pictures.mark import Mark
from unshrink.pictures.upright import upright
from unshrink.runtime import backends
from unshrink.sites import find, simulate, sites
from unshrink.sites.simulator import stripped_jpeg
from unshrink.weights import catalogue

EXAMPLES = Path(__file__).parents[1] / "examples"
EXIF = b"II*\0\x08\0\0\0\x01\0\x12\x01\x03\0\x01\0\0\0\x06\0\0\0\0\0\0\0"  # orientation 6: turned by a quarter
ICC = (Path(unshrink.__file__).parent / "web/sample.png").read_bytes()[:300]  # any bytes do


def photo(width=300, height=200):
    picture = PIL.Image.open(EXAMPLES / "astronaut.png").convert("RGB")
    return picture.resize((width, height), PIL.Image.Resampling.BICUBIC)


def file(form="PNG", picture=None, **options):
    stream = io.BytesIO()
    if form == "JPEG" and "exif" in options:
        options["exif"] = b"Exif\0\0" + options["exif"]
    (picture or photo()).save(stream, form, **options)
    return stream.getvalue()


def pixels(data):
    return np.asarray(PIL.Image.open(io.BytesIO(data)))


EVERY = pytest.mark.parametrize("site", sites(), ids=lambda site: site.name)


# -- the table -----------------------------------------------------------------------------------------------------


@EVERY
def test_rows_say_what_is_known_and_from_where(site):
    assert site.label
    assert site.source
    assert datetime.date(2026, 1, 1) <= site.checked <= datetime.date.today()
    assert site.known in ("code", "forks", "analysis", "hearsay")
    assert site.metadata in ("stripped", "icc", "gps", "unknown")
    assert site.format in ("jpeg", "webp", "same")
    assert 1 <= site.quality <= 100
    assert all(form in FORMATS and door.keeps in ("file", "pixels") for door in site.doors for form in door.formats)


def test_sites_are_found_by_name():
    assert find("telegram").label == "Telegram Desktop"
    with pytest.raises(UsageError, match=r"no site named 'Telegramm': did you mean telegram\?"):
        find("Telegramm")
    with pytest.raises(UsageError, match="no site named 'zzz': known are telegram, "):
        find("zzz")


@pytest.mark.parametrize(
    "name, size, fitted",
    [
        ("telegram", (1280, 900), (1280, 900)),
        ("telegram", (900, 2560), (450, 1280)),
        ("discourse", (1920, 9000), (1920, 9000)),
        ("discourse", (3840, 90), (1920, 45)),
        ("mastodon", (3840, 2160), (3840, 2160)),
        ("mastodon", (7680, 4320), (3840, 2160)),
        ("wechat", (100_000, 10), (1280, 1)),
        ("pixelfed", (9000, 9000), (9000, 9000)),
    ],
)
def test_caps(name, size, fitted):
    assert find(name).fitted(size) == fitted


# -- the simulator -------------------------------------------------------------------------------------------------


@EVERY
def test_what_is_within_the_cap_keeps_its_size_and_loses_its_metadata(site):
    for form, options in (("JPEG", {"quality": 95}), ("PNG", {})):
        sent = file(form, exif=EXIF[:18] + b"\1" + EXIF[19:], **options)
        arrived = simulate(sent, site)
        back = unshrink.read(arrived.data)
        assert arrived.size == back.size == (300, 200)
        assert not arrived.resized
        assert FORMATS[arrived.format].name == arrived.format
        if arrived.keeps == "file":
            assert arrived.data == sent
        else:
            assert (back.exif, back.xmp) == (None, None)
        if arrived.keeps:
            np.testing.assert_array_equal(pixels(arrived.data), pixels(sent))
        elif arrived.format == "jpeg":
            assert encoding(arrived.data) == Encoding(
                "jpeg", encoding(arrived.data).quality, True, site.subsampling, site.progressive
            )
            assert site.max_bytes or encoding(arrived.data).quality == site.quality


@EVERY
def test_what_is_beyond_the_cap_is_resized(site):
    if not (cap := site.longest_side or site.widest):
        pytest.skip("it has none, or one of pixels")
    wide = PIL.Image.effect_noise((cap + 40, 60), 80).convert("RGB")
    arrived = simulate(file("BMP", wide), site)
    assert arrived.resized
    assert arrived.size == unshrink.read(arrived.data).size == site.fitted(wide.size)
    assert str(arrived).startswith(f"resized from {cap + 40}x60, re-encoded as ")


def test_telegram_keeps_jpeg_of_few_bits():
    few, many = file("JPEG", quality=80, exif=EXIF), file("JPEG", quality=100, subsampling="4:4:4")
    assert 8 * len(few) <= 4 * 60_000 < 8 * len(many)
    arrived = simulate(few, find("telegram"))
    assert arrived.keeps == "pixels"
    assert encoding(arrived.data).quality == 80
    np.testing.assert_array_equal(pixels(arrived.data), pixels(few))
    assert str(encoding(simulate(many, find("telegram")).data)) == "JPEG of quality 87, 4:2:0, progressive"


def test_signal_passes_small_files_without_exif_whatever_their_size():
    flat = file(picture=PIL.Image.new("RGB", (1800, 1200)))
    assert simulate(flat, find("signal")).data == flat
    with_exif = file(picture=PIL.Image.new("RGB", (1800, 1200)), exif=EXIF)
    assert simulate(with_exif, find("signal")).size == (1067, 1600)
    large = file(picture=PIL.Image.effect_noise((700, 700), 90).convert("RGB"))
    assert encoding(simulate(large, find("signal")).data).quality == 70
    assert simulate(large, find("signal-high")).keeps is None


def test_a_door_may_ask_for_the_quality():
    assert simulate(file("JPEG", quality=85), find("twitter")).keeps == "pixels"
    assert encoding(simulate(file("JPEG", quality=86), find("twitter")).data).quality == 85
    assert simulate(file(), find("twitter")).format == "png"


def test_the_highest_quality_that_fits_is_taken():
    site = dataclasses.replace(find("bluesky"), max_bytes=20_000)
    data = simulate(file(), site).data
    quality = encoding(data).quality
    assert len(data) <= 20_000 < len(file("JPEG", quality=quality + 1, subsampling="4:2:0"))
    assert encoding(simulate(file(), dataclasses.replace(site, max_bytes=1)).data).quality == 1


def test_a_site_of_the_same_format_keeps_it():
    mastodon = find("mastodon")
    assert simulate(file("WEBP", lossless=True), mastodon).format == "webp"
    assert simulate(file("TIFF"), mastodon).format == "jpeg"
    large = dataclasses.replace(mastodon, max_pixels=15_000)
    assert (simulate(file(), large).format, simulate(file(), large).size) == ("png", (150, 100))


def test_pictures_are_turned_as_exif_says_before_it_is_removed():
    arrived = simulate(file("JPEG", quality=95, exif=EXIF), find("whatsapp"))
    assert (arrived.sent, arrived.size, arrived.resized) == ((200, 300), (200, 300), False)
    turned = np.asarray(photo().rotate(-90, expand=True))
    assert np.abs(pixels(arrived.data).astype(int) - turned).mean() < 6


def test_transparency_is_laid_over_white():
    clear = file(picture=PIL.Image.new("RGBA", (20, 20), (9, 9, 9, 0)))
    assert (pixels(simulate(clear, find("whatsapp")).data) == 255).all()


def test_profiles_are_kept_where_sites_keep_them():
    sent = file("JPEG", quality=80, icc_profile=ICC)
    assert unshrink.read(simulate(sent, find("mastodon")).data).icc == ICC
    assert unshrink.read(simulate(sent, find("telegram")).data).icc is None


def test_jpeg_is_stripped_without_a_change_of_its_coefficients():
    sent = file("JPEG", quality=80, exif=EXIF, icc_profile=ICC, comment=b"hello", xmp=b"<x/>")
    bare, coloured = stripped_jpeg(sent), stripped_jpeg(sent, icc=True)
    assert unshrink.read(bare).icc is None
    assert unshrink.read(coloured).icc == ICC
    for data in (bare, coloured):
        assert not any(block in data for block in (EXIF, b"hello", b"<x/>"))
        np.testing.assert_array_equal(pixels(data), pixels(sent))
    with pytest.raises(ImageError, match="no pixels behind its metadata"):
        stripped_jpeg(sent[: sent.index(b"\xff\xda")])


def test_what_is_no_picture_is_refused():
    with pytest.raises(ImageError, match="not a PNG"):
        simulate(b"no picture at all", find("telegram"))
    with pytest.raises(ImageError, match="more than the limit of 1,000"):
        simulate(file(), find("telegram"), max_pixels=1000)


# -- there and back ------------------------------------------------------------------------------------------------


@pytest.fixture
def small_network(tmp_path, monkeypatch):
    """A network of no quality as if it were installed and made for lossy formats, so that small pictures are marked."""
    weights = dataclasses.replace(random_weights(2), name="tiny-x2")
    zoo.save(tmp_path / "tiny.safetensors", weights)
    sha256 = hashlib.sha256((tmp_path / "tiny.safetensors").read_bytes()).hexdigest()
    about = (str(tmp_path / "tiny.safetensors"), sha256, 0, weights.identity, "irn", 2, "zero", "none", "")
    monkeypatch.setattr(catalogue, "ENTRIES", (catalogue.Entry("tiny-x2", *about, number=77, lossy=True),))
    monkeypatch.setattr(backends, "make", lambda *_, **__: Samples())
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def both_kinds(small_network, monkeypatch):
    """Beside it, weights for exact values; which of them made a picture is to be told."""
    lossy = catalogue.ENTRIES[0]
    weights = dataclasses.replace(random_weights(2, seed=1), name="exact-x2")
    zoo.save("exact.safetensors", weights)
    sha256 = hashlib.sha256(Path("exact.safetensors").read_bytes()).hexdigest()
    about = {"file": str(Path("exact.safetensors").resolve()), "sha256": sha256, "identity": weights.identity}
    exact = dataclasses.replace(lossy, name="exact-x2", number=78, lossy=False, **about)
    monkeypatch.setattr(catalogue, "ENTRIES", (exact, lossy))


@EVERY
def test_small_pictures_come_back_at_their_size_from_every_site(site, small_network):
    large = np.asarray(photo(601, 399))
    small = unshrink.load("tiny-x2").downscale(Image(large))
    unshrink.write(small, "small.png")
    unshrink.write(small, "small.jpg", lossy=True)
    for name in ("small.png", "small.jpg"):
        arrived = simulate(Path(name).read_bytes(), site)
        Path("arrived.bin").write_bytes(arrived.data)
        if arrived.keeps != "file":
            assert unshrink.read("arrived.bin").xmp is None
        options = batch.UpscaleOptions(existing="overwrite")
        (outcome,) = batch.upscale("arrived.bin", "large.png", options)
        assert outcome.ok, outcome.error
        assert unshrink.read("large.png").size == (601, 399)


def sent_and_back(site, width, height, *asked):
    """A photo by command: made small for a site, through it, without its metadata, and back without any option.

    Returns:
        The facts of the small picture, what arrived, and the size of what came back.
    """
    photo(width, height).save("photo.png")
    scale = [] if site.longest_side or site.widest else ["-s", "2"]  # 8 megapixels, or none, are no size for a test
    assert main(["downscale", "photo.png", "--site", site.name, *scale, *asked]) == 0
    (small,) = Path().glob("photo_*")
    arrived = simulate(small.read_bytes(), site)
    if arrived.format == "jpeg":
        Path("arrived").write_bytes(stripped_jpeg(arrived.data))
    else:
        unshrink.write(unshrink.read(arrived.data).strip(), "arrived", format="png")
    assert unshrink.read("arrived").xmp is None
    assert main(["upscale", "arrived", "-o", "back.png"]) == 0
    return small, arrived, unshrink.read("back.png").size


def beyond(site):
    return (site.longest_side or site.widest or 600) + 101


@EVERY
def test_a_photo_made_small_for_a_site_comes_back_from_it(site, both_kinds, capsys):
    small, arrived, size = sent_and_back(site, beyond(site), 401)
    assert size == (beyond(site), 401)
    has_door = site.passes("png") or site.door("jpeg") is not None
    assert (arrived.keeps is not None) == has_door  # whatever may pass as it is does
    assert small.suffix == (".jpg" if has_door and not site.passes("png") else ".png")
    made_by = "exact-x2" if site.passes("png") else "tiny-x2"  # values change, by the site or before it
    assert made_by in capsys.readouterr().err.splitlines()[-1]


@EVERY
def test_it_does_with_the_weights_that_are_installed(site, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert sent_and_back(site, beyond(site), 217)[2] == (beyond(site), 217)


def small_for(name, picture, *asked):
    """The encoding of the JPEG file that is made of a picture for a site, its bytes, and what arrives of it."""
    picture.save("photo.png")
    assert main(["downscale", "photo.png", "--site", name, "-o", "small.jpg", "-s", "2", "--overwrite", *asked]) == 0
    data = Path("small.jpg").read_bytes()
    return encoding(data), data, simulate(data, find(name))


def test_a_door_is_passed_in_the_best_quality(small_network):
    noise = PIL.Image.fromarray(np.random.default_rng(0).integers(0, 256, (400, 600, 3), np.uint8))
    mixed = PIL.Image.blend(photo(600, 400), noise, 0.02)
    best, data, arrived = small_for("telegram", mixed)
    assert (best.subsampling, arrived.keeps) == ("4:4:4", "pixels")
    assert 87 <= best.quality < 95
    assert 8 * len(data) <= 4 * 300 * 200
    _, finer, arrived = small_for("telegram", mixed, "--quality", str(best.quality + 1), "--chroma", "4:4:4")
    assert 8 * len(finer) > 4 * 300 * 200
    assert arrived.keeps is None
    assert small_for("deltachat", photo(600, 400))[0].quality == 95  # and no more
    assert small_for("discourse", photo(600, 400))[0].quality == 90
    plain, _, arrived = small_for("telegram", photo(600, 400), "--quality", "60", "--chroma", "4:2:0")
    assert (plain.quality, plain.subsampling, arrived.keeps) == (60, "4:2:0", "pixels")
    assert small_for("telegram", photo(600, 400), "--chroma", "4:2:0")[0].subsampling == "4:2:0"


def test_a_door_that_lets_less_through_than_arrives_anyway_is_not_taken(small_network):
    noise = PIL.Image.fromarray(np.random.default_rng(0).integers(0, 256, (1400, 1600, 3), np.uint8))
    sent, data, arrived = small_for("signal", noise)
    assert len(data) > 209_715
    assert (sent.quality, sent.subsampling) == (100, "4:4:4")  # it is encoded once more: the less is lost before
    assert (arrived.keeps, encoding(arrived.data).quality) == (None, 70)
    chroma = small_for("signal", PIL.Image.blend(photo(1600, 1400), noise, 0.3))
    assert (chroma[0].subsampling, chroma[2].keeps) == ("4:2:0", "file")  # before it is given up
    assert small_for("whatsapp", photo(600, 400))[0].quality == 100


def test_turned_and_transparent_photos_come_back_as_they_are_seen(small_network):
    Path("photo.jpg").write_bytes(file("JPEG", photo(1601, 801), quality=95, exif=EXIF))
    clear = PIL.Image.new("RGBA", (1601, 801), (9, 9, 9, 0))
    clear.paste(photo(1601, 801), (0, 401))
    clear.save("clear.png")
    for source, size in (("photo.jpg", (801, 1601)), ("clear.png", (1601, 801))):
        assert main(["downscale", source, "--site", "telegram", "-o", "small.jpg", "--overwrite"]) == 0
        small = unshrink.read("small.jpg")
        assert small.exif is None
        assert main(["upscale", "small.jpg", "-o", "back.png", "--overwrite"]) == 0
        assert unshrink.read("back.png").size == size
    assert (small.pixels[2, 2] > 250).all()  # white, as sites lay them


@pytest.mark.parametrize("orientation", range(9))
def test_pictures_are_turned_as_viewers_do(orientation):
    pixels = np.random.default_rng(0).integers(0, 256, (3, 5, 3), np.uint8)
    exif = PIL.Image.Exif()
    exif[0x0112] = orientation
    block = exif.tobytes()[6:]
    seen = PIL.Image.open(io.BytesIO(file(picture=PIL.Image.fromarray(pixels), exif=exif)))
    np.testing.assert_array_equal(upright(pixels, block), np.asarray(PIL.ImageOps.exif_transpose(seen)))
    np.testing.assert_array_equal(upright(pixels, block[:12]), pixels)
    np.testing.assert_array_equal(upright(pixels, None), pixels)


def test_the_least_scale_that_is_not_resized_is_taken():
    telegram = find("telegram")
    assert telegram.scale_for((1281, 100), [2, 3, 4, 8]) == 2
    assert telegram.scale_for((2560, 100), [8, 4, 3, 2]) == 2
    assert telegram.scale_for((2561, 100), [2, 3, 4, 8]) == 3
    assert telegram.scale_for((100, 10_240), [2, 3, 4, 8]) == 8
    with pytest.raises(ImageError, match="Telegram Desktop does not resize 1280x100 pixels: send the picture as it is"):
        telegram.scale_for((1280, 100), [2])
    with pytest.raises(ImageError, match=r"resizes above 1280 px, which 10241x100 pixels are at every scale: \[2, 8\]"):
        telegram.scale_for((10_241, 100), [8, 2])


def test_downscale_for_a_site_says_what_arrives(small_network, capsys):
    photo(1501, 301).save("photo.png")
    assert main(["downscale", "photo.png", "--site", "telegram"]) == 0
    assert "1501x301 -> 751x151 pixels" in (said := capsys.readouterr().err)
    assert "; telegram: its values passed on as they are, its metadata removed" in said
    assert unshrink.read("photo_small.jpg").size == (751, 151)
    (outcome,) = batch.downscale("photo.png", "b.png", batch.DownscaleOptions(site="telegram", mark=False))
    assert (outcome.facts["site"], outcome.facts["scale"]) == ("telegram", 2)
    assert marks.read(unshrink.read("photo_small.jpg").pixels) == Mark(77, (1, 1))
    assert marks.read(unshrink.read("b.png").pixels) is None


@pytest.mark.parametrize(
    "asked, code, said",
    [
        (["--site", "telegran"], 2, "no site named 'telegran': did you mean telegram?"),
        (["--site", "telegram", "--fit", "900"], 2, "sites without another size of small pictures"),
        (["--site", "telegram"], 1, "Telegram Desktop does not resize 300x200 pixels"),
    ],
)
def test_what_a_site_cannot_be_asked_is_one_line_and_nothing_is_written(small_network, capsys, asked, code, said):
    photo().save("photo.png")
    before = set(Path().iterdir())
    assert main(["downscale", "photo.png", *asked]) == code
    assert said in (err := capsys.readouterr().err)
    assert len(err.splitlines()) == 1
    assert set(Path().iterdir()) == before


# -- the command line ----------------------------------------------------------------------------------------------


def test_the_command_simulates(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("small.png").write_bytes(file())
    assert main(["simulate", "whatsapp", "small.png", "--json"]) == 0
    said = capsys.readouterr()
    facts = json.loads(said.out)
    assert (facts["output"], facts["format"], facts["size"]) == ("small_whatsapp.jpg", "jpeg", [300, 200])
    assert "WhatsApp: re-encoded as JPEG of quality 75, 4:2:0" in said.err
    assert encoding(Path("small_whatsapp.jpg").read_bytes()).quality == 75
    assert main(["simulate", "whatsapp", "small.png"]) == 1
    assert "exists already" in capsys.readouterr().err
    assert main(["simulate", "whatsapp", "small.png", "--overwrite", "-o", "small_whatsapp.png"]) == 0
    assert "warning: small_whatsapp.png holds a JPEG picture" in capsys.readouterr().err
    assert main(["simulate", "telegram", "nothing.png"]) == 1
    assert "cannot read nothing.png: No such file" in capsys.readouterr().err


def test_the_command_takes_pipes(capfdbinary, monkeypatch):
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(file())))
    assert main(["simulate", "instagram", "-", "-o", "-"]) == 0
    sys.stdout.flush()
    assert encoding(capfdbinary.readouterr().out).quality == 75


def test_an_unknown_site_is_one_line_and_nothing_is_written(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("small.png").write_bytes(file())
    assert main(["simulate", "mastodn", "small.png", "-o", "a.jpg"]) == 2
    assert capsys.readouterr().err.splitlines() == [
        "unshrink: no site named 'mastodn': did you mean mastodon? (see unshrink simulate --help)"
    ]
    assert [path.name for path in tmp_path.iterdir()] == ["small.png"]


def test_the_list_has_every_row(capsys):
    assert main(["sites"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines[1:-1]] == [site.name for site in sites()]
    assert "Rules change" in lines[-1]
    assert main(["sites", "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)["sites"]
    assert {row["name"]: row["source"] for row in rows} == {site.name: site.source for site in sites()}
    assert main(["sites", "signal"]) == 0
    assert "scaleImageToLevel.ts" in (out := capsys.readouterr().out)
    assert "up to 209 kB without EXIF" in out
    assert find("signal").checked.isoformat() in out


def test_names_of_the_room_are_no_modules():
    room = importlib.import_module("unshrink.sites")
    modules = [path.stem for path in Path(room.__file__).parent.glob("[a-z]*.py")]
    for module in modules:
        importlib.import_module(f"unshrink.sites.{module}")  # which makes it an attribute of the room
    assert not set(modules) & set(room.__all__)
    assert all(callable(getattr(room, name)) for name in room.__all__)
