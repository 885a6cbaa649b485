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
    """A table for each clip: each way of making it small, through each codec."""
    rows: list[Row] = measured["rows"]
    parts = []
    for clip in dict.fromkeys(row["clip"] for row in rows):
        of_clip = [row for row in rows if row["clip"] == clip]
        size = "{}x{}".format(*of_clip[0]["size"])
        order = dict.fromkeys(row["through"] for row in of_clip)
        lines = [cells(row) for through in order for row in of_clip if row["through"] == through]
        parts.append(f"### {clip}: {of_clip[0]['frames']} frames of {size}\n\n{markdown(HEADINGS, lines)}")
    return "\n".join(parts)


def cells(row: Row) -> tuple[str, ...]:
    """One line."""
    beside = (number(row, codec, 2) if row.get(codec) is not None else "" for codec in ("h264", "h265"))
    return (
        *(row["name"], row["through"], number(row, "bpp", 3), decibels(row["psnr_y"]), decibels(row["psnr_y_5"])),
        *(number(row, "ssim", 4), decibels(row["flicker"]), *beside),
    )
