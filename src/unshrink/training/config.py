"""Training configurations: frozen dataclasses that hold every default, written and read as TOML.

A file states only what differs from the defaults; an unknown key or name is an error that tells the nearest known one.
A section that names rows of a table stands beside that table: ``LossConfig`` in `losses`, and so on.
"""

import dataclasses
import difflib
import json
import tomllib
import typing
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from unshrink import weights
from unshrink.errors import ConfigError
from unshrink.network import architectures
from unshrink.network.config import NetworkConfig
from unshrink.network.irn import IRNConfig
from unshrink.training.degradations import DEGRADATIONS, DegradationConfig
from unshrink.training.learned import LearnedConfig
from unshrink.training.losses import PENALTIES, LossConfig
from unshrink.training.optim import OPTIMIZERS, SCHEDULES, OptimConfig


@dataclass(frozen=True)
class DataConfig:
    """Where pictures come from and how they are cut.

    Attributes:
        train: folders of large pictures, searched through all their subfolders, or single pictures.
        shares: how much of the batches each folder gives, in proportion; empty: by its pixels.
        validation: folder of pictures, or one picture, that are measured but never trained on; "" for none.
        crop: side of the square crops of the large picture, in pixels; a multiple of the scale.
        batch: crops per step (see optim.accumulate), of all processes together.
        candidates: crops drawn for each one used: the busiest is taken (1: the first drawn, as published).
        calm: share of the crops that are the first drawn instead of the busiest: skies, margins of pages.
        device: where the pictures live: "" for run.device, "cpu" for more pictures than a GPU holds.
    """

    train: tuple[str, ...] = ()
    shares: tuple[float, ...] = ()
    validation: str = ""
    crop: int = 144
    batch: int = 16
    candidates: int = 1
    calm: float = 0.0
    device: str = ""


@dataclass(frozen=True)
class RunConfig:
    """How long a run takes and what it writes.

    Attributes:
        name: name of the weights that come out.
        folder: where log, checkpoint and weights go.
        steps: steps of the whole run.
        max_time: minutes of the whole run, resumed parts and the last validation included; it ends, and its schedule
            with it, at whatever comes first of steps and time.  0 for no limit.
        start: weights to begin from, a name or a file, of the same network or, for its first levels, of a smaller
            scale; "" for the untrained network.
        seed: of the crops, the draws of z and the untrained network.
        precision: "float32", "bfloat16" (subnets in bfloat16, couplings and pictures in float32), or "auto" for
            whichever is faster here.
        device: "cpu", "cuda", "cuda:1", ..., or "auto" for a GPU where there is one.
        compile: whether torch compiles the step: "on", "off", or "auto" for on a GPU.
        threads: CPU threads of each process; 0 for all cores.
        validate_every: minutes between validations.
        checkpoint_every: minutes between checkpoints; a kill loses no more than these and a step or a validation.
        log_every: steps between lines of the log.
    """

    name: str = "irn"
    folder: str = "runs/irn"
    steps: int = 500_000
    max_time: float = 0.0
    start: str = ""
    seed: int = 0
    precision: str = "auto"
    device: str = "cpu"
    compile: str = "auto"
    threads: int = 0
    validate_every: float = 10.0
    checkpoint_every: float = 4.0
    log_every: int = 50


@dataclass(frozen=True)
class TrainConfig:
    """One training run: model, data, degradation, loss, learned, optim and run.

    ``model`` is of the architecture that its key ``architecture`` names, "irn" unless it is there.
    """

    model: NetworkConfig = field(default_factory=IRNConfig)
    data: DataConfig = field(default_factory=DataConfig)
    degradation: DegradationConfig = field(default_factory=DegradationConfig)
    loss: LossConfig = field(default_factory=LossConfig)
    learned: LearnedConfig = field(default_factory=LearnedConfig)
    optim: OptimConfig = field(default_factory=OptimConfig)
    run: RunConfig = field(default_factory=RunConfig)

    def __post_init__(self) -> None:
        """Refuses values that no part could work with."""
        _choice("degradation.name", self.degradation.name, DEGRADATIONS)
        _choice("loss.reconstruction", self.loss.reconstruction, PENALTIES)
        _choice("loss.guide_penalty", self.loss.guide_penalty, PENALTIES)
        _choice("optim.name", self.optim.name, OPTIMIZERS)
        if not weights.is_name(self.run.name):
            raise ConfigError(f"run.name is {self.run.name!r:.80}: allowed are {weights.NAME_RULE}")
        _choice("optim.schedule", self.optim.schedule, SCHEDULES)
        _choice("run.precision", self.run.precision, ("auto", "float32", "bfloat16"))
        _choice("run.compile", self.run.compile, ("auto", "on", "off"))
        if self.data.crop % self.model.scale or self.data.crop < 1:
            raise ConfigError(f"data.crop is {self.data.crop}: allowed are multiples of the scale {self.model.scale}")
        if self.data.shares and len(self.data.shares) != len(self.data.train):
            raise ConfigError(
                f"data.shares has {len(self.data.shares)} numbers for {len(self.data.train)} folders in data.train: "
                "give one for each, or none"
            )
        for name in ("data.batch", "data.candidates", "optim.accumulate"):
            section, key = name.split(".")
            if (value := getattr(getattr(self, section), key)) < 1:
                raise ConfigError(f"{name} is {value}: must be at least 1")


