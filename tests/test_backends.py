import dataclasses
import os
import subprocess
import sys
import textwrap
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import numpy as np
import pytest
from PIL import Image

from networks import OTHERS, down, portable_weights, random_weights, up
from unshrink import weights as zoo
from unshrink.cli.arguments import make_parser
from unshrink.errors import ConfigError, MissingDependencyError, WeightsError
from unshrink.network.layers import z_channels
from unshrink.runtime import backends
from unshrink.runtime.backends import machine

CLOSE = 0.2 / 255
PORTABLE = [name for name in backends.available() if name != "torch"]


pytestmark = pytest.mark.xdist_group("export")  # one worker exports the graphs, once


@pytest.fixture(scope="module")
def photo(data):
    """(1, 3, 256, 256) in [0, 1]."""
    pixels = np.asarray(Image.open(data / "test" / "Set5" / "butterfly.webp").convert("RGB"))
    return np.ascontiguousarray(pixels[:256, :256].transpose(2, 0, 1)[None].astype(np.float32) / 255)


def to_8_bit(values):
    return np.rint(values.clip(0, 1) * 255)


def psnr(a, b):
    return -10 * np.log10(np.mean((a - b) ** 2))


def zeros(lr, weights):
    return np.zeros((1, z_channels(weights.steps["up"]), *lr.shape[2:]), np.float32)


