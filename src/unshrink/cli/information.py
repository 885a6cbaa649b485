"""The commands that only look: at pictures, at weights files, at the weights that are installed."""

import functools
import os
from argparse import Namespace
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

from unshrink import weights as zoo
from unshrink.batch import files
from unshrink.cli import clips
from unshrink.cli.tasks import Result, Task
from unshrink.cli.terminal import as_flags
from unshrink.errors import ModelNotFoundError, ProvenanceError, UnshrinkError
from unshrink.pictures import formats
from unshrink.pictures import io as images
from unshrink.pictures import mark as marks
from unshrink.pictures import record as provenance
from unshrink.pictures.encoding import encoding
from unshrink.pictures.image import CHANNELS, Image
from unshrink.text import align, decibels, human_bytes
from unshrink.video.containers import is_clip
from unshrink.weights import catalogue


def info(args: Namespace) -> list[Task]:
    """What files hold."""
    return [Task(name, functools.partial(_info, name, args.max_pixels)) for name in args.inputs]


def _info(name: str, max_pixels: int | None) -> Result:
    if name.endswith(zoo.SUFFIX):
        return _weights_info(name)
    return clips.info(name) if is_clip(name) else _picture_info(name, max_pixels)


def _picture_info(name: str, max_pixels: int | None) -> Result:
    source = files.contents(name)
    image = images.read(source, max_pixels=max_pixels or images.MAX_PIXELS)
    file = source if isinstance(source, bytes) else Path(source).read_bytes()
    record, bare = _record(image)
    encoded = encoding(file)
    data = {
        "input": name,
        "format": formats.of_content(file).name,
        "bytes": len(file),
        "size": image.size,
        "depth": image.depth,
        "channels": CHANNELS[image.channels],
        "icc_bytes": len(image.icc or b""),
        "exif_bytes": len(image.exif or b""),
        "xmp_bytes": len(bare.xmp or b""),
        "dpi": image.dpi,
        "notes": image.notes,
        "encoding": {**asdict(encoded), "text": str(encoded)} if encoded else None,
        "record": record,
        "mark": _mark(image),
    }
    return Result(data, _lines(name, _picture_rows(data)), ok="error" not in (record or {}))


def _record(image: Image) -> tuple[dict[str, Any] | None, Image]:
    """The record with what is known about it, and the picture without it."""
    try:
        record, bare = provenance.extract(image)
    except ProvenanceError as error:
        return {"error": as_flags(str(error))}, image
    if record is None:
        return None, image
    fault = provenance.fault(record, image)
    known = {
        "unchanged": not fault,
        "fault": fault,
        "fits": image.size == record.small,
        "installed": zoo.of_identity(record.weights) is not None,
    }
    return {"format": record.format, **asdict(record), **known}, bare


def _mark(image: Image) -> dict[str, Any] | None:
    """The mark with what is known about it."""
    mark = marks.read(image.pixels)
    if mark is None:
        return None
    try:
        entry = zoo.of_number(mark.weights)
    except ModelNotFoundError as error:
        return {**asdict(mark), "error": str(error)}
    size = [side * entry.scale - cut for side, cut in zip(image.size, mark.cut, strict=True)]
    return {**asdict(mark), "model": entry.name, "scale": entry.scale, "size": size}


def _picture_rows(data: dict[str, Any]) -> Iterator[tuple[str, str]]:
    width, height = data["size"]
    what = f"{width}x{height}, {data['depth']}-bit {data['channels']}, {data['format']}"
    yield "picture", f"{what}, {human_bytes(data['bytes'])}"
    blocks = {"colour profile": "icc_bytes", "EXIF": "exif_bytes", "XMP": "xmp_bytes"}
    carried = [f"{block} ({human_bytes(data[key])})" for block, key in blocks.items() if data[key]]
    if data["dpi"]:
        carried.append("{:.4g} x {:.4g} dpi".format(*data["dpi"]))
    yield "carries", ", ".join(carried) or "no profile, EXIF, XMP or resolution"
    if data["encoding"]:
        yield "encoded", data["encoding"]["text"]
    yield from (("note", note) for note in data["notes"])
    yield from _record_rows(data["record"])
    yield from _mark_rows(data["mark"], data["record"])


