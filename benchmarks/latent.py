"""What z does: how exactly a picture comes back with its own z, without, and with another; and what z looks like.

    python benchmarks/latent.py            # all installed weights, the middles of Set5; writes results/latent.json

The small picture is rounded to 8 bits wherever nothing else is said, as in a file.

Shapes:  hr (1, 3, H, W), lr (1, 3, H/s, W/s), z (1, 3s^2-3, H/s, W/s), values of pictures in [0, 1].
"""

import argparse
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

import unshrink
from unshrink import metrics, weights
from unshrink.evaluate import commit, data_set
from unshrink.layers import quantize
from unshrink.models import IRN, build
from unshrink.resize import crop_to_multiple
from unshrink.validation import to_picture, to_tensor

ROOT = Path(__file__).parents[1]
SHARES = (-1.0, -0.5, 0.0, 0.25, 0.5, 0.75, 1.0, 1.25, 1.5, 2.0)  # of the picture's own z
SPREADS = (0.0, 0.5, 1.0, 2.0)  # of drawn z, in standard deviations of the own one, channel by channel
DRAWS = 3
EDGES = np.linspace(-5, 5, 42)  # of the histogram, in standard deviations

Rows = list[dict[str, Any]]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", nargs="*", default=unshrink.list_models())
    parser.add_argument("--data", default="Set5", help="a folder, or the name of a test set")
    parser.add_argument("--side", type=int, default=160, help="of the middle that is taken of each picture, in pixels")
    parser.add_argument("--out", type=Path, default=ROOT / "results" / "latent.json")
    options = parser.parse_args()
    pictures = [middle(unshrink.read(path).pixels, options.side) for path in data_set(options.data).files]
    about = {"set": options.data, "pictures": len(pictures), "side": options.side, "commit": commit()}
    studies = {name: study(weights.load(name), pictures) for name in options.models}
    options.out.write_text(json.dumps({"schema": 1, **about, "weights": studies}, indent=1) + "\n")
    for name, found in studies.items():
        print(name, json.dumps({key: value for key, value in found.items() if key != "histogram"}))


def middle(picture: np.ndarray, side: int) -> np.ndarray:
    """(H, W, 3) -> at most (side, side, 3)."""
    top, left = (max(0, length - side) // 2 for length in picture.shape[:2])
    return picture[top : top + side, left : left + side]


@torch.inference_mode()
def study(made: weights.Weights, pictures: list[np.ndarray]) -> dict[str, Any]:
    """All figures of one network."""
    network = build(made.architecture, made.config)
    haar = build(made.architecture, made.config)  # before training it is the Haar transform
    values = {name: torch.from_numpy(value.astype(np.float32)) for name, value in made.tensors.items()}
    network.load_state_dict(values)
    rows, latents, details = [], [], []
    for picture in pictures:
        hr = crop_to_multiple(picture, made.scale)
        lr, z = network(to_tensor(hr))
        rows.append(restorations(network, hr, lr, z))
        latents.append((lr, z))
        details.append(haar(to_tensor(hr))[1])
    rms = [float(torch.cat([d.square().flatten() for d in group]).mean().sqrt()) for group in (z_of(latents), details)]
    return {
        "identity": made.identity,
        "scale": made.scale,
        "latent": made.latent,
        **mean_of(rows),
        "rms_z": rms[0],
        "rms_haar_details": rms[1],
        **shape_of(z_of(latents)),
        "correlation_with_detail": float(np.mean([correlation(lr, z) for lr, z in latents])),
    }


def z_of(latents: Iterable[tuple[Tensor, Tensor]]) -> list[Tensor]:
    return [z for _, z in latents]


def restorations(network: IRN, hr: np.ndarray, lr: Tensor, z: Tensor) -> dict[str, Any]:
    """PSNR-RGB in dB with the own z, none, shares of it, and draws."""
    small, none = quantize(lr), torch.zeros_like(z)
    kept = to_picture(network.inverse(lr, z))
    return {
        "values_exact_with_z": float((kept == hr).mean()),
        "kept_rounded": psnr(network, hr, small, z),
        "zero_unrounded": psnr(network, hr, lr, none),
        "shares": [psnr(network, hr, small, share * z) for share in SHARES],
        **draws(network, hr, small, z),
    }


def draws(network: IRN, hr: np.ndarray, small: Tensor, z: Tensor) -> dict[str, Any]:
    """Several draws of z, as wide as the own one times each of `SPREADS`: mean PSNR, and how far pixels differ."""
    random = torch.Generator().manual_seed(0)
    deviation = z.std(dim=(2, 3), keepdim=True)
    quality, differences = [], []
    for spread in SPREADS:
        drawn = [spread * deviation * torch.randn(z.shape, generator=random) for _ in range(DRAWS if spread else 1)]
        restored = [to_picture(network.inverse(small, one)) for one in drawn]
        quality.append(float(np.mean([metrics.psnr(hr, one) for one in restored])))
        differences.append(float(np.std(np.stack(restored).astype(float), axis=0).mean()))
    return {"drawn": quality, "drawn_pixel_deviation": differences}


def psnr(network: IRN, hr: np.ndarray, lr: Tensor, z: Tensor) -> float:
    return metrics.psnr(hr, to_picture(network.inverse(lr, z)))


def mean_of(rows: Rows) -> dict[str, Any]:
    """Means over pictures, entry by entry; with what the entries of lists belong to."""
    means = {key: np.mean([row[key] for row in rows], axis=0).tolist() for key in rows[0]}
    at = {"shares": SHARES, "drawn": SPREADS, "drawn_pixel_deviation": SPREADS}
    return {key: [list(pair) for pair in zip(at[key], v, strict=True)] if key in at else v for key, v in means.items()}


def shape_of(latents: list[Tensor]) -> dict[str, Any]:
    """How normal z is, each channel brought to deviation 1: kurtosis (3 where it is normal) and a density."""
    channels = torch.cat([z.flatten(2) for z in latents], dim=2)[0]
    values = ((channels - channels.mean(1, keepdim=True)) / channels.std(1, keepdim=True)).numpy()
    density, _ = np.histogram(values, EDGES)
    centres = (EDGES[1:] + EDGES[:-1]) / 2
    density = density / (values.size * (EDGES[1] - EDGES[0]))
    pairs = [[round(float(x), 3), float(y)] for x, y in zip(centres, density, strict=True)]
    return {"kurtosis": float((values**4).mean()), "histogram": pairs}


def correlation(lr: Tensor, z: Tensor) -> float:
    """Of the size of z with how much the small picture changes there: 0 were z independent of the picture."""
    luma = lr.mean(1)[0]
    change = (luma[1:, :-1] - luma[:-1, :-1]).abs() + (luma[:-1, 1:] - luma[:-1, :-1]).abs()
    size = z.square().mean(1)[0].sqrt()[:-1, :-1]
    return float(np.corrcoef(change.flatten(), size.flatten())[0, 1])


if __name__ == "__main__":
    main()
