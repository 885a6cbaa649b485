"""Pictures of any size through a network: the same bytes whatever the pieces, and no more memory than there is."""

import collections
import dataclasses
import functools
import tracemalloc
import warnings
from collections.abc import Iterator

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from networks import OTHERS, Samples, portable_weights, random_weights
from unshrink.errors import ConfigError, ImageError, ProvenanceError, UnshrinkError, UnshrinkWarning, UsageError
from unshrink.network.layers import Step
from unshrink.pictures import resample
from unshrink.pictures.image import Image
from unshrink.pictures.io import read, scan, write
from unshrink.pictures.record import embed, extract
from unshrink.pictures.strips import Strips
from unshrink.runtime import backends, search
from unshrink.runtime.backends.host import Host
from unshrink.runtime.backends.torch import Torch
from unshrink.runtime.pieces import as_values
from unshrink.runtime.rescaler import Rescaler, load
from unshrink.runtime.streaming import Pipeline, padded_strips
from unshrink.weights import Weights, catalogue

RADIUS = 10  # of a published coupling block
LEAST = {
    kind: (2 * search.HALO + 2) * scale
    for kind, scale in {2: 2, 4: 4, "x3": 3, "plain": 2, "plain-x3": 3, "restorer": 2, "pair": 2}.items()
}


@functools.cache
def rescaler(kind: int | str, name: str, tile: int = 0) -> Rescaler:
    weights = random_weights(kind) if name == "torch" else portable_weights(kind)
    backend = rescaler(kind, name).backend if tile else backends.make(weights, name, threads=1, precision="float32")
    return Rescaler(weights, backend, tile)


def noise(height: int, width: int, channels: int = 3, depth: int = 8) -> np.ndarray:
    return np.random.default_rng(height * width).integers(0, 2**depth, (height, width, channels), f"uint{depth}")


@pytest.mark.xdist_group("export")
@pytest.mark.parametrize("name", backends.available())
@settings(deadline=None, max_examples=12)
@given(
    kind=st.sampled_from([2, 4, *OTHERS]),
    height=st.integers(1, 210),
    width=st.integers(1, 210),
    room=st.integers(0, 60),
    channels=st.sampled_from([1, 3]),
    depth=st.sampled_from([8, 16]),
)
def test_tiled_and_whole_are_the_same_bytes(name, kind, height, width, room, channels, depth):
    whole, tiled = rescaler(kind, name), rescaler(kind, name, LEAST[kind] + room)
    hr = noise(height, width, channels, depth)
    lr = whole.downscale(hr)
    pairs = ((lr, tiled.downscale(hr)), (whole.upscale(lr), tiled.upscale(lr)))
    for expected, met in pairs:
        np.testing.assert_array_equal(met, expected)


@pytest.mark.parametrize("backend", [name for name in backends.available() if name in ("kernels", "openvino")])
@pytest.mark.parametrize("name", [row.name for row in catalogue.ENTRIES])
def test_tiled_and_whole_are_the_same_bytes_in_bfloat16(name, backend):
    """Kernels may sum in an order that depends on the width of a piece: those of the shipped shapes must not."""
    try:
        whole = load(name, backend=backend, threads=1, precision="bfloat16")
    except ConfigError as lacking:
        pytest.skip(str(lacking))
    reach = max(search.HALO, 20 if whole.weights.config.get("restorer") else 0)  # which the kernels run as one
    least = (2 * reach + 2) * whole.scale
    for height, width, room in ((least + 24, least + 64, 0), (least + 8, least + 152, 40)):
        tiled = Rescaler(whole.weights, whole.backend, least + room)
        hr = noise(height, width)
        lr = whole.downscale(hr, mark=False)
        np.testing.assert_array_equal(tiled.downscale(hr, mark=False), lr)
        np.testing.assert_array_equal(tiled.upscale(lr), whole.upscale(lr))


