"""Networks by their names and stored configurations: known without torch, and files of before stay what they are."""

import dataclasses
import itertools
import math

import numpy as np
import pytest

from networks import KINDS, random_weights
from unshrink import weights
from unshrink.errors import WeightsError
from unshrink.network import architectures
from unshrink.network.irn import IRNConfig
from unshrink.network.layers import operations
from unshrink.network.network import build
from unshrink.weights import catalogue


@pytest.mark.parametrize("kind", KINDS)
def test_a_configuration_is_stored_and_found_again(kind):
    config = architectures.from_dict(*KINDS[kind])
    stored = architectures.to_dict(config)
    assert architectures.from_dict(config.architecture, stored) == config
    assert stored.items() >= KINDS[kind][1].items()


@pytest.mark.parametrize("entry", catalogue.ENTRIES, ids=lambda entry: entry.name)
def test_shipped_weights_load_unchanged_after_a_field_is_added(entry, monkeypatch):
    @dataclasses.dataclass(frozen=True)
    class Longer(IRNConfig):
        added: float = 0.5

    before = weights.load(entry.name)
    row = dataclasses.replace(architectures.ARCHITECTURES["irn"], config=Longer)
    monkeypatch.setitem(architectures.ARCHITECTURES, "irn", row)
    after = weights.load(entry.name)
    assert after.network.added == 0.5
    assert (after.identity, after.config, after.graphs) == (entry.identity, before.config, before.graphs)
    assert all(np.array_equal(after.tensors[name], value) for name, value in before.tensors.items())


@pytest.mark.parametrize(
    "stored, message",
    [
        ({"scale": 2, "blocks": [1], "attention": True}, "'attention', which this unshrink does not know"),
        ({"scale": 5}, "impossible: model.scale is 5"),
        ({"blocks": [[1]]}, "impossible: model.blocks"),
    ],
)
def test_configurations_of_strangers_are_refused(stored, message):
    with pytest.raises(WeightsError, match=message):
        architectures.from_dict("irn", stored)


@pytest.mark.parametrize("kind", KINDS)
def test_shapes_and_steps_are_those_of_the_network(kind):
    config = architectures.from_dict(*KINDS[kind])
    state = build(*KINDS[kind]).state_dict()
    assert list(architectures.shapes(config).items()) == [(name, tuple(value.shape)) for name, value in state.items()]
    for steps, into, out in ((architectures.encoder(config), 3, 3), (architectures.decoder(config), None, 3)):
        assert into in (None, steps[0].channels[0])
        assert steps[-1].channels[1] == out
        assert all(a.channels[1] == b.channels[0] for a, b in itertools.pairwise(steps))
        assert math.prod(step.shrinks * step.grows for step in steps) == config.scale


def test_graphs_alike_are_shared():
    steps = random_weights(4, blocks=[3, 2]).steps
    block = lambda name: [f"{name}.block.low", f"{name}.block.detail"]
    assert [step.graphs for step in steps["down"]] == [
        *(["down.x2.split"], *3 * [block("down.x2")]),
        *(["down.x4.split"], block("down.x4"), ["down.x4.block.low"]),
    ]
    assert [step.graphs for step in steps["up"]] == [
        *(*2 * [block("up.x4")], ["up.x4.split"]),
        *(*3 * [block("up.x2")], ["up.x2.split"]),
    ]


def test_plain_subnets_cost_what_is_written_of_them():
    config = IRNConfig(scale=2, blocks=(8,), subnet="plain", joint=True)
    assert sum(map(math.prod, architectures.shapes(config).values())) == pytest.approx(0.74e6, rel=0.02)
    published = operations(architectures.encoder(IRNConfig()))
    assert operations(architectures.encoder(config)) < 0.5 * published
