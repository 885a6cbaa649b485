"""The page that shows what was measured: one HTML file of a folder of results, which needs no other file.

Besides what `results` reads, there may be:

    results/crops/<name>/crop.json  the same place of a picture by every way, as benchmarks/crops.py writes it
    results/latent.json             what z does, as benchmarks/latent.py writes it
"""

import base64
import functools
import html
import json
import math
from argparse import Namespace
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from unshrink import results as tables
from unshrink.errors import ConfigError, ImageError
from unshrink.files import atomic_write
from unshrink.plots import Series, plot
from unshrink.results import Measured, Results, Table
from unshrink.tasks import Result, Task

CROPS, LATENT = "crops/*/crop.json", "latent.json"

STYLE = """
:root { color-scheme: light dark; --line: #8884; --faint: #808080; --mark: #0095ff; }
body { font: 16px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 0 auto; padding: 1rem; }
h1, h2, h3 { line-height: 1.2; } h2 { margin-top: 2.5rem; border-top: 1px solid var(--line); padding-top: 1rem; }
p { max-width: 42rem; } code { overflow-wrap: anywhere; } small, figcaption { color: var(--faint); }
.wide { overflow-x: auto; }
table { border-collapse: collapse; font-size: 0.85rem; font-variant-numeric: tabular-nums; white-space: nowrap; }
th, td { padding: 0.25rem 0.75rem 0.25rem 0; border-bottom: 1px solid var(--line); text-align: left; }
th:first-child, td:first-child { position: sticky; left: 0; background: Canvas; }
.published td { color: var(--faint); font-style: italic; }
.plots, .panels { display: grid; gap: 1rem; grid-template-columns: repeat(auto-fit, minmax(min(20rem, 100%), 1fr)); }
.panels { grid-template-columns: repeat(auto-fit, minmax(9rem, 1fr)); gap: 0.5rem; }
figure { margin: 0; } figcaption { font-size: 0.85rem; }
.plot svg { width: 100%; font-size: 12px; } .plot text { fill: currentColor; } .grid { stroke: var(--line); }
.plot span { margin-right: 0.75rem; white-space: nowrap; }
.plot i { display: inline-block; width: 0.5rem; height: 0.5rem; border: 2px solid; border-radius: 50%; }
.plot i { margin-right: 0.3rem; }
.panels img { width: 100%; image-rendering: pixelated; display: block; }
.whole { position: relative; max-width: 24rem; margin: 0.5rem 0; } .whole img { width: 100%; display: block; }
.whole span { position: absolute; border: 2px solid var(--mark); outline: 1px solid white; }
"""


def report(args: Namespace) -> list[Task]:
    """The page of a folder of results."""
    target, folder = Path(args.output), Path(args.folder)
    if target.exists() and not args.overwrite:
        raise ImageError(f"cannot write {target}: the file exists already; choose another output or --overwrite")
    return [Task("", functools.partial(_write, folder, target))]


def _write(folder: Path, target: Path) -> Result:
    results = tables.read(folder)
    with atomic_write(target, overwrite=True, error=ImageError) as stream:
        stream.write(page(results, folder).encode())
    methods = len({one["method"] for one in results.measured})
    data = {"output": str(target), "results": len(results.measured), "methods": methods}
    return Result(data, f"{target}: {len(results.measured)} results of {methods} methods")


