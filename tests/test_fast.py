import numpy as np
import pytest
import torch

from unshrink.network import fast
from unshrink.network.config import NetworkConfig
from unshrink.network.irn import IRNConfig
from unshrink.network.layers import Step
from unshrink.network.network import Network
from unshrink.network.pair import PairConfig
from unshrink.runtime.backends import parts

CONFIGS = [
    IRNConfig(scale=2, blocks=(1,), growth=8),
    IRNConfig(scale=3, blocks=(1,), growth=4),
    IRNConfig(scale=3, blocks=(1,), subnet="plain", width=8, joint=True, steady=True),
    IRNConfig(scale=4, blocks=(1, 1), growth=8),
    IRNConfig(scale=4, blocks=(1, 2), subnet="plain", width=8, depth=4),
    IRNConfig(scale=2, blocks=(2,), subnet="plain", width=8, depth=2, joint=True, steady=True),
    IRNConfig(scale=4, blocks=(1, 1), subnet="plain", width=8, restorer=1),
    IRNConfig(scale=2, blocks=(1,), subnet="plain", width=8, joint=True, steady=True, restorer=2),
    PairConfig(blocks=1, width=6, growth=4),
]


@pytest.mark.parametrize("config", CONFIGS, ids=repr)
def test_computes_what_the_modules_do(config: NetworkConfig):
    torch.manual_seed(0)
    net = Network(config).double()
    for parameter in net.parameters():
        torch.nn.init.normal_(parameter, std=0.1) if parameter.ndim != 3 else None
    net.fix()
    hr = torch.rand(2, 3, 4 * config.scale, 5 * config.scale, dtype=torch.float64)
    for steps, x in ((net.encoder_steps, hr), (net.decoder_steps, torch.rand(2, 3 + net.z_channels, 4, 5).double())):
        for step in steps:
            module = net.module(step)
            y = module.inverse(x) if step.inverse else module(x)
            assert np.allclose(fast.run(step, module, x), y[:, :3] if step.low else y, rtol=0, atol=1e-12)
            x = y


@pytest.mark.parametrize("config", CONFIGS, ids=repr)
def test_the_graphs_of_a_step_give_what_it_gives(config: NetworkConfig):
    torch.manual_seed(0)
    net = Network(config)
    for parameter in net.parameters():
        torch.nn.init.normal_(parameter, std=0.1) if parameter.ndim != 3 else None
    net.fix()

    def graph(step: Step, part: str, inputs: dict[str, np.ndarray], out: np.ndarray) -> None:
        assert {name: value.shape[1] for name, value in inputs.items()} == step.parts[part]
        with torch.no_grad():
            out[:] = fast.part(step, part)(net.module(step), *map(torch.from_numpy, inputs.values()))

    for step in (*net.encoder_steps, *net.decoder_steps):
        x = torch.rand(1, step.channels[0], 4 * step.shrinks, 5 * step.shrinks)
        met = parts.run([step], x.numpy(), graph)
        assert np.allclose(met, fast.run(step, net.module(step), x).detach(), rtol=1e-5, atol=1e-5)
