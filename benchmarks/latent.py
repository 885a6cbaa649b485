"""What z does: how exactly a picture comes back with its own z, without, and with another; and what z looks like.

    unshrink train configs/irn-x2-gaussian.toml    # half an hour: weights that draw z, which none of the installed do
    python benchmarks/latent.py                    # these and all installed, the middles of Set5: results/latent.json
    python benchmarks/latent.py irn-x2             # these alone; what is known of others stays

and results/latent/<weights>/: a place of examples/astronaut.png restored with draws of z that are ever wider, and how
far draws differ there.  The small picture is rounded to 8 bits wherever nothing else is said, as in a file.

Shapes:  hr (1, 3, H, W), lr (1, 3, H/s, W/s), z (1, 3s^2-3, H/s, W/s), values of pictures in [0, 1].
"""

import argparse
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image as PIL
from samples import middle
from torch import Tensor

import unshrink
from unshrink import weights
from unshrink.evaluation.environment import commit
from unshrink.evaluation.sets import find_set
from unshrink.network.modules import quantize
from unshrink.network.network import Network, build
from unshrink.pictures import metrics
from unshrink.pictures.colour import to_uint8
from unshrink.pictures.resize import crop_to_multiple
from unshrink.training.validation import to_picture, to_tensor
from unshrink.weights import catalogue

ROOT = Path(__file__).parents[1]
DRAWN = ROOT / "runs" / "irn-x2-gaussian" / "irn-x2-gaussian.safetensors"
SHARES = (-1.0, -0.5, 0.0, 0.25, 0.5, 0.75, 1.0, 1.25, 1.5, 2.0)  # of the picture's own z
SPREADS = (0.0, 0.5, 1.0, 1.5, 2.0)  # of drawn z: 1 is as wide as in training or, where that was 0, as the own z
DRAWS = 5
PHOTO, PLACE, AROUND = ROOT / "examples" / "astronaut.png", (120, 348, 208, 436), 40  # left, top, right, bottom; pixels
DIFFERENCE = 16  # how many times brighter the differences of draws are shown
EDGES = np.linspace(-5, 5, 42)  # of the histogram, in standard deviations

Rows = list[dict[str, Any]]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", nargs="*", help="weights (default: all installed, and those that draw z)")
    parser.add_argument("--data", default="Set5", help="a folder, or the name of a test set")
    parser.add_argument("--side", type=int, default=128, help="of the middle that is taken of each picture, in pixels")
    parser.add_argument("--out", type=Path, default=ROOT / "results" / "latent.json")
    options = parser.parse_args()
    pictures = [middle(unshrink.read(path).pixels, options.side) for path in find_set(options.data).files]
    about = {"set": options.data, "pictures": len(pictures), "side": options.side, "draws": DRAWS, "commit": commit()}
    installed = [row.name for row in catalogue.ENTRIES if not row.lossy]  # the others estimate z
    known = {*installed, DRAWN.stem}
    earlier = json.loads(options.out.read_text())["weights"] if options.out.exists() else {}
    studies = {name: found for name, found in earlier.items() if name in known}
    for made in map(weights.load, options.models or [*installed, DRAWN]):
        name = made.name
        studies[name] = about | study(made, pictures) | {"crops": crops(made, options.out.with_suffix("") / name)}
        print(name, json.dumps({k: v for k, v in studies[name].items() if k not in ("histogram", "crops")}))
    options.out.write_text(json.dumps({"schema": 1, "weights": dict(sorted(studies.items()))}, indent=1) + "\n")


@torch.inference_mode()
def study(made: weights.Weights, pictures: list[np.ndarray]) -> dict[str, Any]:
    """All figures of one network."""
    network = loaded(made)
    split = build(made.architecture, made.config)  # before training it is the Haar transform, or the DCT, alone
    rows, latents, details = [], [], []
    for picture in pictures:
        hr = crop_to_multiple(picture, made.scale)
        lr, z = network(to_tensor(hr))
        rows.append(restorations(network, hr, lr, z))
        latents.append((lr, z))
        details.append(split(to_tensor(hr))[1])
    each = [rms([z]) for z in z_of(latents)]
    return {
        "identity": made.identity,
        "scale": made.scale,
        "latent": made.latent,
        **mean_of(rows),
        "rms_z": rms(z_of(latents)),
        "rms_z_of_pictures": [min(each), max(each)],
        "rms_haar_details": rms(details),
        **shape_of(z_of(latents)),
        "correlation_with_detail": float(np.mean([correlation(lr, z) for lr, z in latents])),
    }


