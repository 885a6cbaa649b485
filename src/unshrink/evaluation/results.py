"""What `unshrink eval` and the benchmarks left in a folder of results, as tables; measured and published figures apart.

results/<method>/<set>.json     measured, see `evaluate`
results/published.toml          what others published about their own methods, with the source
"""

import json
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from unshrink.errors import ConfigError
from unshrink.evaluation.sets import SCHEMA

SETS = (  # in the order of columns
    *("Set5", "Set14", "BSD100", "Urban100", "Urban100quarter", "DIV2K"),
    *("DIV2Kcrop50odd", "Kodak12odd", "CLIC2025val", "Screens"),
)
CODECS = {"jpeg": "JPEG", "webp": "lossy WebP", "avif": "AVIF"}
FILES = {"png": "PNG", "webp": "lossless WebP"}
PUBLISHED = "published.toml"

Measured = dict[str, Any]  # one JSON file


@dataclass(frozen=True)
class Table:
    """Figures with what they are: every cell as it is shown; the first column names the row.

    Attributes:
        title: a few words.
        text: what the cells hold, a sentence or two.
        headings: of the columns.
        rows: as long as the headings.
        published: by others, not measured here.
    """

    title: str
    text: str
    headings: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    published: bool = False

    def markdown(self) -> str:
        """The table with its title, for the pages in docs/."""
        lines = [self.headings, ("---",) * len(self.headings), *self.rows]
        table = "\n".join(f"| {' | '.join(cells)} |" for cells in lines)
        return f"### {self.title}\n\n{self.text}\n\n{table}\n"


@dataclass(frozen=True)
class Results:
    """All that a folder holds.

    Attributes:
        measured: results, in the order of their sets, then by method.
        published: rows of `PUBLISHED`: method, scale, source, and by set a PSNR in dB with or without an SSIM.
        sources: title and url of each source, and, where its figures were checked, against what.
    """

    measured: tuple[Measured, ...]
    published: tuple[Mapping[str, Any], ...] = ()
    sources: Mapping[str, Mapping[str, str]] | None = None

    def one(self, method: str, data: str) -> Measured | None:
        """The result of a method over a set, if there is one."""
        return next((r for r in self.measured if (r["method"], r["set"]) == (method, data)), None)

    def sets(self, scale: int) -> list[str]:
        """The sets over which anything was measured."""
        return list(dict.fromkeys(r["set"] for r in self.measured if r["scale"] == scale))

    def methods(self, scale: int) -> list[str]:
        """What was measured at a scale, the best first, by the first of its sets."""
        best = {r["method"]: -_psnr(r) for r in reversed(self.measured) if r["scale"] == scale}
        return sorted(best, key=lambda method: best[method])

    def scales(self) -> list[int]:
        """The scales at which anything was measured."""
        return sorted({r["scale"] for r in self.measured})


def read(folder: str | Path) -> Results:
    """Everything in a folder of results.

    Raises:
        ConfigError: there is nothing, or a file that is damaged or of another version.
    """
    home = Path(folder)
    measured = [one for one in map(_measured, sorted(home.glob("*/*.json"))) if one]
    if not measured:
        raise ConfigError(f"no results in {home}: `unshrink eval` makes <method>/<set>.json there")
    measured.sort(key=lambda r: (_place(r["set"]), r["method"]))
    source = home / PUBLISHED
    if not source.is_file():
        return Results(tuple(measured))
    try:
        published = tomllib.loads(source.read_text(encoding="utf-8"))
        return Results(tuple(measured), tuple(published["row"]), published["sources"])
    except (OSError, ValueError, KeyError) as error:
        raise ConfigError(f"cannot read {source}: {error}") from error


def _measured(path: Path) -> Measured | None:
    """A result; None where the file is something else, without a schema."""
    try:
        result = json.loads(path.read_bytes())
    except (OSError, ValueError) as error:
        raise ConfigError(f"cannot read {path}: {error}") from error
    if not isinstance(result, dict) or "schema" not in result:
        return None
    if result["schema"] != SCHEMA:
        raise ConfigError(f"{path} is of schema {result['schema']}, not {SCHEMA}: run unshrink eval again")
    return result


def _place(name: str) -> tuple[int, str]:
    return SETS.index(name) if name in SETS else len(SETS), name


def _psnr(result: Measured) -> float:
    value = result["mean"]["psnr_y"]
    return float("inf") if value is None else float(value)


# -- tables --------------------------------------------------------------------------------------------------------


def tables(results: Results) -> list[Table]:
    """All of them, scale by scale; those without rows left out."""
    makers = (restored, small, perceptual, codecs, short, published)
    found = [make(results, scale) for scale in results.scales() for make in makers]
    return [table for table in found if table.rows]


def restored(results: Results, scale: int) -> Table:
    """How close the large pictures come back."""
    return _by_set(
        results,
        scale,
        f"x{scale}: restored pictures, measured here",
        "PSNR-Y in dB / SSIM-Y / PSNR-RGB in dB of what comes back, mean of the pictures.",
        lambda mean: f"{number(mean, 'psnr_y', 2)} / {number(mean, 'ssim_y', 4)} / {number(mean, 'psnr_rgb', 2)}",
    )


def small(results: Results, scale: int) -> Table:
    """How ordinary the small pictures are, and how large their files."""
    return _by_set(
        results,
        scale,
        f"x{scale}: small pictures, measured here",
        "PSNR-Y in dB / SSIM-Y of the small picture against the bicubic one; bits of its PNG and of its lossless WebP "
        "file, per pixel of the large picture.",
        lambda mean: (
            f"{number(mean, 'lr_psnr_y', 2)} / {number(mean, 'lr_ssim_y', 4)}; "
            f"{number(mean, 'png_bits_per_pixel', 2)}, {number(mean, 'webp_bits_per_pixel', 2)}"
        ),
    )


