import numpy as np
import pytest
import torch

from networks import random_weights
from unshrink.network import fast as fused
from unshrink.network.build import build


@pytest.mark.parametrize("scale", [2, 4])
def test_computes_what_the_layers_do(scale):
    weights = random_weights(scale)
    net = build(weights.architecture, weights.config).double()
    net.load_state_dict({name: torch.tensor(values).double() for name, values in weights.tensors.items()})
    draw = torch.Generator().manual_seed(0)
    hr = torch.rand(2, 3, 4 * scale, 5 * scale, generator=draw, dtype=torch.float64)
    with torch.inference_mode():
        x = hr
        for layer in net.layers:
            y = layer(x)
            for met, wanted in (
                (fused.down(layer, x), y),
                (fused.low(layer, x), y[:, :3]),
                (fused.up(layer, y), x),
            ):
                assert np.allclose(met, wanted, rtol=0, atol=1e-12)
            x = y
