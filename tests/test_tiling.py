from itertools import pairwise

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from unshrink import tiling
from unshrink.architectures import IRNConfig
from unshrink.models.irn import IRN
from unshrink.rows import Rows, Window, in_strips
from unshrink.tiling import count, counts, free_memory, halo, is_out_of_memory, outer_length, run_tiled, spans

CONFIGS = {2: (2,), 4: (1, 1), 8: (1, 1, 1)}


def network(scale: int) -> IRN:
    torch.manual_seed(0)
    net = IRN(IRNConfig(scale=scale, blocks=CONFIGS[scale], growth=4)).double()
    for parameter in net.parameters():
        torch.nn.init.normal_(parameter, std=0.1)
    return net


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
@given(scale=st.sampled_from([2, 4, 8]), height=st.integers(1, 50), width=st.integers(1, 50), room=st.integers(7, 40))
def test_tiled_equals_whole_both_ways(scale, height, width, room):
    net = network(scale)
    reach = halo({"blocks": CONFIGS[scale]})
    cut = [spans(side, count(side, 2 * reach + room, reach), reach) for side in (height, width)]
    hr = np.random.default_rng(0).random((height * scale, width * scale, 3))

    def down(hr: np.ndarray) -> np.ndarray:
        with torch.no_grad():
            return torch.cat(net(torch.from_numpy(hr.transpose(2, 0, 1))[None]), 1)[0].numpy().transpose(1, 2, 0)

    def up(lr: np.ndarray, z: np.ndarray) -> np.ndarray:
        tensors = (torch.from_numpy(array.transpose(2, 0, 1))[None] for array in (lr, z))
        with torch.no_grad():
            return net.inverse(*tensors)[0].numpy().transpose(1, 2, 0)

    whole = down(hr)
    tiled = np.concatenate(list(run_tiled(down, [(hr, scale)], 1, *cut)))
    np.testing.assert_allclose(tiled, whole, atol=1e-6)
    lr, z = whole[..., :3], whole[..., 3:] * 0
    tiled = np.concatenate(list(run_tiled(up, [(lr, 1), (z, 1)], scale, *cut)))
    np.testing.assert_allclose(tiled, up(lr, z), atol=1e-6)


def test_the_halo_is_as_wide_as_the_reach_of_the_network():
    """One pixel far away changes results up to the halo's distance, and none beyond it."""
    net, reach = network(4), halo({"blocks": (1, 1)})
    hr = torch.rand(1, 3, 4, 4 * 120, dtype=torch.float64)
    changed = hr.clone()
    changed[..., 4 * 60 : 4 * 61] += 0.5
    with torch.no_grad():
        difference = (torch.cat(net(hr), 1) - torch.cat(net(changed), 1)).abs().amax((0, 1, 2))
    touched = difference.nonzero().flatten()
    assert 60 - reach <= touched.min()
    assert touched.max() <= 60 + reach
    assert touched.max() - touched.min() > reach, "a halo far wider than needed wastes work"


def taken(size: tuple[int, int], scale: int, reach: int, memory: int) -> tuple[int, int]:
    """Bytes for a piece and its strip, and the pixels that are run in all."""
    pieces = counts(size, scale, reach, memory)
    tall, wide = (outer_length(side, n, reach) for side, n in zip(size, pieces, strict=True))
    bytes_of_strip = tiling.BYTES_PER_PIXEL_OF_STRIP * tall * size[1]
    return (tiling.BYTES_PER_PIXEL * tall * wide + bytes_of_strip) * scale**2, tall * wide * np.prod(pieces) * scale**2


@pytest.mark.parametrize("scale, reach", [(2, 80), (4, 120), (8, 140)])
@pytest.mark.parametrize("size", [(100, 120), (3000, 4000), (20_000, 25_000), (600, 180_000)])
def test_what_is_run_at_once_fits_into_the_memory(size, scale, reach):
    size = size[0] // scale, size[1] // scale
    memory, _ = taken(size, scale, reach, 16 << 30)
    assert memory <= 16 << 30
    less, more_work = taken(size, scale, reach, 4 << 30)
    assert less <= max(4 << 30, (3 * reach * scale) ** 2 * 1200)
    assert more_work >= taken(size, scale, reach, 16 << 30)[1]


def test_a_small_picture_is_run_at_once_and_work_stays_near_the_least():
    assert counts((500, 400), 2, 80, 16 << 30) == (1, 1)
    assert counts((300, 300), 2, 80, 0)[0] > 1, "however little memory there is"
    assert taken((6000, 8000), 2, 80, 16 << 30)[1] < 2 * 6000 * 8000 * 4


def test_free_memory_is_the_least_of_the_machine_and_the_control_group(tmp_path, monkeypatch):
    monkeypatch.setattr(tiling, "_MEMINFO", tmp_path / "meminfo")
    monkeypatch.setattr(tiling, "_CGROUP", tmp_path)
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

    def rows() -> Rows:
        strips = (pixels[a:b] for a, b in pairwise(edges))
        return Rows(pixels.shape, pixels.dtype, strips)

    assert np.array_equal(np.asarray(rows()), pixels)
    strips = list(in_strips(rows(), step))
    assert np.array_equal(np.concatenate(strips), pixels)
    assert all(len(strip) == step for strip in strips[:-1])
    window, top, bottom = Window(rows().strips), 0, 1
    while bottom < len(pixels):
        bottom = data.draw(st.integers(bottom, len(pixels)))
        top = data.draw(st.integers(top, bottom))
        assert np.array_equal(window.rows(top, bottom), pixels[top:bottom])
        bottom += 1
