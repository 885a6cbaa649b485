import itertools
from collections.abc import Iterator

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from unshrink.network.layers import Coupling, Head, Layer, Residual, Tail
from unshrink.network.modules import MODULES, HaarDownsample
from unshrink.network.subnets import dense, plain
from unshrink.pictures.strips import Strips, Window, in_strips
from unshrink.runtime import memory
from unshrink.runtime.memory import free_memory, is_out_of_memory
from unshrink.runtime.tiling import count, counts, outer_length, run_tiled, spans

SHAPE = Coupling(12, dense(4))


def block(shape: Layer = SHAPE) -> torch.nn.Module:
    torch.manual_seed(0)
    made = MODULES[type(shape)](shape).double()
    for parameter in made.parameters():
        torch.nn.init.normal_(parameter, std=0.1)
    return made.requires_grad_(False)


@given(st.integers(1, 300), st.integers(1, 90), st.integers(0, 20))
def test_pieces_of_one_length_cover_a_side_and_have_their_surroundings(length, room, reach):
    most = 2 * reach + room
    pieces = count(length, most, reach)
    cut = spans(length, pieces, reach)
    assert [span.core[0] for span in cut] == [0, *(span.core[1] for span in cut[:-1])]
    assert cut[-1].core[1] == length
    assert {span.outer[1] - span.outer[0] for span in cut} == {outer_length(length, pieces, reach)}
    assert outer_length(length, pieces, reach) <= most
    for (start, stop), (low, high) in ((span.core, span.outer) for span in cut):
        assert start < stop
        assert low == 0 or low <= start - reach
        assert high == length or stop + reach <= high
    if pieces > 1:
        assert outer_length(length, pieces - 1, reach) > most, "fewer would do"


@settings(deadline=None, max_examples=12)
@given(height=st.integers(1, 50), width=st.integers(1, 50), room=st.integers(7, 40))
def test_tiled_equals_whole_both_ways(height, width, room):
    layers, reach = (HaarDownsample(), block()), SHAPE.reach
    most = 2 * reach + room
    cut = height, most, reach, spans(width, count(width, most, reach), reach)
    hr = np.random.default_rng(0).random((2 * height, 2 * width, 3))

    def down(x: np.ndarray) -> np.ndarray:
        return layers[1](layers[0](torch.from_numpy(x.transpose(2, 0, 1))[None]))[0].numpy().transpose(1, 2, 0)

    def up(low: np.ndarray, detail: np.ndarray) -> np.ndarray:
        y = torch.from_numpy(np.concatenate((low, detail), axis=2).transpose(2, 0, 1))[None]
        return layers[0].inverse(layers[1].inverse(y))[0].numpy().transpose(1, 2, 0)

    whole = down(hr)
    tiled = np.concatenate(list(run_tiled(down, [(hr, 2)], 1, *cut)))
    np.testing.assert_allclose(tiled, whole, atol=1e-9)
    bands = whole[..., :3], whole[..., 3:] * 0
    tiled = np.concatenate(list(run_tiled(up, [(band, 1) for band in bands], 2, *cut)))
    np.testing.assert_allclose(tiled, up(*bands), atol=1e-9)


@given(
    height=st.integers(1, 120),
    halo=st.sampled_from([0, 2, 4]),
    room=st.integers(2, 30),
    factor=st.integers(1, 3),
    cuts=st.lists(st.integers(1, 40), min_size=1, max_size=9),
)
def test_rows_that_come_in_strips_are_run_with_their_surroundings_and_do_not_wait(height, halo, room, factor, cuts):
    most, pulled, done = 2 * halo + room, 0, 0

    def strips() -> Iterator[np.ndarray]:
        nonlocal pulled
        for cut in itertools.cycle(cuts):
            if pulled == height * factor:
                return
            assert factor > 1 or pulled - done <= halo + 1, "what could be run was not"
            top, pulled = pulled, min(pulled + cut, height * factor)
            yield np.arange(top, pulled)[:, None, None]

    def run(piece: np.ndarray) -> np.ndarray:
        rows = piece[::factor] // factor
        assert len(rows) <= most
        assert rows[0] == max(done - halo, 0)
        assert rows[0] % 2 == 0
        return rows

    picture = Strips((height * factor, 1, 1), np.int64, strips())
    for strip in run_tiled(run, [(picture, factor)], 1, height, most, halo, spans(1, 1, 0)):
        np.testing.assert_array_equal(strip[:, 0, 0], np.arange(done, done + len(strip)))
        done += len(strip)
        assert pulled >= min(done + halo, height) * factor
    assert done == height


