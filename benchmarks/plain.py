"""The published network written plainly: what the speed of ours is measured against.

    python benchmarks/plain.py down published.safetensors photo.png small.png   one picture, a whole command; or up

float32, PyTorch eager, NCHW, Haar as a strided convolution, every dense convolution fed by `torch.cat`.

Reference: Xiao et al., Invertible Image Rescaling, ECCV 2020, arXiv 2005.05650, and its published code's structure.
"""

import argparse

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import conv2d, conv_transpose2d, leaky_relu

from unshrink import weights as zoo
from unshrink.pictures.image import Image
from unshrink.pictures.io import read, write

COLOURS = 3


class Haar(nn.Module):
    def __init__(self, channels: int) -> None:
        super().__init__()
        signs = torch.tensor([[1, 1, 1, 1], [1, -1, 1, -1], [1, 1, -1, -1], [1, -1, -1, 1]])
        self.register_buffer("filters", signs.reshape(4, 1, 2, 2).float().repeat(channels, 1, 1, 1), persistent=False)
        self.channels = channels

    def forward(self, x: Tensor) -> Tensor:
        bands = conv2d(x, self.filters, stride=2, groups=self.channels) / 4
        n, _, h, w = bands.shape
        return bands.reshape(n, self.channels, 4, h, w).transpose(1, 2).reshape(n, -1, h, w)

    def inverse(self, y: Tensor) -> Tensor:
        n, _, h, w = y.shape
        bands = y.reshape(n, 4, self.channels, h, w).transpose(1, 2).reshape(n, -1, h, w)
        return conv_transpose2d(bands, self.filters, stride=2, groups=self.channels)


class Dense(nn.Module):
    def __init__(self, channels_in: int, channels_out: int, growth: int) -> None:
        super().__init__()
        widths = [growth] * 4 + [channels_out]
        self.convs = nn.ModuleList(nn.Conv2d(channels_in + i * growth, w, 3, padding=1) for i, w in enumerate(widths))

    def forward(self, x: Tensor) -> Tensor:
        features = [x]
        for conv in self.convs[:-1]:
            features.append(leaky_relu(conv(torch.cat(features, 1)), 0.2))
        return self.convs[-1](torch.cat(features, 1))


class Block(nn.Module):
    def __init__(self, channels: int, growth: int, clamp: float) -> None:
        super().__init__()
        detail = channels - COLOURS
        self.f, self.clamp = Dense(detail, COLOURS, growth), clamp
        self.g, self.h = Dense(COLOURS, detail, growth), Dense(COLOURS, detail, growth)

    def forward(self, x: Tensor) -> Tensor:
        low, detail = x[:, :COLOURS], x[:, COLOURS:]
        low = low + self.f(detail)
        scale = self.clamp * (torch.sigmoid(self.h(low)) * 2 - 1)
        return torch.cat((low, detail * torch.exp(scale) + self.g(low)), 1)

    def inverse(self, y: Tensor) -> Tensor:
        low, detail = y[:, :COLOURS], y[:, COLOURS:]
        scale = self.clamp * (torch.sigmoid(self.h(low)) * 2 - 1)
        detail = (detail - self.g(low)) / torch.exp(scale)
        return torch.cat((low - self.f(detail), detail), 1)


class Plain(nn.Module):
    """The network of weights of scale 2, 4 or 8."""

    def __init__(self, weights: zoo.Weights) -> None:
        super().__init__()
        config, channels, layers = weights.config, COLOURS, []
        for blocks in config["blocks"]:
            layers.append(Haar(channels))
            channels *= 4
            layers += [Block(channels, config["growth"], config["clamp"]) for _ in range(blocks)]
        self.layers = nn.ModuleList(layers)
        self.load_state_dict({name: torch.tensor(values).float() for name, values in weights.tensors.items()})
        self.eval().requires_grad_(False)

    def down(self, hr: np.ndarray) -> np.ndarray:
        """(3, H, W) -> (3, H/s, W/s)."""
        x = torch.tensor(hr)[None]
        for layer in self.layers:
            x = layer(x)
        return x[0, :COLOURS].numpy()

    def up(self, lr: np.ndarray) -> np.ndarray:
        """(3, h, w) -> (3, sh, sw), with z = 0."""
        y = torch.tensor(lr)[None]
        y = torch.cat(
            (y, y.new_zeros(1, COLOURS * (4 ** sum(isinstance(i, Haar) for i in self.layers) - 1), *y.shape[2:])), 1
        )
        for layer in reversed(self.layers):
            y = layer.inverse(y)
        return y[0].numpy()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("direction", choices=zoo.DIRECTIONS)
    for name in ("weights", "input", "output"):
        parser.add_argument(name)
    parser.add_argument("--threads", type=int, default=0)
    options = parser.parse_args()
    torch.set_num_threads(options.threads or torch.get_num_threads())
    pixels = read(options.input).pixels.transpose(2, 0, 1).astype(np.float32) / 255
    with torch.inference_mode():
        result = getattr(Plain(zoo.load(options.weights)), options.direction)(pixels)
    write(Image(np.rint(result.clip(0, 1) * 255).astype(np.uint8).transpose(1, 2, 0)), options.output, overwrite=True)


if __name__ == "__main__":
    main()
