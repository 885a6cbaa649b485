"""The commands that only look: at pictures, at weights files, at what is installed."""

import functools
import importlib.metadata
import io
import os
import platform
import sys
from argparse import Namespace
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from unshrink import __version__
from unshrink import weights as zoo
from unshrink.batch.plan import STANDARD
from unshrink.batch.tasks import Result, Task
from unshrink.errors import ProvenanceError, UnshrinkError
from unshrink.pictures import io as images
from unshrink.pictures import record as provenance
from unshrink.pictures.image import Image
from unshrink.runtime import backends, rescaler
from unshrink.runtime.backends.machine import cpu_features
from unshrink.text import align, human_bytes
from unshrink.weights import catalogue

CHANNELS = {1: "grey", 2: "grey and alpha", 3: "RGB", 4: "RGB and alpha"}


def info(args: Namespace) -> list[Task]:
    """What files hold."""
    return [Task(name, functools.partial(_info, name, args.max_pixels)) for name in args.inputs]


def _info(name: str, max_pixels: int | None) -> Result:
    return _weights_info(name) if name.endswith(zoo.SUFFIX) else _picture_info(name, max_pixels)


def _picture_info(name: str, max_pixels: int | None) -> Result:
    source = sys.stdin.buffer.read() if name == STANDARD else name
    image = images.read(source, max_pixels=max_pixels or images.MAX_PIXELS)
    file = source if isinstance(source, bytes) else Path(source).read_bytes()
    record, bare = _record(image)
    data = {
        "input": name,
        "format": str(images.kind_of(file)).lower(),
        "bytes": len(file),
        "size": image.size,
        "depth": image.depth,
        "channels": CHANNELS[image.pixels.shape[2]],
        "icc_bytes": len(image.icc or b""),
        "exif_bytes": len(image.exif or b""),
        "xmp_bytes": len(bare.xmp or b""),
        "dpi": image.dpi,
        "notes": image.notes,
        "record": record,
    }
    return Result(data, _lines(name, _picture_rows(data)), ok="error" not in (record or {}))


def _record(image: Image) -> tuple[dict[str, Any] | None, Image]:
    """The record with what is known about it, and the picture without it."""
    try:
        record, bare = provenance.extract(image)
    except ProvenanceError as error:
        return {"error": str(error)}, image
    if record is None:
        return None, image
    known = {
        "unchanged": record.pixels == provenance.checksum(image.pixels),
        "installed": any(row.identity.startswith(record.weights) for row in catalogue.ENTRIES),
    }
    return {"format": record.format, **asdict(record), **known}, bare


def _picture_rows(data: dict[str, Any]) -> Iterator[tuple[str, str]]:
    width, height = data["size"]
    what = f"{width}x{height}, {data['depth']}-bit {data['channels']}, {data['format']}"
    yield "picture", f"{what}, {human_bytes(data['bytes'])}"
    blocks = {"colour profile": "icc_bytes", "EXIF": "exif_bytes", "XMP": "xmp_bytes"}
    carried = [f"{block} ({human_bytes(data[key])})" for block, key in blocks.items() if data[key]]
    if data["dpi"]:
        carried.append("{:.4g} x {:.4g} dpi".format(*data["dpi"]))
    yield "carries", ", ".join(carried) or "no profile, EXIF, XMP or resolution"
    yield from (("note", note) for note in data["notes"])
    yield from _record_rows(data["record"])


