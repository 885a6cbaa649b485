"""What results/video.json holds, as the table of docs/video.md."""

from typing import Any

from unshrink.evaluation.tables import markdown, number
from unshrink.text import decibels

Row = dict[str, Any]
HEADINGS = (
    *("small clip", "through", "bits per pixel", "PSNR-Y", "5th percentile", "SSIM-Y", "flicker"),
    *("H.264 in as many bytes", "H.265 in as many bytes"),
)


def everything(measured: Row) -> str:
    """Speed, and a table for each clip: each way of making it small, through each codec."""
    rows: list[Row] = measured["rows"]
    parts = [speeds(measured["speed"])]
    for clip in dict.fromkeys(row["clip"] for row in rows):
        of_clip = [row for row in rows if row["clip"] == clip]
        size = "{}x{}".format(*of_clip[0]["size"])
        order = dict.fromkeys(row["through"] for row in of_clip)
        lines = [cells(row) for through in order for row in of_clip if row["through"] == through]
        parts.append(f"### {clip}: {of_clip[0]['frames']} frames of {size}\n\n{markdown(HEADINGS, lines)}")
    return "\n".join(parts)


def speeds(rows: list[Row]) -> str:
    """How fast the commands are, by the clock, and how much of that time the network is at work."""
    headings = ("weights", "on", "clip", "downscale", "of which the network", "upscale", "of which the network")
    lines = []
    for row in rows:
        clip = "{}x{}".format(*row["size"])
        rates = ((f"{row[f'{way}_fps']:.2f} frames/s", f"{row[f'{way}_network']:.0%}") for way in ("down", "up"))
        lines.append((row["model"], f"{row['backend']}, {row['threads'] or 'all'} threads", clip, *sum(rates, ())))
    return f"### Speed\n\n{markdown(headings, lines)}"


def cells(row: Row) -> tuple[str, ...]:
    """One line."""
    beside = (number(row, codec, 2) if row.get(codec) is not None else "" for codec in ("h264", "h265"))
    return (
        *(row["name"], row["through"], number(row, "bpp", 3), decibels(row["psnr_y"]), decibels(row["psnr_y_5"])),
        *(number(row, "ssim", 4), decibels(row["flicker"]), *beside),
    )
