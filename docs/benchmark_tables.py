"""What benchmarks/*.json and results/ratios.json hold, as the tables and the plot of pages in docs/."""

from fractions import Fraction
from statistics import median
from typing import Any

from unshrink.evaluation.plots import Plot, Series
from unshrink.evaluation.tables import markdown
from unshrink.weights import for_ratio

Row = dict[str, Any]


def backends(measured: Row) -> str:
    """The plot and tables of backends.json, and the machine."""
    rows, machine = measured["rows"], measured["machine"]
    shown = [
        "![Megapixels per processor second by the size of the picture](images/speed.svg)\n",
        commands([r for r in rows if r["what"] == "command"]),
        starts(measured["starts"]),
        networks([r for r in rows if r["what"] == "network"]),
        f"Measured on {where(machine)}, Python {machine['python']}. "
        "What is installed, and what the machine reached, GFLOP/s:\n",
        installed(machine),
        ceilings(measured["ceilings"]),
    ]
    return "\n".join(shown)


def where(machine: Row) -> str:
    features = " ".join(feature for feature in machine["instructions"] if "bf16" in feature) or "no bfloat16"
    return f"{machine['cores']} cores ({machine['cpu']}, {features}), at a load of {machine['load'][0]:.0f}"


def commands(rows: list[Row]) -> str:
    headings = ("whole command", "size", "way", "backend", "seconds (min to max)", "against plain", "of the ceiling")
    lines = [
        (
            *(r["weights"], r["size"], r["direction"], way(r), spread(r), f"{r['times_faster']:.1f}x"),
            f"{r['share_of_ceiling']:.0%}" if "share_of_ceiling" in r else "-",
        )
        for r in rows
    ]
    return markdown(headings, lines)


def starts(rows: list[Row]) -> str:
    headings = ("downscale 256x256 from cold", "backend", "compiled network kept", "seconds (min to max)")
    return markdown(headings, [(r["weights"], way(r), r["compiled_network_kept"], spread(r)) for r in rows])


def networks(rows: list[Row]) -> str:
    headings = (
        *("network", "size", "way", "threads", "backend", "seconds (min to max)", "MP/s", "against plain"),
        *("in processor seconds", "GFLOP/s", "of the ceiling", "peak MB", "dB to the first of ours"),
    )
    lines = [
        (
            *(r["weights"], r["size"], r["direction"], r["threads"], way(r), spread(r)),
            f"{r['megapixels_per_second']:.2f}",
            f"{r['times_faster']:.1f}x",
            f"{r['times_less_cpu']:.1f}x",
            f"{r['gflops']:.0f}",
            f"{r['share_of_ceiling']:.0%}",
            r["peak_megabytes"],
            "-" if r["backend"] == "plain" else "equal" if r["psnr"] is None else f"{r['psnr']:.0f}",
        )
        for r in rows
    ]
    return markdown(headings, lines)


def installed(machine: Row) -> str:
    sizes = machine["installed_megabytes"].items()
    return markdown(("runtime", "version", "MB"), [(name, machine["versions"][name], mb) for name, mb in sizes])


def ceilings(limits: list[Row]) -> str:
    keys = ("convolution_float32", "convolution_bfloat16", "product_float32", "product_bfloat16")
    headings = ("threads", *(key.replace("_", ", ") for key in keys))
    return markdown(headings, [(limit["threads"], *(limit[key] for key in keys)) for limit in limits])


def way(row: Row) -> str:
    """What ran it."""
    return f"{row['backend']} {row['precision']}"


def spread(row: Row) -> str:
    return f"{row['seconds']:.2f} ({row['spread'][0]:.2f} to {row['spread'][1]:.2f})"


def speed(measured: Row) -> Plot:
    """Megapixels per processor second by the size of the picture, downscaling at x4 with all threads."""
    points: dict[str, list[tuple[float, float]]] = {}
    most = max(r["threads"] for r in measured["rows"])
    for r in measured["rows"]:
        if (r["what"], r["scale"], r["direction"], r["threads"]) == ("network", 4, "down", most):
            width, height = map(int, r["size"].split("x"))
            place = width * height / 1e6, width * height / 1e6 / r["cpu_seconds"]
            points.setdefault(way(r), []).append(place)
    series = tuple(Series(name, tuple(found), joined=True) for name, found in points.items())
    return Plot(series, "megapixels", "megapixels per processor second", logarithmic=True)


def memory(measured: Row) -> str:
    """The table of memory.json."""
    headings = (
        *("weights", "backend", "precision", "tile", "format", "megapixels", "way"),
        *("peak memory, MB", "processor seconds"),
    )
    keys = ("weights", "backend", "precision", "format", "megapixels", "way")
    lines = [
        (
            r["weights"],
            r["backend"],
            r["precision"],
            r["tile"] or "auto",
            r["format"],
            f"{r['megapixels']:.0f}",
            r["way"],
            r["peak_mb"],
            f"{r['processor_seconds']:.0f}",
        )
        for r in sorted(measured["rows"], key=lambda r: [r[key] for key in keys])
    ]
    return markdown(headings, lines)


