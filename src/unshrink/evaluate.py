"""How close pictures come back, and how ordinary the small ones are: one round trip, and a set of pictures.

Protocol: 8-bit RGB over white, cut to a multiple of the scale; the luma of BT.601, and RGB; a border of ``scale``
pixels of the large picture cut; the small picture is what its PNG file gives, held against MATLAB's bicubic one, whole.

Shapes:  H, W the large picture, s the scale: hr (H, W, 3), lr (H/s, W/s, 3), all uint8.
"""

import functools
import hashlib
import importlib.metadata
import io
import math
import os
import platform
import subprocess
import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from unshrink import __version__, metrics, provenance
from unshrink import image as images
from unshrink.errors import ImageError
from unshrink.files import find_pictures
from unshrink.image import Image
from unshrink.resize import crop_to_multiple, resize

Picture = NDArray[np.uint8]
Row = dict[str, float]  # figures by name, of one picture or the mean of several; infinite PSNR where nothing differs
Measure = Callable[[str, Picture], Row]  # a picture's name in its set and its pixels -> its figures
Distance = Callable[[metrics.Picture, metrics.Picture], float]  # of two pictures: LPIPS

SCHEMA = 1  # of results/<method>/<set>.json; docs/evaluation.md describes it
FILES = ("png", "webp")  # lossless formats in which the small picture is weighed


@dataclass(frozen=True)
class Figures:
    """One round trip, or the mean of several.

    Attributes:
        psnr_y: PSNR in dB of the restored luma.
        ssim_y: SSIM of the restored luma.
        psnr_rgb: PSNR in dB of the restored RGB.
        ssim_rgb: SSIM of the restored RGB, mean of the channels.
        lr_psnr_y: PSNR in dB of the small picture's luma against the bicubic small picture.
        lr_ssim_y: SSIM of the same.
        lr_psnr_rgb: PSNR in dB of the small picture's RGB against the bicubic small picture.
        psnr_cb, psnr_cr: PSNR in dB of the restored chroma.
        lr_psnr_cb, lr_psnr_cr: the same of the small picture against the bicubic one.
    """

    psnr_y: float
    ssim_y: float
    psnr_rgb: float
    ssim_rgb: float
    lr_psnr_y: float
    lr_ssim_y: float
    lr_psnr_rgb: float
    psnr_cb: float = math.nan
    psnr_cr: float = math.nan
    lr_psnr_cb: float = math.nan
    lr_psnr_cr: float = math.nan

    @property
    def chroma(self) -> float:
        """PSNR in dB of the restored chroma, mean of Cb and Cr."""
        return (self.psnr_cb + self.psnr_cr) / 2

    @property
    def lr_chroma(self) -> float:
        """The same of the small picture against the bicubic small picture."""
        return (self.lr_psnr_cb + self.lr_psnr_cr) / 2

    def __str__(self) -> str:
        """The figures on one line, for logs."""
        return (
            f"HR {self.psnr_y:.2f} dB Y, SSIM {self.ssim_y:.4f}, {self.psnr_rgb:.2f} dB RGB, {self.chroma:.2f} chroma; "
            f"LR {self.lr_psnr_y:.2f} dB Y, SSIM {self.lr_ssim_y:.4f}, {self.lr_chroma:.2f} chroma"
        )


def figures(hr: Picture, lr: Picture, restored: Picture, scale: int) -> Figures:
    """Figures of one picture: hr and restored (H, W, 3), lr (H/s, W/s, 3), all uint8."""
    reference = to_uint8(resize(hr, (lr.shape[1], lr.shape[0])))
    cb, cr = metrics.psnr_chroma(hr, restored, scale)
    lr_cb, lr_cr = metrics.psnr_chroma(reference, lr)
    return Figures(
        **closeness(hr, restored, scale),
        lr_psnr_y=metrics.psnr_y(reference, lr),
        lr_ssim_y=metrics.ssim_y(reference, lr),
        lr_psnr_rgb=metrics.psnr(reference, lr),
        psnr_cb=cb,
        psnr_cr=cr,
        lr_psnr_cb=lr_cb,
        lr_psnr_cr=lr_cr,
    )


def closeness(hr: Picture, restored: Picture, scale: int) -> Row:
    """PSNR and SSIM of luma and RGB, without a border of ``scale`` pixels."""
    return {
        "psnr_y": metrics.psnr_y(hr, restored, scale),
        "ssim_y": metrics.ssim_y(hr, restored, scale),
        "psnr_rgb": metrics.psnr(hr, restored, scale),
        "ssim_rgb": metrics.ssim(hr, restored, scale),
    }


def looks(hr: Picture, restored: Picture, scale: int, lpips: Distance | None) -> Row:
    """LPIPS without the same border, if there is what measures it."""
    return {"lpips": lpips(metrics.cut(hr, scale), metrics.cut(restored, scale))} if lpips else {}


def mean(rows: list[Figures]) -> Figures:
    """The mean of each figure over pictures, as the field reports it."""
    return Figures(**mean_row(map(asdict, rows)))


