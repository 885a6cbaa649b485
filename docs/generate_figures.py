"""Writes measured figures into the pages, between their markers: results/ into README.md, cards/*.md and
docs/results.md, benchmarks/ into docs/performance.md and docs/effort.md, training logs and trials into
docs/training-diary.md and README.md, what the checks found into docs/cli.md and docs/server.md.

python docs/generate_figures.py          # rewrites the tables
python docs/generate_figures.py --check  # exits 1 if a page is not what the measurements say
"""

import argparse
import json
import re
import sys
from pathlib import Path
from statistics import median
from typing import Any

from unshrink.evaluation.compare import human_bytes
from unshrink.evaluation.plots import Series, plot
from unshrink.evaluation.results import Measured, Results, checked, read, tables
from unshrink.evaluation.studies import (
    GUIDANCE,
    LATENT,
    WIDTHS,
    guidance_sentence,
    invertibility_sentence,
    latent_sentence,
    price_sentence,
    short_trainings,
)

ROOT = Path(__file__).parents[1]
README_SETS = ("Set5", "Set14", "BSD100", "Screens")  # docs/results.md has all
SPEED = ROOT / "benchmarks" / "backends.json"
MARKED = re.compile(
    r"(<!-- (figures|trials|speedrun|scales|memory|layouts|precision) -->\n).*?(<!-- /\2 -->)", re.DOTALL
)
HEADER = (
    "| weights | set | restored, PSNR-Y / SSIM-Y | RGB | bicubic both ways "
    "| small picture against bicubic | bits per pixel |\n"
    "|---|---|---|---|---|---|---|\n"
)


def row(result: Measured, bicubic: Measured) -> str:
    """One line of the table: weights beside bicubic both ways."""
    mean, plain = result["mean"], bicubic["mean"]
    return (
        f"| {result['method']} | {result['set']} | **{mean['psnr_y']:.2f}** / {mean['ssim_y']:.4f} "
        f"| {mean['psnr_rgb']:.2f} | {plain['psnr_y']:.2f} / {plain['ssim_y']:.4f} "
        f"| {mean['lr_psnr_y']:.2f} / {mean['lr_ssim_y']:.4f} | {mean['png_bits_per_pixel']:.2f} |\n"
    )


def shipped(found: Results) -> dict[str, str]:
    """The lines of each shipped weights, set by set."""
    lines = {card.stem: "" for card in sorted((ROOT / "cards").glob("*.md"))}
    for result in found.measured:
        bicubic = found.one(f"bicubic-x{result['scale']}", result["set"])
        if result["method"] in lines and bicubic:
            lines[result["method"]] += row(result, bicubic)
    return lines


def brief(lines: str) -> str:
    """The lines of the sets that the README shows."""
    return "".join(line for line in lines.splitlines(keepends=True) if line.split(" | ")[1] in README_SETS)


def scales() -> str:
    """The photo of results/scales.json at every scale."""
    found = json.loads((ROOT / "results" / "scales.json").read_text())
    lines = [
        "| small picture | pixels | PNG file | restored, PSNR-Y / SSIM-Y | RGB | bicubic both ways |",
        "|---" * 6 + "|",
    ]
    for r in found["rows"]:
        ours, bicubic = r["unshrink"], r["bicubic"]
        lines.append(
            f"| x{r['scale']} | {r['small_size'][0]}x{r['small_size'][1]} | {human_bytes(r['small_bytes'])} "
            f"| **{ours['psnr_y']:.2f}** / {ours['ssim_y']:.4f} | {r['psnr_rgb']:.2f} "
            f"| {bicubic['psnr_y']:.2f} / {bicubic['ssim_y']:.4f} |"
        )
    first = found["rows"][0]
    size = f"{first['size'][0]}x{first['size'][1]} pixels, {human_bytes(first['bytes'])}"
    return "\n".join(lines) + f"\n\nThe original: {size} of PNG. PSNR in dB.\n"


