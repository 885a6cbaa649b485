"""The page that shows what was measured: one HTML file of a folder of results, which needs no other file.

Besides what `results` reads, there may be:

    results/crops/<name>/crop.json  the same place of a picture by every way, as `crops` writes it
    what `studies` shows
"""

import base64
import html
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from unshrink.evaluation import crops
from unshrink.evaluation.plots import Plot
from unshrink.evaluation.results import Results
from unshrink.evaluation.studies import Study, read, studies
from unshrink.evaluation.tables import Table, checked, tables

CROPS = f"{crops.FOLDER}/*/{crops.ABOUT}"

STYLE = """
:root { color-scheme: light dark; --line: #8884; --faint: #808080; --mark: #0095ff; }
body { font: 16px/1.5 system-ui, sans-serif; max-width: 72rem; margin: 0 auto; padding: 1rem; }
h1, h2, h3 { line-height: 1.2; } h2 { margin-top: 2.5rem; border-top: 1px solid var(--line); padding-top: 1rem; }
p { max-width: 42rem; } code { overflow-wrap: anywhere; } small, figcaption { color: var(--faint); }
.wide { overflow-x: auto; }
table { border-collapse: collapse; font-size: 0.85rem; font-variant-numeric: tabular-nums; white-space: nowrap; }
th, td { padding: 0.25rem 0.75rem 0.25rem 0; border-bottom: 1px solid var(--line); text-align: left; }
th:first-child, td:first-child { position: sticky; left: 0; background: Canvas; }
.published td { color: var(--faint); font-style: italic; }
.plots, .panels { display: grid; gap: 1rem; grid-template-columns: repeat(auto-fill, minmax(min(20rem, 100%), 1fr)); }
.panels { grid-template-columns: repeat(auto-fit, minmax(9rem, 1fr)); gap: 0.5rem; }
figure { margin: 0; } figcaption { font-size: 0.85rem; }
.plot svg { width: 100%; height: auto; }
.panels img { width: 100%; image-rendering: pixelated; display: block; }
.whole { position: relative; max-width: 24rem; margin: 0.5rem 0; } .whole img { width: 100%; display: block; }
.whole span { position: absolute; border: 2px solid var(--mark); outline: 1px solid white; }
"""


def page(results: Results, folder: Path) -> str:
    """The whole page.

    Raises:
        ConfigError: a crop or a study is not as the benchmarks write it.
        MissingDependencyError: matplotlib is not installed.
    """
    parts = [
        _head(results),
        *_part("The same place, restored by each", read(folder, CROPS, crop)),
        *map(_study, studies(results, folder)),
        *_part("Measured here", (_table(t) for t in tables(results) if not t.published)),
        *_part("Published by others", (_table(t) for t in tables(results) if t.published)),
        _sources(results),
    ]
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>unshrink: what was measured</title><style>{STYLE}</style></head><body>\n"
        + "\n".join(parts)
        + "\n</body></html>\n"
    )


def _part(title: str, contents: Iterable[str]) -> list[str]:
    found = list(contents)
    return [f"<h2>{text(title)}</h2>", *found] if found else []


def _head(results: Results) -> str:
    weights = ", ".join(dict.fromkeys(r["method"] for r in results.measured if "backend" in r and "weights" in r))
    return (
        "<h1>unshrink: what was measured</h1><p>Pictures are made small, written as 8-bit PNG files, and restored from "
        "those files. A border of <i>scale</i> pixels is left out. PSNR and SSIM are of the luma, unless it "
        f"says otherwise. With weights of their own: {text(weights)}. What others published stands apart, in italics "
        "or as a hollow circle: it was not measured here.</p>"
    )


def _study(study: Study) -> str:
    panels = (f"<h3>{text(name)}</h3>{_panels(found)}" for name, found in study.panels.items())
    return (
        f"<h2>{text(study.title)}</h2><p>{text(study.text)} Made by <code>{text(study.command)}</code>.</p>"
        + "".join(map(_table, study.tables))
        + f"<div class=plots>{''.join(map(_plot, study.plots))}</div>"
        + "".join(panels)
    )


def _plot(plot: Plot) -> str:
    drawing = plot.svg()
    return f"<figure class=plot>{drawing}</figure>" if drawing else ""


def _panels(panels: Iterable[tuple[str, Path]]) -> str:
    figures = (
        f'<figure><img src="{picture(path)}" alt="{text(title)}"><figcaption>{text(title)}</figcaption></figure>'
        for title, path in panels
    )
    return f"<div class=panels>{''.join(figures)}</div>"


def _table(table: Table) -> str:
    """A table that scrolls by itself where the screen is narrow."""
    kind = " class=published" if table.published else ""
    head = "".join(f"<th>{text(cell)}</th>" for cell in table.headings)
    body = "".join("<tr>" + "".join(f"<td>{text(cell)}</td>" for cell in row) + "</tr>" for row in table.rows)
    return (
        f"<h3>{text(table.title)}</h3><p>{text(table.text)}</p>"
        f"<div class=wide tabindex=0><table{kind}><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>"
    )


def _sources(results: Results) -> str:
    sources = "".join(f"<li>{_source(source)}</li>" for source in (results.sources or {}).values())
    made = sorted({f"{one['commit'] or one['unshrink']} on {one['machine']['cpu']}" for one in results.measured})
    return (
        f"<h2>Sources</h2><ul>{sources}</ul><p><small>Measured by the code of commit {text('; '.join(made))}. "
        "<code>make eval</code> measures everything anew.</small></p>"
    )


def _source(source: Mapping[str, str]) -> str:
    title = text(source["title"])
    if source.get("url", "").startswith("https://"):
        title = f'<a href="{text(source["url"])}">{title}</a>'
    return f"{title}; {text(checked(source))}"


# -- crops ---------------------------------------------------------------------------------------------------------


def crop(about: Mapping[str, Any], path: Path) -> str:
    """One place by every way, below the whole picture in which it is marked."""
    folder = path.parent
    (width, height), (left, top, right, bottom) = about["size"], about["place"]
    box = {
        "left": left / width,
        "top": top / height,
        "width": (right - left) / width,
        "height": (bottom - top) / height,
    }
    marked = ";".join(f"{side}:{100 * share:.3f}%" for side, share in box.items())
    panels = _panels((panel["title"] + _decibels(panel), folder / panel["file"]) for panel in about["panels"])
    return (
        f"<h3>{text(about['picture'])}, x{int(about['scale'])}</h3>"
        f'<div class=whole><img src="{picture(folder / "whole.webp")}" alt="the whole picture">'
        f'<span style="{marked}"></span></div>{panels}'
        "<p><small>The place is where bicubic errs most; PSNR-Y is of the whole picture.</small></p>"
    )


def _decibels(panel: Mapping[str, Any]) -> str:
    return f", {panel['psnr_y']:.2f} dB" if panel["psnr_y"] is not None else ""


# -- helpers -------------------------------------------------------------------------------------------------------


def picture(path: Path) -> str:
    """A WebP file as an address that needs no file."""
    return "data:image/webp;base64," + base64.b64encode(path.read_bytes()).decode()


def text(words: object) -> str:
    """Anything as HTML."""
    return html.escape(str(words), quote=True)
