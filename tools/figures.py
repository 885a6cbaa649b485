"""Figures of a run's averaged weights on test sets, colours included, and of what must stay white.

    python tools/figures.py runs/plain-x2 Set5 BSD100 Kodak12odd    # the averaged weights of its checkpoint
    python tools/figures.py runs/plain-x2/irn-x2.safetensors Set5
    python tools/figures.py runs/plain-x2 --write x2.safetensors    # first write them in float16
    python tools/figures.py runs/plain-x2 --crops folder            # pictures to look at

The weights are rounded to float16 first, as they would be shipped.  Bicubic both ways stands beside.
"""

import argparse
import json
import os
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image, ImageDraw
from study import network_of

from unshrink import evaluate, metrics, weights
from unshrink.data import read_rgb
from unshrink.files import find_pictures
from unshrink.models import IRN
from unshrink.resize import crop_to_multiple, resize
from unshrink.validation import to_picture, to_tensor

DATA = Path(os.environ.get("UNSHRINK_DATA", Path(__file__).parents[1] / "../shared/data"))
SHOWN = ("psnr_y", "psnr_rgb", "chroma", "lr_psnr_y", "lr_chroma")
Picture = np.ndarray[Any, Any]


def load(path: Path) -> weights.Weights:
    """A weights file, or the averaged weights of a run's folder."""
    if path.is_file() and path.suffix == ".safetensors":
        return weights.load(path)
    state = torch.load(path / "checkpoint.pt", map_location="cpu", weights_only=True)
    tensors = {name: value.half().numpy() for name, value in state["average"].items()}
    config, progress = state["config"], state["progress"]
    training = {"config": config, "steps": progress["step"], "minutes": round(progress["seconds"] / 60, 1)}
    return weights.Weights(config["run"]["name"], "irn", config["model"], tensors, about={"training": training})


@torch.no_grad()
def trip(network: IRN, hr: Picture) -> tuple[Picture, Picture]:
    """The small picture and what comes back, both of 8 bits."""
    with torch.autocast("cpu", torch.bfloat16):
        lr = network.downscale(to_tensor(hr).contiguous(memory_format=torch.channels_last))
        return to_picture(lr), to_picture(network.upscale(lr))


