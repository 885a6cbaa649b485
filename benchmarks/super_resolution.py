"""Two small super-resolution networks, written from their papers, for the weights that their authors publish.

Shapes:  N pictures, C channels, H, W the small picture, s the scale: (N, 3, H, W) -> (N, 3, sH, sW).
Modules carry the names of the published checkpoints.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class RLFN(nn.Module):
    """Residual local feature network; values in and out are 0 to 255.

    Reference: Kong et al., Residual Local Feature Network for Efficient Super-Resolution, CVPRW 2022, section 3.
    """

    peak = 255.0

    def __init__(self, scale: int, width: int = 52, blocks: int = 6) -> None:
        super().__init__()
        self.conv_1 = nn.Conv2d(3, width, 3, padding=1)
        self.names = [f"block_{i + 1}" for i in range(blocks)]
        for name in self.names:
            self.add_module(name, ResidualLocalFeatureBlock(width))
        self.conv_2 = nn.Conv2d(width, width, 3, padding=1)
        self.upsampler = nn.Sequential(nn.Conv2d(width, 3 * scale**2, 3, padding=1), nn.PixelShuffle(scale))

    def forward(self, x: Tensor) -> Tensor:
        shallow = deep = self.conv_1(x)
        for name in self.names:
            deep = self.get_submodule(name)(deep)
        return self.upsampler(self.conv_2(deep) + shallow)


class ResidualLocalFeatureBlock(nn.Module):
    """Three convolutions with one skip around them, then spatial attention."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.c1_r, self.c2_r, self.c3_r = (nn.Conv2d(width, width, 3, padding=1) for _ in range(3))
        self.c5 = nn.Conv2d(width, width, 1)
        self.esa = SpatialAttention(width, 16)

    def forward(self, x: Tensor) -> Tensor:
        features = x
        for conv in (self.c1_r, self.c2_r, self.c3_r):
            features = F.leaky_relu(conv(features), 0.05)
        return self.esa(self.c5(features + x))


class SpatialAttention(nn.Module):
    """A mask made at a sixth of the size, so that it sees far (ESA, in the short form of RLFN)."""

    def __init__(self, width: int, inner: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(width, inner, 1)
        self.conv_f = nn.Conv2d(inner, inner, 1)
        self.conv2 = nn.Conv2d(inner, inner, 3, stride=2)
        self.conv3 = nn.Conv2d(inner, inner, 3, padding=1)
        self.conv4 = nn.Conv2d(inner, width, 1)

    def forward(self, x: Tensor) -> Tensor:
        narrow = self.conv1(x)
        far = self.conv3(F.max_pool2d(self.conv2(narrow), 7, stride=3))
        return x * torch.sigmoid(self.conv4(_enlarged(far, x) + self.conv_f(narrow)))


class BSRN(nn.Module):
    """Blueprint separable residual network; values in and out are 0 to 1.

    Reference: Li et al., Blueprint Separable Residual Network for Efficient Image Super-Resolution, CVPRW 2022,
    section 3.
    """

    peak = 1.0

    def __init__(self, scale: int, width: int = 64, blocks: int = 8) -> None:
        super().__init__()
        self.fea_conv = BlueprintConv(12, width)
        self.names = [f"B{i + 1}" for i in range(blocks)]
        for name in self.names:
            self.add_module(name, SeparableDistillationBlock(width))
        self.c1 = nn.Conv2d(blocks * width, width, 1)
        self.c2 = BlueprintConv(width, width)
        self.upsampler = nn.ModuleDict(
            {"upsampleOneStep": nn.Sequential(nn.Conv2d(width, 3 * scale**2, 3, padding=1), nn.PixelShuffle(scale))}
        )

    def forward(self, x: Tensor) -> Tensor:
        shallow = deep = self.fea_conv(torch.cat([x] * 4, 1))
        found = []
        for name in self.names:
            deep = self.get_submodule(name)(deep)
            found.append(deep)
        fused = self.c2(F.gelu(self.c1(torch.cat(found, 1))))
        return self.upsampler["upsampleOneStep"](fused + shallow)


class BlueprintConv(nn.Module):
    """Mixes channels, then filters each: (N, C, H, W) -> (N, C', H, W)."""

    def __init__(self, width: int, out: int, stride: int = 1, padding: int = 1) -> None:
        super().__init__()
        self.pw = nn.Conv2d(width, out, 1, bias=False)
        self.dw = nn.Conv2d(out, out, 3, stride, padding, groups=out)

    def forward(self, x: Tensor) -> Tensor:
        return self.dw(self.pw(x))


class SeparableDistillationBlock(nn.Module):
    """At each of three steps a part of the features is set aside, and the rest refined (ESDB)."""

    def __init__(self, width: int) -> None:
        super().__init__()
        half = width // 2
        self.c1_d, self.c2_d, self.c3_d = (nn.Conv2d(width, half, 1) for _ in range(3))
        self.c1_r, self.c2_r, self.c3_r = (BlueprintConv(width, width) for _ in range(3))
        self.c4 = BlueprintConv(width, half)
        self.c5 = nn.Conv2d(4 * half, width, 1)
        self.esa = SeparableSpatialAttention(width, width // 4)
        self.cca = ContrastAttention(width)

    def forward(self, x: Tensor) -> Tensor:
        rest, aside = x, []
        for distil, refine in ((self.c1_d, self.c1_r), (self.c2_d, self.c2_r), (self.c3_d, self.c3_r)):
            aside.append(F.gelu(distil(rest)))
            rest = F.gelu(refine(rest) + rest)
        aside.append(F.gelu(self.c4(rest)))
        return self.cca(self.esa(self.c5(torch.cat(aside, 1)))) + x


class SeparableSpatialAttention(nn.Module):
    """ESA of separable convolutions, with one more of them."""

    def __init__(self, width: int, inner: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(width, inner, 1)
        self.conv_f = nn.Conv2d(inner, inner, 1)
        self.conv2 = BlueprintConv(inner, inner, stride=2, padding=0)
        self.conv_max, self.conv3, self.conv3_ = (BlueprintConv(inner, inner) for _ in range(3))
        self.conv4 = nn.Conv2d(inner, width, 1)

    def forward(self, x: Tensor) -> Tensor:
        narrow = self.conv1(x)
        far = F.gelu(self.conv_max(F.max_pool2d(self.conv2(narrow), 7, stride=3)))
        far = self.conv3_(F.gelu(self.conv3(far)))
        return x * torch.sigmoid(self.conv4(_enlarged(far, x) + self.conv_f(narrow)))


class ContrastAttention(nn.Module):
    """Weighs each channel by its mean and standard deviation (CCA)."""

    def __init__(self, width: int, reduction: int = 16) -> None:
        super().__init__()
        self.conv_du = nn.Sequential(
            nn.Conv2d(width, width // reduction, 1),
            nn.ReLU(),
            nn.Conv2d(width // reduction, width, 1),
            nn.Sigmoid(),
        )

    def forward(self, x: Tensor) -> Tensor:
        mean = x.mean((2, 3), keepdim=True)
        return x * self.conv_du(mean + (x - mean).square().mean((2, 3), keepdim=True).sqrt())


def _enlarged(mask: Tensor, x: Tensor) -> Tensor:
    return F.interpolate(mask, x.shape[2:], mode="bilinear", align_corners=False)