def perceptual(results: Results, scale: int) -> Table:
    """How different the large pictures look."""
    table = _by_set(
        results,
        scale,
        f"x{scale}: LPIPS, measured here",
        "LPIPS (SqueezeNet) of what comes back against the original: 0 where they look the same.",
        lambda mean: number(mean, "lpips", 4),
    )
    measured = [i for i, cells in enumerate(zip(*table.rows, strict=True)) if i == 0 or set(cells) - {"", "-"}]
    headings, *rows = (tuple(cells[i] for i in measured) for cells in (table.headings, *table.rows))
    return replace(table, headings=headings, rows=tuple(row for row in rows if set(row[1:]) - {"", "-"}))


def _by_set(results: Results, scale: int, title: str, text: str, cell: Callable[[Measured], str]) -> Table:
    sets = results.sets(scale)
    rows = []
    for method in results.methods(scale):
        found = [results.one(method, name) for name in sets]
        if not any(one and not stands_alone(one) for one in found):
            rows.append((method, *(cell(one["mean"]) if one else "" for one in found)))
    return Table(title, text, ("method", *sets), tuple(rows))


def stands_alone(one: Measured) -> bool:
    """Not a codec, which makes no small picture, nor a network that was trained only to be held against another."""
    return "bytes_of" not in one and "training" not in one


def short(results: Results, scale: int) -> Table:
    """Invertible or not: networks of short trainings, to be held against each other alone."""
    trials = [m for m in results.methods(scale) if any(r["method"] == m and "training" in r for r in results.measured)]
    sets = [name for name in results.sets(scale) if any(results.one(trial, name) for trial in trials)]
    rows = []
    for trial in trials:
        found = [results.one(trial, name) for name in sets]
        first = next(one for one in found if one)
        size = f"{first['parameters'] / 1e6:.2f} M", f"{first['operations'] / 1e3:.0f} k"
        rows.append((trial, *size, str(first["training"]["steps"]), *(_both(one) if one else "" for one in found)))
    return Table(
        f"x{scale}: invertible or not, after equal short trainings, measured here",
        "PSNR-Y / PSNR-RGB in dB of what comes back; PSNR-Y of the small picture against the bicubic one. Operations: "
        "multiply-adds for each pixel of the large picture, both ways together.",
        ("method", "parameters", "operations", "steps", *sets),
        tuple(rows),
    )


def _both(one: Measured) -> str:
    mean = one["mean"]
    return f"{number(mean, 'psnr_y', 2)} / {number(mean, 'psnr_rgb', 2)}; {number(mean, 'lr_psnr_y', 2)}"


def codecs(results: Results, scale: int) -> Table:
    """The large picture itself in the bytes of the small file, beside the weights whose file it is."""
    rows = []
    for r in (r for r in results.measured if r["scale"] == scale and "bytes_of" in r):
        weights = results.one(r["bytes_of"]["method"], r["set"])
        mean, over = r["mean"], sum(row["file_bytes"] > row["budget_bytes"] for row in r["pictures"].values())
        rows.append(
            (
                codec(r),
                f"{r['bytes_of']['method']}, {FILES.get(r['bytes_of']['file'], r['bytes_of']['file'])}",
                r["set"],
                number(mean, "file_bits_per_pixel", 2),
                f"{number(mean, 'psnr_y', 2)} / {number(mean, 'psnr_rgb', 2)}",
                f"{number(weights['mean'], 'psnr_y', 2)} / {number(weights['mean'], 'psnr_rgb', 2)}" if weights else "",
                str(over),
            )
        )
    return Table(
        f"x{scale}: codecs in as many bytes, measured here",
        "The large picture itself, written by a codec into no more bytes than the small picture's file takes. "
        "It gives up the small picture, which any program opens.",
        ("codec", "in the bytes of", "set", "bits per pixel", "PSNR-Y / RGB", "weights, PSNR-Y / RGB", "did not fit"),
        tuple(rows),
    )


def codec(result: Measured) -> str:
    """ "JPEG" of jpeg-irn-x2-png."""
    name = str(result["method"].partition("-")[0])
    return CODECS.get(name, name)


def published(results: Results, scale: int) -> Table:
    """What others say about their methods."""
    rows = [row for row in results.published if row["scale"] == scale]
    sets = [name for name in SETS if any(name in row for row in rows)]
    return Table(
        f"x{scale}: published by others, not measured here",
        "PSNR-Y in dB / SSIM-Y, as their authors published them, on the usual copies of the sets. Not checked: figures "
        "that were read elsewhere than in their source.",
        ("small, large", "parameters", *sets, "source"),
        tuple(
            (
                row["method"],
                row.get("parameters", ""),
                *(" / ".join(format(v, f) for v, f in zip(row.get(n, ()), (".2f", ".4f"), strict=False)) for n in sets),
                _credit((results.sources or {})[row["source"]]),
            )
            for row in rows
        ),
        published=True,
    )


def _credit(source: Mapping[str, str]) -> str:
    """Whose figures they are: "Xiao et al."."""
    return source["title"].partition(", ")[0] + ("" if "checked" in source else " (not checked)")


def checked(source: Mapping[str, str]) -> str:
    """How sure it is that the source says what stands here."""
    return f"checked against {source['checked']}" if "checked" in source else "not checked against it"


def number(figures: Mapping[str, float | None], key: str, digits: int) -> str:
    """A figure as text: "exact" where nothing differs, "-" where it has no meaning."""
    if key not in figures:
        return "-"
    value = figures[key]
    return "exact" if value is None else f"{value:.{digits}f}"
