"""What the studies show: each with the command that makes it, as tables and plots, for the page and for docs/.

results/latent.json             what z does, as benchmarks/latent.py writes it
results/flat.json               what becomes of flat pages, as benchmarks/flat.py writes it
results/ablations/guide-*.json  the weight of the guidance, as tools/ablate.py writes it
results/<method>/<set>.json     what quality costs, codecs among it, and what invertibility does
"""

import json
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from unshrink.errors import ConfigError
from unshrink.evaluation.plots import Plot, Series
from unshrink.evaluation.results import Result, Results, psnr_y
from unshrink.evaluation.tables import Table, codec

T = TypeVar("T")

FLAT, LATENT, GUIDANCE = "flat.json", "latent.json", "ablations/guide-*.json"
TRADE = "small picture against bicubic, PSNR-Y in dB", "restored, PSNR-Y in dB"  # the axes of one against the other


@dataclass(frozen=True)
class Study:
    """One question and what was measured about it.

    Attributes:
        title: a few words.
        command: what makes it.
        text: how it was measured, a sentence or two.
        tables: the figures; none where the tables of `tables.tables` hold them already.
        plots: what they look like.
        panels: pictures, each with a title and its file, under the name of what made them.
    """

    title: str
    command: str
    text: str
    tables: tuple[Table, ...] = ()
    plots: tuple[Plot, ...] = ()
    panels: Mapping[str, Sequence[tuple[str, Path]]] = field(default_factory=dict)


def studies(results: Results, folder: Path) -> list[Study]:
    """All that a folder holds.

    Raises:
        ConfigError: one is not as the benchmarks write it.
    """
    found = [price(results, scale, results.sets(scale)[0]) for scale in results.scales()]
    found += read(folder, FLAT, flat_pages)
    found += read(folder, LATENT, latent)
    found += read(folder, GUIDANCE, guidance)
    return found + [invertibility(trials) for trials in short_trainings(results)]


def read(folder: Path, pattern: str, make: Callable[[Any, Path], T]) -> list[T]:
    """What is made of each JSON file of a pattern.

    Raises:
        ConfigError: a file is not as the benchmarks write it.
    """
    found = []
    for path in sorted(folder.glob(pattern)):
        try:
            found.append(make(json.loads(path.read_bytes()), path))
        except (OSError, ValueError, KeyError, TypeError, IndexError, AttributeError, RecursionError) as error:
            raise ConfigError(f"{path} is not as the benchmarks write it ({error!r}): make it again") from error
    return found


# -- flat pages ----------------------------------------------------------------------------------------------------


def flat_pages(about: Mapping[str, Any], path: Path) -> Study:
    """How many values are off in the flat areas of pages."""
    methods = about["methods"]
    pages = tuple(next(iter(methods.values()))["pages"])
    rows = [(name, *(_flatness(one["pages"][page]) for page in pages)) for name, one in methods.items()]
    return Study(
        "Flat pages",
        "make eval-flat",
        "Pages of one colour, and a white one with text, without files.",
        (
            Table(
                "Values that are off by more than 1 in flat areas",
                "Percent of the values of what comes back (the largest difference); the same of the small picture "
                "against the bicubic one. Flat is what has one colour for 8 pixels around, the picture's border too.",
                ("method", *pages),
                tuple(rows),
            ),
        ),
    )


def _flatness(one: Mapping[str, Any]) -> str:
    large, small = f"{100 * one['off']:.2f} ({one['largest']})", f"{100 * one['lr_off']:.2f} ({one['lr_largest']})"
    return f"{large}; {small}"


# -- what z does ---------------------------------------------------------------------------------------------------