def load(path: str | Path, overrides: list[str] | None = None) -> TrainConfig:
    """Reads a configuration.

    Args:
        path: a TOML file.
        overrides: settings as on the command line, each ``section.key=value`` with a TOML value or a bare word.

    Raises:
        ConfigError: the file is missing or not TOML, or a key or value is wrong.
    """
    try:
        tree = tomllib.loads(Path(path).read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"cannot read the configuration {path}: {error.strerror or error}") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} is not TOML: {error}") from None
    for override in overrides or []:
        _apply(tree, override)
    return from_dict(tree)


def from_dict(tree: dict[str, Any]) -> TrainConfig:
    """The configuration that a tree of tables states; what it leaves out keeps its default."""
    return typing.cast(TrainConfig, _build(TrainConfig, tree, ""))


def to_dict(config: TrainConfig) -> dict[str, Any]:
    """The whole configuration, defaults included, as plain lists, numbers and strings."""
    tree = {part.name: dataclasses.asdict(getattr(config, part.name)) for part in dataclasses.fields(config)}
    tree["model"] = {"architecture": config.model.architecture, **tree["model"]}
    return typing.cast(dict[str, Any], json.loads(json.dumps(tree)))


def to_toml(config: TrainConfig) -> str:
    """The whole configuration, defaults included, as TOML."""
    lines = []
    for section, table in to_dict(config).items():
        lines.append(f"[{section}]")
        lines += [f"{key} = {json.dumps(value)}" for key, value in table.items()]  # JSON scalars and lists are TOML
        lines.append("")
    return "\n".join(lines)


def _apply(tree: dict[str, Any], override: str) -> None:
    name, equals, text = override.partition("=")
    section, dot, key = name.strip().partition(".")
    if not (equals and dot and key):
        raise ConfigError(f"cannot use {override!r}: write section.key=value, such as optim.lr=1e-3")
    try:
        value = tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        value = text.strip()  # a bare word: a name or a path
    tree.setdefault(section, {})[key] = value


def _build(kind: type, tree: Any, where: str) -> object:
    if not isinstance(tree, dict):
        raise ConfigError(f"{where.rstrip('.') or 'the configuration'} must be a table, got {tree!r}")
    hints = typing.get_type_hints(kind)
    for key in tree:
        if key not in hints:
            near = difflib.get_close_matches(key, hints, n=1)
            hint = f": did you mean {where}{near[0]}?" if near else f": known are {', '.join(hints)}"
            raise ConfigError(f"unknown key {where}{key}{hint}")
    return kind(**{key: _convert(hints[key], value, where + key) for key, value in tree.items()})


def _convert(hint: Any, value: Any, where: str) -> Any:
    if hint is NetworkConfig:
        return _model(value, where)
    if dataclasses.is_dataclass(hint):
        return _build(typing.cast(type, hint), value, where + ".")
    if typing.get_origin(hint) is tuple:
        item = typing.get_args(hint)[0]
        if not isinstance(value, list | tuple):
            raise ConfigError(f"{where} must be a list, got {value!r}")
        return tuple(_convert(item, entry, where) for entry in value)
    if hint is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if type(value) is not hint:
        raise ConfigError(f"{where} must be of type {hint.__name__}, got {value!r}")
    return value


def _model(tree: Any, where: str) -> object:
    if not isinstance(tree, dict):
        raise ConfigError(f"{where} must be a table, got {tree!r}")
    name = tree.get("architecture", IRNConfig.architecture)
    _choice(f"{where}.architecture", name, architectures.ARCHITECTURES)
    fields = {key: value for key, value in tree.items() if key != "architecture"}
    return _build(architectures.ARCHITECTURES[name].config, fields, where + ".")


def _choice(where: str, value: str, allowed: Iterable[str]) -> None:
    known = list(allowed)
    if value not in known:
        near = difflib.get_close_matches(str(value), known, n=1)
        hint = f"did you mean {near[0]}? " if near else ""
        raise ConfigError(f"{where} is {value!r}: {hint}allowed are {', '.join(known)}")
