"""Weights: one named, hashed, self-describing file.

A weights file is one safetensors file.  It holds the parameters under the network's own names, the ONNX graphs that
run them (one for all layers alike, such as ``graph.down.x2.block``, and ``graph.gradient`` for the search of
``runtime.search``: deflated, without the parameters), and a header that says what they are:

    {"unshrink": '{"format": 1, "name": "irn-x2", "architecture": "irn", "config": {...}, "licence": ..., ...}'}

Nothing here needs torch or onnx.  Every file is read as hostile input.
"""

import hashlib
import json
import os
import re
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import safe_open
from safetensors.numpy import save as to_safetensors

from unshrink.errors import ModelNotFoundError, WeightsError
from unshrink.files import atomic_write
from unshrink.network import architectures
from unshrink.network.config import NetworkConfig
from unshrink.network.layers import Step
from unshrink.network.subnets import Shape
from unshrink.pictures.record import MODEL_NAME

FORMAT = 1
SUFFIX = ".safetensors"
DIRECTIONS = ("down", "up")
IDENTITY_DIGITS = 16  # of the identity's 64, in the record of a small picture
NAME_RULE = "up to 64 of a-z, 0-9, '.', '_' and '-', a letter or digit first"
_GRAPH = "graph."  # before the name of a graph among the tensors
_MAX_GRAPH_BYTES = 16 << 20  # of a graph when inflated; a real one has a hundredth of it


@dataclass(frozen=True, eq=False)
class Weights:
    """The parameters of one network with all that is needed to run them.

    Attributes:
        name: what users call them; not part of the identity.
        architecture: its name in `network.architectures`.
        config: the architecture's configuration; fields that are not stated have their defaults.
        tensors: parameters by the network's own names, all float16 or all float32.
        graphs: the ONNX graphs without parameters: of the layers, by `Step.graphs`, and "gradient"; empty if not
            exported.
        about: what else the header says: licence, training, figures.
    """

    name: str
    architecture: str
    config: dict[str, Any]
    tensors: dict[str, np.ndarray]
    graphs: dict[str, bytes] = field(default_factory=dict)
    about: dict[str, Any] = field(default_factory=dict)

    @cached_property
    def network(self) -> NetworkConfig:
        """The whole configuration: what the file does not state has its default."""
        return architectures.from_dict(self.architecture, self.config)

    @property
    def scale(self) -> int:
        """How many times smaller the small picture is, along each side."""
        return self.network.scale

    @property
    def latent(self) -> str:
        """How z is chosen to restore: "zero" or "gaussian"."""
        return self.network.latent

    @cached_property
    def steps(self) -> dict[str, list[Step]]:
        """The layers from the large picture to the small one, "down", and back, "up", as they run."""
        return {"down": architectures.encoder(self.network), "up": architectures.decoder(self.network)}

    @cached_property
    def identity(self) -> str:
        """SHA-256, in hex, of what decides the result: architecture, config, parameters.

        Neither the name nor the graphs count: exporting them anew never orphans a small picture.
        """
        digest = hashlib.sha256(_canonical({"architecture": self.architecture, "config": self.config}))
        for name, tensor in sorted(self.tensors.items()):
            digest.update(_canonical([name, tensor.dtype.name, tensor.shape]))
            digest.update(tensor.astype(tensor.dtype.newbyteorder("<")).tobytes())
        return digest.hexdigest()


def save(path: str | os.PathLike[str], weights: Weights) -> None:
    """Writes a weights file, whole or not at all; one of that name is replaced.

    Raises:
        WeightsError: the file cannot be written, or the weights have a name that no record can hold.
    """
    if not is_name(weights.name):
        raise WeightsError(f"weights cannot have the name {weights.name!r:.80}: allowed are {NAME_RULE}")
    header = {
        **weights.about,
        "format": FORMAT,
        "name": weights.name,
        "architecture": weights.architecture,
        "config": weights.config,
    }
    graphs = {f"{_GRAPH}{n}": np.frombuffer(zlib.compress(graph, 9), np.uint8) for n, graph in weights.graphs.items()}
    parameters = {name: np.ascontiguousarray(tensor) for name, tensor in weights.tensors.items()}
    with atomic_write(path, overwrite=True, error=WeightsError) as stream:
        stream.write(to_safetensors({**parameters, **graphs}, {"unshrink": json.dumps(header)}))


def is_name(name: str) -> bool:
    """Whether weights may be called so: their small pictures say the name in their records."""
    return re.fullmatch(MODEL_NAME, name) is not None


def differences(found: Mapping[str, Shape], wanted: Mapping[str, Shape]) -> str:
    """What to say about tensors that are missing, unexpected or of a wrong shape; "" if there are none."""
    wrong = [f"{k} is {found[k]} instead of {wanted[k]}" for k in wanted if k in found and found[k] != wanted[k]]
    kinds = {
        "missing": [name for name in wanted if name not in found],
        "unexpected": [name for name in found if name not in wanted],
        "wrong shape": wrong,
    }
    return "; ".join(f"{kind}: {_first_few(names)}" for kind, names in kinds.items() if names)