def latent(about: Mapping[str, Any], path: Path) -> Study:
    """Restoring with shares of a picture's own z and with draws, and how normal z is."""
    networks = about["weights"]
    width = "how wide z is drawn"
    axes = {
        "shares": ("share of the picture's own z", "PSNR-RGB in dB"),
        "drawn": (width, "PSNR-RGB in dB, mean of draws"),
        "drawn_pixel_deviation": (width, "deviation of a value over draws, in levels"),
        "drawn_psnr_deviation": (width, "deviation of PSNR over draws, in dB"),
        "histogram": ("z, in standard deviations", "density"),
    }
    lines = {key: [Series(name, _pairs(one[key]), joined=True) for name, one in networks.items()] for key in axes}
    places = [x for x, _ in lines["histogram"][0].points]
    normal = tuple((x, math.exp(-x * x / 2) / math.sqrt(2 * math.pi)) for x in places)
    lines["histogram"].append(Series("normal", normal, joined=True))
    return Study(
        "What z does",
        "make eval-latent",
        "A picture comes back with its own z, without, and with draws. A draw of width 1 is as wide as in training, "
        "N(0, 1); for weights that are trained with z = 0, as wide as the picture's own z, channel by channel.",
        (_restored_with_z(networks), _shape_of_z(networks)),
        tuple(Plot(lines[key], *axes[key]) for key in axes),
        {
            name: [(crop["title"], path.with_suffix("") / name / crop["file"]) for crop in one["crops"]]
            for name, one in networks.items()
        },
    )


def _restored_with_z(networks: Mapping[str, Mapping[str, Any]]) -> Table:
    rows = []
    for name, one in networks.items():
        shares, drawn, spread, levels = (
            dict(_pairs(one[key])) for key in ("shares", "drawn", "drawn_psnr_deviation", "drawn_pixel_deviation")
        )
        psnr = shares[1], one["zero_unrounded"], shares[0], drawn[1], drawn[2]
        over = f"{one['pictures']} of {one['set']}, {one['side']} wide, {one['draws']} draws"
        exact = f"{one['values_exact_with_z']:.2%}"
        rows.append((name, over, exact, *(f"{value:.2f}" for value in psnr), f"{spread[1]:.3f}", f"{levels[1]:.1f}"))
    return Table(
        "What comes back with z, and without",
        "The share of 8-bit values that are exact with its own z and the small picture not rounded; PSNR-RGB in dB "
        "where only the small picture is rounded, where only z is dropped, where both are, and with draws of width 1 "
        "and 2; over draws of width 1, the standard deviation of the PSNR in dB and of a value in levels.",
        (
            "weights",
            "middles of pictures",
            "exact",
            "rounded",
            "z dropped",
            "both",
            "width 1",
            "width 2",
            "dB",
            "levels",
        ),
        tuple(rows),
    )


def _shape_of_z(networks: Mapping[str, Mapping[str, Any]]) -> Table:
    rows = []
    for name, one in networks.items():
        least, most = one["rms_z_of_pictures"]
        size = f"{one['rms_z']:.3f} ({least:.3f} to {most:.3f})", f"{one['rms_haar_details']:.3f}"
        rows.append((name, *size, f"{one['kurtosis']:.1f}", f"{one['correlation_with_detail']:.2f}"))
    return Table(
        "What z looks like",
        "Its root mean square, and by picture the least and the most; that of the Haar details, which z is before "
        "training; its kurtosis, 3 were it normal; and how its size correlates with the detail of the small picture, "
        "0 were it independent.",
        ("weights", "z", "Haar details", "kurtosis", "correlation"),
        tuple(rows),
    )


def _pairs(points: Iterable[Iterable[float]]) -> tuple[tuple[float, float], ...]:
    return tuple((float(x), float(y)) for x, y in points)


# -- the guidance --------------------------------------------------------------------------------------------------


def guidance(trials: Sequence[Mapping[str, Any]], path: Path) -> Study:
    """What comes back, and how ordinary the small picture is, by the weight of the guidance."""
    points = sorted((_weight(trial), trial["psnr_y"], trial["lr_psnr_y"], trial["steps"]) for trial in trials)
    large, small = (tuple((point[0], point[i]) for point in points) for i in (1, 2))
    trade = tuple((lr, hr) for _, hr, lr, _ in points)
    lines = [Series("restored", large, joined=True), Series("small, against bicubic", small, joined=True)]
    rows = [(f"{weight:g}", f"{hr:.2f}", f"{lr:.2f}", str(steps)) for weight, hr, lr, steps in points]
    return Study(
        f"The weight of the guidance: {path.stem}",
        f"python tools/ablate.py results/ablations/{path.stem}.toml",
        "The loss that holds the small picture to the bicubic one has a weight: a restored picture that is closer "
        "is paid for with a small one that is less ordinary.",
        (
            Table(
                "What the guidance buys and costs",
                "PSNR-Y in dB on Set5, by the weight of the guidance in luma.",
                ("weight", "restored", "small, against bicubic", "steps"),
                tuple(rows),
            ),
        ),
        (
            Plot(lines, "weight of the guidance", "PSNR-Y in dB", logarithmic=True),
            Plot([Series("from the weakest guidance to the strongest", trade, joined=True)], *TRADE),
        ),
    )