SHAPES = {
    "published coupling": SHAPE,
    "plain coupling": Coupling(12, plain(6, 2)),
    "deep joint coupling": Coupling(12, plain(6, 4), joint=True),
    "steady coupling": Coupling(12, plain(6, 2), joint=True, steady=True),
    "head": Head(3, 5),
    "steady head": Head(3, 5, steady=True),
    "residual": Residual(3, 5, dense(4)),
    "tail": Tail(3, 5, 12),
}


@pytest.mark.parametrize("direction", ["forward", "inverse"])
@pytest.mark.parametrize("name", SHAPES)
def test_the_halo_is_as_wide_as_the_reach_of_a_layer(name, direction):
    """One pixel far away changes results up to the halo's distance, and none beyond it."""
    shape = SHAPES[name]
    if not hasattr(module := block(shape), direction):
        return
    run, x = getattr(module, direction), torch.rand(1, shape.channels[0], 4, 60, dtype=torch.float64)
    changed = x.clone()
    changed[..., 30] += 0.5
    touched = (run(x) - run(changed)).abs().amax((0, 1, 2)).nonzero().flatten()
    assert max(30 - touched.min(), touched.max() - 30) == shape.reach


def taken(size: tuple[int, int], memory: int, strip: int) -> tuple[int, int]:
    """Bytes for a piece and its strip, and the pixels that are run in all."""
    pieces = counts(size, SHAPE.reach, memory, 2000, strip)
    tall, wide = (outer_length(side, n, SHAPE.reach) for side, n in zip(size, pieces, strict=True))
    return 2000 * tall * wide + strip * tall * size[1], tall * wide * int(np.prod(pieces))


@pytest.mark.parametrize("strip", [0, 144, 576])
@pytest.mark.parametrize("size", [(100, 120), (1500, 2000), (5000, 6000), (300, 40_000)])
def test_what_is_run_at_once_fits_into_the_memory(size, strip):
    memory, work = taken(size, 256 << 20, strip)
    assert memory <= 256 << 20 or (size[1] > 5000 and strip == 576 and memory <= 1 << 30)
    less, more_work = taken(size, 64 << 20, strip)
    assert less <= memory
    assert more_work >= work


def test_a_small_picture_is_run_at_once_and_work_stays_near_the_least():
    assert counts((250, 200), 10, 320 << 20, 2000) == (1, 1)
    assert counts((300, 300), 10, 0, 2000)[0] > 1, "however little memory there is"
    assert taken((1500, 2000), 320 << 20, 144)[1] < 1.3 * 1500 * 2000


def test_free_memory_is_the_least_of_the_machine_and_the_control_group(tmp_path, monkeypatch):
    monkeypatch.setattr(memory, "_MEMINFO", tmp_path / "meminfo")
    monkeypatch.setattr(memory, "_CGROUP", tmp_path)
    (tmp_path / "meminfo").write_text("MemTotal: 9000 kB\nMemAvailable:    4000 kB\n")
    assert free_memory() == 4000 << 10
    (tmp_path / "memory.max").write_text("max\n")
    (tmp_path / "memory.current").write_text("1000\n")
    assert free_memory() == 4000 << 10
    (tmp_path / "memory.max").write_text("3000\n")
    assert free_memory() == 2000


def test_out_of_memory_is_known_by_its_many_words():
    words = (
        "std::bad_alloc",
        "[enforce fail at alloc_cpu.cpp] DefaultCPUAllocator: can't allocate memory: you tried to allocate 4 bytes",
        "CUDA out of memory. Tried to allocate 2 GiB",
        "Failed to allocate memory for requested buffer of size 400",
    )
    assert all(is_out_of_memory(RuntimeError(text)) for text in words)
    assert is_out_of_memory(MemoryError())
    assert not is_out_of_memory(RuntimeError("shapes do not match"))


@given(st.lists(st.integers(1, 9), min_size=1, max_size=9), st.integers(1, 20), st.data())
def test_rows_pass_by_once_in_strips_of_any_height(heights, step, data):
    edges = np.cumsum([0, *heights])
    pixels = np.arange(edges[-1] * 2, dtype=np.uint16).reshape(-1, 2, 1)

    def rows() -> Strips:
        strips = (pixels[a:b] for a, b in itertools.pairwise(edges))
        return Strips(pixels.shape, pixels.dtype, strips)

    assert np.array_equal(np.asarray(rows()), pixels)
    strips = list(in_strips(rows(), step))
    assert np.array_equal(np.concatenate(strips), pixels)
    assert all(len(strip) == step for strip in strips[:-1])
    window, keep, bottom = Window(iter(rows())), 0, 1
    while bottom < len(pixels):
        bottom = data.draw(st.integers(bottom, len(pixels)))
        top = data.draw(st.integers(keep, bottom))
        keep = data.draw(st.integers(top, bottom))
        assert np.array_equal(window.rows(top, bottom, keep), pixels[top:bottom])
        bottom += 1