def everything(found: Results) -> str:
    """All tables, the sources of the published ones, then what the studies say."""
    sources = "\n".join(f"- {s['title']}: {s['url']}; {checked(s)}" for s in (found.sources or {}).values())
    shown = "\n".join(table.markdown() for table in tables(found))
    return f"{shown}\n### Sources of what others published\n\n{sources}\n\n{studies(found)}"


def studies(found: Results) -> str:
    """What each study says, and the command that makes it; their plots are on the page of `unshrink report`."""
    study = json.loads((ROOT / "results" / LATENT).read_text())
    parts = ["### Quality and its price: `make eval-weights eval-codecs eval-older`"]
    parts += [price_sentence(found, scale, found.sets(scale)[0]) for scale in found.scales()]
    parts += ["### What z does: `make eval-latent`", WIDTHS]
    parts += [f"{name}: {latent_sentence(one)}" for name, one in study["weights"].items()]
    for path in sorted((ROOT / "results").glob(GUIDANCE)):
        parts.append(f"### The weight of the guidance: `python tools/ablate.py results/ablations/{path.stem}.toml`")
        parts.append(guidance_sentence(json.loads(path.read_text())))
    parts.append("### Invertible or not: `make eval-invertibility`")
    parts += map(invertibility_sentence, short_trainings(found))
    return "\n\n".join(part for part in parts if part) + "\n"


def backends() -> str:
    """The plot and tables of benchmarks/backends.json, and the machine; nothing before the first measurement."""
    if not SPEED.exists():
        return ""  # not measured yet
    measured = json.loads(SPEED.read_text())
    rows, machine = measured["rows"], measured["machine"]
    sizes = ", ".join(
        f"{name} {machine['versions'][name]} {mb} MB" for name, mb in machine["installed_megabytes"].items()
    )
    features = " ".join(feature for feature in machine["instructions"] if "bf16" in feature) or "no bfloat16"
    limits = "; ".join(
        f"{limit['threads']} thread{'s' * (limit['threads'] > 1)}: convolution {limit['convolution_float32']} float32, "
        f"{limit['convolution_bfloat16']} bfloat16, product {limit['product_float32']}, {limit['product_bfloat16']}"
        for limit in measured["ceilings"]
    )
    where = f"{machine['cores']} cores ({machine['cpu']}, {features}), at a load of {machine['load'][0]:.0f}"
    return (
        "![Megapixels per processor second by the size of the picture](images/speed.svg)\n\n"
        f"{commands_table(rows)}\n{starts_table(measured['starts'])}\n{networks_table(rows)}\n"
        f"Measured on {where}, Python {machine['python']}; installed: {sizes}.\n"
        f"What the machine reached beside them, GFLOP/s: {limits}.\n"
    )


def commands_table(rows: list[dict[str, Any]]) -> str:
    lines = ["| whole command | size | way | backend | seconds (min to max) | against plain |", "|---" * 6 + "|"]
    for r in rows:
        if r["what"] == "command":
            way = f"{r['backend']} {r['precision']}"
            cells = (r["weights"], r["size"], r["direction"], way, spread(r), f"{r['times_faster']:.1f}x")
            lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def starts_table(rows: list[dict[str, Any]]) -> str:
    lines = [
        "| downscale 256x256 from cold | backend | compiled network kept | seconds (min to max) |",
        "|---" * 4 + "|",
    ]
    for r in rows:
        way = f"{r['backend']} {r['precision']}"
        lines.append(f"| {r['weights']} | {way} | {r['compiled_network_kept']} | {spread(r)} |")
    return "\n".join(lines) + "\n"