def page(measured: Row) -> str:
    """The table of page.json, and the machine."""
    headings = ("weights", "size", "way", "page, seconds", "of which the worker", "command, seconds")
    lines = [
        (
            r["weights"],
            "{}x{}".format(*r["size"]),
            r["action"],
            *(f"{r[key]:.1f}" for key in ("page_seconds", "worker_seconds", "command_seconds")),
        )
        for r in measured["rows"]
    ]
    return f"{markdown(headings, lines)}\nMeasured on {where(measured['machine'])}.\n"


def precision(measured: Row) -> str:
    """The table of precision.json: luma / RGB / chroma."""
    headings = (
        *("weights", "set (pictures)", "float32", "decoder in bfloat16", "encoder", "both"),
        *("small pictures: values that differ", "by at most"),
    )
    figures = lambda by_name, form: " / ".join(format(value, form) for value in by_name.values())
    lines = [
        (
            r["weights"],
            f"{r['set']} ({r['pictures']})",
            figures(r["float32"], ".2f"),
            *(figures(r[side], "+.3f") for side in ("decoder", "encoder", "both")),
            f"{r['differing']:.1%}",
            r["most_different"],
        )
        for r in measured["rows"]
    ]
    return markdown(headings, lines)


def effort(measured: Row) -> str:
    """The tables of effort.json, and the machine."""
    machine, backend, rows = measured["machine"], measured["backend"], measured["rows"]
    compared = ("psnr_y", "psnr_rgb", "psnr_chroma", "lr_psnr_y", "lr_psnr_chroma")
    headings = (
        *("weights", "set (pictures)", "effort", "restored, PSNR-Y (worst)", "RGB (worst)", "chroma (worst)"),
        *("small picture, PSNR-Y (worst)", "chroma (worst)", "processor seconds per megapixel", "at effort 0"),
    )
    plain = {
        name: median(r["plain_seconds_per_megapixel"] for r in rows if r["weights"] == name)
        for name in {r["weights"] for r in rows}
    }
    lines = [
        (
            r["weights"],
            f"{r['set']} ({r['pictures']})",
            r["effort"],
            *(f"{r[f'gain_{key}']:+.2f} ({r[f'least_gain_{key}']:+.2f})" for key in compared),
            f"{r['seconds_per_megapixel']:.0f}",
            f"{plain[r['weights']]:.0f}",
        )
        for r in rows
    ]
    threads = measured["threads"] or machine["cores"]
    where = f"{backend} {machine['versions'][backend]} on {threads} of {machine['cores']} cores"
    return markdown(headings, lines) + f"\nMeasured with {where}, at a load of {machine['load'][0]:.1f}.\n"


def mark(measured: Row) -> str:
    """The tables of mark.json, and what was found in pictures without a mark."""
    ways = list(measured["survival"][0]["read"])
    lines = [
        (
            f"{r['set']} ({r['held']} of {r['pictures']})",
            f"{r['psnr']:.2f}",
            *(f"{r['read'][way] / r['held']:.0%}" for way in ways),
        )
        for r in measured["survival"]
    ]
    chance = measured["chance"]
    found = (
        f"\nOf {chance['tried']:,} pictures and crops without a mark, half of them through JPEG, "
        f"a mark was read in {chance['read']}. "
        f"The strongest reached {chance['strongest']:.0f}; {chance['needed']:.0f} are needed. "
        f"Of {chance['tried_for_displaced']} of them, {chance['displaced']} were taken for crops of marked ones.\n"
    )
    return (
        markdown(("set (can hold it)", "cost", *ways), lines) + found + "\n" + unmarked_and_marked(measured["restored"])
    )


def unmarked_and_marked(rows: list[Row]) -> str:
    """What the mark costs the large picture, by weights and by what the small picture went through."""
    headings = ("weights", "pictures of Kodak", "small picture went through", "PSNR-Y unmarked", "marked", "cost")
    lines = [
        (r["model"], r["pictures"], way, f"{plain:.2f}", f"{marked:.2f}", f"{plain - marked:.2f}")
        for r in rows
        for way, (plain, marked) in r["plain_and_marked"].items()
    ]
    return "What comes back of small pictures with and without a mark, in dB:\n\n" + markdown(headings, lines)


def ratios(measured: Row) -> str:
    """The curve of ratios.json: a line for each ratio and weights, those that are chosen in bold."""
    published = measured["published"]
    lines = []
    for r in measured["rows"]:
        chosen = for_ratio(Fraction(str(r["ratio"]))).name == r["model"]
        name, ours = r["model"], f"{r['psnr_y']:.2f}"
        lines.append(
            (
                f"{r['ratio']:g}",
                f"**{name}**" if chosen else name,
                f"**{ours}**" if chosen else ours,
                f"{r['psnr_rgb']:.2f}",
                f"{r['bicubic_psnr_y']:.2f}",
                published["psnr_y"].get(f"{r['ratio']:g}", ""),
            )
        )
    headings = (
        "ratio",
        "weights",
        "PSNR-Y",
        "RGB",
        "bicubic both ways, PSNR-Y",
        f"{published['method']}, published PSNR-Y",
    )
    return markdown(headings, lines)
