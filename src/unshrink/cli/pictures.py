"""The commands that make pictures: the calls of `unshrink.batch`, and what is said of each picture."""

import dataclasses
import logging
import sys
import time
from argparse import Namespace
from collections.abc import Callable, Iterator, Mapping
from typing import Any, TypeVar

from unshrink import batch
from unshrink import weights as zoo
from unshrink.batch import rescale
from unshrink.batch.items import STANDARD, Outcome
from unshrink.batch.options import BatchOptions, DownscaleOptions, UpscaleOptions
from unshrink.batch.plan import is_several
from unshrink.cli import clips, terminal
from unshrink.cli.tasks import Result, Results, Task
from unshrink.errors import UsageError
from unshrink.runtime.rescaler import Rescaler
from unshrink.text import decibels, human_bytes
from unshrink.weights import catalogue

Options = TypeVar("Options", bound=BatchOptions)
Facts = Mapping[str, Any]

MATTERS = 10_000  # bytes by which a file must grow to be worth a word

logger = logging.getLogger("unshrink")


def options_of(args: Namespace, kind: type[Options]) -> Options:
    """The options of the library that the arguments ask for: they have the same names."""
    known = {field.name for field in dataclasses.fields(kind)}
    return kind(**{name: value for name, value in vars(args).items() if name in known})


def load_model(args: Namespace, name: str) -> Rescaler:
    """Weights by name or path, ready to run as the arguments say."""
    return rescale.load(options_of(args, BatchOptions), name)


# -- downscale and upscale -----------------------------------------------------------------------------------------


def downscale(args: Namespace) -> Results | list[Task]:
    """Large pictures, or clips, to small ones."""
    if clips.are_clips(args, clips.inputs_of(args)):
        return clips.downscale(args)
    refuse_terminals(args.inputs, args.output, args.json)
    options = options_of(args, DownscaleOptions)
    return _results(args, batch.downscale(args.inputs, args.output, options, progress=_progress(args)), _small)


def upscale(args: Namespace) -> Results | list[Task]:
    """Small pictures, or clips, to large ones."""
    if clips.are_clips(args, clips.inputs_of(args)):
        return clips.upscale(args)
    if args.quality:
        raise UsageError("`quality` is for clips: restored pictures are written at quality 95 at least")
    refuse_terminals(args.inputs, args.output, args.json)
    options = options_of(args, UpscaleOptions)
    return _results(args, batch.upscale(args.inputs, args.output, options, progress=_progress(args)), _large)


def refuse_terminals(inputs: list[str], output: str | None, as_json: bool = False) -> None:
    """An error where a picture would be read from a terminal, or written to one or between JSON."""
    if STANDARD in inputs and sys.stdin.isatty():
        raise UsageError("standard input is a terminal: pipe a picture in, or give a file")
    to_standard = output == STANDARD or (inputs == [STANDARD] and output is None)
    if to_standard and (as_json or sys.stdout.isatty()):
        raise UsageError("standard output is for the picture: name a file with -o, or send it elsewhere")


def _progress(args: Namespace) -> Callable[[float], None] | None:
    """Says how far a picture alone is, once it has taken longer than anybody likes to wait."""
    if is_several(args.inputs):
        return None
    began: float | None = None  # at the first call: weights are loaded before

    def show(share: float) -> None:
        nonlocal began
        now = time.perf_counter()
        began = now if began is None else began
        seconds = now - began
        if seconds > terminal.PATIENCE:
            left = f", {terminal.minutes(seconds * (1 - share) / share)} left" if share else ""
            terminal.status.show(f"{args.inputs[0]}: {share:.0%}{left}")

    return show


def _results(args: Namespace, outcomes: batch.Outcomes, done: Callable[[Facts], str]) -> Results:
    """The outcomes as results, of which each is said in words: of a picture alone to all, of several to --verbose."""
    several = is_several(args.inputs)

    def each() -> Iterator[Result]:
        counted = grown = 0
        for outcome in outcomes:
            _say(outcome, several, done)
            would, bracket, reason = outcome.facts.get("would", "").partition(" (")
            text = f"{outcome.input}: would {would} {outcome.output}{bracket}{reason}" if would else ""
            yield Result(outcome.as_json(), text, outcome.ok)
            if done is _small and outcome.status == "done":
                counted += 1
                grown += outcome.facts["small_bytes"] > outcome.facts["bytes"] + MATTERS
        if grown:
            _say_grown(args, f"{grown} of {counted} small files are" if several else "the small file is")

    return Results(each(), len(outcomes))


def _say(outcome: Outcome, several: bool, done: Callable[[Facts], str]) -> None:
    names, facts = f"{outcome.input} -> {outcome.output}", outcome.facts
    if outcome.status == "done":
        logger.log(logging.DEBUG if several else logging.INFO, f"{names}: {done(facts)}")
        say_seconds(outcome.input, facts)
    elif outcome.status == "skipped" and not several:
        logger.info(f"{names}: skipped, {facts['skipped']}")


def _say_grown(args: Namespace, which: str) -> None:
    """Says that files grew, and what helps: measured with the crops in tests/pictures."""
    helps = [] if args.format else ["lossless WebP is about a tenth smaller (`format` webp)"]
    helps += [] if args.scale else ["a quarter of each side takes about a third (`scale` 4)"]
    scale = args.scale or zoo.DEFAULT_SCALE
    lossy = [row.name for row in catalogue.ENTRIES if row.lossy and row.scale == scale and not args.lossy]
    helps += [f"weights made for lossy formats take far smaller files (`model` {name})" for name in lossy[:1]]
    logger.info(f"{which} larger than before, since every value is kept{''.join(f'; {help}' for help in helps)}")


def say_seconds(name: str, facts: Facts) -> None:
    """How long it took and what ran, for ``--verbose``."""
    logger.debug(f"{name}: {facts['seconds']:.2f} s with {facts['model']} on {facts['backend']}")


def _small(facts: Facts) -> str:
    said = "{}x{} -> {}x{} pixels".format(*facts["size"], *facts["small_size"])
    said += f", {human_bytes(facts['bytes'])} -> {human_bytes(facts['small_bytes'])}"
    if "effort_gain_luma" in facts:
        gained = f"{facts['effort_gain_luma']:+.2f} dB (luma), {facts['effort_gain_rgb']:+.2f} (RGB)"
        said += f"; effort {facts['effort']}: restored picture {gained}, {facts['effort_gain_chroma']:+.2f} (chroma)"
        moved = f"{facts['effort_lr_change_luma']:+.2f} dB (luma), {facts['effort_lr_change_chroma']:+.2f} (chroma)"
        said += f"; small picture {moved}"
    if "site" in facts:
        said += f"; {facts['site']}: {facts['arrives']}"
    if "psnr_y" in facts:
        said += f"; comes back at {decibels(facts['psnr_y'])} dB (luma), {decibels(facts['psnr_rgb'])} dB (RGB)"
    return said


def _large(facts: Facts) -> str:
    return "{}x{} -> {}x{} pixels, {}".format(*facts["small_size"], *facts["size"], facts["model"])
