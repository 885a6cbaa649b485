"""Writes measured figures into the pages, between their markers: results/ into README.md, cards/*.md, docs/tutorial.md
and docs/results.md, benchmarks/ into docs/performance.md, docs/effort.md, docs/sites.md, docs/recoded.md and
docs/video.md, training logs and trials into docs/training-diary.md and README.md, what the checks found into
docs/cli.md and docs/server.md.

python docs/generate_figures.py          # rewrites the tables
python docs/generate_figures.py --check  # exits 1 if a page is not what the measurements say
"""

import argparse
import json
import re
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import benchmark_tables as benchmarks
import recoded_tables as recoded
import sites_tables as sites
import video_tables as video

from unshrink.evaluation.plots import Plot
from unshrink.evaluation.results import SETS, Result, Results, read
from unshrink.evaluation.studies import studies
from unshrink.evaluation.tables import checked, markdown, number, tables
from unshrink.text import human_bytes

ROOT = Path(__file__).parents[1]
README_ROWS = (  # photos and screens; docs/results.md has all
    ("irn-x2", "Set5"),
    ("irn-x2", "Screens"),
    ("irn-x3", "Set5"),
    ("irn-x4", "Set5"),
    ("irn-x4", "Screens"),
    ("irn-x8", "Set5"),
    ("irn-x2-jpeg", "Set5"),
    ("irn-x4-jpeg", "Set5"),
)
DECIBELS = ("PSNR-Y", "RGB", "chroma", "LR", "LR chroma")  # of validations and trials
TRIALS = ("trial", "what and why", "steps", *DECIBELS)
COSTS = ("parameters", "ms of a processor for 512x512 down")
SERVICE = (
    "serve_dripping",
    "serve_foreign",
    "serve_hostile",
    "serve_load",
    "serve_restart",
    "serve_schema",
    "serve_tiny",
)
SPEED = ROOT / "docs" / "images" / "speed.svg"
INK = "#808080"  # of the text in a drawing that is a file of its own: readable on white and on black
PARTS = "figures|trials|scales|memory|page|precision|ratios|sites|generations|round trip"
MARKED = re.compile(rf"(<!-- ({PARTS}) -->\n).*?(<!-- /\2 -->)", re.DOTALL)
Columns = tuple[tuple[str, str, int], ...]  # heading, figure, digits
BRIEF: Columns = (  # of the README
    ("PSNR-Y", "psnr_y", 2),
    ("RGB", "psnr_rgb", 2),
    ("chroma", "psnr_chroma", 2),
    ("SSIM-Y", "ssim_y", 4),
    ("colour error", "colour_error", 2),
    ("small picture: PSNR-Y", "lr_psnr_y", 2),
    ("chroma", "lr_psnr_chroma", 2),
    ("bits per pixel", "png_bits_per_pixel", 2),
)
FULL: Columns = (  # of the cards
    ("PSNR-Y", "psnr_y", 2),
    ("RGB", "psnr_rgb", 2),
    ("Cb", "psnr_cb", 2),
    ("Cr", "psnr_cr", 2),
    ("SSIM-Y", "ssim_y", 4),
    ("LPIPS", "lpips", 4),
    ("colour error", "colour_error", 2),
    ("99 %", "colour_error_99", 2),
    ("small picture: PSNR-Y", "lr_psnr_y", 2),
    ("Cb", "lr_psnr_cb", 2),
    ("Cr", "lr_psnr_cr", 2),
    ("colour error", "lr_colour_error", 2),
    ("99 %", "lr_colour_error_99", 2),
    ("bits per pixel", "png_bits_per_pixel", 2),
)


def load(*place: str) -> Any:
    """A JSON file of the repository."""
    return json.loads(ROOT.joinpath(*place).read_text())


# -- results/ ------------------------------------------------------------------------------------------------------


def beside_bicubic(found: Results, rows: Iterable[tuple[str, str]], columns: Columns) -> str:
    """A table of weights over sets, and below each line bicubic both ways; sets without that are left out."""
    lines = []
    for method, data in rows:
        result = found.one(method, data)
        bicubic = found.one(f"bicubic-x{result['scale']}", data) if result else None
        if result and bicubic:
            lines += [cells(result, columns), cells(bicubic, columns)]
    return markdown(("method", "set", *(heading for heading, _, _ in columns)), lines)