def loaded(made: weights.Weights) -> Network:
    network = build(made.architecture, made.config)
    network.load_state_dict({name: torch.from_numpy(v.astype(np.float32)) for name, v in made.tensors.items()})
    return network


def rms(values: list[Tensor]) -> float:
    return float(torch.cat([one.square().flatten() for one in values]).mean().sqrt())


def z_of(latents: Iterable[tuple[Tensor, Tensor]]) -> list[Tensor]:
    return [z for _, z in latents]


def restorations(network: Network, hr: np.ndarray, lr: Tensor, z: Tensor) -> dict[str, Any]:
    """PSNR-RGB in dB with the own z, none, shares of it, and draws."""
    small, none = quantize(lr), torch.zeros_like(z)
    kept = to_picture(network.decode(lr, z))
    return {
        "values_exact_with_z": float((kept == hr).mean()),
        "kept_rounded": psnr(network, hr, small, z),
        "zero_unrounded": psnr(network, hr, lr, none),
        "shares": [psnr(network, hr, small, share * z) for share in SHARES],
        **draws(network, hr, small, z),
    }


def draws(network: Network, hr: np.ndarray, small: Tensor, z: Tensor) -> dict[str, Any]:
    """Several draws of z for each of `SPREADS`: PSNR and its deviation in dB, and how far pixels differ, in levels."""
    found = [restored_by_draws(network, small, z, spread, DRAWS if spread else 1) for spread in SPREADS]
    quality = [[metrics.psnr(hr, one) for one in restored] for restored in found]
    return {
        "drawn": [float(np.mean(values)) for values in quality],
        "drawn_psnr_deviation": [float(np.std(values)) for values in quality],
        "drawn_pixel_deviation": [float(difference(restored).mean()) for restored in found],
    }


def restored_by_draws(network: Network, small: Tensor, z: Tensor, spread: float, count: int) -> list[np.ndarray]:
    """Pictures of as many draws of z."""
    random = torch.Generator().manual_seed(0)
    unit = torch.ones(1) if network.config.latent == "gaussian" else z.std(dim=(2, 3), keepdim=True)
    drawn = [spread * unit * torch.randn(z.shape, generator=random) for _ in range(count)]
    return [to_picture(network.decode(small, one)) for one in drawn]


def difference(pictures: list[np.ndarray]) -> np.ndarray:
    """The standard deviation of every value over the pictures."""
    return np.std(np.stack(pictures).astype(float), axis=0)


@torch.inference_mode()
def crops(made: weights.Weights, folder: Path) -> list[dict[str, str]]:
    """Writes the place as draws give it back, and says which file is what."""
    left, top, right, bottom = PLACE
    around = np.s_[top - AROUND : bottom + AROUND, left - AROUND : right + AROUND]
    network, hr = loaded(made), np.ascontiguousarray(unshrink.read(PHOTO).pixels[around])
    lr, z = network(to_tensor(hr))
    panels = {"original": hr}
    for spread in SPREADS:
        restored = restored_by_draws(network, quantize(lr), z, spread, DRAWS if spread == 1 else 1)
        panels[f"z {spread:g} times as wide" if spread else "z = 0"] = restored[0]
        if spread == 1:
            panels[f"how draws of width 1 differ, x{DIFFERENCE}"] = to_uint8(DIFFERENCE * difference(restored))
    folder.mkdir(parents=True, exist_ok=True)
    for number, picture in enumerate(panels.values()):
        place = np.ascontiguousarray(picture[AROUND:-AROUND, AROUND:-AROUND])
        PIL.fromarray(place).save(folder / f"{number}.webp", lossless=True, method=6)
    return [{"title": title, "file": f"{number}.webp"} for number, title in enumerate(panels)]


def psnr(network: Network, hr: np.ndarray, lr: Tensor, z: Tensor) -> float:
    return metrics.psnr(hr, to_picture(network.decode(lr, z)))


def mean_of(rows: Rows) -> dict[str, Any]:
    """Means over pictures, entry by entry; with what the entries of lists belong to."""
    means = {key: np.mean([row[key] for row in rows], axis=0).tolist() for key in rows[0]}
    at = {"shares": SHARES, **{key: SPREADS for key in means if key.startswith("drawn")}}
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