@pytest.mark.parametrize("scale", [2, 3, 4, 8])
@given(st.lists(st.integers(1, 9), min_size=1, max_size=5), st.integers(1, 20))
def test_strips_are_padded_as_the_whole_would_be(scale, heights, width):
    pixels = noise(sum(heights), width)
    strips = iter(np.split(pixels, np.cumsum(heights)[:-1]))
    padding = [(0, -side % scale) for side in pixels.shape[:2]]
    padded = np.concatenate(list(padded_strips(Strips(pixels.shape, pixels.dtype, strips), scale)))
    np.testing.assert_array_equal(padded, np.pad(pixels, [*padding, (0, 0)], mode="reflect"))


@pytest.mark.parametrize("suffix", [".png", ".tif"])
@pytest.mark.parametrize("channels", [1, 3, 4])
def test_a_file_goes_by_in_strips_and_is_what_the_array_gives(tmp_path, suffix, channels):
    image, r = Image(noise(190, 120, channels, 16), dpi=(96, 96)), rescaler(2, "torch", LEAST[2] + 40)
    write(image, tmp_path / f"large{suffix}")
    small = r.downscale(tmp_path / f"large{suffix}", tmp_path / f"small{suffix}")
    assert np.array_equal(read(small).pixels, r.downscale(image).pixels)
    passing = r.upscale(scan(small))
    large = read(r.upscale(small, tmp_path / f"back{suffix}"))
    assert np.array_equal(large.pixels, r.upscale(read(small)).pixels)
    assert np.array_equal(large.pixels, np.asarray(passing.pixels))


def test_progress_is_told_strip_by_strip():
    r, pixels = rescaler(2, "torch", LEAST[2] + 40), noise(390, 120)
    for way in (r.downscale, r.upscale):
        told: list[float] = []
        pixels = way(pixels, progress=told.append)
        assert (told[0], told[-1]) == (0, 1)
        assert told == sorted(told)
        assert len(set(told)) > 4


