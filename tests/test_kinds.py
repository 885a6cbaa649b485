"""What users hand in and get back: every kind of picture, what is saved of it, and that it comes back to its size."""

import io
import pickle
import warnings
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context

import numpy as np
import PIL.Image
import pytest

import unshrink
from networks import Samples, random_weights
from unshrink.errors import ConfigError, ImageError, ModelNotFoundError, UnshrinkWarning
from unshrink.pictures import record as provenance
from unshrink.pictures.image import Image, PassingImage
from unshrink.pictures.io import read, save, scan, write
from unshrink.runtime import backends
from unshrink.runtime.rescaler import Rescaler, load

QUICK = Rescaler(random_weights(4), Samples())
SIZE = (41, 30)  # no multiple of the scale


def photo(channels: int = 3, dtype: type = np.uint8) -> np.ndarray:
    draw = np.random.default_rng(0).integers(0, np.iinfo(dtype).max, (SIZE[1], SIZE[0], channels), dtype)
    return draw[..., 0] if channels == 1 else draw


# -- PIL ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("mode", ["L", "LA", "RGB", "RGBA", "I;16"])
@pytest.mark.parametrize("suffix, options", [
    (".png", {}), (".webp", {"lossless": True, "exact": True}), (".tif", {}), (".tif", {"compression": "tiff_lzw"})
])  # fmt: skip
def test_what_pillow_saves_comes_back_to_its_exact_size(tmp_path, mode, suffix, options):
    large = PIL.Image.fromarray(photo(dtype=np.uint16, channels=1) if mode == "I;16" else photo()).convert(mode)
    large.info["xmp"] = b"<x:xmpmeta><rdf:RDF>of the photo</rdf:RDF></x:xmpmeta>"
    small = QUICK.downscale(large)
    small.save(tmp_path / f"small{suffix}", **options)
    record, bare = provenance.extract(read(tmp_path / f"small{suffix}"))
    assert record
    assert record.size == SIZE
    assert bare.xmp == large.info["xmp"]
    if mode == "I;16" and suffix == ".webp":
        return  # Pillow cuts 16 bits to 8: it is not the picture any more
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with PIL.Image.open(tmp_path / f"small{suffix}") as small:
            assert QUICK.upscale(small).size == SIZE
        assert read(QUICK.upscale(tmp_path / f"small{suffix}")).size == SIZE


def test_a_copy_by_pillow_keeps_the_record_for_our_save(tmp_path):
    small = QUICK.downscale(PIL.Image.fromarray(photo()))
    for number, picture in enumerate((small, small.copy(), PIL.Image.fromarray(np.asarray(small)))):
        save(picture, tmp_path / f"{number}.png")
    assert [bool(provenance.extract(read(tmp_path / f"{n}.png"))[0]) for n in range(3)] == [True, True, False]


@pytest.mark.parametrize("suffix", [".png", ".webp", ".tif"])
def test_saved_small_pictures_come_back_to_their_exact_size(tmp_path, suffix):
    for number, kind in enumerate((Image(photo()), PIL.Image.fromarray(photo()))):
        path = tmp_path / f"{number}{suffix}"
        save(QUICK.downscale(kind), path)
        assert read(QUICK.upscale(path)).size == SIZE
        with pytest.raises(ImageError, match="exists"):
            save(QUICK.downscale(kind), path)
        save(QUICK.downscale(kind), path, overwrite=True)


def test_what_carries_no_record_is_not_saved_silently(tmp_path):
    small = QUICK.downscale(photo())
    with pytest.raises(ImageError, match=r"cannot save a ndarray, which carries no record: .*size="):
        save(small, tmp_path / "small.png")
    save(Image(small), tmp_path / "small.png")
    with pytest.warns(UnshrinkWarning, match="no record"):
        assert read(QUICK.upscale(tmp_path / "small.png", size=SIZE)).size == SIZE


# -- files in memory, lists --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("form", ["png", "webp", "tiff"])
def test_bytes_and_streams_give_images(tmp_path, form):
    stream = io.BytesIO()
    write(Image(photo()), stream, format=form)
    expected = QUICK.downscale(Image(photo()))
    for given in (stream.getvalue(), io.BytesIO(stream.getvalue())):
        small = QUICK.downscale(given)
        assert isinstance(small, Image)
        np.testing.assert_array_equal(small.pixels, expected.pixels)
    file = io.BytesIO()
    save(small, file, format=form)
    (tmp_path / "small").write_bytes(file.getvalue())
    with (tmp_path / "small").open("rb") as opened:
        for given in (file.getvalue(), opened):
            large = QUICK.upscale(given)
            assert isinstance(large, Image)
            assert large.size == SIZE