def cells(result: Result, columns: Columns) -> tuple[str, ...]:
    """One line of the table; the first figure of weights is bold."""
    first, *others = (number(result["mean"], key, digits) for _, key, digits in columns)
    return result["method"], result["set"], f"**{first}**" if "weights" in result else first, *others


def scales() -> str:
    """The photo of results/scales.json at every scale."""
    rows = load("results", "scales.json")["rows"]
    headings = (
        *("small picture", "pixels", "PNG file", "restored, PSNR-Y / RGB / chroma", "SSIM-Y", "colour error"),
        *("bicubic both ways, PSNR-Y / RGB / chroma", "SSIM-Y", "colour error"),
    )
    lines = [
        (
            f"x{r['scale']}",
            "x".join(map(str, r["small_size"])),
            human_bytes(r["small_bytes"]),
            *photo(r["unshrink"]),
            *photo(r["bicubic"]),
        )
        for r in rows
    ]
    size = f"{'x'.join(map(str, rows[0]['size']))} pixels, {human_bytes(rows[0]['bytes'])}"
    return f"{markdown(headings, lines)}\nThe original: {size} of PNG. PSNR in dB.\n"


def photo(figures: dict[str, float]) -> tuple[str, ...]:
    """What came back of a photo: PSNR, SSIM, colour error."""
    psnr = " / ".join(number(figures, key, 2) for key in ("psnr_y", "psnr_rgb", "psnr_chroma"))
    return psnr, number(figures, "ssim_y", 4), number(figures, "colour_error", 2)


def everything(found: Results) -> str:
    """All tables, those of the studies, and the sources of what others published."""
    of_studies = [
        f"### {study.title}\n\n{study.text} Made by `{study.command}`.\n\n"
        + "\n".join(table.markdown(level=4) for table in study.tables)
        for study in studies(found, ROOT / "results")
        if study.tables  # the plots of the others are on the page of `unshrink report`
    ]
    sources = "\n".join(f"- {s['title']}: {s['url']}; {checked(s)}" for s in (found.sources or {}).values())
    shown = [*(table.markdown() for table in tables(found)), *of_studies]
    return "\n".join(shown) + f"\n### Sources of what others published\n\n{sources}\n"


# -- training ------------------------------------------------------------------------------------------------------


def curves() -> str:
    """The validations in the training logs of the shipped weights, one log after the other."""
    headings = ("weights", "log", "step", "minutes", "Set5, restored, PSNR-Y", *DECIBELS[1:])
    lines = []
    for path in sorted((ROOT / "results").glob("irn-*/training*.jsonl")):
        for r in map(json.loads, path.read_text().splitlines()):
            figures = r.get("final") or r
            if "psnr_y" in figures:
                minutes = f"{r['seconds'] / 60:.0f}" if "seconds" in r else "end"
                lines.append((path.parent.name, path.stem, r["step"], minutes, *decibels(figures)))
    return markdown(headings, lines)


def decibels(figures: dict[str, float]) -> list[str]:
    """What `DECIBELS` heads; "-" where a log is older than the figure."""
    return [number(figures, key, 2) for key in ("psnr_y", "psnr_rgb", "psnr_chroma", "lr_psnr_y", "lr_psnr_chroma")]


def trials() -> str:
    """The rows of every study in results/ablations, and the commands that ran them."""
    parts = []
    for study in sorted((ROOT / "results" / "ablations").glob("*.toml")):
        if not study.with_suffix(".json").exists():
            continue
        rows = load("results", "ablations", f"{study.stem}.json")
        headings, lines = [*TRIALS, *COSTS] if "pass" in rows[0] else TRIALS, []
        for r in rows:
            settings = f" (`{' '.join(r['set'])}`)" if r["set"] else ""
            costs = (f"{r['parameters']:,}", f"{1000 * r['pass']:.0f}") if "pass" in r else ()
            lines.append((r["name"], r["why"] + settings, r["steps"], *decibels(r), *costs))
        command = f"python tools/ablate.py results/ablations/{study.stem}.toml"
        parts.append(f"`{command}`:\n\n{markdown(headings, lines)}")
    return "\n".join(parts)


# -- the checks ----------------------------------------------------------------------------------------------------