def test_a_damaged_file_is_refused_and_leaves_nothing(tmp_path):
    source = tmp_path / "large.png"
    write(Image(noise(190, 120)), source)
    data = bytearray(source.read_bytes())
    data[len(data) // 2] ^= 255
    source.write_bytes(data)
    with pytest.raises(UnshrinkError, match=r"cannot read .*large\.png: it is damaged"):
        rescaler(2, "torch").downscale(source)
    assert [path.name for path in tmp_path.iterdir()] == ["large.png"]


class Tight(Host):
    """A backend with too little memory for more than ``most`` pixels."""

    name = "tight"
    precision = "float32"

    def __init__(self, most: int) -> None:
        self.most, self.backend = most, rescaler(2, "torch").backend

    def run(self, steps: list[Step], x: np.ndarray) -> np.ndarray:
        if x.shape[2] * x.shape[3] > self.most:
            raise RuntimeError("std::bad_alloc")
        return self.backend.run(steps, x)


def test_where_memory_is_short_tiles_get_smaller_which_is_said_once():
    hr, r = noise(400, 410), Rescaler(random_weights(2), Tight(40_000))
    with pytest.warns(UnshrinkWarning, match="not enough memory: going on with smaller tiles") as told:
        small = r.downscale(hr)
    assert len(told) == 1
    expected = rescaler(2, "torch").downscale(hr)
    assert np.abs(small.astype(int) - expected).max() <= 1
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert np.array_equal(r.downscale(hr), small)


def test_where_memory_is_too_short_for_anything_or_for_what_was_asked_it_is_an_error():
    with pytest.warns(UnshrinkWarning), pytest.raises(UnshrinkError, match="the smallest piece"):
        Rescaler(random_weights(2), Tight(100)).downscale(noise(400, 410))
    with pytest.raises(UnshrinkError, match=f"tiles of {LEAST[2] + 200}: choose smaller"):
        Rescaler(random_weights(2), Tight(40_000), LEAST[2] + 200).downscale(noise(400, 410))


def test_a_tile_must_hold_more_than_the_surroundings():
    with pytest.raises(ConfigError, match=f"tile is 9: random-x2 needs {LEAST[2]} or more"):
        Rescaler(random_weights(2), Tight(1), 9)


def test_of_a_tall_picture_few_rows_are_held():
    weights, tile, read, given = random_weights(4, blocks=[8, 8]), 320, 0, 0
    reach = 8 * RADIUS * 2 + 8 * RADIUS * 4  # of all blocks, below what has been given

    def strips() -> Iterator[np.ndarray]:
        nonlocal read
        for _ in range(100):
            read += 20
            yield noise(20, 40)

    pipeline = Pipeline(weights, backends.make(weights, "torch", threads=1), tile)
    small = pipeline.down(Strips((2000, 40, 3), np.uint8, strips()), as_values, lambda share: None)
    for strip in small:
        given += 4 * len(strip)
        assert given <= 2000
        assert read - given < reach + 2 * tile
    assert given == 2000


def test_a_block_more_costs_the_memory_of_its_surroundings_and_no_more():
    def peak(blocks: list[int]) -> int:
        weights = random_weights(4, blocks=blocks)
        strips = (np.zeros((64, 1600, 3), np.uint8) for _ in range(20))
        tracemalloc.start()
        picture = Strips((1280, 1600, 3), np.uint8, strips)
        collections.deque(Pipeline(weights, Samples(), 256).down(picture, as_values, lambda share: None), maxlen=0)
        most = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return most

    values = 7 * 2 * RADIUS * (800 * 12 + 400 * 48)  # of seven blocks more at each level
    assert peak([8, 8]) - peak([1, 1]) < 1.5 * 4 * values


@pytest.mark.parametrize("suffix", [".png", ".tif"])
@pytest.mark.parametrize("channels", [1, 3, 4])
@pytest.mark.parametrize("size", [{"scale": 1.7}, {"fit": 101}, {"scale": 2.3}])
def test_at_any_scale_a_file_in_strips_gives_the_bytes_of_the_array(tmp_path, monkeypatch, suffix, channels, size):
    image, tiled = Image(noise(190, 121, channels, 16)), rescaler(2, "torch", LEAST[2] + 40)
    write(image, tmp_path / f"large{suffix}")
    expected = rescaler(2, "torch").downscale(image, **size)
    monkeypatch.setattr(resample, "STRIP_BYTES", 30_000)
    small = tiled.downscale(tmp_path / f"large{suffix}", tmp_path / f"small{suffix}", **size)
    assert np.array_equal(read(small).pixels, expected.pixels)
    large = read(tiled.upscale(small, tmp_path / f"back{suffix}"))
    monkeypatch.undo()
    assert large.size == image.size
    assert np.array_equal(large.pixels, rescaler(2, "torch").upscale(expected).pixels)


@settings(deadline=None, max_examples=25)
@given(
    width=st.integers(1, 90),
    height=st.integers(1, 90),
    hundredths=st.integers(110, 300),
    channels=st.sampled_from([1, 2, 3, 4]),
    depth=st.sampled_from([8, 16]),
)
def test_at_any_scale_a_picture_of_any_size_comes_back_to_its_size(width, height, hundredths, channels, depth):
    r, image = Rescaler(random_weights(2), Samples()), Image(noise(height, width, channels, depth))
    small = r.downscale(image, scale=hundredths / 100)
    assert small.size == tuple(-(-side * 100 // hundredths) for side in image.size)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        back = r.upscale(small)
    assert (back.size, back.channels, back.depth) == (image.size, channels, depth)


def test_a_record_whose_sizes_contradict_each_other_is_malformed_or_warned_of():
    r = Rescaler(random_weights(2), Samples())
    small = r.downscale(Image(noise(43, 31)), scale=1.3)
    record, bare = extract(small)
    assert (record.size, record.resized) == ((31, 43), (48, 68))
    for wrong in ((48, 60), (31, 43), (49, 68)):
        with pytest.raises(ProvenanceError, match="malformed"):
            dataclasses.replace(record, resized=wrong)
    with pytest.warns(UnshrinkWarning, match="its record was altered"):
        assert r.upscale(embed(bare, dataclasses.replace(record, resized=None))).size == (48, 68)


def test_one_colour_comes_back_at_any_scale():
    r = Rescaler(random_weights(2), Samples())
    for value in (0, 77, 255):
        flat = Image(np.full((43, 31, 3), value, np.uint8))
        small = r.downscale(flat, scale=1.3)
        assert (small.pixels == value).all()
        assert (r.upscale(small).pixels == value).all()


def test_arrays_and_tensors_come_back_by_their_size():
    torch = pytest.importorskip("torch")
    r, pixels = Rescaler(random_weights(2), Samples()), noise(43, 31)
    small = r.downscale(pixels, scale=1.3)
    assert np.array_equal(r.upscale(small, size=(31, 43)), r.upscale(r.downscale(Image(pixels), scale=1.3)).pixels)
    planes = torch.from_numpy(pixels.transpose(2, 0, 1)[None] / np.float32(255))
    little = r.downscale(planes, scale=1.3)
    assert np.array_equal((little[0] * 255).round().numpy().transpose(1, 2, 0), small)
    assert r.upscale(little, size=(31, 43)).shape == planes.shape
    with pytest.raises(ImageError, match="size 31x20 does not fit a small picture of 24x34"):
        r.upscale(small, size=(31, 20))


def test_a_ratio_beyond_the_weights_is_refused():
    r = Rescaler(random_weights(2), Samples())
    with pytest.raises(ConfigError, match=r"3\.1 times smaller, and random-x2 makes it 3 times smaller at most"):
        r.downscale(noise(40, 40), scale=3.1)
    with pytest.raises(UsageError, match="scale and fit contradict"):
        r.downscale(noise(40, 40), scale=2, fit=20)
    with pytest.raises(ImageError, match="fits into 40x40 already"):
        r.downscale(noise(40, 40), fit=40)


def test_at_any_scale_the_search_keeps_the_size_and_never_restores_worse():
    r, image = rescaler(2, "torch"), Image(noise(41, 37))
    found: list[search.Refined] = []
    small = r.downscale(image, scale=1.6, effort=2, report=found.append)
    assert small.size == (24, 26)
    assert r.upscale(small).size == image.size
    assert found[0].gain_rgb >= 0


class Device(Torch):
    """A CPU that counts what is copied to it and back, as if it had a memory of its own."""

    def __init__(self, weights: Weights, memory: int) -> None:
        super().__init__(weights, threads=1)
        self.memory, self.to, self.back = memory, 0, 0

    @property
    def device_memory(self) -> int:
        return self.memory

    def _to_tensor(self, array: np.ndarray) -> torch.Tensor:
        self.to += 1
        return super()._to_tensor(array)

    def _to_array(self, tensor: torch.Tensor) -> np.ndarray:
        self.back += 1
        return super()._to_array(tensor)


@pytest.mark.parametrize(("memory", "pieces"), [(1 << 30, 1), (8_000_000, 4)])
@pytest.mark.parametrize("kind", [4, "plain", "restorer"])
def test_a_piece_goes_to_a_device_once_and_comes_back_once(kind, memory, pieces):
    """Through all layers there; the result is that of layer by layer, to the last bit."""
    device = Device(random_weights(kind), memory)
    hr = noise(310, 330)
    met, staged = Rescaler(device._made_of[0], device), rescaler(kind, "torch")
    small = met.downscale(hr)
    np.testing.assert_array_equal(small, staged.downscale(hr))
    assert device.to == device.back
    assert device.to == 1 if pieces == 1 else device.to > 1
    np.testing.assert_array_equal(met.upscale(small), staged.upscale(small))
    assert device.to == device.back
    assert device.to == 2 if pieces == 1 else device.to > 3
