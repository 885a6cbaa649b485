import dataclasses
import hashlib
import os
import pickle

import numpy as np
import pytest
import torch
from torch.nn import functional

from networks import down, graphs, up
from unshrink import weights as zoo
from unshrink.errors import ModelNotFoundError, WeightsError
from unshrink.runtime import backends
from unshrink.weights.convert import convert

FILTERS = torch.tensor([[[1, 1], [1, 1]], [[1, -1], [1, -1]], [[1, 1], [-1, -1]], [[1, -1], [-1, 1]]]).float()[:, None]


# -- the published equations, written down a second time: no layer of ours ------------------------------------------


def checkpoint(blocks, growth, seed=0):
    """A state dict as the published code saves it, with values so large that all of them show."""
    draw = torch.Generator().manual_seed(seed)
    state, channels, start = {}, 3, 0
    for count in blocks:
        state[f"operations.{start}.haar_weights"] = torch.cat([FILTERS] * channels)
        channels *= 4
        for operation in range(start + 1, start + 1 + count):
            for subnet, first, last in (("F", channels - 3, 3), ("G", 3, channels - 3), ("H", 3, channels - 3)):
                for i, width in enumerate([growth] * 4 + [last]):
                    fan = 9 * (first + i * growth)
                    key = f"operations.{operation}.{subnet}.conv{i + 1}"
                    state[f"{key}.weight"] = torch.randn(width, fan // 9, 3, 3, generator=draw) * 0.6 / fan**0.5
                    state[f"{key}.bias"] = torch.randn(width, generator=draw) * 0.03
        start += 1 + count
    return state


def dense(state, key, x):
    for i in range(1, 5):
        y = functional.conv2d(x, state[f"{key}.conv{i}.weight"], state[f"{key}.conv{i}.bias"], padding=1)
        x = torch.cat((x, functional.leaky_relu(y, 0.2)), 1)
    return functional.conv2d(x, state[f"{key}.conv5.weight"], state[f"{key}.conv5.bias"], padding=1)


def published_down(state, x):
    for i in range(1 + max(int(key.split(".")[1]) for key in state)):
        haar = state.get(f"operations.{i}.haar_weights")
        if haar is not None:
            n, c, h, w = x.shape
            bands = functional.conv2d(x, haar, stride=2, groups=c) / 4
            x = bands.reshape(n, c, 4, h // 2, w // 2).transpose(1, 2).reshape(n, 4 * c, h // 2, w // 2)
            continue
        x1, x2 = x[:, :3], x[:, 3:]
        y1 = x1 + dense(state, f"operations.{i}.F", x2)
        s = 2 * torch.sigmoid(dense(state, f"operations.{i}.H", y1)) - 1
        x = torch.cat((y1, x2 * torch.exp(s) + dense(state, f"operations.{i}.G", y1)), 1)
    return x


def published_up(state, y):
    for i in reversed(range(1 + max(int(key.split(".")[1]) for key in state))):
        haar = state.get(f"operations.{i}.haar_weights")
        if haar is not None:
            n, c, h, w = y.shape
            bands = y.reshape(n, 4, c // 4, h, w).transpose(1, 2).reshape(n, c, h, w)
            y = functional.conv_transpose2d(bands, haar, stride=2, groups=c // 4)
            continue
        y1, y2 = y[:, :3], y[:, 3:]
        s = 2 * torch.sigmoid(dense(state, f"operations.{i}.H", y1)) - 1
        x2 = (y2 - dense(state, f"operations.{i}.G", y1)) / torch.exp(s)
        y = torch.cat((y1 - dense(state, f"operations.{i}.F", x2), x2), 1)
    return y


# -- conversion ------------------------------------------------------------------------------------------------------


def saved(path, state):
    torch.save(state, path)
    return path


def to_8_bit(values):
    return np.rint(np.asarray(values).clip(0, 1) * 255)


def check_agreement(weights, backend, state, scale, side):
    hr = torch.rand(1, 3, side, side, generator=torch.Generator().manual_seed(1))
    hr = functional.avg_pool2d(hr, 5, 1, 2) * 1.6 - 0.3  # smoother than noise, mostly inside [0, 1]
    published = published_down(state, hr)
    wanted, met = to_8_bit(published[:, :3]), to_8_bit(down(weights, backend, hr.numpy()))
    haar = to_8_bit(functional.avg_pool2d(hr, scale))
    assert np.mean(haar != wanted) > 0.9  # the coupling blocks matter,
    assert np.mean((wanted > 0) & (wanted < 255)) > 0.9  # and nothing hides behind clipping
    assert np.sum(met != wanted) <= max(1, 1e-4 * met.size)
    assert np.abs(met - wanted).max() <= 1
    lr = (wanted / 255).astype(np.float32)
    z = torch.randn(published[:, 3:].shape, generator=torch.Generator().manual_seed(2))
    restored = published_up(state, torch.cat((torch.from_numpy(lr), z), 1)).numpy()
    assert np.abs(up(weights, backend, lr, z.numpy()) - restored).max() < 1e-4 * np.abs(restored).max()


@pytest.mark.parametrize(
    "scale, blocks, side, prefix",
    [(2, [8], 192, ""), (2, [2], 64, "module."), (4, [8, 8], 192, ""), (8, [1, 2, 1], 256, "")],
)
def test_a_published_layout_computes_the_published_equations(tmp_path, scale, blocks, side, prefix):
    state = checkpoint(blocks, growth=32)
    path = saved(tmp_path / "IRN_x.pth", {prefix + key: value for key, value in state.items()})
    weights = convert(path)
    assert weights.config == {"scale": scale, "blocks": blocks, "growth": 32, "clamp": 1.0, "latent": "gaussian"}
    assert weights.name == "irn_x"
    assert weights.about["training"]["sha256"] == hashlib.sha256(path.read_bytes()).hexdigest()
    check_agreement(weights, backends.make(weights, precision="float32"), state, scale, side)


@pytest.mark.xdist_group("export")
@pytest.mark.parametrize("scale, blocks", [(2, [1]), (4, [1, 1])])
@pytest.mark.parametrize("name", backends.available())
def test_every_backend_computes_the_published_equations(tmp_path, name, scale, blocks):
    state = checkpoint(blocks, growth=8)
    weights = dataclasses.replace(convert(saved(tmp_path / "IRN_x.pth", state)), graphs=graphs(scale))
    zoo.save(tmp_path / "w.safetensors", weights)
    weights = zoo.load(tmp_path / "w.safetensors")
    check_agreement(weights, backends.make(weights, name, 1, precision="float32"), state, scale, side=256)


def test_values_are_kept_in_full(tmp_path):
    state = checkpoint([2], 8)
    weights = convert(saved(tmp_path / "x.pth", state))
    zoo.save(tmp_path / "w.safetensors", weights)
    back = zoo.load(tmp_path / "w.safetensors")
    assert back.identity == weights.identity
    assert np.array_equal(back.tensors["layers.2.h.convs.4.bias"], state["operations.2.H.conv5.bias"].numpy())


# -- refusals --------------------------------------------------------------------------------------------------------


def changed(**changes):
    """A good checkpoint with some keys replaced; None removes one."""
    state = {**checkpoint([2], 8), **changes}
    return {key: value for key, value in state.items() if value is not None}


@pytest.mark.parametrize(
    "state, message",
    [
        (changed(**{"operations.1.F.conv1.weight": None}), "missing: operations.1.F.conv1.weight"),
        (changed(**{"operations.2.G.conv3.bias": None}), "missing: operations.2.G.conv3.bias"),
        (changed(**{"operations.1.H.conv6.bias": torch.ones(3)}), "unexpected: operations.1.H.conv6.bias"),
        (changed(extra=torch.ones(3)), "unexpected: extra"),
        (
            changed(**{"operations.1.F.conv2.bias": torch.ones(9)}),
            r"wrong shape: operations.1.F.conv2.bias is \(9,\) instead of \(8,\)",
        ),
        (changed(**{"operations.1.F.conv1.weight": torch.tensor(1.0)}), "model.growth is 0"),
        (changed(**{"operations.0.haar_weights": None}), "does not begin with operations.0.haar_weights"),
        (changed(**{"operations.0.haar_weights": torch.ones(12, 1, 2, 2)}), "not the published Haar transform"),
        (changed(**{"operations.9999.haar_weights": torch.ones(3)}), "model.blocks is"),
        ({"params": checkpoint([1], 8)}, "not a state dict"),
        ({}, "not a state dict"),
        ([1, 2], "not a state dict"),
        ({"a": torch.ones(1, dtype=torch.int64)}, "not a state dict"),
        ({1: torch.ones(1)}, "not a state dict"),
        ({"a": torch.ones(1).expand(10**12)}, "not a state dict"),
        ({"a": torch.ones(2, 2).to_sparse()}, "not a state dict"),
    ],
)
def test_what_is_not_a_published_checkpoint(tmp_path, state, message):
    with pytest.raises(WeightsError, match=message):
        convert(saved(tmp_path / "x.pth", state))


class Payload:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path),)


@pytest.mark.parametrize("write", [torch.save, lambda state, path: path.write_bytes(pickle.dumps(state))])
def test_a_payload_is_refused_and_never_runs(tmp_path, write):
    write({**checkpoint([1], 8), "operations.1.F.conv1.weight": Payload(tmp_path / "run")}, tmp_path / "x.pth")
    with pytest.raises(WeightsError, match="holds more than tensors"):
        convert(tmp_path / "x.pth")
    assert not (tmp_path / "run").exists()


def test_damaged_and_missing_files(tmp_path):
    path = saved(tmp_path / "x.pth", checkpoint([1], 8))
    data = path.read_bytes()
    for content in (b"", b"junk", data[: len(data) // 2], data[:100] + bytes(100) + data[200:]):
        path.write_bytes(content)
        with pytest.raises(WeightsError):
            convert(path)
    with pytest.raises(ModelNotFoundError, match="no checkpoint file"):
        convert(tmp_path / "absent.pth")