def test_bytes_that_are_no_picture_are_refused():
    with pytest.raises(ImageError, match="not a PNG"):
        QUICK.downscale(b"hello")
    with pytest.raises(ImageError, match="out is for one path"):
        QUICK.downscale([Image(photo())], "out.png")


def test_lists_give_lists_and_one_progress(tmp_path):
    write(Image(photo()), tmp_path / "a.png")
    told: list[float] = []
    given = [tmp_path / "a.png", Image(photo()), PIL.Image.fromarray(photo()), photo()]
    small = QUICK.downscale(given, progress=told.append)
    assert [type(one) for one in small] == [type(tmp_path), Image, PIL.Image.Image, np.ndarray]
    assert told == sorted(told)
    assert (told[0], told[-1]) == (0, 1)
    assert {0.25, 0.5, 0.75} <= set(told)
    large = QUICK.upscale(small[:3])
    assert [read(large[0]).size, large[1].size, large[2].size] == [SIZE] * 3
    assert QUICK.upscale([]) == []


def test_a_passing_image_gives_a_passing_one(tmp_path):
    for channels in (3, 4):
        write(Image(photo(channels)), tmp_path / "a.png", overwrite=True)
        small = QUICK.downscale(scan(tmp_path / "a.png"))
        np.testing.assert_array_equal(small.pixels, QUICK.downscale(photo(channels)))
        large = QUICK.upscale(small.passing())
        assert isinstance(large, PassingImage)
        np.testing.assert_array_equal(large.whole().pixels, QUICK.upscale(small).pixels)


# -- load --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("scale", [None, 2, 3, 4, 8])
def test_the_default_weights_of_a_scale(scale):
    r = load(scale=scale, backend="torch")
    assert r.weights.name == unshrink.weights.for_scale(scale or 2).name
    assert r.scale == (scale or 2)
    assert load(r.weights.name, scale=scale, backend="torch").name == r.name


def test_a_scale_that_there_is_not_is_refused():
    with pytest.raises(ConfigError, match="scale 4 contradicts the model: irn-x2 has scale 2"):
        load("irn-x2", scale=4)
    with pytest.raises(ModelNotFoundError, match="no weights for scale 5"):
        load(scale=5)


# -- pickle ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", backends.available())
def test_a_pickled_rescaler_makes_the_same_picture(name):
    r = load(scale=2, backend=name, threads=1, tile=300)
    small = r.downscale(photo())  # what it has compiled by now stays here
    again = pickle.loads(pickle.dumps(r))
    assert (again.name, again.backend.name, again.tile) == (r.name, name, 300)
    assert again.weights.identity == r.weights.identity
    np.testing.assert_array_equal(again.downscale(photo()), small)


def test_the_settings_of_a_backend_are_pickled():
    for name in ("openvino", "torch"):
        again = pickle.loads(pickle.dumps(load(scale=2, backend=name, threads=1, precision="bfloat16")))
        assert again.backend.precision == "bfloat16"
    assert again.backend._made_of[1:] == (1, "cpu", "bfloat16")


def test_a_rescaler_goes_to_a_spawned_process():
    r = load(scale=2, backend="torch", threads=1)
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        small = pool.submit(r.downscale, photo()).result()
    np.testing.assert_array_equal(small, r.downscale(photo()))


def test_pil_images_of_damaged_and_closed_files_are_our_errors(tmp_path):
    stream = io.BytesIO()
    PIL.Image.fromarray(photo()).save(stream, "png")
    cut, whole = io.BytesIO(stream.getvalue()[:1500]), tmp_path / "a.png"
    whole.write_bytes(stream.getvalue())
    with pytest.raises(ImageError, match=r"cannot read the PIL image: it is damaged .*truncated.*; get the file again"):
        QUICK.downscale(PIL.Image.open(cut))
    closed = PIL.Image.open(whole)
    closed.close()
    for use in (QUICK.downscale, QUICK.upscale, lambda picture: save(picture, tmp_path / "b.png")):
        with pytest.raises(ImageError, match="the PIL image: it is closed; use it before"):
            use(closed)
    assert not (tmp_path / "b.png").exists()


def test_writing_a_pil_image_says_which_function_does(tmp_path):
    with pytest.raises(
        ImageError, match=r"cannot write a Image: give an unshrink.Image, or a PIL image to unshrink.save"
    ):
        write(PIL.Image.fromarray(photo()), tmp_path / "a.png")
    assert not list(tmp_path.iterdir())