def _record_rows(record: dict[str, Any] | None) -> Iterator[tuple[str, str]]:
    if record is None:
        yield "record", "none: not made by unshrink, or its metadata was removed"
        return
    if "error" in record:
        yield "record", record["error"]
        return
    width, height = record["size"]
    made = f"{record['model']} ({record['weights']}), scale {record['scale']}"
    yield "record", f"made by {made}, from {width}x{height}, {record['depth']} bit"
    yield (
        "pixels",
        "unchanged since" if record["unchanged"] else "changed since: the large picture will not come back well",
    )
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
            f"x{row['scale']}{', default' * row['default']}",
            human_bytes(row["bytes"]),
            f"{row['parameters']:,}" if row["parameters"] else "damaged",
            row["identity"][: zoo.IDENTITY_DIGITS],
            row["licence"],
            ", ".join(
                f"{key[4:].strip(' -_.')} {value:.4g}" for key, value in row["figures"].items() if key[:4] == "Set5"
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


# -- doctor --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Check:
    """One thing looked at: what was found, whether it works, and what to do if not."""

    name: str
    found: str
    ok: bool = True
    remedy: str = ""


def doctor(args: Namespace) -> list[Task]:
    """Whether all that is needed is there and works."""
    return [Task("", functools.partial(_doctor, args))]


def _doctor(args: Namespace) -> Result:
    checks = [*_machine(), *_backends(), *_weights(), _self_test(args), *_formats()]
    ok = all(check.ok for check in checks)
    rows = [(check.name, "" if check.ok else "BROKEN", _advice(check)) for check in checks]
    return Result({"ok": ok, "checks": [asdict(check) for check in checks]}, "\n".join(align(rows)), ok)


def _advice(check: Check) -> str:
    return f"{check.found}; {check.remedy}" if check.remedy else check.found


def _machine() -> Iterator[Check]:
    yield Check("unshrink", __version__)
    yield Check("Python", f"{platform.python_version()} on {platform.system()} {platform.machine()}")
    yield Check("CPU", ", ".join([f"{os.cpu_count()} cores", *_cpu_features()]))
    if hasattr(os, "sysconf") and "SC_PHYS_PAGES" in os.sysconf_names:
        yield Check("memory", f"{os.sysconf('SC_PHYS_PAGES') * os.sysconf('SC_PAGE_SIZE') / 2**30:.1f} GiB")


def _cpu_features() -> list[str]:
    """Those that make networks fast, where the system lists them."""
    wanted = {"avx2": "AVX2", "avx512f": "AVX-512", "avx512_bf16": "AVX-512 BF16", "amx_bf16": "AMX", "asimd": "NEON"}
    return [name for flag, name in wanted.items() if flag in cpu_features()]


def _backends() -> Iterator[Check]:
    available = backends.available()
    for name in backends.NAMES:
        yield Check(name, importlib.metadata.version(name) if name in available else "not installed (optional)")
    remedy = "" if available else "pip install onnxruntime"
    yield Check("backend", f"auto takes {available[0]}" if available else "none is installed", bool(available), remedy)


def _weights() -> Iterator[Check]:
    if not catalogue.ENTRIES:
        yield Check("weights", "none are installed", False, "reinstall unshrink")
    for row in catalogue.ENTRIES:
        yield _try(row.name, functools.partial(_load_row, row), "reinstall unshrink")


def _load_row(row: catalogue.Entry) -> str:
    weights = zoo.load(row.name)
    if weights.identity != row.identity:
        raise ValueError(f"its identity is {weights.identity}, not {row.identity}")
    return f"{human_bytes(row.bytes)}, sha256 as shipped"


def _self_test(args: Namespace) -> Check:
    def work() -> str:
        model = rescaler.load(
            catalogue.ENTRIES[0].name, backend=args.backend, device=args.device, threads=args.threads, fast=args.fast
        )
        pixels = np.random.default_rng(0).integers(0, 256, (29, 37, 3), np.uint8)
        small = model.downscale(Image(pixels))
        large = model.upscale(small)
        expected = tuple(-(-side // model.scale) for side in (37, 29)), (37, 29)
        if (small.size, large.size) != expected:
            raise ValueError(f"sizes are {small.size} and {large.size}, not {expected}")
        return f"37x29 down and up with {model.weights.name} on {model.backend.name}"

    if not catalogue.ENTRIES:
        return Check("self-test", "not possible without weights", False, "reinstall unshrink")
    return _try("self-test", work, "try another --backend, or reinstall the one named")


def _formats() -> Iterator[Check]:
    image = Image(np.arange(192, dtype=np.uint8).reshape(8, 8, 3))
    for form in (*images.LOSSLESS, *images.LOSSY):
        yield _try(form, functools.partial(_round_trip, image, form), "reinstall pillow, pyvips and pyvips-binary")


def _round_trip(image: Image, form: str) -> str:
    stream = io.BytesIO()
    images.write(image, stream, format=form, lossy=True)
    back = images.read(stream.getvalue())
    if form in images.LOSSLESS and not np.array_equal(back.pixels, image.pixels):
        raise ValueError("what is read is not what was written")
    return "reads and writes"


def _try(name: str, work: Callable[[], str], remedy: str) -> Check:
    try:
        return Check(name, work())
    except Exception as error:  # whatever is broken, the doctor goes on and says so
        return Check(name, " ".join(str(error).split()) or type(error).__name__, False, remedy)