def bicubic(hr: Picture, scale: int) -> tuple[Picture, Picture]:
    """The same of bicubic both ways."""
    height, width = hr.shape[:2]
    lr = evaluate.to_uint8(resize(hr, (width // scale, height // scale)))
    return lr, evaluate.to_uint8(resize(lr, (width, height)))


def of_set(network: IRN, name: str) -> dict[str, float]:
    """Mean figures of a set, and bicubic's."""
    rows, scale = [], network.config.scale
    for path in find_pictures(str(DATA / "test" / name)):
        hr = crop_to_multiple(read_rgb(path), scale)
        figures = evaluate.figures(hr, *trip(network, hr), scale)
        row = asdict(figures) | {"chroma": figures.chroma, "lr_chroma": figures.lr_chroma}
        _, back = bicubic(hr, scale)
        row["bicubic_y"] = metrics.psnr_y(hr, back, scale)
        row["bicubic_chroma"] = float(np.mean(metrics.psnr_chroma(hr, back, scale)))
        rows.append(row)
    return evaluate.mean_row(rows)


def flat_pages() -> dict[str, tuple[Picture, Picture]]:
    """Pages of one colour, and a white one with text, each with where it is flat: 8 pixels from any ink."""
    colours = {
        "white": (255, 255, 255),
        "black": (0, 0, 0),
        "red": (255, 0, 0),
        "green": (0, 255, 0),
        "blue": (0, 0, 255),
        "cyan": (0, 255, 255),
        "magenta": (255, 0, 255),
        "yellow": (255, 255, 0),
        "grey": (128, 128, 128),
    }
    pages = {name: np.full((512, 512, 3), colour, np.uint8) for name, colour in colours.items()}
    text = Image.new("RGB", (512, 512), "white")
    for row in range(12):
        ImageDraw.Draw(text).text((60, 60 + 30 * row), "Plain text on a white page, row %d" % row, fill="black")
    pages["white with text"] = np.asarray(text)
    made = {}
    for name, page in pages.items():
        ink = (page != page[0, 0]).any(axis=2)
        near = np.zeros_like(ink)
        for y, x in zip(*np.nonzero(ink), strict=True):
            near[max(0, y - 8) : y + 9, max(0, x - 8) : x + 9] = True
        made[name] = (page, ~near)
    return made


def of_flat_pages(network: IRN) -> dict[str, dict[str, float]]:
    """Of flat areas: percent of values that come back off, or off by more than 1, largest error; the same, small."""
    result = {}
    for name, (page, flat) in flat_pages().items():
        lr, back = trip(network, page)
        small_flat = flat[::2, ::2] & flat[1::2, ::2] & flat[::2, 1::2] & flat[1::2, 1::2]
        off = np.abs(back.astype(int) - page)[flat]
        small_off = np.abs(lr.astype(int) - page[0, 0].astype(int))[small_flat]
        result[name] = {
            "off_percent": float(100 * (off > 0).mean()),
            "off_by_more_than_1_percent": float(100 * (off > 1).mean()),
            "largest": int(off.max()),
            "small_off_by_more_than_1_percent": float(100 * (small_off > 1).mean()),
            "small_largest": int(small_off.max()),
        }
    return result


LOOKS = {  # file: left, top and side of the crop of the large picture
    "Set5/butterfly": (60, 60, 128),
    "Set5/baby": (180, 180, 128),
    "Set5/bird": (60, 100, 128),
}


def looks(network: IRN, folder: Path) -> None:
    """Side by side at three-fold zoom: original, small (to the same size), bicubic small, restored, bicubic back."""
    folder.mkdir(parents=True, exist_ok=True)
    pictures = [(p, None) for p in find_pictures(str(DATA / "test" / "Screens"))]
    wanted = {f"Set5/{p.stem}": p for p in find_pictures(str(DATA / "test" / "Set5"))}
    todo = [(wanted[name], box) for name, box in LOOKS.items() if name in wanted] + pictures
    for path, box in todo:
        hr = crop_to_multiple(read_rgb(path), 2)
        if box is None:  # the busiest window of 160 in the middle third
            side = 160
            left, top = (hr.shape[1] // 3) & ~1, (hr.shape[0] // 4) & ~1
        else:
            left, top, side = box
        hr = hr[max(0, top - 64) & ~1 : top + side + 64, max(0, left - 64) & ~1 : left + side + 64]
        hr = crop_to_multiple(hr, 2)
        y, x = min(64, top), min(64, left)
        lr, back = trip(network, hr)
        ordinary, bicubic_back = bicubic(hr, 2)
        views = [
            (picture[y // z : (y + side) // z, x // z : (x + side) // z], 3 * z)
            for picture, z in ((hr, 1), (back, 1), (bicubic_back, 1), (lr, 2), (ordinary, 2))
        ]
        large = [np.kron(view, np.ones((zoom, zoom, 1), np.uint8)) for view, zoom in views]
        Image.fromarray(np.concatenate(large, axis=1)).save(folder / f"{path.parent.name}-{path.stem}.png")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("weights", type=Path)
    parser.add_argument("sets", nargs="*")
    parser.add_argument("--write", type=Path)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--crops", type=Path)
    parser.add_argument("--flat", action="store_true")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    given = load(arguments.weights)
    network = network_of(given)
    training = given.about.get("training", {})
    print(f"{arguments.weights}: step {training.get('steps')}, {training.get('minutes')} minutes")
    found: dict[str, Any] = {"steps": training.get("steps"), "minutes": training.get("minutes")}
    if arguments.flat:
        found["flat"] = of_flat_pages(network)
        for name, row in found["flat"].items():
            print(name, {key: round(value, 3) for key, value in row.items()}, flush=True)
    for name in arguments.sets:
        found[name] = of_set(network, name)
        shown = ", ".join(f"{key} {found[name][key]:.2f}" for key in (*SHOWN, "bicubic_y", "bicubic_chroma"))
        print(f"{name}: {shown}", flush=True)
    if arguments.write:
        about = {**given.about, "figures": {name: found[name] for name in arguments.sets}}
        weights.save(arguments.write, weights.Weights(given.name, "irn", given.config, given.tensors, about=about))
    if arguments.json:
        arguments.json.write_text(json.dumps(found, indent=1) + "\n")
    if arguments.crops:
        looks(network, arguments.crops)


if __name__ == "__main__":
    main()
