"""JPEG on tensors: what libjpeg makes of a picture, with a gradient, and how many bits that takes.

Colours of BT.601, means of 2x2 pixels in 4:2:0 and a triangle to enlarge them, the DCT of 8x8 blocks, steps of the
standard tables, rounded with the gradient of a cube.  The result is 47 dB close to Pillow's; without the triangle and
the rounding of pixels it would be 41.

Shapes:  N pictures (N, 3, h, w) in [0, 1]; planes (N, C, h, w) in levels; blocks (N, C, h/8, w/8, 8, 8).

Reference: Shin and Song, JPEG-resistant Adversarial Images, 2017 (rounding by a cube); Guleryuz et al., Sandwiched
Image Compression, ICIP 2021 (bits as a sum of logarithms).
"""

import io
from typing import Any

import torch
from PIL import Image as PilImage
from torch import Tensor
from torch.nn.functional import avg_pool2d, interpolate, pad

from unshrink.network.modules import dct
from unshrink.pictures.colour import CHROMA, LUMA

BITS = 2.4
"""Bits that libjpeg takes, with optimised tables, for 1 of the sum of log2(1 + |c / step|): within 4 % from quality 60
to 90."""


def _tables() -> Tensor:
    """The steps of luma and of chroma at quality 50 by row and column (2, 8, 8): Annex K of ITU-T T.81."""
    with io.BytesIO() as stream:
        PilImage.new("RGB", (8, 8)).save(stream, "JPEG", quality=50)
        with PilImage.open(stream) as picture:
            tables: Any = picture.quantization  # type: ignore[attr-defined]
    return torch.tensor([tables[0], tables[1]], dtype=torch.float32).reshape(2, 8, 8)


TABLES, DCT = _tables(), dct(8)
FULL_RANGE = torch.tensor([[255 / 219], [255 / 224], [255 / 224]])
TO_YCC = torch.tensor([LUMA, *CHROMA], dtype=torch.float32) * FULL_RANGE
"""Rows of Y, Cb and Cr in R, G and B; all have the range of these (JFIF)."""
TO_RGB = torch.linalg.inv(TO_YCC)


def jpeg(pictures: Tensor, quality: Tensor, subsampled: Tensor) -> Tensor:
    """Pictures as they come out of a JPEG file: (N, 3, h, w), any size -> the same, on the 8-bit grid.

    Args:
        pictures: (N, 3, h, w) in [0, 1].
        quality: of each (N,), 1 to 100.
        subsampled: whether its chroma is in 4:2:0 (N,), else in 4:4:4.
    """
    return stepped(pictures, tables(quality), subsampled)


def stepped(pictures: Tensor, table: Tensor, subsampled: Tensor) -> Tensor:
    """The same with steps of one's own: of luma and of chroma by row and column (N, 2, 8, 8)."""
    height, width = pictures.shape[-2:]
    luma, chroma = _planes(pictures)
    halved = _coded(avg_pool2d(chroma, 2), table[:, 1:])
    halved = interpolate(halved, scale_factor=2, mode="bilinear")
    chroma = torch.where(subsampled[:, None, None, None], halved, _coded(chroma, table[:, 1:]))
    planes = torch.cat((_coded(luma, table[:, :1]), chroma), dim=1)
    rgb = torch.einsum("kc,nchw->nkhw", TO_RGB.to(planes), planes) + 128
    return rounded(rgb.clamp(0, 255))[..., :height, :width] / 255


def bits(pictures: Tensor, quality: float) -> Tensor:
    """About how many bits each takes as a JPEG file in 4:2:0, without its header: (N, 3, h, w) -> (N,)."""
    table = tables(pictures.new_full((len(pictures),), quality))
    luma, chroma = _planes(pictures)
    parts = ((luma, table[:, :1]), (avg_pool2d(chroma, 2), table[:, 1:]))
    sums = [(1 + _scaled(plane, steps).abs()).log2().sum(dim=(1, 2, 3, 4, 5)) for plane, steps in parts]
    return BITS * (sums[0] + sums[1])


def tables(quality: Tensor) -> Tensor:
    """libjpeg's steps of luma and chroma: qualities (N,), 1 to 100 -> (N, 2, 8, 8)."""
    percent = torch.where(quality < 50, 5000 / quality, 200 - 2 * quality).floor()[:, None, None, None]
    return ((TABLES.to(quality) * percent + 50) / 100).floor().clamp(1, 255)


def rounded(x: Tensor) -> Tensor:
    """To whole numbers; the gradient passes."""
    return x + (x.round() - x).detach()


def rounded_by_cube(x: Tensor) -> Tensor:
    """To whole numbers; with the gradient 3 d^2, d the distance from the nearest: what is rounded away has little."""
    whole = x.round().detach()
    cubed = (x - whole) ** 3
    return whole + cubed - cubed.detach()


def _planes(pictures: Tensor) -> tuple[Tensor, Tensor]:
    """Luma (N, 1, H, W) and chroma (N, 2, H, W) around 0, edges repeated up to multiples of 16."""
    height, width = pictures.shape[-2:]
    whole = pad(pictures, (0, -width % 16, 0, -height % 16), mode="replicate") * 255
    planes = torch.einsum("kc,nchw->nkhw", TO_YCC.to(whole), whole)
    return planes[:, :1] - 128, planes[:, 1:]


def _scaled(planes: Tensor, steps: Tensor) -> Tensor:
    """Coefficients in steps: (N, C, h, w) and (N, 1, 8, 8) -> (N, C, h/8, w/8, 8, 8)."""
    blocks = rounded(planes).unflatten(-1, (-1, 8)).unflatten(-3, (-1, 8)).transpose(-3, -2)
    basis = DCT.to(planes)
    return basis @ blocks @ basis.T / steps[:, :, None, None]


def _coded(planes: Tensor, steps: Tensor) -> Tensor:
    """Planes with their coefficients rounded to steps, and rounded to levels: (N, C, h, w) -> the same."""
    basis = DCT.to(planes)
    coefficients = rounded_by_cube(_scaled(planes, steps)) * steps[:, :, None, None]
    blocks = basis.T @ coefficients @ basis
    return rounded(blocks.transpose(-3, -2).flatten(-2).flatten(-3, -2))