def networks_table(rows: list[dict[str, Any]]) -> str:
    names = "network, size, way, threads, backend, seconds (min to max), MP/s, against plain, in processor seconds, "
    names += "GFLOP/s, of the ceiling, peak MB, dB to plain"
    lines = [f"| {' | '.join(names.split(', '))} |", "|---" * len(names.split(", ")) + "|"]
    for r in rows:
        if r["what"] == "network":
            faster = f"{r['times_faster']:.1f}x", f"{r['times_less_cpu']:.1f}x"
            cells = (
                r["weights"],
                r["size"],
                r["direction"],
                r["threads"],
                f"{r['backend']} {r['precision']}",
                spread(r),
            )
            cells += (
                f"{r['megapixels_per_second']:.2f}",
                *faster,
                f"{r['gflops']:.0f}",
                f"{r['share_of_ceiling']:.0%}",
            )
            cells += (r["peak_megabytes"], "equal" if r["psnr"] is None else f"{r['psnr']:.0f}")
            lines.append(f"| {' | '.join(map(str, cells))} |")
    return "\n".join(lines) + "\n"


def spread(row: dict[str, Any]) -> str:
    return f"{row['seconds']:.2f} ({row['spread'][0]:.2f} to {row['spread'][1]:.2f})"


def speed_plot() -> str:
    """Megapixels per processor second by the size of the picture, of irn-x4 downscaling with all threads."""
    rows = json.loads(SPEED.read_text())["rows"]
    points: dict[str, list[tuple[float, float]]] = {}
    most = max(r["threads"] for r in rows)
    for r in rows:
        if (r["what"], r["weights"], r["direction"], r["threads"]) == ("network", "irn-x4", "down", most):
            width, height = map(int, r["size"].split("x"))
            place = width * height / 1e6, width * height / 1e6 / r["cpu_seconds"]
            points.setdefault(f"{r['backend']} {r['precision']}", []).append(place)
    series = [Series(name, tuple(found), joined=True, label=True) for name, found in points.items()]
    drawing = re.search("<svg.*</svg>", plot(series, "megapixels", "megapixels per processor second", True), re.DOTALL)
    style = "<style>text{font:12px sans-serif;fill:#808080}.grid{stroke:#80808060}</style>"
    opened = '<svg xmlns="http://www.w3.org/2000/svg" '
    return (
        drawing[0].replace("<svg ", opened, 1).replace(">", f">{style}", 1).replace("class=grid", 'class="grid"') + "\n"
    )


def memory() -> str:
    """The table of benchmarks/memory.json."""
    rows = json.loads((ROOT / "benchmarks" / "memory.json").read_text())["rows"]
    names = (
        "weights",
        "backend",
        "precision",
        "tile",
        "format",
        "megapixels",
        "way",
        "peak memory, MB",
        "processor seconds",
    )
    lines = [f"| {' | '.join(names)} |", "|---" * len(names) + "|"]
    for r in sorted(
        rows, key=lambda r: [r[key] for key in ("weights", "backend", "fast", "format", "megapixels", "way")]
    ):
        precision, tile = "bfloat16" if r["fast"] else "float32", r["tile"] or "auto"
        cells = r["weights"], r["backend"], precision, tile, r["format"], f"{r['megapixels']:.0f}", r["way"]
        lines.append(f"| {' | '.join(map(str, cells))} | {r['peak_mb']} | {r['processor_seconds']:.0f} |")
    return "\n".join(lines) + "\n"


def layouts() -> str:
    """The cost of the layouts of benchmarks/layouts.json beside what their trials gave."""
    measured = json.loads((ROOT / "benchmarks" / "layouts.json").read_text())
    trials = json.loads((ROOT / "results" / "ablations" / "x4.json").read_text())
    given = {trial["name"]: trial for trial in trials}
    published = next(r["seconds_per_megapixel"] for r in measured["rows"] if r["name"] == "base")
    lines = [
        "| blocks at level 1, 2 | multiply-adds a pixel, thousands | processor seconds a megapixel, both ways "
        "| of the published layout's | PSNR-Y | LR |",
        "|---" * 6 + "|",
    ]
    for r in sorted(measured["rows"], key=lambda r: r["seconds_per_megapixel"]):
        seconds, trial = r["seconds_per_megapixel"], given[r["name"]]
        cells = (", ".join(map(str, r["blocks"])), f"{r['operations'] / 1e3:.0f}", f"{seconds:.2f}")
        decibels = f"{trial['psnr_y']:.2f} | {trial['lr_psnr_y']:.2f}"
        lines.append(f"| {' | '.join(cells)} | {seconds / published:.0%} | {decibels} |")
    machine = measured["machine"]
    return "\n".join(lines) + f"\n\nOne thread of {machine['cpu']}, OpenVINO, {measured['precision']}.\n"


