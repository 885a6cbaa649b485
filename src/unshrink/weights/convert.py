"""Checkpoints of the published IRN code -> weights.

A published checkpoint is a pickled state dict with the keys ``operations.{i}.haar_weights`` (4C, 1, 2, 2) and
``operations.{i}.{F,G,H}.conv{1..5}.{weight,bias}``, i counting Haar transforms and coupling blocks together, sometimes
all behind ``module.``.  Its values are kept as they are, in float32, so that the small pictures are those of the
published network.
"""

import hashlib
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from unshrink.errors import ModelNotFoundError, WeightsError, not_installed
from unshrink.network.architectures import from_dict, shapes
from unshrink.network.subnets import Shape
from unshrink.weights import Weights, differences

_HAAR = re.compile(r"operations\.(\d{1,4})\.haar_weights")
_FILTERS = np.array([[[1, 1], [1, 1]], [[1, -1], [1, -1]], [[1, 1], [-1, -1]], [[1, -1], [-1, 1]]], np.float32)


def convert(path: str | os.PathLike[str]) -> Weights:
    """Reads a published checkpoint; the weights are named after the file, in lower case, and have no graphs yet.

    The file is never unpickled freely: torch's restricted reader takes tensors and plain containers alone.

    Raises:
        ModelNotFoundError: no such file.
        WeightsError: it is not a checkpoint, holds more than tensors, or is of another network.
        MissingDependencyError: torch is not installed.
    """
    path = Path(path)
    found = _read(path)
    try:
        config = _infer_config(found)
        names = {_published(name): name for name in shapes(from_dict("irn", config))}
        _check(found, config, names)
    except WeightsError as exc:
        raise WeightsError(f"{path} is not a checkpoint of the published IRN code: {exc}") from exc
    tensors = {ours: found[theirs] for theirs, ours in names.items()}
    with path.open("rb") as stream:
        digest = hashlib.file_digest(stream, "sha256").hexdigest()
    about = {"training": {"converted_from": path.name, "sha256": digest}}
    name = re.sub(r"[^a-z0-9._-]", "-", path.stem.lower()).lstrip("._-")[:64]  # as the record of a picture allows
    return Weights(name or "converted", "irn", config, tensors, about=about)


def _read(path: Path) -> dict[str, np.ndarray]:
    """The tensors of a pickled state dict, as float32 arrays."""
    try:
        import torch
    except ImportError as exc:
        raise not_installed("convert needs torch, and onnx and onnxscript for graphs", "export") from exc
    if not path.is_file():
        raise ModelNotFoundError(f"no checkpoint file {path}")
    try:
        state: Any = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as exc:  # what torch raises on hostile or damaged input is not one documented type
        raise WeightsError(f"{path} is damaged, or holds more than tensors and was not read further") from exc
    if not isinstance(state, Mapping) or not state or not all(_is_entry(*item) for item in state.items()):
        raise WeightsError(f"{path} is not a state dict: a flat dictionary of names and tensors of real numbers")
    prefix = "module." if all(name.startswith("module.") for name in state) else ""
    return {name.removeprefix(prefix): value.detach().float().numpy() for name, value in state.items()}


def _is_entry(name: object, value: object) -> bool:
    import torch

    if not (isinstance(name, str) and isinstance(value, torch.Tensor) and value.is_floating_point()):
        return False
    # Anything but plain stored numbers could not be read, or would grow beyond the file when read.
    plain = value.layout is torch.strided and value.device.type == "cpu"
    return plain and value.numel() * value.element_size() <= value.untyped_storage().nbytes()


def _infer_config(found: Mapping[str, np.ndarray]) -> dict[str, Any]:
    """The configuration, from where the Haar transforms lie among the operations."""
    starts = sorted(int(match[1]) for match in map(_HAAR.fullmatch, found) if match)
    if not starts or starts[0] != 0:
        raise WeightsError("it does not begin with operations.0.haar_weights")
    if len(starts) > 3:
        raise WeightsError(f"it has {len(starts)} Haar transforms; published networks have 1, 2 or 3")
    end = 1 + max(int(number) for name in found for number in re.findall(r"^operations\.(\d{1,4})\.", name))
    blocks = [after - start - 1 for start, after in zip(starts, [*starts[1:], end], strict=True)]
    first = found.get("operations.1.F.conv1.weight", np.empty(32))
    growth = first.shape[0] if first.ndim else 0
    return {"scale": 2 ** len(starts), "blocks": blocks, "growth": growth, "clamp": 1.0, "latent": "gaussian"}


def _published(name: str) -> str:
    """layers.1.f.convs.0.weight -> operations.1.F.conv1.weight."""
    _, layer, subnet, _, conv, kind = name.split(".")
    return f"operations.{layer}.{subnet.upper()}.conv{int(conv) + 1}.{kind}"


def _check(found: Mapping[str, np.ndarray], config: Mapping[str, Any], names: Mapping[str, str]) -> None:
    """Raises WeightsError unless the tensors are those of a network of that configuration."""
    ours = shapes(from_dict("irn", config))
    haar = _haar_filters(config["blocks"])
    wanted: dict[str, Shape] = {theirs: ours[name] for theirs, name in names.items()}
    wanted |= {name: filters.shape for name, filters in haar.items()}
    wrong = differences({name: value.shape for name, value in found.items()}, wanted)
    if wrong:
        raise WeightsError(wrong)
    for name, filters in haar.items():
        if not np.array_equal(found[name], filters):
            raise WeightsError(f"{name} is not the published Haar transform")


def _haar_filters(blocks: list[int]) -> dict[str, np.ndarray]:
    """Key and value of the Haar transform of each level: the four filters in turn, for each channel."""
    starts = [sum(blocks[:level]) + level for level in range(len(blocks))]
    return {
        f"operations.{start}.haar_weights": np.tile(_FILTERS[:, None], (3 * 4**level, 1, 1, 1))
        for level, start in enumerate(starts)
    }
