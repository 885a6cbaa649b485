"""What results/recoded.json holds, as the tables of docs/recoded.md."""

from collections.abc import Iterator
from typing import Any

from unshrink.evaluation.tables import markdown, number

Row = dict[str, Any]
FIGURES = (("PSNR-Y", "psnr_y"), ("RGB", "psnr_rgb"), ("chroma", "psnr_chroma"))
CODECS = (("JPEG", "jpeg"), ("WebP", "webp"), ("AVIF", "avif"))
HEADINGS = (
    *("small picture", "on its way", "bits per pixel", "bytes of bicubic's"),
    *(name for name, _ in FIGURES),
    *("SSIM-Y", *(f"{codec} in as many bytes" for codec, _ in CODECS)),
)


def everything(measured: Row) -> str:
    """A table for each set: each way through which small pictures went, and what came back by each method."""
    rows: list[Row] = measured["rows"]
    parts = []
    for data in dict.fromkeys(row["set"] for row in rows):
        of_set = [row for row in rows if row["set"] == data]
        lines = [cells(row) for way in dict.fromkeys(r["path"] for r in of_set) for row in of_set if row["path"] == way]
        parts.append(f"### {data}, {of_set[0]['pictures']} pictures\n\n{markdown(HEADINGS, lines)}")
        parts += [f"- {sentence}\n" for sentence in crossings(of_set)]
    return "\n".join(parts)


def cells(row: Row) -> tuple[str, ...]:
    """One line: what came back, and what codecs of the large picture reach."""
    return (
        *(row["method"], row["path"], number(row, "bpp", 3), f"{row['bytes_of_bicubic']:.0%}"),
        *(number(row, key, 2) for _, key in FIGURES),
        *(number(row, "ssim_y", 4), *(number(row, key, 2) for _, key in CODECS)),
    )


def crossings(rows: list[Row]) -> Iterator[str]:
    """Up to which quality of JPEG, once, in 4:2:0, each method beats each codec of the large picture."""
    for method in dict.fromkeys(row["method"] for row in rows):
        qualities = {quality: row for row in rows if row["method"] == method and (quality := once(row["path"]))}
        leads = (f"{name} {lead(qualities, key)}" for name, key in CODECS)
        yield f"{method}, against the large picture in as many bytes: {'; '.join(leads)}."


def once(path: str) -> int:
    """The quality of one JPEG in 4:2:0, 0 of any other path."""
    name, _, quality = path.partition(" ")
    return int(quality) if name == "JPEG" and quality.isdigit() else 0


def lead(qualities: dict[int, Row], codec: str) -> str:
    """Where a method is ahead of a codec, and by how much at most."""
    ahead = {quality: row["psnr_y"] - row[codec] for quality, row in sorted(qualities.items())}
    won = [quality for quality, decibels in ahead.items() if decibels > 0]
    if not won:
        return f"ahead, by {-max(ahead.values()):.2f} dB at least"
    best = max(ahead, key=ahead.__getitem__)
    return f"behind at quality {', '.join(map(str, won))}, by {ahead[best]:.2f} dB at {best}"