def precision() -> str:
    """The table of benchmarks/precision.json."""
    measured = json.loads((ROOT / "benchmarks" / "precision.json").read_text())
    lines = ["| weights | set (pictures) | float32 | fast decoder | fast encoder | both |", "|---" * 6 + "|"]
    for r in measured["rows"]:
        changes = " | ".join(f"{r[side]:+.3f}" for side in ("decoder", "encoder", "both"))
        lines.append(f"| {r['weights']} | {r['set']} ({r['pictures']}) | {r['float32']:.2f} | {changes} |")
    return "\n".join(lines) + "\n"


def effort() -> str:
    """The table of benchmarks/effort.json, and the machine it was measured on; nothing before the first measurement."""
    source = ROOT / "benchmarks" / "effort.json"
    if not source.exists():
        return ""  # not measured yet
    measured = json.loads(source.read_text())
    machine, backend = measured["machine"], measured["backend"]
    lines = [
        "| weights | set (pictures) | effort | restored, PSNR-Y (worst) | RGB (worst) "
        "| small picture, PSNR-Y (worst) | seconds per megapixel |",
        "|---" * 7 + "|",
    ]
    for r in measured["rows"]:
        changes = [f"{r[key]:+.2f} ({r[f'least_{key}']:+.2f})" for key in ("gain_y", "gain_rgb", "lr_change_y")]
        cells = (r["weights"], f"{r['set']} ({r['pictures']})", r["effort"], *changes)
        lines.append(f"| {' | '.join(map(str, cells))} | {r['seconds_per_megapixel']:.0f} |")
    plain = ", ".join(
        f"{name} {median(r['plain_seconds_per_megapixel'] for r in measured['rows'] if r['weights'] == name):.0f}"
        for name in dict.fromkeys(r["weights"] for r in measured["rows"])
    )
    threads = measured["threads"] or machine["cores"]
    where = f"{backend} {machine['versions'][backend]} on {threads} of {machine['cores']} cores"
    load = f"at a load of {machine['load'][0]:.1f}"
    lines.append(f"\nEffort 0 takes, in seconds per megapixel: {plain}. Measured with {where}, {load}.")
    return "\n".join(lines) + "\n"


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


def checks(*names: str) -> str:
    """What these checks found, of checks/results.json."""
    results = json.loads((ROOT / "checks" / "results.json").read_text())
    lines = ["| check | found | load of the machine |", "|---|---|---|"]
    for name in names:
        if name in results:
            found = results[name]
            load = f"{found['machine']['load']} on {found['machine']['cores']} cores"
            lines.append(f"| `{name}.py` | {CHECKS[name](found)} | {load} |")
    return "\n".join(lines) + "\n"


def counted(answers: dict[str, int]) -> str:
    return ", ".join(f"{count:,} times {status}" for status, count in answers.items())


def folders(found: dict[str, Any]) -> str:
    return f"{found['files']:,} files, {found['broken']} of them broken; " + "; ".join(found["parts"])


def hostile(found: dict[str, Any]) -> str:
    alone = found["library"]
    parts = [
        f"{found['files']} files, {len(found['wrong'])} faults",
        f"read one by one: at most {alone['seconds_most']} s and {alone['mb_above_idle_most']} MB above idle",
    ]
    parts += [
        f"`{command}`: {one['refused']} refused, {one['seconds']} s for all, {one['mb_above']} MB above usual"
        for command, one in found["commands"].items()
    ]
    return "; ".join(parts)


