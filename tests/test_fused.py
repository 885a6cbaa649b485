import numpy as np
import pytest
import torch

from networks import random_weights
from unshrink import fused
from unshrink.models import build


@pytest.mark.parametrize("scale", [2, 4])
def test_computes_what_the_network_does(scale):
    weights = random_weights(scale)
    net = build(weights.architecture, weights.config).double()
    net.load_state_dict({name: torch.tensor(values).double() for name, values in weights.tensors.items()})
    draw = torch.Generator().manual_seed(0)
    hr = torch.rand(2, 3, 4 * scale, 5 * scale, generator=draw, dtype=torch.float64)
    with torch.inference_mode():
        lr, z = net(hr)
        assert np.allclose(fused.down(net, hr), lr, rtol=0, atol=1e-12)
        assert np.allclose(fused.up(net, lr, z), hr, rtol=0, atol=1e-12)
