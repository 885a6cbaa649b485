"""Training configurations: frozen dataclasses that hold every default, written and read as TOML.

A file states only what differs from the defaults; an unknown key is an error that names the nearest known one.
"""

import dataclasses
import difflib
import json
import tomllib
import typing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from unshrink.architectures import IRNConfig
from unshrink.errors import ConfigError


@dataclass(frozen=True)
class DataConfig:
    """Where pictures come from and how they are cut.

    Attributes:
        train: folders of large pictures, searched through all their subfolders.
        shares: how much of the batches each folder gives, in proportion; empty: by its pixels.
        validation: folder of pictures that are measured but never trained on; "" for none.
        crop: side of the square crops of the large picture, in pixels; a multiple of the scale.
        batch: crops per step, of all processes together.
        candidates: crops drawn for each one used: the busiest is taken (1: the first drawn, as published).
        flat: share of the crops that are of one colour: white, black, pure, grey or any.
        calm: share of the crops that are the first drawn instead of the busiest: pages with little on them, skies.
        device: where the pictures live: "" for run.device, "cpu" for more pictures than a GPU holds.
    """

    train: tuple[str, ...] = ()
    shares: tuple[float, ...] = ()
    validation: str = ""
    crop: int = 144
    batch: int = 16
    candidates: int = 1
    flat: float = 0.0
    calm: float = 0.0
    device: str = ""


@dataclass(frozen=True)
class LossConfig:
    """The three losses and their weights, in the published scale (sums over a picture).

    Attributes:
        reconstruction: penalty of the restored picture's error: "charbonnier", "l1" or "l2".
        guide_penalty: penalty of the small picture's distance from the bicubic one: the same names.
        guide: weight of the guidance; published 4 / 9 / 16 / 64 at x2 / x3 / x4 / x8.
        latent: weight of z^2; needed only where z is drawn to restore.
        luma: weight of the same penalty of the restored picture's error in luma (BT.601), added to that in R, G and B.
        chroma: weight of the same penalty of the error in chroma, the mean of Cb and Cr.
        chroma_block: weight of the same of chroma averaged over blocks of 4x4 pixels.
        guide_luma: weight, beside R, G and B, of the small picture's luma in the guidance; under ``apart`` a weight of its own.
        guide_chroma: weight, beside R, G and B, of the small picture's chroma in the guidance; likewise.
        apart: take the logarithm of each part of a crop instead of the total's: weights are then of decibels of each.
        floor: added before the logarithm, so that flat crops, which come back exactly, do not drown others.
        guide_floor: the same for parts of the guidance under ``apart``: what is much closer than that is close enough.
        log: take the logarithm of each crop's total, so that crops of all difficulties count alike, as they do in a
            mean of PSNR.
        lr_noise: standard deviation, in 8-bit levels, of noise on the quantised small picture before it is restored,
            so that restoring survives small changes such as recompression; 0 for none.
    """

    reconstruction: str = "charbonnier"
    guide_penalty: str = "l2"
    guide: float = 4.0
    latent: float = 0.0
    luma: float = 0.0
    chroma: float = 0.0
    chroma_block: float = 0.0
    guide_luma: float = 0.0
    guide_chroma: float = 0.0
    apart: bool = False
    floor: float = 0.0
    guide_floor: float = 0.0
    log: bool = False
    lr_noise: float = 0.0


@dataclass(frozen=True)
class OptimConfig:
    """The optimiser and its schedule.

    Attributes:
        name: "adam", "adamw", or "muon" (for the convolutions, with Adam for the biases).
        lr: learning rate of the convolutions.
        bias_lr: learning rate of the biases under "muon".
        betas: Adam's decay rates.
        weight_decay: L2 penalty ("adam") or decay per step ("adamw", "muon").
        schedule: "linear" or "cosine" (warm up, then fall to zero at the end), or "step" (halved at milestones).
        hold: share of the run up to whose end the rate stays at its peak before it falls; 0 to fall at once.
        warmup: share of the run in which the rate rises from zero.
        milestones: shares of the run at which "step" halves the rate.
        clip_norm: global gradient norm above which a step is scaled down; 0 for no limit.
        clip_factor: the same limit as a multiple of the running mean of the norm; 0 for no limit.
        skip_factor: multiple of the same mean above which a step is skipped; 0 to skip only what is not finite.
        average: decay per step of the averaged weights, which are the ones validated and shipped.
    """

    name: str = "adam"
    lr: float = 2e-4
    bias_lr: float = 1e-3
    betas: tuple[float, float] = (0.9, 0.999)
    weight_decay: float = 0.0
    schedule: str = "linear"
    hold: float = 0.0
    warmup: float = 0.02
    milestones: tuple[float, ...] = (0.2, 0.4, 0.6, 0.8)
    clip_norm: float = 10.0
    clip_factor: float = 0.0
    skip_factor: float = 10.0
    average: float = 0.999


@dataclass(frozen=True)
class RunConfig:
    """How long a run takes and what it writes.

    Attributes:
        name: name of the weights that come out.
        folder: where log, checkpoint and weights go.
        steps: steps of the whole run.
        max_cpu: minutes of processor time of the whole run, instead of ``max_time``; for comparisons on busy machines.
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
    max_cpu: float = 0.0
    start: str = ""
    seed: int = 0
    precision: str = "auto"
    device: str = "cpu"
    compile: str = "auto"
    threads: int = 0
    validate_every: float = 10.0
    checkpoint_every: float = 4.0
    log_every: int = 50

    @property
    def limit(self) -> float:
        """Minutes of the whole run by its clock, 0 for no limit."""
        return self.max_cpu or self.max_time


@dataclass(frozen=True)
class TrainConfig:
    """One training run: model, data, loss, optim and run."""

    model: IRNConfig = field(default_factory=IRNConfig)
    data: DataConfig = field(default_factory=DataConfig)
    loss: LossConfig = field(default_factory=LossConfig)
    optim: OptimConfig = field(default_factory=OptimConfig)
    run: RunConfig = field(default_factory=RunConfig)

    def __post_init__(self) -> None:
        """Refuses values that no part could work with."""
        _choice("loss.reconstruction", self.loss.reconstruction, ("charbonnier", "l1", "l2"))
        _choice("loss.guide_penalty", self.loss.guide_penalty, ("charbonnier", "l1", "l2"))
        _choice("optim.name", self.optim.name, ("adam", "adamw", "muon"))
        _choice("optim.schedule", self.optim.schedule, ("linear", "cosine", "step"))
        _choice("run.precision", self.run.precision, ("auto", "float32", "bfloat16"))
        _choice("run.compile", self.run.compile, ("auto", "on", "off"))
        if self.data.crop % self.model.scale or self.data.crop < 1:
            raise ConfigError(f"data.crop is {self.data.crop}: allowed are multiples of the scale {self.model.scale}")
        if self.data.shares and len(self.data.shares) != len(self.data.train):
            raise ConfigError(
                f"data.shares has {len(self.data.shares)} numbers for {len(self.data.train)} folders in data.train: "
                "give one for each, or none"
            )
        for name, value in (("data.batch", self.data.batch), ("data.candidates", self.data.candidates)):
            if value < 1:
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
    return typing.cast(dict[str, Any], json.loads(json.dumps(dataclasses.asdict(config))))


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


def _choice(where: str, value: str, allowed: tuple[str, ...]) -> None:
    if value not in allowed:
        raise ConfigError(f"{where} is {value!r}: allowed are {', '.join(allowed)}")