def _weight(trial: Mapping[str, Any]) -> float:
    return float(dict(setting.split("=") for setting in trial["set"])["loss.guide_luma"])


# -- quality and its price -----------------------------------------------------------------------------------------


def price(results: Results, scale: int, data: str) -> Study:
    """Over a set: quality by bytes, by parameters and by operations."""
    by_work = {
        "parameters": by_size(results, scale, data, "parameters"),
        "multiply-adds per pixel of the large picture": by_size(results, scale, data, "operations"),
    }
    return Study(
        f"Quality and its price: x{scale}, {data}",
        "make eval-weights eval-codecs eval-older",
        "What comes back for the bytes of the small file (PNG and lossless WebP joined), beside the large picture in a "
        "lossy codec; for the parameters of each network; and for its multiply-adds, both ways together. Hollow: "
        "published by others.",
        plots=(
            Plot(by_bytes(results, scale, data), "bits per pixel of the large picture", "PSNR-Y in dB"),
            *(Plot(found, axis, "PSNR-Y in dB", True) for axis, found in by_work.items() if len(found) > 1),
        ),
    )


def by_bytes(results: Results, scale: int, data: str) -> list[Series]:
    """PSNR-Y by bits per pixel: each method with both of its small files; codecs where weights set the bytes."""
    found: dict[str, list[tuple[float, float]]] = {}
    for method in results.methods(scale):
        one = results.one(method, data)
        if one and "bytes_of" in one:
            found.setdefault(codec(one), []).append((one["mean"]["file_bits_per_pixel"], psnr_y(one)))
        elif one and "training" not in one:
            bits = (one["mean"]["webp_bits_per_pixel"], one["mean"]["png_bits_per_pixel"])
            found[method] = [(x, psnr_y(one)) for x in bits]
    return [Series(name, tuple(sorted(filter(_finite, points))), joined=True) for name, points in found.items()]


def by_size(results: Results, scale: int, data: str, key: str) -> list[Series]:
    """PSNR-Y by "parameters" or "operations" of both ways together."""
    found = []
    for row in results.published:
        known = row["scale"] == scale and data in row and "parameters" in row and key in row
        if known and not results.one(row.get("ours", ""), data):
            count = float(row["parameters"].partition(" ")[0]) * 1e6 if key == "parameters" else float(row[key])
            found.append(Series(row["method"], ((count, row[data][0]),), hollow=True, label=True))
    for method in results.methods(scale):
        one = results.one(method, data)
        if one and key in one and "training" not in one:
            found.append(Series(method, ((one[key], psnr_y(one)),), label=True))
    return found


def _finite(point: tuple[float, float]) -> bool:
    return all(map(math.isfinite, point))


# -- invertible or not ---------------------------------------------------------------------------------------------


def short_trainings(results: Results) -> list[list[Result]]:
    """For each set, the networks that were trained to be held against each other: the invertible one first."""
    found: dict[str, list[Result]] = {}
    for one in results.measured:
        if "training" in one:
            found.setdefault(one["set"], []).append(one)
    compared = [trials for trials in found.values() if len(trials) > 1]
    return [sorted(trials, key=lambda one: "irn" not in one["method"]) for trials in compared]


def invertibility(trials: Sequence[Result]) -> Study:
    """What comes back, beside how ordinary the small picture is."""
    points = {one["method"]: (one["mean"]["lr_psnr_y"], one["mean"]["psnr_y"]) for one in trials}
    return Study(
        f"Invertible or not: {trials[0]['set']}",
        "make eval-invertibility",
        "An invertible network beside encoders and decoders that need not undo each other, trained for as much work. "
        "One training of each, with one seed: how much of the difference is chance is not known.",
        plots=(Plot([Series(name, (point,), label=True) for name, point in points.items()], *TRADE),),
    )
