"""The pair: a network whose decoder is not its encoder's inverse, all the way to a file and a picture."""

import dataclasses

import numpy as np
import pytest
import torch

import unshrink
from networks import portable_weights, random_weights
from unshrink import weights
from unshrink.errors import ConfigError
from unshrink.network.irn import IRNConfig
from unshrink.network.network import Network
from unshrink.network.pair import PairConfig
from unshrink.runtime import backends
from unshrink.weights.export import export

pytestmark = pytest.mark.xdist_group("export")  # one worker exports the graphs, once


def test_it_starts_where_the_invertible_network_does():
    hr = torch.rand(1, 3, 16, 24)
    pair, network = Network(PairConfig(blocks=1)), Network(IRNConfig(blocks=(1,)))
    with torch.no_grad():
        torch.testing.assert_close(pair(hr)[0], network(hr)[0])
        torch.testing.assert_close(pair.upscale(pair.downscale(hr)), network.upscale(network.downscale(hr)))
    assert pair(hr)[1].shape == (1, 0, 8, 12)


def test_encoder_and_decoder_share_nothing_that_is_learned():
    network = Network(PairConfig(blocks=1, width=6, growth=4))
    names = [name for name, _ in network.named_parameters()]
    assert {name.partition(".")[0] for name in names} == {"encoder", "decoder"}
    for parameter in network.parameters():
        torch.nn.init.normal_(parameter, std=0.1)
    lr, z = network(torch.rand(1, 3, 8, 8))
    lr.sum().backward()
    assert all((value.grad is None) == name.startswith("decoder") for name, value in network.named_parameters())
    network.decode(lr.detach(), z.detach()).sum().backward()
    assert all(value.grad is not None for value in network.parameters())


@pytest.mark.parametrize("name", backends.available())
def test_it_ships_as_a_file_and_runs_on_every_backend(tmp_path, name):
    made = portable_weights("pair")
    weights.save(tmp_path / "pair.safetensors", made)
    r = unshrink.load(tmp_path / "pair.safetensors", backend=name, threads=1, precision="float32")
    assert (r.name, r.weights.identity) == ("random-pair", made.identity)
    hr = np.random.default_rng(0).integers(0, 256, (75, 61, 3), np.uint8)
    small = r.downscale(hr)
    large = r.upscale(small, size=(61, 75))
    network = Network(made.network)
    network.load_state_dict({key: torch.tensor(value).float() for key, value in made.tensors.items()})
    padded = torch.from_numpy(np.pad(hr, [(0, 1), (0, 1), (0, 0)], mode="reflect")).permute(2, 0, 1)[None] / 255
    with torch.no_grad():
        lr = network.downscale(padded)
        wanted = network.upscale(lr).clamp(0, 1)
    for met, tensor in ((small, lr), (large, wanted[..., :75, :61])):
        assert np.abs(met.astype(int) - (tensor[0].permute(1, 2, 0) * 255).round().numpy()).max() <= 1
    assert np.abs(large.astype(int) - r.upscale(r.downscale(hr, effort=1), size=(61, 75))).max() > 0


def test_graphs_are_of_each_direction():
    steps = random_weights("pair").steps
    assert {graph for step in steps["down"] for graph in step.graphs} == {
        *("down.x2.split", "down.x2.head", "down.x2.residual", "down.x2.tail")
    }
    assert {graph for step in steps["up"] for graph in step.graphs} == {
        "up.x2.head",
        "up.x2.residual",
        "up.x2.tail",
        "up.x2.split",
    }


def test_it_exports_as_trained(tmp_path):
    made = random_weights("pair", seed=3)
    again = export(dataclasses.replace(made, graphs={}))
    assert again.graphs == portable_weights("pair").graphs, "graphs hold no parameters"


@pytest.mark.parametrize("wrong", [{"scale": 4}, {"latent": "gaussian"}, {"blocks": -1}, {"width": 0}])
def test_impossible_shapes_are_refused(wrong):
    with pytest.raises(ConfigError, match=f"model.{next(iter(wrong))} is"):
        PairConfig(**wrong)
