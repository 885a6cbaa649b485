"""The command that checks whether all that is needed is there and works."""

import functools
import importlib.metadata
import io
import os
import platform
from argparse import Namespace
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass

import numpy as np

from unshrink import __version__
from unshrink import weights as zoo
from unshrink.cli.pictures import load_model
from unshrink.cli.tasks import Result, Task
from unshrink.pictures import formats
from unshrink.pictures import io as images
from unshrink.pictures.image import Image
from unshrink.runtime import backends
from unshrink.runtime.backends import compiled
from unshrink.runtime.backends.machine import cpu_features
from unshrink.runtime.rescaler import Rescaler
from unshrink.text import align, human_bytes
from unshrink.weights import catalogue


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
        version = importlib.metadata.version(backends.distribution(name)) if name in available else ""
        yield Check(name, version or "not installed (optional)")
    if catalogue.ENTRIES:
        yield _try("backend", _automatic, "pip install onnxruntime")


def _automatic() -> str:
    """What computes where nothing else is asked for."""
    made = backends.make(zoo.load(catalogue.ENTRIES[0].name))
    return f"auto takes {made.name}, in {made.precision}"


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
        model = load_model(args, catalogue.ENTRIES[0].name)
        made = _made(model)
        with compiled.unused():  # what is kept may be altered, or from another machine
            afresh = _made(load_model(args, model.weights.name))
        if any(np.abs(one.astype(int) - other).max() > 1 for one, other in zip(made, afresh, strict=True)):
            raise ValueError(f"compiled networks in {compiled.folder()} give other pixels than new ones; delete them")
        return f"37x29 down and up with {model.weights.name} on {model.backend.name}"

    if not catalogue.ENTRIES:
        return Check("self-test", "not possible without weights", False, "reinstall unshrink")
    return _try("self-test", work, "try another --backend, or reinstall the one named")


def _made(model: Rescaler) -> tuple[np.ndarray, np.ndarray]:
    """Pixels of a small picture and of what it brings back.

    Raises:
        ValueError: they are not of the right size.
    """
    pixels = np.random.default_rng(0).integers(0, 256, (29, 37, 3), np.uint8)
    small = model.downscale(Image(pixels))
    large = model.upscale(small)
    expected = tuple(-(-side // model.scale) for side in (37, 29)), (37, 29)
    if (small.size, large.size) != expected:
        raise ValueError(f"sizes are {small.size} and {large.size}, not {expected}")
    return np.asarray(small.pixels), np.asarray(large.pixels)


def _formats() -> Iterator[Check]:
    image = Image(np.arange(192, dtype=np.uint8).reshape(8, 8, 3))
    for form in formats.WRITTEN.values():
        yield _try(form.name, functools.partial(_round_trip, image, form), "reinstall pillow, pyvips and pyvips-binary")


def _round_trip(image: Image, form: formats.Format) -> str:
    stream = io.BytesIO()
    images.write(image, stream, format=form.name, lossy=True)
    back = images.read(stream.getvalue())
    if form.lossless and not np.array_equal(back.pixels, image.pixels):
        raise ValueError("what is read is not what was written")
    return "reads and writes"


def _try(name: str, work: Callable[[], str], remedy: str) -> Check:
    try:
        return Check(name, work())
    except Exception as error:  # whatever is broken, the doctor goes on and says so
        return Check(name, " ".join(str(error).split()) or type(error).__name__, False, remedy)