def mean_row(rows: Iterable[Row]) -> Row:
    """The mean of each figure over pictures, all of which have the same figures."""
    rows = list(rows)
    return {key: float(np.mean([row[key] for row in rows])) for key in rows[0]}


def to_uint8(image: NDArray[np.floating]) -> Picture:
    """Rounds values in [0, 255] to 8 bits, clipped."""
    return np.asarray(np.rint(np.clip(image, 0, 255)), np.uint8)


def over_white(image: Image) -> Picture:
    """Any picture as 8-bit RGB, transparency over white."""
    top = np.iinfo(image.pixels.dtype).max
    values = image.pixels.astype(np.float32) / np.float32(top)
    if image.alpha:
        alpha = values[..., -1:]
        values = values[..., :-1] * alpha + (1 - alpha)
    return to_uint8(np.broadcast_to(values * 255, (*values.shape[:2], 3)))


# -- one round trip ------------------------------------------------------------------------------------------------


class Method(Protocol):
    """What can be measured.  A Rescaler is one; so is anything with these four."""

    @property
    def name(self) -> str:
        """What the results are called: "irn-x2"."""

    @property
    def scale(self) -> int:
        """How many times smaller the small picture is, along each side."""

    def downscale(self, picture: Image, /) -> Image:
        """A picture (H, W, 3) of 8 bits -> (H/s, W/s, 3) of 8 bits; H and W are multiples of s."""

    def upscale(self, picture: Image, /) -> Image:
        """What a file of the small picture gives -> (H, W, 3) of 8 bits."""


def round_trip(method: Method, hr: Picture, lpips: Distance | None = None) -> Row:
    """Figures of one picture that goes through a PNG file; seconds are of the method alone, without files.

    Returns:
        `Figures`, `looks`, and for each format of `FILES` its size: ``png_bytes`` and ``png_bits_per_pixel`` of the
        large picture; ``down_seconds_per_megapixel`` and ``up_seconds_per_megapixel`` of the large picture.
    """
    pixels = hr.shape[0] * hr.shape[1]
    began = time.perf_counter()
    made = method.downscale(Image(hr))
    downscaled = time.perf_counter()
    files = {form: encoded(made, form) for form in FILES}
    small = images.read(files["png"])
    read = time.perf_counter()
    restored = method.upscale(small)
    done = time.perf_counter()
    row = asdict(figures(hr, small.pixels, restored.pixels, method.scale))
    row |= looks(hr, restored.pixels, method.scale, lpips)
    for form, file in files.items():
        row |= {f"{form}_bytes": len(file), f"{form}_bits_per_pixel": 8 * len(file) / pixels}
    seconds = {"down": downscaled - began, "up": done - read}
    return row | {f"{way}_seconds_per_megapixel": 1e6 * value / pixels for way, value in seconds.items()}


def encoded(image: Image, form: str) -> bytes:
    """A picture as a file of a lossless format."""
    stream = io.BytesIO()
    images.write(image, stream, format=form)
    return stream.getvalue()


def trips_of(method: Method, lpips: Distance | None = None) -> Measure:
    """Round trips of a method, after one that is not measured: the first run of a network compiles it."""
    warm_up = functools.cache(lambda: round_trip(method, np.zeros((16 * method.scale, 16 * method.scale, 3), np.uint8)))

    def measure(name: str, hr: Picture) -> Row:
        warm_up()
        return round_trip(method, hr, lpips)

    return measure


# -- a set of pictures ---------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class DataSet:
    """A folder of large pictures: what it is called, where it is, and its files in the order of their names."""

    name: str
    folder: Path
    files: tuple[Path, ...]


def data_set(name_or_folder: str) -> DataSet:
    """A folder of pictures, or a test set by its name: the folder of that name in ``$UNSHRINK_DATA/test``.

    Raises:
        ImageError: there is no such folder.
        ConfigError: there are no pictures in it.
    """
    folder, home = Path(name_or_folder), os.environ.get("UNSHRINK_DATA")
    if not folder.is_dir():
        if not home:
            raise ImageError(
                f"there is no folder {name_or_folder}; give one, or set UNSHRINK_DATA to the folder that holds "
                "test/<set> to name a test set"
            )
        folder = Path(home) / "test" / name_or_folder
    if not folder.is_dir():
        known = sorted(path.name for path in folder.parent.glob("*") if path.is_dir())
        raise ImageError(
            f"there is no folder or test set {name_or_folder}: "
            f"the sets in {folder.parent} are {', '.join(known) or 'none'}"
        )
    return DataSet(folder.resolve().name, folder, tuple(find_pictures(folder)))