def serve_hostile(found: dict[str, Any]) -> str:
    idle, most = found["memory_mib"]["idle"], found["memory_mib"]["most"]
    return (
        f"{found['files']} files and bombs to each of three places: {counted(found['answers'])}; "
        f"{len(found['wrong'])} other or slow answers, {found['bugs_logged']} bugs; at most "
        f"{found['processor_seconds_most']} processor seconds for one; "
        f"a bomb at most {found['bomb_refused_ms_most']} ms; memory from {idle} to at most {most} MiB"
    )


def serve_load(found: dict[str, Any]) -> str:
    health, before = found["health_ms"], found["health_ms_before"]
    fifths = ", ".join(map(str, found["memory_mib"]["all_by_fifths_after_100"]))
    return (
        f"{found['minutes']:g} minutes with twice the clients that there are places, junk and bombs among them: "
        f"{counted(found['answers'])}; {found['bugs_logged']} bugs; `/health` p50 {health['p50']} ms, "
        f"p99 {health['p99']} ms ({before['p50']} and {before['p99']} before the load); after each junk "
        f"file and a hundred pictures all processes take {fifths} MiB, lower quartiles of each fifth of the time"
    )


def serve_restart(found: dict[str, Any]) -> str:
    before = ", ".join(f"{count} {status}" for status, count in found["before"].items())
    return (
        f"{before}, kill -9, start again: {found['results']} results, "
        f"{'each job ended once' if found['ended_once'] else 'not every job ended once'}, "
        f"{found['second_attempts']} at the second attempt, {found['seconds_until_all_were_done']} s"
    )


def serve_schema(found: dict[str, Any]) -> str:
    return f"{found['requests']:,} requests: {counted(found['answers'])}; {found['bugs_logged']} bugs"


CHECKS = {check.__name__: check for check in (folders, hostile, serve_hostile, serve_load, serve_restart, serve_schema)}


def pages() -> dict[Path, str]:
    """Each page with its tables as measured."""
    found = read(ROOT / "results")
    rows = shipped(found)
    shown = {ROOT / "cards" / f"{name}.md": {"figures": HEADER + lines} for name, lines in rows.items()}
    short = HEADER + "".join(map(brief, rows.values()))
    shown[ROOT / "README.md"] = {"figures": short, "speedrun": speedrun(), "scales": scales()}
    shown[ROOT / "docs" / "results.md"] = {"figures": everything(found)}
    shown[ROOT / "docs" / "performance.md"] = {
        "figures": backends(),
        "memory": memory(),
        "layouts": layouts(),
        "precision": precision(),
    }
    shown[ROOT / "docs" / "effort.md"] = {"figures": effort()}
    shown[ROOT / "docs" / "training-diary.md"] = {"figures": curves(), "trials": trials()}
    shown[ROOT / "docs" / "cli.md"] = {"figures": checks("folders", "hostile")}
    shown[ROOT / "docs" / "server.md"] = {
        "figures": checks("serve_hostile", "serve_load", "serve_restart", "serve_schema")
    }
    drawn = {ROOT / "docs" / "images" / "speed.svg": speed_plot()} if SPEED.exists() else {}
    return {path: fill(path.read_text(), named) for path, named in shown.items()} | drawn


def fill(text: str, named: dict[str, str]) -> str:
    """The page with what stands between its markers replaced."""
    return MARKED.sub(lambda match: match[1] + named[match[2]] + match[3], text)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true")
    check = parser.parse_args().check
    stale = {path: text for path, text in pages().items() if not path.exists() or path.read_text() != text}
    if check and stale:
        sys.exit(f"not as measured: {', '.join(map(str, stale))}; run python docs/generate_figures.py")
    for path, text in stale.items():
        path.write_text(text)


if __name__ == "__main__":
    main()
