"""What results/video.json and results/round_trip.json hold, as the tables of docs/video.md."""

from collections.abc import Iterator
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
        parts += [f"- {sentence}\n" for sentence in leads(of_clip)]
    return "\n".join(parts)


def round_trip(measured: Row) -> str:
    """A whole clip down and back by the commands: what came back, how close, how fast, in how much memory."""
    clip = "{} frames of {}x{} in {:g} s, with ".format(measured["frames"], *measured["size"], measured["seconds"])
    same = [part for part, is_same in measured["equal"].items() if is_same]
    other = [part for part, is_same in measured["equal"].items() if not is_same]
    counts = "{sound} packets of sound, {subtitles} subtitles, {chapters} chapters".format(**measured["counts"])
    psnr = {name: decibels(measured["psnr_y"][name]) for name in ("single", "exact", "mp4")}
    headings = (
        *("way", "whole command", "network alone", "share", "the same in processor time"),
        *("peak memory", "of a clip of one second"),
    )
    lines = [
        (
            *(f"{way}scale", f"{of['fps']:.3f} frames/s", f"{of['network_fps']:.3f} frames/s"),
            *(f"{of['fps'] / of['network_fps']:.0%}", f"{of['processor_fps'] / of['network_processor_fps']:.0%}"),
            *(f"{of['peak_mb']} MB", f"{of['peak_mb_of_a_second']} MB"),
        )
        for way, of in measured["ways"].items()
    ]
    ran = f"{measured['backend']} in {measured['precision']}, {measured['threads'] or 'all'} threads"
    said = f"{measured['model']} on {ran}: {clip}{counts}."
    came = f"Equal after it came back: {', '.join(same)}." + (f" Not equal: {', '.join(other)}." if other else "")
    exact = "byte for byte those of single pictures" if measured["psnr_y"]["exact_as_single"] else "not those of them"
    close = (
        f"PSNR-Y of some frames: {psnr['single']} as single pictures; {psnr['exact']} restored to .mkv, {exact}; "
        f"{psnr['mp4']} restored to .mp4, which is H.264 again."
    )
    return f"{said}\n\n- {came}\n- {close}\n\n{markdown(headings, lines)}"


def leads(rows: list[Row]) -> Iterator[str]:
    """What the weights gain through H.264 over bicubic, and where they are ahead of codecs of the large clip."""
    coded = {(row["name"], row["through"]): row for row in rows if "CRF" in row["through"]}
    throughs = dict.fromkeys(through for _, through in coded)
    for name in dict.fromkeys(name for name, _ in coded if name != "bicubic"):
        gains = [coded[name, at]["psnr_y"] - coded["bicubic", at]["psnr_y"] for at in throughs]
        over = f"{min(gains):+.2f} to {max(gains):+.2f} dB over bicubic through H.264"
        against = (f"{label} {ahead_at(name, codec, coded)}" for label, codec in (("H.264", "h264"), ("H.265", "h265")))
        yield f"{name}: {over}; in as many bytes as the large clip, {'; '.join(against)}."


def ahead_at(name: str, codec: str, coded: dict[tuple[str, str], Row]) -> str:
    """Where a way is ahead of a codec of the large clip."""
    mine = [(through, row) for (way, through), row in coded.items() if way == name and row.get(codec) is not None]
    won = [through.removeprefix("H.264 ") for through, row in mine if row["psnr_y"] > row[codec]]
    return f"behind at {', '.join(won)}" if won else "ahead wherever it was measured" if mine else "not measured"


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
