"""Tiny training runs."""

from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from unshrink.training import config
from unshrink.training import loop as train


def draw_photos(folder: Path) -> str:
    """Three small pictures in a new folder, whose path it gives."""
    rng = np.random.default_rng(0)
    folder.mkdir()
    for i in range(3):
        y, x = np.mgrid[:40, :48]
        waves = sum(np.sin(a * x + b * y) for a, b in rng.normal(scale=0.6, size=(4, 2)))
        picture = np.uint8(np.where(waves > 0, 220, 30))[..., None].repeat(3, axis=2)  # sharp edges: much to learn
        Image.fromarray(picture).save(folder / f"{i}.png")
    return str(folder)


def tiny(folder: Path, photos: str, **changes: dict[str, Any]) -> config.TrainConfig:
    """A run of four steps of a tiny network, with any values of any section replaced."""
    tree: dict[str, dict[str, Any]] = {
        "model": {"scale": 2, "blocks": [2], "growth": 4},
        "data": {"train": [photos], "validation": photos, "crop": 16, "batch": 2, "candidates": 2},
        "optim": {"name": "muon", "lr": 1e-3, "clip_factor": 2.0},
        "run": {"name": "tiny", "folder": str(folder), "steps": 4, "log_every": 1, "threads": 1},
    }
    tree["run"]["precision"] = "float32"  # whichever is faster here would be another on another machine
    for section, values in changes.items():
        tree[section] = tree.get(section, {}) | values
    return config.from_dict(tree)


def begin(made: config.TrainConfig) -> train.Run:
    """A new run, before its first step."""
    return train.start(made, resume=False)


def assert_same(a: Any, b: Any, where: str = "") -> None:
    """Equal to the last bit, through any nesting."""
    assert type(a) is type(b), where
    if isinstance(a, torch.Tensor):
        assert torch.equal(a, b), where
    elif isinstance(a, dict):
        assert a.keys() == b.keys(), where
        for key in a:
            assert_same(a[key], b[key], f"{where}.{key}")
    elif isinstance(a, list):
        for i, (x, y) in enumerate(zip(a, b, strict=True)):
            assert_same(x, y, f"{where}[{i}]")
    else:
        assert a == b, where