def cut(photo, scale):
    """Sides that are multiples of any scale."""
    return np.ascontiguousarray(photo[..., : 192 // scale * scale, : 240 // scale * scale])


@pytest.mark.parametrize("kind", [2, 4, *OTHERS])
@pytest.mark.parametrize("name", PORTABLE)
def test_agrees_with_torch_on_a_photo(photo, name, kind):
    weights = portable_weights(kind)
    photo = cut(photo, weights.scale)
    reference, backend = (backends.make(weights, each, 1, precision="float32") for each in ("torch", name))
    wanted, met = (to_8_bit(down(weights, b, photo)) for b in (reference, backend))
    assert np.mean(met != wanted) <= 1e-4
    assert np.abs(met - wanted).max() <= 1
    lr = (wanted / 255).astype(np.float32)
    restored = [to_8_bit(up(weights, b, lr, zeros(lr, weights))) / 255 for b in (reference, backend)]
    assert psnr(restored[0], photo) == pytest.approx(psnr(restored[1], photo), abs=0.01)


@pytest.mark.parametrize("kind", [2, 4, "plain"])
@pytest.mark.parametrize("name", ["openvino", "torch"])
def test_fast_is_close_and_either_side_may_be(photo, name, kind):
    """A subnet's result that were rounded to bfloat16, or the picture itself, would be further off."""
    weights = portable_weights(kind)
    exact, fast = (backends.make(weights, name, 1, precision=choice) for choice in backends.PRECISIONS)
    small = [down(weights, b, photo) for b in (exact, fast)]
    assert np.sqrt(np.mean((small[1] - small[0]) ** 2)) < CLOSE
    lrs = [(to_8_bit(lr) / 255).astype(np.float32) for lr in small]
    found = [psnr(to_8_bit(up(weights, b, lr, zeros(lr, weights))) / 255, photo) for b in (exact, fast) for lr in lrs]
    assert found == pytest.approx(found[:1] * 4, abs=0.02)


@pytest.mark.parametrize("kind", [2, 4, *OTHERS])
@pytest.mark.parametrize("name", PORTABLE)
def test_gradients_agree_with_torch_at_any_size(name, kind):
    """Where a feature is all but zero, rounding chooses the branch of the leaky ReLU: not every value can agree."""
    weights = portable_weights(kind)
    scale = weights.scale
    reference, backend = backends.make(weights, "torch", 1), backends.make(weights, name, 1)
    draw = np.random.default_rng(0)
    for h, w in ((1, 1), (1, 7), (24, 17)):
        lr, hr = draw.random((1, 3, h, w), np.float32), draw.random((1, 3, h * scale, w * scale), np.float32)
        inputs = lr, draw.standard_normal((1, z_channels(weights.steps["up"]), h, w), np.float32), hr
        root = draw.standard_normal((3, 3), np.float32)
        wanted, met = (each.gradient(*inputs, root @ root.T) for each in (reference, backend))
        assert (met.shape, met.dtype, met.flags.c_contiguous) == (lr.shape, np.float32, True)
        assert np.linalg.norm(met - wanted) <= 1e-3 * np.linalg.norm(wanted)


@pytest.mark.parametrize("kind", [2, 4, *OTHERS])
@pytest.mark.parametrize("name", backends.available())
def test_any_size_and_back(name, kind):
    weights = portable_weights(kind)
    scale = weights.scale
    backend = backends.make(weights, name, 1)
    draw = np.random.default_rng(0)
    for h, w in ((1, 1), (1, 7), (5, 3), (1, 1)):
        hr = draw.random((1, 3, h * scale, w * scale), np.float32)
        lr = down(weights, backend, hr)
        restored = up(
            weights, backend, lr, draw.standard_normal((1, z_channels(weights.steps["up"]), h, w), np.float32)
        )
        for result, shape in ((lr, (1, 3, h, w)), (restored, hr.shape)):
            assert (result.shape, result.dtype, result.flags.c_contiguous) == (shape, np.float32, True)


@pytest.mark.parametrize("name", backends.available())
def test_a_result_outlives_the_next_run_and_inputs_stay(name):
    backend, (first_step, *_) = backends.make(portable_weights(2), name, 1), portable_weights(2).steps["down"]
    hr = np.full((1, 3, 8, 8), 0.25, np.float32)
    first = backend.run([first_step], hr)
    kept = first.copy()
    assert not np.array_equal(backend.run([first_step], 1 - hr), kept)
    assert np.array_equal(first, kept)
    assert (hr == 0.25).all()


@pytest.mark.parametrize("name", backends.available())
def test_threads_may_share_a_backend(name):
    weights = portable_weights(2)
    backend = backends.make(weights, name, 1)
    pictures = [np.random.default_rng(i).random((1, 3, 16, 8 + 2 * i), np.float32) for i in range(12)]
    with ThreadPoolExecutor(4) as pool:
        together = list(pool.map(partial(down, weights, backend), pictures))
    assert all(np.array_equal(down(weights, backend, hr), lr) for hr, lr in zip(pictures, together, strict=True))


@pytest.mark.parametrize("name", PORTABLE)
def test_a_direction_is_prepared_when_first_used(name):
    weights = portable_weights(2)
    backend = backends.make(dataclasses.replace(weights, graphs={**weights.graphs, "up.x2.block.low": b"junk"}), name)
    down(weights, backend, np.zeros((1, 3, 4, 4), np.float32))


def test_auto_takes_the_first_that_can(monkeypatch):
    assert backends.make(portable_weights(2)).name == next(name for name in backends.available() if name != "kernels")
    assert backends.make(random_weights(2)).name == "torch"
    monkeypatch.setattr(backends, "find_spec", lambda name: name not in ("openvino", "unshrink_kernels"))
    assert backends.available() == ("onnxruntime", "torch")
    assert backends.make(portable_weights(2)).name == "onnxruntime"


@pytest.mark.parametrize(
    ("vendor", "features", "expected"),
    [
        ("", "", "float32"),
        ("AuthenticAMD", "avx2 avx512f", "float32"),
        ("AuthenticAMD", "avx512f avx512_bf16", "bfloat16"),
        ("GenuineIntel", "avx512f avx512_bf16", "float32"),
        ("GenuineIntel", "avx512f avx512_bf16 amx_bf16", "bfloat16"),
    ],
)
def test_auto_takes_bfloat16_where_it_pays_and_costs_little(monkeypatch, vendor, features, expected):
    monkeypatch.setattr(machine, "cpu_features", lambda: frozenset(features.split()))
    monkeypatch.setattr(machine, "cpu_vendor", lambda: vendor)
    precision = lambda weights, name: backends.make(weights, name, 1).precision
    shipped = zoo.load("irn-x2")
    assert precision(shipped, "auto") == expected
    assert precision(shipped, "onnxruntime") == precision(shipped, "torch") == "float32"
    assert precision(dataclasses.replace(random_weights(2), graphs=shipped.graphs), "openvino") == "float32"


def test_the_command_line_offers_them_all():
    """Written out there, since it answers before anything is loaded."""
    made = [make_parser().parse_args(["downscale", "a.png", "--backend", name]).backend for name in backends.NAMES]
    assert made == list(backends.NAMES)


def test_what_cannot_be_made():
    weights = portable_weights(2)
    with pytest.raises(ConfigError, match="unknown backend 'tpu': known are auto, kernels, openvino"):
        backends.make(weights, "tpu")
    with pytest.raises(ConfigError, match="openvino runs on the cpu only, not on 'cuda'"):
        backends.make(weights, "openvino", device="cuda")
    with pytest.raises(ConfigError, match="torch cannot use the device 'nowhere'"):
        backends.make(weights, "torch", device="nowhere")
    with pytest.raises(ConfigError, match="unknown precision 'half': known are auto, float32, bfloat16"):
        backends.make(weights, precision="half")
    with pytest.raises(ConfigError, match="onnxruntime computes in float32 only"):
        backends.make(weights, "onnxruntime", precision="bfloat16")
    with pytest.raises(WeightsError, match="add them with `unshrink export FILE`"):
        backends.make(random_weights(2), "openvino")


@pytest.mark.parametrize("name", backends.NAMES)
def test_an_absent_runtime_is_named(monkeypatch, name):
    monkeypatch.setitem(sys.modules, "unshrink_kernels" if name == "kernels" else name, None)
    monkeypatch.delitem(sys.modules, f"unshrink.runtime.backends.{name}", raising=False)
    with pytest.raises(MissingDependencyError, match=f"backend {name} is not installed .*pip install"):
        backends.make(portable_weights(2), name)


@pytest.mark.skipif("openvino" not in PORTABLE, reason="needs openvino")
def test_openvino_reports_nothing_and_brings_no_torch(tmp_path):
    zoo.save(tmp_path / "w.safetensors", portable_weights(2))
    code = """
import sys, numpy
from unshrink import weights
from unshrink.runtime import backends
made = weights.load(sys.argv[1])
backends.make(made, "openvino").run(made.steps["down"][:1], numpy.zeros((1, 3, 4, 4), "f"))
assert not {"openvino_telemetry", "torch", "onnx"} & set(sys.modules)
"""
    home = tmp_path / "home"
    home.mkdir()
    environment = {**os.environ, "HOME": str(home)}
    subprocess.run([sys.executable, "-c", code, tmp_path / "w.safetensors"], check=True, env=environment)
    assert list(home.iterdir()) == []


@pytest.mark.parametrize("name", backends.available())
def test_ctrl_c_still_works_when_backends_have_gone(tmp_path, name):
    """A runtime that leaves a freed signal stack behind turns the next signal into a crash of the process."""
    zoo.save(tmp_path / "w.safetensors", portable_weights(2))
    code = """
        import faulthandler, os, signal, sys
        import numpy as np
        from unshrink import weights
        from unshrink.runtime import backends

        faulthandler.enable()
        steps = weights.load(sys.argv[1]).steps
        made = [backends.make(weights.load(sys.argv[1]), sys.argv[2], 1) for _ in range(2)]
        for backend in made:
            backend.run(steps["up"][:1], backend.run(steps["down"][:1], np.zeros((1, 3, 8, 8), np.float32)))
        del backend, made[0], made[0]
        try:
            os.kill(os.getpid(), signal.SIGINT)
        except KeyboardInterrupt:
            print("interrupted")
    """
    command = [sys.executable, "-c", textwrap.dedent(code), str(tmp_path / "w.safetensors"), name]
    assert subprocess.run(command, capture_output=True, text=True).stdout == "interrupted\n"


RESIDENT = """
import re, numpy, unshrink
def resident():
    return int(re.search(r"VmRSS:\\s+(\\d+)", open("/proc/self/status").read())[1]) / 1024
r = unshrink.load("irn-x2", backend="openvino", threads=1)
after = []
"""
SIZES = (
    RESIDENT
    + """
for n in range(36):
    r.downscale(numpy.zeros((32 + 2 * n, 104 - 2 * n, 3), numpy.uint8))
    after.append(resident())
print(after[-1] - after[11])
"""
)


@pytest.mark.skipif("openvino" not in PORTABLE or not os.path.exists("/proc/self/status"), reason="OpenVINO on Linux")
def test_memory_does_not_grow_with_every_new_size():
    environment = {**os.environ, "MALLOC_ARENA_MAX": "1"}
    done = subprocess.run([sys.executable, "-c", SIZES], capture_output=True, text=True, check=True, env=environment)
    assert float(done.stdout) < 8  # MiB for 24 sizes; 42 where each is kept


RELEASE = (
    RESIDENT
    + """
for side in (200, 1200):
    r.downscale(numpy.zeros((side, side, 3), numpy.uint8))
    after.append(resident())
    r.release()
    after.append(resident())
print(*after)
"""
)


@pytest.mark.skipif("openvino" not in PORTABLE or not os.path.exists("/proc/self/status"), reason="OpenVINO on Linux")
def test_what_a_large_picture_took_is_given_back():
    done = subprocess.run([sys.executable, "-c", RELEASE], capture_output=True, text=True, check=True)
    _, after_small, large, after_large = map(float, done.stdout.split())
    assert large - after_small > 100  # MiB
    assert after_large - after_small < 60