def _mark_rows(mark: dict[str, Any] | None, record: dict[str, Any] | None) -> Iterator[tuple[str, str]]:
    if mark and "error" in mark:
        yield "mark", mark["error"]
    elif mark:
        yield "mark", "made by {model}, scale {scale}, from {0}x{1}".format(*mark["size"], **mark)
    elif record is None:
        yield "mark", "none: upscale needs --model"


def _record_rows(record: dict[str, Any] | None) -> Iterator[tuple[str, str]]:
    if record is None:
        yield "record", "none: not made by unshrink, or its metadata was removed"
        return
    if "error" in record:
        yield "record", record["error"]
        return
    width, height = record["size"]
    made = f"{record['model']} ({record['weights']}), scale {record['scale']}"
    between = " resized to {}x{}".format(*record["resized"]) if record["resized"] else ""
    yield "record", f"made by {made}, from {width}x{height}{between}, {record['depth']} bit"
    if record["unchanged"]:
        yield "pixels", "unchanged since"
    elif record["fits"]:
        yield "pixels", f"{record['fault']}: the large picture comes back well only if the weights are made for that"
    else:
        yield "pixels", f"{record['fault']}: the large picture will not come back well"
    missing = "not installed: install the unshrink that made it, or give their file to upscale with --model"
    yield "weights", "installed" if record["installed"] else missing


def _weights_info(name: str) -> Result:
    weights = zoo.load(Path(name))
    data = {
        "input": name,
        **_facts(weights),
        "bytes": os.path.getsize(name),
        "identity": weights.identity,
        "installed": any(row.identity == weights.identity for row in catalogue.ENTRIES),
        "architecture": weights.architecture,
        "config": weights.config,
        "graphs": {name: len(graph) for name, graph in weights.graphs.items()},
        "about": weights.about,
    }
    return Result(data, _lines(name, _weights_rows(data)))


def _facts(weights: zoo.Weights) -> dict[str, Any]:
    return {
        "name": weights.name,
        "scale": weights.scale,
        "parameters": sum(tensor.size for tensor in weights.tensors.values()),
        "dtype": next(iter(weights.tensors.values())).dtype.name if weights.tensors else None,
    }


def _weights_rows(data: dict[str, Any]) -> Iterator[tuple[str, str]]:
    numbers = f"{data['parameters']:,} parameters in {data['dtype']}, {human_bytes(data['bytes'])}"
    yield "weights", f"{data['name']}, scale {data['scale']}, {numbers}"
    yield "identity", data["identity"]
    yield "network", f"{data['architecture']}: {_pairs(data['config'])}"
    graphs = ", ".join(f"{name} {human_bytes(size)}" for name, size in data["graphs"].items())
    yield "graphs", graphs or "none: runs on torch alone; add them with unshrink export"
    for key, value in data["about"].items():
        yield key, _pairs(value) if isinstance(value, dict) else str(value)


def _pairs(table: dict[str, Any]) -> str:
    """key value, key value: what is not a table itself."""
    return ", ".join(f"{key} {value}" for key, value in table.items() if not isinstance(value, dict))


def _lines(name: str, rows: Iterator[tuple[str, str]]) -> str:
    return "\n".join([name, *(f"  {key:<9} {value}" for key, value in rows)])


# -- models --------------------------------------------------------------------------------------------------------


def models(args: Namespace) -> list[Task]:
    """The installed weights."""
    return [Task("", _models)]


def _models() -> Result:
    known = [_row_facts(row) for row in catalogue.ENTRIES]
    head = ("name", "scale", "bytes", "parameters", "identity", "licence", "Set5")
    rows = [
        (
            row["name"],
            f"x{row['scale']}{', default' * row['default']}{', bears re-encoding' * row['lossy']}",
            human_bytes(row["bytes"]),
            f"{row['parameters']:,}" if row["parameters"] else "damaged",
            row["identity"][: zoo.IDENTITY_DIGITS],
            row["licence"],
            ", ".join(
                f"{key[4:].strip(' -_.')} {decibels(value)}"
                for key, value in row["figures"].items()
                if key[:4] == "Set5"
            ),
        )
        for row in known
    ]
    text = "\n".join(align([head, *rows])) if rows else "no weights are installed: reinstall unshrink"
    return Result({"models": known}, text, ok=bool(rows))


def _row_facts(row: catalogue.Entry) -> dict[str, Any]:
    try:
        parameters = _facts(zoo.load(row.name))["parameters"]
    except UnshrinkError:
        parameters = None
    return {**asdict(row), "default": zoo.is_default(row), "path": str(row.path), "parameters": parameters}
