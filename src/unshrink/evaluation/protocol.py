"""How close pictures come back, and how ordinary the small ones are: one round trip, and a set of pictures.

Protocol: 8-bit RGB over white, cut to a multiple of the scale; luma and chroma of BT.601, RGB, and the colour error of
`metrics.colour_error`; a border of ``scale`` pixels of the large picture cut; the small picture is what its PNG file
gives, held against MATLAB's bicubic one, whole.

Shapes:  H, W the large picture, s the scale: hr (H, W, 3), lr (H/s, W/s, 3), all uint8.
"""

import functools
import io
import math
import time
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass, fields
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from unshrink.pictures import io as images
from unshrink.pictures import metrics
from unshrink.pictures.colour import RGB, to_uint8
from unshrink.pictures.image import Image
from unshrink.pictures.resize import resize
from unshrink.text import decibels

NamedFigures = dict[str, float]  # of one picture or the mean of several; infinite PSNR where nothing differs
Measure = Callable[[str, RGB], NamedFigures]  # a picture's name in its set and its pixels -> its figures
Distance = Callable[[metrics.Pixels, metrics.Pixels], float]  # of two pictures: LPIPS

FILES = ("png", "webp")  # lossless formats in which the small picture is weighed


@dataclass(frozen=True)
class Closeness:
    """How close one picture is to another, or the mean of several pairs.

    Attributes:
        psnr_y: PSNR in dB of the luma.
        psnr_rgb: PSNR in dB of RGB.
        psnr_cb: PSNR in dB of Cb.
        psnr_cr: PSNR in dB of Cr.
        psnr_chroma: the mean of those two, where one number must do.
        ssim_y: SSIM of the luma.
        ssim_rgb: SSIM of RGB, mean of the channels.
        colour_error: CIEDE2000 of the mean colours of 4x4 blocks, mean of the blocks.
        colour_error_99: the 99th percentile of the same.
    """

    psnr_y: float
    psnr_rgb: float
    psnr_cb: float
    psnr_cr: float
    psnr_chroma: float
    ssim_y: float
    ssim_rgb: float
    colour_error: float
    colour_error_99: float

    def __str__(self) -> str:
        """The figures on one line, for logs."""
        return (
            f"{decibels(self.psnr_y)} dB Y, {decibels(self.psnr_rgb)} RGB, {decibels(self.psnr_cb)} Cb, "
            f"{decibels(self.psnr_cr)} Cr, SSIM {self.ssim_y:.4f}, "
            f"colour error {self.colour_error:.2f} (99 %: {self.colour_error_99:.2f})"
        )


@dataclass(frozen=True)
class Figures(Closeness):
    """One round trip, or the mean of several: the restored picture against the original, and the small one.

    Attributes:
        lr_psnr_y: and all the others with ``lr_``: of the small picture against the bicubic one.
    """

    lr_psnr_y: float
    lr_psnr_rgb: float
    lr_psnr_cb: float
    lr_psnr_cr: float
    lr_psnr_chroma: float
    lr_ssim_y: float
    lr_ssim_rgb: float
    lr_colour_error: float
    lr_colour_error_99: float

    @property
    def small(self) -> Closeness:
        """The small picture against the bicubic one."""
        return Closeness(**{one.name: getattr(self, f"lr_{one.name}") for one in fields(Closeness)})

    def __str__(self) -> str:
        """The figures on one line, for logs."""
        return f"HR {super().__str__()}; LR {self.small}"


def figures(hr: RGB, lr: RGB, restored: RGB, scale: int) -> Figures:
    """Figures of one picture: hr and restored (H, W, 3), lr (H/s, W/s, 3), all uint8."""
    reference = to_uint8(resize(hr, (lr.shape[1], lr.shape[0])))
    small = asdict(closeness(reference, lr, 0))
    return Figures(**asdict(closeness(hr, restored, scale)), **{f"lr_{name}": value for name, value in small.items()})


def closeness(a: RGB, b: RGB, border: int) -> Closeness:
    """How close b is to a, both (H, W, 3), without a border of so many pixels."""
    psnr_cb, psnr_cr = metrics.psnr_chroma(a, b, border)
    colour_error, colour_error_99 = metrics.colour_error(a, b, border)
    return Closeness(
        psnr_y=metrics.psnr_y(a, b, border),
        psnr_rgb=metrics.psnr(a, b, border),
        psnr_cb=psnr_cb,
        psnr_cr=psnr_cr,
        psnr_chroma=(psnr_cb + psnr_cr) / 2,
        ssim_y=metrics.ssim_y(a, b, border),
        ssim_rgb=metrics.ssim(a, b, border),
        colour_error=colour_error,
        colour_error_99=colour_error_99,
    )


def looks(hr: RGB, restored: RGB, scale: int, lpips: Distance | None) -> NamedFigures:
    """LPIPS without the same border, if there is what measures it."""
    return {"lpips": lpips(metrics.cut(hr, scale), metrics.cut(restored, scale))} if lpips else {}


def mean(found: Iterable[Figures]) -> Figures:
    """The mean of each figure over pictures, as the field reports it."""
    return Figures(**mean_by_name(map(asdict, found)))


def mean_by_name(found: Iterable[NamedFigures]) -> NamedFigures:
    """The mean of each figure over pictures, all of which have the same figures.

    What comes back exactly has no number of decibels: such pictures are left out, unless all are (a grey one, whose
    chroma any method keeps, would make the whole set's infinite).
    """
    rows = list(found)
    return {key: _mean_of_finite(np.array([row[key] for row in rows])) for key in rows[0]}


def _mean_of_finite(values: NDArray[np.float64]) -> float:
    finite = values[np.isfinite(values)]
    return float(finite.mean()) if len(finite) else math.inf


def described(scale: int) -> dict[str, Any]:
    """How the figures are made, for readers of a result."""
    return {
        "large": f"8-bit RGB over white, cut to a multiple of {scale}",
        "small": "8 bits, through a PNG file",
        "luma": "BT.601, 16 to 235, not rounded",
        "chroma": "BT.601, 16 to 240, not rounded",
        "colour_error": "CIEDE2000 of the mean linear light of 4x4 blocks: mean, and 99th percentile, of the blocks",
        "border": scale,
        "ssim": "Gaussian window 11x11, sigma 1.5, valid region",
        "small_reference": "MATLAB's bicubic, rounded to 8 bits, whole",
        "mean": "of the pictures' figures, without the decibels of what is exact",
    }


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


def round_trip(method: Method, hr: RGB, lpips: Distance | None = None) -> NamedFigures:
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
    found = asdict(figures(hr, small.pixels, restored.pixels, method.scale))
    found |= looks(hr, restored.pixels, method.scale, lpips)
    for form, file in files.items():
        found |= {f"{form}_bytes": len(file), f"{form}_bits_per_pixel": 8 * len(file) / pixels}
    seconds = {"down": downscaled - began, "up": done - read}
    return found | {f"{way}_seconds_per_megapixel": 1e6 * value / pixels for way, value in seconds.items()}


def encoded(image: Image, form: str) -> bytes:
    """A picture as a file of a lossless format."""
    stream = io.BytesIO()
    images.write(image, stream, format=form)
    return stream.getvalue()


def trips_of(method: Method, lpips: Distance | None = None) -> Measure:
    """Round trips of a method, after one that is not measured: the first run of a network compiles it."""
    warm_up = functools.cache(lambda: round_trip(method, np.zeros((16 * method.scale, 16 * method.scale, 3), np.uint8)))

    def measure(name: str, hr: RGB) -> NamedFigures:
        warm_up()
        return round_trip(method, hr, lpips)

    return measure