def page(results: Results, folder: Path) -> str:
    """The whole page.

    Raises:
        ConfigError: a crop or a study is not as the benchmarks write it.
    """
    parts = [
        _head(results),
        *_part("The same place, restored by each", _read(folder, CROPS, crop)),
        *_part("Quality and its price", plots(results)),
        *_part("What z does", _read(folder, LATENT, latent)),
        *_part("Measured here", (_table(t) for t in tables.tables(results) if not t.published)),
        *_part("Published by others", (_table(t) for t in tables.tables(results) if t.published)),
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
    return [f"<h2>{_text(title)}</h2>", *found] if found else []


def _head(results: Results) -> str:
    weights = ", ".join(dict.fromkeys(r["method"] for r in results.measured if "backend" in r and "weights" in r))
    return (
        "<h1>unshrink: what was measured</h1><p>Pictures are made small, written as 8-bit PNG files, and restored from "
        "those files. PSNR and SSIM are of the luma, without a border of <i>scale</i> pixels, unless it says RGB. "
        f"With weights of their own: {_text(weights)}. What others published stands apart, in italics or as a hollow "
        "circle: it was not measured here.</p>"
    )


def _table(table: Table) -> str:
    """A table that scrolls by itself where the screen is narrow."""
    kind = " class=published" if table.published else ""
    head = "".join(f"<th>{_text(cell)}</th>" for cell in table.headings)
    body = "".join("<tr>" + "".join(f"<td>{_text(cell)}</td>" for cell in row) + "</tr>" for row in table.rows)
    return (
        f"<h3>{_text(table.title)}</h3><p>{_text(table.text)}</p>"
        f"<div class=wide><table{kind}><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>"
    )


def _sources(results: Results) -> str:
    sources = "".join(
        f'<li><a href="{_text(source["url"])}">{_text(source["title"])}</a></li>'
        for source in (results.sources or {}).values()
        if source["url"].startswith("https://")
    )
    made = sorted({f"{one['commit'] or one['unshrink']} on {one['machine']['cpu']}" for one in results.measured})
    return (
        f"<h2>Sources</h2><ul>{sources}</ul><p><small>Measured by the code of commit {_text('; '.join(made))}. "
        "<code>make eval</code> measures everything anew.</small></p>"
    )


# -- crops ---------------------------------------------------------------------------------------------------------


def crop(about: Mapping[str, Any], folder: Path) -> str:
    """One place by every way, below the whole picture in which it is marked."""
    (width, height), (left, top, right, bottom) = about["size"], about["place"]
    box = {
        "left": left / width,
        "top": top / height,
        "width": (right - left) / width,
        "height": (bottom - top) / height,
    }
    marked = ";".join(f"{side}:{100 * share:.3f}%" for side, share in box.items())
    panels = "".join(
        f'<figure><img src="{_picture(folder / panel["file"])}" alt="{_text(panel["title"])}">'
        f"<figcaption>{_text(panel['title'])}{_decibels(panel)}</figcaption></figure>"
        for panel in about["panels"]
    )
    return (
        f"<h3>{_text(about['picture'])}, x{int(about['scale'])}</h3>"
        f'<div class=whole><img src="{_picture(folder / "whole.webp")}" alt="the whole picture">'
        f'<span style="{marked}"></span></div><div class=panels>{panels}</div>'
        "<p><small>The place is where bicubic errs most; PSNR-Y is of the whole picture.</small></p>"
    )


def _decibels(panel: Mapping[str, Any]) -> str:
    return f", {panel['psnr_y']:.2f} dB" if panel["psnr_y"] is not None else ""


def _picture(path: Path) -> str:
    return "data:image/webp;base64," + base64.b64encode(path.read_bytes()).decode()


# -- plots ---------------------------------------------------------------------------------------------------------


def plots(results: Results) -> list[str]:
    """For each scale, over the first set: quality by bytes, and by parameters."""
    found = [
        f"<h3>x{scale}, {_text(data)}</h3><div class=plots>"
        + plot(by_bytes(results, scale, data), "bits per pixel of the large picture", "PSNR-Y in dB")
        + plot(by_parameters(results, scale, data), "parameters", "PSNR-Y in dB", logarithmic=True)
        + "</div>"
        for scale in results.scales()
        for data in results.sets(scale)[:1]
    ]
    text = (
        "Left: what comes back for the bytes of the small file (PNG and lossless WebP joined), beside the large "
        "picture in a lossy codec. Right: how many parameters each network needs; hollow: published."
    )
    return [f"<p>{text}</p>", *found] if found else []


def by_bytes(results: Results, scale: int, data: str) -> list[Series]:
    """PSNR-Y by bits per pixel: each method with both of its small files; codecs where weights set the bytes."""
    found: dict[str, list[tuple[float, float]]] = {}
    for method in results.methods(scale):
        one = results.one(method, data)
        if one and "bytes_of" in one:
            found.setdefault(tables.codec(one), []).append((one["mean"]["file_bits_per_pixel"], _quality(one)))
        elif one:
            bits = (one["mean"]["webp_bits_per_pixel"], one["mean"]["png_bits_per_pixel"])
            found[method] = [(x, _quality(one)) for x in bits]
    return [Series(name, tuple(sorted(filter(_finite, points))), joined=True) for name, points in found.items()]


def by_parameters(results: Results, scale: int, data: str) -> list[Series]:
    """PSNR-Y by the number of parameters of both ways together."""
    found = []
    for row in results.published:
        measured = results.one(row.get("ours", ""), data)
        if row["scale"] == scale and "parameters" in row and data in row and not measured:
            count = float(row["parameters"].partition(" ")[0]) * 1e6
            found.append(Series(row["method"], ((count, row[data][0]),), hollow=True, label=True))
    for method in results.methods(scale):
        one = results.one(method, data)
        if one and "parameters" in one:
            found.append(Series(method, ((one["parameters"], _quality(one)),), label=True))
    return found


def _quality(one: Measured) -> float:
    value = one["mean"]["psnr_y"]
    return math.inf if value is None else float(value)


def _finite(point: tuple[float, float]) -> bool:
    return all(map(math.isfinite, point))


# -- the study of z ------------------------------------------------------------------------------------------------


def latent(about: Mapping[str, Any], folder: Path) -> str:
    """Restoring with shares of a picture's own z and with draws, and how normal z is."""
    shares, drawn, shapes = [], [], []
    for name, study in about["weights"].items():
        shares.append(Series(name, _pairs(study["shares"]), joined=True))
        drawn.append(Series(name, _pairs(study["drawn"]), joined=True))
        shapes.append(Series(name, _pairs(study["histogram"]), joined=True))
    normal = tuple((x, math.exp(-x * x / 2) / math.sqrt(2 * math.pi)) for x, _ in shapes[0].points)
    return (
        f"<p>Of the middles ({about['side']} pixels wide) of {about['pictures']} pictures, {_text(about['set'])}; made "
        "by <code>python benchmarks/latent.py</code>.</p><div class=plots>"
        + plot(shares, "share of the picture's own z", "PSNR-RGB in dB")
        + plot(drawn, "deviation of drawn z, of the own one's", "PSNR-RGB in dB")
        + plot([*shapes, Series("normal", normal, joined=True)], "z, in standard deviations", "density")
        + "</div>"
        + "".join(f"<p>{_text(sentence(name, study))}</p>" for name, study in about["weights"].items())
    )


def sentence(name: str, study: Mapping[str, Any]) -> str:
    """What the study says of one network."""
    shares, drawn, spread = (dict(_pairs(study[key])) for key in ("shares", "drawn", "drawn_pixel_deviation"))
    return (
        f"{name}: with its own z and the small picture not rounded, {study['values_exact_with_z']:.2%} of the 8-bit "
        f"values come back exactly. Rounding the small picture alone leaves {shares[1]:.2f} dB, dropping z alone "
        f"{study['zero_unrounded']:.2f} dB, both {shares[0]:.2f} dB. Draws as wide as the own z give {drawn[1]:.2f} "
        f"dB, and differ from each other by {spread[1]:.1f} levels (standard deviation per value). The root mean "
        f"square of z is {study['rms_z']:.3f}, that of the Haar details {study['rms_haar_details']:.3f}. Its "
        f"kurtosis is {study['kurtosis']:.1f} (3 were it normal), and its size correlates with the detail of the "
        f"small picture by {study['correlation_with_detail']:.2f} (0 were it independent)."
    )


def _pairs(points: Iterable[Iterable[float]]) -> tuple[tuple[float, float], ...]:
    return tuple((float(x), float(y)) for x, y in points)


# -- files ---------------------------------------------------------------------------------------------------------


def _read(folder: Path, pattern: str, show: Any) -> list[str]:
    found = []
    for path in sorted(folder.glob(pattern)):
        try:
            found.append(show(json.loads(path.read_bytes()), path.parent))
        except (OSError, ValueError, KeyError, TypeError, IndexError, AttributeError) as error:
            raise ConfigError(f"{path} is not as the benchmarks write it ({error!r}): make it again") from error
    return found


def _text(text: object) -> str:
    return html.escape(str(text), quote=True)