def _first_few(names: list[str], count: int = 3) -> str:
    more = f" and {len(names) - count} more" if len(names) > count else ""
    return ", ".join(name[:100] for name in names[:count]) + more


def _canonical(value: object) -> bytes:
    return json.dumps(value, sort_keys=True, separators=(",", ":")).encode()


def read(path: Path) -> Weights:
    """The weights in a file.

    Raises:
        ModelNotFoundError: there is no such file.
        WeightsError: it is damaged, from a newer version, or does not fit its architecture.
    """
    metadata, tensors = _read_safetensors(path)
    try:
        header = _parse_header(metadata)
        name, architecture, config = (header.pop(key) for key in ("name", "architecture", "config"))
        network = architectures.from_dict(architecture, config)
        graphs = _take_graphs(tensors, [*architectures.encoder(network), *architectures.decoder(network)])
        _check_tensors(tensors, architectures.shapes(network))
    except WeightsError as exc:
        raise WeightsError(f"{path}: {exc}") from exc
    return Weights(name, architecture, config, tensors, graphs, about=header)


def _read_safetensors(path: Path) -> tuple[dict[str, str], dict[str, np.ndarray]]:
    if not path.exists():
        raise ModelNotFoundError(f"no weights file {path}")
    try:
        with safe_open(path, framework="np") as file:
            return file.metadata() or {}, {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except Exception as exc:  # what the library raises on hostile input is not one documented type
        raise WeightsError(f"{path} is not a readable safetensors file: {exc}") from exc


def _parse_header(metadata: Mapping[str, str]) -> dict[str, Any]:
    """The header's JSON object, less "format"."""
    if "unshrink" not in metadata:
        raise WeightsError("it carries no unshrink header; convert published checkpoints with `unshrink convert`")
    try:
        header = json.loads(metadata["unshrink"])
    except (ValueError, RecursionError) as exc:
        raise WeightsError(f"its header is not JSON: {exc}") from exc
    version = header.pop("format", None) if isinstance(header, dict) else None
    if not isinstance(version, int) or version < 1:
        raise WeightsError("its header names no format")
    if version > FORMAT:
        raise WeightsError(f"its format is {version}, this unshrink reads up to {FORMAT}: install a newer unshrink")
    for key, kind in (("name", str), ("architecture", str), ("config", dict)):
        if not isinstance(header.get(key), kind):
            raise WeightsError(f"its header has no valid {key!r}")
    if not is_name(header["name"]):
        raise WeightsError(
            f"its header has the name {header['name']!r:.80}, which no small picture could say: "
            f"allowed are {NAME_RULE}; ask whoever made it for one of such a name"
        )
    return dict(header)


def _take_graphs(tensors: dict[str, np.ndarray], steps: Sequence[Step]) -> dict[str, bytes]:
    """Takes the graphs out of the tensors and inflates them.

    Graphs of whole networks, as unshrink stored them before it ran layer by layer, count as none.
    """
    stored = {name: tensors.pop(name) for name in list(tensors) if name.startswith(_GRAPH)}
    wanted = {graph for step in steps for graph in step.graphs}
    missing = sorted(name for name in wanted if _GRAPH + name not in stored)
    if len(missing) == len(wanted):
        return {}
    if missing:
        raise WeightsError(f"it lacks some of its graphs: {_first_few(missing)}")
    return {
        name: _inflate(name, stored[_GRAPH + name]) for name in (*sorted(wanted), "gradient") if _GRAPH + name in stored
    }


def _inflate(name: str, data: np.ndarray) -> bytes:
    inflater = zlib.decompressobj()
    try:
        graph = inflater.decompress(data.tobytes(), _MAX_GRAPH_BYTES)
    except zlib.error as exc:
        raise WeightsError(f"graph.{name} is damaged: {exc}") from exc
    if not inflater.eof:
        raise WeightsError(f"graph.{name} is cut short or larger than {_MAX_GRAPH_BYTES >> 20} MiB")
    return graph


def _check_tensors(tensors: Mapping[str, np.ndarray], wanted: Mapping[str, Shape]) -> None:
    wrong = differences({name: tensor.shape for name, tensor in tensors.items()}, wanted)
    if wrong:
        raise WeightsError(f"its tensors do not fit its config; {wrong}")
    dtypes = {tensor.dtype.name for tensor in tensors.values()}
    if dtypes not in ({"float16"}, {"float32"}):
        raise WeightsError(f"its tensors are {', '.join(sorted(dtypes))}: all must be float16, or all float32")
    broken = [name for name, tensor in tensors.items() if not np.isfinite(tensor).all()]
    if broken:
        raise WeightsError(f"values that are not finite in {_first_few(broken)}")