def checks(*names: str) -> str:
    """What these checks found, as checks/results.json has it."""
    found = load("checks", "results.json")
    lines = [(f"`{name}.py`", *line) for name in names for line in told("", found.get(name, {}))]
    return markdown(("check", "figure", "found"), lines)


def told(name: str, value: Any) -> Iterator[tuple[str, str]]:
    """A value of JSON, line by line: dictionaries of plain values on one, those of others on a line for each."""
    if isinstance(value, dict) and (not name or any(isinstance(entry, dict | list) for entry in value.values())):
        for key, entry in value.items():
            yield from told(f"{name} {key.replace('_', ' ')}".strip(), entry)
    elif isinstance(value, dict):
        yield name, "; ".join(f"{key.replace('_', ' ')}: {plain(entry)}" for key, entry in value.items()) or "none"
    else:
        yield name, "; ".join(map(plain, value)) or "none" if isinstance(value, list) else plain(value)


def plain(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value:,}" if isinstance(value, int) else str(value)


# -- the pages -----------------------------------------------------------------------------------------------------


def pages() -> dict[Path, str]:
    """Each page with its tables as measured."""
    found, docs = read(ROOT / "results"), ROOT / "docs"
    cards = {path: [(path.stem, data) for data in SETS] for path in sorted((ROOT / "cards").glob("*.md"))}
    shown: dict[Path, dict[str, str]] = {
        card: {"figures": beside_bicubic(found, rows, FULL)} for card, rows in cards.items()
    }
    shown[ROOT / "README.md"] = {"figures": beside_bicubic(found, README_ROWS, BRIEF)}
    shown[docs / "tutorial.md"] = {"scales": scales()}
    shown[docs / "results.md"] = {"figures": everything(found)}
    shown[docs / "performance.md"] = {
        "figures": benchmarks.backends(load("benchmarks", "backends.json")),
        "memory": benchmarks.memory(load("benchmarks", "memory.json")),
        "page": benchmarks.page(load("benchmarks", "page.json")),
        "precision": benchmarks.precision(load("benchmarks", "precision.json")),
    }
    shown[docs / "sites.md"] = {
        "figures": benchmarks.mark(load("benchmarks", "mark.json")),
        "sites": sites.everything(load("results", "sites.json")),
    }
    shown[docs / "any-scale.md"] = {"ratios": benchmarks.ratios(load("results", "ratios.json"))}
    shown[docs / "effort.md"] = {"figures": benchmarks.effort(load("benchmarks", "effort.json"))}
    shown[docs / "video.md"] = {
        "figures": video.everything(load("results", "video.json")),
        "round trip": video.round_trip(load("results", "round_trip.json")),
    }
    shown[docs / "recoded.md"] = {
        "figures": recoded.everything(load("results", "recoded.json")),
        "generations": sites.generations(load("results", "generations.json")),
    }
    shown[docs / "training-diary.md"] = {"figures": curves(), "trials": trials()}
    shown[docs / "cli.md"] = {"figures": checks("folders", "hostile")}
    shown[docs / "server.md"] = {"figures": checks(*SERVICE)}
    return {path: fill(path.read_text(), named) for path, named in shown.items()}


def fill(text: str, named: dict[str, str]) -> str:
    """The page with what stands between its markers replaced.

    Raises:
        ValueError: a page without the markers of what it is to show.
    """
    if missing := set(named) - {match[2] for match in MARKED.finditer(text)}:
        raise ValueError(f"no lines <!-- {missing.pop()} --> and its end in the page {text[:40]!r}")
    return MARKED.sub(lambda match: match[1] + named[match[2]] + match[3], text)


def is_drawn(plot: Plot, path: Path) -> bool:
    """Whether a drawing shows these points, whichever version of matplotlib drew them."""
    return path.exists() and plot.fingerprint in path.read_text()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true")
    check = parser.parse_args().check
    stale = {path: text for path, text in pages().items() if path.read_text() != text}
    speed = benchmarks.speed(load("benchmarks", "backends.json"))
    undrawn = [] if is_drawn(speed, SPEED) else [SPEED]
    if check and (stale or undrawn):
        sys.exit(f"not as measured: {', '.join(map(str, [*stale, *undrawn]))}; run python docs/generate_figures.py")
    for path, text in stale.items():
        path.write_text(text)
    for path in undrawn:
        path.write_text(speed.svg(INK) + "\n")


if __name__ == "__main__":
    main()
