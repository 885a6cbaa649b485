import dataclasses
import warnings

import numpy as np
import PIL.Image
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from networks import Samples, portable_weights, random_weights
from unshrink.errors import ImageError, UnshrinkError, UnshrinkWarning
from unshrink.network.layers import Step
from unshrink.pictures import record as provenance
from unshrink.pictures.image import Image
from unshrink.pictures.io import read, write
from unshrink.runtime import backends
from unshrink.runtime.backends.host import Host
from unshrink.runtime.rescaler import Rescaler


def weights_of(scale: int, latent: str = "zero"):
    """Random ones with a gentle hand: the small picture looks like one, so that restoring is near the original."""
    from unshrink.network import architectures
    from unshrink.weights import Weights

    config = {
        "scale": scale,
        "blocks": {2: [1], 3: [1], 4: [1, 1], 8: [1, 1, 1]}[scale],
        "growth": 4,
        "clamp": 1.0,
        "latent": latent,
    }
    rng = np.random.default_rng(0)
    shapes = architectures.shapes(architectures.from_dict("irn", config))
    tensors = {name: rng.normal(0, 0.02, shape).astype(np.float16) for name, shape in shapes.items()}
    for name, tensor in tensors.items():
        if name.endswith("matrix"):
            tensor += torch.eye(9).numpy().astype(np.float16)
            tensor[:, 0] = 1 / 9
    return Weights(f"test-x{scale}", "irn", config, tensors)


def rescaler(scale: int, tile: int = 0, **options) -> Rescaler:
    weights = weights_of(scale, **options)
    return Rescaler(weights, backends.make(weights, "torch", threads=1), tile)


RESCALERS = {scale: rescaler(scale) for scale in (2, 3, 4, 8)}


def picture(height: int, width: int, channels: int = 3, dtype: type = np.uint8) -> np.ndarray:
    """Smooth colours, so that even an untrained network restores them roughly."""
    y, x, c = np.mgrid[:height, :width, :channels]
    values = 0.5 + 0.4 * np.sin(y / 17 + c) * np.cos(x / 13 - c)
    return np.rint(values * np.iinfo(dtype).max).astype(dtype)


