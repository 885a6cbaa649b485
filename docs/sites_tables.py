"""What results/sites.json and results/generations.json hold, as tables of docs/sites.md and docs/recoded.md."""

from typing import Any

from unshrink.evaluation.tables import markdown
from unshrink.sites import find
from unshrink.text import human_bytes

Row = dict[str, Any]
FIGURES = (("PSNR-Y", "psnr_y"), ("RGB", "psnr_rgb"), ("chroma", "psnr_chroma"))


def everything(measured: Row) -> str:
    """A table for each set and scale: each site, what comes back, and what it makes of the large picture."""
    groups: dict[tuple[str, int], list[Row]] = {}
    for row in sorted(measured["rows"], key=lambda row: (row["set"], row["scale"])):
        groups.setdefault((row["set"], row["scale"]), []).append(row)
    headings = (
        *("site", "weights", "what is sent", "arrives", "comes back, PSNR-Y / RGB / chroma"),
        *("of the site, PSNR-Y / RGB / chroma", "gain"),
    )
    return "\n".join(
        f"#### x{scale}, {rows[0]['pictures']} photos of {data}\n\n{markdown(headings, map(cells, rows))}"
        for (data, scale), rows in groups.items()
    )


def cells(row: Row) -> tuple[str, ...]:
    """One line; of sites that do not resize, the gain is a loss."""
    site = find(row["site"])
    sent = "JPEG" if site.usual_format == "jpeg" else "PNG"
    as_it_is = "" if row["site_resized"] else ", not resized"
    arrives = {0: "re-encoded", 1: "as sent"}.get(row["passed"], f"as sent: {row['passed']:.0%}")
    return (
        site.label,
        row["method"],
        f"{sent}, {human_bytes(int(row['sent_bytes']))}",
        f"{arrives}, {human_bytes(int(row['arrived_bytes']))}",
        " / ".join(f"{row[key]:.2f}" for _, key in FIGURES),
        " / ".join(f"{row[f'site_{key}']:.2f}" for _, key in FIGURES) + as_it_is,
        f"**{row['psnr_y'] - row['site_psnr_y']:+.2f}**",
    )


def generations(measured: Row) -> str:
    """What comes back after 0, 1, ... encodings: PSNR-Y, and its gain over bicubic of the same scale where that is."""
    rows: list[Row] = measured["rows"]
    times = range(len(rows[0]["times"]))
    lines = [
        (row["method"], name, *(f"{one[key]:.2f}" for one in row["times"])) for row in rows for name, key in FIGURES
    ]
    head = f"{rows[0]['pictures']} photos of {rows[0]['set']}, quality {rows[0]['quality']}, 4:2:0:\n\n"
    return head + markdown(
        ("small picture", "dB", *(("untouched", "once")[n] if n < 2 else f"{n} times" for n in times)), lines
    )
