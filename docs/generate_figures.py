"""Writes measured figures into the pages, between their markers: results/ into README.md, cards/*.md, docs/tutorial.md
and docs/results.md, benchmarks/ into docs/performance.md and docs/effort.md, training logs and trials into
docs/training-diary.md and README.md, what the checks found into docs/cli.md and docs/server.md.

python docs/generate_figures.py          # rewrites the tables
python docs/generate_figures.py --check  # exits 1 if a page is not what the measurements say
"""

import argparse
import json
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import benchmark_tables as benchmarks

from unshrink.evaluation.plots import Plot
from unshrink.evaluation.results import Result, Results, read
from unshrink.evaluation.studies import studies
from unshrink.evaluation.tables import checked, markdown, tables
from unshrink.text import human_bytes

ROOT = Path(__file__).parents[1]
README_ROWS = (  # photos and screens; docs/results.md has all
    ("irn-x2", "Set5"),
    ("irn-x2", "Screens"),
    ("irn-x4-lean", "Set5"),
    ("irn-x4-lean", "Screens"),
    ("irn-x8", "Set5"),
)
SPEED = ROOT / "docs" / "images" / "speed.svg"
INK = "#808080"  # of the text in a drawing that is a file of its own: readable on white and on black
MARKED = re.compile(
    r"(<!-- (figures|trials|speedrun|scales|memory|layouts|precision) -->\n).*?(<!-- /\2 -->)", re.DOTALL
)
HEADINGS = (
    *("weights", "set", "restored, PSNR-Y / SSIM-Y", "RGB", "bicubic both ways"),
    *("small picture against bicubic", "bits per pixel"),
)


def load(*place: str) -> Any:
    """A JSON file of the repository."""
    return json.loads(ROOT.joinpath(*place).read_text())


# -- results/ ------------------------------------------------------------------------------------------------------


def cells(result: Result, bicubic: Result) -> tuple[str, ...]:
    """One line of the table: weights beside bicubic both ways."""
    mean, plain = result["mean"], bicubic["mean"]
    return (
        result["method"],
        result["set"],
        f"**{mean['psnr_y']:.2f}** / {mean['ssim_y']:.4f}",
        f"{mean['psnr_rgb']:.2f}",
        f"{plain['psnr_y']:.2f} / {plain['ssim_y']:.4f}",
        f"{mean['lr_psnr_y']:.2f} / {mean['lr_ssim_y']:.4f}",
        f"{mean['png_bits_per_pixel']:.2f}",
    )


def shipped(found: Results) -> dict[str, list[tuple[str, ...]]]:
    """The lines of each shipped weights, set by set."""
    lines: dict[str, list[tuple[str, ...]]] = {card.stem: [] for card in sorted((ROOT / "cards").glob("*.md"))}
    for result in found.measured:
        bicubic = found.one(f"bicubic-x{result['scale']}", result["set"])
        if result["method"] in lines and bicubic:
            lines[result["method"]].append(cells(result, bicubic))
    return lines


def scales() -> str:
    """The photo of results/scales.json at every scale."""
    rows = load("results", "scales.json")["rows"]
    headings = ("small picture", "pixels", "PNG file", "restored, PSNR-Y / SSIM-Y", "RGB", "bicubic both ways")
    lines = [
        (
            f"x{r['scale']}",
            "x".join(map(str, r["small_size"])),
            human_bytes(r["small_bytes"]),
            f"**{r['unshrink']['psnr_y']:.2f}** / {r['unshrink']['ssim_y']:.4f}",
            f"{r['psnr_rgb']:.2f}",
            f"{r['bicubic']['psnr_y']:.2f} / {r['bicubic']['ssim_y']:.4f}",
        )
        for r in rows
    ]
    size = f"{'x'.join(map(str, rows[0]['size']))} pixels, {human_bytes(rows[0]['bytes'])}"
    return f"{markdown(headings, lines)}\nThe original: {size} of PNG. PSNR in dB.\n"


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
    lines = ["| weights | log | step | minutes | Set5, restored, PSNR-Y | RGB | LR |", "|---" * 7 + "|"]
    for path in sorted((ROOT / "results").glob("irn-*/training*.jsonl")):
        for r in map(json.loads, path.read_text().splitlines()):
            figures = r.get("final") or r
            if "psnr_y" in figures:
                minutes = f"{r['seconds'] / 60:.0f}" if "seconds" in r else "end"
                decibels = [f"{figures[key]:.2f}" for key in ("psnr_y", "psnr_rgb", "lr_psnr_y")]
                cells = (path.parent.name, path.stem, r["step"], minutes, *decibels)
                lines.append(f"| {' | '.join(map(str, cells))} |")
    return "\n".join(lines) + "\n"


def trials() -> str:
    """The rows of every study in results/ablations, and the commands that ran them."""
    parts = []
    for path in sorted((ROOT / "results" / "ablations").glob("*.json")):
        lines = ["| trial | what and why | steps | PSNR-Y | RGB | LR |", "|---" * 6 + "|"]
        for r in json.loads(path.read_text()):
            decibels = [f"{r[key]:.2f}" for key in ("psnr_y", "psnr_rgb", "lr_psnr_y")]
            settings = f" (`{' '.join(r['set'])}`)" if r["set"] else ""
            lines.append(f"| {' | '.join((r['name'], r['why'] + settings, str(r['steps']), *decibels))} |")
        parts.append(f"`python tools/ablate.py results/ablations/{path.stem}.toml`:\n\n" + "\n".join(lines) + "\n")
    return "\n".join(parts)


def speedrun() -> str:
    """What the last `make speedrun` reached."""
    log = (ROOT / "results" / "speedrun-x2" / "training.jsonl").read_text().splitlines()
    end = json.loads(log[-1])
    final = end["final"]
    return (
        f"`make speedrun` trains x2 from nothing, ten minutes on two cores: {end['step']} steps, "
        f"**{final['psnr_y']:.2f} dB** PSNR-Y on Set5, {final['psnr_rgb']:.2f} dB RGB, "
        f"{final['lr_psnr_y']:.2f} dB of the small picture against bicubic.\n"
    )


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
    lines = shipped(found)
    brief = [line for rows in lines.values() for line in rows if line[:2] in README_ROWS]
    shown: dict[Path, dict[str, str]] = {
        ROOT / "cards" / f"{name}.md": {"figures": markdown(HEADINGS, rows)} for name, rows in lines.items()
    }
    shown[ROOT / "README.md"] = {"figures": markdown(HEADINGS, brief), "speedrun": speedrun()}
    shown[docs / "tutorial.md"] = {"scales": scales()}
    shown[docs / "results.md"] = {"figures": everything(found)}
    shown[docs / "performance.md"] = {
        "figures": benchmarks.backends(load("benchmarks", "backends.json")),
        "memory": benchmarks.memory(load("benchmarks", "memory.json")),
        "layouts": benchmarks.layouts(load("benchmarks", "layouts.json"), load("results", "ablations", "x4.json")),
        "precision": benchmarks.precision(load("benchmarks", "precision.json")),
    }
    shown[docs / "effort.md"] = {"figures": benchmarks.effort(load("benchmarks", "effort.json"))}
    shown[docs / "training-diary.md"] = {"figures": curves(), "trials": trials()}
    shown[docs / "cli.md"] = {"figures": checks("folders", "hostile")}
    shown[docs / "server.md"] = {"figures": checks("serve_hostile", "serve_load", "serve_restart", "serve_schema")}
    return {path: fill(path.read_text(), named) for path, named in shown.items()}


def fill(text: str, named: dict[str, str]) -> str:
    """The page with what stands between its markers replaced."""
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