@pytest.mark.parametrize("scale", RESCALERS)
def test_every_size_comes_back(scale):
    r = Rescaler(weights_of(scale), Samples())
    for height, width in [*np.ndindex(41, 41), (97, 61)]:
        if height and width:
            small = r.downscale(Image(picture(height, width)))
            assert small.size == (-(-width // scale), -(-height // scale))
            assert r.upscale(small).size == (width, height)


@settings(deadline=None, max_examples=25)
@given(
    scale=st.sampled_from([2, 3, 4, 8]),
    height=st.integers(1, 97),
    width=st.integers(1, 61),
    channels=st.integers(1, 4),
    dtype=st.sampled_from([np.uint8, np.uint16]),
)
def test_every_kind_of_pixels_comes_back_as_it_was(scale, height, width, channels, dtype):
    image = Image(picture(height, width, channels, dtype))
    small = RESCALERS[scale].downscale(image)
    large = RESCALERS[scale].upscale(small)
    assert small.pixels.dtype == dtype
    assert small.pixels.shape[2] == channels
    assert large.pixels.shape == image.pixels.shape
    assert large.pixels.dtype == dtype


def test_sixteen_bits_stay_sixteen_bits():
    image = Image(picture(64, 64, 3, np.uint16))
    large = RESCALERS[2].upscale(RESCALERS[2].downscale(image))
    coarse = RESCALERS[2].upscale(RESCALERS[2].downscale(image, depth=8))
    assert coarse.depth == 16, "the record tells the depth, also of a small picture of 8 bits"
    assert len(np.unique(large.pixels % 257)) > 200, "values between the 8-bit ones"


def test_grey_is_the_mean_of_what_the_network_makes_of_it():
    grey = picture(60, 80, 1)
    small = RESCALERS[2].downscale(grey)
    colour = RESCALERS[2].downscale(grey.repeat(3, axis=2))
    assert np.abs(small.astype(float) - colour.mean(axis=2, keepdims=True)).max() < 1


def test_opaque_and_transparent_areas_are_exact_and_hidden_colours_do_not_leak():
    pixels = picture(64, 64, 4)
    pixels[..., 3] = 255
    pixels[16:48, 16:48] = 0
    pixels[20:30, 0:10, 3] = 100
    small = RESCALERS[4].downscale(Image(pixels))
    large = RESCALERS[4].upscale(small).pixels
    for value in (0, 255):
        inside = np.zeros((64, 64), bool)
        blocks = (pixels[..., 3] == value).reshape(16, 4, 16, 4).all(axis=(1, 3))
        inside |= blocks.repeat(4, 0).repeat(4, 1)
        assert inside.any()
        assert (large[..., 3][inside] == value).all()
    assert (large[large[..., 3] == 0] == 0).all()
    edge = small.pixels[small.pixels[..., 3] == 0][:, :3]
    assert edge.min() > 20, "black under full transparency was filled from its surroundings"


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_an_opaque_alpha_changes_nothing_but_itself(dtype):
    r, pixels = RESCALERS[2], picture(21, 34, 4, dtype)
    pixels[..., 3] = np.iinfo(dtype).max
    small = r.downscale(pixels)
    assert (small[..., 3] == np.iinfo(dtype).max).all()
    assert (small[..., :3] == r.downscale(np.ascontiguousarray(pixels[..., :3]))).all()
    large = r.upscale(small)
    assert (large[..., 3] == np.iinfo(dtype).max).all()
    assert (large[..., :3] == r.upscale(np.ascontiguousarray(small[..., :3]))).all()


def test_metadata_travels_both_ways():
    image = Image(picture(9, 7), icc=b"profile", exif=b"II*\0\x08\0\0\0\0\0\0\0\0\0", xmp=None, dpi=(300.0, 300.0))
    small = RESCALERS[2].downscale(image)
    large = RESCALERS[2].upscale(small)
    for got in (small, large):
        assert (got.icc, got.exif, got.dpi) == (image.icc, image.exif, image.dpi)
    assert small.xmp is not None
    assert large.xmp is None


def test_the_record_says_what_made_it():
    r = RESCALERS[4]
    small = r.downscale(Image(picture(31, 63, 3, np.uint16)), depth=8)
    record, _ = provenance.extract(small)
    assert record == provenance.Record(
        model="test-x4",
        weights=r.weights.identity[:16],
        scale=4,
        size=(63, 31),
        depth=16,
        channels=3,
        pixels=provenance.checksum(small.pixels),
        precision="float32",
    )


def changed(image: Image) -> Image:
    pixels = image.pixels.copy()
    pixels[0, 0] ^= 1
    return dataclasses.replace(image, pixels=pixels)


@pytest.mark.parametrize(
    "alter, reason",
    [
        (lambda small: small.strip(), "has no record"),
        (changed, "pixels were changed"),
        (lambda small: rescaler(2, latent="gaussian").downscale(Image(picture(20, 30))), "made by other weights"),
    ],
)
def test_a_picture_that_is_not_as_it_was_made_is_warned_about(alter, reason):
    r = RESCALERS[2]
    small = r.downscale(Image(picture(20, 30)))
    with pytest.warns(UnshrinkWarning, match=reason):
        assert r.upscale(alter(small)).size == (30, 20)


def test_a_resized_small_picture_is_still_enlarged():
    small = RESCALERS[2].downscale(Image(picture(20, 30)))
    halved = dataclasses.replace(small, pixels=np.ascontiguousarray(small.pixels[::2, ::2]))
    with pytest.warns(UnshrinkWarning, match="pixels were changed"):
        assert RESCALERS[2].upscale(halved).size == (16, 10)


def claiming(small: Image, **claims) -> Image:
    """A small picture whose record was altered."""
    record, _ = provenance.extract(small)
    return provenance.embed(small, dataclasses.replace(record, **claims))


@pytest.mark.parametrize("claims, reason", [
    ({"size": (1_000_000, 8000)}, r"size = \(1000000, 8000\); met 15x10 pixels"),
    ({"size": (32, 20)}, r"size = \(32, 20\)"),
    ({"channels": 1}, "channels = 1; met .*RGB and alpha"),
    ({"channels": 2}, "channels = 2; met"),
    ({"channels": 3}, "channels = 3; met"),
    ({"scale": 16}, "scale = 16"),
    ({"scale": 16, "size": (240, 160)}, "it says test-x2 at scale 16, [0-9a-f]{16} is test-x2 at scale 2"),
    ({"model": "irn-x4"}, "it says irn-x4 at scale 2"),
])  # fmt: skip
def test_a_record_that_does_not_fit_is_not_believed(claims, reason):
    """The picture is in colour and has transparency: what is there comes back, whatever the record says."""
    r, pixels = RESCALERS[2], picture(20, 30, 4)
    pixels[4:8, 4:8, 3] = 0
    small = r.downscale(Image(pixels))
    true = r.upscale(small)
    with pytest.warns(UnshrinkWarning, match=f"its record was altered.*{reason}"):
        large = r.upscale(claiming(small, **claims))
    assert (large.pixels == true.pixels).all()


@pytest.mark.parametrize("channels, kept", [(1, [1, 2, 3, 4]), (2, [2, 4]), (3, [3, 4]), (4, [4])])
def test_what_a_picture_may_come_from(channels, kept):
    """Grey may come from a grey photo in colour, and opaque from one with an alpha channel; never the other way."""
    small = RESCALERS[2].downscale(Image(picture(20, 30, channels)))
    record, _ = provenance.extract(small)
    claims = {claimed: dataclasses.replace(record, channels=claimed) for claimed in (1, 2, 3, 4)}
    assert [claimed for claimed, one in claims.items() if not provenance.fault(one, small)] == kept


def test_without_a_record_the_weights_that_made_it_still_bring_it_back():
    r, large = RESCALERS[2], Image(picture(20, 30))
    small = r.downscale(large)
    with pytest.warns(UnshrinkWarning, match="no record .* if test-x2 made it .* it comes back; if not"):
        back = r.upscale(small.strip())
    assert (back.pixels == r.upscale(small).pixels).all()


# -- kinds -------------------------------------------------------------------------------------------------------------


def test_arrays_give_arrays():
    r = RESCALERS[4]
    for shape in ((30, 41), (30, 41, 1), (30, 41, 3), (30, 41, 4)):
        array = picture(30, 41, shape[2] if len(shape) > 2 else 1).reshape(shape)
        small = r.downscale(array)
        assert small.shape == (8, 11, *shape[2:])
        assert r.upscale(small).shape == (32, 44, *shape[2:])
        assert r.upscale(small, size=(41, 30)).shape == shape


def test_pil_images_give_pil_images_and_carry_the_record():
    image = PIL.Image.fromarray(picture(30, 41))
    small = RESCALERS[4].downscale(image)
    assert isinstance(small, PIL.Image.Image)
    assert small.size == (11, 8)
    assert RESCALERS[4].upscale(small).size == (41, 30)


def test_tensors_give_tensors_equal_to_the_network():
    r, hr = RESCALERS[2], torch.from_numpy(picture(16, 24).transpose(2, 0, 1).copy())[None].float() / 255
    batch = torch.cat((hr, hr.flip(3)))
    small = r.downscale(batch)
    assert torch.equal(small[0], r.downscale(hr)[0])
    assert torch.allclose(small * 255, (small * 255).round(), atol=1e-4)
    assert np.array_equal(np.rint(small[0].numpy() * 255).transpose(1, 2, 0), r.downscale(picture(16, 24)))
    assert r.upscale(small).shape == batch.shape
    assert r.upscale(r.downscale(batch[..., :15, :]), size=(24, 15)).shape == (2, 3, 15, 24)


def test_paths_give_paths(tmp_path):
    r, source = RESCALERS[2], tmp_path / "photo.png"
    write(Image(picture(31, 21)), source)
    small = r.downscale(source)
    assert small == tmp_path / "photo_x2.png"
    large = r.upscale(str(small))
    assert large == str(tmp_path / "photo_restored.png")
    assert read(large).size == (21, 31)
    assert np.array_equal(read(small).pixels, r.downscale(picture(31, 21)))
    with pytest.raises(ImageError, match="exists"):
        r.downscale(source)
    r.downscale(source, overwrite=True)
    with pytest.raises(ImageError, match="only the exact values"):
        r.downscale(source, tmp_path / "small.jpg")
    assert not (tmp_path / "small.jpg").exists()


def test_a_webp_small_picture_of_sixteen_bits_or_grey_comes_back_as_it_was(tmp_path):
    r = RESCALERS[2]
    for channels, dtype in ((3, np.uint16), (1, np.uint8), (2, np.uint8), (1, np.uint16)):
        source = tmp_path / f"{channels}{dtype.__name__}.tif"
        write(Image(picture(20, 30, channels, dtype)), source)
        large = read(r.upscale(r.downscale(source, source.with_suffix(".webp"))))
        assert large.pixels.shape == (20, 30, channels)
        assert large.pixels.dtype == dtype


@pytest.mark.parametrize(
    "thing",
    [np.zeros((4, 4, 3)), np.zeros((4, 4, 5), np.uint8), np.zeros((0, 4), np.uint8), [[1]], torch.zeros(3, 8, 8)],
)
def test_other_things_are_refused_with_what_is_allowed(thing):
    with pytest.raises(ImageError, match=r"cannot use .*: give .*\(N, 3, H, W\)"):
        RESCALERS[2].downscale(thing)


def test_a_size_that_does_not_fit_is_refused():
    with pytest.raises(ImageError, match="size 15x20 does not fit a small picture of 10x10"):
        RESCALERS[2].upscale(picture(10, 10), size=(15, 20))


# -- networks ----------------------------------------------------------------------------------------------------------


def test_tiles_make_the_same_picture():
    for scale, tile in ((2, 80), (4, 160)):
        whole, tiled = RESCALERS[scale], rescaler(scale, tile=tile)
        image = picture(150, 170)
        small = whole.downscale(image)
        assert np.abs(small.astype(int) - tiled.downscale(image)).max() <= 1
        assert (small == tiled.downscale(image)).mean() > 0.9999
        large = whole.upscale(small)
        assert (large == tiled.upscale(small)).mean() > 0.9999


def test_a_drawn_latent_depends_on_its_seed_alone():
    r = rescaler(2, latent="gaussian")
    small = r.downscale(picture(20, 30))
    assert np.array_equal(r.upscale(small, seed=3), r.upscale(small, seed=3))
    assert not np.array_equal(r.upscale(small, seed=3), r.upscale(small, seed=4))


@pytest.mark.xdist_group("export")
@pytest.mark.parametrize("scale", [2, 4])
def test_backends_make_the_same_pictures(scale, small_set):
    image = read(small_set / "chelsea.png").pixels[40:103, 80:211]  # of odd sides
    weights = portable_weights(scale)
    results = {}
    for name in backends.available():
        r = Rescaler(weights, backends.make(weights, name, threads=1))
        small = r.downscale(image)
        results[name] = small.astype(int), r.upscale(small).astype(int)
    small, large = results.pop("torch")
    for name in results:
        assert np.abs(results[name][0] - small).max() <= 1
        assert (results[name][0] == small).mean() >= 0.9999
        assert np.abs(results[name][1] - large).mean() < 0.01


def test_values_that_are_not_numbers_are_an_error_not_a_black_picture():
    class Broken(Host):
        name = "broken"
        precision = "float32"

        def run(self, steps: list[Step], x: np.ndarray) -> np.ndarray:
            return np.full((1, steps[-1].channels[1], x.shape[2] // 2, x.shape[3] // 2), np.nan, np.float32)

    with pytest.raises(UnshrinkError, match="not numbers: nothing was written"):
        Rescaler(random_weights(2), Broken()).downscale(picture(8, 8))


def test_arrays_are_not_warned_about():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        RESCALERS[2].upscale(RESCALERS[2].downscale(picture(8, 8)))
