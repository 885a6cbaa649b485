"""LPIPS: how different two pictures look, as a network of picture recognition sees them.  0 for equal ones.

Its weights are not shipped: a folder holds ``squeeze.pth`` (the linear heads of LPIPS v0.1) and
``squeezenet1_1_*.pth`` (the features of SqueezeNet 1.1, under torchvision's names).

Shapes:  H, W a picture, C channels, h, w its features.

References: Zhang et al., The Unreasonable Effectiveness of Deep Features as a Perceptual Metric, CVPR 2018, section 3;
Iandola et al., SqueezeNet, 2016.
"""

import pickle
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import normalize

from unshrink.errors import ConfigError
from unshrink.pictures.metrics import Pixels

MEAN, DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # of the pictures that the features were trained on
HEADS, FEATURES = "squeeze.pth", "squeezenet1_1_*.pth"
FIRES = {3: (64, 16, 64), 4: (128, 16, 64), 6: (128, 32, 128), 7: (256, 32, 128), 9: (256, 48, 192)}
FIRES |= {10: (384, 48, 192), 11: (384, 64, 256), 12: (512, 64, 256)}  # place: channels in, squeezed, of each expansion
POOLS = (2, 5, 8)
COMPARED = (1, 4, 7, 9, 10, 11, 12)  # the places whose features are compared


class LPIPS(nn.Module):
    """Distance of two pictures.

    Args:
        folder: what holds the weights.

    Raises:
        ConfigError: they are not there, or damaged.
    """

    def __init__(self, folder: str | Path) -> None:
        super().__init__()
        layers: list[nn.Module] = [nn.Conv2d(3, 64, 3, stride=2), nn.ReLU()]
        for place in range(2, 13):
            layers.append(nn.MaxPool2d(3, 2, ceil_mode=True) if place in POOLS else Fire(*FIRES[place]))
        self.features = nn.Sequential(*layers)
        self.load_state_dict(_read(Path(folder), FEATURES))
        self.heads = [weight.flatten() for weight in _read(Path(folder), HEADS).values()]
        self.requires_grad_(False)

    def forward(self, a: Pixels, b: Pixels) -> float:
        """Two pictures (H, W, 3) of 8 bits -> their distance, 0 where they are equal."""
        pairs = zip(self._seen(a), self._seen(b), self.heads, strict=True)
        return sum(float(torch.einsum("nchw,c->nhw", (x - y).square(), head).mean()) for x, y, head in pairs)

    def _seen(self, picture: Pixels) -> list[Tensor]:
        """Features (1, C, h, w) at each of the compared places, as directions."""
        x = torch.from_numpy(picture.copy()).permute(2, 0, 1)[None] / 255
        x = (x - torch.tensor(MEAN).view(3, 1, 1)) / torch.tensor(DEVIATION).view(3, 1, 1)
        found = []
        for place, layer in enumerate(self.features):
            x = layer(x)
            if place in COMPARED:
                found.append(normalize(x, dim=1, eps=1e-10))
        return found


class Fire(nn.Module):
    """Few channels, then many of them again, by a 1x1 and a 3x3 convolution side by side."""

    def __init__(self, channels: int, squeezed: int, expanded: int) -> None:
        super().__init__()
        self.squeeze = nn.Conv2d(channels, squeezed, 1)
        self.expand1x1 = nn.Conv2d(squeezed, expanded, 1)
        self.expand3x3 = nn.Conv2d(squeezed, expanded, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) -> (N, 2 expanded, H, W)."""
        few = self.squeeze(x).relu()
        return torch.cat((self.expand1x1(few), self.expand3x3(few)), dim=1).relu()


def _read(folder: Path, pattern: str) -> Mapping[str, Any]:
    try:
        (path,) = folder.glob(pattern)
        return {name: value.float() for name, value in torch.load(path, "cpu", weights_only=True).items()}
    except (OSError, ValueError, RuntimeError, AttributeError, pickle.UnpicklingError) as error:
        raise ConfigError(f"no weights of LPIPS in {folder}: it needs one {pattern} of torch ({error})") from error