@dataclass
class Evaluation:
    """One method over one set, picture by picture.

    Attributes:
        method: its name, such as "irn-x2".
        scale: how many times smaller the small picture is, along each side; for codecs, that of the compared weights.
        data: the set.
        measure: what is done with each picture.
        about: what else decides the result: weights, backend, versions of libraries.
        rows: figures of the pictures measured so far.
        skipped: why the others were not.
    """

    method: str
    scale: int
    data: DataSet
    measure: Measure
    about: Mapping[str, Any] = field(default_factory=dict)
    rows: dict[str, Row] = field(default_factory=dict)
    skipped: dict[str, str] = field(default_factory=dict)
    sizes: dict[str, tuple[int, int]] = field(default_factory=dict)
    checksums: list[str] = field(default_factory=list)

    def add(self, path: Path) -> Row:
        """Measures one picture of the set.

        Raises:
            ImageError: it cannot be read, or is smaller than the scale; it is noted and left out.
        """
        if not self.rows:
            forget_peak_memory()
        name = path.relative_to(self.data.folder).as_posix()
        try:
            picture = over_white(images.read(path))
            hr = crop_to_multiple(picture, self.scale)
            if not hr.size:
                raise ImageError(f"cannot use {path}: {picture.shape[1]}x{picture.shape[0]} is smaller than the scale")
        except ImageError as error:
            self.skipped[name] = str(error)
            raise
        self.rows[name] = self.measure(name, hr)
        self.sizes[name] = (hr.shape[1], hr.shape[0])
        self.checksums.append(provenance.checksum(picture))
        return self.rows[name]

    def result(self) -> dict[str, Any]:
        """All of it, as the JSON file has it; an infinite PSNR (nothing differs) is null.

        Raises:
            ImageError: no picture could be measured.
        """
        if not self.rows:
            raise ImageError(f"none of the {len(self.data.files)} pictures in {self.data.folder} could be measured")
        return {
            "schema": SCHEMA,
            "method": self.method,
            "scale": self.scale,
            "set": self.data.name,
            "set_hash": set_hash(self.checksums),
            "protocol": protocol(self.scale),
            "mean": _finite(mean_row(self.rows.values())),
            "peak_megabytes": peak_megabytes(),
            **self.about,
            **environment(),
            "pictures": {name: {"size": self.sizes[name], **_finite(row)} for name, row in self.rows.items()},
            "skipped": self.skipped,
        }


def protocol(scale: int) -> dict[str, Any]:
    """How the figures were made, for readers."""
    return {
        "large": f"8-bit RGB over white, cut to a multiple of {scale}",
        "small": "8 bits, through a PNG file",
        "luma": "BT.601, 16 to 235, not rounded",
        "border": scale,
        "ssim": "Gaussian window 11x11, sigma 1.5, valid region",
        "small_reference": "MATLAB's bicubic, rounded to 8 bits, whole",
        "mean": "of the pictures' figures",
    }


def set_hash(checksums: Iterable[str]) -> str:
    """A fingerprint of what a set shows, whatever its files are called and in which format: 16 hexadecimal digits."""
    return hashlib.sha256("\n".join(sorted(checksums)).encode()).hexdigest()[:16]


def _finite(row: Row) -> dict[str, float | None]:
    return {key: value if np.isfinite(value) else None for key, value in row.items()}


# -- where it was measured -----------------------------------------------------------------------------------------


def environment() -> dict[str, Any]:
    """What the figures may depend on besides method and pictures."""
    libraries = ("numpy", "pillow", "pyvips", "pyvips-binary")
    return {
        "unshrink": __version__,
        "commit": commit(),
        "python": platform.python_version(),
        "libraries": {name: importlib.metadata.version(name) for name in libraries},
        "machine": machine(),
    }


def machine() -> dict[str, Any]:
    """What seconds depend on; the load is the mean number of busy cores, this process among them, of 15 minutes."""
    return {
        "system": f"{platform.system()} {platform.machine()}",
        "cpu": _cpu(),
        "cores": os.cpu_count(),
        "load": round(os.getloadavg()[2], 1) if hasattr(os, "getloadavg") else None,
    }


def commit() -> str | None:
    """The commit of this package, with a "+" if its files differ from it; None where it is not in a git repository."""
    folder = Path(__file__).parent

    def git(*arguments: str) -> str:
        done = subprocess.run(["git", "-C", str(folder), *arguments], capture_output=True, text=True, check=True)
        return done.stdout.strip()

    try:
        git("ls-files", "--error-unmatch", Path(__file__).name)  # an environment may lie in somebody's repository
        return git("rev-parse", "--short", "HEAD") + ("+" if git("status", "--porcelain", "--", ".") else "")
    except (OSError, subprocess.CalledProcessError):
        return None


def _cpu() -> str:
    with suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(": ")[2]
    return platform.processor()


def forget_peak_memory() -> None:
    """Begins a new measurement of `peak_megabytes`, where the system can."""
    with suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")


def peak_megabytes() -> int | None:
    """The most memory that this process held since `forget_peak_memory`, in MB; None where the system does not say."""
    with suppress(OSError):
        for line in Path("/proc/self/status").read_text(encoding="utf-8").splitlines():
            if line.startswith("VmHWM:"):
                return round(int(line.split()[1]) * 1024 / 1e6)
    return None
